/* SPDX-License-Identifier: Apache-2.0 */
/* infer_mask.c — sparse_mode 0..4 and atten_mask of the inference operators (spec
 * inference 1.3, 1.4; one query row: docs/masks.md). Mode 9: infer_tree.c.
 *
 * With one query row the device's decode branch ignores sparse_mode. By default modes 2 and 3 then
 * let the row see every key and mode 4 keeps its band; strict does what the device does, odd
 * corners included. */
#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/layout.h"
#include "core/mask.h"

#include <string.h>

enum { MODE_ALL = 1, TOKENS_DEFAULT = INT32_MAX };

/* Keys of the longest sequence, shared ones included. */
static int64_t longest(const infer_call *call)
{
    int64_t most = 0;
    for (int64_t b = 0; b < call->n_batch; b++) most = i64_max(most, call->kv.length[b]);
    return i64_add_sat(most, call->shared_len);
}

/* Rows and columns a full-size mask must have. */
static int64_t rows_needed(const infer_call *call) { return call->one_row ? 1 : call->in.q.s; }

/* The mask of the call. One without elements is absent (spec 0.6), unless keys are what is missing:
 * then it is the full-size mask of nothing. Packed sequences have no full-size mask. */
static const fattn_tensor *mask_of(const infer_call *call)
{
    const fattn_tensor *m = call->args->atten_mask;
    const int64_t keys = call->in.paged ? call->kv_room : infer_kv_cols(call);
    return m && tensor_elements(m) == 0 && (call->in.packed || keys > 0) ? NULL : m;
}

/* ---- the mask tensor ----------------------------------------------------------------------------
 */

static bool is_compressed(const fattn_tensor *m)
{
    const int last = m->rank - 1;
    if (m->rank < 2 || m->rank > 4) return false;
    for (int i = 0; i < last - 1; i++)
        if (m->shape[i] != 1) return false;
    return m->shape[last - 1] == MASK_COMPRESSED && m->shape[last] == MASK_COMPRESSED;
}

static void use_mask(infer_call *call, fattn_problem *problem, bool by_batch, int row_axis)
{
    const fattn_tensor *m = call->mask;
    problem->mask = (fattn_mask){.present = true, .col_stride = m->strides[m->rank - 1]};
    call->mask_batch_stride = by_batch ? m->strides[0] : 0;
    call->mask_row_stride = row_axis >= 0 ? m->strides[row_axis] : 0;
    call->dense_mask = true;
}

/* Prefill: [>=Sq, >=Skv], [1|B, ..], [1|B, 1, ..]. */
static fattn_status read_prefill_mask(infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    const int64_t rows = rows_needed(call), cols = infer_kv_cols(call), batch = call->n_batch;
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
    const int64_t cols = infer_kv_reach(call), batch = call->n_batch;
    const int last = m->rank - 1;
    char shape[TEXT_SIZE];
    bool fits = m->rank >= 2 && m->rank <= 4 && m->shape[last] >= cols;
    if (fits) fits = m->shape[0] == batch || m->shape[0] == 1 || (batch == 1 && m->rank == 2);
    if (fits && m->rank == 4) fits = m->shape[1] == 1;
    if (fits && m->rank > 2) fits = m->shape[last - 1] >= 1;
    REQUIRE(fits, FATTN_E_SHAPE,
            "atten_mask: %s; with one query row per batch it must be [1|%lld,>=%lld], "
            "[1|%lld,1,>=%lld] or "
            "[1|%lld,1,1,>=%lld] (batch, keys)",
            tensor_print(m, shape, sizeof shape), LL(batch), LL(cols), LL(batch), LL(cols),
            LL(batch), LL(cols));
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

/* The device refuses more; what remains is well defined and computed. Of empty bands it only minds
 * those with a negative next_tokens, unless the tokens are packed (spec 11.4). */
static fattn_status check_tokens(const infer_call *call)
{
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    const bool minded = !call->context->strict || call->in.packed || next < 0;
    REQUIRE(
        pre >= 0 || next >= 0, FATTN_E_ARG,
        "pre_tokens, next_tokens: %lld and %lld are both negative: the band is empty; at most one "
        "may be",
        LL(pre), LL(next));
    REQUIRE(!minded || i64_add_sat(pre, next) >= 0, FATTN_E_ARG,
            "pre_tokens, next_tokens: %lld + %lld is negative: the band is empty; give %s >= %lld",
            LL(pre), LL(next), pre < 0 ? "next_tokens" : "pre_tokens",
            LL(pre < 0 ? -i64_max(pre, -INT64_MAX) : -i64_max(next, -INT64_MAX)));
    return FATTN_OK;
}

/* Mode 0 counts its tokens from the upper left corner; with left padding the device ignores them.
 */
static bool ignores_tokens(const infer_call *call)
{
    return call->mode == 0 && (call->q_padded || call->kv_padded);
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
        LL(a->pre_tokens), LL(a->next_tokens), LL(a->sparse_mode), message_say(why));
}

/* ---- more than one query row, and prompt_flash_attention ----------------------------------------
 */

static fattn_status settle_without_mask(infer_call *call)
{
    const int64_t mode = call->args->sparse_mode;
    call->mode = mode < 2 ? MODE_ALL : mode;
    if (mode > 0 && call->context->strict) return FATTN_OK; /* will be refused */
    if (mode == 0) warn_ignored_tokens(call, "without atten_mask");
    if (mode >= 1)
        context_warn(call->context, WARN_INFER_MODE_WITHOUT_MASK,
                     "sparse_mode: %lld without atten_mask %s; the device refuses it", LL(mode),
                     message_say(mode == 1 ? "is full attention"
                                 : call->one_row && mode != INFER_MODE_BAND
                                     ? "lets one query row see every key"
                                     : "applies the mode's own mask"));
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

/* BNSD_BSND of unified inference has more rows than one (spec 2.1). */
static bool refuses_one_row(const infer_call *call)
{
    return call->args->route == ROUTE_BY_SHAPE && strcmp(call->in.letters, "BNSD") == 0 &&
           strcmp(call->in.out_letters, "BSND") == 0;
}

static void warn_one_row_causal(const infer_call *call)
{
    if (refuses_one_row(call))
        context_warn(call->context, WARN_DECODE_SPARSE_MODE,
                     "sparse_mode: 2 with one query row lets it see every key; the device refuses "
                     "one row in "
                     "input_layout BNSD_BSND");
    else
        context_warn(
            call->context, WARN_DECODE_SPARSE_MODE,
            "sparse_mode: 2 with one query row lets it see every key; the device lets it see the "
            "first one only");
}

static fattn_status settle_prefill(infer_call *call, fattn_problem *problem)
{
    if (call->mask)
        TRY(settle_with_mask(call, problem));
    else
        TRY(settle_without_mask(call));
    if (ignores_tokens(call)) warn_ignored_tokens(call, "with left padding");
    if ((call->mode == 0 && !ignores_tokens(call)) || call->mode == 4) TRY(check_tokens(call));
    if (!call->one_row || call->in.query_rope || call->context->strict || call->mode != 2)
        return FATTN_OK;
    if (call->mask) warn_one_row_causal(call);
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
    const bool bsh =
        strcmp(call->in.letters, "BSH") == 0 && strcmp(call->in.out_letters, "BSH") == 0;
    return call->args->route == ROUTE_BY_SHAPE && bsh && call->in.paged && a->key->rank == 3 &&
           a->pre_tokens > 0 && !call->in.key_shared && (dtype == FATTN_F16 || dtype == FATTN_BF16);
}

/* Strict. Mode 1 without a mask, an error in the prefill branch, is legal here: the reading taken
 * is that the rule of one query row goes first, since the device's decode branch ignores sparse
 * parameters (spec 1.4.3), its demand for a mask included. */
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
    return hidden_window(call) && call->args->pre_tokens < longest(call);
}

static void warn_decode(const infer_call *call)
{
    const infer_args *a = call->args;
    const int64_t most = longest(call);
    const bool band_hides =
        a->sparse_mode == INFER_MODE_BAND && (a->pre_tokens < most - 1 || a->next_tokens < 0);
    if (a->sparse_mode >= 2 && (call->mask || band_hides))
        context_warn(call->context, WARN_DECODE_SPARSE_MODE,
                     "sparse_mode: %lld with one query row %s; the device %s", LL(a->sparse_mode),
                     message_say(a->sparse_mode == INFER_MODE_BAND ? "keeps its band"
                                                                   : "lets it see every key"),
                     message_say(call->mask ? "applies row 0 of atten_mask or refuses it"
                                            : "ignores sparse_mode"));
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
    call->mode = MUTANT(83, a->sparse_mode == INFER_MODE_BAND, false) ? INFER_MODE_BAND : MODE_ALL;
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
    const bool tree = call->args->tree_mask && mode == INFER_MODE_TREE;
    REQUIRE(mode < 5 || mode > 8, FATTN_E_ARG,
            "sparse_mode: %lld is not in 0..4; 5..8 belong to fusion_attention", LL(mode));
    REQUIRE(
        tree || mode != INFER_MODE_TREE, FATTN_E_ARG,
        "sparse_mode: 9 (tree mask) belongs to fused_infer_attention_score_v2; here it is 0..4");
    REQUIRE(tree || (mode >= 0 && mode <= 4), FATTN_E_ARG, "sparse_mode: %lld is not in 0..4",
            LL(mode));
    call->window = INT64_MAX;
    call->mask = mask_of(call);
    if (call->mask) TRY(check_mask_dtype(call->mask));
    if (tree) return infer_tree(call, problem);
    return call->decode ? settle_decode(call, problem) : settle_prefill(call, problem);
}

/* Where the sequence's first row and key stand in the mask: left padding counts positions of the
 * tensor. */
static void place_mask(infer_call *call, int64_t b, fattn_seq *seq)
{
    const int64_t col_stride = call->mask->strides[call->mask->rank - 1];
    if (call->tree) {
        infer_tree_seq(call, b, seq);
        return;
    }
    const int64_t row = call->q_padded ? infer_q_start(call, b) : 0;
    const int64_t col = call->kv_padded ? infer_kv_start(call, b) : 0;
    seq->mask_row_stride = call->mask_row_stride;
    seq->mask_base = b * call->mask_batch_stride + row * call->mask_row_stride + col * col_stride;
}

/* Row 0 of the compressed mask leaves column 0. Where a window or left padding stands in front of
 * it, every key that is left is masked: the sequence keeps those keys, and no window (fill_empty()
 * says what that yields). */
static void first_key_only(const infer_call *call, int64_t b, int64_t hidden, fattn_seq *seq)
{
    const bool kept = hidden == 0 && infer_kv_start(call, b) == 0;
    seq->kv_row0 += hidden;
    seq->kv_len -= hidden;
    seq->band_lo = seq->band_hi = -i64_add_sat(seq->q_len, seq->kv_len);
    seq->prefix = kept ? i64_min(1, seq->kv_len) : 0;
}

void infer_mask_seq(infer_call *call, int64_t b, fattn_seq *seq)
{
    const infer_args *a = call->args;
    mask_translate(seq, ignores_tokens(call) ? MODE_ALL : call->mode, call->dense_mask,
                   a->pre_tokens, a->next_tokens, 0, false);
    if (call->dense_mask) place_mask(call, b, seq);
    const int64_t hidden = i64_max(seq->kv_len - call->window, 0); /* keys in front of the window */
    if (hidden > 0) seq->band_lo = hidden + MUTANT(82, 0, 1);
    if (call->first_key_only) first_key_only(call, b, hidden, seq);
}
