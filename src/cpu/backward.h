/* SPDX-License-Identifier: Apache-2.0 */
/* backward.h — the gradients of one call. */
#ifndef FATTN_CPU_BACKWARD_H
#define FATTN_CPU_BACKWARD_H

#include "cpu/backward_plan.h"

void backward_run(fattn_context *context, const fattn_problem *p, const fattn_grad_plan *plan,
                  const fattn_ptrs *ptrs, void *workspace);

#endif
