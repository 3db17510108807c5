/* SPDX-License-Identifier: Apache-2.0 */
/* scales.c — grids read into fp32, one vector load per run of keys where they lie together. */
#include "cpu/scales.h"

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

fattn_scales_kind scales_kind_of(const fattn_affine *affine)
{
    const fattn_grid *g = &affine->scale;
    if (!grid_present(g)) return SCALES_NONE;
    const bool by_key = g->by_page || g->row_stride != 0;
    if (by_key) return g->col_stride != 0 ? SCALES_BY_BOTH : SCALES_BY_KEY;
    return SCALES_BY_COLUMN;
}

fattn_scales_kind scales_folded(const fattn_source *s)
{
    const fattn_scales_kind kind = scales_kind_of(quant_of(s->p, s->ptrs, s->operand).affine);
    const bool beside_rope = kind == SCALES_BY_KEY && MUTANT(211, s->view->n_parts, 1) > 1;
    return kind == SCALES_BY_BOTH || beside_rope ? SCALES_NONE : kind;
}

/* Numbers of columns [0, d) at element `at`, times `factor`. */
static void read_columns(const fattn_grid *g, const void *base, int64_t at, int64_t d, double factor,
                         const fattn_kernels *kernels, float *dst)
{
    const int64_t size = (int64_t)fattn_dtype_size(g->dtype);
    if (factor == 1.0 && g->col_stride == 1 && g->col_group == 1 && item_kernel(g->dtype) >= 0) {
        kernels->load[item_kernel(g->dtype)](dst, 0, (const char *)base + at * size, 0, 1, (int)d);
        return;
    }
    for (int64_t c = 0; c < d; c++)
        dst[c] = (float)(grid_load(g, base, at + grid_column(g, c)) * factor);
}

static void open_side(const fattn_item *it, fattn_operand operand, int64_t d,
                      const fattn_scales *scales, double factor)
{
    const fattn_quant q = quant_of(it->p, it->ptrs, operand);
    const fattn_grid *scale = &q.affine->scale, *offset = &q.affine->offset;
    if (scales_kind_of(q.affine) != SCALES_BY_COLUMN) return;
    const int64_t head = it->work->kv_head, batch = it->seq->batch;
    read_columns(scale, q.scale, grid_at(scale, batch, head, 0), d, factor, it->kernels, scales->mul);
    if (grid_present(offset))
        read_columns(offset, q.offset, grid_at(offset, batch, head, 0), d, 1.0, it->kernels, scales->add);
}

void scales_open(const fattn_item *it)
{
    const fattn_problem *p = it->p;
    const double p_scale = grid_load(&p->p_scale, it->ptrs->p_scale, 0);
    open_side(it, OPERAND_KEY, p->k.part[0].d, &it->scratch->k_scales, 1.0);
    open_side(it, OPERAND_VALUE, p->d_v, &it->scratch->v_scales, p_scale);
}

/* Numbers of keys [j, j + n). */
static void read_keys(const fattn_source *s, const fattn_kernels *kernels, const fattn_grid *g,
                      const void *base, int64_t j, int n, float *dst)
{
    const int64_t size = (int64_t)fattn_dtype_size(g->dtype);
    for (int done = 0; done < n;) {
        int64_t run = n - done;
        const int64_t at = grid_of_key(s->p, g, s->ptrs->table, s->seq, s->head, j + done, &run);
        if (g->row_stride == 1 && item_kernel(g->dtype) >= 0)
            kernels->load[item_kernel(g->dtype)](dst + done, 0, (const char *)base + at * size, 0, 1,
                                                 (int)run);
        else
            for (int64_t k = 0; k < run; k++)
                dst[done + k] = (float)grid_load(g, base, at + k * g->row_stride);
        done += (int)run;
    }
}

void scales_of_keys(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n, float *dst)
{
    const fattn_quant q = quant_of(s->p, s->ptrs, s->operand);
    read_keys(s, kernels, &q.affine->scale, q.scale, j, n, dst);
}

/* Both kinds at once: key by key, with the numbers of its columns. */
static void apply_by_both(const fattn_source *s, const fattn_quant *q, const fattn_kernels *kernels,
                          int64_t j, int n, int d, float *tile, int64_t ld)
{
    const fattn_grid *scale = &q->affine->scale;
    for (int k = 0; k < n; k++) {
        int64_t run = 1;
        const int64_t at = grid_of_key(s->p, scale, s->ptrs->table, s->seq, s->head, j + k, &run);
        read_columns(scale, q->scale, at, d, 1.0, kernels, s->scales->mul);
        kernels->affine(tile + k * ld, (ptrdiff_t)ld, 1, d, NULL, s->scales->mul, 0);
    }
}

void scales_apply(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n, bool folded,
                  float *tile, int64_t ld)
{
    const fattn_quant q = quant_of(s->p, s->ptrs, s->operand);
    const fattn_scales_kind kind = scales_kind_of(q.affine);
    const bool offset = grid_present(&q.affine->offset);
    const int d = (int)s->view->part[0].d;
    if (scales_folded(s) == SCALES_NONE) folded = false;
    if (kind == SCALES_NONE || (folded && !offset)) return;
    if (kind == SCALES_BY_BOTH) {
        apply_by_both(s, &q, kernels, j, n, d, tile, ld);
        return;
    }
    if (kind == SCALES_BY_KEY && offset)
        read_keys(s, kernels, &q.affine->offset, q.offset, j, n, s->scales->key_add);
    if (kind == SCALES_BY_KEY && !folded)
        read_keys(s, kernels, &q.affine->scale, q.scale, j, n, s->scales->key_mul);
    const bool by_key = kind == SCALES_BY_KEY;
    const float *add = by_key ? s->scales->key_add : s->scales->add;
    const float *mul = by_key ? s->scales->key_mul : s->scales->mul;
    kernels->affine(tile, (ptrdiff_t)ld, n, d, offset ? add : NULL,
                    MUTANT(204, folded, false) ? NULL : mul, by_key);
}
