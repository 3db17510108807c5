/* SPDX-License-Identifier: Apache-2.0 */
/* half_scalar.h — one half in a float, for any machine: the oracle of the others. A product of two halves is exact in
 * double, and rounding its sum with a third one to double never hides which half is nearest. */
#ifndef FATTN_CPU_SIMD_HALF_SCALAR_H
#define FATTN_CPU_SIMD_HALF_SCALAR_H

enum { HL = 1 };

typedef float vh;

/* To float first, and what that loses into the last bit (rounding to odd): then the second rounding sees that
 * it was no tie. */
static INLINE vh h_round(double x)
{
    uint32_t near = bits_of((float)x);
    const double back = (double)float_of(near);
    if (back != x) near = (near - (__builtin_fabs(back) > __builtin_fabs(x))) | 1;
    const uint16_t half = (uint16_t)narrow_f16(float_of(near));
    return v_load_f16(&half);
}

static INLINE vh h_zero(void) { return 0; }
static INLINE vh h_load(const uint16_t *p) { return v_load_f16(p); }

static INLINE vh h_pair(const uint32_t *p)
{
    const uint16_t half = (uint16_t)*p;
    return v_load_f16(&half);
}

static INLINE vh h_fma(vh a, vh b, vh c) { return h_round((double)a * (double)b + (double)c); }
static INLINE vh h_add(vh a, vh b) { return h_round((double)a + (double)b); }
static INLINE int h_finite(vh x) { return x - x == 0; }

static INLINE vf h_widen(vh x, const int i)
{
    (void)i;
    return x;
}

static INLINE void h_store_pairs(uint32_t *p, vf x) { *p = narrow_f16(x) * UINT32_C(0x10001); }

#endif
