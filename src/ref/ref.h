/* SPDX-License-Identifier: Apache-2.0 */
/* ref.h — the definition in double precision, one row at a time, with its error bound.
 *
 * Written from the formula (core/problem.h), naive on purpose, sharing nothing with the kernels. */
#ifndef FATTN_REF_REF_H
#define FATTN_REF_REF_H

#include "core/problem.h"

typedef struct fattn_ref_row {
    double *out;          /* [d_v] */
    double *out_bound;    /* [d_v], E_i of docs/accuracy.md, or NULL */
    double max, sum, lse; /* as the statistics outputs hold them (natural log domain) */
    double lse_bound;     /* absolute */
    double max_bound;     /* absolute; ln(sum) = lse - max is within max_bound + lse_bound */
    bool empty;           /* no visible key: out, max, sum, lse are policy, exact */
} fattn_ref_row;

/* scratch: at least ref_scratch(p) doubles; SIZE_MAX when that many bytes cannot be counted. */
size_t ref_scratch(const fattn_problem *p);
void ref_row(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq, int64_t head,
             int64_t i, double *scratch, fattn_ref_row *row);

#endif
