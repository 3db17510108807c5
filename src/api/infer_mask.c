/* SPDX-License-Identifier: Apache-2.0 */
/* infer_mask.c — sparse_mode 0..4, atten_mask and pse_shift of the inference operators
 * (spec inference 1.3, 1.4, 1.8; decisions on one query row).
 *
 * With one query row the device's decode branch ignores sparse_mode. By default modes 2 and 3 then
 * let the row see every key and mode 4 keeps its band; strict does what the device does, odd
 * corners included. */
#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"
#include "core/mask.h"

#include <string.h>

#define LL(x) ((long long)(x))

enum { COMPRESSED = 2048, MODE_ALL = 1, MODE_BAND = 4, TOKENS_DEFAULT = INT32_MAX };

static int64_t longest(const fattn_lengths *lengths)
{
    int64_t most = 0;
    for (int64_t b = 0; b < lengths->count; b++) most = i64_max(most, lengths->length[b]);
    return most;
}

/* Rows and columns a full-size mask or bias must have. */
static int64_t rows_needed(const infer_call *call) { return call->one_row ? 1 : call->in.q.s; }

static int64_t cols_needed(const infer_call *call)
{
    return call->in.paged && !call->context->strict ? longest(&call->kv) : call->kv_room;
}

/* A decode mask needs the keys that are valid only; strict and paged all that the table reaches. */
static int64_t decode_cols_needed(const infer_call *call)
{
    return call->in.paged && call->context->strict ? call->kv_room : longest(&call->kv);
}

/* The mask of the call. One without elements is absent, unless queries or keys are what is missing:
 * then it is the full-size mask of nothing. */
static const fattn_tensor *mask_of(const infer_call *call)
{
    const fattn_tensor *m = call->args->atten_mask;
    const int64_t keys = call->in.paged ? call->kv_room : call->in.k.s;
    return m && tensor_elements(m) == 0 && call->in.q.s > 0 && keys > 0 ? NULL : m;
}

/* ---- the mask tensor ----------------------------------------------------------------------------
 */

static bool is_compressed(const fattn_tensor *m)
{
    const int last = m->rank - 1;
    if (m->rank < 2 || m->rank > 4) return false;
    for (int i = 0; i < last - 1; i++)
        if (m->shape[i] != 1) return false;
    return m->shape[last - 1] == COMPRESSED && m->shape[last] == COMPRESSED;
}

static void use_mask(infer_call *call, fattn_problem *problem, bool by_batch, int row_axis)
{
    const fattn_tensor *m = call->mask;
    problem->mask = (fattn_mask){.present = true,
                                 .batch_stride = by_batch ? m->strides[0] : 0,
                                 .row_stride = row_axis >= 0 ? m->strides[row_axis] : 0,
                                 .col_stride = m->strides[m->rank - 1]};
    call->dense_mask = true;
}

/* Prefill: [>=Sq, >=Skv], [1|B, ..], [1|B, 1, ..]. */
static fattn_status read_prefill_mask(infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    const int64_t rows = rows_needed(call), cols = cols_needed(call), batch = call->n_batch;
    const int last = m->rank - 1;
    char shape[TEXT_SIZE];
    bool fits =
        m->rank >= 2 && m->rank <= 4 && m->shape[last - 1] >= rows && m->shape[last] >= cols;
    if (fits && m->rank > 2) fits = m->shape[0] == 1 || m->shape[0] == batch;
    if (fits && m->rank == 4) fits = m->shape[1] == 1;
    REQUIRE(fits, FATTN_E_SHAPE,
            "atten_mask: %s; sparse_mode %lld takes [>=%lld,>=%lld], [1|%lld,>=%lld,>=%lld] or "
            "[1|%lld,1,>=%lld,>=%lld] (batch, queries, keys)",
            tensor_print(m, shape, sizeof shape), LL(call->args->sparse_mode), LL(rows), LL(cols),
            LL(batch), LL(rows), LL(cols), LL(batch), LL(rows), LL(cols));
    use_mask(call, problem, m->rank > 2 && m->shape[0] > 1, last - 1);
    return FATTN_OK;
}

/* Decode: one row per batch, [B,S], [B,1,S], [B,1,1,S]; beyond the device's forms batch 1 = shared,
 * and more rows than the one that is read. */
static fattn_status read_decode_mask(infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    const bool strict = call->context->strict;
    const int64_t cols = decode_cols_needed(call), batch = call->n_batch;
    const int last = m->rank - 1;
    char shape[TEXT_SIZE];
    bool fits = m->rank >= 2 && m->rank <= 4 && m->shape[last] >= cols;
    if (fits)
        fits =
            m->shape[0] == batch || (!strict && (m->shape[0] == 1 || (batch == 1 && m->rank == 2)));
    if (fits && m->rank == 4) fits = m->shape[1] == 1;
    if (fits && m->rank > 2)
        fits = m->shape[last - 1] >= 1 && (!strict || batch == 1 || m->shape[last - 1] == 1);
    REQUIRE(
        fits, FATTN_E_SHAPE,
        "atten_mask: %s; with one query row per batch it must be [%lld,>=%lld], [%lld,1,>=%lld] or "
        "[%lld,1,1,>=%lld] (batch, keys)",
        tensor_print(m, shape, sizeof shape), LL(batch), LL(cols), LL(batch), LL(cols), LL(batch),
        LL(cols));
    use_mask(call, problem, m->shape[0] == batch && batch > 1, -1);
    return FATTN_OK;
}

static fattn_status check_mask_dtype(const fattn_tensor *m)
{
    REQUIRE(
        m->dtype == FATTN_BOOL || m->dtype == FATTN_U8 || m->dtype == FATTN_I8, FATTN_E_DTYPE,
        "atten_mask: dtype %s; it must be bool, i8 or u8, nonzero = masked (an additive bias is "
        "pse_shift)",
        fattn_dtype_name(m->dtype));
    return FATTN_OK;
}

/* Modes 2, 3, 4. */
static fattn_status check_compressed(const infer_call *call)
{
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    REQUIRE(
        is_compressed(m), FATTN_E_SHAPE,
        "atten_mask: %s; sparse_mode %lld takes the compressed mask [2048,2048], [1,2048,2048] or "
        "[1,1,2048,2048] whatever the lengths (or none); a mask per query and key belongs to "
        "sparse_mode 1",
        tensor_print(m, shape, sizeof shape), LL(call->args->sparse_mode));
    return FATTN_OK;
}

/* ---- tokens -------------------------------------------------------------------------------------
 */

/* The device refuses more; what remains is well defined and computed. */
static fattn_status check_tokens(const infer_call *call)
{
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    REQUIRE(
        pre >= 0 || next >= 0, FATTN_E_ARG,
        "pre_tokens, next_tokens: %lld and %lld are both negative: the band is empty; at most one "
        "may be",
        LL(pre), LL(next));
    REQUIRE(i64_add_sat(pre, next) >= 0, FATTN_E_ARG,
            "pre_tokens, next_tokens: %lld + %lld is negative: the band is empty; give %s >= %lld",
            LL(pre), LL(next), pre < 0 ? "next_tokens" : "pre_tokens",
            LL(pre < 0 ? -i64_max(pre, -INT64_MAX) : -i64_max(next, -INT64_MAX)));
    return FATTN_OK;
}

static void warn_ignored_tokens(const infer_call *call, const char *why)
{
    const infer_args *a = call->args;
    const bool next_ignored = a->next_tokens != a->next_default && a->next_tokens < TOKENS_DEFAULT;
    if (a->pre_tokens >= TOKENS_DEFAULT && !next_ignored) return;
    context_warn(
        call->context, WARN_TOKENS_WITHOUT_MASK,
        "pre_tokens, next_tokens: %lld, %lld are ignored in sparse_mode %lld %s, as on the "
        "device; sparse_mode 4 is a band",
        LL(a->pre_tokens), LL(a->next_tokens), LL(a->sparse_mode), why);
}

/* ---- more than one query row, and prompt_flash_attention ----------------------------------------
 */

static fattn_status settle_without_mask(infer_call *call)
{
    const int64_t mode = call->args->sparse_mode;
    REQUIRE(!call->context->strict || mode == 0, FATTN_E_ARG,
            "atten_mask: missing; the device wants it in sparse_mode %lld: %s", LL(mode),
            mode == 1 ? "the full-size mask" : "the compressed mask [2048,2048]");
    if (mode == 0) warn_ignored_tokens(call, "without atten_mask");
    if (mode >= 1)
        context_warn(call->context, WARN_INFER_MODE_WITHOUT_MASK,
                     "sparse_mode: %lld without atten_mask %s; the device refuses it", LL(mode),
                     mode == 1                            ? "is full attention"
                     : call->one_row && mode != MODE_BAND ? "lets one query row see every key"
                                                          : "applies the mode's own mask");
    call->mode = mode < 2 ? MODE_ALL : mode;
    return FATTN_OK;
}

static fattn_status settle_with_mask(infer_call *call, fattn_problem *problem)
{
    const int64_t mode = call->args->sparse_mode;
    call->mode = mode;
    if (mode >= 2) return check_compressed(call);
    REQUIRE(!call->in.packed, FATTN_E_ARG,
            "atten_mask: input_layout %s has no full-size mask (sparse_mode %lld); use sparse_mode "
            "2, 3 "
            "or 4",
            call->in.letters, LL(mode));
    return read_prefill_mask(call, problem);
}

static fattn_status settle_prefill(infer_call *call, fattn_problem *problem)
{
    if (call->mask)
        TRY(settle_with_mask(call, problem));
    else
        TRY(settle_without_mask(call));
    if (call->mode == 0 || call->mode == 4) TRY(check_tokens(call));
    if (!call->one_row || call->context->strict || call->mode != 2) return FATTN_OK;
    if (call->mask)
        context_warn(
            call->context, WARN_DECODE_SPARSE_MODE,
            "sparse_mode: 2 with one query row lets it see every key; the device lets it see the "
            "first one only");
    call->mode = MODE_ALL;
    return FATTN_OK;
}

/* ---- the decode branch --------------------------------------------------------------------------
 */

/* The device slides a window over a BSH call with a rank-3 cache, whatever sparse_mode says. */
static bool hidden_window(const infer_call *call)
{
    const infer_args *a = call->args;
    const fattn_dtype dtype = a->query->dtype;
    return call->args->route == ROUTE_BY_SHAPE && strcmp(call->in.letters, "BSH") == 0 &&
           call->in.paged && a->key->rank == 3 && a->pre_tokens > 0 &&
           (dtype == FATTN_F16 || dtype == FATTN_BF16);
}

/* Strict. Mode 1 without a mask, which decisions.md calls an error for inference, is legal here: the
 * reading taken is that the row on one query row goes first, since the device's decode branch ignores
 * sparse parameters (spec 1.4.3), its demand for a mask included. */
static fattn_status settle_decode_strict(infer_call *call, fattn_problem *problem)
{
    const infer_args *a = call->args;
    const bool by_row = strcmp(call->in.letters, "BSND") != 0; /* BSH, BNSD miss the check */
    call->mode = MODE_ALL;
    if (hidden_window(call)) call->window = a->pre_tokens;
    if (!call->mask) return FATTN_OK;
    call->first_key_only = a->sparse_mode >= 3 && by_row && is_compressed(call->mask);
    return call->first_key_only ? FATTN_OK : read_decode_mask(call, problem);
}

/* true when that window would hide a key. */
static bool window_hides(const infer_call *call)
{
    return hidden_window(call) && call->args->pre_tokens < longest(&call->kv);
}

static void warn_decode(const infer_call *call)
{
    const infer_args *a = call->args;
    const int64_t most = longest(&call->kv);
    const bool band_hides = a->sparse_mode == 4 && (a->pre_tokens < most - 1 || a->next_tokens < 0);
    if (a->sparse_mode >= 2 && (call->mask || band_hides))
        context_warn(call->context, WARN_DECODE_SPARSE_MODE,
                     "sparse_mode: %lld with one query row %s; the device %s", LL(a->sparse_mode),
                     a->sparse_mode == 4 ? "keeps its band" : "lets it see every key",
                     call->mask ? "applies row 0 of atten_mask or refuses it"
                                : "ignores sparse_mode");
    if (window_hides(call))
        context_warn(call->context, WARN_HIDDEN_WINDOW,
                     "pre_tokens: %lld is no window here; the device lets one query row in layout "
                     "BSH with a "
                     "paged cache see the last %lld keys only",
                     LL(a->pre_tokens), LL(a->pre_tokens));
}

static fattn_status settle_decode(infer_call *call, fattn_problem *problem)
{
    const infer_args *a = call->args;
    if (call->context->strict) return settle_decode_strict(call, problem);
    call->mode = MUTANT(83, a->sparse_mode == 4, false) ? 4 : MODE_ALL;
    if (a->sparse_mode == 0 && !window_hides(call)) /* it has a warning of its own */
        warn_ignored_tokens(call, call->mask ? "with one query row" : "without atten_mask");
    if (call->mode == 4) TRY(check_tokens(call));
    warn_decode(call);
    if (!call->mask) return FATTN_OK;
    return a->sparse_mode >= 2 ? check_compressed(call) : read_decode_mask(call, problem);
}

fattn_status infer_mask(infer_call *call, fattn_problem *problem)
{
    const int64_t mode = call->args->sparse_mode;
    REQUIRE(mode >= 0 && mode <= 4, FATTN_E_ARG, "sparse_mode: %lld is not in 0..4%s", LL(mode),
            mode >= 5 && mode <= 8 ? "; 5..8 belong to fusion_attention" : "");
    call->window = INT64_MAX;
    call->mask = mask_of(call);
    if (call->mask) TRY(check_mask_dtype(call->mask));
    return call->decode ? settle_decode(call, problem) : settle_prefill(call, problem);
}

void infer_mask_seq(const infer_call *call, fattn_seq *seq)
{
    const infer_args *a = call->args;
    const int64_t limit = i64_add_sat(seq->q_len, seq->kv_len);
    mask_translate(seq, call->mode, call->dense_mask, a->pre_tokens, a->next_tokens, 0, false);
    if (call->window < seq->kv_len) seq->band_lo = seq->kv_len - call->window + MUTANT(82, 0, 1);
    if (!call->first_key_only) return;
    seq->band_hi = -limit;
    seq->prefix = i64_min(1, seq->kv_len);
}

/* ---- pse_shift ----------------------------------------------------------------------------------
 */

fattn_status infer_bias(const infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->args->pse_shift;
    const fattn_dtype dtype = call->in.query->dtype;
    const int64_t rows = rows_needed(call), cols = cols_needed(call);
    char shape[TEXT_SIZE];
    if (!pse) return FATTN_OK;
    REQUIRE(!call->in.packed, FATTN_E_ARG,
            "pse_shift: input_layout %s has no position bias; use BSH, BSND or BNSD",
            call->in.letters);
    REQUIRE(pse->dtype == dtype, FATTN_E_DTYPE, "pse_shift: dtype %s; it must be query's, %s",
            fattn_dtype_name(pse->dtype), fattn_dtype_name(dtype));
    bool fits =
        pse->rank == 4 && (pse->shape[0] == 1 || pse->shape[0] == call->n_batch) &&
        (pse->shape[1] == call->in.n_heads || (pse->shape[1] == 1 && !call->context->strict)) &&
        pse->shape[3] >= cols;
    if (fits) fits = call->decode ? pse->shape[2] == 1 : pse->shape[2] >= rows;
    REQUIRE(fits, FATTN_E_SHAPE,
            "pse_shift: %s; it must be [1|%lld,%s%lld,%s%lld,>=%lld] (batch, heads, queries, keys)",
            tensor_print(pse, shape, sizeof shape), LL(call->n_batch),
            call->context->strict ? "" : "1|", LL(call->in.n_heads),
            call->decode ? "" : ">=", LL(rows), LL(cols));
    problem->bias =
        (fattn_bias){.kind = BIAS_TENSOR, .dtype = dtype, .col_stride = pse->strides[3]};
    return FATTN_OK;
}

void infer_bias_seq(const infer_call *call, fattn_seq *seq)
{
    const fattn_tensor *pse = call->args->pse_shift;
    if (!pse) return;
    seq->bias_base = pse->shape[0] > 1 ? seq->batch * pse->strides[0] : 0;
    seq->bias_head_stride = pse->shape[1] > 1 ? pse->strides[1] : 0;
    seq->bias_row_stride = pse->strides[2];
}
