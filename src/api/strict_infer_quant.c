/* SPDX-License-Identifier: Apache-2.0 */
/* strict_infer_quant.c — the device's rules for quantised calls (spec inference 4, 11.5). */
#include "api/strict_infer.h"
#include "base/mutant.h"
#include "core/element.h"

enum { COLUMNS_I8 = 32, COLUMNS_I4 = 64, PREFILL_ROWS_MAX = 16, MLA_DIM = 512, NZ_DIM = 128 };

static bool is_kv(const infer_call *call) { return call->quant == QUANT_KV; }

/* Keys in an NZ cache, the kernel of which has rules of its own (4.5). */
static bool is_nz_i8(const infer_call *call)
{
    return is_kv(call) && call->in.paged && call->in.key->rank == 5 &&
           call->in.kv_dtype == FATTN_I8;
}

fattn_status infer_guide_form(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->quant != QUANT_GUIDE, FATTN_E_ARG,
            "dequant_scale1: given with query of dtype %s; the device takes it with an int8 query "
            "only: give antiquant_scale",
            fattn_dtype_name(call->in.query->dtype));
    return FATTN_OK;
}

static bool is_later(fattn_dtype dtype)
{
    return dtype == FATTN_E4M3 || dtype == FATTN_E5M2 || dtype == FATTN_E2M1 || dtype == FATTN_E1M2;
}

fattn_status infer_quant_formats(const void *self)
{
    const infer_call *call = self;
    const fattn_dtype all[] = {call->in.query->dtype, call->in.kv_dtype, call->in.out_dtype};
    static const char *const names[] = {"query", "key", "attention_out"};
    for (int i = 0; i < 3; i++)
        REQUIRE(!is_later(all[i]), FATTN_E_DTYPE,
                "%s: dtype %s; the device takes i8 and i4 only, floats of 8 and 4 bits are of a "
                "later one",
                names[i], fattn_dtype_name(all[i]));
    return FATTN_OK;
}

/* ---- full int8 */

fattn_status infer_full_decode(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->quant != QUANT_FULL || call->in.q.s > 1 || call->args->route == ROUTE_PREFILL,
            FATTN_E_ARG,
            "query: dtype i8 with one row; the device has no int8 decode: use f16 or bf16 for it");
    return FATTN_OK;
}

fattn_status infer_full_features(const void *self)
{
    const infer_call *call = self;
    const char *with = call->in.paged        ? "block_table"
                       : call->in.key_shared ? "key_shared_prefix"
                       : call->in.listed     ? "key_list"
                       : call->in.packed     ? "input_layout"
                                             : NULL;
    REQUIRE(call->quant != QUANT_FULL || !with, FATTN_E_ARG,
            "%s: the device has it not (input_layout: not packed) with query, key and value of int8",
            with);
    return FATTN_OK;
}

fattn_status infer_full_columns(const void *self)
{
    const infer_call *call = self;
    REQUIRE(call->quant != QUANT_FULL || call->in.q.d % COLUMNS_I8 == 0, FATTN_E_SHAPE,
            "query: head dim %lld of int8; the device takes multiples of %d: %lld would do",
            LL(call->in.q.d), (int)COLUMNS_I8, LL(i64_round_up(call->in.q.d, COLUMNS_I8)));
    return FATTN_OK;
}

/* ---- 8-bit results */

fattn_status infer_out_features(const void *self)
{
    const infer_call *call = self;
    const infer_param *scale = &call->args->quant.out_scale;
    if (!scale->tensor) return FATTN_OK;
    const bool i4 = is_kv(call) && call->in.kv_dtype == FATTN_I4;
    const char *with = i4                  ? "key"
                       : call->in.packed   ? "input_layout"
                       : call->in.query_rope ? "query_rope"
                       : is_nz_i8(call)    ? "block_table"
                                           : NULL;
    REQUIRE(!MUTANT(206, with, NULL), FATTN_E_ARG,
            "%s: the device has no int8 result with this %s (int4 keys, packed layouts, rope parts, NZ "
            "caches)",
            scale->name, with);
    return FATTN_OK;
}

fattn_status infer_out_channels(const void *self)
{
    const infer_call *call = self;
    const infer_param *scale = &call->args->quant.out_scale;
    if (!scale->tensor || tensor_elements(scale->tensor) == 1) return FATTN_OK;
    REQUIRE(call->in.v.d % COLUMNS_I8 == 0 && !call->q_padded && !call->kv_padded &&
                !call->args->want_lse,
            FATTN_E_ARG,
            "%s: one number per column; the device takes it with head dims that are multiples of %d, "
            "without padding and softmax_lse",
            scale->name, (int)COLUMNS_I8);
    return FATTN_OK;
}

fattn_status infer_out_dtype_rule(const void *self)
{
    const infer_call *call = self;
    const infer_param *scale = &call->args->quant.out_scale;
    if (!scale->tensor) return FATTN_OK;
    const fattn_dtype dtype = scale->tensor->dtype;
    REQUIRE(dtype == FATTN_F32 || (dtype == FATTN_BF16 && call->in.query->dtype == FATTN_BF16),
            FATTN_E_DTYPE, "%s: dtype %s; the device takes f32, and bf16 with a bf16 query",
            scale->name, fattn_dtype_name(dtype));
    return FATTN_OK;
}

/* ---- keys and values */

fattn_status infer_antiquant_dtype(const void *self)
{
    const infer_call *call = self;
    for (int side = 0; is_kv(call) && side < SIDES; side++) {
        const infer_antiquant *a = &call->antiquant[side];
        const bool like_query = a->mode == ANTIQUANT_CHANNEL || a->mode == ANTIQUANT_HEAD;
        const fattn_dtype wanted = like_query                   ? call->in.query->dtype
                                   : a->mode == ANTIQUANT_GROUP ? a->scale.tensor->dtype
                                                                : FATTN_F32;
        REQUIRE(a->scale.tensor->dtype == wanted, FATTN_E_DTYPE,
                "%s: dtype %s; the device takes %s in mode %lld", a->scale.name,
                fattn_dtype_name(a->scale.tensor->dtype), fattn_dtype_name(wanted), LL(a->mode));
    }
    return FATTN_OK;
}

fattn_status infer_antiquant_pair(const void *self)
{
    const infer_call *call = self;
    if (!is_kv(call)) return FATTN_OK;
    const infer_antiquant *k = &call->antiquant[SIDE_KEY], *v = &call->antiquant[SIDE_VALUE];
    const bool mixed = k->mode == ANTIQUANT_CHANNEL && v->mode == ANTIQUANT_TOKEN &&
                       call->in.kv_dtype == FATTN_I8 && call->in.query->dtype == FATTN_F16;
    REQUIRE(k->mode == v->mode || mixed, FATTN_E_ARG,
            "%s: %lld beside %lld of the keys; the device takes one mode, or 0 and 1 with int8 and "
            "an f16 query",
            v->mode_name, LL(v->mode), LL(k->mode));
    REQUIRE(!k->offset.tensor == !v->offset.tensor, FATTN_E_ARG,
            "%s: missing; the device takes offsets of keys and values, or none",
            k->offset.tensor ? v->offset.name : k->offset.name);
    return FATTN_OK;
}

/* The one paged call that the prefill kernels take. */
static bool paged_prefill(const infer_call *call)
{
    const bool layout = call->in.letters[0] == 'B' && call->in.letters[1] == 'S';
    return call->in.query->dtype == FATTN_F16 && layout && call->args->sparse_mode == 3 &&
           call->args->inner_precise == 1 && !call->args->pse_shift &&
           call->antiquant[SIDE_KEY].mode == ANTIQUANT_CHANNEL;
}

fattn_status infer_antiquant_prefill(const void *self)
{
    const infer_call *call = self;
    if (!is_kv(call) || is_nz_i8(call) || !strict_prefill(call) || call->in.packed) return FATTN_OK;
    const infer_antiquant *k = &call->antiquant[SIDE_KEY];
    const fattn_dtype query = call->in.query->dtype;
    const bool combined = k->axis0 >= 0, one_of_two = k->mode <= ANTIQUANT_TOKEN;
    const bool rest = !call->in.listed && !call->kv_padded && call->in.q.s <= PREFILL_ROWS_MAX;
    const bool fits = call->in.paged ? paged_prefill(call)
                      : combined     ? query == FATTN_F16 && k->mode == ANTIQUANT_CHANNEL
                                     : query == FATTN_BF16 && one_of_two && rest;
    REQUIRE(fits, FATTN_E_ARG,
            "%s: with more than one query row the device takes antiquant_scale in mode 0 with an f16 "
            "query, or separate scales in modes 0, 1 with a bf16 query of at most %d rows, not paged",
            k->scale.name, (int)PREFILL_ROWS_MAX);
    return FATTN_OK;
}

/* Packed calls with scales run in the decode kernels. */
fattn_status infer_antiquant_packed(const void *self)
{
    const infer_call *call = self;
    if (!is_kv(call) || !call->in.packed) return FATTN_OK;
    const infer_antiquant *k = &call->antiquant[SIDE_KEY];
    REQUIRE(call->in.paged && call->in.kv_dtype == FATTN_I8 && k->scale.tensor->dtype == FATTN_F32,
            FATTN_E_ARG,
            "%s: with input_layout %s the device takes f32 scales of int8 keys in a cache only",
            k->scale.name, call->args->layout);
    return FATTN_OK;
}

fattn_status infer_antiquant_reach(const void *self)
{
    const infer_call *call = self;
    for (int side = 0; is_kv(call) && call->in.paged && side < SIDES; side++) {
        const infer_antiquant *a = &call->antiquant[side];
        const fattn_tensor *t = a->scale.tensor;
        if (a->mode != ANTIQUANT_TOKEN && a->mode != ANTIQUANT_TOKEN_HEAD) continue;
        REQUIRE(t->shape[t->rank - 1] >= MUTANT(142, call->kv_room, 0), FATTN_E_SHAPE,
                "%s: %lld keys on its last axis; the device wants one number for each of the %lld "
                "that block_table reaches",
                a->scale.name, LL(t->shape[t->rank - 1]), LL(call->kv_room));
    }
    return FATTN_OK;
}

fattn_status infer_antiquant_features(const void *self)
{
    const infer_call *call = self;
    if (!is_kv(call)) return FATTN_OK;
    const char *with = call->args->learnable_sink ? "learnable_sink"
                       : call->in.query_rope      ? "query_rope"
                                                  : NULL;
    REQUIRE(!with, FATTN_E_ARG,
            "%s: the device has it not with quantised keys and values", with);
    return FATTN_OK;
}

fattn_status infer_i4(const void *self)
{
    const infer_call *call = self;
    if (!is_kv(call) || call->in.kv_dtype != FATTN_I4) return FATTN_OK;
    REQUIRE(!strict_prefill(call) && !call->in.paged && !call->kv_padded &&
                call->in.q.d % COLUMNS_I4 == 0,
            FATTN_E_ARG,
            "key: int4 with head dim %lld; the device takes it with one query row, head dims that are "
            "multiples of %d, without block_table and padding",
            LL(call->in.q.d), (int)COLUMNS_I4);
    return FATTN_OK;
}

/* Pairs of query and key heads that the kernel is built for. */
static bool nz_heads(int64_t n, int64_t nkv)
{
    static const int64_t pairs[][2] = {{10, 1}, {64, 8}, {80, 8}, {128, 16}};
    for (int i = 0; i < 4; i++)
        if (n == pairs[i][0] && nkv == pairs[i][1]) return true;
    return false;
}

fattn_status infer_nz_i8(const void *self)
{
    const infer_call *call = self;
    const infer_args *a = call->args;
    if (!is_nz_i8(call)) return FATTN_OK;
    const infer_antiquant *k = &call->antiquant[SIDE_KEY];
    const bool form = call->in.query->dtype == FATTN_BF16 && call->in.q.d == NZ_DIM &&
                      call->in.q.s <= PREFILL_ROWS_MAX && a->inner_precise == 1 && k->axis0 < 0 &&
                      k->mode <= ANTIQUANT_TOKEN && !k->offset.tensor &&
                      (call->in.k.s == 128 || call->in.k.s == 512);
    REQUIRE(form, FATTN_E_ARG,
            "key: an int8 NZ cache; the device takes it with a bf16 query of 1..16 rows, head dim "
            "128, blocks of 128 or 512 rows, inner_precise 1, separate scales in modes 0, 1, no "
            "offsets");
    REQUIRE(nz_heads(call->in.n_heads, call->in.n_kv_heads), FATTN_E_SHAPE,
            "%s: %lld with %lld key/value heads and an int8 NZ cache; the device takes 10 with 1, 64 "
            "and 80 with 8, 128 with 16",
            a->heads_name, LL(call->in.n_heads), LL(call->in.n_kv_heads));
    return FATTN_OK;
}

/* ---- MLA */

fattn_status infer_mla_quant(const void *self)
{
    const infer_call *call = self;
    if (call->quant != QUANT_MLA) return FATTN_OK;
    REQUIRE(call->in.q.d == MLA_DIM && call->in.query_rope->dtype == FATTN_BF16 &&
                (call->in.packed || call->in.q.s <= PREFILL_ROWS_MAX),
            FATTN_E_ARG,
            "query: int8 with head dim %lld and rope parts of %s; the device takes 512, bf16 and at "
            "most %d rows",
            LL(call->in.q.d), fattn_dtype_name(call->in.query_rope->dtype), (int)PREFILL_ROWS_MAX);
    const bool bnsd = call->in.letters[0] == 'B' && call->in.letters[1] == 'N';
    REQUIRE(call->in.paged && (call->in.key->rank == 5) == !bnsd, FATTN_E_ARG,
            "key: with an int8 query the device takes caches of rank 5 (NZ), of rank 4 with "
            "input_layout BNSD");
    return FATTN_OK;
}
