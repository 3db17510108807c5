/* SPDX-License-Identifier: Apache-2.0 */
/* fused_infer_attention_score.c — unified inference, v1 (spec inference 8, 10): prefill and decode
 * by shape, paged caches, softmax_lse. */
#include "api/infer.h"
#include "api/operator.h"
#include "base/mutant.h"

/* Every layout of the family; v2 takes the same. X_Y: queries in X, the output in Y. */
const char *const infer_layouts[] = {"BSH",     "BSND",      "BNSD",      "TND",       "NTD",
                                     "NSD",     "BNSD_BSND", "BSH_BNSD",  "BSND_BNSD", "NTD_TND",
                                     "TND_NTD", "BSH_NBSD",  "BSND_NBSD", "BNSD_NBSD", NULL};

static infer_args normal_form(const fattn_fused_infer_attention_score_args *a)
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
        .key_shared_prefix = infer_optional(a->key_shared_prefix),
        .value_shared_prefix = infer_optional(a->value_shared_prefix),
        .shared_prefix_len = a->actual_shared_prefix_len,
        .query_padding_size = infer_optional(a->query_padding_size),
        .kv_padding_size = infer_optional(a->kv_padding_size),
        .atten_mask = inputs_optional(a->atten_mask),
        .pse_shift = infer_optional(a->pse_shift),
        .block_table = infer_beside(a->block_table, a->query),
        .q_lengths = {.name = "actual_seq_lengths", .list = a->actual_seq_lengths},
        .kv_lengths = {.name = "actual_seq_lengths_kv", .list = a->actual_seq_lengths_kv},
        .layouts = infer_layouts,
        .layout = a->input_layout,
        .num_heads = a->num_heads,
        .heads_name = "num_heads",
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
        .quant = {.scale = {{"key_antiquant_scale", a->key_antiquant_scale},
                            {"value_antiquant_scale", a->value_antiquant_scale}},
                  .offset = {{"key_antiquant_offset", a->key_antiquant_offset},
                             {"value_antiquant_offset", a->value_antiquant_offset}},
                  .mode = {a->key_antiquant_mode, a->value_antiquant_mode},
                  .mode_name = {"key_antiquant_mode", "value_antiquant_mode"},
                  .both_scale = {"antiquant_scale", a->antiquant_scale},
                  .both_offset = {"antiquant_offset", a->antiquant_offset},
                  .both_mode = a->antiquant_mode,
                  .both_mode_name = "antiquant_mode",
                  .score_scale = {"dequant_scale1", a->dequant_scale1},
                  .p_scale = {"quant_scale1", a->quant_scale1},
                  .out_factor = {"dequant_scale2", a->dequant_scale2},
                  .out_scale = {"quant_scale2", a->quant_scale2},
                  .out_offset = {"quant_offset2", a->quant_offset2},
                  .out_dtype = -1},
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
    const fattn_fused_infer_attention_score_args *a = args;
    (void)problem;
    if (!a->softmax_lse_flag) infer_no_lse(a->softmax_lse);
}

const fattn_translator translator_fused_infer_attention_score = {
    .op = &operator_fused_infer_attention_score,
    .layouts = infer_layouts,
    .translate = translate,
    .bind = bind,
    .finish = finish,
    .refused = infer_refused};

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
    TRY(exec_args_check(context, &translator_fused_infer_attention_score, args, ARGS_SHAPES));
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
