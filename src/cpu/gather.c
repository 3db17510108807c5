/* SPDX-License-Identifier: Apache-2.0 */
/* gather.c — spans x parts x strips, each loaded by the kernel table; odd strides go element by
 * element. */
#include "cpu/gather.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"
#include "core/quant.h"
#include "cpu/scales.h"

fattn_source gather_keys(const fattn_item *it)
{
    return (fattn_source){.p = it->p,
                          .ptrs = it->ptrs,
                          .view = &it->p->k,
                          .seq = it->seq,
                          .operand = OPERAND_KEY,
                          .head = MUTANT(38, it->work->kv_head, 0),
                          .scales = &it->scratch->k_scales};
}

fattn_source gather_values(const fattn_item *it)
{
    fattn_source source = gather_keys(it);
    source.view = &it->p->v;
    source.operand = OPERAND_VALUE;
    source.scales = &it->scratch->v_scales;
    return source;
}

static const char *element_at(const void *base, fattn_dtype dtype, int64_t offset)
{
    return (const char *)base + offset * (int64_t)fattn_dtype_size(dtype);
}

static fattn_span span_at(const fattn_source *s, int part, int64_t j, int n)
{
    fattn_span span = view_span(s->p, s->ptrs, s->seq, s->operand, part, s->head, j, n);
    span.n = MUTANT(37, span.n, n);
    return span;
}

/* Column in the tile where a part begins. */
static int64_t first_column(const fattn_view *view, int part)
{
    return part == 0 ? 0 : view->part[0].d;
}

static int64_t view_columns(const fattn_view *view)
{
    const int last = view->n_parts - 1;
    return first_column(view, last) + view->part[last].d;
}

static void load_elements(float *dst, int64_t ld, const char *src, fattn_dtype dtype,
                          const fattn_part *part, int rows)
{
    const int pack = element_pack(dtype);
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < part->d; c++)
            dst[r * ld + c] = (float)element_load_packed(
                src, dtype, r * part->row_stride + part_column(part, c / pack), (int)(c % pack));
}

/* Strips of adjacent columns, one after the other; each is padded with zeros that the next one
 * overwrites. */
static void load_strips(const fattn_kernels *kernels, float *dst, int64_t ld, const char *src,
                        fattn_dtype dtype, const fattn_part *part, int rows)
{
    const fattn_load_fn load = kernels->load[item_kernel(dtype)];
    const int pack = element_pack(dtype);
    const int64_t strip = part->chunk ? part->chunk * pack : part->d;
    for (int64_t c = 0; c < part->d; c += strip)
        load(dst + c, (ptrdiff_t)ld, element_at(src, dtype, part_column(part, c / pack)),
             (ptrdiff_t)part->row_stride * pack, rows, (int)i64_min(strip, part->d - c));
}

static void zero_columns(float *dst, int64_t ld, int64_t first, int rows)
{
    for (int r = 0; r < rows && first < ld; r++)
        memset(dst + r * ld + first, 0, (size_t)(ld - first) * sizeof *dst);
}

/* One part of some rows into its columns of a tile. The load kernel writes whole vectors, so what
 * begins inside one goes element by element. */
static void load_part(const fattn_kernels *kernels, const fattn_view *view, int part,
                      const fattn_part *columns, const char *src, int rows, float *dst, int64_t ld)
{
    const int64_t first = first_column(view, part);
    const fattn_dtype dtype = view_dtype(view, part);
    if (columns->col_stride == 1 && first % LANES_MAX == 0 && item_kernel(dtype) >= 0 &&
        columns->chunk * element_pack(dtype) % LANES_MAX == 0)
        load_strips(kernels, dst + first, ld, src, dtype, columns, rows);
    else
        load_elements(dst + first, ld, src, dtype, columns, rows);
}

static void load_rows(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                      float *dst, int64_t ld)
{
    zero_columns(dst, ld, view_columns(s->view), n);
    for (int part = 0; part < s->view->n_parts; part++)
        for (int done = 0; done < n;) {
            const fattn_span span = span_at(s, part, j + done, n - done);
            load_part(kernels, s->view, part, span.part, span.at, (int)span.n, dst + done * ld, ld);
            done += (int)span.n;
        }
}

fattn_tile gather_tile(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                       bool whole_vectors, float *scratch, int64_t ld)
{
    if (s->view->dtype == FATTN_F32 && s->view->n_parts == 1) {
        const fattn_span span = span_at(s, 0, j, n);
        const fattn_part *part = span.part;
        /* qk reads a few keys from end to end, however far apart they lie; pv reads a few columns of all rows, which
         * fall into the same sets of the cache when a row of the tensor is all heads of a token. */
        if (span.n == n && part->col_stride == 1 && part->chunk == 0 &&
            (!whole_vectors || (part->row_stride == part->d && part->d % LANES_MAX == 0)))
            return (fattn_tile){.at = span.at, .ld = (ptrdiff_t)part->row_stride};
    }
    load_rows(s, kernels, j, n, scratch, ld);
    scales_apply(s, kernels, j, n, false, scratch, ld);
    return (fattn_tile){.at = scratch, .ld = (ptrdiff_t)ld};
}

fattn_tile gather_folded(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                         float *scratch, int64_t ld)
{
    load_rows(s, kernels, j, n, scratch, ld);
    scales_apply(s, kernels, j, n, true, scratch, ld);
    return (fattn_tile){.at = scratch, .ld = (ptrdiff_t)ld};
}

/* Rows that the dot family can read where they lie; chunk 0 there means that the columns lie
 * together. */
static bool find_run(const fattn_span *span, int pack, int first, fattn_run *run)
{
    const fattn_part *part = span->part;
    const int64_t chunk = part->chunk * pack < part->d ? part->chunk * pack : 0;
    *run = (fattn_run){.at = span->at,
                       .ld = (ptrdiff_t)part->row_stride * pack,
                       .stride = (ptrdiff_t)part->chunk_stride * pack,
                       .chunk = (int)chunk,
                       .first = first,
                       .n = (int)span->n};
    return part->col_stride == 1 && chunk % LANES_MAX == 0;
}

void gather_runs(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                 float *scratch, int64_t ld, fattn_runs *runs)
{
    const fattn_affine *affine = quant_of(s->p, s->ptrs, s->operand).affine;
    const int kernel = item_kernel(s->view->dtype), pack = element_pack(s->view->dtype);
    bool direct = s->view->n_parts == 1 && kernel >= 0 && kernels->dot[kernel] &&
                  !grid_present(&affine->offset) &&
                  (!grid_present(&affine->scale) || scales_folded(s) != SCALES_NONE);
    runs->kernel = kernel;
    runs->count = 0;
    for (int done = 0; direct && done < n;) {
        const fattn_span span = span_at(s, 0, j + done, n - done);
        direct = find_run(&span, pack, done, &runs->run[runs->count++]);
        done += (int)span.n;
    }
    if (direct) return;
    gather_folded(s, kernels, j, n, scratch, ld);
    runs->kernel = KERNEL_F32;
    runs->count = n > 0;
    runs->run[0] =
        (fattn_run){.at = (const char *)scratch, .ld = (ptrdiff_t)ld, .first = 0, .n = n};
}

fattn_rows gather_queries(const fattn_item *it)
{
    return (fattn_rows){.view = &it->p->q, .at = it->ptrs->q};
}

float gather_factor(const fattn_item *it, int64_t r)
{
    const fattn_problem *p = it->p;
    if (p->round_scores_f16) return 1.0f;
    const int64_t row = it->seq->q_row0 + item_query(it, r);
    const int64_t at = grid_at(&p->q_scale, it->seq->batch, item_head(it, r), row);
    return (float)(p->scale * LOG2_E * grid_load(&p->q_scale, it->ptrs->q_scale, at) *
                   grid_load(&p->score_scale, it->ptrs->score_scale, 0));
}

/* Address of one part of packed row r. */
static const char *row_at(const fattn_item *it, const fattn_rows *rows, int part, int64_t r)
{
    const int64_t offset = view_offset(it->p, rows->view, part, NULL, it->seq->batch,
                                       item_head(it, r), it->seq->q_row0 + item_query(it, r));
    return element_at(rows->at[part], view_dtype(rows->view, part), offset);
}

void gather_panel(const fattn_item *it, const fattn_rows *from, int64_t r, int n, float factor,
                  float *qt)
{
    const fattn_view *view = from->view;
    for (int part = 0; part < view->n_parts; part++) {
        const fattn_part *columns = &view->part[part];
        const fattn_dtype dtype = view_dtype(view, part);
        const bool strided = columns->col_stride != 1 || !element_is_float(dtype);
        const void *rows[TILE_ROWS];
        for (int lane = 0; lane < n; lane++) {
            const char *src = row_at(it, from, part, r + lane);
            float *copy = it->scratch->strided + lane * columns->d;
            if (strided) load_elements(copy, 0, src, dtype, columns, 1);
            rows[lane] = strided ? (const void *)copy : (const void *)src;
        }
        const fattn_pack_fn pack = it->kernels->pack[strided ? KERNEL_F32 : item_dtype(dtype)];
        pack(qt + first_column(view, part) * TILE_ROWS, rows, n, (int)columns->d, factor);
    }
}

void gather_rows(const fattn_item *it, const fattn_rows *from, int64_t r, int n, float *dst,
                 int64_t ld)
{
    zero_columns(dst, ld, view_columns(from->view), n);
    for (int row = 0; row < n; row++)
        for (int part = 0; part < from->view->n_parts; part++)
            load_part(it->kernels, from->view, part, &from->view->part[part],
                      row_at(it, from, part, r + row), 1, dst + row * ld, ld);
}
