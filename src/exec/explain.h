/* SPDX-License-Identifier: Apache-2.0 */
/* explain.h — figures of a prepared call (public face: fattn/explain.h). */
#ifndef FATTN_EXEC_EXPLAIN_H
#define FATTN_EXEC_EXPLAIN_H

#include "core/backend.h"

/* Fills everything but out->size; `state` and `bytes` are what the backend's plan() gave. */
void explain_plan(const fattn_context *context, const fattn_problem *problem,
                  const fattn_backend *backend, const void *state, size_t bytes,
                  fattn_explanation *out);

/* Visible (row, key) pairs of one head of a sequence, before a dense mask. */
double explain_pairs(const fattn_seq *seq);

#endif
