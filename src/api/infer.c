/* SPDX-License-Identifier: Apache-2.0 */
/* infer.c — the inference operators: normalised arguments to canonical problem (spec inference
 * 1-5, 10). */
#include "api/infer.h"
#include "api/strict_infer.h"

#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

const fattn_tensor *infer_optional(const fattn_tensor *tensor)
{
    return tensor && tensor_elements(tensor) > 0 ? tensor : NULL;
}

const fattn_tensor *infer_beside(const fattn_tensor *tensor, const fattn_tensor *other)
{
    const bool empty = other && tensor_elements(other) == 0;
    return empty ? inputs_optional(tensor) : infer_optional(tensor);
}

/* Layouts of the device's decode branch: BSH, BSND, BNSD with the result like the query or N first;
 * the packed ones that begin with T. */
static bool layout_decodes(const fattn_inputs *in)
{
    const char *const letters[] = {"BSH", "BNSD", "BSND"};
    bool decodes = false;
    if (in->packed) return in->letters[0] == 'T';
    for (int i = 0; i < 3; i++) decodes |= strcmp(in->letters, letters[i]) == 0;
    return decodes && (strcmp(in->out_letters, in->letters) == 0 || in->out_letters[1] == 'B');
}

/* Which branch of the device would run (spec 10). */
static void find_branch(infer_call *call)
{
    enum { MLA_HEAD_DIM = 512 };
    const fattn_inputs *in = &call->in;
    const bool decodes = layout_decodes(in);
    call->one_row = !in->packed && in->q.s == 1;
    call->decode =
        call->one_row && call->args->route != ROUTE_PREFILL && decodes && !in->query_rope;
    call->mla =
        call->args->route == ROUTE_BY_SHAPE && decodes && in->query_rope &&
        in->q.d == MLA_HEAD_DIM &&
        (in->packed || in->q.s <= INFER_MLA_ROWS || call->args->sparse_mode == INFER_MODE_BAND);
}

/* key and value, or a list of each. */
static fattn_status check_given(const infer_args *a)
{
    const bool lists = a->key_list.count > 0 || a->value_list.count > 0;
    REQUIRE(!lists || (!a->key && !a->value), FATTN_E_ARG,
            "key_list: given together with key or value; a list stands alone");
    REQUIRE(!lists || !a->block_table, FATTN_E_ARG,
            "key_list: given together with block_table; a list has no blocks");
    REQUIRE(!lists || (a->key_list.count > 0 && a->value_list.count > 0), FATTN_E_ARG,
            "%s: missing; key_list and value_list come together",
            a->key_list.count > 0 ? "value_list" : "key_list");
    REQUIRE(lists || (a->key && a->value), FATTN_E_ARG,
            "%s: missing; give key and value, or key_list and value_list",
            a->key ? "value" : "key");
    return FATTN_OK;
}

/* Everything behind the query that tells how much there is to compute. */
static fattn_status read_keys(infer_call *call)
{
    const infer_args *a = call->args;
    TRY(infer_dtypes(call)); /* before shapes: packed dtypes have other ones */
    TRY(inputs_read_keys(&call->in));
    if (call->in.paged) TRY(cache_read(call->context, &call->in, a->block_size));
    REQUIRE(a->route != ROUTE_DECODE || call->in.q.s == 1, FATTN_E_SHAPE,
            "query: %lld rows per batch; incre_flash_attention takes 1, "
            "fused_infer_attention_score any "
            "number",
            LL(call->in.q.s));
    find_branch(call);
    return FATTN_OK;
}

/* What shapes() and translate() both need. */
static fattn_status infer_read(fattn_context *context, const infer_args *a, infer_call *call)
{
    TRY(check_given(a));
    const bool listed = a->key_list.count > 0;
    *call = (infer_call){
        .context = context,
        .args = a,
        .in = {.query = a->query,
               .key = listed ? a->key_list.data[0] : a->key,
               .value = listed ? a->value_list.data[0] : a->value,
               .key_list = a->key_list,
               .value_list = a->value_list,
               .listed = listed,
               .query_rope = a->query_rope,
               .key_rope = a->key_rope,
               .key_shared = a->key_shared_prefix,
               .value_shared = a->value_shared_prefix,
               .heads = a->num_heads,
               .kv_heads = a->num_key_value_heads,
               .heads_name = a->heads_name,
               .kv_heads_name = "num_key_value_heads",
               .paged = a->block_table != NULL},
    };
    TRY(strict_check(&strict_infer, STAGE_ARGS, context, call));
    TRY(inputs_scale(a->scale_name, a->scale));
    TRY(inputs_layout(context, &call->in, a->layout, false, a->layouts));
    TRY(inputs_read_query(context, &call->in));
    return infer_no_query(a) ? infer_read_empty(call) : read_keys(call);
}

static fattn_status check_inner_precise(const infer_call *call)
{
    const int64_t value = call->args->inner_precise;
    const bool last_bits = call->context->strict && strict_prefill(call) && value > 4;
    REQUIRE(call->args->route != ROUTE_DECODE || (value >= 0 && value <= 1), FATTN_E_ARG,
            "inner_precise: %lld is not in 0..1; incre_flash_attention takes no other", LL(value));
    REQUIRE((value >= 0 && value <= 3) || last_bits, FATTN_E_ARG,
            "inner_precise: %lld is not in 0..3", LL(value));
    return FATTN_OK;
}

/* Strict: the device's high-performance mode keeps fp16 scores before the scale (spec 1.7). */
static bool rounds_scores(const infer_call *call)
{
    return call->context->strict && !call->decode && !call->mla &&
           call->in.query->dtype == FATTN_F16 && (call->args->inner_precise & 1) &&
           !call->args->pse_shift;
}

fattn_status infer_refused(const fattn_context *context, const fattn_operator *op, const void *args,
                           fattn_status status)
{
    (void)op, (void)args;
    return strict_refused(&strict_infer, context, status);
}

/* What tells one legal call from another once its tensors are read. */
static fattn_status read_rest(infer_call *call, fattn_arena *arena, fattn_problem *problem)
{
    TRY(check_inner_precise(call));
    TRY(infer_lengths(call, arena, problem));
    TRY(infer_quant(call, problem));
    problem->round_scores_f16 = rounds_scores(call);
    TRY(infer_mask(call, problem));
    TRY(infer_bias(call, problem));
    TRY(infer_sink(call, problem));
    return strict_check(&strict_infer, STAGE_CALL, call->context, call);
}

/* A list of one tensor is that tensor (spec 3.4). */
static infer_args without_single_lists(const infer_args *args)
{
    infer_args a = *args;
    if (a.key || a.value || a.key_list.count != 1 || a.value_list.count != 1) return a;
    a.key = a.key_list.data[0];
    a.value = a.value_list.data[0];
    a.key_list = a.value_list = (fattn_tensor_array){NULL, 0};
    return a;
}

fattn_status infer_translate(fattn_context *context, const infer_args *args, fattn_arena *arena,
                             fattn_problem *problem)
{
    const infer_args a = without_single_lists(args);
    const bool any_shape =
        !context->strict || a.route == ROUTE_BY_SHAPE; /* spec 8: callers hold other views */
    infer_call call;
    TRY(infer_read(context, &a, &call));
    problem->scale = a.scale;
    if (!call.empty) TRY(read_rest(&call, arena, problem));
    TRY(inputs_fill(&call.in, arena, problem));
    TRY(infer_check_out(&a));
    TRY(output_fill(&call.in, a.attention_out, any_shape, problem));
    return infer_rows(&call, arena, problem);
}

fattn_status infer_shapes(fattn_context *context, const infer_args *args, bool lse,
                          fattn_tensor *outputs)
{
    const infer_args a = without_single_lists(args);
    infer_call call;
    REQUIRE(outputs, FATTN_E_ARG, "outputs: is NULL; pass an array of %d tensors", lse ? 2 : 1);
    warn_list warnings;
    warn_hold(&warnings);
    const fattn_status status = infer_read(context, &a, &call);
    warn_settle(&warnings, context, status);
    if (status != FATTN_OK) return strict_refused(&strict_infer, context, status);
    outputs[0] = inputs_output(&call.in);
    if (lse) outputs[1] = infer_lse_shape(&call.in, args->want_lse);
    return FATTN_OK;
}

static void *data_of(const fattn_tensor *tensor) { return tensor ? tensor->data : NULL; }

void infer_bind(const infer_args *args, fattn_ptrs *ptrs)
{
    const infer_args single = without_single_lists(args), *a = &single;
    *ptrs = (fattn_ptrs){
        .q = {a->query->data, data_of(a->query_rope)},
        .k = {data_of(a->key), data_of(a->key_rope)},
        .v = data_of(a->value),
        .k_shared = data_of(a->key_shared_prefix),
        .v_shared = data_of(MUTANT(140, a->value_shared_prefix, a->key_shared_prefix)),
        .k_list = a->key_list.data,
        .v_list = a->value_list.data,
        .table = data_of(a->block_table),
        .mask = data_of(a->atten_mask),
        .bias = data_of(a->pse_shift),
        .sink = data_of(a->learnable_sink),
        .out = data_of(a->attention_out),
        .lse = a->want_lse ? data_of(a->softmax_lse) : NULL,
    };
    infer_quant_bind(a, ptrs);
}
