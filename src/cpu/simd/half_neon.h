/* SPDX-License-Identifier: Apache-2.0 */
/* half_neon.h — the fp16 arithmetic of Armv8.2: 8 halves. */
#ifndef FATTN_CPU_SIMD_HALF_NEON_H
#define FATTN_CPU_SIMD_HALF_NEON_H

enum { HL = 8 };

typedef float16x8_t vh;

static INLINE vh h_zero(void) { return vdupq_n_f16(0); }
static INLINE vh h_load(const uint16_t *p) { return vreinterpretq_f16_u16(vld1q_u16(p)); }
static INLINE vh h_pair(const uint32_t *p) { return vreinterpretq_f16_u32(vld1q_dup_u32(p)); }
static INLINE vh h_fma(vh a, vh b, vh c) { return vfmaq_f16(c, a, b); }
static INLINE vh h_add(vh a, vh b) { return vaddq_f16(a, b); }

/* An exponent of ones is infinite or NaN. */
static INLINE int h_finite(vh x)
{
    const uint16x8_t exponent = vandq_u16(vreinterpretq_u16_f16(x), vdupq_n_u16(0x7c00));
    return vmaxvq_u16(exponent) < 0x7c00;
}

static INLINE vf h_widen(vh x, const int i)
{
    return vcvt_f32_f16(i ? vget_high_f16(x) : vget_low_f16(x));
}

static INLINE void h_store_pairs(uint32_t *p, vf x)
{
    const uint32x4_t half = vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32(x)));
    vst1q_u32(p, vsliq_n_u32(half, half, 16));
}

#endif
