/* SPDX-License-Identifier: Apache-2.0 */
/* adamw.h — AdamW (Loshchilov & Hutter 2019), clipping by the global norm, warm-up and cosine decay. */
#ifndef FATTN_TRAIN_ADAMW_H
#define FATTN_TRAIN_ADAMW_H

#include "weights.h"

typedef struct adamw {
    double lr, beta1, beta2, eps, weight_decay, clip; /* clip 0 = none */
    int warmup, steps; /* of the schedule: to lr, then down to lr / 10 */
    real *m, *v; /* moments, like the parameters */
} adamw;

/* Learning rate of step 0, 1, ... */
double adamw_rate(const adamw *a, int step);
/* One update of the n tensors that the parameters consist of; gradients become 0. Returns their norm
 * before clipping. */
double adamw_step(adamw *a, const weight *list, int n, weights *params, weights *grads, int step);

#endif
