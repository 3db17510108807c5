/* SPDX-License-Identifier: Apache-2.0 */
/* fusion.c — what the training operator's forward and backward share: arguments to canonical problem
 * (spec fusion-attention 1-6). The mask is read in fusion_mask.c, the bias in fusion_bias.c, dropout
 * in fusion_dropout.c. */
#include "api/fusion.h"

#include <float.h>

#include "api/operator.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"

const char *const fusion_layouts[] = {"BSH", "SBH", "BSND", "BNSD", "TND", NULL};

/* ---- reading ------------------------------------------------------------------------------------
 */

static fattn_status read_softmax_layout(fusion_call *call)
{
    const char *text = call->args->softmax_layout;
    const bool tnd = text && text[0] == 'T' && text[1] == 'N' && text[2] == 'D' && text[3] == '\0';
    REQUIRE(!text || !*text || tnd, FATTN_E_ARG,
            "softmax_layout: \"%.32s\" is neither \"\" nor \"TND\"", text);
    REQUIRE(!tnd || call->in.packed, FATTN_E_ARG,
            "softmax_layout: TND needs input_layout TND, not %s; leave it \"\"", call->in.letters);
    call->stats_by_token = tnd;
    return FATTN_OK;
}

fattn_status fusion_read(fattn_context *context, const fattn_fusion_attention_args *a,
                         const char *scale_name, fusion_call *call)
{
    *call = (fusion_call){
        .context = context,
        .args = a,
        .in = {.query = a->query,
               .key = a->key,
               .value = a->value,
               .query_rope = inputs_optional(a->query_rope),
               .key_rope = inputs_optional(a->key_rope),
               .heads = a->head_num,
               .heads_name = "head_num"},
        .mask = inputs_optional(a->atten_mask),
        .pse = inputs_optional(a->pse),
        .sink = inputs_optional(a->sink),
        .dropout_mask = inputs_optional(a->dropout_mask),
        .special = -1,
    };
    TRY(strict_check(&strict_fusion, STAGE_ARGS, context, call));
    TRY(inputs_scale(scale_name, a->scale));
    TRY(fusion_keep_prob(call));
    REQUIRE(a->head_num >= 0, FATTN_E_ARG, "head_num: %lld is negative", LL(a->head_num));
    TRY(inputs_layout(context, &call->in, a->input_layout, true, fusion_layouts));
    TRY(inputs_read_query(context, &call->in));
    TRY(inputs_read_keys(&call->in));
    TRY(inputs_dtypes(&call->in));
    return read_softmax_layout(call);
}

static fattn_status read_lengths(fusion_call *call, fattn_arena *arena)
{
    const fattn_fusion_attention_args *a = call->args;
    const fattn_length_list q = {"actual_seq_qlen", a->actual_seq_qlen, call->in.q.s};
    const fattn_length_list kv = {"actual_seq_kvlen", a->actual_seq_kvlen, call->in.k.s};
    const bool q_given = list_given(q.list), kv_given = list_given(kv.list);
    call->n_batch = call->in.q.b;
    if (call->in.packed) {
        TRY(lengths_packed(call->context, arena, &q, &kv, TAIL_ALLOWED, &call->q, &call->kv));
        call->n_batch = call->q.count;
        return FATTN_OK;
    }
    REQUIRE(!q_given || !kv_given, FATTN_E_ARG,
            "actual_seq_qlen, actual_seq_kvlen: given with input_layout %s; they belong to TND",
            call->in.letters);
    if (q_given || kv_given)
        context_warn(call->context, WARN_LENGTHS_IGNORED,
                     "%s: ignored with input_layout %s, as on the device; it belongs to TND",
                     q_given ? q.name : kv.name, call->in.letters);
    return FATTN_OK;
}

static fattn_status read_sink(const fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *sink = call->sink;
    char shape[TEXT_SIZE];
    if (!sink) return FATTN_OK;
    REQUIRE(inputs_is_f32(&call->in, sink), FATTN_E_DTYPE, "sink: dtype %s; it must be f32",
            fattn_dtype_name(sink->dtype));
    REQUIRE(sink->rank == 1 && sink->shape[0] == call->in.n_heads, FATTN_E_SHAPE,
            "sink: %s; it must be [%lld], one logit per query head",
            tensor_print(sink, shape, sizeof shape), LL(call->in.n_heads));
    problem->sink = true;
    problem->sink_in_stats = MUTANT(74, true, false);
    problem->sink_dtype = sink->dtype;
    problem->sink_stride = sink->strides[0];
    return FATTN_OK;
}

/* ---- statistics ---------------------------------------------------------------------------------
 */

fattn_tensor fusion_stats_shape(const fattn_inputs *in)
{
    const int64_t packed[] = {in->q.s, in->n_heads, FUSION_REPLICAS};
    const int64_t dense[] = {in->q.b, in->n_heads, in->q.s, FUSION_REPLICAS};
    return in->packed ? fattn_tensor_contiguous(NULL, FATTN_F32, 3, packed)
                      : fattn_tensor_contiguous(NULL, FATTN_F32, 4, dense);
}

static bool same_strides(const fattn_tensor *a, const fattn_tensor *b)
{
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] > 1 && a->strides[i] != b->strides[i]) return false;
    return true;
}

/* fp32, or fp64 where query is: its gradients are then as exact as the rest. */
static fattn_status check_stats(const fusion_call *call, const fattn_tensor *given,
                                const fattn_tensor *other, const char *name)
{
    fattn_tensor wanted = fusion_stats_shape(&call->in);
    if (inputs_is_f32(&call->in, given)) wanted.dtype = given->dtype;
    if (other && other->dtype == FATTN_F64) wanted.dtype = other->dtype;
    return output_check(given, &wanted, name);
}

/* softmax_max and softmax_sum share shape, dtype and strides. */
static fattn_status read_stats(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *max = call->args->softmax_max, *sum = call->args->softmax_sum;
    call->stats = fusion_stats_shape(&call->in);
    problem->stats_replicas = FUSION_REPLICAS;
    problem->stats_dtype = FATTN_F32;
    if (max) TRY(check_stats(call, max, NULL, "softmax_max"));
    if (sum) TRY(check_stats(call, sum, max, "softmax_sum"));
    if (!max && !sum) return FATTN_OK;
    REQUIRE(!max || !sum || same_strides(max, sum), FATTN_E_SHAPE,
            "softmax_sum: its strides differ from those of softmax_max; give both the same, "
            "contiguous ones for example");
    call->stats = max ? *max : *sum;
    problem->stats_dtype = call->stats.dtype;
    REQUIRE(!call->in.packed || call->stats_by_token || tensor_contiguous(&call->stats),
            FATTN_E_SHAPE,
            "%s: is not contiguous, and softmax_layout \"\" stores it sequence by sequence; give "
            "contiguous memory, or softmax_layout TND, which takes any strides",
            max ? "softmax_max" : "softmax_sum");
    problem->max_replica_stride = call->stats.strides[call->stats.rank - 1];
    return FATTN_OK;
}

static void place_stats(const fusion_call *call, fattn_seq *seq)
{
    const int64_t *stride = call->stats.strides;
    if (!call->args->softmax_max && !call->args->softmax_sum) return;
    if (!call->in.packed) {
        seq->stats_base = seq->batch * stride[0];
        seq->stats_head_stride = stride[1];
        seq->stats_row_stride = stride[2];
    } else if (call->stats_by_token) {
        seq->stats_base = seq->q_row0 * stride[0];
        seq->stats_head_stride = stride[1];
        seq->stats_row_stride = stride[0];
    } else { /* [N, Lq, 8] per sequence, one after the other */
        seq->stats_base = seq->q_row0 * call->in.n_heads * FUSION_REPLICAS;
        seq->stats_head_stride = MUTANT(73, seq->q_len, 1) * FUSION_REPLICAS;
        seq->stats_row_stride = FUSION_REPLICAS;
    }
}

/* Rows without a key: include/fattn/attention.h; strict: spec 2.3. */
static void fill_empty(const fusion_call *call, fattn_problem *problem)
{
    const fattn_empty nothing = {.max = 0};
    const fattn_empty invalid = {.max = -FLT_MAX, .sum = FLT_MAX};
    const fattn_empty mean = {.mean = true, .max = -FLT_MAX};
    const bool zero = !call->context->strict || fusion_invalid_rows(call);
    const bool no_key_at_all = call->in.k.s == 0; /* case (e), beside (c): this sequence has none */
    problem->empty_pad = nothing;
    problem->empty_no_keys = call->context->strict || no_key_at_all ? nothing : invalid;
    problem->empty_no_window = problem->empty_masked = zero ? invalid : mean;
}

/* ---- sequences ----------------------------------------------------------------------------------
 */

static fattn_seq seq_of(const fusion_call *call, int64_t b)
{
    return (fattn_seq){.batch = b,
                       .q_row0 = call->in.packed ? call->q.start[b] : 0,
                       .q_len = fusion_q_len(call, b),
                       .kv_row0 = call->in.packed ? call->kv.start[b] : 0,
                       .kv_len = fusion_kv_len(call, b)};
}

static void place(fusion_call *call, int64_t b, fattn_seq *seq)
{
    fusion_mask_seq(call, b, seq);
    fusion_bias_seq(call, b, seq);
    fusion_dropout_seq(call, b, seq);
    place_stats(call, seq);
}

/* Rows, and in the backward pass keys, of packed tensors behind the last sequence. */
static fattn_seq tail_of(const fusion_call *call, bool backward)
{
    fattn_seq tail = {.pad = true};
    if (!call->in.packed) return tail;
    tail.q_row0 = call->q.covered;
    tail.q_len = call->in.q.s - call->q.covered;
    if (!backward) return tail;
    tail.kv_row0 = call->kv.covered;
    tail.kv_len = call->in.k.s - call->kv.covered;
    return tail;
}

/* One per batch entry that has queries (backward: or keys), and one for the tail. */
static fattn_status fill_seqs(fusion_call *call, fattn_arena *arena, fattn_problem *problem)
{
    const bool backward = problem->kind == KIND_BACKWARD;
    const bool rows = call->in.q.s > 0 || backward;
    const int64_t most = rows ? i64_add_sat(call->n_batch, 1) : 0;
    problem->seqs = arena_alloc(arena, (size_t)most, sizeof *problem->seqs);
    REQUIRE(problem->seqs, FATTN_E_NOMEM,
            "out of memory: %lld sequences; a smaller batch would fit", LL(most));
    for (int64_t b = 0; rows && b < call->n_batch; b++) {
        fattn_seq seq = seq_of(call, b);
        place(call, b, &seq);
        if (seq.q_len > 0 || (MUTANT(166, backward, false) && seq.kv_len > 0)) problem->seqs[problem->n_seqs++] = seq;
    }
    fattn_seq tail = tail_of(call, backward);
    if (rows && (tail.q_len > 0 || tail.kv_len > 0)) {
        place_stats(call, &tail);
        problem->seqs[problem->n_seqs++] = tail;
    }
    return FATTN_OK;
}

fattn_status fusion_translate(fusion_call *call, fattn_arena *arena, fattn_problem *problem)
{
    TRY(read_lengths(call, arena));
    TRY(inputs_fill(&call->in, arena, problem));
    problem->scale = call->args->scale;
    TRY(fusion_mask(call, problem));
    TRY(fusion_bias(call, problem));
    TRY(read_sink(call, problem));
    TRY(strict_check(&strict_fusion, STAGE_CALL, call->context, call));
    TRY(fusion_dropout(call, problem));
    if (problem->kind == KIND_FORWARD)
        TRY(output_fill(&call->in, call->args->attention_out, false, problem));
    TRY(read_stats(call, problem));
    fill_empty(call, problem);
    return fill_seqs(call, arena, problem);
}

int64_t fusion_numels(const fattn_problem *problem)
{
    int64_t sum = 0, pairs;
    for (int64_t s = 0; s < problem->n_seqs; s++) {
        if (problem->seqs[s].pad) continue;
        if (!i64_mul(problem->seqs[s].q_len, problem->seqs[s].kv_len, &pairs)) return INT64_MAX;
        sum = i64_add_sat(sum, pairs);
    }
    return i64_mul(sum, problem->n_heads, &sum) ? sum : INT64_MAX;
}

void *fusion_data(const fattn_tensor *tensor) { return tensor ? tensor->data : NULL; }

void fusion_bind(const fattn_fusion_attention_args *a, fattn_ptrs *ptrs)
{
    *ptrs = (fattn_ptrs){
        .q = {a->query->data, fusion_data(a->query_rope)},
        .k = {a->key->data, fusion_data(a->key_rope)},
        .v = a->value->data,
        .mask = fusion_data(a->atten_mask),
        .bias = fusion_data(a->pse),
        .sink = fusion_data(a->sink),
        .dropout_mask = fusion_data(inputs_optional(a->dropout_mask)),
        .seed = (uint64_t)a->seed,
        .offset = (uint64_t)a->offset,
        .out = fusion_data(a->attention_out),
        .max = fusion_data(a->softmax_max),
        .sum = fusion_data(a->softmax_sum),
    };
}

fattn_status fusion_refused(const fattn_context *context, const fattn_operator *op,
                            const void *args, fattn_status status)
{
    (void)op, (void)args;
    return strict_refused(&strict_fusion, context, status);
}
