/* SPDX-License-Identifier: Apache-2.0 */
/* row.h — the scores of one query row in double precision, and what their roundings grow with. */
#ifndef FATTN_REF_ROW_H
#define FATTN_REF_ROW_H

#include "core/mask.h"

#define REF_UNIT MUTANT(28, 0x1p-24, 0x1p-18) /* u: half an fp32 ulp of 1 */
#define REF_FLUSH 0x1p-126 /* smallest normal fp32: what a product near zero may lose */

/* What is known about the row. Arrays are indexed by key and live in the caller's scratch. */
typedef struct row_work {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const fattn_seq *seq;
    int64_t head, i;
    fattn_interval window;
    int64_t n_visible;
    double *q;     /* [d_qk] */
    double *k, *v; /* [d_qk], [d_v]: the row of keys or values that was asked for last */
    double factor; /* of q.k: q_scale of the row, score_scale; 1 without them */
    double p_scale;
    double *x;     /* score */
    double *sigma; /* |scale| sum |q||k| + |bias|: what the roundings of x grow with; -1 = hidden */
    double *jump;  /* how far rounding q.k to fp16 may throw x; 0 unless it is asked for */
    double *prob;
    double sink, sink_prob;  /* -inf and 0 without a sink */
    double key_max, key_sum; /* over the keys alone: m and l without the sink */
    double max, sum;         /* with the sink */
} row_work;

/* Doubles that the arrays of a row need; SIZE_MAX when that many bytes cannot be counted. */
size_t row_scratch(const fattn_problem *p);
/* Loads the row and scores its keys; everything up to key_max is set, jump included. */
void row_open(row_work *w, const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
              int64_t head, int64_t i, double *scratch);

static inline bool row_hidden(const row_work *w, int64_t j) { return w->sigma[j] < 0.0; }

/* What dropout makes of the weight of key j: 0, or a factor. */
double row_kept(const row_work *w, int64_t j);
/* Key row j; value row j times the factor, a dropped one (factor 0) is not looked at. Valid until the next one is
 * asked for. */
const double *row_key(const row_work *w, int64_t j);
const double *row_value(const row_work *w, int64_t j, double factor);
/* Roundings of a score beside those of its D products and sums; of a weighted value beside those of n
 * weights and sums: quantised operands and factors bring some. */
double row_score_roundings(const fattn_problem *p);
double row_value_roundings(const fattn_problem *p);
/* NaN if either is: fmax() would drop it. */
double row_max(double a, double b);

#endif
