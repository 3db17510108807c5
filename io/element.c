/* SPDX-License-Identifier: Apache-2.0 */
/* element.c — elements as double or int64, one at a time.
 *
 * The three small floats are one routine over (exponent bits, mantissa bits): a value is rounded to
 * a multiple of its quantum 2^(max(e, emin) - mantissa bits), and the bits follow by adding. */
#include "element.h"

#include <math.h>
#include <string.h>

typedef struct small_float {
    int exponent_bits, mantissa_bits;
    bool ieee; /* the highest exponent means inf and NaN; else only the all-ones pattern is NaN */
} small_float;

static const small_float formats[FATTN_DTYPE_COUNT] = {
    [FATTN_F16] = {5, 10, true},
    [FATTN_BF16] = {8, 7, true},
    [FATTN_E4M3] = {4, 3, false},
    [FATTN_E5M2] = {5, 2, true},
};

static int bias_of(small_float f) { return (1 << (f.exponent_bits - 1)) - 1; }

static double decode(small_float f, unsigned bits)
{
    const unsigned top = (1u << f.exponent_bits) - 1, low = (1u << f.mantissa_bits) - 1;
    const unsigned exponent = bits >> f.mantissa_bits & top, mantissa = bits & low;
    const double sign = bits >> (f.exponent_bits + f.mantissa_bits) & 1 ? -1.0 : 1.0;
    if (f.ieee && exponent == top) return mantissa ? NAN : sign * INFINITY;
    if (!f.ieee && exponent == top && mantissa == low) return NAN;
    const int power = (exponent ? (int)exponent : 1) - bias_of(f) - f.mantissa_bits;
    const unsigned whole = exponent ? mantissa + low + 1 : mantissa;
    return sign * ldexp((double)whole, power);
}

static unsigned encode(small_float f, double value)
{
    const unsigned sign = signbit(value) ? 1u << (f.exponent_bits + f.mantissa_bits) : 0;
    const unsigned infinity = ((1u << f.exponent_bits) - 1) << f.mantissa_bits;
    const unsigned nan =
        f.ieee ? infinity | 1u << (f.mantissa_bits - 1) : infinity | ((1u << f.mantissa_bits) - 1);
    if (isnan(value)) return sign | nan;
    if (isinf(value)) return sign | (f.ieee ? infinity : nan);
    int e;
    frexp(value, &e); /* |value| in [2^(e-1), 2^e) */
    const int emin = 1 - bias_of(f), at = value != 0 && e - 1 > emin ? e - 1 : emin;
    if (at > bias_of(f) + 1) return sign | (f.ieee ? infinity : nan);
    const double steps = nearbyint(ldexp(fabs(value), f.mantissa_bits - at));
    const unsigned bits = (unsigned)steps + ((unsigned)(at - emin) << f.mantissa_bits);
    if (f.ieee) return sign | (bits < infinity ? bits : infinity);
    return sign | (bits < nan ? bits : nan);
}

bool io_dtype_is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 ||
           (dtype > 0 && dtype < FATTN_DTYPE_COUNT && formats[dtype].exponent_bits > 0);
}

static int64_t saturated(double value, int64_t low, int64_t high)
{
    if (isnan(value)) return 0;
    const double whole = nearbyint(value);
    if (whole <= (double)low) return low;
    return whole >= (double)high ? high : (int64_t)whole;
}

int64_t io_get_int(const void *data, fattn_dtype dtype, int64_t at)
{
    switch (dtype) {
    case FATTN_I64:
        return ((const int64_t *)data)[at];
    case FATTN_I32:
    case FATTN_I4:
        return ((const int32_t *)data)[at];
    case FATTN_I8:
        return ((const int8_t *)data)[at];
    case FATTN_U8:
    case FATTN_E2M1:
    case FATTN_E1M2:
    case FATTN_E8M0:
    case FATTN_HIF8:
        return ((const uint8_t *)data)[at];
    case FATTN_BOOL:
        return ((const uint8_t *)data)[at] != 0;
    default:
        return saturated(io_get(data, dtype, at), INT64_MIN, INT64_MAX);
    }
}

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

void io_set_int(void *data, fattn_dtype dtype, int64_t at, int64_t value)
{
    switch (dtype) {
    case FATTN_I64:
        ((int64_t *)data)[at] = value;
        break;
    case FATTN_I32:
    case FATTN_I4:
        ((int32_t *)data)[at] = (int32_t)clamp(value, INT32_MIN, INT32_MAX);
        break;
    case FATTN_I8:
        ((int8_t *)data)[at] = (int8_t)clamp(value, INT8_MIN, INT8_MAX);
        break;
    case FATTN_U8:
    case FATTN_E2M1:
    case FATTN_E1M2:
    case FATTN_E8M0:
    case FATTN_HIF8:
        ((uint8_t *)data)[at] = (uint8_t)clamp(value, 0, UINT8_MAX);
        break;
    case FATTN_BOOL:
        ((uint8_t *)data)[at] = value != 0;
        break;
    default:
        io_set(data, dtype, at, (double)value);
        break;
    }
}

double io_get(const void *data, fattn_dtype dtype, int64_t at)
{
    switch (dtype) {
    case FATTN_F64:
        return ((const double *)data)[at];
    case FATTN_F32:
        return (double)((const float *)data)[at];
    case FATTN_F16:
    case FATTN_BF16:
        return decode(formats[dtype], ((const uint16_t *)data)[at]);
    case FATTN_E4M3:
    case FATTN_E5M2:
        return decode(formats[dtype], ((const uint8_t *)data)[at]);
    case FATTN_DTYPE_NONE:
    case FATTN_DTYPE_COUNT:
        return 0;
    default:
        return (double)io_get_int(data, dtype, at);
    }
}

void io_set(void *data, fattn_dtype dtype, int64_t at, double value)
{
    switch (dtype) {
    case FATTN_F64:
        ((double *)data)[at] = value;
        break;
    case FATTN_F32:
        ((float *)data)[at] = (float)value;
        break;
    case FATTN_F16:
    case FATTN_BF16:
        ((uint16_t *)data)[at] = (uint16_t)encode(formats[dtype], value);
        break;
    case FATTN_E4M3:
    case FATTN_E5M2:
        ((uint8_t *)data)[at] = (uint8_t)encode(formats[dtype], value);
        break;
    case FATTN_DTYPE_NONE:
    case FATTN_DTYPE_COUNT:
        break;
    case FATTN_BOOL:
        ((uint8_t *)data)[at] = value != 0;
        break;
    default:
        io_set_int(data, dtype, at, saturated(value, INT64_MIN, INT64_MAX));
        break;
    }
}

int64_t io_offset(const fattn_tensor *tensor, int64_t index)
{
    int64_t offset = 0;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        offset += index % tensor->shape[i] * tensor->strides[i];
        index /= tensor->shape[i];
    }
    return offset;
}

bool io_is_contiguous(const fattn_tensor *tensor)
{
    int64_t expected = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        if (tensor->shape[i] == 0) return true;
        if (tensor->shape[i] != 1 && tensor->strides[i] != expected) return false;
        expected *= tensor->shape[i];
    }
    return true;
}
