/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c — the CPU backend as exec sees it: what it accepts, its plan, its run. */
#include "core/backend.h"

#include <assert.h>
#include <stdio.h>

#include "base/error.h"
#include "base/mutant.h"
#include "core/element.h"
#include "cpu/backward.h"
#include "cpu/explain.h"
#include "cpu/finish.h"
#include "cpu/forward.h"
#include "cpu/half_tile.h"
#include "cpu/isa.h"
#include "cpu/merge.h"
#include "cpu/plan.h"

/* Column counts are ints in the kernels, and a panel of q has TILE_ROWS floats per column. */
static const int64_t MAX_HEAD_DIM = INT64_C(1) << 24;

static bool is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

/* An operand beside a query of dtype `query`. */
static bool fits(fattn_dtype dtype, fattn_dtype query)
{
    return dtype == query || element_is_quantised(dtype) ||
           (element_is_quantised(query) && is_float(dtype));
}

static bool has_slopes(const fattn_problem *p)
{
    return p->bias.kind == BIAS_SLOPE || p->bias.kind == BIAS_SLOPE_SQRT;
}

static fattn_status accepts_backward(const fattn_problem *p)
{
    const fattn_dtype dtype = p->q.dtype;
    REQUIRE(p->dout.dtype == dtype && p->dq.dtype == dtype && p->dk.dtype == dtype &&
                p->dv.dtype == dtype,
            FATTN_E_UNSUPPORTED, "cpu: gradients must have query's dtype, %s",
            fattn_dtype_name(dtype));
    REQUIRE(!p->dbias.want || is_float(p->dbias.dtype), FATTN_E_UNSUPPORTED,
            "cpu: a bias of dtype %s is not built", fattn_dtype_name(p->dbias.dtype));
    return FATTN_OK;
}

static fattn_status accepts(const fattn_context *context, const fattn_problem *p)
{
    const fattn_dtype dtype = p->q.dtype;
    REQUIRE(is_float(dtype) || element_is_quantised(dtype), FATTN_E_UNSUPPORTED,
            "cpu: dtype %s is not one of f32, f16, bf16 or quantised; f64 runs on the ref backend",
            fattn_dtype_name(dtype));
    REQUIRE(fits(p->k.dtype, dtype) && fits(p->v.dtype, dtype) && fits(p->out.dtype, dtype) &&
                p->q.rope_dtype != FATTN_F64,
            FATTN_E_UNSUPPORTED,
            "cpu: query, key, value and output must share one float dtype or be quantised, they are "
            "%s, %s, %s and %s",
            fattn_dtype_name(dtype), fattn_dtype_name(p->k.dtype), fattn_dtype_name(p->v.dtype),
            fattn_dtype_name(p->out.dtype));
    REQUIRE(p->d_qk > 0 && p->d_v > 0 && p->d_qk <= MAX_HEAD_DIM && p->d_v <= MAX_HEAD_DIM,
            FATTN_E_UNSUPPORTED, "cpu: head dims %lld and %lld are outside 1..%lld",
            (long long)p->d_qk, (long long)p->d_v, (long long)MAX_HEAD_DIM);
    REQUIRE(p->bias.kind == BIAS_NONE ||
                (has_slopes(p) ? p->bias.dtype == FATTN_F32 : is_float(p->bias.dtype)),
            FATTN_E_UNSUPPORTED, "cpu: a bias of dtype %s is not built",
            fattn_dtype_name(p->bias.dtype));
    REQUIRE(p->stats_dtype != FATTN_F64, FATTN_E_UNSUPPORTED,
            "cpu: statistics of dtype f64 are not built");
    REQUIRE(!p->sink || p->sink_dtype == FATTN_F32 || p->sink_dtype == FATTN_BF16,
            FATTN_E_UNSUPPORTED, "cpu: a sink of dtype %s is not built",
            fattn_dtype_name(p->sink_dtype));
    if (p->kind == KIND_BACKWARD) TRY(accepts_backward(p));
    REQUIRE(kernels_for(context->isa), FATTN_E_UNSUPPORTED,
            "cpu: no kernels for isa %s in this build", isa_name(context->isa));
    return FATTN_OK;
}

/* A plan of either kind; the other one is not there. */
typedef struct cpu_state {
    fattn_kind kind;
    fattn_cpu_plan forward;
    fattn_grad_plan backward;
} cpu_state;

static fattn_status make_plan(fattn_context *context, const fattn_problem *problem,
                              fattn_arena *arena, void **state, size_t *bytes)
{
    problem_assert(problem);
    cpu_state *made = arena_alloc(arena, 1, sizeof *made);
    REQUIRE(made, FATTN_E_NOMEM, "out of memory: a plan of %zu bytes", sizeof *made);
    const fattn_kernels *kernels = kernels_for(context->isa);
    made->kind = problem->kind;
    if (problem->kind == KIND_BACKWARD)
        TRY(backward_plan_make(&made->backward, problem, kernels, context->threads, arena));
    else
        TRY(plan_make(&made->forward, problem, kernels, half_for(context, problem),
                      context->threads, arena));
    *state = made;
    *bytes = problem->kind == KIND_BACKWARD ? made->backward.bytes : made->forward.bytes;
    return FATTN_OK;
}

typedef struct run {
    const fattn_problem *problem;
    const fattn_ptrs *ptrs;
    const fattn_cpu_plan *plan;
    char *workspace;
    float *partials;
    atomic_int *countdowns;
} run;

static void attend(const fattn_item *it, const fattn_state *state)
{
    if (it->work->dot)
        forward_dots(it, state);
    else
        forward_tiles(it, state);
}

/* Splits leave their results in their slots; the last item of a row block merges them and finishes. */
static void run_splits(const run *r, const fattn_item *it)
{
    const fattn_work *work = it->work;
    const fattn_state partial = state_bind(r->partials + work->partial, work->rows);
    attend(it, &partial);
    if (!merge_is_last(&r->countdowns[work->merge], work->splits)) return;
    merge_parts(it, &r->plan->merges[work->merge], r->partials, &it->scratch->state);
    finish_rows(it, &it->scratch->state);
}

static void run_item(void *arg, int64_t index, int worker)
{
    const run *r = arg;
    const fattn_work *work = &r->plan->works[index];
    fattn_scratch scratch;
    scratch_bind(&scratch, &r->plan->layout,
                 r->workspace + (size_t)worker * r->plan->scratch_bytes);
    fattn_item it = {.p = r->problem,
                     .ptrs = r->ptrs,
                     .kernels = r->plan->kernels,
                     .half = r->plan->half,
                     .seq = &r->problem->seqs[work->seq],
                     .work = work,
                     .scratch = &scratch};
    if (work->merge > MUTANT(29, -1, 0)) {
        it.next_state = r->plan->merges[work->merge].stride;
        run_splits(r, &it);
        return;
    }
    attend(&it, &scratch.state);
    finish_rows(&it, &scratch.state);
}

static void run_forward(fattn_context *context, const fattn_problem *problem,
                        const fattn_cpu_plan *plan, const fattn_ptrs *ptrs, void *workspace)
{
    char *base = workspace;
    run r = {.problem = problem,
             .ptrs = ptrs,
             .plan = plan,
             .workspace = base,
             .partials = (float *)(void *)(base + plan->partials_at),
             .countdowns = (atomic_int *)(void *)(base + plan->countdowns_at)};
    merge_prepare(plan, r.countdowns);
    context_parallel(context, run_item, &r, plan->n_works);
}

static void run_plan(fattn_context *context, const fattn_problem *problem, const void *state,
                     const fattn_ptrs *ptrs, void *workspace)
{
    const cpu_state *made = state;
    if (made->kind == KIND_BACKWARD)
        backward_run(context, problem, &made->backward, ptrs, workspace);
    else
        run_forward(context, problem, &made->forward, ptrs, workspace);
}

static int describe(const void *state, char *buffer, size_t size)
{
    const cpu_state *made = state;
    if (made->kind == KIND_BACKWARD)
        return snprintf(buffer, size, "%s, %lld items, %lld merges", made->backward.kernels->name,
                        (long long)made->backward.n_works, (long long)made->backward.n_merges);
    const fattn_cpu_plan *plan = &made->forward;
    const int64_t dots = plan->n_dots;
    return snprintf(buffer, size, "%s%s, %lld items (%lld tile, %lld dot), %lld merges",
                    plan->kernels->name,
                    plan->half && plan->n_works > dots ? " in fp16 arithmetic" : "",
                    (long long)plan->n_works,
                    (long long)(plan->n_works - dots), (long long)dots, (long long)plan->n_merges);
}

static void explain(const fattn_problem *problem, const void *state, fattn_explanation *out)
{
    const cpu_state *made = state;
    if (made->kind == KIND_BACKWARD)
        explain_backward(&made->backward, out);
    else
        explain_cpu(problem, &made->forward, out);
}

const fattn_backend fattn_backend_cpu = {.name = "cpu",
                                         .accepts = accepts,
                                         .plan = make_plan,
                                         .run = run_plan,
                                         .describe = describe,
                                         .explain = explain};
