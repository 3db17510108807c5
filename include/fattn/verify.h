/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h — how far a computed result is from the exact one, and what may be asked of it.
 *
 * The exact answer is computed in double precision from the same arguments (inputs as stored).
 * Every element has its own bound, derived from the data (docs/accuracy.md). attention_out: |out -
 * exact| <= r ulp + 2 E, r = 1/2 for fp32 and fp64, 1 for fp16 and bf16; the statistics have bounds
 * of their own. */
#ifndef FATTN_VERIFY_H
#define FATTN_VERIFY_H

#include "operators.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What was found in one output. Errors are against the exact value, unrounded. An element that is
 * not finite counts in the numbers of elements and in correctly_rounded, not in the figures from
 * max_abs to cosine, which are NaN when no element is finite. */
typedef struct fattn_verify_output {
    const char *name;    /* the output's field name */
    int64_t elements;    /* compared */
    int64_t outside;     /* outside their bound */
    int64_t nans;        /* of those: NaN where the answer is not */
    int64_t infinite;    /* of those: with an error that is not finite, NaN included */
    double worst;        /* largest error / bound; infinite where one side only is not finite */
    int64_t worst_index; /* that element's offset from the output's data */
    int worst_rank;      /* and its index in the output's shape */
    int64_t worst_at[FATTN_MAX_RANK];
    double worst_got, worst_exact, worst_bound;
    double max_abs, rms;      /* absolute errors */
    double max_rel, mean_rel; /* the vendor's: |got - exact| / (|exact| + 1e-7) */
    double cosine; /* of the output with the exact one; 1 when both are 0, 0 when one is */
    double correctly_rounded; /* share of elements, 0..1 */
} fattn_verify_output;

enum { FATTN_VERIFY_OUTPUTS = 8 };

typedef struct fattn_verify_report {
    size_t size; /* set by the caller to sizeof(fattn_verify_report) */
    bool passed; /* every element of every output inside its bound, and enough of a 16-bit first
                    output correctly rounded */
    int64_t elements; /* of all outputs */
    int64_t outside;
    double worst;             /* of the output where it is largest; passed means <= 1 */
    const char *worst_output; /* that output's name */
    int64_t worst_index;
    double worst_got, worst_exact, worst_bound;
    double max_abs, rms, max_rel, mean_rel, cosine, correctly_rounded; /* of the first output */
    int n_outputs; /* that were compared, in the order of the operator's table */
    fattn_verify_output outputs[FATTN_VERIFY_OUTPUTS];
} fattn_verify_report;

/* Compares the outputs that `args` (an args struct of `op`) points at with the exact answer.
 * Attention operators only, others answer E_UNSUPPORTED. The work is O(rows * keys) in double, on
 * the context's threads. FATTN_OK means "compared"; whether it passed is in the report. */
FATTN_API fattn_status fattn_verify(fattn_context *context, const fattn_operator *op,
                                    const void *args, fattn_verify_report *report);

#ifdef __cplusplus
}
#endif
#endif
