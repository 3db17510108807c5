/* SPDX-License-Identifier: Apache-2.0 */
/* fused_infer_attention_score_v2.c — unified inference, v2 (spec inference 9, 10): v1 under other
 * names, with learnable_sink and the tree mask, without left padding and shared prefix. */
#include "api/infer.h"
#include "api/operator.h"
#include "base/mutant.h"

static infer_args normal_form(const fattn_fused_infer_attention_score_v2_args *a)
{
    return (infer_args){
        .route = ROUTE_BY_SHAPE,
        .query = a->query,
        .key = a->key,
        .value = a->value,
        .key_list = a->key_list,
        .value_list = a->value_list,
        .query_rope = infer_beside(a->query_rope, a->query),
        .key_rope = infer_beside(a->key_rope, a->key),
        .atten_mask = inputs_optional(a->atten_mask),
        .pse_shift = infer_optional(a->pse_shift),
        .learnable_sink = infer_optional(a->learnable_sink),
        .block_table = infer_beside(a->block_table, a->query),
        .q_lengths = {.name = "actual_seq_qlen", .list = a->actual_seq_qlen},
        .kv_lengths = {.name = "actual_seq_kvlen",
                       .list = MUTANT(132, a->actual_seq_kvlen, a->actual_seq_qlen)},
        .layouts = infer_layouts,
        .layout = a->input_layout,
        .num_heads = a->num_query_heads,
        .heads_name = "num_query_heads",
        .num_key_value_heads = a->num_key_value_heads,
        .scale = a->softmax_scale,
        .scale_name = "softmax_scale",
        .pre_tokens = a->pre_tokens,
        .next_tokens = a->next_tokens,
        .next_default = INT32_MAX,
        .sparse_mode = a->sparse_mode,
        .tree_mask = true,
        .inner_precise = a->inner_precise,
        .block_size = a->block_size,
        .want_lse = a->return_softmax_lse,
        .quant = {.scale = {{"dequant_scale_key", a->dequant_scale_key},
                            {"dequant_scale_value", a->dequant_scale_value}},
                  .offset = {{"dequant_offset_key", a->dequant_offset_key},
                             {"dequant_offset_value", a->dequant_offset_value}},
                  .mode = {a->key_quant_mode, a->value_quant_mode},
                  .mode_name = {"key_quant_mode", "value_quant_mode"},
                  .out_scale = {"quant_scale_out", a->quant_scale_out},
                  .out_offset = {"quant_offset_out", a->quant_offset_out},
                  .out_dtype = a->out_dtype,
                  .query_scale = {"dequant_scale_query", a->dequant_scale_query},
                  .query_mode = a->query_quant_mode},
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

static void finish(const void *args, const fattn_problem *problem, const fattn_ptrs *ptrs)
{
    (void)ptrs;
    const fattn_fused_infer_attention_score_v2_args *a = args;
    (void)problem;
    if (!a->return_softmax_lse) infer_no_lse(a->softmax_lse);
}

const fattn_translator translator_fused_infer_attention_score_v2 = {
    .op = &operator_fused_infer_attention_score_v2,
    .layouts = infer_layouts,
    .translate = translate,
    .bind = bind,
    .finish = finish,
    .refused = infer_refused};

void fattn_fused_infer_attention_score_v2_args_init(fattn_fused_infer_attention_score_v2_args *args)
{
    operator_args_init(&operator_fused_infer_attention_score_v2, args);
}

fattn_status
fattn_fused_infer_attention_score_v2(fattn_context *context,
                                     const fattn_fused_infer_attention_score_v2_args *args)
{
    return exec_call(context, &translator_fused_infer_attention_score_v2, args);
}

fattn_status
fattn_fused_infer_attention_score_v2_shapes(fattn_context *context,
                                            const fattn_fused_infer_attention_score_v2_args *args,
                                            fattn_tensor *outputs)
{
    TRY(context_resolve(&context));
    TRY(exec_args_check(context, &translator_fused_infer_attention_score_v2, args, ARGS_SHAPES));
    const infer_args normal = normal_form(args);
    return infer_shapes(context, &normal, true, outputs);
}

fattn_status fattn_fused_infer_attention_score_v2_workspace(
    fattn_context *context, const fattn_fused_infer_attention_score_v2_args *args, size_t *bytes)
{
    return exec_workspace(context, &translator_fused_infer_attention_score_v2, args, bytes);
}

fattn_status
fattn_fused_infer_attention_score_v2_plan(fattn_context *context,
                                          const fattn_fused_infer_attention_score_v2_args *args,
                                          fattn_plan **plan)
{
    return exec_plan(context, &translator_fused_infer_attention_score_v2, args, plan);
}
