/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c — many query rows: online softmax over tiles of 64 keys (Dao 2023, alg. 1), scores
 * transposed.
 *
 * A K/V tile is gathered once per item and shared by its panels of 64 packed rows. A panel computes
 * only the keys between the first one its first row sees and the last one its last row sees. */
#include "cpu/forward.h"

#include "base/ints.h"
#include "base/mutant.h"
#include "cpu/drop.h"
#include "core/quant.h"
#include "cpu/gather.h"
#include "cpu/half_tile.h"
#include "cpu/scales.h"
#include "cpu/scores.h"
#include "cpu/seen.h"
#include "cpu/values.h"

/* Keys [j, j + n) of the item, gathered. */
typedef struct kv_tile {
    int64_t j;
    int n;
    fattn_tile k, v, v_clean;
    enum { UNKNOWN, FINITE, NOT_FINITE } v_is;
} kv_tile;

/* 64 packed rows of the item. */
typedef struct panel {
    int64_t r; /* first packed row */
    int n, vectors;
    float *q;
    uint16_t *q_half; /* fp16 arithmetic, else NULL */
    fattn_state state;
} panel;

static panel panel_at(const fattn_item *it, const fattn_state *state, int first)
{
    const int n = (int)i64_min(it->work->rows - first, TILE_ROWS);
    return (panel){.r = it->work->row0 + first,
                   .n = n,
                   .vectors = (n + it->kernels->lanes - 1) / it->kernels->lanes,
                   .q = it->scratch->q + first * it->p->d_qk,
                   .q_half = it->half ? it->scratch->half.q + first * it->p->d_qk : NULL,
                   .state = {.m = state->m + first,
                             .top = state->top + first,
                             .l = state->l + first,
                             .o = state->o + first * it->scratch->ldo}};
}

static kv_tile gather_kv(const fattn_item *it, int64_t j, int n)
{
    const fattn_source keys = gather_keys(it), values = gather_values(it);
    const fattn_scratch *s = it->scratch;
    kv_tile kv = {.j = j,
                  .n = n,
                  .k = gather_tile(&keys, it->kernels, j, n, false, s->k, s->ldk),
                  .v = gather_tile(&values, it->kernels, j, n, true, s->v, s->ldo)};
    if (it->half) {
        half_keys(it, n, &kv.k);
        half_values(it, j, n, s->half.v, &kv.v);
    }
    return kv;
}

static fattn_tile clean_values(const fattn_item *it, const kv_tile *kv)
{
    fattn_tile clean = values_clean(it, kv->v, kv->n);
    if (it->half) half_values(it, kv->j, kv->n, it->scratch->half.v_clean, &clean);
    return clean;
}

/* Bias, hidden keys, strict rounding: everything between QK^T and softmax. */
static void edit_scores(const fattn_item *it, const panel *rows, int64_t j, int n,
                        fattn_tile_class class)
{
    fattn_scratch *s = it->scratch;
    const bool biased = it->p->bias.kind != BIAS_NONE;
    if (class == TILE_FULL && !biased && !it->p->round_scores_f16) return;

    if (it->p->round_scores_f16) scores_round_f16(it, s->scores, n * TILE_ROWS);
    if (biased) scores_bias_lanes(it, rows->r, rows->n, j, n);
    it->kernels->edit(s->scores, n, rows->vectors, biased ? s->bias : NULL,
                      class == TILE_PARTIAL ? s->hidden_lanes : NULL, s->tmax);
}

/* Dropout: behind the sums of the softmax. */
static void drop_weights(const fattn_item *it, const panel *rows, int64_t j, int n)
{
    fattn_scratch *s = it->scratch;
    drop_lanes_kept(it, rows->r, rows->n, j, n, s->kept, s->kept_lanes);
    it->kernels->drop(s->scores, n, rows->vectors, s->kept_lanes, (float)it->p->dropout.factor);
}

/* o = o * alpha + P V, with the promise of values.h. `from` is the first key of the panel in the
 * tile. */
static void add_values(const fattn_item *it, const panel *rows, kv_tile *kv, int64_t from, int n,
                       fattn_tile_class class, const float *alpha)
{
    const int64_t ldo = it->scratch->ldo;
    const float *p = it->scratch->scores;
    const bool zeros = class == TILE_PARTIAL || drop_wanted(it); /* hidden or dropped cells */
    if (zeros && kv->v_is == UNKNOWN) {
        kv->v_is = values_finite(it, kv->v, kv->n) ? FINITE : NOT_FINITE;
        if (kv->v_is == NOT_FINITE) kv->v_clean = clean_values(it, kv);
    }
    const bool careful = zeros && kv->v_is == NOT_FINITE;
    const fattn_tile v = tile_from(careful ? kv->v_clean : kv->v, from);
    if (it->half) half_weights(it, n, rows->vectors);
    seen_add_to_rows(it, rows->state.o, ldo, p, v, rows->n, n, alpha,
                     class == TILE_PARTIAL ? it->scratch->hidden : NULL);
    if (careful && drop_wanted(it))
        drop_hide(it, rows->n, class == TILE_PARTIAL, it->scratch->hidden);
    if (careful)
        values_add_non_finite(
            it, tile_from(kv->v, from), n,
            &(fattn_weights){
                .at = p, .row_stride = 1, .key_stride = TILE_ROWS, .hidden = it->scratch->hidden},
            rows->n, rows->state.o);
}

/* One panel against one tile. */
static void panel_step(const fattn_item *it, const panel *rows, kv_tile *kv)
{
    const fattn_kernels *kernels = it->kernels;
    fattn_scratch *s = it->scratch;
    const int64_t first = mask_interval(it->seq, item_query(it, rows->r)).lo;
    const int64_t end =
        mask_interval(it->seq, item_query(it, rows->r + rows->n - MUTANT(36, 1, rows->n))).hi;
    const int64_t j = i64_max(kv->j, first);
    const int n = (int)(i64_min(kv->j + kv->n, end) - j);
    if (n <= 0) return;
    const fattn_tile_class class = scores_hidden(it, rows->r, rows->n, j, n, s->hidden);
    if (class == TILE_EMPTY) return;

    if (class == TILE_PARTIAL) scores_hidden_lanes(s->hidden, rows->n, s->hidden_lanes);
    const fattn_queries queries = {.at = rows->q,
                                   .half = rows->q_half,
                                   .factor = it->half ? gather_factor(it, rows->r) : 1.0f,
                                   .d = it->p->d_qk};
    seen_scores(it, s->scores, queries, tile_from(kv->k, j - kv->j), n, rows->n,
                class == TILE_PARTIAL ? s->hidden_lanes : NULL);
    edit_scores(it, rows, j, n, class);
    const int moved = kernels->softmax(s->scores, n, rows->vectors, s->tmax, rows->state.m,
                                       rows->state.top, rows->state.l, s->alpha);
    if (drop_wanted(it)) drop_weights(it, rows, j, n);
    add_values(it, rows, kv, j - kv->j, n, class, MUTANT(35, moved, 0) ? s->alpha : NULL);
}

/* One factor for all rows goes into the packing; a factor per row needs another pass. Halves keep the
 * queries as they are: with the factor they might be too small. */
static void load_panel(const fattn_item *it, const panel *rows)
{
    const fattn_rows queries = gather_queries(it);
    if (it->half) {
        gather_panel(it, &queries, rows->r, rows->n, 1.0f, rows->q);
        half_queries(it, rows->q, rows->n, rows->q_half);
        return;
    }
    const bool alike = !grid_present(&it->p->q_scale);
    gather_panel(it, &queries, rows->r, rows->n, alike ? gather_factor(it, rows->r) : 1.0f, rows->q);
    for (int lane = 0; !alike && lane < rows->n; lane++) {
        const float factor = gather_factor(it, rows->r + lane);
        for (int64_t c = 0; c < it->p->d_qk; c++) rows->q[c * TILE_ROWS + lane] *= factor;
    }
}

void forward_tiles(const fattn_item *it, const fattn_state *state)
{
    const fattn_work *work = it->work;
    scales_open(it);
    for (int first = 0; first < work->rows; first += TILE_ROWS) {
        const panel rows = panel_at(it, state, first);
        load_panel(it, &rows);
    }
    state_reset(state, work->rows, it->scratch->ldo);

    for (int64_t j = work->k0; j < work->k1;) {
        const int64_t end = i64_min(j / TILE_KEYS * TILE_KEYS + TILE_KEYS, work->k1);
        kv_tile kv = gather_kv(it, j, (int)(end - j));
        for (int first = 0; first < work->rows; first += TILE_ROWS) {
            const panel rows = panel_at(it, state, first);
            panel_step(it, &rows, &kv);
        }
        j = end;
    }
}
