/* SPDX-License-Identifier: Apache-2.0 */
/* backward_plan.c — counts the items, places them, and orders them biggest first. */
#include "cpu/backward_plan.h"

#include <stdatomic.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"

static const int64_t MAX_WORKS = INT64_C(1) << 26;
static const int64_t MAX_ROWS = INT64_C(1) << 30; /* of an item */

typedef struct planner {
    const fattn_problem *p;
    fattn_grad_plan *plan;
    size_t partial_floats, column_floats; /* SIZE_MAX = overflow */
    int64_t grad_keys;                    /* most keys of an item that is not cut */
} planner;

size_t grad_floats(int64_t keys, int64_t d_qk, int64_t d_v)
{
    const int64_t columns = i64_round_up(d_qk, LANES_MAX) + i64_round_up(d_v, LANES_MAX);
    int64_t floats;
    return i64_mul(keys, columns, &floats) ? (size_t)floats : SIZE_MAX;
}

/* Packed rows of an item: multiples of whole panels, so that a cut changes no panel. */
static int64_t rows_per_item(const planner *b, int64_t packed)
{
    const int64_t share = i64_div_up(packed, GRAD_PARTS);
    const int64_t rows = i64_max(b->plan->kernels->grad_rows, share);
    return i64_min(i64_round_up(rows, TILE_ROWS), MAX_ROWS);
}

/* A sequence without rows still has dK and dV. */
static int64_t count_parts(const planner *b, const fattn_seq *seq, int64_t *packed)
{
    if (!i64_mul(seq->q_len, b->p->group, packed)) return MAX_WORKS + 1;
    return i64_max(i64_div_up(*packed, rows_per_item(b, *packed)), 1);
}

static fattn_status count(planner *b)
{
    int64_t total = 0;
    for (int64_t s = 0; s < b->p->n_seqs; s++) {
        int64_t packed, works;
        const int64_t parts = count_parts(b, &b->p->seqs[s], &packed);
        REQUIRE(
            i64_mul(parts, b->p->n_kv_heads, &works) && i64_add(total, works, &total) &&
                total <= MAX_WORKS,
            FATTN_E_NOMEM,
            "out of memory: sequence %lld brings the call beyond %lld work items; split the batch",
            (long long)s, (long long)MAX_WORKS);
        if (parts > 1) b->plan->n_merges += b->p->n_kv_heads;
    }
    b->plan->n_works = total;
    return FATTN_OK;
}

static void add_floats(size_t *total, size_t count, int64_t times)
{
    size_t floats;
    if (count == SIZE_MAX || !size_mul(count, (size_t)times, &floats) ||
        !size_add(*total, floats, total))
        *total = SIZE_MAX;
}

/* Keys that any of packed rows [row0, row0 + rows) may see. */
static void set_hull(const planner *b, fattn_work *work)
{
    const fattn_seq *seq = &b->p->seqs[work->seq];
    if (work->rows == 0 || seq->pad) return;
    work->k0 = mask_interval(seq, work->row0 / b->p->group).lo;
    work->k1 = mask_interval(seq, (work->row0 + work->rows - 1) / b->p->group).hi;
    work->k1 = i64_max(work->k0, work->k1);
}

/* All items of one kv head of a sequence. */
static fattn_grad_work *place_head(planner *b, fattn_grad_work *at, int64_t s, int64_t kv_head)
{
    const fattn_seq *seq = &b->p->seqs[s];
    int64_t packed;
    const int64_t parts = count_parts(b, seq, &packed), rows = rows_per_item(b, packed);
    const size_t stride = grad_floats(seq->kv_len, b->p->d_qk, b->p->d_v);
    const int64_t merge = parts > MUTANT(189, 1, GRAD_PARTS) ? b->plan->n_merges++ : -1;
    if (merge >= 0)
        b->plan->merges[merge] = (fattn_merge){.partial = (int64_t)b->partial_floats,
                                               .stride = (int64_t)stride,
                                               .parts = parts};
    else
        b->grad_keys = i64_max(b->grad_keys, seq->pad ? 1 : seq->kv_len);
    for (int64_t part = 0; part < parts; part++, at++) {
        *at = (fattn_grad_work){.work = {.seq = (int32_t)s,
                                         .kv_head = (int32_t)kv_head,
                                         .row0 = part * rows,
                                         .rows = (int32_t)i64_min(packed - part * rows, rows),
                                         .merge = (int32_t)merge,
                                         .partial = (int64_t)b->partial_floats},
                                .columns = (int64_t)b->column_floats};
        set_hull(b, &at->work);
        if (merge >= 0) add_floats(&b->partial_floats, stride, 1);
        if (b->plan->bias == BIAS_COLUMNS)
            add_floats(&b->column_floats, (size_t)seq->kv_len, b->p->group);
    }
    return at;
}

static void place(planner *b)
{
    fattn_grad_work *at = b->plan->works;
    b->plan->n_merges = 0;
    for (int64_t s = 0; s < b->p->n_seqs; s++)
        for (int64_t head = 0; head < b->p->n_kv_heads; head++) at = place_head(b, at, s, head);
}

static void order(fattn_grad_plan *plan)
{
    int64_t class_at[COST_CLASSES] = {0};
    for (int64_t w = 0; w < plan->n_works; w++) class_at[plan_cost_class(&plan->works[w].work)]++;
    plan_class_starts(class_at);
    for (int64_t w = 0; w < plan->n_works; w++)
        plan->order[class_at[plan_cost_class(&plan->works[w].work)]++] = w;
}

static fattn_status size_workspace(const planner *b, int threads)
{
    fattn_grad_plan *plan = b->plan;
    fattn_scratch unused;
    size_t sums;
    const int64_t columns = i64_max(b->p->d_qk + b->p->d_v, 1); /* at most 2^25 */
    plan->block_rows =
        TILE_ROWS * i64_clamp(plan->kernels->grad_columns / columns, 1, GRAD_PANELS_MAX);
    plan->layout = (fattn_scratch_layout){.rows = plan->block_rows,
                                          .d_qk = b->p->d_qk,
                                          .d_v = b->p->d_v,
                                          .bias = b->p->bias.kind != BIAS_NONE,
                                          .backward = true,
                                          .grad_keys = b->grad_keys,
                                          .pool_cols = plan->pool.cols};
    plan->scratch_bytes = scratch_bind(&unused, &plan->layout, NULL);
    bool fits = plan_reserve(&plan->bytes, (size_t)threads, plan->scratch_bytes);
    plan->partials_at = plan->bytes;
    fits = fits && plan_reserve(&plan->bytes, sizeof(float), b->partial_floats);
    plan->columns_at = plan->bytes;
    fits = fits && plan_reserve(&plan->bytes, sizeof(float), b->column_floats);
    plan->sums_at = plan->bytes;
    fits = fits && size_mul((size_t)plan->n_works, 2 * (size_t)b->p->group, &sums) &&
           plan_reserve(&plan->bytes, sums, sizeof(double));
    plan->countdowns_at = plan->bytes;
    fits = fits && plan_reserve(&plan->bytes, (size_t)plan->n_merges, sizeof(atomic_int));
    REQUIRE(fits, FATTN_E_NOMEM,
            "out of memory: the workspace for head dims %lld and %lld exceeds the address space",
            (long long)b->p->d_qk, (long long)b->p->d_v);
    return FATTN_OK;
}

fattn_status backward_plan_make(fattn_grad_plan *plan, const fattn_problem *p,
                                const fattn_kernels *kernels, int threads, fattn_arena *arena)
{
    *plan = (fattn_grad_plan){.kernels = kernels, .bias = bias_way_of(p)};
    plan->pool = pool_plan_of(p, plan->bias);
    planner b = {.p = p, .plan = plan, .grad_keys = 1};
    TRY(count(&b));
    plan->works = arena_alloc(arena, (size_t)plan->n_works, sizeof *plan->works);
    plan->order = arena_alloc(arena, (size_t)plan->n_works, sizeof *plan->order);
    plan->merges = arena_alloc(arena, (size_t)plan->n_merges, sizeof *plan->merges);
    REQUIRE(plan->works && plan->order && plan->merges, FATTN_E_NOMEM,
            "out of memory: a plan of %lld work items and %lld merges", (long long)plan->n_works,
            (long long)plan->n_merges);
    place(&b);
    order(plan);
    return size_workspace(&b, threads);
}
