/* SPDX-License-Identifier: Apache-2.0 */
/* infer.c — the inference operators: normalised arguments to canonical problem (spec inference
 * 1-3).
 *
 * Rows of a padded query beyond its length, and tokens of a packed query beyond its sequences, are
 * written too: 0, and +inf in softmax_lse. */
#include "api/infer.h"

#include <float.h>
#include <math.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

#define LL(x) ((long long)(x))

/* Layouts of the family that come with later work. */
static const char *const later_layouts[] = {"BNSD_BSND", "NSD",       "SH",        "NTD",
                                            "NTD_TND",   "TND_NTD",   "BSH_BNSD",  "BSND_BNSD",
                                            "BSH_NBSD",  "BSND_NBSD", "BNSD_NBSD", NULL};

/* ---- reading ------------------------------------------------------------------------------------
 */

const fattn_tensor *infer_optional(const fattn_tensor *tensor)
{
    return tensor && tensor_elements(tensor) > 0 ? tensor : NULL;
}

const fattn_tensor *infer_table(const fattn_tensor *table, const fattn_tensor *query)
{
    return tensor_elements(query) > 0 ? infer_optional(table) : inputs_optional(table);
}

/* Strict: the device's output has query's shape, so the head dims must agree. */
static fattn_status check_head_dims(const infer_call *call)
{
    const int64_t d = call->in.q.d, d_v = call->in.v.d;
    REQUIRE(!call->context->strict || call->args->route == ROUTE_BY_SHAPE || d == d_v,
            FATTN_E_SHAPE,
            "value: head dim %lld, query has %lld; the device needs them equal here, "
            "fused_infer_attention_score takes both",
            LL(d_v), LL(d));
    return FATTN_OK;
}

/* What shapes() and translate() both need. */
static fattn_status infer_read(fattn_context *context, const infer_args *a, infer_call *call)
{
    *call = (infer_call){
        .context = context,
        .args = a,
        .in = {.query = a->query,
               .key = a->key,
               .value = a->value,
               .heads = a->num_heads,
               .kv_heads = a->num_key_value_heads,
               .heads_name = "num_heads",
               .kv_heads_name = "num_key_value_heads",
               .paged = a->block_table != NULL},
    };
    REQUIRE(isfinite(a->scale), FATTN_E_ARG, "%s: %g is not finite", a->scale_name, a->scale);
    TRY(inputs_layout(context, &call->in, a->layout, false, a->layouts, later_layouts));
    TRY(inputs_dtypes(&call->in)); /* before shapes: quantised caches have other ones */
    TRY(inputs_read(context, &call->in));
    if (call->in.paged) TRY(cache_read(context, &call->in, a->block_size));
    REQUIRE(a->route != ROUTE_DECODE || call->in.q.s == 1, FATTN_E_SHAPE,
            "query: %lld rows per batch; incre_flash_attention takes 1, "
            "fused_infer_attention_score any "
            "number",
            LL(call->in.q.s));
    TRY(check_head_dims(call));
    call->one_row = !call->in.packed && call->in.q.s == 1;
    call->decode = call->one_row && a->route != ROUTE_PREFILL;
    return FATTN_OK;
}

static fattn_status check_inner_precise(const infer_call *call)
{
    const int64_t value = call->args->inner_precise;
    const bool two_bits =
        call->args->route != ROUTE_DECODE && !(call->decode && call->context->strict);
    const int64_t most = two_bits ? 3 : 1;
    REQUIRE(value >= 0 && value <= most, FATTN_E_ARG, "inner_precise: %lld is not in 0..%lld%s",
            LL(value), LL(most), most == 1 ? " (one query row)" : "");
    return FATTN_OK;
}

/* Keys a sequence may have: what the block table can address. */
static fattn_status read_table(infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *table = call->args->block_table;
    char shape[TEXT_SIZE];
    tensor_print(table, shape, sizeof shape);
    REQUIRE(table->dtype == FATTN_I32 || table->dtype == FATTN_I64, FATTN_E_DTYPE,
            "block_table: dtype %s; it must be i32 or i64", fattn_dtype_name(table->dtype));
    REQUIRE(table->rank == 2 && table->shape[0] == call->n_batch, FATTN_E_SHAPE,
            "block_table: %s; it must be [%lld,M], one row of block ids per batch entry", shape,
            LL(call->n_batch));
    if (!i64_mul(table->shape[1], call->in.k.s, &call->kv_room)) call->kv_room = INT64_MAX;
    problem->table = (fattn_table){.dtype = table->dtype,
                                   .batch_stride = table->strides[0],
                                   .col_stride = table->strides[1],
                                   .cols = table->shape[1]};
    return FATTN_OK;
}

/* Lists of a paged call: keys per batch, and as many blocks as they need. */
static fattn_status read_paged_lengths(infer_call *call, fattn_length_list *kv, fattn_arena *arena)
{
    const int64_t rows = call->in.k.s, cols = call->args->block_table->shape[1];
    REQUIRE(list_given(kv->list) || call->n_batch == 0, FATTN_E_ARG,
            "%s: missing; with block_table it must say how many keys each batch entry has",
            kv->name);
    for (int64_t b = 0; b < kv->list.count && b < call->n_batch; b++)
        REQUIRE(kv->list.data[b] <= call->kv_room, FATTN_E_ARG,
                "%s: entry %lld is %lld; block_table has %lld columns, enough for %lld keys in "
                "blocks of "
                "%lld: it needs %lld columns",
                kv->name, LL(b), LL(kv->list.data[b]), LL(cols), LL(call->kv_room), LL(rows),
                LL(i64_div_up(kv->list.data[b], rows)));
    kv->total = call->kv_room;
    REQUIRE(!call->in.packed || kv->list.count == call->n_batch, FATTN_E_ARG,
            "%s: %lld entries; with block_table one per sequence, %lld, are needed (keys each, not "
            "cumulative)",
            kv->name, LL(kv->list.count), LL(call->n_batch));
    return lengths_per_batch(call->context, arena, kv, call->n_batch, NULL, &call->kv);
}

static fattn_status read_packed_lengths(infer_call *call, fattn_problem *problem,
                                        fattn_arena *arena)
{
    fattn_length_list q = call->args->q_lengths, kv = call->args->kv_lengths;
    q.total = call->in.q.s;
    kv.total = call->in.k.s;
    TRY(lengths_packed(call->context, arena, &q, call->in.paged ? NULL : &kv, TAIL_REFUSED,
                       &call->q, &call->kv));
    call->n_batch = call->q.count;
    if (!call->in.paged) return FATTN_OK;
    TRY(read_table(call, problem));
    return read_paged_lengths(call, &kv, arena);
}

static fattn_status read_padded_lengths(infer_call *call, fattn_problem *problem,
                                        fattn_arena *arena)
{
    fattn_length_list q = call->args->q_lengths, kv = call->args->kv_lengths;
    const fattn_length_list *clamp = call->args->route == ROUTE_BY_SHAPE ? &kv : NULL;
    call->n_batch = call->in.q.b;
    call->kv_room = kv.total = call->in.k.s;
    q.total = call->in.q.s;
    if (call->decode)
        q.list = (fattn_int_array){NULL, 0}; /* one row: the list is documented "ignored" */
    if (call->in.paged) TRY(read_table(call, problem));
    TRY(lengths_per_batch(call->context, arena, &q, call->n_batch, clamp, &call->q));
    if (call->in.paged) return read_paged_lengths(call, &kv, arena);
    return lengths_per_batch(call->context, arena, &kv, call->n_batch, NULL, &call->kv);
}

/* ---- outputs ------------------------------------------------------------------------------------
 */

static fattn_tensor lse_shape(const fattn_inputs *in, bool wanted)
{
    const int64_t none[] = {1};
    const int64_t packed[] = {in->q.s, in->n_heads, 1};
    const int64_t padded[] = {in->q.b, in->n_heads, in->q.s, 1};
    if (!wanted) return fattn_tensor_contiguous(NULL, FATTN_F32, 1, none);
    return in->packed ? fattn_tensor_contiguous(NULL, FATTN_F32, 3, packed)
                      : fattn_tensor_contiguous(NULL, FATTN_F32, 4, padded);
}

static fattn_status read_lse(const infer_call *call, fattn_tensor *lse, fattn_problem *problem)
{
    const fattn_tensor *given = call->args->softmax_lse;
    *lse = lse_shape(&call->in, call->args->want_lse);
    if (!given) return FATTN_OK;
    TRY(output_check(given, lse, "softmax_lse"));
    *lse = *given;
    problem->want_lse = call->args->want_lse;
    return FATTN_OK;
}

static void place_lse(const infer_call *call, const fattn_tensor *lse, fattn_seq *seq)
{
    const int64_t *stride = lse->strides;
    if (!call->args->want_lse || !call->args->softmax_lse) return;
    seq->lse_base = call->in.packed ? seq->q_row0 * stride[0]
                                    : seq->batch * stride[0] + seq->q_row0 * stride[2];
    seq->lse_head_stride = stride[MUTANT(80, 1, 2)];
    seq->lse_row_stride = call->in.packed ? stride[0] : stride[2];
}

/* Rows without a key: 0 and +inf; strict: the table of spec 1.5. */
static void fill_empty(const infer_call *call, fattn_problem *problem)
{
    const infer_args *a = call->args;
    const fattn_empty zero = {.lse = INFINITY};
    problem->empty_no_keys = problem->empty_no_window = zero;
    problem->empty_masked = problem->empty_pad = zero;
    if (!call->context->strict) return;
    if (call->decode) {
        problem->empty_no_keys = (fattn_empty){.lse = -3.40e38f};
        problem->empty_masked = (fattn_empty){.mean = true, .lse = -1e12f, .lse_mean = true};
    } else if (!(a->inner_precise & 2)) {
        const float masked = problem->round_scores_f16 ? -65504.0f : -FLT_MAX;
        problem->empty_masked = (fattn_empty){.mean = true, .lse = masked, .lse_mean = true};
    }
}

/* ---- sequences ----------------------------------------------------------------------------------
 */

static void add_seq(const infer_call *call, const fattn_tensor *lse, fattn_seq seq,
                    fattn_problem *problem)
{
    if (seq.q_len <= 0) return;
    if (!seq.pad) {
        infer_mask_seq(call, &seq);
        infer_bias_seq(call, &seq);
    }
    place_lse(call, lse, &seq);
    problem->seqs[problem->n_seqs++] = seq;
}

/* Per batch entry its rows and the padding below them; packed: one padding at the very end. */
static fattn_status fill_seqs(const infer_call *call, const fattn_tensor *lse, fattn_arena *arena,
                              fattn_problem *problem)
{
    const int64_t rows = call->in.q.s;
    const int64_t batch = rows > 0 ? call->n_batch : 0;
    const int64_t most = i64_add_sat(i64_add_sat(batch, batch), 1);
    problem->seqs = arena_alloc(arena, (size_t)most, sizeof *problem->seqs);
    REQUIRE(problem->seqs, FATTN_E_NOMEM,
            "out of memory: %lld sequences; a smaller batch would fit", LL(most));
    for (int64_t b = 0; b < batch; b++) {
        const int64_t q_len = call->q.length[b];
        add_seq(call, lse,
                (fattn_seq){.batch = b,
                            .q_row0 = call->q.start[b],
                            .q_len = q_len,
                            .kv_row0 = call->kv.start[b],
                            .kv_len = call->kv.length[b]},
                problem);
        if (!call->in.packed)
            add_seq(call, lse,
                    (fattn_seq){.pad = true,
                                .batch = b,
                                .q_row0 = q_len + MUTANT(81, 0, 1),
                                .q_len = rows - q_len - MUTANT(81, 0, 1)},
                    problem);
    }
    if (call->in.packed)
        add_seq(
            call, lse,
            (fattn_seq){.pad = true, .q_row0 = call->q.covered, .q_len = rows - call->q.covered},
            problem);
    return FATTN_OK;
}

/* Strict: the device's high-performance mode keeps fp16 scores before the scale (spec 1.7). */
static bool rounds_scores(const infer_call *call)
{
    return call->context->strict && !call->decode && call->in.query->dtype == FATTN_F16 &&
           (call->args->inner_precise & 1) && !call->args->pse_shift;
}

fattn_status infer_translate(fattn_context *context, const infer_args *args, fattn_arena *arena,
                             fattn_problem *problem)
{
    infer_call call;
    fattn_tensor lse;
    TRY(infer_read(context, args, &call));
    TRY(check_inner_precise(&call));
    TRY(call.in.packed ? read_packed_lengths(&call, problem, arena)
                       : read_padded_lengths(&call, problem, arena));
    inputs_fill(&call.in, problem);
    problem->scale = args->scale;
    problem->round_scores_f16 = rounds_scores(&call);
    TRY(infer_mask(&call, problem));
    TRY(infer_bias(&call, problem));
    TRY(output_fill(&call.in, args->attention_out, problem));
    TRY(read_lse(&call, &lse, problem));
    fill_empty(&call, problem);
    return fill_seqs(&call, &lse, arena, problem);
}

fattn_status infer_shapes(fattn_context *context, const infer_args *args, bool lse,
                          fattn_tensor *outputs)
{
    infer_call call;
    REQUIRE(outputs, FATTN_E_ARG, "outputs: is NULL; pass an array of %d tensors", lse ? 2 : 1);
    TRY(infer_read(context, args, &call));
    outputs[0] = inputs_output(&call.in);
    if (lse) outputs[1] = lse_shape(&call.in, args->want_lse);
    return FATTN_OK;
}

static void *data_of(const fattn_tensor *tensor) { return tensor ? tensor->data : NULL; }

void infer_bind(const infer_args *a, fattn_ptrs *ptrs)
{
    *ptrs = (fattn_ptrs){
        .q = {a->query->data, NULL},
        .k = {a->key->data, NULL},
        .v = a->value->data,
        .table = data_of(a->block_table),
        .mask = data_of(a->atten_mask),
        .bias = data_of(a->pse_shift),
        .out = data_of(a->attention_out),
        .lse = a->want_lse ? data_of(a->softmax_lse) : NULL,
    };
}
