/* SPDX-License-Identifier: Apache-2.0 */
/* strict_fusion.c — the device's rules for the training operator (spec fusion-attention 3.2, 4, 5,
 * 9).
 *
 * Rules about atten_mask's content, tokens and prefix hold with a mask only: without one the device
 * computes full attention and looks at none of them. */
#include <string.h>

#include "api/fusion.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"

enum {
    HEAD_DIM_MAX = 768,
    CUMULATIVE_MAX = 1000000,
    HEADS_DOCUMENTED = 256,
    ROWS_DOCUMENTED = 1 << 20,
    PACKED_BATCH_DOCUMENTED = 20000
};

/* ---- arguments as given
 * -------------------------------------------------------------------------- */

static fattn_status head_num(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(call->args->head_num > 0, FATTN_E_ARG,
            "head_num: %lld; the device does not read it from the layout: give the number of query "
            "heads",
            LL(call->args->head_num));
    return FATTN_OK;
}

static fattn_status input_rank(const void *self)
{
    const fusion_call *call = self;
    const struct {
        const char *name;
        const fattn_tensor *tensor;
    } all[] = {{"query", call->in.query}, {"key", call->in.key}, {"value", call->in.value}};
    for (int i = 0; i < 3; i++)
        REQUIRE(all[i].tensor->rank == 3 || all[i].tensor->rank == 4, FATTN_E_SHAPE,
                "%s: rank %d; the device takes 3 (BSH, SBH, TND) and 4 (BNSD, BSND)", all[i].name,
                (int)all[i].tensor->rank);
    return FATTN_OK;
}

static bool layout_is(const fusion_call *call, const char *name)
{
    return call->args->input_layout && strcmp(call->args->input_layout, name) == 0;
}

static fattn_status bsh_rank4(const void *self)
{
    const fusion_call *call = self;
    char shape[TEXT_SIZE];
    REQUIRE(
        !layout_is(call, "BSH") || call->in.query->rank != 4, FATTN_E_SHAPE,
        "query: %s has rank 4; the device takes rank 3 under input_layout BSH: say BSND or BNSD",
        tensor_print(call->in.query, shape, sizeof shape));
    return FATTN_OK;
}

static fattn_status bnsd_as_bsnd(const void *self)
{
    const fusion_call *call = self;
    const fattn_tensor *q = call->in.query;
    const int64_t heads = call->args->head_num;
    char shape[TEXT_SIZE];
    REQUIRE(!layout_is(call, "BNSD") || q->rank != 4 || q->shape[1] == heads ||
                q->shape[2] != heads,
            FATTN_E_SHAPE,
            "head_num: %lld, but axis 1 of query %s has %lld under input_layout BNSD: say BSND",
            LL(heads), tensor_print(q, shape, sizeof shape), LL(q->shape[1]));
    return FATTN_OK;
}

static fattn_status rope_rank(const void *self)
{
    const fusion_call *call = self;
    const struct {
        const char *name;
        const fattn_tensor *tensor;
    } all[] = {{"query_rope", call->in.query_rope}, {"key_rope", call->in.key_rope}};
    for (int i = 0; i < 2; i++)
        REQUIRE(!all[i].tensor || all[i].tensor->rank == 3 || all[i].tensor->rank == 4,
                FATTN_E_SHAPE, "%s: rank %d; the device takes rope parts of rank 3 and 4",
                all[i].name, (int)all[i].tensor->rank);
    return FATTN_OK;
}

static fattn_status rope_lists(const void *self)
{
    const fusion_call *call = self;
    const bool lists =
        list_given(call->args->actual_seq_qlen) && list_given(call->args->actual_seq_kvlen);
    REQUIRE(!call->in.key_rope || lists, FATTN_E_ARG,
            "key_rope: given without actual_seq_qlen and actual_seq_kvlen; the device takes rope "
            "parts with "
            "input_layout TND only");
    return FATTN_OK;
}

/* Without any token the lists may be absent, but not for the device. */
static fattn_status packed_lists(const void *self)
{
    const fusion_call *call = self;
    const bool q = list_given(call->args->actual_seq_qlen),
               kv = list_given(call->args->actual_seq_kvlen);
    REQUIRE(!call->in.packed || (q && kv), FATTN_E_ARG,
            "%s: missing; the device needs it with input_layout TND, without a token, too",
            q ? "actual_seq_kvlen" : "actual_seq_qlen");
    return FATTN_OK;
}

/* ---- sizes
 * --------------------------------------------------------------------------------------- */

static fattn_status cumulative_limit(const void *self)
{
    const fusion_call *call = self;
    const fattn_length_list lists[] = {{"actual_seq_qlen", call->args->actual_seq_qlen, 0},
                                       {"actual_seq_kvlen", call->args->actual_seq_kvlen, 0}};
    for (int l = 0; call->in.packed && l < 2; l++)
        for (int64_t i = 0; i < lists[l].list.count; i++)
            REQUIRE(lists[l].list.data[i] <= CUMULATIVE_MAX, FATTN_E_ARG,
                    "%s: entry %lld is %lld; the device takes at most %d packed tokens: split the "
                    "batch",
                    lists[l].name, LL(i), LL(lists[l].list.data[i]), (int)CUMULATIVE_MAX);
    return FATTN_OK;
}

static fattn_status value_head_dim(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(
        call->in.v.d <= call->in.k.d, FATTN_E_SHAPE,
        "value: head dim %lld is larger than key's %lld; the device needs it to be at most that",
        LL(call->in.v.d), LL(call->in.k.d));
    return FATTN_OK;
}

static fattn_status head_dim(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(call->in.q.d <= HEAD_DIM_MAX, FATTN_E_SHAPE,
            "query: head dim %lld; the device takes at most %d", LL(call->in.q.d),
            (int)HEAD_DIM_MAX);
    return FATTN_OK;
}

static fattn_status documented_sizes(const void *self)
{
    const fusion_call *call = self;
    const int64_t rows = i64_max(fusion_max_q_len(call), fusion_max_kv_len(call));
    if (call->in.n_heads > HEADS_DOCUMENTED)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "query: %lld heads; the device's documents name 1..%d, and no reaction beyond",
                     LL(call->in.n_heads), (int)HEADS_DOCUMENTED);
    else if (rows > ROWS_DOCUMENTED)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "query, key: a sequence of %lld rows; the device's documents name 1..%d, and "
                     "no reaction "
                     "beyond",
                     LL(rows), (int)ROWS_DOCUMENTED);
    return FATTN_OK;
}

static fattn_status packed_batch(const void *self)
{
    const fusion_call *call = self;
    if (call->in.packed && call->n_batch > PACKED_BATCH_DOCUMENTED)
        context_warn(call->context, WARN_UNDOCUMENTED_SIZE,
                     "actual_seq_qlen: %lld sequences; the device warns beyond %d",
                     LL(call->n_batch), (int)PACKED_BATCH_DOCUMENTED);
    return FATTN_OK;
}

static fattn_status prefix_batch(const void *self)
{
    enum { MOST = 2048, MOST_PACKED = 1024 };
    const fusion_call *call = self;
    const int most = call->in.packed ? MOST_PACKED : MOST;
    const bool used =
        call->mask && list_given(call->args->prefix) && (call->mode == 5 || call->mode == 6);
    if (used && call->n_batch > most)
        context_warn(
            call->context, WARN_UNDOCUMENTED_SIZE,
            "prefix: a batch of %lld; the device's documents name 1..%d, and no reaction beyond",
            LL(call->n_batch), most);
    return FATTN_OK;
}

/* ---- pse
 * ----------------------------------------------------------------------------------------- */

static fattn_status pse_mode(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(!call->pse || call->args->pse_type >= 2 || (call->mode != 7 && call->mode != 8),
            FATTN_E_ARG, "pse: the device refuses it in sparse_mode %lld; leave it out",
            LL(call->mode));
    return FATTN_OK;
}

/* ---- atten_mask and prefix
 * ----------------------------------------------------------------------- */

/* The device's forms of rank 4: [B,N,..], [B,1,..], [1,1,..] with a row for every query. */
static bool ordinary_rank4(const fusion_call *call)
{
    const fattn_tensor *m = call->mask;
    return m->shape[2] == fusion_max_q_len(call) && m->shape[3] == fusion_max_kv_len(call) &&
           (m->shape[0] == call->n_batch || m->shape[1] == 1);
}

static fattn_status mask_broadcast(const void *self)
{
    const fusion_call *call = self;
    const fattn_tensor *m = call->mask;
    const int64_t rows = fusion_max_q_len(call);
    char shape[TEXT_SIZE];
    if (!call->dense_mask || m->rank != 4) return FATTN_OK;
    REQUIRE(
        ordinary_rank4(call), FATTN_E_SHAPE,
        "atten_mask: %s; the device takes [%lld,1|%lld,%lld,%lld], [1,1,%lld,%lld] or [%lld,%lld]",
        tensor_print(m, shape, sizeof shape), LL(call->n_batch), LL(call->in.n_heads), LL(rows),
        LL(m->shape[3]), LL(rows), LL(m->shape[3]), LL(rows), LL(m->shape[3]));
    return FATTN_OK;
}

static fattn_status mask_compressed_rank4(const void *self)
{
    const fusion_call *call = self;
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    if (!m || call->dense_mask || m->rank != 4) return FATTN_OK;
    REQUIRE(ordinary_rank4(call), FATTN_E_SHAPE,
            "atten_mask: %s; the device takes the compressed mask as [%lld,%lld] only",
            tensor_print(m, shape, sizeof shape), LL(m->shape[2]), LL(m->shape[3]));
    return FATTN_OK;
}

static fattn_status mask_tail(const void *self)
{
    const fusion_call *call = self;
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    if (!call->mask_blocks) return FATTN_OK;
    REQUIRE(m->shape[0] == call->q.covered && m->shape[1] == call->kv.covered, FATTN_E_SHAPE,
            "atten_mask: %s; the device takes [%lld,%lld], the tokens of the sequences without "
            "those behind them",
            tensor_print(m, shape, sizeof shape), LL(call->q.covered), LL(call->kv.covered));
    return FATTN_OK;
}

static fattn_status prefix_causal(const void *self)
{
    const fusion_call *call = self;
    const fattn_int_array prefix = call->args->prefix;
    if (!call->mask || call->mode != 6) return FATTN_OK;
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t q_len = fusion_q_len(call, b), kv_len = fusion_kv_len(call, b);
        REQUIRE(prefix.data[b] >= kv_len - q_len, FATTN_E_ARG,
                "prefix: entry %lld is %lld; with %lld queries and %lld keys the device takes "
                "%lld..%lld",
                LL(b), LL(prefix.data[b]), LL(q_len), LL(kv_len), LL(kv_len - q_len), LL(kv_len));
    }
    return FATTN_OK;
}

/* ---- tokens
 * -------------------------------------------------------------------------------------- */

/* Dense: with tokens counted from the upper left corner. */
static fattn_status tokens_dense(const void *self)
{
    const fusion_call *call = self;
    if (!call->mask || call->in.packed || (call->mode != 0 && call->mode != 4)) return FATTN_OK;
    const int64_t shift = call->mode == 4 ? call->in.k.s - call->in.q.s : 0;
    const int64_t pre = i64_add_sat(call->args->pre_tokens, -shift);
    const int64_t next = i64_add_sat(call->args->next_tokens, shift);
    REQUIRE(pre >= 0 || next >= 0, FATTN_E_ARG,
            "pre_tokens, next_tokens: %lld and %lld, from the upper left corner, are both "
            "negative; the device "
            "takes at most one",
            LL(pre), LL(next));
    REQUIRE(pre >= 0 || (i64_add_sat(pre, next) >= 0 && i64_add_sat(pre, call->in.k.s) > 0),
            FATTN_E_ARG,
            "pre_tokens: %lld from the upper left corner; below 0 the device needs next_tokens >= "
            "%lld and "
            "pre_tokens > -%lld, the keys",
            LL(pre), LL(-i64_max(pre, -INT64_MAX)), LL(call->in.k.s));
    REQUIRE(next >= 0 || (i64_add_sat(pre, next) >= 0 && i64_add_sat(next, call->in.q.s) > 0),
            FATTN_E_ARG,
            "next_tokens: %lld from the upper left corner; below 0 the device needs pre_tokens >= "
            "%lld and "
            "next_tokens > -%lld, the queries",
            LL(next), LL(-i64_max(next, -INT64_MAX)), LL(call->in.q.s));
    return FATTN_OK;
}

static bool packed_mode(const fusion_call *call, int64_t mode)
{
    return call->mask && call->in.packed && call->mode == mode;
}

/* Tokens of a sequence: pre covers `first` keys, and its last row sees a key. */
static fattn_status reaches(const fusion_call *call, int64_t b)
{
    const int64_t next = call->args->next_tokens, room = i64_add_sat(fusion_kv_len(call, b), next);
    REQUIRE(room >= fusion_q_len(call, b), FATTN_E_ARG,
            "next_tokens: %lld; sequence %lld has %lld queries and %lld keys, and the device needs "
            "next_tokens >= %lld",
            LL(next), LL(b), LL(fusion_q_len(call, b)), LL(fusion_kv_len(call, b)),
            LL(fusion_q_len(call, b) - fusion_kv_len(call, b)));
    return FATTN_OK;
}

static fattn_status covers(const fusion_call *call, int64_t b)
{
    REQUIRE(call->args->pre_tokens >= fusion_kv_len(call, b) - MUTANT(112, 0, 1), FATTN_E_ARG,
            "pre_tokens: %lld; in sparse_mode %lld the device needs at least the %lld keys of "
            "sequence %lld",
            LL(call->args->pre_tokens), LL(call->mode), LL(fusion_kv_len(call, b)), LL(b));
    return FATTN_OK;
}

static fattn_status not_more_queries(const fusion_call *call)
{
    for (int64_t b = 0; b < call->n_batch; b++)
        REQUIRE(fusion_q_len(call, b) <= fusion_kv_len(call, b), FATTN_E_ARG,
                "sparse_mode: %lld; sequence %lld has %lld queries and %lld keys, and the device "
                "takes no more "
                "queries than keys with input_layout TND",
                LL(call->mode), LL(b), LL(fusion_q_len(call, b)), LL(fusion_kv_len(call, b)));
    return FATTN_OK;
}

static fattn_status tokens_packed_0(const void *self)
{
    const fusion_call *call = self;
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    if (!packed_mode(call, 0)) return FATTN_OK;
    REQUIRE(
        next >= 0, FATTN_E_ARG,
        "next_tokens: %lld; with input_layout TND and sparse_mode 0 the device takes 0 and more",
        LL(next));
    for (int64_t b = 0; b < call->n_batch; b++)
        REQUIRE(
            fusion_q_len(call, b) == 0 ||
                i64_add_sat(fusion_kv_len(call, b), pre) >= fusion_q_len(call, b),
            FATTN_E_ARG,
            "pre_tokens: %lld; sequence %lld has %lld queries and %lld keys, and the device needs "
            "pre_tokens >= %lld",
            LL(pre), LL(b), LL(fusion_q_len(call, b)), LL(fusion_kv_len(call, b)),
            LL(fusion_q_len(call, b) - fusion_kv_len(call, b)));
    return FATTN_OK;
}

static fattn_status tokens_packed_3(const void *self)
{
    const fusion_call *call = self;
    return packed_mode(call, 3) ? not_more_queries(call) : FATTN_OK;
}

static fattn_status tokens_packed_4(const void *self)
{
    const fusion_call *call = self;
    if (!packed_mode(call, 4)) return FATTN_OK;
    REQUIRE(call->args->pre_tokens >= 0, FATTN_E_ARG,
            "pre_tokens: %lld; with input_layout TND and sparse_mode 4 the device takes 0 and more",
            LL(call->args->pre_tokens));
    for (int64_t b = 0; b < call->n_batch; b++)
        if (fusion_q_len(call, b) > 0) TRY(reaches(call, b));
    return FATTN_OK;
}

static fattn_status tokens_packed_7(const void *self)
{
    const fusion_call *call = self;
    if (!packed_mode(call, 7) || call->special < 0) return FATTN_OK;
    TRY(covers(call, call->special));
    REQUIRE(call->args->next_tokens <= 0, FATTN_E_ARG,
            "next_tokens: %lld; in sparse_mode 7 the device takes 0 and less",
            LL(call->args->next_tokens));
    TRY(not_more_queries(call));
    return reaches(call, call->special);
}

static fattn_status tokens_packed_8(const void *self)
{
    const fusion_call *call = self;
    if (!packed_mode(call, 8) || call->special < 0) return FATTN_OK;
    TRY(reaches(call, call->special));
    return covers(call, call->special);
}

/* ---- rope
 * ---------------------------------------------------------------------------------------- */

static fattn_status rope_mask(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(!call->in.query_rope || call->mask, FATTN_E_ARG,
            "atten_mask: missing; with query_rope the device needs one, [2048,2048] in sparse_mode "
            "3 for example");
    return FATTN_OK;
}

static fattn_status rope_dtype(const void *self)
{
    const fusion_call *call = self;
    const fattn_dtype dtype = call->in.query->dtype;
    REQUIRE(!call->in.query_rope || dtype == FATTN_BF16 || dtype == FATTN_F64, FATTN_E_DTYPE,
            "query_rope: dtype %s; the device takes rope parts in bf16 only",
            fattn_dtype_name(call->in.query_rope->dtype));
    return FATTN_OK;
}

static fattn_status rope_pse(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(!call->in.query_rope || !call->pse, FATTN_E_ARG,
            "pse: given with query_rope; the device takes one of them");
    return FATTN_OK;
}

static fattn_status rope_mode(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(!call->in.query_rope || call->args->sparse_mode != 6, FATTN_E_ARG,
            "sparse_mode: 6 with query_rope; the device takes 0..4, 7 and 8 then");
    return FATTN_OK;
}

static fattn_status rope_dim(const void *self)
{
    const fusion_call *call = self;
    REQUIRE(!call->in.query_rope || call->in.q_rope.d <= call->in.q.d, FATTN_E_SHAPE,
            "query_rope: head dim %lld; the device takes at most query's, %lld",
            LL(call->in.q_rope.d), LL(call->in.q.d));
    return FATTN_OK;
}

static fattn_status rope_alignment(const void *self)
{
    enum { NARROW_BELOW = 196, NARROW = 16, WIDE = 128 };
    const fusion_call *call = self;
    const int64_t step = call->in.q.d < NARROW_BELOW ? NARROW : WIDE;
    REQUIRE(
        !call->in.query_rope || call->in.q.d % step == 0, FATTN_E_SHAPE,
        "query: head dim %lld with query_rope; the device takes multiples of %lld: %lld would do",
        LL(call->in.q.d), LL(step), LL(i64_round_up(call->in.q.d, step)));
    return FATTN_OK;
}

/* ---- the table
 * ----------------------------------------------------------------------------------- */

#define ARGS_BY(function) .stage = STAGE_ARGS, .check = (function)

static const strict_row rows[] = {
    {"required", "9", "query, key, value and outputs are given", CODE_NULL,
     REFUSED_BY(" is required: ")},
    {"head_num", "9.1", "head_num > 0; not left to the layout", CODE_PARAM, ARGS_BY(head_num)},
    {"input_rank", "9.1", "query, key, value have rank 3 or 4", CODE_PARAM,
     .by_default = DEFAULT_REFUSES, ARGS_BY(input_rank)},
    {"keep_prob", "9.1", "0 < keep_prob <= 1", CODE_PARAM, REFUSED_BY("keep_prob: %g is not in")},
    {"softmax_layout", "9.1", "softmax_layout is \"\", or TND with input_layout TND", CODE_PARAM,
     REFUSED_BY("softmax_layout: ")},
    {"layout_alias", "9.1", "input_layout is spelt BSND, not BSNH", CODE_PARAM,
     .by_default = DEFAULT_WARNS, .warns = "layout_alias", .said = "it is spelt BSND"},
    {"layout_name", "9.1", "input_layout is BSH, SBH, BNSD, BSND or TND", CODE_PARAM,
     REFUSED_BY("input_layout: ")},
    {"packed_mode", "9.1", "TND: sparse_mode in 0..4, 6..8", CODE_PARAM,
     REFUSED_BY("sparse_mode: 5 is not defined for input_layout TND")},
    {"packed_lists", "9.1", "TND: both length lists, equally long", CODE_PARAM,
     REFUSED_BY("missing; packed layouts need it|entries, but %s has %lld; both have"),
     CHECKED_BY(packed_lists)},
    {"dense_mode", "9.1", "dense layouts: sparse_mode in 0..6", CODE_PARAM,
     REFUSED_BY("is not in 0..8|is for input_layout TND only")},
    {"cumulative_limit", "9.1", "entries of the length lists <= 1000000", CODE_PARAM,
     CHECKED_BY(cumulative_limit)},
    {"rope_rank", "9.1", "query_rope and key_rope have rank 3 or 4", CODE_PARAM,
     .by_default = DEFAULT_REFUSES, ARGS_BY(rope_rank)},
    {"rope_lists", "9.1", "key_rope comes with both length lists", CODE_PARAM, ARGS_BY(rope_lists)},
    {"bsh_rank4", "9.2", "BSH: rank 3", CODE_PARAMETER, .by_default = DEFAULT_WARNS,
     .warns = "layout_bsh_rank4", ARGS_BY(bsh_rank4)},
    {"bnsd_as_bsnd", "9.2", "BNSD: axis 1 is the heads", CODE_TILING, .by_default = DEFAULT_WARNS,
     .warns = "layout_read_as_bsnd", ARGS_BY(bnsd_as_bsnd)},
    {"input_dtype", "9.2", "query, key, value have one dtype", CODE_PARAMETER,
     REFUSED_BY("differs from query's %s|is none of f32, f16, bf16")},
    {"pse_dtype", "9.2", "pse has query's dtype (pse_type 0, 1)", CODE_PARAMETER,
     REFUSED_BY("it must be query's, %s")},
    {"slopes", "9.2", "pse is f32 and given (pse_type 2, 3)", CODE_PARAMETER,
     REFUSED_BY("slopes (pse_type %lld) must be f32|it holds the slopes")},
    {"rank_of_layout", "9.2", "ranks are those of input_layout", CODE_PARAMETER,
     REFUSED_BY("rank %d instead of %d|has rank %d, %s needs")},
    {"key_head_dim", "9.2", "query and key have one head dim", CODE_PARAMETER,
     REFUSED_BY("has head dim %lld, query has")},
    {"value_head_dim", "9.2", "value's head dim <= key's", CODE_PARAMETER,
     CHECKED_BY(value_head_dim)},
    {"head_dim_limit", "9.2, 9.3", "head dim <= 768", CODE_PARAMETER, CHECKED_BY(head_dim)},
    {"dense_lists", "9.2", "length lists only with TND", CODE_PARAMETER,
     REFUSED_BY("they belong to TND")},
    {"head_counts", "9.2", "H, head_num, the N axes and Nkv fit each other", CODE_TILING,
     REFUSED_BY("is not a multiple of|has %lld heads in input_layout|must divide the|both must be "
                "at least 1|"
                "times the head dim|H must be Nkv|but %s is %lld|must be at least 1")},
    {"batch_and_length", "9.2",
     "query and key have one batch, key and value one shape but for the head dim", CODE_TILING,
     REFUSED_BY("has batch %lld, query has|they may differ in the head dim only")},
    {"pse_type", "9.2", "pse_type in 0..3, and 1 without pse", CODE_TILING,
     REFUSED_BY("is not in 0..3|missing; pse_type %lld")},
    {"pse_shape", "9.2", "pse has one of the shapes of 5.1", CODE_TILING,
     REFUSED_BY("pse_type %lld takes|packed sequences take 1-D blocks|slopes (pse_type %lld) are")},
    {"pse_compressed", "9.2", "1024 rows of pse: causal, as many queries as keys", CODE_TILING,
     REFUSED_BY("is the compressed form (1024 rows)")},
    {"slopes_square", "9.2", "pse_type 2, 3: as many queries as keys, not mode 7", CODE_TILING,
     REFUSED_BY("needs as many queries as keys|is not defined in sparse_mode 7")},
    {"mask_dtype", "9.2", "atten_mask is bool or u8", CODE_TILING,
     REFUSED_BY("it must be bool or u8")},
    {"mask_rank", "9.2", "atten_mask has rank 2 or 4", CODE_TILING,
     REFUSED_BY("it must be 2 or 4, see")},
    {"mask_shape", "9.2", "atten_mask fits queries and keys; mode 5: one per batch", CODE_TILING,
     REFUSED_BY("sparse_mode %lld takes [%lld,%lld]|takes one mask per batch")},
    {"mask_broadcast", "4.1", "atten_mask is not [1,N,Sq,Skv] or [B,1,1,Skv]", CODE_TILING,
     CHECKED_BY(mask_broadcast)},
    {"mask_tail", "4.1",
     "TND: a mask over all tokens has a row and a column for those of the sequences, no more",
     CODE_TILING, CHECKED_BY(mask_tail)},
    {"mask_compressed", "9.2", "compressed masks are 2048 x 2048, in mode 6 3072 x 2048",
     CODE_TILING, REFUSED_BY("takes the compressed mask")},
    {"mask_compressed_rank4", "4.1",
     "compressed masks have rank 2, unless they fit queries and keys like others", CODE_TILING,
     CHECKED_BY(mask_compressed_rank4)},
    {"prefix", "9.2", "mode 6: one prefix per batch, in 0..Lk", CODE_TILING,
     REFUSED_BY("prefix: ")},
    {"prefix_count_5", "4.2", "mode 5: one prefix per batch", NULL,
     "warns, and ignores it; atten_mask says it all", .by_default = DEFAULT_REFUSES},
    {"prefix_causal", "4.4", "mode 6: prefix >= Lk - Lq", CODE_TILING, CHECKED_BY(prefix_causal)},
    {"tokens_empty_band", "4.5", "pre_tokens + next_tokens >= 0, not both negative", CODE_TILING,
     REFUSED_BY("the band is empty")},
    {"tokens_dense", "4.5",
     "modes 0, 4, from the upper left corner: a negative pre_tokens > -Skv, a negative next_tokens "
     "> -Sq",
     CODE_TILING, CHECKED_BY(tokens_dense)},
    {"tokens_packed_0", "4.5", "TND, mode 0: next_tokens >= 0, Lk + pre_tokens >= Lq", CODE_TILING,
     CHECKED_BY(tokens_packed_0)},
    {"tokens_packed_3", "4.5", "TND, mode 3: Lq <= Lk", CODE_TILING, CHECKED_BY(tokens_packed_3)},
    {"tokens_packed_4", "4.5", "TND, mode 4: pre_tokens >= 0, Lq - next_tokens <= Lk", CODE_TILING,
     CHECKED_BY(tokens_packed_4)},
    {"tokens_packed_7", "4.5",
     "TND, mode 7: pre_tokens >= Lk and Lq - next_tokens <= Lk of the last sequence, next_tokens "
     "<= 0, Lq <= Lk",
     CODE_TILING, CHECKED_BY(tokens_packed_7)},
    {"tokens_packed_8", "4.5",
     "TND, mode 8: Lq - next_tokens <= Lk and pre_tokens >= Lk of the first sequence", CODE_TILING,
     CHECKED_BY(tokens_packed_8)},
    {"packed_cumulative", "9.2", "the lists hold cumulative ends, not lengths", CODE_TILING,
     .by_default = DEFAULT_WARNS, .warns = "lengths_not_cumulative",
     .said = "are lengths (their sum is"},
    {"packed_covered", "9.2", "TND: the lists end at T or before, and do not fall", CODE_TILING,
     REFUSED_BY("does not describe the %lld packed tokens|ends do not fall|token counts are not "
                "negative")},
    {"rope_pair", "3.2", "query_rope and key_rope come together", CODE_PARAMETER,
     REFUSED_BY("come together")},
    {"rope_mask", "3.2", "rope parts: atten_mask is given", CODE_NULL, CHECKED_BY(rope_mask)},
    {"rope_dtype", "3.2", "rope parts: bf16 (or f64)", CODE_PARAMETER, CHECKED_BY(rope_dtype)},
    {"rope_pse", "3.2", "rope parts: no pse", CODE_PARAMETER, CHECKED_BY(rope_pse)},
    {"rope_mode", "3.2", "rope parts: not in mode 6", CODE_PARAMETER, CHECKED_BY(rope_mode)},
    {"rope_dim", "3.2", "rope parts: head dim <= query's", CODE_PARAMETER, CHECKED_BY(rope_dim)},
    {"rope_alignment", "3.2", "rope parts: D a multiple of 16, from 196 on of 128", CODE_PARAMETER,
     CHECKED_BY(rope_alignment)},
    {"pse_mode", "9.4", "no pse in modes 7, 8", CODE_TILING, CHECKED_BY(pse_mode)},
    {"sink_shape", "2.4", "sink is f32 [N]", CODE_PARAMETER, REFUSED_BY("sink: ")},
    {"documented_sizes", "9.3", "N <= 256, sequences of at most 1048576 rows", NULL,
     "undocumented; strict warns", CHECKED_BY(documented_sizes)},
    {"packed_batch", "9.3", "TND: at most 20000 sequences", NULL, "warns",
     CHECKED_BY(packed_batch)},
    {"prefix_batch", "9.3", "prefix: batch at most 2048, TND 1024", NULL,
     "undocumented; strict warns", CHECKED_BY(prefix_batch)},
    {"mode_without_mask", "4.1", "sparse_mode 2..8 comes with atten_mask", NULL, "full attention",
     .by_default = DEFAULT_WARNS, .warns = "sparse_mode_without_mask"},
    {"full_mode_without_mask", "4.1", "sparse_mode 1 comes with atten_mask", NULL, "full attention",
     .by_default = DEFAULT_WARNS, .warns = "full_mode_without_mask"},
    {"tokens_without_mask", "4.1", "tokens in sparse_mode 0 come with atten_mask", NULL,
     "ignores them", .by_default = DEFAULT_WARNS, .warns = "tokens_without_mask"},
};

const strict_table strict_fusion = {.family = "fusion_attention",
                                    .id = "fusion",
                                    .rows = rows,
                                    .n_rows = (int)(sizeof rows / sizeof rows[0])};
