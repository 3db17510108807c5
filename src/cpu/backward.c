/* SPDX-License-Identifier: Apache-2.0 */
/* backward.c — the gradients, one pass over the scores (spec fusion-attention 7; Dao 2023, alg. 2).
 *
 * A block of rows stays while tiles of 64 keys pass by; five products per tile:
 *
 *   S = Q K^T,  dP = dY V^T                    queries in the lanes, as in the forward
 *   dV += (P R)^T dY,  dK += dS^T Q,  dQ += dS K
 *
 * The block owns its dQ. The dK and dV of a kv head pass by with its keys, in fp32 memory of the
 * worker, the sum of each panel of rows after the other. Everything is rounded once. */
#include "cpu/backward.h"

#include <stdatomic.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"
#include "cpu/backward_careful.h"
#include "cpu/drop.h"
#include "cpu/scatter.h"
#include "cpu/seen.h"

typedef struct backward {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const fattn_grad_plan *plan;
    char *workspace;
} backward;

/* What an item sums up beyond its rows. */
typedef struct sums {
    float *dk, *dv; /* [kv_len] rows */
    float *columns; /* [group][kv_len] */
    double *sink, *slopes; /* [group] */
} sums;

/* Keys [j, j + n), gathered. */
typedef struct kv_tile {
    int64_t j;
    int n;
    fattn_tile k, v;
    enum { UNKNOWN, FINITE, NOT_FINITE } k_is;
} kv_tile;

/* ---- products -----------------------------------------------------------------------------------
 */

/* sum[key] += weights x[row]; where some cell is hidden (`partial`), non-finite values reach only those who
 * see them. */
static void add_to_keys(const fattn_item *it, const fattn_cells *cells, fattn_tile x, bool partial,
                        bool careful, float *sum, int64_t ld)
{
    const fattn_tile from =
        careful ? careful_clean(x, cells->rows, ld, it->scratch->grad.clean) : x;
    seen_add_to_keys(it, sum, ld, cells->weights, from, cells->keys, cells->rows,
                     partial ? it->scratch->hidden_lanes : NULL);
    if (careful) careful_add_to_keys(cells, x, ld, sum, ld);
}

static void add_to_rows(const fattn_item *it, const fattn_cells *cells, fattn_tile x, bool partial,
                        bool careful, float *sum, int64_t ld)
{
    const fattn_tile from =
        careful ? careful_clean(x, cells->keys, ld, it->scratch->grad.clean) : x;
    seen_add_to_rows(it, sum, ld, cells->weights, from, cells->rows, cells->keys, NULL,
                     partial ? it->scratch->hidden : NULL);
    if (careful) careful_add_to_rows(cells, x, ld, sum, ld);
}

/* A dropped cell has no share in dV, as a hidden one. */
static void add_dv(const fattn_item *it, const fattn_grad_panel *panel, fattn_tile dy, int n,
                   bool partial, float *dv)
{
    const fattn_scratch *s = it->scratch;
    const bool careful = (partial || drop_wanted(it)) && !panel->finite;
    uint64_t without[TILE_KEYS];
    for (int key = 0; careful && key < n; key++)
        without[key] = (partial ? s->hidden_lanes[key] : 0) |
                       (drop_wanted(it) ? ~s->kept_lanes[key] : 0);
    const fattn_cells cells = {s->scores, without, n, panel->n};
    add_to_keys(it, &cells, dy, partial, careful, dv, s->ldo);
}

static bool keys_finite(const fattn_item *it, kv_tile *kv)
{
    if (kv->k_is == UNKNOWN)
        kv->k_is = it->kernels->finite(kv->k.at, kv->k.ld, kv->n, (int)it->scratch->ldk) != 0
                       ? FINITE
                       : NOT_FINITE;
    return kv->k_is == FINITE;
}

/* One panel against one tile. */
static void panel_step(const fattn_item *it, const fattn_grad_panel *panel, kv_tile *kv,
                       bias_way way, const sums *to)
{
    const fattn_scratch *s = it->scratch;
    const int64_t j = i64_max(kv->j, panel->k0);
    const int n = (int)(i64_min(kv->j + kv->n, panel->k1) - j);
    if (n <= 0) return;
    const fattn_tile k = tile_from(kv->k, j - kv->j), v = tile_from(kv->v, j - kv->j);
    const fattn_tile_class class = panel_grads(it, panel, k, v, j, n);
    if (class == TILE_EMPTY) return;
    bias_take(it, panel, way, j, n, to->columns, to->slopes);

    const bool partial = class == TILE_PARTIAL;
    const fattn_tile dy = {.at = panel->dy_rows, .ld = s->ldo};
    const fattn_tile q = {.at = panel->q_rows, .ld = s->ldk};
    add_dv(it, panel, dy, n, partial, to->dv + j * s->ldo);
    const fattn_cells cells = {s->grad.dp, s->hidden_lanes, n, panel->n};
    add_to_keys(it, &cells, q, partial, partial && !panel->finite, to->dk + j * s->ldk, s->ldk);
    add_to_rows(it, &cells, k, partial, partial && !keys_finite(it, kv), panel->dq, s->ldk);
}

/* ---- outputs ------------------------------------------------------------------------------------
 */

/* A row of scratch times the scale to all parts of (head, row) of a view. */
static void write_row(const fattn_item *it, const fattn_view *view, void *const *at, int64_t head,
                      int64_t row, float *from, float scale)
{
    for (int64_t c = 0; c < it->p->d_qk; c++) from[c] *= scale;
    for (int part = 0; part < view->n_parts; part++) {
        if (at[part])
            scatter_row(it, view, part, at[part],
                        view_offset(it->p, view, part, NULL, it->seq->batch, head, row), from,
                        1.0f);
        from += view->part[part].d;
    }
}

static void write_dq(const fattn_item *it, int64_t r0, int64_t rows)
{
    const float scale = MUTANT(185, (float)it->p->scale, 1.0f);
    for (int64_t row = 0; row < rows; row++) {
        const int64_t r = r0 + row;
        write_row(it, &it->p->dq, it->ptrs->dq, item_head(it, r),
                  it->seq->q_row0 + item_query(it, r), it->scratch->grad.dq + row * it->scratch->ldk,
                  scale);
    }
}

static void write_dkv(const fattn_item *it, float *dk, const float *dv)
{
    const fattn_problem *p = it->p;
    const int64_t head = it->work->kv_head;
    for (int64_t j = 0; j < it->seq->kv_len; j++) {
        const int64_t row = it->seq->kv_row0 + j;
        write_row(it, &p->dk, it->ptrs->dk, head, row, dk + j * it->scratch->ldk, (float)p->scale);
        if (it->ptrs->dv)
            scatter_row(it, &p->dv, 0, it->ptrs->dv,
                        view_offset(p, &p->dv, 0, NULL, it->seq->batch, head, row),
                        dv + j * it->scratch->ldo, 1.0f);
    }
}

/* ---- items --------------------------------------------------------------------------------------
 */

static void run_block(const fattn_item *it, const fattn_grad_plan *plan, int64_t r0, int rows,
                      const sums *to)
{
    fattn_scratch *s = it->scratch;
    const fattn_source keys = gather_keys(it), values = gather_values(it);
    fattn_grad_panel panels[GRAD_PANELS_MAX];
    int64_t k0 = it->seq->kv_len, k1 = 0;
    const int count = (rows + TILE_ROWS - 1) / TILE_ROWS;
    for (int i = 0; i < count; i++) {
        panels[i] = panel_load(it, r0, i * TILE_ROWS, rows);
        if (it->p->sink) panel_sink(it, &panels[i], to->sink);
        if (panels[i].k0 >= panels[i].k1) continue;
        k0 = i64_min(k0, panels[i].k0);
        k1 = i64_max(k1, panels[i].k1);
    }
    memset(s->grad.dq, 0, (size_t)(rows * s->ldk) * sizeof(float));
    for (int64_t j = k0; j < k1;) {
        const int64_t end = i64_min(j / TILE_KEYS * TILE_KEYS + TILE_KEYS, k1);
        const int n = (int)(end - j);
        kv_tile kv = {.j = j,
                      .n = n,
                      .k = gather_tile(&keys, it->kernels, j, n, true, s->k, s->ldk),
                      .v = gather_tile(&values, it->kernels, j, n, true, s->v, s->ldo)};
        for (int i = 0; i < count; i++) panel_step(it, &panels[i], &kv, plan->bias, to);
        j = end;
    }
    write_dq(it, r0, rows);
}

/* Adds the parts of a cut kv head in order and writes them. */
static void merge_dkv(const fattn_item *it, const fattn_merge *merge, float *partials)
{
    float *first = partials + merge->partial;
    for (int64_t part = 1; part < merge->parts; part++)
        for (int64_t c = 0; c < merge->stride; c++)
            first[c] += first[MUTANT(186, part, 1) * merge->stride + c];
    write_dkv(it, first, first + it->seq->kv_len * it->scratch->ldk);
}

static bool is_last(atomic_int *countdown)
{
    return atomic_fetch_sub_explicit(countdown, 1, memory_order_acq_rel) == 1;
}

static float *floats_at(const backward *b, size_t at) { return (float *)(void *)(b->workspace + at); }

static double *sums_of(const backward *b, int64_t item)
{
    return (double *)(void *)(b->workspace + b->plan->sums_at) + item * 2 * b->p->group;
}

static sums bind_sums(const backward *b, const fattn_item *it, const fattn_grad_work *own,
                      int64_t item)
{
    const fattn_scratch *s = it->scratch;
    const int64_t keys = it->seq->kv_len, group = it->p->group;
    float *partial = floats_at(b, b->plan->partials_at) + own->work.partial;
    double *two = sums_of(b, item);
    const bool whole = own->work.merge < 0;
    sums to = {.dk = whole ? s->grad.dk : partial,
               .dv = whole ? s->grad.dv : partial + keys * s->ldk,
               .columns = floats_at(b, b->plan->columns_at) + own->columns,
               .sink = two,
               .slopes = two + group};
    memset(to.dk, 0, (size_t)(keys * s->ldk) * sizeof(float));
    memset(to.dv, 0, (size_t)(keys * s->ldo) * sizeof(float));
    if (b->plan->bias == BIAS_COLUMNS)
        memset(to.columns, 0, (size_t)(group * keys) * sizeof(float));
    memset(two, 0, (size_t)(2 * group) * sizeof(double));
    return to;
}

/* Rows outside all sequences, keys that nobody asks for. */
static void run_pad(const fattn_item *it)
{
    const fattn_scratch *s = it->scratch;
    const int64_t rows = it->work->rows;
    memset(s->grad.dk, 0, (size_t)s->ldk * sizeof(float));
    memset(s->grad.dv, 0, (size_t)s->ldo * sizeof(float));
    memset(s->grad.dq, 0, (size_t)s->ldk * sizeof(float));
    for (int64_t row = 0; row < rows; row++) {
        const int64_t r = it->work->row0 + row;
        write_row(it, &it->p->dq, it->ptrs->dq, item_head(it, r),
                  it->seq->q_row0 + item_query(it, r), s->grad.dq, 1.0f);
    }
    for (int64_t j = 0; it->work->row0 == 0 && j < it->seq->kv_len; j++) {
        fattn_seq one = *it->seq;
        fattn_item at = *it;
        at.seq = &one;
        one.kv_row0 += j;
        one.kv_len = MUTANT(187, 1, 0);
        write_dkv(&at, s->grad.dk, s->grad.dv);
    }
}

static fattn_item item_of(const backward *b, const fattn_work *work, int worker,
                          fattn_scratch *scratch)
{
    scratch_bind(scratch, &b->plan->layout,
                 b->workspace + (size_t)worker * b->plan->scratch_bytes);
    return (fattn_item){.p = b->p,
                        .ptrs = b->ptrs,
                        .kernels = b->plan->kernels,
                        .seq = &b->p->seqs[work->seq],
                        .work = work,
                        .scratch = scratch};
}

static void run_item(void *arg, int64_t index, int worker)
{
    const backward *b = arg;
    const int64_t item = b->plan->order[index];
    const fattn_grad_work *own = &b->plan->works[item];
    fattn_scratch scratch;
    const fattn_item it = item_of(b, &own->work, worker, &scratch);
    if (it.seq->pad) {
        run_pad(&it);
        return;
    }
    const sums to = bind_sums(b, &it, own, item);
    for (int64_t row = 0; row < own->work.rows; row += b->plan->block_rows)
        run_block(&it, b->plan, own->work.row0 + row,
                  (int)i64_min(own->work.rows - row, b->plan->block_rows), &to);
    if (own->work.merge < 0)
        write_dkv(&it, to.dk, to.dv);
    else if (is_last((atomic_int *)(void *)(b->workspace + b->plan->countdowns_at) +
                     own->work.merge))
        merge_dkv(&it, &b->plan->merges[own->work.merge], floats_at(b, b->plan->partials_at));
}

/* ---- what sums over items -----------------------------------------------------------------------
 */

static void run_pool(void *arg, int64_t index, int worker)
{
    const backward *b = arg;
    fattn_scratch scratch;
    const fattn_item base = item_of(b, &b->plan->works[0].work, worker, &scratch);
    pool_item(&base, &b->plan->pool, index);
}

/* dsink of a query head, or the gradient of its slopes: over the items in order. */
static void finish_head(const backward *b, int64_t head)
{
    const fattn_problem *p = b->p;
    const int64_t kv_head = head / p->group, g = head % p->group;
    double sink = 0.0, slope = 0.0;
    for (int64_t w = 0; w < b->plan->n_works; w++) {
        const fattn_work *work = &b->plan->works[w].work;
        const fattn_seq *seq = &p->seqs[work->seq];
        if (work->kv_head != kv_head || seq->pad) continue;
        const double *own = sums_of(b, w);
        sink += own[g];
        slope += own[p->group + g];
        const bool last = w + 1 == b->plan->n_works || b->plan->works[w + 1].work.seq != work->seq ||
                          b->plan->works[w + 1].work.kv_head != kv_head;
        if (b->plan->bias != BIAS_SLOPES || !last || p->dbias.over_batch) continue;
        bias_store(p, b->ptrs,
                   seq->batch * p->dbias.slope_batch_stride + head * p->dbias.slope_head_stride,
                   (float)slope);
        slope = 0.0;
    }
    if (b->plan->bias == BIAS_SLOPES && p->dbias.over_batch)
        bias_store(p, b->ptrs, head * p->dbias.slope_head_stride, (float)slope);
    if (p->sink && b->ptrs->dsink)
        element_store(b->ptrs->dsink, p->sink_dtype, head * p->dsink_stride,
                      MUTANT(188, sink, -sink));
}

/* Column sums of a query head: over the items of a sequence, or of all of them. */
static void finish_columns(const backward *b, int64_t head)
{
    const fattn_problem *p = b->p;
    float *columns = floats_at(b, b->plan->columns_at);
    float *sum = NULL;
    const fattn_seq *seq = NULL;
    for (int64_t w = 0; w < b->plan->n_works; w++) {
        const fattn_work *work = &b->plan->works[w].work;
        if (work->kv_head != head / p->group || p->seqs[work->seq].pad) continue;
        float *own =
            columns + b->plan->works[w].columns + head % p->group * p->seqs[work->seq].kv_len;
        if (sum && (p->dbias.over_batch || &p->seqs[work->seq] == seq)) {
            for (int64_t j = 0; j < seq->kv_len; j++) sum[j] += own[j];
            continue;
        }
        if (sum) bias_store_columns(p, b->ptrs, seq, head, sum);
        sum = own;
        seq = &p->seqs[work->seq];
    }
    if (sum) bias_store_columns(p, b->ptrs, seq, head, sum);
}

static void run_head(void *arg, int64_t head, int worker)
{
    const backward *b = arg;
    (void)worker;
    finish_head(b, head);
    if (b->plan->bias == BIAS_COLUMNS) finish_columns(b, head);
}

void backward_run(fattn_context *context, const fattn_problem *p, const fattn_grad_plan *plan,
                  const fattn_ptrs *ptrs, void *workspace)
{
    backward b = {.p = p, .ptrs = ptrs, .plan = plan, .workspace = workspace};
    atomic_int *countdowns = (atomic_int *)(void *)(b.workspace + plan->countdowns_at);
    for (int64_t i = 0; i < plan->n_merges; i++)
        atomic_init(&countdowns[i], (int)plan->merges[i].parts);
    context_parallel(context, run_item, &b, plan->n_works);
    if (p->sink || plan->bias == BIAS_COLUMNS || plan->bias == BIAS_SLOPES)
        context_parallel(context, run_head, &b, p->n_heads);
    if (plan->bias == BIAS_POOLED && plan->n_works > 0)
        context_parallel(context, run_pool, &b,
                         plan->pool.groups * p->n_kv_heads * plan->pool.blocks);
}
