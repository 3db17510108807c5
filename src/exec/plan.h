/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h — from a translated problem to a run (public face: fattn/plan.h).
 *
 * An attention operator gives exec a translator; exec finds a backend, plans, and runs. */
#ifndef FATTN_EXEC_PLAN_H
#define FATTN_EXEC_PLAN_H

#include "core/backend.h"
#include "fattn/operators.h"

typedef struct fattn_translator {
    const fattn_operator *op;
    /* Checks the arguments and fills *problem (zeroed); lists go to the arena. The only place where an
     * attention call can fail for its arguments. */
    fattn_status (*translate)(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem);
    /* Addresses of a run. Outputs that are numbers (numels) and fixed tensors (lse [1]) are written by
     * `finish` after the run, so that nothing is touched on error. */
    void (*bind)(const void *args, fattn_ptrs *ptrs);
    void (*finish)(const void *args, const fattn_problem *problem); /* may be NULL */
} fattn_translator;

fattn_status exec_call(fattn_context *context, const fattn_translator *translator, const void *args);
fattn_status exec_workspace(fattn_context *context, const fattn_translator *translator,
                            const void *args, size_t *bytes);
fattn_status exec_plan(fattn_context *context, const fattn_translator *translator, const void *args,
                       fattn_plan **plan);

/* A plan for an operator without a problem (integer and merge operators): run = op->call. */
fattn_status exec_plan_simple(fattn_context *context, const fattn_operator *op, const void *args,
                              fattn_plan **plan);

/* The names of the built-in backends, in order, NULL-terminated. */
const char *const *exec_backend_names(void);

#endif
