/* SPDX-License-Identifier: Apache-2.0 */
/* infer_common.h — hand-checkable vectors of spec inference 18 and small things the three test
 * programs of the inference operators share. */
#ifndef FATTN_TESTS_API_INFER_COMMON_H
#define FATTN_TESTS_API_INFER_COMMON_H

#include "api/infer_case.h"

/* One head, D = 2, scale 0.5: Q, K, V of spec inference 18. */
infer_case *anchor_case(which op, int first_row, int rows);
/* Expects out rows and lse (lse NULL: not checked). */
void expect_anchor(infer_case *c, const double out[][2], const double *lse, const char *what);

int infer_setup(void **state);
fattn_tensor *causal_mask_2048(void);

#endif
