/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx512.h — AVX-512 F, BW, VL, DQ: 16 lanes, 32 registers, masks of their own. */
#ifndef FATTN_CPU_SIMD_VEC_AVX512_H
#define FATTN_CPU_SIMD_VEC_AVX512_H

#include <immintrin.h>

#define ISA_SUFFIX avx512
#define ISA_NAME "avx512"

/* Register tiles: TILE_NV vectors wide, tile_height(nv) high: 24 accumulators of 32 registers, or
 * at least the 8 chains that hide the latency. */
enum { VL = 16, TILE_NV = 4, TILE_HEIGHT_MAX = 8 };
enum { AXPY_VECTORS = 16, PROBE_CHAINS = 12 }; /* accumulators of axpy and of the probe */

static INLINE int tile_height(const int nv) { return nv == TILE_NV ? 6 : 8; }

typedef __m512 vf;
typedef __mmask16 vm;

static INLINE __mmask16 first_lanes(int n) { return (__mmask16)((1u << n) - 1); }

static INLINE vf v_dup(float x) { return _mm512_set1_ps(x); }
static INLINE float v_first(vf x) { return _mm512_cvtss_f32(x); }
static INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static INLINE void v_store(float *p, vf x) { _mm512_storeu_ps(p, x); }

static INLINE vf v_load_partial(const float *p, int n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static INLINE void v_store_partial(float *p, vf x, int n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), x);
}

static INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }

static INLINE vm v_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static INLINE vm v_mask(unsigned bits) { return (__mmask16)bits; }
static INLINE vf v_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
static INLINE int v_any(vm m) { return m != 0; }

/* VREDUCE gives x - round(x) (0 for an infinite x), VSCALEF multiplies by 2^n. A weight below 2^-126
 * is 0: Intel's cores need over 100 cycles for every sum with a subnormal one. */
static INLINE vf v_exp2(vf x)
{
    const vf r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vf n = v_sub(x, r);
    vf p = v_fma(r, v_dup(EXP2_6), v_dup(EXP2_5));
    p = v_fma(p, r, v_dup(EXP2_4));
    p = v_fma(p, r, v_dup(EXP2_3));
    p = v_fma(p, r, v_dup(EXP2_2));
    p = v_fma(p, r, v_dup(EXP2_1));
    p = v_fma(p, r, v_dup(1.0f));
    const __mmask16 normal = _mm512_cmp_ps_mask(x, v_dup(-126.0f), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(normal, p, n);
}

static INLINE vf v_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

static INLINE vf v_load_f16_partial(const void *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

static INLINE vf widen_bf16(__m256i x)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static INLINE vf v_load_bf16(const void *p)
{
    return widen_bf16(_mm256_loadu_si256((const __m256i *)p));
}

static INLINE vf v_load_bf16_partial(const void *p, int n)
{
    return widen_bf16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

static INLINE __m128i load_bytes(const void *p) { return _mm_loadu_si128((const __m128i *)p); }

static INLINE __m128i load_bytes_partial(const void *p, int n)
{
    return _mm_maskz_loadu_epi8(first_lanes(n), p);
}

static INLINE vf widen_i8(__m128i x) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x)); }

/* e5m2 is the upper half of an fp16. */
static INLINE vf widen_e5m2(__m128i x)
{
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(x), 8));
}

/* Shifted into place e4m3 is an fp16 that is 2^8 too small; all ones are NaN. */
static INLINE vf widen_e4m3(__m128i x)
{
    const __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(x), 7); /* sign in the top bits */
    const __m256i half = _mm256_and_si256(wide, _mm256_set1_epi16((short)0xbfff));
    const __m128i ones = _mm_or_si128(x, _mm_set1_epi8((char)0x80));
    const __mmask16 number = _mm_cmpneq_epi8_mask(ones, _mm_set1_epi8((char)0xff));
    return _mm512_mask_mul_ps(v_dup(__builtin_nanf("")), number, _mm512_cvtph_ps(half),
                              v_dup(256.0f));
}

/* Lane i: the i-th nibble, looked up. */
static INLINE vf widen_i4(__m128i x)
{
    const __m512i eight = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    const __m512i place = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    const vf number = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    const __m512i of_eight = _mm512_permutexvar_epi32(eight, _mm512_castsi128_si512(x));
    return _mm512_permutexvar_ps(_mm512_srlv_epi32(of_eight, place), number); /* reads 4 bits */
}

static INLINE vf v_load_i8(const void *p) { return widen_i8(load_bytes(p)); }
static INLINE vf v_load_i8_partial(const void *p, int n)
{
    return widen_i8(load_bytes_partial(p, n));
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
static INLINE vf v_load_i4(const void *p) { return widen_i4(_mm_loadl_epi64((const __m128i *)p)); }
static INLINE vf v_load_i4_partial(const void *p, int n)
{
    return widen_i4(load_bytes_partial(p, n / 2));
}

static INLINE __m256i narrow_f16(vf x)
{
    return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static INLINE __m256i narrow_bf16(vf x)
{
    const __m512i u = _mm512_castps_si512(x), top = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i near = _mm512_srli_epi32(_mm512_add_epi32(u, half), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(near, nan, top, _mm512_set1_epi32(0x40)));
}

static INLINE void v_store_f16(void *p, vf x) { _mm256_storeu_si256((__m256i *)p, narrow_f16(x)); }

static INLINE void v_store_f16_partial(void *p, vf x, int n)
{
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrow_f16(x));
}

static INLINE void v_store_bf16(void *p, vf x)
{
    _mm256_storeu_si256((__m256i *)p, narrow_bf16(x));
}

static INLINE void v_store_bf16_partial(void *p, vf x, int n)
{
    _mm256_mask_storeu_epi16(p, first_lanes(n), narrow_bf16(x));
}

/* Lanes 4i..4i+3 of the result all hold the sum of the i-th argument:
 * quarters (0+2)+(1+3), then inside the quarter (0+2)+(1+3). */
static INLINE vf sum4(vf a, vf b, vf c, vf d)
{
    const vf ab = v_add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const vf cd = v_add(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    vf x = v_add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    x = v_add(x, _mm512_permute_ps(x, 0x4e));
    return v_add(x, _mm512_permute_ps(x, 0xb1));
}

static INLINE void v_store_sum4(float *p, vf a, vf b, vf c, vf d)
{
    _mm_storeu_ps(p, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, sum4(a, b, c, d))));
}

static INLINE float v_sum(vf a) { return v_first(sum4(a, a, a, a)); }

static INLINE float v_hmax(vf x)
{
    x = v_max(_mm512_shuffle_f32x4(x, x, 0x4e), x);
    x = v_max(_mm512_shuffle_f32x4(x, x, 0xb1), x);
    x = v_max(_mm512_permute_ps(x, 0x4e), x);
    return v_first(v_max(_mm512_permute_ps(x, 0xb1), x));
}

/* Pairs of rows, then of pairs, inside the quarters; then the quarters themselves. */
static INLINE void v_transpose(vf *x)
{
    vf t[VL];
    UNROLL for (int i = 0; i < VL; i += 2) {
        t[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    UNROLL for (int i = 0; i < VL; i += 4) {
        x[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        x[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        x[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        x[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(x[i], x[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(x[i], x[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0xdd);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        x[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        x[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        x[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        x[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

typedef __m512i vq;
enum { VQ = 8 };

static INLINE vq q_dup(uint64_t x) { return _mm512_set1_epi64((long long)x); }
static INLINE vq q_order(void) { return _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7); }
static INLINE vq q_load(const uint64_t *p) { return _mm512_loadu_si512(p); }
static INLINE void q_store(uint64_t *p, vq x) { _mm512_storeu_si512(p, x); }
static INLINE vq q_add(vq a, vq b) { return _mm512_add_epi64(a, b); }
static INLINE vq q_shift(vq a) { return _mm512_srli_epi64(a, 32); }
static INLINE vq q_mul32(vq a, vq b) { return _mm512_mul_epu32(a, b); }
static INLINE vq q_xor3(vq a, vq b, vq c) { return _mm512_ternarylogic_epi64(a, b, c, 0x96); }

static INLINE __mmask16 words_kept(vq words, int bits, int threshold)
{
    return _mm512_cmpge_epi32_mask(_mm512_and_si512(words, _mm512_set1_epi32(bits)),
                                   _mm512_set1_epi32(threshold));
}

static INLINE uint64_t q_kept(vq a, vq b, vq c, vq d, int bits, int threshold)
{
    const vq ab = _mm512_mask_blend_epi32(0xaaaa, a, _mm512_slli_epi64(b, 32));
    const vq cd = _mm512_mask_blend_epi32(0xaaaa, c, _mm512_slli_epi64(d, 32));
    const __mmask16 low = words_kept(_mm512_unpacklo_epi64(ab, cd), bits, threshold);
    const __mmask16 high = words_kept(_mm512_unpackhi_epi64(ab, cd), bits, threshold);
    return (uint32_t)low | (uint32_t)high << 16;
}

#endif
