/* SPDX-License-Identifier: Apache-2.0 */
/* verify_grad.h — the gradients of a call against their float64 answer. */
#ifndef FATTN_API_VERIFY_GRAD_H
#define FATTN_API_VERIFY_GRAD_H

#include "base/arena.h"
#include "base/context.h"
#include "core/problem.h"
#include "fattn/verify.h"

fattn_status verify_grad(fattn_context *context, const fattn_operator *op, const void *args,
                         const fattn_problem *p, const fattn_ptrs *ptrs, fattn_arena *arena,
                         fattn_verify_report *report);

#endif
