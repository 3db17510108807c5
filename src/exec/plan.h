/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h — from a translated problem to a run (public face: fattn/plan.h).
 *
 * An attention operator gives exec a translator; exec finds a backend, plans, and runs. */
#ifndef FATTN_EXEC_PLAN_H
#define FATTN_EXEC_PLAN_H

#include "core/backend.h"
#include "exec/args.h"
#include "fattn/explain.h"
#include "fattn/operators.h"

typedef struct fattn_translator {
    const fattn_operator *op;
    const char *const *layouts; /* the layout strings it takes, NULL-terminated */
    /* Checks the arguments and fills *problem (zeroed); lists go to the arena. The only place where
     * an attention call can fail for its arguments. */
    fattn_status (*translate)(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem);
    /* Addresses of a run. Outputs that are numbers (numels) and fixed tensors (lse [1]) are written
     * by `finish` after the run, so that nothing is touched on error. */
    void (*bind)(const void *args, fattn_ptrs *ptrs);
    /* The last step before a run that nothing can refuse any more: what a run draws, and outputs that
     * backends add to. May be NULL. */
    void (*begin)(fattn_context *context, const void *args, const fattn_problem *problem,
                  fattn_ptrs *ptrs);
    void (*finish)(const void *args, const fattn_problem *problem,
                   const fattn_ptrs *ptrs); /* may be NULL */
    /* May add to the sentence of a call refused with `status` (strict: the device's code), or say
     * another; the arguments need not be sound. NULL = no. */
    fattn_status (*refused)(const fattn_context *context, const fattn_operator *op,
                            const void *args, fattn_status status);
} fattn_translator;

/* What every call begins with, and the last word of every refusal of arguments. */
fattn_status exec_args_check(const fattn_context *context, const fattn_translator *translator,
                             const void *args, fattn_args_need need);
fattn_status exec_refused(const fattn_context *context, const fattn_translator *translator,
                          const void *args, fattn_status status);

fattn_status exec_call(fattn_context *context, const fattn_translator *translator,
                       const void *args);
/* The same for an operator without a problem: `call` checks and computes. */
fattn_status exec_call_simple(fattn_context *context, const fattn_operator *op, const void *args,
                              fattn_status (*call)(fattn_context *context, const void *args));
fattn_status exec_workspace(fattn_context *context, const fattn_translator *translator,
                            const void *args, size_t *bytes);
fattn_status exec_plan(fattn_context *context, const fattn_translator *translator, const void *args,
                       fattn_plan **plan);

/* A plan for an operator without a problem (integer and merge operators): run = op->call. */
fattn_status exec_plan_simple(fattn_context *context, const fattn_operator *op, const void *args,
                              fattn_plan **plan);

/* What a call would do; *out as the public face has checked it (fattn/explain.h). */
fattn_status exec_explain(fattn_context *context, const fattn_translator *translator,
                          const void *args, fattn_explanation *out);

/* The names of the built-in backends, in order, NULL-terminated. */
const char *const *exec_backend_names(void);

#endif
