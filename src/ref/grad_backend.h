/* SPDX-License-Identifier: Apache-2.0 */
/* grad_backend.h — runs ref_grad() for every kv head and writes the results in the caller's dtypes. */
#ifndef FATTN_REF_GRAD_BACKEND_H
#define FATTN_REF_GRAD_BACKEND_H

#include "base/context.h"
#include "core/problem.h"

/* `slab` doubles per worker. */
void ref_grad_run(fattn_context *context, const fattn_problem *p, const fattn_ptrs *ptrs,
                  double *workspace, size_t slab);

#endif
