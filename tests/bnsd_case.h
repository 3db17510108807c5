/* SPDX-License-Identifier: Apache-2.0 */
/* bnsd_case.h — one small BNSD call of fusion_attention with GQA and two key tiles, for tests that
 * need "some call" and not a particular one. */
#ifndef FATTN_TESTS_BNSD_CASE_H
#define FATTN_TESTS_BNSD_CASE_H

#include <stdlib.h>

#include "fattn/fattn.h"

enum {
    B = 2,
    N = 4,
    NKV = 2,
    SQ = 70,
    SKV = 130,
    D = 24,
    Q_ELEMENTS = B * N * SQ * D,
    K_ELEMENTS = B * NKV * SKV * D
};

/* One set of tensors for a BNSD call of fusion_attention. */
typedef struct call_case {
    float q[Q_ELEMENTS], k[K_ELEMENTS], v[K_ELEMENTS], out[Q_ELEMENTS];
    float max[B * N * SQ * 8], sum[B * N * SQ * 8];
    fattn_tensor tq, tk, tv, tout, tmax, tsum;
    fattn_fusion_attention_args args;
} call_case;

static inline void case_fill(float *x, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

static inline call_case *case_new(unsigned seed)
{
    call_case *c = calloc(1, sizeof *c);
    if (!c) abort();
    case_fill(c->q, Q_ELEMENTS, seed);
    case_fill(c->k, K_ELEMENTS, seed + 1);
    case_fill(c->v, K_ELEMENTS, seed + 2);
    const int64_t q[] = {B, N, SQ, D}, k[] = {B, NKV, SKV, D}, stats[] = {B, N, SQ, 8};
    c->tq = fattn_tensor_contiguous(c->q, FATTN_F32, 4, q);
    c->tk = fattn_tensor_contiguous(c->k, FATTN_F32, 4, k);
    c->tv = fattn_tensor_contiguous(c->v, FATTN_F32, 4, k);
    c->tout = fattn_tensor_contiguous(c->out, FATTN_F32, 4, q);
    c->tmax = fattn_tensor_contiguous(c->max, FATTN_F32, 4, stats);
    c->tsum = fattn_tensor_contiguous(c->sum, FATTN_F32, 4, stats);
    fattn_fusion_attention_args_init(&c->args);
    c->args.query = &c->tq, c->args.key = &c->tk, c->args.value = &c->tv;
    c->args.head_num = N, c->args.input_layout = "BNSD", c->args.scale = 0.2;
    c->args.attention_out = &c->tout, c->args.softmax_max = &c->tmax,
    c->args.softmax_sum = &c->tsum;
    return c;
}

#endif
