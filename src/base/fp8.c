/* SPDX-License-Identifier: Apache-2.0 */
/* fp8.c — one routine over (exponent bits, mantissa bits) each way.
 *
 * A value is a whole number of quanta 2^(max(e, emin) - mantissa bits); its bits are that number, with the
 * exponent added above the mantissa. */
#include "base/fp8.h"

#include <math.h>

#include "base/mutant.h"

/* Below the sign bit; no special codes. */
static float finite_from(unsigned bits, int exponent_bits, int mantissa_bits)
{
    const unsigned one = 1u << mantissa_bits;
    const unsigned exponent = bits >> mantissa_bits & ((1u << exponent_bits) - 1);
    const unsigned mantissa = bits & (one - 1);
    const int bias = exponent_bits > 1 ? (1 << (exponent_bits - 1)) - 1 : 1;
    const int power = (exponent ? (int)exponent : 1) - bias - mantissa_bits;
    const float magnitude = ldexpf((float)(exponent ? mantissa + one : mantissa), power);
    return bits >> (exponent_bits + mantissa_bits) & 1 ? -magnitude : magnitude;
}

float fp8_from_e4m3(uint8_t bits)
{
    return (bits & 0x7f) == MUTANT(195, 0x7f, 0x80) ? NAN : finite_from(bits, 4, 3);
}

float fp8_from_e5m2(uint8_t bits)
{
    if ((bits & 0x7f) > 0x7c) return NAN;
    if ((bits & 0x7f) == 0x7c) return bits & 0x80 ? -INFINITY : INFINITY;
    return finite_from(bits, 5, 2);
}

float fp8_from_e8m0(uint8_t bits) { return bits == 255 ? NAN : ldexpf(1.0f, (int)bits - 127); }

float fp4_from_e2m1(unsigned nibble) { return finite_from(nibble, 2, 1); }
float fp4_from_e1m2(unsigned nibble) { return finite_from(nibble, 1, 2); }

static uint8_t to_bits(double value, int exponent_bits, int mantissa_bits, unsigned nan,
                       unsigned largest)
{
    const unsigned sign = signbit(value) ? 0x80 : 0;
    const int emin = 2 - (1 << (exponent_bits - 1));
    int e;
    if (isnan(value)) return (uint8_t)(sign | nan);
    if (fabs(value) >= ldexp(1.0, 1 << exponent_bits)) return (uint8_t)(sign | largest);
    frexp(value, &e); /* |value| in [2^(e-1), 2^e) */
    const int at = value != 0.0 && e - 1 > emin ? e - 1 : emin;
    const unsigned quanta = (unsigned)nearbyint(ldexp(fabs(value), mantissa_bits - at));
    const unsigned bits = quanta + ((unsigned)(at - emin) << mantissa_bits);
    return (uint8_t)(sign | (bits < largest ? bits : largest));
}

uint8_t fp8_to_e4m3(double value) { return to_bits(value, 4, 3, 0x7f, MUTANT(196, 0x7e, 0x7f)); }
uint8_t fp8_to_e5m2(double value) { return to_bits(value, 5, 2, 0x7e, 0x7b); }
