/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_flash_attention.c — the prefill operator (spec inference 6). Always the device's prefill
 * branch, with inner_precise 1 unless sparse_mode says otherwise; no cache, no softmax_lse. */
#include "api/infer.h"
#include "api/operator.h"
#include "base/mutant.h"

static const char *const layout_names[] = {"BSH", "BSND",      "BNSD", "TND",
                                           "NSD", "BNSD_BSND", "SH",   NULL};

/* sparse_mode 10..14: the device's hidden switch, sparse_mode - 10 with inner_precise 0. */
enum { PRECISE_MODE_FIRST = 10, PRECISE_MODE_LAST = 14 };

static infer_args normal_form(const fattn_prompt_flash_attention_args *a)
{
    const bool precise =
        a->sparse_mode >= PRECISE_MODE_FIRST && a->sparse_mode <= PRECISE_MODE_LAST;
    return (infer_args){
        .route = ROUTE_PREFILL,
        .query = a->query,
        .key = a->key,
        .value = a->value,
        .atten_mask = inputs_optional(a->atten_mask),
        .pse_shift = infer_optional(a->pse_shift),
        .q_lengths = {.name = "actual_seq_lengths", .list = a->actual_seq_lengths},
        .kv_lengths = {.name = "actual_seq_lengths_kv",
                       .list = MUTANT(94, a->actual_seq_lengths_kv, a->actual_seq_lengths)},
        .layouts = layout_names,
        .layout = a->input_layout,
        .num_heads = a->num_heads,
        .heads_name = "num_heads",
        .num_key_value_heads = a->num_key_value_heads,
        .scale = a->scale_value,
        .scale_name = "scale_value",
        .pre_tokens = a->pre_tokens,
        .next_tokens = a->next_tokens,
        .next_default = 0,
        .sparse_mode = a->sparse_mode - (precise ? PRECISE_MODE_FIRST : 0),
        .inner_precise = !precise,
        .quant = {.score_scale = {"deq_scale1", a->deq_scale1},
                  .p_scale = {"quant_scale1", a->quant_scale1},
                  .out_factor = {"deq_scale2", a->deq_scale2},
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

const fattn_translator translator_prompt_flash_attention = {.op = &operator_prompt_flash_attention,
                                                            .layouts = layout_names,
                                                            .translate = translate,
                                                            .bind = bind,
                                                            .refused = infer_refused};

void fattn_prompt_flash_attention_args_init(fattn_prompt_flash_attention_args *args)
{
    operator_args_init(&operator_prompt_flash_attention, args);
}

fattn_status fattn_prompt_flash_attention(fattn_context *context,
                                          const fattn_prompt_flash_attention_args *args)
{
    return exec_call(context, &translator_prompt_flash_attention, args);
}

fattn_status fattn_prompt_flash_attention_shapes(fattn_context *context,
                                                 const fattn_prompt_flash_attention_args *args,
                                                 fattn_tensor *outputs)
{
    TRY(context_resolve(&context));
    TRY(exec_args_check(context, &translator_prompt_flash_attention, args, ARGS_SHAPES));
    const infer_args normal = normal_form(args);
    return infer_shapes(context, &normal, false, outputs);
}

fattn_status fattn_prompt_flash_attention_workspace(fattn_context *context,
                                                    const fattn_prompt_flash_attention_args *args,
                                                    size_t *bytes)
{
    return exec_workspace(context, &translator_prompt_flash_attention, args, bytes);
}

fattn_status fattn_prompt_flash_attention_plan(fattn_context *context,
                                               const fattn_prompt_flash_attention_args *args,
                                               fattn_plan **plan)
{
    return exec_plan(context, &translator_prompt_flash_attention, args, plan);
}
