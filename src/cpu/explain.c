/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c — reads a plan back: families, splits, merges, and how K and V reach the kernels. */
#include "cpu/explain.h"

#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"
#include "core/quant.h"
#include "cpu/item.h"

static bool adjacent(const fattn_part *part) { return part->col_stride == 1 && part->chunk == 0; }

/* Both families: how the columns of a row lie. NULL = together. */
static const char *columns_of(const fattn_view *view)
{
    if (view->n_parts > 1) return "parts";
    return adjacent(&view->part[0]) ? NULL : "columns";
}

/* What gather_tile() asks before it uses a tile where it lies, in its order; the first no is the
 * answer. */
static const char *tile_reading(const fattn_problem *p, const fattn_view *view, bool whole_vectors)
{
    const fattn_part *part = &view->part[0];
    if (columns_of(view)) return columns_of(view);
    if (view->dtype != FATTN_F32) return "widened";
    if (whole_vectors && part->row_stride != part->d) return "rows";
    if (whole_vectors && part->d % LANES_MAX != 0) return "tail";
    if (view->page_rows % TILE_KEYS != 0) return "pages";
    return p->shared_len % TILE_KEYS != 0 ? "seam" : "in_place";
}

/* gather_runs() takes any row whose columns lie together, in its own dtype, unless it has offsets. */
static const char *dot_reading(const fattn_view *view, const fattn_affine *affine)
{
    if (columns_of(view)) return columns_of(view);
    const bool widened = grid_present(&affine->offset) || item_kernel(view->dtype) < 0;
    return widened ? "widened" : "in_place";
}

static void count_works(const fattn_problem *p, const fattn_cpu_plan *plan, fattn_explanation *out)
{
    const double row = (double)p->d_qk * (double)fattn_dtype_size(p->k.dtype) +
                       (double)p->d_v * (double)fattn_dtype_size(p->v.dtype);
    for (int64_t i = 0; i < plan->n_works; i++) {
        const fattn_work *work = &plan->works[i];
        out->dot_items += work->dot;
        out->tile_items += !work->dot;
        out->split_items += work->merge > MUTANT(131, -1, 0);
        out->item_rows = i64_max(out->item_rows, work->rows);
        out->kv_read_bytes += (double)(work->k1 - work->k0) * row;
    }
}

/* The family, and which of the two conditions of a split the sequence as a whole fails. */
static void count_seq(const fattn_cpu_plan *plan, const fattn_problem *p, const fattn_seq *seq,
                      fattn_explanation *out)
{
    if (seq->q_len == 0) return;
    const int64_t k0 = mask_interval(seq, 0).lo, k1 = mask_interval(seq, seq->q_len - 1).hi;
    if (seq->q_len * p->group < plan->kernels->dot_rows)
        out->dot_sequences++;
    else
        out->tile_sequences++;
    if (k1 <= k0 || k0 / plan->kernels->split_keys == (k1 - 1) / plan->kernels->split_keys)
        out->one_split++;
    else if (seq->q_len > SPLIT_Q_LEN)
        out->many_rows++;
    else
        out->split_sequences++;
}

void explain_cpu(const fattn_problem *p, const fattn_cpu_plan *plan, fattn_explanation *out)
{
    out->isa = plan->kernels->name;
    const bool half = plan->half && plan->n_works > plan->n_dots;
    out->compute = fattn_compute_name(half ? FATTN_COMPUTE_F16 : FATTN_COMPUTE_F32);
    out->items = plan->n_works;
    out->merges = plan->n_merges;
    out->tile_rows = TILE_ROWS;
    out->tile_keys = TILE_KEYS;
    out->dot_below = plan->kernels->dot_rows;
    out->split_keys = plan->kernels->split_keys;
    out->split_q_len = SPLIT_Q_LEN;
    count_works(p, plan, out);
    for (int64_t s = 0; s < p->n_seqs; s++) count_seq(plan, p, &p->seqs[s], out);
    if (out->tile_items > 0)
        out->tile_reads =
            (fattn_reading){tile_reading(p, &p->k, false), tile_reading(p, &p->v, true)};
    if (out->dot_items > 0)
        out->dot_reads = (fattn_reading){dot_reading(&p->k, &p->k_affine),
                                         dot_reading(&p->v, &p->v_affine)};
}

void explain_backward(const fattn_grad_plan *plan, fattn_explanation *out)
{
    out->isa = plan->kernels->name;
    out->compute = fattn_compute_name(FATTN_COMPUTE_F32);
    out->items = out->tile_items = plan->n_works;
    out->merges = plan->n_merges;
    out->tile_rows = TILE_ROWS;
    out->tile_keys = TILE_KEYS;
    for (int64_t w = 0; w < plan->n_works; w++) {
        const fattn_work *work = &plan->works[w].work;
        out->split_items += work->merge >= 0;
        out->item_rows = i64_max(out->item_rows, work->rows);
    }
}
