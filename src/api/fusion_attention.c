/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_attention.c — the training operator's forward: arguments to canonical problem
 * (spec fusion-attention 1-6). The mask is read in fusion_mask.c, the bias in fusion_bias.c. */
#include <float.h>
#include <math.h>

#include "api/fusion.h"
#include "api/operator.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"

enum { REPLICAS = 8 }; /* each maximum and sum stands 8 times in its output */

static const double KEEP_ALL_WITHIN = 1e-9; /* nearer to 1 than that keep_prob is 1 */

static const char *const layout_names[] = {"BSH", "SBH", "BSND", "BNSD", "TND", NULL};

/* ---- reading ------------------------------------------------------------------------------------
 */

static fattn_status check_numbers(const fattn_fusion_attention_args *a)
{
    TRY(inputs_scale("scale", a->scale));
    const bool dropout = fabs(a->keep_prob - 1) >= KEEP_ALL_WITHIN;
    REQUIRE(!dropout || (a->keep_prob > 0 && a->keep_prob < 1), FATTN_E_ARG,
            "keep_prob: %g is not in (0, 1]; 1 = no dropout", a->keep_prob);
    REQUIRE(!dropout, FATTN_E_UNSUPPORTED,
            "keep_prob: %g: dropout is not computed in version " FATTN_VERSION_STRING "; give 1",
            a->keep_prob);
    REQUIRE(a->head_num >= 0, FATTN_E_ARG, "head_num: %lld is negative", LL(a->head_num));
    return FATTN_OK;
}

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

/* What shapes() and translate() both need. */
static fattn_status fusion_read(fattn_context *context, const fattn_fusion_attention_args *a,
                                fusion_call *call)
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
        .special = -1,
    };
    TRY(strict_check(&strict_fusion, STAGE_ARGS, context, call));
    TRY(check_numbers(a));
    TRY(inputs_layout(context, &call->in, a->input_layout, true, layout_names));
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

/* ---- outputs ------------------------------------------------------------------------------------
 */

static fattn_tensor stats_shape(const fattn_inputs *in)
{
    const int64_t packed[] = {in->q.s, in->n_heads, REPLICAS};
    const int64_t dense[] = {in->q.b, in->n_heads, in->q.s, REPLICAS};
    return in->packed ? fattn_tensor_contiguous(NULL, FATTN_F32, 3, packed)
                      : fattn_tensor_contiguous(NULL, FATTN_F32, 4, dense);
}

static bool same_strides(const fattn_tensor *a, const fattn_tensor *b)
{
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] > 1 && a->strides[i] != b->strides[i]) return false;
    return true;
}

/* softmax_max and softmax_sum share shape and strides. */
static fattn_status read_stats(const fusion_call *call, fattn_tensor *stats, fattn_problem *problem)
{
    const fattn_tensor *max = call->args->softmax_max, *sum = call->args->softmax_sum;
    *stats = stats_shape(&call->in);
    problem->want_max_sum = max || sum;
    problem->stats_replicas = REPLICAS;
    if (max) TRY(output_check(max, stats, "softmax_max"));
    if (sum) TRY(output_check(sum, stats, "softmax_sum"));
    if (!problem->want_max_sum) return FATTN_OK;
    REQUIRE(!max || !sum || same_strides(max, sum), FATTN_E_SHAPE,
            "softmax_sum: its strides differ from those of softmax_max; give both the same, "
            "contiguous ones for example");
    *stats = max ? *max : *sum;
    REQUIRE(!call->in.packed || call->stats_by_token || tensor_contiguous(stats), FATTN_E_SHAPE,
            "%s: is not contiguous, and softmax_layout \"\" stores it sequence by sequence; give "
            "contiguous memory, or softmax_layout TND, which takes any strides",
            max ? "softmax_max" : "softmax_sum");
    problem->max_replica_stride = stats->strides[stats->rank - 1];
    return FATTN_OK;
}

static void place_stats(const fusion_call *call, const fattn_tensor *stats, fattn_seq *seq)
{
    const int64_t *stride = stats->strides;
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
        seq->stats_base = seq->q_row0 * call->in.n_heads * REPLICAS;
        seq->stats_head_stride = MUTANT(73, seq->q_len, 1) * REPLICAS;
        seq->stats_row_stride = REPLICAS;
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

/* One per batch entry that has queries, and one for the tail of a packed query. */
static fattn_status fill_seqs(fusion_call *call, const fattn_tensor *stats, fattn_arena *arena,
                              fattn_problem *problem)
{
    const bool rows = call->in.q.s > 0;
    const int64_t tail = call->in.packed ? call->in.q.s - call->q.covered : 0;
    const int64_t most = rows ? i64_add_sat(call->n_batch, 1) : 0;
    problem->seqs = arena_alloc(arena, (size_t)most, sizeof *problem->seqs);
    REQUIRE(problem->seqs, FATTN_E_NOMEM,
            "out of memory: %lld sequences; a smaller batch would fit", LL(most));
    for (int64_t b = 0; rows && b < call->n_batch; b++) {
        fattn_seq seq = seq_of(call, b);
        fusion_mask_seq(call, b, &seq);
        fusion_bias_seq(call, b, &seq);
        place_stats(call, stats, &seq);
        if (seq.q_len > 0) problem->seqs[problem->n_seqs++] = seq;
    }
    if (tail > 0) {
        fattn_seq seq = {.pad = true, .q_row0 = call->q.covered, .q_len = tail};
        place_stats(call, stats, &seq);
        problem->seqs[problem->n_seqs++] = seq;
    }
    return FATTN_OK;
}

static fattn_status translate(fattn_context *context, const void *args, fattn_arena *arena,
                              fattn_problem *problem)
{
    const fattn_fusion_attention_args *a = args;
    fusion_call call;
    fattn_tensor stats;
    TRY(fusion_read(context, a, &call));
    TRY(read_lengths(&call, arena));
    TRY(inputs_fill(&call.in, arena, problem));
    problem->scale = a->scale;
    TRY(fusion_mask(&call, problem));
    TRY(fusion_bias(&call, problem));
    TRY(read_sink(&call, problem));
    TRY(strict_check(&strict_fusion, STAGE_CALL, context, &call));
    TRY(output_fill(&call.in, a->attention_out, false, problem));
    TRY(read_stats(&call, &stats, problem));
    fill_empty(&call, problem);
    return fill_seqs(&call, &stats, arena, problem);
}

/* ---- a run --------------------------------------------------------------------------------------
 */

static void *data_of(const fattn_tensor *tensor) { return tensor ? tensor->data : NULL; }

static void bind(const void *args, fattn_ptrs *ptrs)
{
    const fattn_fusion_attention_args *a = args;
    *ptrs = (fattn_ptrs){
        .q = {a->query->data, data_of(a->query_rope)},
        .k = {a->key->data, data_of(a->key_rope)},
        .v = a->value->data,
        .mask = data_of(a->atten_mask),
        .bias = data_of(a->pse),
        .sink = data_of(a->sink),
        .out = data_of(a->attention_out),
        .max = data_of(a->softmax_max),
        .sum = data_of(a->softmax_sum),
    };
}

/* Dropout mask bits: heads times query-key pairs, masked ones included; saturated. */
static int64_t count_pairs(const fattn_problem *problem)
{
    int64_t sum = 0, pairs;
    for (int64_t s = 0; s < problem->n_seqs; s++) {
        if (!i64_mul(problem->seqs[s].q_len, problem->seqs[s].kv_len, &pairs)) return INT64_MAX;
        sum = i64_add_sat(sum, pairs);
    }
    return i64_mul(sum, problem->n_heads, &sum) ? sum : INT64_MAX;
}

static void finish(const void *args, const fattn_problem *problem)
{
    const fattn_fusion_attention_args *a = args;
    if (a->seed_out) *a->seed_out = a->seed;
    if (a->offset_out) *a->offset_out = a->offset;
    if (a->numels) *a->numels = count_pairs(problem);
}

static fattn_status refused(const fattn_context *context, const fattn_operator *op,
                            const void *args, fattn_status status)
{
    (void)op, (void)args;
    return strict_refused(&strict_fusion, context, status);
}

const fattn_translator translator_fusion_attention = {.op = &operator_fusion_attention,
                                                      .layouts = layout_names,
                                                      .translate = translate,
                                                      .bind = bind,
                                                      .finish = finish,
                                                      .refused = refused};

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
    const fattn_status status = fusion_read(context, args, &call);
    warn_settle(&warnings, context, status);
    if (status != FATTN_OK)
        return exec_refused(context, &translator_fusion_attention, args, status);
    outputs[0] = inputs_output(&call.in);
    outputs[1] = outputs[2] = stats_shape(&call.in);
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
