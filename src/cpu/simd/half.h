/* SPDX-License-Identifier: Apache-2.0 */
/* half.h — the vocabulary of fp16 arithmetic, beside vec.h: one vector of HL halves.
 *
 *   vh                  HL halves, IEEE binary16, subnormal ones too
 *   h_zero, h_load      HL halves at any address
 *   h_pair(p)           a half in every lane; *p is a pair: the half twice, because broadcasting 32 bits is free
 *                       where broadcasting 16 is not (design/performance.md, section 1)
 *   h_fma(a, b, c)      a * b + c, one rounding; h_add: a + b
 *   h_finite(x)         are all lanes finite
 *   h_widen(x, i)       lanes i * VL .. of x as VL floats, i < HL / VL
 *   h_store, h_store_pairs(p, x)   VL floats, rounded to nearest even
 *
 * Only the files of fattn_stamp_half() (cmake/isa.cmake) include it. */
#ifndef FATTN_CPU_SIMD_HALF_H
#define FATTN_CPU_SIMD_HALF_H

#include "vec.h"

#if defined(FATTN_ISA_AVX512)
#include "half_avx512.h"
#elif defined(FATTN_ISA_NEON)
#include "half_neon.h"
#else
#include "half_scalar.h"
#endif

static INLINE void h_store(uint16_t *p, vf x) { v_store_f16(p, x); }

#endif
