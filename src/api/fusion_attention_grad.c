/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_attention_grad.c — the training operator's backward (spec fusion-attention 7): its arguments
 * are presented to fusion.c as the forward's; what is left are dy, the forward's results and the
 * gradients. */
#include <string.h>

#include "api/fusion.h"
#include "api/operator.h"
#include "api/strict.h"
#include "base/mutant.h"
#include "core/element.h"

typedef fattn_fusion_attention_grad_args grad_args;

/* The forward's arguments; the statistics are inputs here, and checked in the same way. */
static fattn_fusion_attention_args forward_args(const grad_args *a)
{
    return (fattn_fusion_attention_args){
        .size = sizeof(fattn_fusion_attention_args),
        .query = a->query,
        .key = a->key,
        .value = a->value,
        .head_num = a->head_num,
        .input_layout = a->input_layout,
        .pse = a->pse,
        .atten_mask = a->atten_mask,
        .query_rope = a->query_rope,
        .key_rope = a->key_rope,
        .scale = a->scale_value,
        .keep_prob = a->keep_prob,
        .pre_tokens = a->pre_tokens,
        .next_tokens = a->next_tokens,
        .inner_precise = a->inner_precise,
        .prefix = a->prefix,
        .actual_seq_qlen = a->actual_seq_qlen,
        .actual_seq_kvlen = a->actual_seq_kvlen,
        .sparse_mode = a->sparse_mode,
        .pse_type = a->pse_type,
        .q_start_idx = a->q_start_idx,
        .kv_start_idx = a->kv_start_idx,
        .softmax_layout = a->softmax_layout,
        .sink = a->sink,
        .dropout_mask = a->dropout_mask,
        .seed = a->seed,
        .offset = a->offset,
        .attention_out = a->attention_in,
        .softmax_max = a->softmax_max,
        .softmax_sum = a->softmax_sum,
    };
}

static fattn_tensor empty_tensor(fattn_dtype dtype)
{
    const int64_t none = 0;
    return fattn_tensor_contiguous(NULL, dtype, 1, &none);
}

static fattn_tensor like(const fattn_tensor *tensor, fattn_dtype absent)
{
    if (!tensor) return empty_tensor(absent);
    return fattn_tensor_contiguous(NULL, tensor->dtype, tensor->rank, tensor->shape);
}

/* ---- gradients ----------------------------------------------------------------------------------
 */

/* A gradient and what it is the gradient of. Where that is absent the gradient may be, too, or be the
 * empty tensor that shapes() tells. */
typedef struct pair {
    const char *name, *of_name;
    const fattn_tensor *given, *of;
} pair;

static fattn_status check_pair(const pair *p)
{
    if (!p->given) return FATTN_OK;
    REQUIRE(p->of, FATTN_E_ARG, "%s: given without %s; leave it out", p->name, p->of_name);
    const fattn_tensor wanted = like(p->of, FATTN_F32);
    return output_check(p->given, &wanted, p->name);
}

/* One more part of a gradient's view; without the tensor the part of the operand stands in, so that
 * both views have the same parts. */
static fattn_status add_part(const fusion_call *call, const pair *p, int64_t heads,
                             const fattn_part *operand, fattn_view *view)
{
    const fattn_inputs *in = &call->in;
    view->dtype = in->query->dtype;
    if (!p->given) {
        view->part[view->n_parts++] = *operand;
        return FATTN_OK;
    }
    const output_kind kind = {p->name, in->letters, heads, like(p->of, FATTN_F32)};
    return output_part(in, &kind, p->given, view);
}

static fattn_status read_gradients(const fusion_call *call, const grad_args *a,
                                   fattn_problem *problem)
{
    const pair dq = {"dq", "query", a->dq, a->query}, dk = {"dk", "key", a->dk, a->key};
    const pair dv = {"dv", "value", a->dv, a->value};
    const pair dq_rope = {"dq_rope", "query_rope", inputs_optional(a->dq_rope), call->in.query_rope};
    const pair dk_rope = {"dk_rope", "key_rope", inputs_optional(a->dk_rope), call->in.key_rope};
    const pair dsink = {"dsink", "sink", inputs_optional(a->dsink), call->sink};
    const pair *const all[] = {&dq, &dk, &dv, &dq_rope, &dk_rope, &dsink};
    const int64_t n = call->in.n_heads, kv_n = call->in.n_kv_heads;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) TRY(check_pair(all[i]));
    TRY(add_part(call, &dq, n, &problem->q.part[0], &problem->dq));
    TRY(add_part(call, &dk, kv_n, &problem->k.part[0], &problem->dk));
    TRY(add_part(call, &dv, kv_n, &problem->v.part[0], &problem->dv));
    if (problem->q.n_parts == 2) {
        TRY(add_part(call, &dq_rope, n, &problem->q.part[1], &problem->dq));
        TRY(add_part(call, &dk_rope, kv_n, &problem->k.part[1], &problem->dk));
    }
    if (dsink.given) problem->dsink_stride = a->dsink->strides[0];
    return FATTN_OK;
}

/* dy and attention_in lie like the output. */
static fattn_status read_outputs(const fusion_call *call, const grad_args *a,
                                 fattn_problem *problem)
{
    const fattn_inputs *in = &call->in;
    const fattn_tensor wanted = inputs_output(in);
    const output_kind dy = {"dy", in->out_letters, in->n_heads, wanted};
    const output_kind out = {"attention_in", in->out_letters, in->n_heads, wanted};
    TRY(tensor_check(&wanted, "attention_in", false));
    TRY(output_part(in, &dy, a->dy, &problem->dout));
    return output_part(in, &out, a->attention_in, &problem->out);
}

static fattn_status strict_grad(fattn_context *context, const grad_args *a)
{
    REQUIRE(!context->strict || !inputs_optional(a->dropout_mask), FATTN_E_ARG,
            "dropout_mask: the device's backward has none and draws the mask again; give the seed "
            "and offset that the forward returned");
    return FATTN_OK;
}

static fattn_status translate(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem)
{
    const grad_args *a = args;
    const fattn_fusion_attention_args forward = forward_args(a);
    const pair dpse = {"dpse", "pse", inputs_optional(a->dpse), inputs_optional(a->pse)};
    fusion_call call;
    TRY(strict_grad(context, a));
    TRY(fusion_read(context, &forward, "scale_value", &call));
    TRY(check_pair(&dpse));
    call.dpse = dpse.given;
    problem->kind = KIND_BACKWARD;
    TRY(fusion_translate(&call, arena, problem));
    TRY(read_outputs(&call, a, problem));
    return read_gradients(&call, a, problem);
}

/* ---- a run --------------------------------------------------------------------------------------
 */

static void bind(const void *args, fattn_ptrs *ptrs)
{
    const grad_args *a = args;
    const fattn_fusion_attention_args forward = forward_args(a);
    fusion_bind(&forward, ptrs);
    ptrs->dout = a->dy->data;
    ptrs->dq[0] = a->dq->data;
    ptrs->dq[1] = fusion_data(inputs_optional(a->dq_rope));
    ptrs->dk[0] = fusion_data(a->dk);
    ptrs->dk[1] = fusion_data(inputs_optional(a->dk_rope));
    ptrs->dv = fusion_data(a->dv);
    ptrs->dbias = fusion_data(inputs_optional(a->dpse));
    ptrs->dsink = fusion_data(inputs_optional(a->dsink));
}

/* Every element 0, innermost axes first. */
static void clear(const fattn_tensor *tensor)
{
    int64_t at[FATTN_MAX_RANK] = {0};
    int64_t offset = 0, left = tensor_elements(tensor);
    if (tensor_contiguous(tensor)) {
        if (left > 0) memset(tensor->data, 0, (size_t)left * fattn_dtype_size(tensor->dtype));
        return;
    }
    for (; left > 0; left--) {
        element_store(tensor->data, tensor->dtype, offset, 0.0);
        for (int axis = tensor->rank - 1; axis >= 0; axis--) {
            offset += tensor->strides[axis];
            if (++at[axis] < tensor->shape[axis]) break;
            offset -= at[axis] * tensor->strides[axis];
            at[axis] = 0;
        }
    }
}

/* Cells of the bias that no score reads have gradient 0, and so has a sink without rows. */
static void begin(fattn_context *context, const void *args, const fattn_problem *problem,
                  fattn_ptrs *ptrs)
{
    const grad_args *a = args;
    (void)context, (void)problem, (void)ptrs;
    if (a->dpse) clear(MUTANT(160, a->dpse, a->dq));
    if (a->dsink) clear(a->dsink);
}

const fattn_translator translator_fusion_attention_grad = {.op = &operator_fusion_attention_grad,
                                                           .layouts = fusion_layouts,
                                                           .translate = translate,
                                                           .bind = bind,
                                                           .begin = begin,
                                                           .refused = fusion_refused};

/* ---- public -------------------------------------------------------------------------------------
 */

void fattn_fusion_attention_grad_args_init(fattn_fusion_attention_grad_args *args)
{
    operator_args_init(&operator_fusion_attention_grad, args);
}

fattn_status fattn_fusion_attention_grad(fattn_context *context,
                                         const fattn_fusion_attention_grad_args *args)
{
    return exec_call(context, &translator_fusion_attention_grad, args);
}

static void fill_shapes(const fusion_call *call, const grad_args *a, fattn_tensor *outputs)
{
    outputs[0] = like(a->query, FATTN_F32);
    outputs[1] = like(a->key, FATTN_F32);
    outputs[2] = like(a->value, FATTN_F32);
    outputs[3] = like(call->pse, a->query->dtype);
    outputs[4] = like(call->in.query_rope, a->query->dtype);
    outputs[5] = like(call->in.key_rope, a->query->dtype);
    outputs[6] = like(call->sink, FATTN_F32);
}

fattn_status fattn_fusion_attention_grad_shapes(fattn_context *context,
                                                const fattn_fusion_attention_grad_args *args,
                                                fattn_tensor *outputs)
{
    const fattn_translator *translator = &translator_fusion_attention_grad;
    TRY(context_resolve(&context));
    TRY(exec_args_check(context, translator, args, ARGS_SHAPES));
    REQUIRE(outputs, FATTN_E_ARG, "outputs: is NULL; pass an array of %d tensors",
            operator_fusion_attention_grad.n_outputs);
    const fattn_fusion_attention_args forward = forward_args(args);
    fusion_call call;
    warn_list warnings;
    warn_hold(&warnings);
    const fattn_status status = fusion_read(context, &forward, "scale_value", &call);
    warn_settle(&warnings, context, status);
    if (status != FATTN_OK) return exec_refused(context, translator, args, status);
    fill_shapes(&call, args, outputs);
    return FATTN_OK;
}

fattn_status fattn_fusion_attention_grad_workspace(fattn_context *context,
                                                   const fattn_fusion_attention_grad_args *args,
                                                   size_t *bytes)
{
    return exec_workspace(context, &translator_fusion_attention_grad, args, bytes);
}

fattn_status fattn_fusion_attention_grad_plan(fattn_context *context,
                                              const fattn_fusion_attention_grad_args *args,
                                              fattn_plan **plan)
{
    return exec_plan(context, &translator_fusion_attention_grad, args, plan);
}
