/* SPDX-License-Identifier: Apache-2.0 */
/* verify.h — how far a computed result is from the exact one, and what may be asked of it.
 *
 * The exact answer is computed in double precision from the same arguments (inputs as stored). Every
 * element has its own bound, derived from the data (docs/accuracy.md): |out - exact| <= ulp + 2 E. */
#ifndef FATTN_VERIFY_H
#define FATTN_VERIFY_H

#include "operators.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fattn_verify_report {
    size_t size;             /* set by the caller to sizeof(fattn_verify_report) */
    bool passed;             /* every element of every output inside its bound */
    int64_t elements;        /* compared */
    int64_t outside;         /* elements outside their bound */
    double worst;            /* largest error / bound; passed means <= 1 */
    const char *worst_output; /* the output's field name */
    int64_t worst_index;     /* its element offset from that output's data */
    double worst_got, worst_exact, worst_bound;
    double max_abs, rms;       /* of the first output */
    double max_rel, mean_rel;  /* vendor's metrics on the first output */
    double cosine;             /* of the first output with the exact one */
    double correctly_rounded;  /* share of the first output's elements, 0..1 */
} fattn_verify_report;

/* Compares the outputs that `args` (an args struct of `op`) points at with the exact answer. Attention
 * operators only, others answer E_UNSUPPORTED. The work is O(rows * keys) in double, on the context's
 * threads. FATTN_OK means "compared"; whether it passed is in the report. */
FATTN_API fattn_status fattn_verify(fattn_context *context, const fattn_operator *op,
                                    const void *args, fattn_verify_report *report);

#ifdef __cplusplus
}
#endif
#endif
