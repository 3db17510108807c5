/* SPDX-License-Identifier: Apache-2.0 */
/* backward_bias.c — takes dS tile by tile, or computes it once more for cells that many share. */
#include "cpu/backward_bias.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"
#include "core/element.h"
#include "cpu/scores.h"

bias_way bias_way_of(const fattn_problem *p)
{
    if (!p->dbias.want) return BIAS_UNWANTED;
    if (p->bias.kind == BIAS_SLOPE || p->bias.kind == BIAS_SLOPE_SQRT) return BIAS_SLOPES;
    if (p->bias.kind == BIAS_COMPRESSED) return BIAS_POOLED;
    if (p->dbias.over_rows) return BIAS_COLUMNS;
    return p->dbias.over_batch ? BIAS_POOLED : BIAS_CELLS;
}

void bias_store(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t at, float value)
{
    element_store(ptrs->dbias, p->dbias.dtype, at, (double)value);
}

void bias_store_columns(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                        int64_t head, const float *columns)
{
    const int64_t first = seq->dbias_base + head * seq->dbias_head_stride;
    for (int64_t j = 0; j < seq->kv_len; j++)
        bias_store(p, ptrs, first + j * p->dbias.col_stride, columns[j]);
}

/* From dS to the gradient of what was added to q.k or to the scaled score. */
static float bias_scale(const fattn_problem *p)
{
    return MUTANT(183, p->bias.before_scale, false) ? (float)p->scale : 1.0f;
}

/* by_row[row][TILE_KEYS] = dS * factor. */
static const float *by_rows(const fattn_item *it, const fattn_grad_panel *panel, int n,
                            float factor)
{
    const void *keys[TILE_KEYS];
    for (int key = 0; key < n; key++) keys[key] = it->scratch->grad.dp + key * TILE_ROWS;
    it->kernels->pack[KERNEL_F32](it->scratch->grad.by_row, keys, n, panel->n, factor);
    return it->scratch->grad.by_row;
}

static int64_t cell_of(const fattn_item *it, int64_t head, int64_t row, int64_t col)
{
    return it->seq->dbias_base + head * it->seq->dbias_head_stride +
           row * it->seq->dbias_row_stride + col * it->p->dbias.col_stride;
}

static void store_cells(const fattn_item *it, int64_t at, const float *cells, int n)
{
    const fattn_dbias *dbias = &it->p->dbias;
    if (dbias->col_stride == 1) {
        char *dst = (char *)it->ptrs->dbias + at * (int64_t)fattn_dtype_size(dbias->dtype);
        it->kernels->store[item_dtype(dbias->dtype)](dst, cells, n, 1.0f);
        return;
    }
    for (int k = 0; k < n; k++) bias_store(it->p, it->ptrs, at + k * dbias->col_stride, cells[k]);
}

static void add_row(float *sum, const float *cells, int64_t n)
{
    for (int64_t k = 0; k < n; k++) sum[k] += cells[k];
}

/* -sum dS |distance| by head of the group. */
static void take_slopes(const fattn_item *it, const fattn_grad_panel *panel, const float *cells,
                        int64_t j, int n, double *slopes)
{
    double distance[TILE_KEYS];
    for (int row = 0; row < panel->n; row++) {
        const int64_t r = panel->r + row;
        double sum = 0.0;
        scores_distances(it->p->bias.kind == BIAS_SLOPE_SQRT,
                         j - item_query(it, r) + it->seq->distance0, n, distance);
        for (int k = 0; k < n; k++) sum += (double)cells[row * TILE_KEYS + k] * distance[k];
        slopes[r % it->p->group] -= sum;
    }
}

void bias_take(const fattn_item *it, const fattn_grad_panel *panel, bias_way way, int64_t j, int n,
               float *columns, double *slopes)
{
    if (way == BIAS_UNWANTED || way == BIAS_POOLED) return;
    const float *cells = by_rows(it, panel, n, way == BIAS_SLOPES ? 1.0f : bias_scale(it->p));
    if (way == BIAS_SLOPES) {
        take_slopes(it, panel, cells, j, n, slopes);
        return;
    }
    for (int row = 0; row < panel->n; row++) {
        const int64_t r = panel->r + row;
        const float *from = cells + row * TILE_KEYS;
        if (way == BIAS_COLUMNS)
            add_row(columns + r % it->p->group * it->seq->kv_len + j, from, n);
        else
            store_cells(it, cell_of(it, item_head(it, r), item_query(it, r), j), from, n);
    }
}

/* ---- second pass --------------------------------------------------------------------------------
 */

fattn_pool_plan pool_plan_of(const fattn_problem *p, bias_way way)
{
    fattn_pool_plan plan = {0};
    if (way != BIAS_POOLED || p->n_seqs == 0) return plan;
    if (p->bias.kind == BIAS_COMPRESSED) {
        plan.rows = BIAS_COMPRESSED_ROWS * p->group;
        plan.cols = p->bias.total_len;
    } else { /* all sequences are alike */
        plan.rows = p->seqs[0].q_len * p->group;
        plan.cols = p->seqs[0].kv_len;
    }
    plan.groups = p->dbias.over_batch ? 1 : p->n_seqs;
    plan.blocks = i64_div_up(plan.rows, TILE_ROWS);
    return plan;
}

/* Adds the dS of packed rows [r, r + n) to the pool, column j of the scores to cell j + shift. */
static void add_rows(const fattn_item *it, int64_t r, int n, int64_t shift, int64_t cols)
{
    fattn_scratch *s = it->scratch;
    const fattn_grad_panel panel = panel_load(it, r, 0, n);
    const fattn_source keys = gather_keys(it), values = gather_values(it);
    for (int64_t j = panel.k0; j < panel.k1;) {
        const int64_t end = i64_min(j / TILE_KEYS * TILE_KEYS + TILE_KEYS, panel.k1);
        const int count = (int)(end - j);
        const fattn_tile k = gather_tile(&keys, it->kernels, j, count, true, s->k, s->ldk);
        const fattn_tile v = gather_tile(&values, it->kernels, j, count, true, s->v, s->ldo);
        if (panel_grads(it, &panel, k, v, j, count) != TILE_EMPTY) {
            const float *cells = by_rows(it, &panel, count, bias_scale(it->p));
            const int64_t room = i64_clamp(cols - j - shift, 0, count); /* the others are hidden */
            for (int row = 0; row < panel.n; row++)
                add_row(s->grad.pool + row * cols + j + shift, cells + row * TILE_KEYS, room);
        }
        j = end;
    }
}

/* All rows of a sequence that read stored rows [at, at + n) of a compressed bias (bias.c): those at
 * the same place of a period of 1024 rows, and at the end the stored rows themselves. */
static void add_compressed(const fattn_item *it, int64_t at, int n, int64_t cols)
{
    const int64_t group = it->p->group, first = it->p->bias.total_len - BIAS_COMPRESSED_ROWS;
    const int64_t rows = it->seq->q_len * group;
    const int64_t early = i64_min(first * group, rows), step = BIAS_COMPRESSED_ROWS * group;
    for (int64_t r = at; r < early; r += step)
        add_rows(it, r, (int)i64_min(n, early - r), first - (r - at) / group, cols);
    const int64_t r = first * group + at;
    if (r < rows) add_rows(it, r, (int)i64_min(n, rows - r), MUTANT(184, 0, 1), cols);
}

static void store_pool(const fattn_item *it, const fattn_pool_plan *plan, int64_t at, int n)
{
    for (int row = 0; row < n; row++) {
        const float *cells = it->scratch->grad.pool + row * plan->cols;
        const int64_t r = at + row, head = item_head(it, r), stored = item_query(it, r);
        for (int64_t col = 0; col < plan->cols; col += TILE_KEYS)
            store_cells(it, cell_of(it, head, stored, col), cells + col,
                        (int)i64_min(plan->cols - col, TILE_KEYS));
    }
}

void pool_item(const fattn_item *base, const fattn_pool_plan *plan, int64_t index)
{
    const int64_t at = index % plan->blocks * TILE_ROWS, rest = index / plan->blocks;
    const int64_t kv_heads = base->p->n_kv_heads, entry = rest / kv_heads;
    const int64_t first = plan->groups == 1 ? 0 : entry;
    const int64_t end = plan->groups == 1 ? base->p->n_seqs : entry + 1;
    const int n = (int)i64_min(plan->rows - at, TILE_ROWS);
    const fattn_work work = {.kv_head = (int32_t)(rest % kv_heads)};
    fattn_item it = *base;
    float *pool = it.scratch->grad.pool;
    it.work = &work;
    it.seq = NULL;
    memset(pool, 0, (size_t)(n * plan->cols) * sizeof *pool);
    for (int64_t s = first; s < end; s++) {
        const fattn_seq *seq = &it.p->seqs[s];
        if (seq->pad || seq->q_len == 0 || seq->kv_len == 0) continue;
        it.seq = seq;
        if (it.p->bias.kind == BIAS_COMPRESSED)
            add_compressed(&it, at, n, plan->cols);
        else
            add_rows(&it, at, n, 0, plan->cols);
    }
    if (it.seq) store_pool(&it, plan, at, n); /* else its cells are 0 already */
}
