/* SPDX-License-Identifier: Apache-2.0 */
/* small.h — small problems for the tests of the reference: one sequence, operands
 * [head][row][column] in any float dtype, results [head][row][column] beside it. */
#ifndef FATTN_TESTS_REF_SMALL_H
#define FATTN_TESTS_REF_SMALL_H

#include <stdlib.h>

#include "../core/rng.h"
#include "core/mask.h"
#include "ref/ref.h"

typedef struct small_shape {
    int64_t n_heads, n_kv_heads, q_len, kv_len, d_qk, d_v;
} small_shape;

typedef struct small {
    fattn_problem p;
    fattn_ptrs ptrs;
    fattn_seq seq;
} small;

static inline fattn_view small_view(fattn_dtype dtype, int64_t rows, int64_t d)
{
    return (fattn_view){
        .dtype = dtype,
        .n_parts = 1,
        .part = {{.d = d, .head_stride = rows * d, .row_stride = d, .col_stride = 1}}};
}

/* Everything visible, scale 1, no extras; the caller changes what it wants. `s` must not move. */
static inline void small_init(small *s, const small_shape *n, fattn_dtype dtype, const void *q,
                              const void *k, const void *v)
{
    *s = (small){
        .p = {.n_heads = n->n_heads,
              .n_kv_heads = n->n_kv_heads,
              .group = n->n_heads / n->n_kv_heads,
              .d_qk = n->d_qk,
              .d_v = n->d_v,
              .q = small_view(dtype, n->q_len, n->d_qk),
              .k = small_view(dtype, n->kv_len, n->d_qk),
              .v = small_view(dtype, n->kv_len, n->d_v),
              .out = small_view(FATTN_F64, n->q_len, n->d_v),
              .n_seqs = 1,
              .scale = 1.0,
              .want_max_sum = true,
              .stats_replicas = 1,
              .want_lse = true},
        .ptrs = {.q = {q}, .k = {k}, .v = v},
        .seq = {.q_len = n->q_len,
                .kv_len = n->kv_len,
                .stats_head_stride = n->q_len,
                .stats_row_stride = 1,
                .lse_head_stride = n->q_len,
                .lse_row_stride = 1},
    };
    s->p.seqs = &s->seq;
    mask_translate(&s->seq, 1, true, 0, 0, 0, false);
}

/* One row; out and bound are the caller's arrays of d_v. */
static inline fattn_ref_row small_row(const small *s, int64_t head, int64_t i, double *out,
                                      double *bound)
{
    fattn_ref_row row = {.out = out, .out_bound = bound};
    double *scratch = malloc((ref_scratch(&s->p) + 1) * sizeof *scratch);
    if (!scratch) abort();
    ref_row(&s->p, &s->ptrs, &s->seq, head, i, scratch, &row);
    free(scratch);
    return row;
}

#endif
