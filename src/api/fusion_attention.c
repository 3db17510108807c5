/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_attention.c — the training operator's forward (spec fusion-attention 1-6, 8): what it does
 * beyond fusion.c. */
#include "api/fusion.h"
#include "api/operator.h"
#include "base/mutant.h"

static fattn_status translate(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem)
{
    const fattn_fusion_attention_args *a = args;
    fusion_call call;
    TRY(fusion_read(context, a, "scale", &call));
    TRY(fusion_translate(&call, arena, problem));
    problem->want_max_sum = a->softmax_max || a->softmax_sum;
    return FATTN_OK;
}

/* What the caller's call drew, when its result is looked at again. */
static void bind(const void *args, fattn_ptrs *ptrs)
{
    const fattn_fusion_attention_args *a = args;
    fusion_bind(a, ptrs);
    if (!fusion_draws(a)) return;
    if (a->seed_out) ptrs->seed = (uint64_t)*a->seed_out;
    if (a->offset_out) ptrs->offset = (uint64_t)*a->offset_out;
}

static void begin(fattn_context *context, const void *args, const fattn_problem *problem,
                  fattn_ptrs *ptrs)
{
    const fattn_fusion_attention_args *a = args;
    ptrs->seed = (uint64_t)a->seed;
    ptrs->offset = (uint64_t)a->offset;
    if (problem->dropout.kind == DROPOUT_PHILOX && fusion_draws(a))
        generator_draw(&context->generator, &ptrs->seed, &ptrs->offset);
}

static void finish(const void *args, const fattn_problem *problem, const fattn_ptrs *ptrs)
{
    const fattn_fusion_attention_args *a = args;
    if (a->seed_out) *a->seed_out = (int64_t)ptrs->seed;
    if (a->offset_out) *a->offset_out = MUTANT(167, (int64_t)ptrs->offset, a->offset);
    if (a->numels) *a->numels = fusion_numels(problem);
}

const fattn_translator translator_fusion_attention = {.op = &operator_fusion_attention,
                                                      .layouts = fusion_layouts,
                                                      .translate = translate,
                                                      .bind = bind,
                                                      .begin = begin,
                                                      .finish = finish,
                                                      .refused = fusion_refused};

/* ---- public -------------------------------------------------------------------------------------
 */

void fattn_fusion_attention_args_init(fattn_fusion_attention_args *args)
{
    operator_args_init(&operator_fusion_attention, args);
}

fattn_status fattn_fusion_attention(fattn_context *context, const fattn_fusion_attention_args *args)
{
    return exec_call(context, &translator_fusion_attention, args);
}

fattn_status fattn_fusion_attention_shapes(fattn_context *context,
                                           const fattn_fusion_attention_args *args,
                                           fattn_tensor *outputs)
{
    fusion_call call;
    TRY(context_resolve(&context));
    TRY(exec_args_check(context, &translator_fusion_attention, args, ARGS_SHAPES));
    REQUIRE(outputs, FATTN_E_ARG, "outputs: is NULL; pass an array of %d tensors",
            operator_fusion_attention.n_outputs);
    warn_list warnings;
    warn_hold(&warnings);
    const fattn_status status = fusion_read(context, args, "scale", &call);
    warn_settle(&warnings, context, status);
    if (status != FATTN_OK)
        return exec_refused(context, &translator_fusion_attention, args, status);
    outputs[0] = inputs_output(&call.in);
    outputs[1] = outputs[2] = fusion_stats_shape(&call.in);
    return FATTN_OK;
}

fattn_status fattn_fusion_attention_workspace(fattn_context *context,
                                              const fattn_fusion_attention_args *args,
                                              size_t *bytes)
{
    return exec_workspace(context, &translator_fusion_attention, args, bytes);
}

fattn_status fattn_fusion_attention_plan(fattn_context *context,
                                         const fattn_fusion_attention_args *args, fattn_plan **plan)
{
    return exec_plan(context, &translator_fusion_attention, args, plan);
}
