/* SPDX-License-Identifier: Apache-2.0 */
/* tally.h — what a verification finds in one output, element by element. */
#ifndef FATTN_API_TALLY_H
#define FATTN_API_TALLY_H

#include "fattn/verify.h"

/* Outputs that are compared, in the order of the operators' tables. */
enum verified {
    OUT, MAX, SUM, LSE,
    GRAD_Q, GRAD_K, GRAD_V, GRAD_PSE, GRAD_Q_ROPE, GRAD_K_ROPE, GRAD_SINK,
    N_VERIFIED
};

/* What was found so far in one output. */
typedef struct tally {
    int64_t elements, outside, nans, infinite, rounded;
    int64_t finite; /* that the figures are of */
    double worst, worst_got, worst_exact, worst_bound;
    int64_t worst_index;
    double max_abs, sum_error2, max_rel, sum_rel, dot, norm_got2, norm_exact2;
} tally;

/* What one block of rows found; blocks are merged in order, so a report repeats to the bit. */
typedef struct tallies {
    tally of[N_VERIFIED];
} tallies;

/* One element, and what its bound was. */
typedef struct element {
    int64_t index;
    double got, exact, bound;
} element;

/* An element of attention_out or of a gradient: its bound and a share of an ulp (docs/accuracy.md). */
void tally_rounded(tally *t, fattn_dtype dtype, element e);
/* A number with its own bound. */
void tally_stat(tally *t, element e);
/* A sum is as good as its logarithm: `bound` is that logarithm's. */
void tally_sum(tally *t, element e, double bound);

void tally_add(tally *sum, const tally *t);

/* Everything but the verdict: outputs that were compared, and the totals. The figures of the first one
 * stand for the report. */
void tally_report(const fattn_operator *op, const void *args, const tallies *t,
                  fattn_verify_report *report);

#endif
