/* SPDX-License-Identifier: Apache-2.0 */
/* fused_infer_attention_score.c — unified inference, v1 (spec inference 8, 10): prefill and decode
 * by shape, paged caches, softmax_lse. */
#include "api/infer.h"
#include "api/operator.h"
#include "base/mutant.h"

static const char *const layout_names[] = {"BSH", "BSND", "BNSD", "TND", NULL};

static infer_args normal_form(const fattn_fused_infer_attention_score_args *a)
{
    return (infer_args){
        .route = ROUTE_BY_SHAPE,
        .query = a->query,
        .key = a->key,
        .value = a->value,
        .atten_mask = inputs_optional(a->atten_mask),
        .pse_shift = infer_optional(a->pse_shift),
        .block_table = infer_table(a->block_table, a->query),
        .q_lengths = {.name = "actual_seq_lengths", .list = a->actual_seq_lengths},
        .kv_lengths = {.name = "actual_seq_lengths_kv", .list = a->actual_seq_lengths_kv},
        .layouts = layout_names,
        .layout = a->input_layout,
        .num_heads = a->num_heads,
        .num_key_value_heads = a->num_key_value_heads,
        .scale = a->scale,
        .scale_name = "scale",
        .pre_tokens = MUTANT(72, a->pre_tokens, a->next_tokens),
        .next_tokens = a->next_tokens,
        .next_default = INT32_MAX,
        .sparse_mode = a->sparse_mode,
        .inner_precise = a->inner_precise,
        .block_size = a->block_size,
        .want_lse = a->softmax_lse_flag,
        .attention_out = a->attention_out,
        .softmax_lse = a->softmax_lse,
    };
}

static fattn_status translate(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem)
{
    const infer_args normal = normal_form(args);
    return infer_translate(context, &normal, arena, problem);
}

static void bind(const void *args, fattn_ptrs *ptrs)
{
    const infer_args normal = normal_form(args);
    infer_bind(&normal, ptrs);
}

/* Without the flag softmax_lse is [1] and holds 0. */
static void finish(const void *args, const fattn_problem *problem)
{
    const fattn_fused_infer_attention_score_args *a = args;
    (void)problem;
    if (!a->softmax_lse_flag && a->softmax_lse) *(float *)a->softmax_lse->data = 0.0f;
}

const fattn_translator translator_fused_infer_attention_score = {
    .op = &operator_fused_infer_attention_score,
    .translate = translate,
    .bind = bind,
    .finish = finish};

void fattn_fused_infer_attention_score_args_init(fattn_fused_infer_attention_score_args *args)
{
    operator_args_init(&operator_fused_infer_attention_score, args);
}

fattn_status fattn_fused_infer_attention_score(fattn_context *context,
                                               const fattn_fused_infer_attention_score_args *args)
{
    return exec_call(context, &translator_fused_infer_attention_score, args);
}

fattn_status
fattn_fused_infer_attention_score_shapes(fattn_context *context,
                                         const fattn_fused_infer_attention_score_args *args,
                                         fattn_tensor *outputs)
{
    TRY(context_resolve(&context));
    TRY(operator_args_check(&operator_fused_infer_attention_score, args, ARGS_SHAPES));
    const infer_args normal = normal_form(args);
    return infer_shapes(context, &normal, true, outputs);
}

fattn_status fattn_fused_infer_attention_score_workspace(
    fattn_context *context, const fattn_fused_infer_attention_score_args *args, size_t *bytes)
{
    return exec_workspace(context, &translator_fused_infer_attention_score, args, bytes);
}

fattn_status fattn_fused_infer_attention_score_plan(
    fattn_context *context, const fattn_fused_infer_attention_score_args *args, fattn_plan **plan)
{
    return exec_plan(context, &translator_fused_infer_attention_score, args, plan);
}
