/* SPDX-License-Identifier: Apache-2.0 */
/* backward_panel.c — loads rows in every form in which they are read, then works tile by tile. */
#include "cpu/backward_panel.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "cpu/drop.h"
#include "cpu/scores.h"
#include "cpu/seen.h"

static uint64_t low_bits(int64_t n) { return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1; }

/* ---- rows ---------------------------------------------------------------------------------------
 */

typedef struct row_stats {
    float max, sum;
} row_stats;

static row_stats stats_of(const fattn_item *it, int64_t r)
{
    const int64_t at = it->seq->stats_base + item_head(it, r) * it->seq->stats_head_stride +
                       item_query(it, r) * it->seq->stats_row_stride;
    return (row_stats){((const float *)it->ptrs->max)[at], ((const float *)it->ptrs->sum)[at]};
}

static bool is_dead(row_stats stats)
{
    const bool invalid = stats.max == -FLT_MAX && stats.sum == FLT_MAX;
    return MUTANT(179, invalid, false) || stats.sum == 0.0f;
}

static bool sees_a_key(const fattn_item *it, int64_t r)
{
    const fattn_interval window = mask_interval(it->seq, item_query(it, r));
    for (int64_t j = window.lo; j < window.hi; j += TILE_KEYS) {
        const int n = (int)i64_min(window.hi - j, TILE_KEYS);
        uint64_t hidden;
        if (scores_hidden(it, r, 1, j, n, &hidden) != TILE_EMPTY) return true;
    }
    return false;
}

/* Strict: a row without a key was the mean of the values in its window (spec 2.3 a). */
static bool is_mean(const fattn_item *it, int64_t r, row_stats stats)
{
    const fattn_problem *p = it->p;
    if (!p->empty_no_window.mean && !p->empty_masked.mean) return false;
    return !p->sink && stats.max == -FLT_MAX && !sees_a_key(it, r);
}

/* Like the scores, it stays finite where the natural units are (scores.c). */
static float log2_units(float max)
{
    const double x = (double)max * LOG2_E;
    return isfinite(max) && fabs(x) > (double)FLT_MAX ? copysignf(FLT_MAX, max) : (float)x;
}

static void load_stats(const fattn_item *it, fattn_grad_panel *panel, int first)
{
    const fattn_grad_scratch *s = &it->scratch->grad;
    float *m = s->m + first, *inv = s->inv + first;
    memset(m, 0, TILE_ROWS * sizeof *m);
    memset(inv, 0, TILE_ROWS * sizeof *inv);
    for (int row = 0; row < panel->n; row++) {
        const row_stats stats = stats_of(it, panel->r + row);
        const uint64_t bit = UINT64_C(1) << row;
        if (is_dead(stats)) {
            panel->dead |= bit;
            continue;
        }
        if (is_mean(it, panel->r + row, stats)) panel->mean |= bit;
        m[row] = panel->mean & bit ? 0.0f : log2_units(stats.max);
        inv[row] = 1.0f / stats.sum;
    }
}

/* delta = dy . attention_in by row; the output's panel goes where dy's rows will lie. */
static void load_delta(const fattn_item *it, const fattn_grad_panel *panel, int first,
                       float *out_panel)
{
    const void *const out[] = {it->ptrs->out};
    const fattn_rows rows = {.view = &it->p->out, .at = out};
    float *delta = it->scratch->grad.delta + first;
    memset(delta, 0, TILE_ROWS * sizeof *delta);
    gather_panel(it, &rows, panel->r, panel->n, 1.0f, out_panel);
    it->kernels->lane_dot(delta, panel->dyt, out_panel, (int)it->p->d_v, panel->vectors);
}

static void load_rows(const fattn_item *it, fattn_grad_panel *panel, int first)
{
    const fattn_scratch *s = it->scratch;
    const void *const dy[] = {it->ptrs->dout};
    const fattn_rows queries = gather_queries(it), dys = {.view = &it->p->dout, .at = dy};
    float *qt = s->q + first * it->p->d_qk, *dyt = s->grad.dyt + first * it->p->d_v;
    float *q_rows = s->grad.q_rows + first * s->ldk, *dy_rows = s->grad.dy_rows + first * s->ldo;

    gather_panel(it, &queries, panel->r, panel->n, item_factor(it), qt);
    gather_panel(it, &dys, panel->r, panel->n, 1.0f, dyt);
    panel->qt = qt;
    panel->dyt = dyt;
    load_delta(it, panel, first, dy_rows);
    gather_rows(it, &queries, panel->r, panel->n, q_rows, s->ldk);
    gather_rows(it, &dys, panel->r, panel->n, dy_rows, s->ldo);
    panel->q_rows = q_rows;
    panel->dy_rows = dy_rows;
    panel->finite = it->kernels->finite(q_rows, s->ldk, panel->n, (int)s->ldk) != 0 &&
                    it->kernels->finite(dy_rows, s->ldo, panel->n, (int)s->ldo) != 0;
}

fattn_grad_panel panel_load(const fattn_item *it, int64_t r0, int first, int rows)
{
    const int n = (int)i64_min(rows - first, TILE_ROWS);
    const fattn_grad_scratch *s = &it->scratch->grad;
    fattn_grad_panel panel = {.r = r0 + first,
                              .n = n,
                              .vectors = (n + it->kernels->lanes - 1) / it->kernels->lanes,
                              .dq = s->dq + first * it->scratch->ldk,
                              .rows = {.m = s->m + first,
                                       .inv = s->inv + first,
                                       .delta = s->delta + first,
                                       .factor = (float)it->p->dropout.factor}};
    load_stats(it, &panel, first);
    if (panel.dead == low_bits(n)) return panel;
    load_rows(it, &panel, first);
    panel.k0 = mask_interval(it->seq, item_query(it, panel.r)).lo;
    panel.k1 = mask_interval(it->seq, item_query(it, panel.r + n - MUTANT(180, 1, n))).hi;
    if (panel.mean) {
        panel.k0 = 0;
        panel.k1 = it->seq->kv_len;
    }
    return panel;
}

/* ---- tiles --------------------------------------------------------------------------------------
 */

/* Keys of [j, j + n) outside those that the row was the mean of. */
static uint64_t outside_mean(const fattn_item *it, int64_t r, int64_t j, int n)
{
    fattn_interval keys = mask_interval(it->seq, item_query(it, r));
    if (keys.lo == keys.hi) keys = (fattn_interval){0, it->seq->kv_len};
    const uint64_t before = low_bits(i64_clamp(keys.lo - j, 0, n));
    const uint64_t up_to = low_bits(i64_clamp(keys.hi - j, 0, n));
    return low_bits(n) & (before | ~up_to);
}

/* What the rows must not see: by the mask, and by being no ordinary row. */
static fattn_tile_class hide(const fattn_item *it, const fattn_grad_panel *panel, int64_t j, int n)
{
    uint64_t *hidden = it->scratch->hidden, all = low_bits(n);
    fattn_tile_class class = scores_hidden(it, panel->r, panel->n, j, n, hidden);
    if (panel->dead | panel->mean) {
        for (int row = 0; row < panel->n; row++) {
            if (class != TILE_PARTIAL) hidden[row] = class == TILE_EMPTY ? low_bits(n) : 0;
            if (panel->dead >> row & 1) hidden[row] = low_bits(n);
            if (panel->mean >> row & 1) hidden[row] = outside_mean(it, panel->r + row, j, n);
            all &= hidden[row];
        }
        class = all == low_bits(n) ? TILE_EMPTY : TILE_PARTIAL;
    }
    if (class == TILE_PARTIAL) scores_hidden_lanes(hidden, panel->n, it->scratch->hidden_lanes);
    return class;
}

/* x of a mean's row is a constant; it stands for the maximum, too. */
static void clear_mean(const fattn_grad_panel *panel, int n, float *scores)
{
    for (int row = 0; row < panel->n; row++)
        if (panel->mean >> row & 1)
            for (int key = 0; key < n; key++) scores[key * TILE_ROWS + row] = 0.0f;
}

fattn_tile_class panel_grads(const fattn_item *it, const fattn_grad_panel *panel, fattn_tile k,
                             fattn_tile v, int64_t j, int n)
{
    const fattn_kernels *kernels = it->kernels;
    fattn_scratch *s = it->scratch;
    const fattn_tile_class class = hide(it, panel, j, n);
    if (class == TILE_EMPTY) return class;

    const uint64_t *hidden = class == TILE_PARTIAL ? s->hidden_lanes : NULL;
    const fattn_queries q = {.at = panel->qt, .d = it->p->d_qk};
    seen_scores(it, s->scores, q, k, n, panel->n, hidden);
    if (it->p->bias.kind != BIAS_NONE) {
        scores_bias_lanes(it, panel->r, panel->n, j, n);
        kernels->edit(s->scores, n, panel->vectors, s->bias, NULL, s->tmax);
    }
    if (panel->mean) clear_mean(panel, n, s->scores);
    const fattn_queries dy = {.at = panel->dyt, .d = it->p->d_v};
    seen_scores(it, s->grad.dp, dy, v, n, panel->n, hidden);
    if (drop_wanted(it)) drop_lanes_kept(it, panel->r, panel->n, j, n, s->kept, s->kept_lanes);
    kernels->grad(s->scores, s->grad.dp, n, panel->vectors, &panel->rows, hidden,
                  drop_wanted(it) ? s->kept_lanes : NULL);
    return class;
}

static double sink_of(const fattn_item *it, int64_t head)
{
    const int64_t at = head * it->p->sink_stride;
    if (it->p->sink_dtype == FATTN_BF16)
        return (double)half_from_bf16(((const uint16_t *)it->ptrs->sink)[at]);
    return (double)((const float *)it->ptrs->sink)[at];
}

void panel_sink(const fattn_item *it, const fattn_grad_panel *panel, double *sums)
{
    for (int row = 0; row < panel->n; row++) {
        if (panel->dead >> row & 1) continue;
        const int64_t r = panel->r + row;
        const row_stats stats = stats_of(it, r);
        const double weight = exp(sink_of(it, item_head(it, r)) - (double)stats.max);
        sums[r % it->p->group] -=
            weight / (double)stats.sum * (double)MUTANT(181, panel->rows.delta[row], 1.0f);
    }
}
