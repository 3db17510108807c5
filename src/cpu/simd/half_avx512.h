/* SPDX-License-Identifier: Apache-2.0 */
/* half_avx512.h — AVX512_FP16: 32 halves. */
#ifndef FATTN_CPU_SIMD_HALF_AVX512_H
#define FATTN_CPU_SIMD_HALF_AVX512_H

enum { HL = 32 };

typedef __m512h vh;

static INLINE vh h_zero(void) { return _mm512_setzero_ph(); }
static INLINE vh h_load(const uint16_t *p) { return _mm512_castsi512_ph(_mm512_loadu_si512(p)); }
static INLINE vh h_pair(const uint32_t *p)
{
    return _mm512_castsi512_ph(_mm512_set1_epi32((int)*p));
}
static INLINE vh h_fma(vh a, vh b, vh c) { return _mm512_fmadd_ph(a, b, c); }
static INLINE vh h_add(vh a, vh b) { return _mm512_add_ph(a, b); }

/* An exponent of ones is infinite or NaN. */
static INLINE int h_finite(vh x)
{
    const __m512i ones = _mm512_set1_epi16(0x7c00);
    const __m512i exponent = _mm512_and_si512(_mm512_castph_si512(x), ones);
    return _mm512_cmpeq_epi16_mask(exponent, ones) == 0;
}

static INLINE vf h_widen(vh x, const int i)
{
    const __m512i bits = _mm512_castph_si512(x);
    return _mm512_cvtph_ps(i ? _mm512_extracti64x4_epi64(bits, 1) : _mm512_castsi512_si256(bits));
}

static INLINE void h_store_pairs(uint32_t *p, vf x)
{
    const __m512i half = _mm512_cvtepu16_epi32(narrow_f16(x));
    _mm512_storeu_si512(p, _mm512_or_si512(half, _mm512_slli_epi32(half, 16)));
}

#endif
