/* SPDX-License-Identifier: Apache-2.0 */
/* incre_flash_attention.c — the decode operator: one query row per batch (spec inference 7). It has
 * no sparse_mode; actual_seq_lengths counts keys. */
#include "api/infer.h"
#include "api/operator.h"
#include "base/mutant.h"

static const char *const layout_names[] = {"BSH", "BSND", "BNSD", NULL};

static infer_args normal_form(const fattn_incre_flash_attention_args *a)
{
    return (infer_args){
        .route = ROUTE_DECODE,
        .query = a->query,
        .key = a->key,
        .value = a->value,
        .kv_padding_size = infer_optional(a->kv_padding_size),
        .atten_mask = inputs_optional(a->atten_mask),
        .pse_shift = infer_optional(MUTANT(79, a->pse_shift, NULL)),
        .block_table = infer_beside(a->block_table, a->query),
        .q_lengths = {.name = "query lengths"}, /* none */
        .kv_lengths = {.name = "actual_seq_lengths", .list = a->actual_seq_lengths},
        .layouts = layout_names,
        .layout = a->input_layout,
        .num_heads = a->num_heads,
        .heads_name = "num_heads",
        .num_key_value_heads = a->num_key_value_heads,
        .scale = a->scale_value,
        .scale_name = "scale_value",
        .pre_tokens = INT32_MAX,
        .next_tokens = INT32_MAX,
        .next_default = INT32_MAX,
        .inner_precise = a->inner_precise,
        .block_size = a->block_size,
        .quant = {.both_scale = {"antiquant_scale", a->antiquant_scale},
                  .both_offset = {"antiquant_offset", a->antiquant_offset},
                  .score_scale = {"dequant_scale1", a->dequant_scale1},
                  .p_scale = {"quant_scale1", a->quant_scale1},
                  .out_factor = {"dequant_scale2", a->dequant_scale2},
                  .out_scale = {"quant_scale2", a->quant_scale2},
                  .out_offset = {"quant_offset2", a->quant_offset2},
                  .out_dtype = -1},
        .attention_out = a->attention_out,
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

const fattn_translator translator_incre_flash_attention = {.op = &operator_incre_flash_attention,
                                                           .layouts = layout_names,
                                                           .translate = translate,
                                                           .bind = bind,
                                                           .refused = infer_refused};

void fattn_incre_flash_attention_args_init(fattn_incre_flash_attention_args *args)
{
    operator_args_init(&operator_incre_flash_attention, args);
}

fattn_status fattn_incre_flash_attention(fattn_context *context,
                                         const fattn_incre_flash_attention_args *args)
{
    return exec_call(context, &translator_incre_flash_attention, args);
}

fattn_status fattn_incre_flash_attention_shapes(fattn_context *context,
                                                const fattn_incre_flash_attention_args *args,
                                                fattn_tensor *outputs)
{
    TRY(context_resolve(&context));
    TRY(exec_args_check(context, &translator_incre_flash_attention, args, ARGS_SHAPES));
    const infer_args normal = normal_form(args);
    return infer_shapes(context, &normal, false, outputs);
}

fattn_status fattn_incre_flash_attention_workspace(fattn_context *context,
                                                   const fattn_incre_flash_attention_args *args,
                                                   size_t *bytes)
{
    return exec_workspace(context, &translator_incre_flash_attention, args, bytes);
}

fattn_status fattn_incre_flash_attention_plan(fattn_context *context,
                                              const fattn_incre_flash_attention_args *args,
                                              fattn_plan **plan)
{
    return exec_plan(context, &translator_incre_flash_attention, args, plan);
}
