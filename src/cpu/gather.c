/* SPDX-License-Identifier: Apache-2.0 */
/* gather.c — runs x parts, each loaded by the kernel table; odd strides go element by element. */
#include "cpu/gather.h"

#include <string.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"

static fattn_source source_of(const fattn_item *it, const fattn_view *view, const void *part0,
                              const void *part1)
{
    return (fattn_source){.p = it->p,
                          .view = view,
                          .base = {part0, part1},
                          .table = it->ptrs->table,
                          .seq = it->seq,
                          .head = MUTANT(38, it->work->kv_head, 0)};
}

fattn_source gather_keys(const fattn_item *it)
{
    return source_of(it, &it->p->k, it->ptrs->k[0], it->ptrs->k[1]);
}

fattn_source gather_values(const fattn_item *it)
{
    return source_of(it, &it->p->v, it->ptrs->v, NULL);
}

static const char *element_at(const void *base, fattn_dtype dtype, int64_t offset)
{
    return (const char *)base + offset * (int64_t)fattn_dtype_size(dtype);
}

static float widen(const char *at, fattn_dtype dtype)
{
    float value;
    uint16_t bits;
    if (dtype == FATTN_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&bits, at, sizeof bits);
    return dtype == FATTN_F16 ? half_from_f16(bits) : half_from_bf16(bits);
}

/* Address of one part of key j, and how many of the n keys from there lie row_stride apart. */
static int run_at(const fattn_source *s, int part, int64_t j, int n, const char **at)
{
    const int64_t row = s->seq->kv_row0 + j;
    const int64_t offset =
        view_offset(s->p, s->view, part, s->table, s->seq->batch, s->head, row);
    *at = element_at(s->base[part], s->view->dtype, offset);
    if (MUTANT(37, s->view->page_rows == 0, true)) return n;
    return (int)i64_min(n, s->view->page_rows - row % s->view->page_rows);
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
    const int64_t size = (int64_t)fattn_dtype_size(dtype);
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < part->d; c++)
            dst[r * ld + c] =
                widen(src + (r * part->row_stride + c * part->col_stride) * size, dtype);
}

static void zero_columns(float *dst, int64_t ld, int64_t first, int rows)
{
    for (int r = 0; r < rows && first < ld; r++)
        memset(dst + r * ld + first, 0, (size_t)(ld - first) * sizeof *dst);
}

/* One part of some rows into its columns of a tile. The load kernel writes whole vectors, so a part that
 * begins inside one goes element by element. */
static void load_part(const fattn_kernels *kernels, const fattn_view *view, int part, const char *src,
                      int rows, float *dst, int64_t ld)
{
    const fattn_part *columns = &view->part[part];
    const int64_t first = first_column(view, part);
    if (columns->col_stride == 1 && first % LANES_MAX == 0)
        kernels->load[item_dtype(view->dtype)](dst + first, (ptrdiff_t)ld, src,
                                               (ptrdiff_t)columns->row_stride, rows,
                                               (int)columns->d);
    else
        load_elements(dst + first, ld, src, view->dtype, columns, rows);
}

static void load_rows(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                      float *dst, int64_t ld)
{
    zero_columns(dst, ld, view_columns(s->view), n);
    for (int part = 0; part < s->view->n_parts; part++)
        for (int done = 0; done < n;) {
            const char *src;
            const int rows = run_at(s, part, j + done, n - done, &src);
            load_part(kernels, s->view, part, src, rows, dst + done * ld, ld);
            done += rows;
        }
}

fattn_tile gather_tile(const fattn_source *s, const fattn_kernels *kernels, int64_t j, int n,
                       bool whole_vectors, float *scratch, int64_t ld)
{
    const fattn_part *part = &s->view->part[0];
    const bool plain = s->view->dtype == FATTN_F32 && s->view->n_parts == 1 &&
                       part->col_stride == 1 && part->row_stride == part->d &&
                       (!whole_vectors || part->d % LANES_MAX == 0);
    const char *at;
    if (plain && run_at(s, 0, j, n, &at) == n)
        return (fattn_tile){.at = (const float *)(const void *)at, .ld = (ptrdiff_t)part->d};

    load_rows(s, kernels, j, n, scratch, ld);
    return (fattn_tile){.at = scratch, .ld = (ptrdiff_t)ld};
}

bool gather_direct(const fattn_source *s)
{
    return s->view->n_parts == 1 && s->view->part[0].col_stride == 1;
}

void gather_runs(const fattn_source *s, int64_t j, int n, fattn_runs *runs)
{
    runs->ld = (ptrdiff_t)s->view->part[0].row_stride;
    runs->count = 0;
    for (int done = 0; done < n;) {
        fattn_run *run = &runs->run[runs->count++];
        run->first = done;
        run->n = run_at(s, 0, j + done, n - done, &run->at);
        done += run->n;
    }
}

static void copy_part(char *dst, int64_t ld_bytes, const char *src, size_t size,
                      const fattn_part *part, int rows)
{
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < part->d; c++)
            memcpy(dst + r * ld_bytes + c * (int64_t)size,
                   src + (r * part->row_stride + c * part->col_stride) * (int64_t)size, size);
}

void gather_copy(const fattn_source *s, int64_t j, int n, void *scratch, fattn_runs *runs)
{
    const size_t size = fattn_dtype_size(s->view->dtype);
    const int64_t d = view_columns(s->view);
    const int64_t ld_bytes = d * (int64_t)size;
    for (int part = 0; part < s->view->n_parts; part++)
        for (int done = 0; done < n;) {
            const char *src;
            const int rows = run_at(s, part, j + done, n - done, &src);
            char *dst = (char *)scratch + done * ld_bytes +
                        first_column(s->view, part) * (int64_t)size;
            copy_part(dst, ld_bytes, src, size, &s->view->part[part], rows);
            done += rows;
        }
    runs->ld = (ptrdiff_t)d;
    runs->count = 1;
    runs->run[0] = (fattn_run){.at = scratch, .first = 0, .n = n};
}

/* Address of one part of packed query row r. */
static const char *query_at(const fattn_item *it, int part, int64_t r)
{
    const int64_t offset =
        view_offset(it->p, &it->p->q, part, NULL, it->seq->batch, item_head(it, r),
                    it->seq->q_row0 + item_query(it, r));
    return element_at(it->ptrs->q[part], it->p->q.dtype, offset);
}

void gather_q_panel(const fattn_item *it, int64_t r, int n, float factor, float *qt)
{
    const fattn_view *view = &it->p->q;
    for (int part = 0; part < view->n_parts; part++) {
        const fattn_part *columns = &view->part[part];
        const bool strided = columns->col_stride != 1;
        const void *rows[TILE_ROWS];
        for (int lane = 0; lane < n; lane++) {
            const char *src = query_at(it, part, r + lane);
            float *copy = it->scratch->k + lane * it->scratch->ldk;
            if (strided) load_elements(copy, 0, src, view->dtype, columns, 1);
            rows[lane] = strided ? (const void *)copy : (const void *)src;
        }
        const fattn_pack_fn pack =
            it->kernels->pack[strided ? KERNEL_F32 : item_dtype(view->dtype)];
        pack(qt + first_column(view, part) * TILE_ROWS, rows, n, (int)columns->d, factor);
    }
}

void gather_q_rows(const fattn_item *it, int64_t r, int n, float factor, float *q)
{
    const fattn_view *view = &it->p->q;
    const int64_t ldk = it->scratch->ldk;
    zero_columns(q, ldk, it->p->d_qk, n);
    for (int row = 0; row < n; row++)
        for (int part = 0; part < view->n_parts; part++)
            load_part(it->kernels, view, part, query_at(it, part, r + row), 1, q + row * ldk, ldk);
    for (int64_t c = 0; c < n * ldk; c++) q[c] *= factor;
}
