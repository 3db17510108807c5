/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c — translate, choose, prepare, run. A single call is a plan that lives for one run. */
#include "exec/plan.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/mutant.h"
#include "exec/backends.h"
#include "exec/explain.h"
#include "exec/origin.h"
#include "exec/record.h"

enum { WORKSPACE_ALIGN = 64, DESCRIPTION = 480 };

struct fattn_plan {
    fattn_context *context; /* borrowed; outlives the plan */
    const fattn_operator *op;
    const fattn_translator *translator; /* NULL: run = op->call */
    fattn_arena arena;                  /* seqs, backend state, origin */
    fattn_problem problem;
    const fattn_backend *backend;
    void *state;
    size_t bytes;
    const void *origin;
    void *workspace; /* the plan's own, NULL when bytes == 0 */
    atomic_flag busy;
    char description[DESCRIPTION];
};

fattn_status exec_refused(const fattn_context *context, const fattn_translator *translator,
                          const void *args, fattn_status status)
{
    return translator->refused ? translator->refused(context, translator->op, args, status)
                               : status;
}

fattn_status exec_args_check(const fattn_context *context, const fattn_translator *translator,
                             const void *args, fattn_args_need need)
{
    const fattn_status status = operator_args_check(translator->op, args, need);
    return status == FATTN_OK ? status : exec_refused(context, translator, args, status);
}

/* Everything but the origin and the own workspace. On failure the caller frees the arena. What it
 * warns of is held by the caller until nothing can be refused any more. */
static fattn_status prepare(fattn_plan *plan, fattn_context *context,
                            const fattn_translator *translator, const void *args,
                            fattn_args_need need)
{
    plan->context = context;
    plan->op = translator->op;
    plan->translator = translator;
    plan->arena = context_arena(context);
    TRY(exec_args_check(context, translator, args, need));
    const fattn_status status = translator->translate(context, args, &plan->arena, &plan->problem);
    if (status != FATTN_OK) return exec_refused(context, translator, args, status);
    problem_assert(&plan->problem);
    TRY(backend_choose(context, &plan->problem, &plan->backend));
    return plan->backend->plan(context, &plan->problem, &plan->arena, &plan->state, &plan->bytes);
}

static fattn_status out_of_memory(const fattn_plan *plan)
{
    return error_set(
        FATTN_E_NOMEM,
        "%s: out of memory: a workspace of %zu bytes for %d threads; fewer threads or a "
        "smaller batch need less",
        plan->op->name, plan->bytes, plan->context->threads);
}

/* The head of every run; after it nothing fails. */
static fattn_status run(const fattn_plan *plan, const void *args, void *workspace)
{
    fattn_ptrs ptrs = {0};
    plan->translator->bind(args, &ptrs);
    if (plan->problem.k.page_rows > 0) TRY(problem_check_table(&plan->problem, &ptrs));
    if (plan->translator->begin)
        plan->translator->begin(plan->context, args, &plan->problem, &ptrs);
    plan->backend->run(plan->context, &plan->problem, plan->state, &ptrs, workspace);
    if (plan->translator->finish) plan->translator->finish(args, &plan->problem, &ptrs);
    return FATTN_OK;
}

/* prepare() for those who run nothing. */
static fattn_status prepare_only(fattn_plan *plan, fattn_context *context,
                                 const fattn_translator *translator, const void *args,
                                 fattn_args_need need)
{
    warn_list warnings;
    warn_hold(&warnings);
    const fattn_status status = prepare(plan, context, translator, args, need);
    warn_settle(&warnings, context, status);
    return status;
}

static fattn_status call_prepared(const fattn_plan *plan, const void *args)
{
    void *workspace = plan->bytes ? context_alloc(plan->context, plan->bytes) : NULL;
    if (plan->bytes && !workspace) return out_of_memory(plan);
    const fattn_status status = run(plan, args, workspace);
    context_free(plan->context, workspace);
    return status;
}

static void describe(fattn_plan *plan)
{
    char problem[256], state[96];
    problem_print(&plan->problem, problem, sizeof problem);
    plan->backend->describe(plan->state, state, sizeof state);
    snprintf(plan->description, sizeof plan->description, "%s: %s; %s: %s", plan->op->name, problem,
             plan->backend->name, state);
}

typedef struct single_call {
    fattn_context *context;
    const fattn_translator *translator;
    const void *args;
} single_call;

static fattn_status call_once(void *self)
{
    const single_call *c = self;
    fattn_plan plan = {0};
    warn_list warnings;
    warn_hold(&warnings);
    fattn_status status = prepare(&plan, c->context, c->translator, c->args, ARGS_DATA);
    warn_release(&warnings);
    if (status == FATTN_OK && UNLIKELY(c->context->record & RECORD_PLAN)) {
        describe(&plan);
        record_plan(c->context, plan.description);
    }
    if (status == FATTN_OK) status = call_prepared(&plan, c->args);
    arena_free(&plan.arena);
    if (status == FATTN_OK) warn_say(&warnings, c->context);
    return status;
}

fattn_status exec_call(fattn_context *context, const fattn_translator *translator, const void *args)
{
    TRY(context_resolve(&context));
    single_call c = {.context = context, .translator = translator, .args = args};
    if (UNLIKELY(context->record)) return record_call(context, translator->op, args, call_once, &c);
    return call_once(&c);
}

typedef struct simple_call {
    fattn_context *context;
    fattn_status (*call)(fattn_context *context, const void *args);
    const void *args;
} simple_call;

static fattn_status call_simple(void *self)
{
    const simple_call *c = self;
    return c->call(c->context, c->args);
}

fattn_status exec_call_simple(fattn_context *context, const fattn_operator *op, const void *args,
                              fattn_status (*call)(fattn_context *context, const void *args))
{
    TRY(context_resolve(&context));
    if (LIKELY(!context->record)) return call(context, args);
    simple_call c = {.context = context, .call = call, .args = args};
    return record_call(context, op, args, call_simple, &c);
}

fattn_status exec_workspace(fattn_context *context, const fattn_translator *translator,
                            const void *args, size_t *bytes)
{
    REQUIRE(bytes, FATTN_E_ARG, "%s: bytes is NULL; pass where to store the size",
            translator->op->name);
    TRY(context_resolve(&context));
    fattn_plan plan = {0};
    const fattn_status status = prepare_only(&plan, context, translator, args, ARGS_SHAPES);
    if (status == FATTN_OK) *bytes = plan.bytes;
    arena_free(&plan.arena);
    return status;
}

static fattn_plan *plan_new(fattn_context *context)
{
    fattn_plan *plan = context_alloc(context, sizeof *plan);
    if (!plan) return NULL;
    memset(plan, 0, sizeof *plan);
    plan->context = context;
    plan->arena = context_arena(context);
    atomic_flag_clear(&plan->busy);
    return plan;
}

/* What a plan keeps beyond a single call: the origin, a workspace, a line for logs. */
static fattn_status keep(fattn_plan *plan, const void *args)
{
    plan->origin = origin_copy(plan->op, args, &plan->arena);
    if (plan->bytes) plan->workspace = context_alloc(plan->context, plan->bytes);
    if (!plan->origin || (plan->bytes && !plan->workspace)) return out_of_memory(plan);
    return FATTN_OK;
}

fattn_status exec_explain(fattn_context *context, const fattn_translator *translator,
                          const void *args, fattn_explanation *out)
{
    fattn_plan plan = {0};
    TRY(context_resolve(&context));
    fattn_status status = prepare_only(&plan, context, translator, args, ARGS_SHAPES);
    if (status == FATTN_OK)
        explain_plan(context, &plan.problem, plan.backend, plan.state, plan.bytes, out);
    arena_free(&plan.arena);
    return status;
}

fattn_status exec_plan(fattn_context *context, const fattn_translator *translator, const void *args,
                       fattn_plan **plan)
{
    REQUIRE(plan, FATTN_E_ARG, "%s: plan is NULL; pass where to store the handle",
            translator->op->name);
    TRY(context_resolve(&context));
    fattn_plan *made = plan_new(context);
    REQUIRE(made, FATTN_E_NOMEM, "%s: out of memory: a plan of %zu bytes", translator->op->name,
            sizeof *made);
    warn_list warnings;
    warn_hold(&warnings);
    fattn_status status = prepare(made, context, translator, args, ARGS_PLAN);
    if (status == FATTN_OK) status = keep(made, args);
    warn_settle(&warnings, context, status);
    if (status != FATTN_OK) {
        fattn_plan_destroy(made);
        return status;
    }
    describe(made);
    record_plan(context, made->description);
    *plan = made;
    return FATTN_OK;
}

fattn_status exec_plan_simple(fattn_context *context, const fattn_operator *op, const void *args,
                              fattn_plan **plan)
{
    REQUIRE(plan, FATTN_E_ARG, "%s: plan is NULL; pass where to store the handle", op->name);
    TRY(context_resolve(&context));
    TRY(operator_args_check(op, args, ARGS_PLAN));
    fattn_plan *made = plan_new(context);
    REQUIRE(made, FATTN_E_NOMEM, "%s: out of memory: a plan of %zu bytes", op->name, sizeof *made);
    made->op = op;
    const fattn_status status = keep(made, args);
    if (status != FATTN_OK) {
        fattn_plan_destroy(made);
        return status;
    }
    snprintf(made->description, sizeof made->description, "%s", op->name);
    *plan = made;
    return FATTN_OK;
}

size_t fattn_plan_workspace(const fattn_plan *plan) { return plan ? plan->bytes : 0; }

const char *fattn_plan_describe(const fattn_plan *plan) { return plan ? plan->description : ""; }

static fattn_status run_in_own(fattn_plan *plan, const void *args)
{
    if (atomic_flag_test_and_set_explicit(&plan->busy, memory_order_acquire) &&
        MUTANT(65, true, false))
        return error_set(
            FATTN_E_BUSY,
            "plan of %s: its own workspace is in use by another run; pass a workspace of "
            "%zu bytes to run at the same time",
            plan->op->name, plan->bytes);
    const fattn_status status = run(plan, args, plan->workspace);
    atomic_flag_clear_explicit(&plan->busy, memory_order_release);
    return status;
}

static fattn_status run_planned(fattn_plan *plan, const void *args, void *workspace, size_t bytes)
{
    TRY(origin_match(plan->op, plan->origin, args));
    if (!plan->translator) return plan->op->call(plan->context, args);
    if (!workspace) return run_in_own(plan, args);
    REQUIRE(bytes >= MUTANT(64, plan->bytes, plan->bytes - 1), FATTN_E_ARG,
            "plan of %s: the workspace has %zu bytes, a run needs %zu", plan->op->name, bytes,
            plan->bytes);
    REQUIRE((uintptr_t)workspace % WORKSPACE_ALIGN == 0, FATTN_E_ARG,
            "plan of %s: the workspace is not aligned to %d bytes", plan->op->name,
            WORKSPACE_ALIGN);
    return run(plan, args, workspace);
}

typedef struct planned_call {
    fattn_plan *plan;
    const void *args;
    void *workspace;
    size_t bytes;
} planned_call;

static fattn_status call_planned(void *self)
{
    const planned_call *c = self;
    return run_planned(c->plan, c->args, c->workspace, c->bytes);
}

/* The operators without a problem record their own calls, once the plan has let them through. */
static bool records_itself(const fattn_plan *plan, const void *args)
{
    return !plan->translator && origin_match(plan->op, plan->origin, args) == FATTN_OK;
}

fattn_status fattn_plan_run(fattn_plan *plan, const void *args, void *workspace, size_t bytes)
{
    REQUIRE(plan, FATTN_E_ARG, "plan is NULL; make one with fattn_<operator>_plan()");
    if (LIKELY(!plan->context->record) || records_itself(plan, args))
        return run_planned(plan, args, workspace, bytes);
    planned_call c = {.plan = plan, .args = args, .workspace = workspace, .bytes = bytes};
    return record_call(plan->context, plan->op, args, call_planned, &c);
}

void fattn_plan_destroy(fattn_plan *plan)
{
    if (!plan) return;
    context_free(plan->context, plan->workspace);
    arena_free(&plan->arena);
    context_free(plan->context, plan);
}
