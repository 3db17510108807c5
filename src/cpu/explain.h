/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h — what a plan decided, and why, in figures. */
#ifndef FATTN_CPU_EXPLAIN_H
#define FATTN_CPU_EXPLAIN_H

#include "cpu/backward_plan.h"
#include "fattn/explain.h"

void explain_cpu(const fattn_problem *problem, const fattn_cpu_plan *plan, fattn_explanation *out);

void explain_backward(const fattn_grad_plan *plan, fattn_explanation *out);

#endif
