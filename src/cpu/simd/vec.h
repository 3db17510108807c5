/* SPDX-License-Identifier: Apache-2.0 */
/* vec.h — the vocabulary of the kernels: one vector of VL floats and the few things done with it.
 *
 * Each kernel file is compiled once per instruction set; the build defines FATTN_ISA_<SET> and one
 * vec_<set>.h says what the words mean there:
 *
 *   vf, vm             VL floats; VL conditions
 *   v_load, v_store    VL floats at any address
 *   v_load_f16, _bf16  VL halves, widened; v_store_... rounds to nearest even, NaN stays NaN
 *   v_load_i8, _e4m3, _e5m2, _i4   8 and 4 bits, widened; of i4 whole pairs, the low nibble first
 *   ..._partial(p, n)  the first n < VL elements, no other byte is touched; the rest reads as 0
 *   v_fma(a, b, c)     a * b + c (one rounding; two on the scalar set)
 *   v_max(a, b)        b where a is NaN: a running maximum as second operand ignores NaN
 *   v_gt, v_any        a > b; is any lane set
 *   v_mask, v_select   bit i = lane i; m ? a : b
 *   v_exp2             2^x, relative error <= 2^-22.5, exact at integers; -inf gives 0, NaN NaN;
 *                      results below 2^-126 are 0, above 2^127 inf
 *   v_sum, v_hmax      across lanes; v_store_sum4 adds in the same order as v_sum
 *   v_transpose(x)     x[VL] as a VL x VL matrix
 *
 *   vq                 VQ integers of 64 bits: q_dup, q_load, q_store, q_add; q_order: 0 .. VQ-1 as q_kept wants them
 *   q_mul32(a, b)      product of the low halves; q_shift(a): the high halves; q_xor3: of three
 *   q_kept(a, b, c, d, bits, threshold)
 *                      bit 4i+k: (low half of the k-th argument & bits) >= threshold where q_order
 *                      is i; bits and threshold below 2^31
 *
 * This folder alone knows intrinsics. */
#ifndef FATTN_CPU_SIMD_VEC_H
#define FATTN_CPU_SIMD_VEC_H

#include <stddef.h>
#include <stdint.h>

/* A body that takes its shape as constant arguments must be inlined to become that shape. */
#define INLINE inline __attribute__((always_inline))

/* What hardly ever happens stays outside. */
#define COLD __attribute__((noinline, cold))

/* Loops over a register tile: without complete unrolling the tile would live in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

#define INF __builtin_inff()

/* 2^r on [-1/2, 1/2] as 1 + r * (EXP2_1 + r * (EXP2_2 + ...)); relative minimax error 2.0e-9. */
#define EXP2_1 6.931471825e-01f
#define EXP2_2 2.402264774e-01f
#define EXP2_3 5.550332367e-02f
#define EXP2_4 9.618436918e-03f
#define EXP2_5 1.339887385e-03f
#define EXP2_6 1.535336196e-04f

#if defined(FATTN_ISA_AVX512)
#include "vec_avx512.h"
#elif defined(FATTN_ISA_AVX2)
#include "vec_avx2.h"
#elif defined(FATTN_ISA_NEON)
#include "vec_neon.h"
#else
#include "vec_scalar.h"
#endif

/* ISA(qk) is the name of this instruction set's qk. SLOT(type, name) declares it with the type that
 * the contract gives the slot, so that a definition that differs does not compile. */
#define ISA_JOIN(name, set) fattn_##name##_##set
#define ISA_NAMED(name, set) ISA_JOIN(name, set)
#define ISA(name) ISA_NAMED(name, ISA_SUFFIX)
#define SLOT(type, name) __typeof__(*(type)0) ISA(name)

/* Element types in memory; the constant argument of the bodies that are stamped per type. */
enum { VEC_F32, VEC_F16, VEC_BF16, VEC_I8, VEC_E4M3, VEC_E5M2, VEC_I4 };

/* Bytes of that many elements; an even number of VEC_I4. */
static INLINE ptrdiff_t vec_bytes(ptrdiff_t count, const int type)
{
    if (type == VEC_F32) return count * 4;
    if (type == VEC_I4) return count / 2;
    return type == VEC_F16 || type == VEC_BF16 ? count * 2 : count;
}

static INLINE const void *vec_at(const void *p, ptrdiff_t index, const int type)
{
    return (const char *)p + vec_bytes(index, type);
}

/* Element `index` of VEC_I4, for sets that cannot hold a pair. */
static INLINE float vec_i4(const void *p, int index)
{
    const int byte = ((const uint8_t *)p)[index / 2], nibble = index % 2 ? byte >> 4 : byte & 15;
    return (float)((nibble ^ 8) - 8);
}

static INLINE vf v_load_as(const void *p, const int type)
{
    if (type == VEC_I8) return v_load_i8(p);
    if (type == VEC_E4M3) return v_load_e4m3(p);
    if (type == VEC_E5M2) return v_load_e5m2(p);
    if (type == VEC_I4) return v_load_i4(p);
    if (type == VEC_F16) return v_load_f16(p);
    if (type == VEC_BF16) return v_load_bf16(p);
    return v_load(p);
}

static INLINE vf v_load_partial_as(const void *p, int n, const int type)
{
    if (type == VEC_I8) return v_load_i8_partial(p, n);
    if (type == VEC_E4M3) return v_load_e4m3_partial(p, n);
    if (type == VEC_E5M2) return v_load_e5m2_partial(p, n);
    if (type == VEC_I4) return v_load_i4_partial(p, n);
    if (type == VEC_F16) return v_load_f16_partial(p, n);
    if (type == VEC_BF16) return v_load_bf16_partial(p, n);
    return v_load_partial(p, n);
}

static INLINE void v_store_as(void *p, vf x, const int type)
{
    if (type == VEC_F16)
        v_store_f16(p, x);
    else if (type == VEC_BF16)
        v_store_bf16(p, x);
    else
        v_store(p, x);
}

static INLINE void v_store_partial_as(void *p, vf x, int n, const int type)
{
    if (type == VEC_F16)
        v_store_f16_partial(p, x, n);
    else if (type == VEC_BF16)
        v_store_bf16_partial(p, x, n);
    else
        v_store_partial(p, x, n);
}

/* Into the second level: a tile of K or V would push the one in use out of the first. */
static INLINE void v_prefetch(const void *p) { __builtin_prefetch(p, 0, 2); }

#endif
