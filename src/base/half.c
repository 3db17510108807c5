/* SPDX-License-Identifier: Apache-2.0 */
/* half.c — fp16 and bf16 to and from wider floats, on bit patterns only: no rounding mode, no flush
 * mode and no compiler option can change a result. One body narrows any format into any smaller
 * one. */
#include "base/half.h"

#include <string.h>

#include "base/mutant.h"

typedef struct format {
    int exponent_bits, fraction_bits;
} format;

static const format F64 = {11, 52}, F32 = {8, 23}, F16 = {5, 10}, BF16 = {8, 7};

static inline uint64_t low_bits(int count) { return (UINT64_C(1) << count) - 1; }

static inline int bias(format f) { return (1 << (f.exponent_bits - 1)) - 1; }

/* x / 2^shift, to nearest, ties to even; shift >= 1. */
static inline uint64_t shift_right_even(uint64_t x, int shift)
{
    if (shift > 62) return 0; /* x has at most 53 bits: less than half */
    const uint64_t half = UINT64_C(1) << (shift - 1), rest = x & low_bits(shift);
    const uint64_t whole = x >> shift;
    return whole + (rest > half || (rest == half && MUTANT(7, whole & 1, 1)));
}

/* The value with these bits in `from`, rounded once into `to`. */
static inline uint16_t narrow(uint64_t bits, format from, format to)
{
    const int from_top = (int)low_bits(from.exponent_bits);
    const int drop = from.fraction_bits - to.fraction_bits;
    const uint64_t sign = (bits >> (from.exponent_bits + from.fraction_bits) & 1)
                          << (to.exponent_bits + to.fraction_bits);
    const uint64_t infinity = low_bits(to.exponent_bits) << to.fraction_bits;
    const int exponent = (int)(bits >> from.fraction_bits) & from_top;
    const uint64_t fraction = bits & low_bits(from.fraction_bits);

    if (exponent == from_top) { /* a NaN keeps its upper payload and becomes quiet */
        const uint64_t quiet = UINT64_C(1) << (to.fraction_bits - 1);
        return (uint16_t)(sign | infinity | (fraction ? quiet | fraction >> drop : 0));
    }

    const uint64_t mantissa = fraction | (exponent ? UINT64_C(1) << from.fraction_bits : 0);
    const int target = (exponent ? exponent : 1) - bias(from) + bias(to);
    if (target < 1) return (uint16_t)(sign | shift_right_even(mantissa, drop + 1 - target));

    /* the mantissa's leading 1 adds one to the exponent field, as does a carry out of the rounding
     */
    const uint64_t rounded =
        ((uint64_t)(target - 1) << to.fraction_bits) + shift_right_even(mantissa, drop);
    return (uint16_t)(sign | (rounded < infinity ? rounded : infinity));
}

static inline uint64_t bits_of_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t half_to_f16(float value) { return narrow(bits_of_float(value), F32, F16); }

uint16_t half_to_f16_from_double(double value) { return narrow(bits_of_double(value), F64, F16); }

uint16_t half_to_bf16(float value)
{
    return MUTANT(8, narrow(bits_of_float(value), F32, BF16),
                  (uint16_t)(bits_of_float(value) >> 16));
}

uint16_t half_to_bf16_from_double(double value) { return narrow(bits_of_double(value), F64, BF16); }

float half_from_f16(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    int exponent = bits >> 10 & 31;
    uint32_t fraction = bits & 1023u;

    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) {
        if (fraction == 0) return float_of_bits(sign);
        for (exponent = 1; !(fraction & 1024); exponent--) fraction <<= 1;
        fraction &= 1023u;
    }
    return float_of_bits(sign | (uint32_t)(exponent + 127 - 15) << 23 | fraction << 13);
}

float half_from_bf16(uint16_t bits) { return float_of_bits((uint32_t)bits << 16); }
