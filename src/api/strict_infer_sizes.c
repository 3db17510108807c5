/* SPDX-License-Identifier: Apache-2.0 */
/* strict_infer_sizes.c — the device's limits on heads, head dims, batches, lengths and caches (spec
 * inference 2, 3.1, 10, 11.1, 11.2). */
#include <string.h>

#include "api/strict_infer.h"
#include "base/mutant.h"

enum {
    GROUP_MAX = 64,
    HEADS_MAX = 256,
    HEAD_DIM_MAX = 512,
    HEAD_DIM_STEP = 16,
    BATCH_MAX = 65536,
    BATCH_MAX_UNALIGNED = 128, /* rows of a head that do not fill 32 bytes */
    PACKED_COUNT_MAX = 4096,
    PACKED_TOKENS_MAX = 1 << 20,
    PREFILL_ROWS = 20971520,
    PREFILL_COLUMNS = 65535,
    DECODE_KEYS = 262144,
    LIST_BATCH_MAX = 256
};

/* ---- arguments as given
 * -------------------------------------------------------------------------- */

fattn_status infer_num_heads(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->args->num_heads > 0, FATTN_E_ARG,
            "%s: %lld; the device does not read it from the layout: give the number of query heads",
            call->args->heads_name, LL(call->args->num_heads));
    return FATTN_OK;
}

static bool layout_is(const infer_call *call, const char *name)
{
    return call->args->layout && strcmp(call->args->layout, name) == 0;
}

fattn_status infer_bsh_rank4(const void *self)
{
    const infer_call *call = self;
    char shape[TEXT_SIZE];
    REQUIRE(
        !layout_is(call, "BSH") || call->args->query->rank != 4, FATTN_E_SHAPE,
        "query: %s has rank 4; the device takes rank 3 under input_layout BSH: say BSND or BNSD",
        tensor_print(call->args->query, shape, sizeof shape));
    return FATTN_OK;
}

fattn_status infer_bnsd_as_bsnd(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *q = call->args->query;
    const int64_t heads = call->args->num_heads;
    char shape[TEXT_SIZE];
    REQUIRE(
        !layout_is(call, "BNSD") || q->rank != 4 || q->shape[1] == heads || q->shape[2] != heads,
        FATTN_E_SHAPE,
        "%s: %lld, but axis 1 of query %s has %lld under input_layout BNSD: say BSND",
        call->args->heads_name, LL(heads), tensor_print(q, shape, sizeof shape), LL(q->shape[1]));
    return FATTN_OK;
}

fattn_status infer_prefix_rope(const void *self)
{
    const infer_call *call = self;
    REQUIRE(infer_no_query(call->args) || !call->args->key_shared_prefix || !call->args->query_rope,
            FATTN_E_ARG, "key_shared_prefix: given with query_rope; the device takes one of them");
    return FATTN_OK;
}

fattn_status infer_cache_bnbsnd(const void *self)
{
    const infer_args *a = ((const infer_call *)self)->args;
    const int64_t heads = a->num_key_value_heads ? a->num_key_value_heads : a->num_heads;
    char shape[TEXT_SIZE];
    if (infer_no_query(a) || !a->block_table || !a->key || a->key->rank != 4) return FATTN_OK;
    const bool bnsd =
        a->key->shape[1] == heads && (!a->block_size || a->key->shape[2] == a->block_size);
    REQUIRE(bnsd || a->key->shape[2] != heads, FATTN_E_SHAPE,
            "key: %s; the device reads a rank-4 cache as [blocks, Nkv, rows, D], Nkv is %lld: view "
            "it as [blocks, "
            "rows, Nkv*D]",
            tensor_print(a->key, shape, sizeof shape), LL(heads));
    return FATTN_OK;
}

/* ---- heads and head dims
 * ------------------------------------------------------------------------- */

fattn_status infer_group_limit(const void *self)
{
    const infer_call *call = self;
    const int64_t group = call->in.n_heads / call->in.n_kv_heads;
    REQUIRE(call->in.query_rope || group <= MUTANT(111, GROUP_MAX, GROUP_MAX + 1), FATTN_E_SHAPE,
            "num_key_value_heads: %lld for %lld query heads; the device takes at most %d query "
            "heads per "
            "key/value head: %lld would do",
            LL(call->in.n_kv_heads), LL(call->in.n_heads), (int)GROUP_MAX,
            LL(i64_div_up(call->in.n_heads, GROUP_MAX)));
    return FATTN_OK;
}

fattn_status infer_heads_limit(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->in.n_heads <= HEADS_MAX, FATTN_E_SHAPE, "%s: %lld; the device takes at most %d",
            call->args->heads_name, LL(call->in.n_heads), (int)HEADS_MAX);
    return FATTN_OK;
}

fattn_status infer_head_dim_limit(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->in.q.d <= HEAD_DIM_MAX && call->in.v.d <= HEAD_DIM_MAX, FATTN_E_SHAPE,
            "query: head dim %lld, value's %lld; the device takes at most %d", LL(call->in.q.d),
            LL(call->in.v.d), (int)HEAD_DIM_MAX);
    return FATTN_OK;
}

/* Reading taken: the prefill of the rule is that of fused inference. prompt_flash_attention takes
 * other head dims, since the same list has a batch limit for head dims that do not fill 32 bytes.
 */
fattn_status infer_head_dim_alignment(const void *self)
{
    const infer_call *call = self;
    const bool fused_prefill = call->args->route == ROUTE_BY_SHAPE && strict_prefill(call);
    REQUIRE(!fused_prefill || call->in.q.d % HEAD_DIM_STEP == 0, FATTN_E_SHAPE,
            "query: head dim %lld; the device takes multiples of %d: %lld would do",
            LL(call->in.q.d), (int)HEAD_DIM_STEP, LL(i64_round_up(call->in.q.d, HEAD_DIM_STEP)));
    return FATTN_OK;
}

/* The layouts with one head dim for key and value. The hidden window runs in a kernel that reads
 * two (1.4.3), and absorbed decode has a rule of its own. */
fattn_status infer_value_head_dim(const void *self)
{
    const infer_call *call = self;
    const bool one = !call->in.packed && !call->mla && call->window == INT64_MAX;
    REQUIRE(
        !one || call->in.q.d == call->in.v.d, FATTN_E_SHAPE,
        "value: head dim %lld, query has %lld; the device needs them equal with input_layout %s",
        LL(call->in.v.d), LL(call->in.q.d), call->args->layout);
    return FATTN_OK;
}

fattn_status infer_packed_head_dims(const void *self)
{
    const infer_call *call = self;
    const int64_t pairs[][2] = {{64, 64}, {128, 128}, {192, 128}, {192, 192}};
    bool fits = !call->in.packed || !strict_prefill(call) || call->in.query_rope;
    for (int i = 0; i < 4; i++)
        fits = fits || (call->in.q.d == pairs[i][0] && call->in.v.d == pairs[i][1]);
    REQUIRE(fits, FATTN_E_SHAPE,
            "query: head dim %lld, value's %lld; with input_layout %s the device takes 64 and 64, "
            "128 and 128, 192 "
            "and 128, 192 and 192",
            LL(call->in.q.d), LL(call->in.v.d), call->args->layout);
    return FATTN_OK;
}

fattn_status infer_fp32(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->in.query->dtype != FATTN_F32, FATTN_E_DTYPE,
            "query: dtype %s; the device takes f16 and bf16",
            fattn_dtype_name(call->in.query->dtype));
    return FATTN_OK;
}

/* ---- batches and lengths
 * ------------------------------------------------------------------------- */

fattn_status infer_batch_limit(const void *self)
{
    enum { ALIGNMENT = 32 };
    const infer_call *call = self;
    const int64_t bytes = call->in.q.d * (int64_t)fattn_dtype_size(call->in.query->dtype);
    const int most =
        strict_prefill(call) && bytes % ALIGNMENT != 0 ? BATCH_MAX_UNALIGNED : BATCH_MAX;
    REQUIRE(call->in.packed || call->n_batch <= most, FATTN_E_SHAPE,
            "query: batch %lld; with head dim %lld the device takes at most %d: split the batch",
            LL(call->n_batch), LL(call->in.q.d), most);
    return FATTN_OK;
}

fattn_status infer_list_batch(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.listed || call->n_batch <= LIST_BATCH_MAX, FATTN_E_SHAPE,
            "key_list: %lld tensors; the device takes at most %d", LL(call->n_batch),
            (int)LIST_BATCH_MAX);
    return FATTN_OK;
}

fattn_status infer_int32_keys(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *both[] = {call->in.key, call->in.value};
    for (int i = 0; i < 2; i++)
        REQUIRE(call->in.paged || call->in.listed || tensor_elements(both[i]) <= INT32_MAX,
                FATTN_E_SHAPE,
                "%s: %lld elements; the device takes at most %d without block_table: page the keys",
                i ? "value" : "key", LL(tensor_elements(both[i])), (int)INT32_MAX);
    return FATTN_OK;
}

fattn_status infer_packed_count(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.packed || call->n_batch <= PACKED_COUNT_MAX, FATTN_E_ARG,
            "%s: %lld entries; the device takes at most %d: split the batch",
            call->args->q_lengths.name, LL(call->n_batch), (int)PACKED_COUNT_MAX);
    return FATTN_OK;
}

fattn_status infer_packed_tokens(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.packed || call->in.q.s <= PACKED_TOKENS_MAX, FATTN_E_SHAPE,
            "query: %lld packed tokens; the device takes at most %d: split the batch",
            LL(call->in.q.s), (int)PACKED_TOKENS_MAX);
    return FATTN_OK;
}

fattn_status infer_prefill_rows(const void *self)
{
    const infer_call *call = self;
    if (strict_prefill(call) && i64_max(call->in.q.s, call->kv_room) > PREFILL_ROWS)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "query, key: %lld and %lld rows; the device warns beyond %d", LL(call->in.q.s),
                     LL(call->kv_room), (int)PREFILL_ROWS);
    return FATTN_OK;
}

fattn_status infer_prefill_columns(const void *self)
{
    const infer_call *call = self;
    const bool wide = strncmp(call->in.letters, "BS", 2) == 0 &&
                      call->in.n_heads > PREFILL_COLUMNS / call->in.q.d;
    if (strict_prefill(call) && wide)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "query: %lld heads of %lld columns; the device warns beyond H = %d in layouts "
                     "BSH and BSND",
                     LL(call->in.n_heads), LL(call->in.q.d), (int)PREFILL_COLUMNS);
    return FATTN_OK;
}

fattn_status infer_decode_keys(const void *self)
{
    const infer_call *call = self;
    int64_t longest = call->in.paged ? 0 : call->in.k.s;
    for (int64_t b = 0; call->in.paged && b < call->n_batch; b++)
        longest = i64_max(longest, call->kv.length[b]);
    if (!strict_prefill(call) && (call->in.paged || !call->in.packed) && longest > DECODE_KEYS)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "key: %lld rows; the device's documents name at most %d for one query row",
                     LL(longest), (int)DECODE_KEYS);
    return FATTN_OK;
}

fattn_status infer_packed_mode3(const void *self)
{
    const infer_call *call = self;
    for (int64_t b = 0; call->in.packed && call->mode == 3 && b < call->n_batch; b++) {
        const int64_t keys = i64_add_sat(call->kv.length[b], call->shared_len);
        REQUIRE(call->q.length[b] <= keys, FATTN_E_ARG,
                "sparse_mode: 3; sequence %lld has %lld queries and %lld keys, and the device "
                "takes no more "
                "queries than keys with input_layout %s",
                LL(b), LL(call->q.length[b]), LL(keys), call->args->layout);
    }
    return FATTN_OK;
}

fattn_status infer_mla_q_lengths(const void *self)
{
    const infer_call *call = self;
    const bool given = list_given(call->args->q_lengths.list);
    REQUIRE(!call->mla || call->in.packed || call->args->sparse_mode == INFER_MODE_BAND || !given,
            FATTN_E_ARG,
            "%s: given with query_rope and head dim 512; the device takes none then: leave it out",
            call->args->q_lengths.name);
    return FATTN_OK;
}

/* ---- layouts
 * ------------------------------------------------------------------------------------- */

fattn_status infer_one_row_layout(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->args->route != ROUTE_BY_SHAPE || !layout_is(call, "BNSD_BSND") ||
                call->in.q.s != 1,
            FATTN_E_ARG,
            "input_layout: BNSD_BSND with one query row; the device takes more than one: say BNSD");
    return FATTN_OK;
}

fattn_status infer_mla_layouts(const void *self)
{
    const infer_call *call = self;
    const bool special = strcmp(call->in.out_letters, "NBSD") == 0 || layout_is(call, "TND_NTD");
    REQUIRE(!special || call->mla, FATTN_E_ARG,
            "input_layout: %s; the device takes it with query_rope and head dim 512 only, and at "
            "most %d query "
            "rows",
            call->args->layout, (int)INFER_MLA_ROWS);
    return FATTN_OK;
}

/* ---- caches
 * -------------------------------------------------------------------------------------- */

fattn_status infer_block_size_given(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.paged || call->args->block_size > 0, FATTN_E_ARG,
            "block_size: 0 with block_table; the device wants %lld, the rows of a cache block",
            LL(call->in.k.s));
    return FATTN_OK;
}

/* A multiple of `step` that is at most `most`. */
static fattn_status check_block(const infer_call *call, int64_t step, int64_t most)
{
    const int64_t rows = call->in.k.s;
    REQUIRE(rows % step == 0 && rows <= most, FATTN_E_ARG,
            "block_size: %lld; the device takes multiples of %lld up to %lld here: %lld would do",
            LL(rows), LL(step), LL(most),
            LL(i64_min(i64_round_up(i64_min(rows, most), step), most)));
    return FATTN_OK;
}

fattn_status infer_block_size_prefill(const void *self)
{
    const infer_call *call = self;
    if (!call->in.paged || call->in.packed || !strict_prefill(call)) return FATTN_OK;
    return check_block(call, 128, 1024);
}

fattn_status infer_block_size_packed(const void *self)
{
    const infer_call *call = self;
    if (!call->in.paged || !call->in.packed || !strict_prefill(call)) return FATTN_OK;
    return check_block(call, 16, 1024);
}

fattn_status infer_block_size_decode(const void *self)
{
    const infer_call *call = self;
    if (!call->in.paged || strict_prefill(call) || call->mla) return FATTN_OK;
    return check_block(call, 16, 512);
}

fattn_status infer_block_size_mla(const void *self)
{
    const infer_call *call = self;
    const int64_t rows = call->in.k.s;
    if (!call->in.paged || !call->mla) return FATTN_OK;
    const bool band = call->args->sparse_mode == INFER_MODE_BAND, nz = call->in.key->rank == 5;
    REQUIRE(rows == 128 || (band && rows == 64) || (!band && !nz && rows == 16), FATTN_E_ARG,
            "block_size: %lld with head dim 512, sparse_mode %lld and caches of rank %d; the "
            "device takes %s",
            LL(rows), LL(call->args->sparse_mode), (int)call->in.key->rank,
            band ? "64, 128"
            : nz ? "128"
                 : "16, 128");
    return FATTN_OK;
}

fattn_status infer_cache_rank4(const void *self)
{
    const infer_call *call = self;
    const bool by_row = strncmp(call->in.letters, "BS", 2) == 0;
    char shape[TEXT_SIZE];
    REQUIRE(!call->in.paged || call->in.key->rank != 4 || !by_row, FATTN_E_SHAPE,
            "key: %s with input_layout %s; the device takes a cache [blocks, rows, Nkv*D] then",
            tensor_print(call->in.key, shape, sizeof shape), call->args->layout);
    return FATTN_OK;
}

fattn_status infer_cache_nz(const void *self)
{
    const infer_call *call = self;
    char shape[TEXT_SIZE];
    if (!call->in.paged || call->in.key->rank != 5) return FATTN_OK;
    if (call->quant == QUANT_KV && call->in.kv_dtype == FATTN_I8) return FATTN_OK; /* infer_nz_i8 */
    REQUIRE(call->mla && strncmp(call->in.letters, "BNSD", 4) != 0, FATTN_E_SHAPE,
            "key: %s; the device takes a cache of rank 5 with query_rope and head dim 512 only, "
            "and not with "
            "input_layout BNSD",
            tensor_print(call->in.key, shape, sizeof shape));
    return FATTN_OK;
}

fattn_status infer_cache_columns(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *both[] = {call->in.key, call->in.value};
    char shape[TEXT_SIZE];
    for (int i = 0; i < 2; i++)
        REQUIRE(!call->in.paged || both[i]->rank != 3 || both[i]->shape[2] <= PREFILL_COLUMNS,
                FATTN_E_SHAPE,
                "%s: %s; the device takes at most Nkv*D = %d columns in a cache of rank 3",
                i ? "value" : "key", tensor_print(both[i], shape, sizeof shape),
                (int)PREFILL_COLUMNS);
    return FATTN_OK;
}

fattn_status infer_cache_blocks(const void *self)
{
    const infer_call *call = self;
    int64_t needed = 0;
    for (int64_t b = 0; call->in.paged && b < call->n_batch; b++)
        needed = i64_add_sat(needed, i64_div_up(call->kv.length[b], call->in.k.s));
    REQUIRE(!call->in.paged || needed <= call->in.k.b, FATTN_E_SHAPE,
            "key: %lld blocks; the device wants as many as the keys of all batch entries fill, "
            "%lld, shared ones "
            "counted for each",
            LL(call->in.k.b), LL(needed));
    return FATTN_OK;
}

fattn_status infer_padding_dtype(const void *self)
{
    const infer_call *call = self;
    const struct {
        const char *name;
        const fattn_tensor *size;
    } all[] = {{"query_padding_size", call->q_padded ? call->args->query_padding_size : NULL},
               {"kv_padding_size", call->args->kv_padding_size}};
    for (int i = 0; i < 2; i++)
        REQUIRE(!all[i].size || all[i].size->dtype == FATTN_I64, FATTN_E_DTYPE,
                "%s: dtype %s; the device takes i64", all[i].name,
                fattn_dtype_name(all[i].size->dtype));
    return FATTN_OK;
}

fattn_status infer_table_dtype(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.paged || call->args->block_table->dtype == FATTN_I32, FATTN_E_DTYPE,
            "block_table: dtype %s; the device takes i32",
            fattn_dtype_name(call->args->block_table->dtype));
    return FATTN_OK;
}
