/* SPDX-License-Identifier: Apache-2.0 */
/* bench_simd.h — the loops of the benchmark that must run at the machine's speed: two probes of
 * what the machine can do, and the softmax, its backward and the widening
 * of standard attention. bench_simd.c is
 * compiled once per instruction set, with its flags. */
#ifndef FATTN_TOOLS_BENCH_SIMD_H
#define FATTN_TOOLS_BENCH_SIMD_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_READ_KINDS = 4 }; /* plain and prefetched, one and two streams */

typedef struct bench_simd {
    const char *isa;
    double flops_per_round; /* of fma() */
    /* Independent chains of fp32 multiply-adds in registers; the result keeps them alive. */
    float (*fma)(int64_t rounds, float seed);
    /* Reads `bytes` (a multiple of 8192) once, in one of the ways of BENCH_READ_KINDS. */
    uint32_t (*read)(const void *data, size_t bytes, int kind);
    /* row[j] = softmax of scale * row[0 .. visible) and 0 in [visible, padded); padded is a
     * multiple of 16 floats, row aligned to 64 bytes. */
    void (*softmax)(float *row, int64_t visible, int64_t padded, float scale);
    /* gradient[j] = scale * share[j] * (gradient[j] - sum of share * gradient), for the shares that
     * softmax() left and the gradient with regard to them. */
    void (*softmax_backward)(float *gradient, const float *share, int64_t padded, float scale);
    /* Finite values; subnormal fp16 included. */
    void (*widen_f16)(float *to, const uint16_t *from, int64_t n);
    void (*widen_bf16)(float *to, const uint16_t *from, int64_t n);
} bench_simd;

/* The loops for an instruction set by fattn's name for it; NULL when the build has none. */
const bench_simd *bench_simd_find(const char *isa);

#endif
