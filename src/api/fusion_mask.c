/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_mask.c — sparse_mode 0..8 of the training operator (spec fusion-attention 4).
 *
 * Decides which predicate holds (with a mask: the mode's; without: implied by the mode, or none in
 * strict), checks tokens and prefix where that predicate uses them, and reads the mask tensor in
 * all its shapes. Compressed masks (2048 x 2048, 3072 x 2048) are checked for size; their content
 * is the predicate. */
#include "api/fusion.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/mask.h"

enum { MODE_ALL = 1 };
enum { TOKENS_DEFAULT = INT32_MAX };

int64_t fusion_max_q_len(const fusion_call *call)
{
    int64_t longest = 0;
    if (!call->in.packed) return call->in.q.s;
    for (int64_t b = 0; b < call->n_batch; b++) longest = i64_max(longest, call->q.length[b]);
    return longest;
}

int64_t fusion_max_kv_len(const fusion_call *call)
{
    int64_t longest = 0;
    if (!call->in.packed) return call->in.k.s;
    for (int64_t b = 0; b < call->n_batch; b++) longest = i64_max(longest, call->kv.length[b]);
    return longest;
}

/* ---- the predicate ------------------------------------------------------------------------------
 */

static fattn_status check_mode(const fusion_call *call)
{
    const int64_t mode = call->args->sparse_mode;
    REQUIRE(mode >= 0 && mode <= 8, FATTN_E_ARG, "sparse_mode: %lld is not in 0..8", LL(mode));
    REQUIRE(call->in.packed || mode <= 6, FATTN_E_ARG,
            "sparse_mode: %lld is for input_layout TND only; %s takes 0..6: %d is the same mask "
            "without the band",
            LL(mode), call->in.letters, mode == 7 ? 3 : 2);
    REQUIRE(!call->in.packed || mode != 5, FATTN_E_ARG,
            "sparse_mode: 5 is not defined for input_layout TND; use 6");
    return FATTN_OK;
}

/* No atten_mask: the device computes full attention; by default the mode means what it says. */
static void settle_without_mask(fusion_call *call)
{
    const fattn_fusion_attention_args *a = call->args;
    call->mode = MODE_ALL;
    if (call->context->strict) return;
    if (a->sparse_mode == 0 && (a->pre_tokens < TOKENS_DEFAULT || a->next_tokens < TOKENS_DEFAULT))
        context_warn(call->context, WARN_TOKENS_WITHOUT_MASK,
                     "pre_tokens, next_tokens: %lld, %lld are ignored in sparse_mode 0 without "
                     "atten_mask, as on the device; sparse_mode 4 is a band",
                     LL(a->pre_tokens), LL(a->next_tokens));
    if (a->sparse_mode == 1)
        context_warn(call->context, WARN_FULL_MODE_WITHOUT_MASK,
                     "sparse_mode: 1 without atten_mask is full attention, as on the device");
    if (a->sparse_mode < 2) return;
    call->mode = a->sparse_mode;
    context_warn(
        call->context, WARN_SPARSE_MODE_WITHOUT_MASK,
        "sparse_mode: %lld without atten_mask applies the mode's own mask; the device computes "
        "full attention",
        LL(a->sparse_mode));
}

/* Mode 5 takes everything from its mask; to the device a list of the wrong length is then absent.
 */
static bool prefix_wasted(const fusion_call *call)
{
    return call->context->strict && call->mode == 5 && call->dense_mask &&
           list_given(call->args->prefix) && call->args->prefix.count != call->n_batch;
}

static bool uses_prefix(const fusion_call *call)
{
    return (call->mode == 6 || call->mode == 5) && !prefix_wasted(call);
}

/* Modes 0 (with its mask), 4, 7, 8 are bands. What the device refuses beyond this is well defined
 * and computed. */
static fattn_status check_tokens(const fusion_call *call)
{
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    if (call->mode != 0 && call->mode != 4 && call->mode != 7 && call->mode != 8) return FATTN_OK;
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

static fattn_status check_prefix_value(const fusion_call *call, int64_t b, int64_t value)
{
    const int64_t q_len = fusion_q_len(call, b), kv_len = fusion_kv_len(call, b);
    REQUIRE(value >= 0 && value <= kv_len, FATTN_E_ARG,
            "prefix: entry %lld is %lld; with %lld queries and %lld keys it must be in 0..%lld",
            LL(b), LL(value), LL(q_len), LL(kv_len), LL(kv_len));
    return FATTN_OK;
}

static fattn_status check_prefix(const fusion_call *call)
{
    const fattn_int_array prefix = call->args->prefix;
    const bool given = list_given(prefix);
    if (prefix_wasted(call)) {
        context_warn(
            call->context, WARN_PREFIX_IGNORED,
            "prefix: ignored; it has %lld entries for a batch of %lld, and atten_mask says it all",
            LL(prefix.count), LL(call->n_batch));
        return FATTN_OK;
    }
    if (!uses_prefix(call)) {
        if (given)
            context_warn(call->context, WARN_PREFIX_IGNORED,
                         "prefix: ignored; it belongs to sparse_mode 5 and 6, not %lld%s",
                         LL(call->args->sparse_mode),
                         message_say(call->mask ? "" : " without atten_mask"));
        return FATTN_OK;
    }
    if (!given && call->dense_mask) return FATTN_OK; /* mode 5: the mask says it all */
    REQUIRE(given || call->n_batch == 0, FATTN_E_ARG,
            "prefix: missing; sparse_mode %lld%s needs %lld entries, the keys every row of a batch "
            "sees",
            LL(call->args->sparse_mode), message_say(call->mask ? "" : " without atten_mask"),
            LL(call->n_batch));
    REQUIRE(prefix.count == call->n_batch, FATTN_E_ARG,
            "prefix: %lld entries; one per batch, %lld, are needed", LL(prefix.count),
            LL(call->n_batch));
    for (int64_t b = 0; b < call->n_batch; b++) TRY(check_prefix_value(call, b, prefix.data[b]));
    return FATTN_OK;
}

/* The first (mode 8) or last (mode 7) sequence with queries. */
static int64_t find_special(const fusion_call *call)
{
    int64_t found = -1;
    if (call->mode != 7 && call->mode != 8) return -1;
    for (int64_t b = 0; b < call->n_batch; b++) {
        if (call->q.length[b] == 0) continue;
        found = b;
        if (MUTANT(77, call->mode == 8, false)) break;
    }
    return found;
}

/* ---- the mask tensor ----------------------------------------------------------------------------
 */

static void use_mask(fusion_call *call, fattn_problem *problem, bool by_batch, bool by_head,
                     bool by_row)
{
    const fattn_tensor *m = call->mask;
    const int rows = m->rank - 2;
    problem->mask = (fattn_mask){.present = true,
                                 .head_stride = by_head ? m->strides[1] : 0,
                                 .col_stride = m->strides[rows + 1]};
    call->mask_batch_stride = by_batch ? m->strides[0] : 0;
    call->mask_row_stride = by_row ? m->strides[rows] : 0;
    call->dense_mask = true;
}

static bool is_matrix(const fattn_tensor *m, int64_t rows, int64_t cols)
{
    return m->rank == 2 && m->shape[0] == rows && m->shape[1] == cols;
}

/* Modes 2, 3, 4, 6, 7, 8: only the size counts. */
static fattn_status check_compressed(const fusion_call *call)
{
    const fattn_tensor *m = call->mask;
    const int64_t rows = call->mode == 6 ? MASK_PREFIX_ROWS : MASK_COMPRESSED;
    const int last = m->rank - 1;
    char shape[TEXT_SIZE];
    const bool rank_fits =
        m->rank == 2 || (m->rank == 4 && (m->shape[0] == 1 || m->shape[0] == call->n_batch) &&
                         (m->shape[1] == 1 || m->shape[1] == call->in.n_heads));
    REQUIRE(rank_fits && m->shape[last - 1] == rows && m->shape[last] == MASK_COMPRESSED,
            FATTN_E_SHAPE,
            "atten_mask: %s; sparse_mode %lld takes the compressed mask [%lld,%d] whatever the "
            "lengths (or "
            "none); a mask per query and key belongs to sparse_mode 1",
            tensor_print(m, shape, sizeof shape), LL(call->mode), LL(rows), (int)MASK_COMPRESSED);
    return FATTN_OK;
}

static bool one_or(int64_t extent, int64_t full) { return extent == 1 || extent == full; }

/* Rank 4: [1|B, 1|N, rows, cols]; beyond the device's forms also [1,N,..] and one row for all
 * queries. */
static bool rank4_fits(const fusion_call *call, int64_t rows, int64_t cols)
{
    const fattn_tensor *m = call->mask;
    const int64_t batch = call->n_batch, heads = call->in.n_heads;
    if (m->rank != 4 || m->shape[3] != cols) return false;
    if (!one_or(m->shape[0], batch) || !one_or(m->shape[1], heads)) return false;
    if (call->mode == 5 && m->shape[0] != batch) return false;
    return one_or(m->shape[2], rows);
}

static void use_rank4(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    use_mask(call, problem, m->shape[0] > 1, m->shape[1] > 1, m->shape[2] > 1);
}

static fattn_status read_dense(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    const int64_t rows = call->in.q.s, cols = call->in.k.s;
    char shape[TEXT_SIZE];
    tensor_print(m, shape, sizeof shape);
    if (rank4_fits(call, rows, cols)) {
        use_rank4(call, problem);
        return FATTN_OK;
    }
    REQUIRE(call->mode != 5 || call->n_batch <= 1, FATTN_E_SHAPE,
            "atten_mask: %s; sparse_mode 5 takes one mask per batch, [%lld,1|%lld,%lld,%lld]",
            shape, LL(call->n_batch), LL(call->in.n_heads), LL(rows), LL(cols));
    REQUIRE(is_matrix(m, rows, cols), FATTN_E_SHAPE,
            "atten_mask: %s; with %lld queries and %lld keys sparse_mode %lld takes [%lld,%lld] or "
            "[1|%lld,1|%lld,%lld,%lld] (batch, heads, queries, keys)",
            shape, LL(rows), LL(cols), LL(call->mode), LL(rows), LL(cols), LL(call->n_batch),
            LL(call->in.n_heads), LL(rows), LL(cols));
    use_mask(call, problem, false, false, true);
    return FATTN_OK;
}

/* Packed: a mask as large as the longest sequence, or one over all tokens. */
static fattn_status read_packed(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    const int64_t rows = fusion_max_q_len(call), cols = fusion_max_kv_len(call);
    char shape[TEXT_SIZE];
    if (rank4_fits(call, rows, cols)) {
        use_rank4(call, problem);
        return FATTN_OK;
    }
    call->mask_blocks =
        !is_matrix(m, rows, cols) && (is_matrix(m, call->q.covered, call->kv.covered) ||
                                      is_matrix(m, call->in.q.s, call->in.k.s));
    REQUIRE(call->mask_blocks || is_matrix(m, rows, cols), FATTN_E_SHAPE,
            "atten_mask: %s; the longest sequence has %lld queries and %lld keys, all together "
            "%lld and "
            "%lld: sparse_mode %lld takes [%lld,%lld], [%lld,%lld] or [1|%lld,1|%lld,%lld,%lld]",
            tensor_print(m, shape, sizeof shape), LL(rows), LL(cols), LL(call->q.covered),
            LL(call->kv.covered), LL(call->mode), LL(rows), LL(cols), LL(call->q.covered),
            LL(call->kv.covered), LL(call->n_batch), LL(call->in.n_heads), LL(rows), LL(cols));
    use_mask(call, problem, false, false, true);
    return FATTN_OK;
}

static fattn_status read_mask(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    call->mode = call->args->sparse_mode;
    REQUIRE(
        m->dtype == FATTN_BOOL || m->dtype == FATTN_U8, FATTN_E_DTYPE,
        "atten_mask: dtype %s; it must be bool or u8, nonzero = masked (an additive bias is pse)",
        fattn_dtype_name(m->dtype));
    REQUIRE(m->rank == 2 || m->rank == 4, FATTN_E_SHAPE,
            "atten_mask: rank %d; it must be 2 or 4, see the shapes of sparse_mode %lld",
            (int)m->rank, LL(call->mode));
    if (call->mode != 0 && call->mode != 1 && call->mode != 5) return check_compressed(call);
    return call->in.packed ? read_packed(call, problem) : read_dense(call, problem);
}

fattn_status fusion_mask(fusion_call *call, fattn_problem *problem)
{
    TRY(check_mode(call));
    if (call->mask)
        TRY(read_mask(call, problem));
    else
        settle_without_mask(call);
    TRY(check_tokens(call));
    TRY(check_prefix(call));
    call->special = find_special(call);
    return FATTN_OK;
}

void fusion_mask_seq(const fusion_call *call, int64_t b, fattn_seq *seq)
{
    const fattn_fusion_attention_args *a = call->args;
    const bool prefix = uses_prefix(call) && list_given(a->prefix);
    mask_translate(seq, call->mode, call->dense_mask, a->pre_tokens, a->next_tokens,
                   prefix ? a->prefix.data[b] : 0, b == call->special);
    if (!call->dense_mask) return;
    const int last = call->mask->rank - 1;
    seq->mask_row_stride = call->mask_row_stride;
    seq->mask_base = call->mask_blocks ? MUTANT(78, seq->q_row0, 0) * call->mask_row_stride +
                                             seq->kv_row0 * call->mask->strides[last]
                                       : b * call->mask_batch_stride;
}

/* ---- rows without a key, strict -----------------------------------------------------------------
 */

static bool zero_prefix_above(const fusion_call *call)
{
    const fattn_int_array prefix = call->args->prefix;
    for (int64_t b = 0; b < call->n_batch && b < prefix.count; b++)
        if (prefix.data[b] == 0 && fusion_q_len(call, b) > fusion_kv_len(call, b)) return true;
    return false;
}

bool fusion_invalid_rows(const fusion_call *call)
{
    const int64_t pre = call->args->pre_tokens, next = call->args->next_tokens;
    if (call->args->inner_precise == 2) return true;
    if (!call->mask) return false;
    if (call->mode == 6) return zero_prefix_above(call);
    if (call->in.packed) return false;
    const int64_t shift = call->in.k.s - call->in.q.s;
    switch (call->mode) {
    case 0:
        return pre < -shift || next < 0;
    case 3:
        return shift < 0;
    case 4:
        return pre < 0 || i64_add_sat(next, shift) < 0;
    case 5:
        return zero_prefix_above(call);
    default:
        return false;
    }
}
