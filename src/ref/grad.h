/* SPDX-License-Identifier: Apache-2.0 */
/* grad.h — the definition of the backward in double precision, with an error bound for every element
 * (spec fusion-attention 5.3, 7; docs/accuracy.md). */
#ifndef FATTN_REF_GRAD_H
#define FATTN_REF_GRAD_H

#include "core/problem.h"

typedef struct ref_cell {
    double value, bound; /* E: a careful fp32 computation is within 2 E, plus its own rounding */
} ref_cell;

/* Who takes the results: every element of every gradient of the kv head's query heads, once. */
typedef struct ref_grad_taker {
    void *self;
    /* [d_qk] of query row i, or NULL entries when seq->pad */
    void (*dq)(void *self, const fattn_seq *seq, int64_t head, int64_t i, const ref_cell *row);
    void (*dkv)(void *self, const fattn_seq *seq, int64_t kv_head, int64_t j, const ref_cell *dk,
                const ref_cell *dv);
    /* tensor kinds: element `at` of dbias; slope kinds, too */
    void (*dbias)(void *self, int64_t at, ref_cell cell);
    void (*dsink)(void *self, int64_t head, ref_cell cell);
} ref_grad_taker;

/* Doubles of scratch; SIZE_MAX when their bytes cannot be counted. It grows with the keys and, where
 * rows or batch entries share cells of the bias, with those cells. */
size_t ref_grad_scratch(const fattn_problem *p);

/* All gradients that belong to one kv head. */
void ref_grad(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t kv_head, double *scratch,
              const ref_grad_taker *taker);

#endif
