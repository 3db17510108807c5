/* SPDX-License-Identifier: Apache-2.0 */
/* strict_infer_rules.c — the device's rules about masks and tokens, and which features it does not
 * have together (spec inference 1.4, 1.7, 5, 11.3-11.5). */
#include <stddef.h>
#include <string.h>

#include "api/strict_infer.h"
#include "base/mutant.h"

enum { MLA_HEADS_MAX = 128, ROPE_DIM = 64 };

/* ---- masks
 * --------------------------------------------------------------------------------------- */

fattn_status infer_mask_missing(const void *self)
{
    const infer_call *call = self;
    const int64_t mode = call->args->sparse_mode;
    REQUIRE(call->decode || call->mask || mode == 0 || mode == INFER_MODE_TREE, FATTN_E_ARG,
            "atten_mask: missing; the device wants it in sparse_mode %lld: [2048,2048] in modes 2, "
            "3, 4, one cell "
            "per query and key in mode 1",
            LL(mode));
    return FATTN_OK;
}

/* One row per batch entry. */
fattn_status infer_mask_decode(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    if (!call->decode || !m || !call->dense_mask) return FATTN_OK;
    const bool one_row = m->rank == 2 || m->shape[m->rank - 2] == 1 || call->n_batch == 1;
    REQUIRE(m->shape[0] == call->n_batch && one_row, FATTN_E_SHAPE,
            "atten_mask: %s; with one query row the device takes [%lld,keys], [%lld,1,keys] or "
            "[%lld,1,1,keys]",
            tensor_print(m, shape, sizeof shape), LL(call->n_batch), LL(call->n_batch),
            LL(call->n_batch));
    return FATTN_OK;
}

/* Keys that the block table reaches, behind the shared ones. */
static int64_t table_reach(const infer_call *call)
{
    return i64_add_sat(call->kv_room, call->shared_len);
}

fattn_status infer_mask_paged(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    if (!call->in.paged || !m || !call->dense_mask || call->tree) return FATTN_OK;
    REQUIRE(m->shape[m->rank - 1] >= table_reach(call), FATTN_E_SHAPE,
            "atten_mask: %s; the device wants a column for each of the %lld keys that block_table "
            "reaches",
            tensor_print(m, shape, sizeof shape), LL(table_reach(call)));
    return FATTN_OK;
}

fattn_status infer_packed_mode2(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.packed || call->args->sparse_mode != 2, FATTN_E_ARG,
            "sparse_mode: 2 with input_layout %s; the device takes 0, 3 and 4 then",
            call->args->layout);
    return FATTN_OK;
}

fattn_status infer_tree_mla(const void *self)
{
    const infer_call *call = self;
    REQUIRE(
        !call->tree || call->mla, FATTN_E_ARG,
        "sparse_mode: 9 (tree mask); the device takes it with query_rope and head dim 512 only");
    return FATTN_OK;
}

fattn_status infer_tree_batch(const void *self)
{
    const infer_call *call = self;
    const int64_t rows = call->in.q.s;
    char shape[TEXT_SIZE];
    if (!call->tree || call->in.packed) return FATTN_OK;
    REQUIRE(call->mask->shape[0] == call->n_batch, FATTN_E_SHAPE,
            "atten_mask: %s; the device takes one tree per batch entry, [%lld,%lld,%lld]",
            tensor_print(call->mask, shape, sizeof shape), LL(call->n_batch), LL(rows), LL(rows));
    return FATTN_OK;
}

/* ---- pse
 * ----------------------------------------------------------------------------------------- */

fattn_status infer_pse_heads(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *pse = call->args->pse_shift;
    char shape[TEXT_SIZE];
    REQUIRE(!pse || pse->shape[1] == call->in.n_heads, FATTN_E_SHAPE,
            "pse_shift: %s; the device takes no bias shared by all heads: give axis 1 the %lld "
            "query heads",
            tensor_print(pse, shape, sizeof shape), LL(call->in.n_heads));
    return FATTN_OK;
}

fattn_status infer_pse_paged(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *pse = call->args->pse_shift;
    char shape[TEXT_SIZE];
    REQUIRE(!pse || !call->in.paged || pse->shape[3] >= table_reach(call), FATTN_E_SHAPE,
            "pse_shift: %s; the device wants a column for each of the %lld keys that block_table "
            "reaches",
            tensor_print(pse, shape, sizeof shape), LL(table_reach(call)));
    return FATTN_OK;
}

fattn_status infer_pse_list(const void *self)
{
    const infer_call *call = self;
    if (!call->args->pse_shift || !call->in.listed) return FATTN_OK;
    const fattn_tensor *const *keys = call->in.key_list.data;
    const ptrdiff_t axis =
        strchr(call->in.letters, 'S') - call->in.letters; /* lists are not packed */
    for (int64_t b = 1; b < call->n_batch; b++) {
        const int64_t first = keys[0]->shape[axis], own = keys[b]->shape[axis];
        REQUIRE(own == first, FATTN_E_ARG,
                "pse_shift: given with a key_list of %lld and %lld keys; the device takes it with "
                "equally long "
                "tensors only",
                LL(first), LL(own));
    }
    return FATTN_OK;
}

fattn_status infer_pse_rope(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->args->pse_shift || !call->in.query_rope, FATTN_E_ARG,
            "pse_shift: given with query_rope; the device takes one of them");
    return FATTN_OK;
}

fattn_status infer_pse_sink(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->args->pse_shift || !call->args->learnable_sink, FATTN_E_ARG,
            "pse_shift: given with learnable_sink; the device takes one of them");
    return FATTN_OK;
}

/* ---- tokens: prefill with a mask
 * ----------------------------------------------------------------- */

fattn_status infer_tokens_0(const void *self)
{
    const infer_call *call = self;
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    if (call->decode || !call->mask || call->mode != 0 || call->q_padded || call->kv_padded)
        return FATTN_OK;
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t keys = i64_add_sat(call->kv.length[b], call->shared_len);
        REQUIRE(next >= 0 || i64_add_sat(next, call->q.length[b]) > 0, FATTN_E_ARG,
                "next_tokens: %lld; batch entry %lld has %lld queries, and the device needs more "
                "than -%lld",
                LL(next), LL(b), LL(call->q.length[b]), LL(call->q.length[b]));
        REQUIRE(pre >= 0 || i64_add_sat(pre, keys) > 0, FATTN_E_ARG,
                "pre_tokens: %lld; batch entry %lld has %lld keys, and the device needs more than "
                "-%lld",
                LL(pre), LL(b), LL(keys), LL(keys));
    }
    return FATTN_OK;
}

fattn_status infer_tokens_4(const void *self)
{
    const infer_call *call = self;
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    const int64_t edge =
        call->in.packed ? 0 : MUTANT(113, 1, 0); /* packed: pre + Lq >= 0 will do */
    if (call->decode || !call->mask || call->mode != 4) return FATTN_OK;
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t rows = call->q.length[b],
                      keys = i64_add_sat(call->kv.length[b], call->shared_len);
        if (call->in.packed && rows == 0) continue;
        REQUIRE(next >= 0 || i64_add_sat(next, keys) >= edge, FATTN_E_ARG,
                "next_tokens: %lld in sparse_mode 4; batch entry %lld has %lld keys, and the "
                "device needs at least "
                "%lld",
                LL(next), LL(b), LL(keys), LL(edge - keys));
        REQUIRE(pre >= 0 || i64_add_sat(pre, rows) >= edge, FATTN_E_ARG,
                "pre_tokens: %lld in sparse_mode 4; batch entry %lld has %lld queries, and the "
                "device needs at "
                "least %lld",
                LL(pre), LL(b), LL(rows), LL(edge - rows));
    }
    return FATTN_OK;
}

/* ---- what does not go together
 * ------------------------------------------------------------------- */

fattn_status infer_prefix_paged(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.key_shared || !call->in.paged, FATTN_E_ARG,
            "key_shared_prefix: given with block_table; the device takes one of them: share blocks "
            "instead");
    return FATTN_OK;
}

fattn_status infer_prefix_packed(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.key_shared || !call->in.packed, FATTN_E_ARG,
            "key_shared_prefix: given with input_layout %s; the device takes BSH, BSND and BNSD "
            "with it",
            call->args->layout);
    return FATTN_OK;
}

fattn_status infer_prefix_list(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.key_shared || !call->in.listed, FATTN_E_ARG,
            "key_shared_prefix: given with key_list; the device takes one of them");
    return FATTN_OK;
}

fattn_status infer_padding_rope(const void *self)
{
    const infer_call *call = self;
    REQUIRE((!call->q_padded && !call->kv_padded) || !call->in.query_rope, FATTN_E_ARG,
            "kv_padding_size, query_padding_size: given with query_rope; the device takes no "
            "padding then");
    return FATTN_OK;
}

fattn_status infer_sink_layout(const void *self)
{
    const infer_call *call = self;
    const char *layout = call->args->layout;
    REQUIRE(!call->args->learnable_sink || strcmp(layout, "TND") == 0 ||
                strcmp(layout, "NTD_TND") == 0,
            FATTN_E_ARG,
            "learnable_sink: given with input_layout %s; the device takes TND and NTD_TND with it",
            layout);
    return FATTN_OK;
}

fattn_status infer_sink_head_dim(const void *self)
{
    enum { MOST = 128 };
    const infer_call *call = self;
    REQUIRE(!call->args->learnable_sink || call->in.v.d <= MOST, FATTN_E_SHAPE,
            "value: head dim %lld with learnable_sink; the device takes at most %d",
            LL(call->in.v.d), (int)MOST);
    return FATTN_OK;
}

fattn_status infer_sink_dtype(const void *self)
{
    const infer_call *call = self;
    const fattn_tensor *sink = call->args->learnable_sink;
    REQUIRE(!sink || sink->dtype == FATTN_BF16, FATTN_E_DTYPE,
            "learnable_sink: dtype %s; the device takes bf16", fattn_dtype_name(sink->dtype));
    return FATTN_OK;
}

fattn_status infer_lse_mla(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->mla || !call->args->want_lse, FATTN_E_ARG,
            "softmax_lse: asked for with query_rope and head dim 512; the device has none then");
    return FATTN_OK;
}

fattn_status infer_precise_decode(const void *self)
{
    const infer_call *call = self;
    REQUIRE(strict_prefill(call) || call->args->inner_precise <= 1, FATTN_E_ARG,
            "inner_precise: %lld; the device takes 0 and 1 in its decode kernels",
            LL(call->args->inner_precise));
    return FATTN_OK;
}

/* The device keeps two bits. */
fattn_status infer_precise_bits(const void *self)
{
    const infer_call *call = self;
    if (call->args->inner_precise > 3)
        context_warn(call->context, WARN_INNER_PRECISE_BITS, "inner_precise: %lld is taken as %lld",
                     LL(call->args->inner_precise), LL(call->args->inner_precise & 3));
    return FATTN_OK;
}

/* ---- rope parts: D = 512 in decode ("mla"), D = 128 in prefill
 * ------------------------------------ */

fattn_status infer_rope_dim(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->in.query_rope || call->in.q_rope.d == ROPE_DIM, FATTN_E_SHAPE,
            "query_rope: head dim %lld; the device takes %d", LL(call->in.q_rope.d), (int)ROPE_DIM);
    return FATTN_OK;
}

fattn_status infer_mla_kv_heads(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->mla || call->in.n_kv_heads == 1, FATTN_E_SHAPE,
            "num_key_value_heads: %lld; with head dim 512 and query_rope the device takes 1",
            LL(call->in.n_kv_heads));
    return FATTN_OK;
}

fattn_status infer_mla_heads(const void *self)
{
    const infer_call *call = self;
    const int64_t n = call->in.n_heads;
    int64_t above = 1;
    while (above < n && above < MLA_HEADS_MAX) above *= 2;
    REQUIRE(!call->mla || n == above, FATTN_E_SHAPE,
            "%s: %lld; with head dim 512 the device takes powers of two up to %d: pad to %lld",
            call->args->heads_name, LL(n), (int)MLA_HEADS_MAX, LL(above));
    return FATTN_OK;
}

fattn_status infer_mla_value(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->mla || call->in.v.d == call->in.q.d, FATTN_E_SHAPE,
            "value: head dim %lld; with query's 512 and query_rope the device takes 512",
            LL(call->in.v.d));
    return FATTN_OK;
}

fattn_status infer_mla_rows(const void *self)
{
    const infer_call *call = self;
    REQUIRE(
        !call->mla || call->in.packed || call->in.q.s <= INFER_MLA_ROWS, FATTN_E_SHAPE,
        "query: %lld rows per batch; with head dim 512 and query_rope the device takes at most %d",
        LL(call->in.q.s), (int)INFER_MLA_ROWS);
    for (int64_t b = 0; call->mla && call->in.packed && b < call->n_batch; b++)
        REQUIRE(call->q.length[b] <= INFER_MLA_ROWS, FATTN_E_ARG,
                "%s: sequence %lld has %lld queries; with head dim 512 the device takes at most %d",
                call->args->q_lengths.name, LL(b), LL(call->q.length[b]), (int)INFER_MLA_ROWS);
    return FATTN_OK;
}

fattn_status infer_mla_paged(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->mla || call->in.paged || call->args->sparse_mode == INFER_MODE_BAND, FATTN_E_ARG,
            "block_table: missing; with query_rope and head dim 512 the device reads paged keys "
            "only, but for "
            "sparse_mode 4");
    return FATTN_OK;
}

/* With block_table, and packed, everybody needs them. */
fattn_status infer_mla_lengths(const void *self)
{
    const infer_call *call = self;
    REQUIRE(!call->mla || list_given(call->args->kv_lengths.list), FATTN_E_ARG,
            "%s: missing; with query_rope and head dim 512 the device needs the keys of every "
            "batch entry",
            call->args->kv_lengths.name);
    return FATTN_OK;
}

fattn_status infer_mla_mode(const void *self)
{
    const infer_call *call = self;
    const int64_t mode = call->args->sparse_mode;
    const bool many = call->in.packed || call->in.q.s > 1, bare = mode == 0 && !call->mask;
    if (!call->mla || mode == INFER_MODE_TREE) return FATTN_OK;
    REQUIRE((bare && (call->in.packed || !many)) || mode == 4 || (mode == 3 && many), FATTN_E_ARG,
            "sparse_mode: %lld; with head dim 512 the device takes 0 without atten_mask for one "
            "query row or packed "
            "ones, 3 for more than one row, and 4",
            LL(mode));
    return FATTN_OK;
}

fattn_status infer_mla_band(const void *self)
{
    enum { GROUP = 128, PRE_MAX = 2048 };
    const infer_call *call = self;
    const infer_args *a = call->args;
    if (!call->mla || a->sparse_mode != 4) return FATTN_OK;
    REQUIRE(strcmp(a->layout, "BSND") == 0 && call->in.n_heads / call->in.n_kv_heads == GROUP &&
                a->pre_tokens >= 1 && a->pre_tokens <= PRE_MAX && a->next_tokens == 0,
            FATTN_E_ARG,
            "sparse_mode: 4 with head dim 512, %lld heads, pre_tokens %lld, next_tokens %lld, "
            "input_layout %s; the "
            "device takes BSND, %d query heads per key/value head, pre_tokens in 1..%d and "
            "next_tokens 0",
            LL(call->in.n_heads), LL(a->pre_tokens), LL(a->next_tokens), a->layout, (int)GROUP,
            (int)PRE_MAX);
    return FATTN_OK;
}

static bool rope_prefill(const infer_call *call) { return call->in.query_rope && !call->mla; }

fattn_status infer_rope_prefill_layout(const void *self)
{
    const infer_call *call = self;
    const char *layout = call->args->layout;
    REQUIRE(!rope_prefill(call) || strcmp(layout, "TND") == 0 || strcmp(layout, "NTD_TND") == 0,
            FATTN_E_ARG,
            "query_rope: given with input_layout %s and head dim %lld; the device takes TND and "
            "NTD_TND with it, "
            "and others with head dim 512 and at most %d query rows",
            layout, LL(call->in.q.d), (int)INFER_MLA_ROWS);
    return FATTN_OK;
}

fattn_status infer_rope_prefill_dims(const void *self)
{
    enum { DIM = 128 };
    const infer_call *call = self;
    REQUIRE(!rope_prefill(call) || (call->in.q.d == DIM && call->in.v.d == DIM), FATTN_E_SHAPE,
            "query: head dim %lld, value's %lld with query_rope; the device takes %d for both",
            LL(call->in.q.d), LL(call->in.v.d), (int)DIM);
    return FATTN_OK;
}

fattn_status infer_rope_prefill_dtype(const void *self)
{
    const infer_call *call = self;
    const fattn_dtype dtype = call->in.query->dtype;
    REQUIRE(!rope_prefill(call) || dtype == FATTN_BF16 || dtype == FATTN_F64, FATTN_E_DTYPE,
            "query: dtype %s with query_rope; the device takes bf16 in prefill",
            fattn_dtype_name(dtype));
    return FATTN_OK;
}
