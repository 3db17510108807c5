/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c — which keys a query row may see. Every sparse_mode becomes one interval per row
 * (docs/masks.md):
 *
 *   row i sees [ max(0, i + band_lo), min(kv_len, max(prefix, i + band_hi + 1)) )
 *
 * Both ends grow with i; everything below follows from that. */
#include "core/mask.h"

#include <assert.h>

#include "base/ints.h"
#include "base/mutant.h"

/* Where one end of the band lies, as j - i. `shift` = kv_len - q_len is the diagonal that ends in
 * the lower right corner. */
typedef enum edge {
    EDGE_OPEN,       /* no limit */
    EDGE_ZERO,       /* left-up diagonal */
    EDGE_TOKEN,      /* left-up diagonal, moved by pre or next */
    EDGE_SHIFT,      /* right-down diagonal */
    EDGE_SHIFT_TOKEN /* right-down diagonal, moved by pre or next */
} edge;

typedef struct mode_rule {
    edge lo, hi;
    bool prefix; /* keys before prefix are seen by every row */
} mode_rule;

enum { MODES = 9 };

/* Modes 0 and 5 are the two that depend on the presence of a dense mask. */
static const mode_rule open_rule = {EDGE_OPEN, EDGE_OPEN, false};
static const mode_rule rules[MODES] = {
    [0] = {EDGE_TOKEN, EDGE_TOKEN, false}, /* without mask: open_rule */
    [1] = {EDGE_OPEN, EDGE_OPEN, false},   [2] = {EDGE_OPEN, EDGE_ZERO, false},
    [3] = {EDGE_OPEN, EDGE_SHIFT, false},  [4] = {EDGE_SHIFT_TOKEN, EDGE_SHIFT_TOKEN, false},
    [5] = {EDGE_OPEN, EDGE_SHIFT, true}, /* with mask: open_rule, the mask says it all */
    [6] = {EDGE_OPEN, EDGE_SHIFT, true},   [7] = {EDGE_OPEN, EDGE_SHIFT, false}, /* special: as 4 */
    [8] = {EDGE_OPEN, EDGE_ZERO, false},                                         /* special: as 4 */
};

static const mode_rule *rule_of(int64_t mode, bool masked, bool special)
{
    assert(mode >= 0 && mode < MODES);
    if (mode == 0 && !masked) return &open_rule;
    if (mode == 5 && masked) return &open_rule;
    if (mode >= 7 && special) return &rules[4];
    return &rules[mode];
}

static int64_t edge_value(edge where, int64_t open, int64_t shift, int64_t token)
{
    const int64_t value[] = {
        [EDGE_OPEN] = open,
        [EDGE_ZERO] = 0,
        [EDGE_TOKEN] = token,
        [EDGE_SHIFT] = shift,
        [EDGE_SHIFT_TOKEN] = i64_add_sat(shift, token),
    };
    return value[where];
}

void mask_translate(fattn_seq *seq, int64_t mode, bool masked, int64_t pre, int64_t next,
                    int64_t prefix, bool special)
{
    const mode_rule *rule = rule_of(mode, masked, special);
    const int64_t limit = i64_add_sat(seq->q_len, seq->kv_len); /* beyond: the same as no limit */
    const int64_t shift = seq->kv_len - seq->q_len;
    const int64_t minus_pre = pre == INT64_MIN ? INT64_MAX : -MUTANT(18, pre, next);

    seq->band_lo = i64_clamp(edge_value(rule->lo, -limit, shift, minus_pre), -limit, limit);
    seq->band_hi = i64_clamp(edge_value(rule->hi, limit, shift, next), -limit, limit);
    seq->prefix = rule->prefix ? i64_clamp(prefix, 0, seq->kv_len) : 0;
}

/* The two ends before they are reconciled: monotone in i, which the normalised ones are not. */
static int64_t first_key(const fattn_seq *seq, int64_t i)
{
    return i64_max(0, i64_add_sat(i, seq->band_lo));
}

static int64_t end_key(const fattn_seq *seq, int64_t i)
{
    const int64_t band_end = i64_add_sat(i64_add_sat(i, seq->band_hi), MUTANT(17, 1, 0));
    return i64_min(seq->kv_len, i64_max(MUTANT(20, seq->prefix, 0), band_end));
}

fattn_interval mask_interval(const fattn_seq *seq, int64_t i)
{
    const int64_t hi = end_key(seq, i);
    return (fattn_interval){.lo = i64_min(first_key(seq, i), hi), .hi = hi};
}

fattn_interval mask_rows_of_key(const fattn_seq *seq, int64_t j)
{
    if (j < 0 || j >= seq->kv_len) return (fattn_interval){0, 0};
    /* lo(i) <= j  <=>  i <= j - band_lo;   j < hi(i)  <=>  j < prefix or i >= j - band_hi */
    const int64_t after = i64_add_sat(i64_add_sat(j, -seq->band_lo), 1);
    const int64_t hi = i64_clamp(after, 0, seq->q_len);
    const int64_t first = j < seq->prefix ? 0 : i64_add_sat(j, -seq->band_hi);
    return (fattn_interval){.lo = i64_clamp(first, 0, hi), .hi = hi};
}

fattn_tile_class mask_class(const fattn_seq *seq, int64_t i0, int64_t i1, int64_t j0, int64_t j1)
{
    const int64_t last = i1 - 1;
    if (end_key(seq, last) <= j0 || first_key(seq, i0) >= j1) return TILE_EMPTY;
    if (first_key(seq, MUTANT(19, last, i0)) <= j0 && end_key(seq, i0) >= j1) return TILE_FULL;
    return TILE_PARTIAL;
}

bool mask_hides(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq, int64_t head,
                int64_t i, int64_t j)
{
    const fattn_mask *mask = &p->mask;
    if (!mask->present || j < seq->mask_from) return false;
    return ptrs->mask[seq->mask_base + head * mask->head_stride + i * seq->mask_row_stride +
                      (j - seq->mask_from) * mask->col_stride] != 0;
}
