/* SPDX-License-Identifier: Apache-2.0 */
/* vec_scalar.h — one lane in plain C, for any machine. v_fma rounds twice: fmaf() without the
 * instruction is a function call that costs more than the kernel around it. */
#ifndef FATTN_CPU_SIMD_VEC_SCALAR_H
#define FATTN_CPU_SIMD_VEC_SCALAR_H

#include <string.h>

#define ISA_SUFFIX scalar
#define ISA_NAME "scalar"

/* 4 x 4: what the compiler can keep in 16 registers. It may turn lanes into vectors of four, so the
 * probe has chains enough for eight of those. */
enum { VL = 1, TILE_NV = 4, TILE_HEIGHT_MAX = 4 };
enum { AXPY_VECTORS = 4, PROBE_CHAINS = 32 }; /* accumulators of axpy and of the probe */

static INLINE int tile_height(const int nv)
{
    (void)nv;
    return 4;
}

typedef float vf;
typedef int vm;

static INLINE uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static INLINE float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static INLINE vf v_dup(float x) { return x; }
static INLINE float v_first(vf x) { return x; }
static INLINE vf v_load(const float *p) { return *p; }
static INLINE void v_store(float *p, vf x) { *p = x; }
static INLINE vf v_load_partial(const float *p, int n) { return n > 0 ? *p : 0.0f; }

static INLINE void v_store_partial(float *p, vf x, int n)
{
    if (n > 0) *p = x;
}

static INLINE vf v_add(vf a, vf b) { return a + b; }
static INLINE vf v_sub(vf a, vf b) { return a - b; }
static INLINE vf v_mul(vf a, vf b) { return a * b; }
static INLINE vf v_div(vf a, vf b) { return a / b; }
static INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
static INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
static INLINE vm v_gt(vf a, vf b) { return a > b; }
static INLINE vm v_mask(unsigned bits) { return (int)(bits & 1); }
static INLINE vf v_select(vm m, vf a, vf b) { return m ? a : b; }
static INLINE int v_any(vm m) { return m; }

/* Adding 1.5 * 2^23 + 127 rounds to an integer and leaves it, biased, in the low bits: shifted into
 * place they are 2^n. That ends at 2^-126, so smaller results are 0. A product keeps NaN, an
 * integer sum on the exponent would not. */
static INLINE vf v_exp2(vf x)
{
    const float magic = 12583039.0f;
    if (x < -126.0f) return 0.0f;
    if (x > 128.0f) x = 128.0f; /* NaN stays; n = 128 gives inf */
    const float shifted = x + magic;
    const float r = x - (shifted - magic);
    float p = r * EXP2_6 + EXP2_5;
    p = p * r + EXP2_4;
    p = p * r + EXP2_3;
    p = p * r + EXP2_2;
    p = p * r + EXP2_1;
    p = p * r + 1.0f;
    return p * float_of(bits_of(shifted) << 23);
}

static INLINE vf v_load_bf16(const void *p)
{
    return float_of((uint32_t) * (const uint16_t *)p << 16);
}

/* The exponent is rebiased by 112; 31 means inf or NaN, 0 a multiple of 2^-24. */
static INLINE vf v_load_f16(const void *p)
{
    const uint32_t h = *(const uint16_t *)p, size = h & 0x7fff, sign = (h & 0x8000) << 16;
    if (size < 0x0400) return float_of(sign | bits_of((float)size * 0x1p-24f));
    return float_of(sign | ((size << 13) + ((size < 0x7c00 ? 112u : 224u) << 23)));
}

static INLINE vf v_load_i8(const void *p) { return (float)*(const int8_t *)p; }

/* e5m2 is the upper half of an fp16. */
static INLINE vf v_load_e5m2(const void *p)
{
    const uint16_t half = (uint16_t)(*(const uint8_t *)p << 8);
    return v_load_f16(&half);
}

/* Shifted into place e4m3 is an fp16 that is 2^8 too small; all ones are NaN. */
static INLINE vf v_load_e4m3(const void *p)
{
    const uint32_t byte = *(const uint8_t *)p, size = byte & 0x7f;
    const uint16_t half = (uint16_t)((byte & 0x80) << 8 | (size == 0x7f ? 0x7e00 : size << 7));
    return v_load_f16(&half) * 256.0f;
}

/* One lane holds no pair; rows of i4 are widened first (load.c). */
static INLINE vf v_load_i4(const void *p) { return (void)p, 0.0f; }
static INLINE vf v_load_i4_partial(const void *p, int n) { return (void)p, (void)n, 0.0f; }
static INLINE vf v_load_i8_partial(const void *p, int n) { return n > 0 ? v_load_i8(p) : 0.0f; }
static INLINE vf v_load_e4m3_partial(const void *p, int n) { return n > 0 ? v_load_e4m3(p) : 0.0f; }
static INLINE vf v_load_e5m2_partial(const void *p, int n) { return n > 0 ? v_load_e5m2(p) : 0.0f; }
static INLINE vf v_load_f16_partial(const void *p, int n) { return n > 0 ? v_load_f16(p) : 0.0f; }
static INLINE vf v_load_bf16_partial(const void *p, int n) { return n > 0 ? v_load_bf16(p) : 0.0f; }

static INLINE uint32_t narrow_bf16(float x)
{
    const uint32_t u = bits_of(x);
    return x != x ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

static INLINE uint32_t narrow_f16(float x)
{
    const uint32_t sign = bits_of(x) >> 16 & 0x8000, u = bits_of(x) & 0x7fffffff;
    if (u > 0x7f800000) return sign | 0x7e00 | (u >> 13 & 0x3ff);
    if (u >= 0x47800000) return sign | 0x7c00; /* 2^16 and more */
    if (u < 0x38800000) /* below 2^-14: adding 1/2 leaves multiples of 2^-24 in the low bits */
        return sign | (bits_of(float_of(u) + 0.5f) - 0x3f000000);
    return sign | (((u + 0xfff + (u >> 13 & 1)) >> 13) - (112 << 10));
}

static INLINE void v_store_f16(void *p, vf x) { *(uint16_t *)p = (uint16_t)narrow_f16(x); }
static INLINE void v_store_bf16(void *p, vf x) { *(uint16_t *)p = (uint16_t)narrow_bf16(x); }

static INLINE void v_store_f16_partial(void *p, vf x, int n)
{
    if (n > 0) v_store_f16(p, x);
}

static INLINE void v_store_bf16_partial(void *p, vf x, int n)
{
    if (n > 0) v_store_bf16(p, x);
}

static INLINE void v_store_sum4(float *p, vf a, vf b, vf c, vf d)
{
    p[0] = a, p[1] = b, p[2] = c, p[3] = d;
}

static INLINE float v_sum(vf a) { return a; }
static INLINE float v_hmax(vf x) { return x; }
static INLINE void v_transpose(vf *x) { (void)x; }

typedef uint64_t vq;
enum { VQ = 1 };

static INLINE vq q_dup(uint64_t x) { return x; }
static INLINE vq q_order(void) { return 0; }
static INLINE vq q_load(const uint64_t *p) { return *p; }
static INLINE void q_store(uint64_t *p, vq x) { *p = x; }
static INLINE vq q_add(vq a, vq b) { return a + b; }
static INLINE vq q_shift(vq a) { return a >> 32; }
static INLINE vq q_mul32(vq a, vq b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
static INLINE vq q_xor3(vq a, vq b, vq c) { return a ^ b ^ c; }

static INLINE uint64_t q_kept(vq a, vq b, vq c, vq d, int bits, int threshold)
{
    const vq mask = (vq)bits, least = (vq)threshold;
    return (uint64_t)((a & mask) >= least) | (uint64_t)((b & mask) >= least) << 1 |
           (uint64_t)((c & mask) >= least) << 2 | (uint64_t)((d & mask) >= least) << 3;
}

#endif
