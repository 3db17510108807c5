/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h — how floor 3 talks to a backend. exec/backends.c lists them in order. */
#ifndef FATTN_CORE_BACKEND_H
#define FATTN_CORE_BACKEND_H

#include "base/context.h"
#include "core/problem.h"
#include "fattn/explain.h"

typedef struct fattn_backend {
    const char *name;
    /* FATTN_OK when it can compute the problem with this context, else E_UNSUPPORTED and a
     * sentence. */
    fattn_status (*accepts)(const fattn_context *context, const fattn_problem *problem);
    /* Prepares: *state lives in the arena, *bytes is the exact workspace of one run. */
    fattn_status (*plan)(fattn_context *context, const fattn_problem *problem, fattn_arena *arena,
                         void **state, size_t *bytes);
    /* Computes. Cannot fail: arguments and block ids were checked before. workspace is 64-byte
     * aligned. */
    void (*run)(fattn_context *context, const fattn_problem *problem, const void *state,
                const fattn_ptrs *ptrs, void *workspace);
    /* One short phrase for fattn_plan_describe(), e.g. "avx512, 96 items"; snprintf-style. */
    int (*describe)(const void *state, char *buffer, size_t size);
    /* Adds what the plan decided: isa, items and everything below them in fattn/explain.h. */
    void (*explain)(const fattn_problem *problem, const void *state, fattn_explanation *out);
} fattn_backend;

extern const fattn_backend fattn_backend_cpu, fattn_backend_ref;

#endif
