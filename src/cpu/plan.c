/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c — cuts a problem into work items: counts them, then places them, biggest first.
 *
 * The walk over the sequences is done twice with the same code; the first pass counts how many
 * items fall into each class of cost, the second puts every item where it belongs. Linear, and the
 * same order on every machine. The first pass takes equal items together and does not begin when
 * memory for the fewest items there can be is missing, so that a call that is too big is refused at
 * once. */
#include "cpu/plan.h"

#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"
#include "core/quant.h"

enum {
    ITEMS_PER_THREAD = 4,           /* below this, items get fewer panels or splits */
    ITEM_SPLITS = 8,                /* most of an item: its rows stream from memory without a stop */
    MANY_WORKS = 1 << 12            /* from here on memory comes first */
};

static const int64_t MAX_WORKS = INT64_C(1) << 26;

typedef struct planner {
    const fattn_problem *p;
    fattn_cpu_plan *plan;
    int64_t block_rows; /* packed rows per item, tile family */
    int64_t splits;     /* per item, dot family */
    bool placing;
    int64_t
        class_at[COST_CLASSES]; /* counting: items of the class; placing: where the next one goes */
    int64_t n_merges, n_works, n_dots;
    int64_t scratch_rows;
    size_t partial_floats; /* SIZE_MAX = overflow */
} planner;

static int64_t packed_rows(const fattn_problem *p, const fattn_seq *seq)
{
    return seq->q_len * p->group;
}

static bool is_dot(const planner *b, const fattn_seq *seq)
{
    return packed_rows(b->p, seq) < b->plan->kernels->dot_rows;
}

/* Exponent and first bits of the fraction of the cost as a double; rows * keys stays below 2^80. */
int plan_cost_class(const fattn_work *work)
{
    const double cost = 1.0 + (double)work->rows * (double)(work->k1 - work->k0);
    uint64_t bits;
    memcpy(&bits, &cost, sizeof bits);
    const int exponent = (int)(bits >> 52) - 1023, step = (int)(bits >> 50) % COST_STEPS;
    return COST_CLASSES - 1 - (exponent * COST_STEPS + step);
}

/* `n` items of equal cost; where the first of them goes, NULL when counting. */
static fattn_work *add_works(planner *b, const fattn_work *work, int64_t n)
{
    const int class = plan_cost_class(work);
    const int64_t at = b->class_at[class];
    /* a tile item packs whole panels of q, however few its rows are */
    const int64_t rows = work->dot ? DOT_ROWS : i64_round_up(work->rows, TILE_ROWS);
    b->scratch_rows = i64_max(b->scratch_rows, rows);
    b->class_at[class] += n;
    b->n_works += n;
    b->n_dots += work->dot ? n : 0;
    return b->placing ? &b->plan->works[at] : NULL;
}

/* Splits [s, s + n) of a row block; s and n may reach over its end. */
static fattn_work splits_of(const planner *b, fattn_work work, int64_t s, int64_t n)
{
    const int64_t split = b->plan->kernels->split_keys, first = work.k0 / split;
    work.k0 = i64_max(work.k0, (first + s) * split);
    work.k1 = i64_min(work.k1, (first + s + n) * split);
    work.splits = (int16_t)(i64_div_up(work.k1, split) - work.k0 / split);
    return work;
}

/* `n` items of equal cost from the i-th of a row block on, `each` splits in an item, for each kv head.
 * The partial states of a head lie in key order. */
static void add_equal_items(planner *b, const fattn_work *block, int64_t i, int64_t n, int64_t each,
                            const fattn_merge *merge)
{
    const int64_t heads = b->p->n_kv_heads;
    fattn_work work = splits_of(b, *block, i * each, each);
    fattn_work *at = add_works(b, &work, n * heads);
    for (const int64_t end = i + n; at && i < end; i++) {
        work = splits_of(b, *block, i * each, each);
        for (int64_t head = 0; head < heads; head++, at++) {
            *at = work; /* and then changed there: a copy of what was just written would stall */
            at->kv_head = (int32_t)head;
            at->merge = (int32_t)(b->n_merges + head);
            at->partial = merge->partial + (head * merge->parts + i * each) *
                                               MUTANT(42, merge->stride, merge->stride - 1);
        }
    }
}

/* A row block whose keys are split: an item per few splits and kv head, a merge per kv head. The heads
 * of the same keys stand together, because a cache keeps the rows of all heads of a token together. */
static void add_splits(planner *b, fattn_work work)
{
    const int64_t heads = b->p->n_kv_heads, split = b->plan->kernels->split_keys;
    const int64_t each = work.dot ? b->splits : 1;
    const size_t stride = state_floats(work.rows, b->p->d_v);
    const fattn_merge merge = {.partial = (int64_t)b->partial_floats,
                               .stride = (int64_t)stride,
                               .parts =
                                   i64_div_up(work.k1, split) - work.k0 / split - MUTANT(41, 0, 1)};
    const int64_t items = i64_div_up(merge.parts, each); /* the first and the last may be smaller */
    add_equal_items(b, &work, 0, 1, each, &merge);
    if (items > 2) add_equal_items(b, &work, 1, items - MUTANT(125, 2, 3), each, &merge);
    if (items > 1) add_equal_items(b, &work, items - 1, 1, each, &merge);
    for (int64_t head = 0; head < heads && b->placing; head++) {
        fattn_merge *own = &b->plan->merges[b->n_merges + head];
        *own = merge;
        own->partial += MUTANT(126, head, 0) * merge.parts * merge.stride;
    }
    b->n_merges += heads;

    size_t floats;
    if (stride == SIZE_MAX || !size_mul(stride, (size_t)(merge.parts * heads), &floats) ||
        !size_add(b->partial_floats, floats, &b->partial_floats))
        b->partial_floats = SIZE_MAX;
}

/* The block of packed rows from r on, with the hull of the keys it sees; kv_head is left to the
 * caller. */
static fattn_work block_at(const planner *b, int64_t s, int64_t r)
{
    const fattn_seq *seq = &b->p->seqs[s];
    const int64_t rows = i64_min(packed_rows(b->p, seq) - r, b->block_rows);
    const int64_t first = r / b->p->group, last = (r + rows - 1) / b->p->group;
    const int64_t k0 = mask_interval(seq, first).lo;
    return (fattn_work){.seq = (int32_t)s,
                        .row0 = r,
                        .rows = (int32_t)rows,
                        .dot = is_dot(b, seq),
                        .k0 = k0,
                        .k1 = i64_max(k0, mask_interval(seq, last).hi),
                        .splits = 1,
                        .merge = -1};
}

/* Few query rows whose keys reach over a split's border. */
static bool is_split(const planner *b, const fattn_work *work)
{
    const int64_t split = b->plan->kernels->split_keys;
    return b->p->seqs[work->seq].q_len <= SPLIT_Q_LEN && work->k1 > work->k0 &&
           work->k0 / split != (work->k1 - 1) / split;
}

static void walk_seq(planner *b, int64_t s)
{
    const int64_t rows = packed_rows(b->p, &b->p->seqs[s]);
    bool whole = false; /* any row block that is not split */
    for (int64_t r = 0; r < rows; r += b->block_rows) {
        const fattn_work work = block_at(b, s, r);
        if (is_split(b, &work))
            add_splits(b, work);
        else
            whole = true;
    }
    const int64_t heads = b->p->n_kv_heads, same = b->placing ? 1 : heads; /* they are all alike */
    for (int64_t head = 0; whole && head < heads; head += same)
        for (int64_t r = 0; r < rows; r += b->block_rows) {
            fattn_work work = block_at(b, s, r);
            work.kv_head = (int32_t)head;
            fattn_work *at = is_split(b, &work) ? NULL : add_works(b, &work, same);
            if (at) *at = work;
        }
}

static void walk(planner *b)
{
    for (int64_t s = 0; s < b->p->n_seqs; s++) walk_seq(b, s);
}

/* Upper bound of the number of (panel, split) pairs of a sequence over all heads; false on
 * overflow. */
static bool count_panels(const planner *b, const fattn_seq *seq, int64_t *panels)
{
    int64_t rows;
    if (!i64_mul(seq->q_len, b->p->group, &rows)) return false;
    const int64_t blocks = i64_div_up(rows, TILE_ROWS);
    const int64_t splits =
        seq->q_len <= SPLIT_Q_LEN ? i64_div_up(seq->kv_len, b->plan->kernels->split_keys) : 1;
    return i64_mul(blocks, i64_max(splits, 1), panels) &&
           i64_mul(*panels, b->p->n_kv_heads, panels);
}

/* Checks that the list stays in proportion and chooses how many panels or splits share an item. */
static fattn_status choose_block(planner *b, int threads)
{
    int64_t total = 0;
    for (int64_t s = 0; s < b->p->n_seqs; s++) {
        int64_t panels;
        REQUIRE(
            count_panels(b, &b->p->seqs[s], &panels) && i64_add(total, panels, &total) &&
                total <= MAX_WORKS && s < INT32_MAX,
            FATTN_E_NOMEM,
            "out of memory: sequence %lld brings the call beyond %lld work items; split the batch",
            (long long)s, (long long)MAX_WORKS);
    }
    const int64_t share = total / ((int64_t)threads * ITEMS_PER_THREAD);
    b->block_rows = TILE_ROWS * i64_clamp(share, 1, b->plan->kernels->panels);
    /* Small pages are read piece by piece anyhow: there all heads of a page should come one after the other. */
    const bool streams = b->p->k.page_rows == 0 || b->p->k.page_rows >= TILE_KEYS;
    b->splits = streams ? i64_clamp(share, 1, ITEM_SPLITS) : 1;
    return FATTN_OK;
}

/* Items that there are at least: a row block of a head is one, or it is split. */
static int64_t least_works(const planner *b)
{
    int64_t least = 0;
    for (int64_t s = 0; s < b->p->n_seqs; s++)
        least += i64_div_up(packed_rows(b->p, &b->p->seqs[s]), b->block_rows) * b->p->n_kv_heads;
    return least;
}

static fattn_status no_room(const fattn_cpu_plan *plan)
{
    return error_set(FATTN_E_NOMEM, "out of memory: a plan of %lld work items and %lld merges",
                     (long long)plan->n_works, (long long)plan->n_merges);
}

/* Memory for `n` items, unless there is enough already. */
static fattn_status take_works(fattn_cpu_plan *plan, int64_t n, fattn_arena *arena)
{
    const bool enough = plan->works && n <= plan->n_works;
    if (!enough) plan->works = arena_alloc_raw(arena, (size_t)n, sizeof *plan->works);
    plan->n_works = n;
    return plan->works ? FATTN_OK : no_room(plan);
}

void plan_class_starts(int64_t *counts)
{
    int64_t at = 0;
    for (int c = 0; c < COST_CLASSES; c++) {
        const int64_t count = counts[c];
        counts[c] = at;
        at += count;
    }
}

static void start_placing(planner *b)
{
    plan_class_starts(b->class_at);
    b->placing = true;
    b->n_works = b->n_merges = b->n_dots = 0;
    b->partial_floats = 0;
}

bool plan_reserve(size_t *total, size_t count, size_t bytes)
{
    size_t block;
    if (bytes == SIZE_MAX || !size_mul(count, bytes, &block) || !size_add(block, 63, &block))
        return false;
    return size_add(*total, block / 64 * 64, total);
}

static fattn_status size_workspace(const planner *b, int threads)
{
    fattn_cpu_plan *plan = b->plan;
    fattn_scratch unused;
    plan->layout = (fattn_scratch_layout){.rows = b->scratch_rows,
                                          .d_qk = b->p->d_qk,
                                          .d_v = b->p->d_v,
                                          .bias = b->p->bias.kind != BIAS_NONE,
                                          .half = plan->half && b->n_works > b->n_dots,
                                          .quantised = grid_present(&b->p->k_affine.scale) ||
                                                       grid_present(&b->p->v_affine.scale)};
    plan->scratch_bytes = scratch_bind(&unused, &plan->layout, NULL);

    bool fits = plan_reserve(&plan->bytes, (size_t)threads, plan->scratch_bytes);
    plan->partials_at = plan->bytes;
    fits = fits && plan_reserve(&plan->bytes, sizeof(float), b->partial_floats);
    plan->countdowns_at = plan->bytes;
    fits = fits && plan_reserve(&plan->bytes, (size_t)plan->n_merges, sizeof(atomic_int));
    REQUIRE(fits, FATTN_E_NOMEM,
            "out of memory: the workspace for head dims %lld and %lld exceeds the address space",
            (long long)b->p->d_qk, (long long)b->p->d_v);
    return FATTN_OK;
}

fattn_status plan_make(fattn_cpu_plan *plan, const fattn_problem *p, const fattn_kernels *kernels,
                       const fattn_half_kernels *half, int threads, fattn_arena *arena)
{
    *plan = (fattn_cpu_plan){.kernels = kernels, .half = half};
    planner b = {.p = p, .plan = plan};
    TRY(choose_block(&b, threads));
    const int64_t least = least_works(&b);
    if (least > MANY_WORKS) TRY(take_works(plan, least, arena));
    walk(&b);
    plan->n_merges = b.n_merges;
    plan->n_dots = b.n_dots;
    TRY(size_workspace(&b, threads));

    TRY(take_works(plan, b.n_works, arena));
    plan->merges = arena_alloc(arena, (size_t)plan->n_merges, sizeof *plan->merges);
    if (!plan->merges) return no_room(plan);
    start_placing(&b);
    walk(&b);
    return FATTN_OK;
}
