/* SPDX-License-Identifier: Apache-2.0 */
/* vec_avx2.h — AVX2 with FMA and F16C: 8 lanes, 16 registers. */
#ifndef FATTN_CPU_SIMD_VEC_AVX2_H
#define FATTN_CPU_SIMD_VEC_AVX2_H

#include <immintrin.h>
#include <string.h>

#define ISA_SUFFIX avx2
#define ISA_NAME "avx2"

/* Register tiles: TILE_NV vectors wide, tile_height(nv) high: 12 accumulators of 16 registers, or
 * the 8 chains that hide the latency. */
enum { VL = 8, TILE_NV = 2, TILE_HEIGHT_MAX = 8 };
enum { AXPY_VECTORS = 8, PROBE_CHAINS = 12 }; /* accumulators of axpy and of the probe */

static INLINE int tile_height(const int nv) { return nv == TILE_NV ? 6 : 8; }

typedef __m256 vf;
typedef __m256 vm; /* all bits of a lane set or clear */

static INLINE __m256i first_lanes(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static INLINE vf v_dup(float x) { return _mm256_set1_ps(x); }
static INLINE float v_first(vf x) { return _mm256_cvtss_f32(x); }
static INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static INLINE void v_store(float *p, vf x) { _mm256_storeu_ps(p, x); }

static INLINE vf v_load_partial(const float *p, int n)
{
    return _mm256_maskload_ps(p, first_lanes(n));
}

static INLINE void v_store_partial(float *p, vf x, int n)
{
    _mm256_maskstore_ps(p, first_lanes(n), x);
}

static INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }

static INLINE vm v_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }

static INLINE vm v_mask(unsigned bits)
{
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)bits), lane);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane));
}

static INLINE vf v_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
static INLINE int v_any(vm m) { return _mm256_movemask_ps(m) != 0; }

/* Adding 1.5 * 2^23 + 127 rounds to an integer and leaves it, biased, in the low bits: shifted into
 * place they are 2^n. That ends at 2^-126, so smaller results are 0. A product keeps NaN, an
 * integer sum on the exponent would not. */
static INLINE vf v_exp2(vf x)
{
    const vf magic = v_dup(12583039.0f);
    const vf tiny = _mm256_cmp_ps(x, v_dup(-126.0f), _CMP_LT_OQ);
    x = _mm256_min_ps(v_dup(128.0f), x); /* NaN stays; n = 128 gives inf */
    const vf shifted = v_add(x, magic);
    const vf r = v_sub(x, v_sub(shifted, magic));
    vf p = v_fma(r, v_dup(EXP2_6), v_dup(EXP2_5));
    p = v_fma(p, r, v_dup(EXP2_4));
    p = v_fma(p, r, v_dup(EXP2_3));
    p = v_fma(p, r, v_dup(EXP2_2));
    p = v_fma(p, r, v_dup(EXP2_1));
    p = v_fma(p, r, v_dup(1.0f));
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_andnot_ps(tiny, v_mul(p, _mm256_castsi256_ps(n)));
}

/* There is no masked move of 16-bit elements: partial ones go through a copy. */
static INLINE __m128i load_halves(const void *p, int n)
{
    uint16_t copy[VL] = {0};
    for (int i = 0; i < n; i++) copy[i] = ((const uint16_t *)p)[i];
    return _mm_loadu_si128((const __m128i *)copy);
}

static INLINE void store_halves(void *p, __m128i x, int n)
{
    uint16_t copy[VL];
    _mm_storeu_si128((__m128i *)copy, x);
    for (int i = 0; i < n; i++) ((uint16_t *)p)[i] = copy[i];
}

static INLINE vf widen_bf16(__m128i x)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

static INLINE vf v_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

static INLINE vf v_load_f16_partial(const void *p, int n)
{
    return _mm256_cvtph_ps(load_halves(p, n));
}

static INLINE vf v_load_bf16(const void *p)
{
    return widen_bf16(_mm_loadu_si128((const __m128i *)p));
}

static INLINE vf v_load_bf16_partial(const void *p, int n) { return widen_bf16(load_halves(p, n)); }

static INLINE __m128i load_bytes_partial(const void *p, int n)
{
    uint8_t copy[VL] = {0};
    for (int i = 0; i < n; i++) copy[i] = ((const uint8_t *)p)[i];
    return _mm_loadl_epi64((const __m128i *)copy);
}

static INLINE __m128i load_bytes(const void *p) { return _mm_loadl_epi64((const __m128i *)p); }
static INLINE vf widen_i8(__m128i x) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)); }

/* e5m2 is the upper half of an fp16. */
static INLINE vf widen_e5m2(__m128i x)
{
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(x), 8));
}

/* Shifted into place e4m3 is an fp16 that is 2^8 too small; all ones are NaN. */
static INLINE vf widen_e4m3(__m128i x)
{
    const __m128i wide = _mm_slli_epi16(_mm_cvtepi8_epi16(x), 7); /* sign in the top bits */
    const __m128i half = _mm_and_si128(wide, _mm_set1_epi16((short)0xbfff));
    const __m128i size = _mm_and_si128(half, _mm_set1_epi16(0x3fff));
    const __m128i nan = _mm_cmpeq_epi16(size, _mm_set1_epi16(0x3f80));
    const __m128i top = _mm_and_si128(nan, _mm_set1_epi16(0x7e00));
    return v_mul(_mm256_cvtph_ps(_mm_or_si128(half, top)), v_dup(256.0f));
}

/* Lane i: the i-th nibble, moved to the top and back with its sign. */
static INLINE vf widen_i4(int nibbles)
{
    const __m256i place = _mm256_setr_epi32(28, 24, 20, 16, 12, 8, 4, 0);
    const __m256i top = _mm256_sllv_epi32(_mm256_set1_epi32(nibbles), place);
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(top, 28));
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
static INLINE vf v_load_i4(const void *p)
{
    int nibbles;
    memcpy(&nibbles, p, sizeof nibbles);
    return widen_i4(nibbles);
}
static INLINE vf v_load_i4_partial(const void *p, int n)
{
    return widen_i4(_mm_cvtsi128_si32(load_bytes_partial(p, n / 2)));
}

static INLINE __m128i narrow_f16(vf x)
{
    return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static INLINE __m128i narrow_bf16(vf x)
{
    const __m256i u = _mm256_castps_si256(x), top = _mm256_srli_epi32(u, 16);
    const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i near = _mm256_srli_epi32(_mm256_add_epi32(u, half), 16);
    const __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i word = _mm256_blendv_epi8(near, quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(word), _mm256_extracti128_si256(word, 1));
}

static INLINE void v_store_f16(void *p, vf x) { _mm_storeu_si128((__m128i *)p, narrow_f16(x)); }
static INLINE void v_store_bf16(void *p, vf x) { _mm_storeu_si128((__m128i *)p, narrow_bf16(x)); }
static INLINE void v_store_f16_partial(void *p, vf x, int n) { store_halves(p, narrow_f16(x), n); }
static INLINE void v_store_bf16_partial(void *p, vf x, int n)
{
    store_halves(p, narrow_bf16(x), n);
}

/* Inside each half (0+1)+(2+3), then the two halves; lane i is the sum of the i-th argument. */
static INLINE __m128 sum4(vf a, vf b, vf c, vf d)
{
    const vf x = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

static INLINE void v_store_sum4(float *p, vf a, vf b, vf c, vf d)
{
    _mm_storeu_ps(p, sum4(a, b, c, d));
}

static INLINE float v_sum(vf a) { return _mm_cvtss_f32(sum4(a, a, a, a)); }

static INLINE float v_hmax(vf x)
{
    x = v_max(_mm256_permute2f128_ps(x, x, 0x01), x);
    x = v_max(_mm256_permute_ps(x, 0x4e), x);
    return v_first(v_max(_mm256_permute_ps(x, 0xb1), x));
}

static INLINE void v_transpose(vf *x)
{
    vf t[VL];
    UNROLL for (int i = 0; i < VL; i += 2) {
        t[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    UNROLL for (int i = 0; i < VL; i += 4) {
        x[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        x[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        x[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        x[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(x[i], x[i + 4], 0x31);
    }
    UNROLL for (int i = 0; i < VL; i++) x[i] = t[i];
}

typedef __m256i vq;
enum { VQ = 4 };

static INLINE vq q_dup(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
static INLINE vq q_order(void) { return _mm256_setr_epi64x(0, 2, 1, 3); }
static INLINE vq q_load(const uint64_t *p) { return _mm256_loadu_si256((const vq *)p); }
static INLINE void q_store(uint64_t *p, vq x) { _mm256_storeu_si256((vq *)p, x); }
static INLINE vq q_add(vq a, vq b) { return _mm256_add_epi64(a, b); }
static INLINE vq q_shift(vq a) { return _mm256_srli_epi64(a, 32); }
static INLINE vq q_mul32(vq a, vq b) { return _mm256_mul_epu32(a, b); }
static INLINE vq q_xor3(vq a, vq b, vq c) { return _mm256_xor_si256(_mm256_xor_si256(a, b), c); }

static INLINE uint32_t words_kept(vq words, int bits, int threshold)
{
    const vq u = _mm256_and_si256(words, _mm256_set1_epi32(bits));
    const vq below = _mm256_cmpgt_epi32(_mm256_set1_epi32(threshold), u);
    return ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(below)) & 255;
}

static INLINE uint64_t q_kept(vq a, vq b, vq c, vq d, int bits, int threshold)
{
    const vq ab = _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xaa);
    const vq cd = _mm256_blend_epi32(c, _mm256_slli_epi64(d, 32), 0xaa);
    return words_kept(_mm256_unpacklo_epi64(ab, cd), bits, threshold) |
           words_kept(_mm256_unpackhi_epi64(ab, cd), bits, threshold) << 8;
}

#endif
