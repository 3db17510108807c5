/* SPDX-License-Identifier: Apache-2.0 */
/* vec_neon.h — AArch64 Advanced SIMD, part of the base architecture: 4 lanes, 32 registers. */
#ifndef FATTN_CPU_SIMD_VEC_NEON_H
#define FATTN_CPU_SIMD_VEC_NEON_H

#include <arm_neon.h>

#define ISA_SUFFIX neon
#define ISA_NAME "neon"

/* Register tiles: TILE_NV vectors wide, tile_height(nv) high: 24 accumulators of 32 registers, or
 * at least the 8 chains that hide the latency. */
enum { VL = 4, TILE_NV = 4, TILE_HEIGHT_MAX = 8 };
enum { AXPY_VECTORS = 16, PROBE_CHAINS = 20 }; /* accumulators of axpy and of the probe */

static INLINE int tile_height(const int nv) { return nv == TILE_NV ? 6 : 8; }

typedef float32x4_t vf;
typedef uint32x4_t vm; /* all bits of a lane set or clear */

static INLINE vf v_dup(float x) { return vdupq_n_f32(x); }
static INLINE float v_first(vf x) { return vgetq_lane_f32(x, 0); }
static INLINE vf v_load(const float *p) { return vld1q_f32(p); }
static INLINE void v_store(float *p, vf x) { vst1q_f32(p, x); }

/* There are no masked moves: partial ones go through a copy. */
static INLINE vf v_load_partial(const float *p, int n)
{
    float copy[VL] = {0};
    for (int i = 0; i < n; i++) copy[i] = p[i];
    return v_load(copy);
}

static INLINE void v_store_partial(float *p, vf x, int n)
{
    float copy[VL];
    v_store(copy, x);
    for (int i = 0; i < n; i++) p[i] = copy[i];
}

static INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static INLINE vm v_gt(vf a, vf b) { return vcgtq_f32(a, b); }
static INLINE vf v_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
static INLINE vf v_max(vf a, vf b) { return v_select(v_gt(a, b), a, b); }
static INLINE int v_any(vm m) { return vmaxvq_u32(m) != 0; }

static INLINE vm v_mask(unsigned bits)
{
    static const uint32_t lane[VL] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lane));
}

/* Adding 1.5 * 2^23 + 127 rounds to an integer and leaves it, biased, in the low bits: shifted into
 * place they are 2^n. That ends at 2^-126, so smaller results are 0. A product keeps NaN, an
 * integer sum on the exponent would not. */
static INLINE vf v_exp2(vf x)
{
    const vf magic = v_dup(12583039.0f);
    const vm tiny = vcltq_f32(x, v_dup(-126.0f));
    x = vminq_f32(x, v_dup(128.0f)); /* NaN stays; n = 128 gives inf */
    const vf shifted = v_add(x, magic);
    const vf r = v_sub(x, v_sub(shifted, magic));
    vf p = v_fma(r, v_dup(EXP2_6), v_dup(EXP2_5));
    p = v_fma(p, r, v_dup(EXP2_4));
    p = v_fma(p, r, v_dup(EXP2_3));
    p = v_fma(p, r, v_dup(EXP2_2));
    p = v_fma(p, r, v_dup(EXP2_1));
    p = v_fma(p, r, v_dup(1.0f));
    const uint32x4_t n = vshlq_n_u32(vreinterpretq_u32_f32(shifted), 23);
    const vf scaled = v_mul(p, vreinterpretq_f32_u32(n));
    return v_select(tiny, v_dup(0.0f), scaled);
}

static INLINE uint16x4_t load_halves(const void *p, int n)
{
    uint16_t copy[VL] = {0};
    for (int i = 0; i < n; i++) copy[i] = ((const uint16_t *)p)[i];
    return vld1_u16(copy);
}

static INLINE void store_halves(void *p, uint16x4_t x, int n)
{
    uint16_t copy[VL];
    vst1_u16(copy, x);
    for (int i = 0; i < n; i++) ((uint16_t *)p)[i] = copy[i];
}

static INLINE vf widen_f16(uint16x4_t x) { return vcvt_f32_f16(vreinterpret_f16_u16(x)); }
static INLINE vf widen_bf16(uint16x4_t x) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }
static INLINE vf v_load_f16(const void *p) { return widen_f16(vld1_u16(p)); }
static INLINE vf v_load_bf16(const void *p) { return widen_bf16(vld1_u16(p)); }
static INLINE vf v_load_f16_partial(const void *p, int n) { return widen_f16(load_halves(p, n)); }
static INLINE vf v_load_bf16_partial(const void *p, int n) { return widen_bf16(load_halves(p, n)); }

/* The first n <= 4 bytes, the others 0. */
static INLINE uint8x8_t load_bytes_partial(const void *p, int n)
{
    uint8_t copy[8] = {0};
    for (int i = 0; i < n; i++) copy[i] = ((const uint8_t *)p)[i];
    return vld1_u8(copy);
}

static INLINE uint8x8_t load_bytes(const void *p)
{
    uint32_t word;
    __builtin_memcpy(&word, p, sizeof word);
    return vcreate_u8(word);
}

static INLINE vf widen_i8(int8x8_t x)
{
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(x))));
}

/* e5m2 is the upper half of an fp16. */
static INLINE vf widen_e5m2(uint8x8_t x)
{
    return widen_f16(vshl_n_u16(vget_low_u16(vmovl_u8(x)), 8));
}

/* Shifted into place e4m3 is an fp16 that is 2^8 too small; all ones are NaN. */
static INLINE vf widen_e4m3(uint8x8_t x)
{
    const uint16x4_t wide = vget_low_u16(vmovl_u8(x)), size = vand_u16(wide, vdup_n_u16(0x7f));
    const uint16x4_t sign = vshl_n_u16(vand_u16(wide, vdup_n_u16(0x80)), 8);
    const uint16x4_t nan = vand_u16(vceq_u16(size, vdup_n_u16(0x7f)), vdup_n_u16(0x7e00));
    const uint16x4_t half = vorr_u16(sign, vorr_u16(vshl_n_u16(size, 7), nan));
    return v_mul(widen_f16(half), v_dup(256.0f));
}

/* Two elements of a byte, the low nibble first. */
static INLINE vf widen_i4(uint8x8_t x)
{
    const uint8x8_t even = vand_u8(x, vdup_n_u8(15)), odd = vshr_n_u8(x, 4);
    const int8x8_t both = vreinterpret_s8_u8(veor_u8(vzip1_u8(even, odd), vdup_n_u8(8)));
    return widen_i8(vsub_s8(both, vdup_n_s8(8)));
}

static INLINE vf v_load_i8(const void *p) { return widen_i8(vreinterpret_s8_u8(load_bytes(p))); }
static INLINE vf v_load_i8_partial(const void *p, int n)
{
    return widen_i8(vreinterpret_s8_u8(load_bytes_partial(p, n)));
}
static INLINE vf v_load_e4m3(const void *p) { return widen_e4m3(load_bytes(p)); }
static INLINE vf v_load_e4m3_partial(const void *p, int n)
{
    return widen_e4m3(load_bytes_partial(p, n));
}
static INLINE vf v_load_e5m2(const void *p) { return widen_e5m2(load_bytes(p)); }
static INLINE vf v_load_e5m2_partial(const void *p, int n)
{
    return widen_e5m2(load_bytes_partial(p, n));
}
static INLINE vf v_load_i4(const void *p) { return widen_i4(load_bytes_partial(p, VL / 2)); }
static INLINE vf v_load_i4_partial(const void *p, int n)
{
    return widen_i4(load_bytes_partial(p, n / 2));
}

static INLINE uint16x4_t narrow_f16(vf x) { return vreinterpret_u16_f16(vcvt_f16_f32(x)); }

static INLINE uint16x4_t narrow_bf16(vf x)
{
    const uint32x4_t u = vreinterpretq_u32_f32(x), top = vshrq_n_u32(u, 16);
    const uint32x4_t half = vaddq_u32(vandq_u32(top, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    const uint32x4_t near = vshrq_n_u32(vaddq_u32(u, half), 16);
    const uint32x4_t quiet = vorrq_u32(top, vdupq_n_u32(0x40));
    return vmovn_u32(vbslq_u32(vceqq_f32(x, x), near, quiet));
}

static INLINE void v_store_f16(void *p, vf x) { vst1_u16(p, narrow_f16(x)); }
static INLINE void v_store_bf16(void *p, vf x) { vst1_u16(p, narrow_bf16(x)); }
static INLINE void v_store_f16_partial(void *p, vf x, int n) { store_halves(p, narrow_f16(x), n); }
static INLINE void v_store_bf16_partial(void *p, vf x, int n)
{
    store_halves(p, narrow_bf16(x), n);
}

/* (0+1)+(2+3); lane i is the sum of the i-th argument. */
static INLINE vf sum4(vf a, vf b, vf c, vf d)
{
    return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
}

static INLINE void v_store_sum4(float *p, vf a, vf b, vf c, vf d) { v_store(p, sum4(a, b, c, d)); }
static INLINE float v_sum(vf a) { return v_first(sum4(a, a, a, a)); }

static INLINE float v_hmax(vf x)
{
    x = v_max(vextq_f32(x, x, 2), x);
    return v_first(v_max(vrev64q_f32(x), x));
}

static INLINE void v_transpose(vf *x)
{
    const float32x4x2_t a = vtrnq_f32(x[0], x[1]), b = vtrnq_f32(x[2], x[3]);
    x[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    x[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    x[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    x[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

typedef uint64x2_t vq;
enum { VQ = 2 };

static INLINE vq q_dup(uint64_t x) { return vdupq_n_u64(x); }
static INLINE vq q_order(void) { return vcombine_u64(vcreate_u64(0), vcreate_u64(1)); }
static INLINE vq q_load(const uint64_t *p) { return vld1q_u64(p); }
static INLINE void q_store(uint64_t *p, vq x) { vst1q_u64(p, x); }
static INLINE vq q_add(vq a, vq b) { return vaddq_u64(a, b); }
static INLINE vq q_shift(vq a) { return vshrq_n_u64(a, 32); }
static INLINE vq q_mul32(vq a, vq b) { return vmull_u32(vmovn_u64(a), vmovn_u64(b)); }
static INLINE vq q_xor3(vq a, vq b, vq c) { return veorq_u64(veorq_u64(a, b), c); }

static INLINE uint32_t words_kept(uint32x4_t words, int bits, int threshold)
{
    static const uint32_t weights[] = {1, 2, 4, 8};
    const uint32x4_t u = vandq_u32(words, vdupq_n_u32((uint32_t)bits));
    const uint32x4_t ge = vcgeq_u32(u, vdupq_n_u32((uint32_t)threshold));
    return vaddvq_u32(vandq_u32(ge, vld1q_u32(weights)));
}

static INLINE uint64_t q_kept(vq a, vq b, vq c, vq d, int bits, int threshold)
{
    const uint32x4_t ab = vtrn1q_u32(vreinterpretq_u32_u64(a), vreinterpretq_u32_u64(b));
    const uint32x4_t cd = vtrn1q_u32(vreinterpretq_u32_u64(c), vreinterpretq_u32_u64(d));
    const uint64x2_t p = vreinterpretq_u64_u32(ab), q = vreinterpretq_u64_u32(cd);
    return words_kept(vreinterpretq_u32_u64(vzip1q_u64(p, q)), bits, threshold) |
           words_kept(vreinterpretq_u32_u64(vzip2q_u64(p, q)), bits, threshold) << 4;
}

#endif
