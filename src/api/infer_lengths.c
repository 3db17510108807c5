/* SPDX-License-Identifier: Apache-2.0 */
/* infer_lengths.c — how many rows and keys every sequence has and where they begin: length lists,
 * block table, left padding, shared prefix (spec inference 2.2, 3). */
#include <string.h>

#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

/* ---- block table --------------------------------------------------------------------------------
 */

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

/* ---- dense and packed ---------------------------------------------------------------------------
 */

static fattn_status read_packed(infer_call *call, fattn_problem *problem, fattn_arena *arena)
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

/* A tensor of a list is as long as it is; lengths may say less. */
static fattn_status cut_to_list(infer_call *call)
{
    const fattn_length_list *kv = &call->args->kv_lengths;
    const char *s = strchr(call->in.letters, 'S');
    const int axis = (int)(s - call->in.letters);
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t own = call->in.key_list.data[b]->shape[axis];
        REQUIRE(!list_given(kv->list) || call->kv.length[b] <= own, FATTN_E_ARG,
                "%s: entry %lld is %lld; the tensor of key_list has %lld keys", kv->name, LL(b),
                LL(call->kv.length[b]), LL(own));
        call->kv.length[b] = i64_min(call->kv.length[b], own);
    }
    return FATTN_OK;
}

int64_t infer_kv_cols(const infer_call *call)
{
    if (call->in.paged || call->in.packed) return infer_kv_reach(call);
    return i64_add_sat(call->kv_room, call->shared_len);
}

/* NSD and SH have no B axis: one sequence, and a list cannot speak of more. */
static fattn_status check_one_sequence(const infer_call *call, const fattn_length_list *lengths)
{
    REQUIRE(strchr(call->in.letters, 'B') || lengths->list.count <= 1, FATTN_E_ARG,
            "%s: %lld entries; input_layout %s holds one sequence, TND holds many", lengths->name,
            LL(lengths->list.count), call->in.letters);
    return FATTN_OK;
}

static fattn_status read_dense(infer_call *call, fattn_problem *problem, fattn_arena *arena)
{
    fattn_length_list q = call->args->q_lengths, kv = call->args->kv_lengths;
    const fattn_length_list *clamp = call->args->route == ROUTE_BY_SHAPE ? &kv : NULL;
    call->n_batch = call->in.q.b;
    call->kv_room = kv.total = call->in.k.s;
    q.total = call->in.q.s;
    if (call->decode || (call->mla && call->one_row))
        q.list = (fattn_int_array){
            NULL, 0}; /* one row: ignored (spec 11.2); strict MLA refuses it later */
    TRY(check_one_sequence(call, &q));
    TRY(check_one_sequence(call, &kv));
    if (call->in.paged) TRY(read_table(call, problem));
    TRY(lengths_per_batch(call->context, arena, &q, call->n_batch, clamp, &call->q));
    if (call->in.paged) return read_paged_lengths(call, &kv, arena);
    TRY(lengths_per_batch(call->context, arena, &kv, call->n_batch, NULL, &call->kv));
    return call->in.listed ? cut_to_list(call) : FATTN_OK;
}

/* ---- left padding -------------------------------------------------------------------------------
 */

/* The one number in the tensor; 0 while only sizes are asked for. */
static fattn_status read_padding_size(const fattn_tensor *size, const char *name, int64_t *rows)
{
    char shape[TEXT_SIZE];
    REQUIRE((size->dtype == FATTN_I64 || size->dtype == FATTN_I32) && tensor_elements(size) == 1,
            FATTN_E_SHAPE, "%s: %s; it must be one i64 or i32, the number of rows behind the data",
            name, tensor_print(size, shape, sizeof shape));
    int64_t wide = 0;
    int32_t narrow = 0;
    if (size->data && size->dtype == FATTN_I64) memcpy(&wide, size->data, sizeof wide);
    if (size->data && size->dtype == FATTN_I32) memcpy(&narrow, size->data, sizeof narrow);
    *rows = i64_max(size->dtype == FATTN_I64 ? wide : narrow, 0);
    return FATTN_OK;
}

/* Data that would begin before the tensor: an error in prefill; in decode the device writes zeros.
 */
static fattn_status check_padding(infer_call *call, const char *name, fattn_lengths *lengths,
                                  int64_t total, int64_t padding)
{
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t room = total - padding;
        if (call->decode && lengths->length[b] > room) lengths->length[b] = 0;
        REQUIRE(
            lengths->length[b] <= i64_max(room, 0) || lengths->length[b] == 0, FATTN_E_ARG,
            "%s: %lld leaves room for %lld of the %lld rows of batch entry %lld; give at most %lld",
            name, LL(padding), LL(i64_max(room, 0)), LL(lengths->length[b]), LL(b),
            LL(total - lengths->length[b]));
    }
    return FATTN_OK;
}

/* The device's decode branch goes on without the padding where it cannot apply it; prefill refuses.
 */
static bool padding_applies(infer_call *call, const char *name, const fattn_length_list *lengths)
{
    if (!call->in.paged && !call->in.listed && list_given(lengths->list)) return true;
    context_warn(call->context, WARN_PADDING_IGNORED,
                 "%s: ignored, as on the device: in decode it needs %s, and neither block_table "
                 "nor a tensor list",
                 name, lengths->name);
    return false;
}

static fattn_status refuse_padding(const infer_call *call, const char *name,
                                   const fattn_length_list *lengths)
{
    REQUIRE(!call->in.packed, FATTN_E_ARG, "%s: input_layout %s has no padding; leave it out", name,
            call->in.letters);
    REQUIRE(!call->in.key_shared, FATTN_E_ARG,
            "%s: given together with key_shared_prefix; leave one of them out", name);
    REQUIRE(call->decode || (!call->in.paged && !call->in.listed), FATTN_E_ARG,
            "%s: given together with block_table or a tensor list; leave one of them out", name);
    REQUIRE(call->decode || list_given(lengths->list), FATTN_E_ARG,
            "%s: needs %s, the lengths of the sequences", name, lengths->name);
    return FATTN_OK;
}

static fattn_status read_padding(infer_call *call)
{
    const infer_args *a = call->args;
    if (a->query_padding_size && !call->decode) {
        TRY(refuse_padding(call, "query_padding_size", &a->q_lengths));
        TRY(read_padding_size(a->query_padding_size, "query_padding_size", &call->q_padding));
        TRY(check_padding(call, "query_padding_size", &call->q, call->in.q.s, call->q_padding));
        call->q_padded = true;
    }
    if (!a->kv_padding_size) return FATTN_OK;
    TRY(refuse_padding(call, "kv_padding_size", &a->kv_lengths));
    TRY(read_padding_size(a->kv_padding_size, "kv_padding_size", &call->kv_padding));
    if (call->decode && !padding_applies(call, "kv_padding_size", &a->kv_lengths)) return FATTN_OK;
    call->kv_padded = true;
    return check_padding(call, "kv_padding_size", &call->kv, call->in.k.s, call->kv_padding);
}

/* ---- shared prefix ------------------------------------------------------------------------------
 */

static fattn_status read_prefix(infer_call *call, fattn_problem *problem)
{
    const fattn_int_array given = call->args->shared_prefix_len;
    const int64_t rows = call->in.k_shared.s;
    if (!call->in.key_shared) {
        REQUIRE(!list_given(given), FATTN_E_ARG,
                "actual_shared_prefix_len: given without key_shared_prefix; leave it out");
        return FATTN_OK;
    }
    REQUIRE(!list_given(given) || given.count == 1, FATTN_E_ARG,
            "actual_shared_prefix_len: %lld entries; it takes one", LL(given.count));
    call->shared_len = list_given(given) ? given.data[0] : rows;
    REQUIRE(call->shared_len >= 0 && call->shared_len <= rows, FATTN_E_ARG,
            "actual_shared_prefix_len: %lld is not in 0..%lld, the rows of key_shared_prefix",
            LL(call->shared_len), LL(rows));
    problem->shared_len = call->shared_len;
    return FATTN_OK;
}

fattn_status infer_lengths(infer_call *call, fattn_arena *arena, fattn_problem *problem)
{
    TRY(call->in.packed ? read_packed(call, problem, arena) : read_dense(call, problem, arena));
    TRY(read_padding(call));
    return read_prefix(call, problem);
}

int64_t infer_q_start(const infer_call *call, int64_t b)
{
    if (!call->q_padded) return call->q.start[b];
    return i64_max(call->in.q.s - call->q_padding - call->q.length[b], 0);
}

int64_t infer_kv_start(const infer_call *call, int64_t b)
{
    if (!call->kv_padded) return call->kv.start[b];
    return i64_max(call->in.k.s - MUTANT(135, call->kv_padding, 0) - call->kv.length[b], 0);
}

int64_t infer_kv_reach(const infer_call *call)
{
    int64_t most = 0;
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t first = call->in.packed ? 0 : infer_kv_start(call, b);
        most = i64_max(most, first + call->kv.length[b]);
    }
    return i64_add_sat(most, call->shared_len);
}
