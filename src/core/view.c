/* SPDX-License-Identifier: Apache-2.0 */
/* view.c — where a row starts: contiguous, paged, listed, behind a shared prefix; and the check of
 * the block ids that are used.
 *
 * Block ids are data from outside: problem_check_table() looks at exactly those that a run will
 * read, the others may be uninitialised. */
#include <string.h>

#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/problem.h"

int64_t table_page(const fattn_problem *p, const void *table, int64_t batch, int64_t index)
{
    const int64_t at = batch * p->table.batch_stride + index * p->table.col_stride;
    int64_t wide;
    int32_t narrow;
    if (p->table.dtype == FATTN_I64) {
        memcpy(&wide, (const char *)table + at * (int64_t)sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)table + at * (int64_t)sizeof narrow, sizeof narrow);
    return narrow;
}

int64_t view_offset(const fattn_problem *p, const fattn_view *view, int part, const void *table,
                    int64_t batch, int64_t head, int64_t row)
{
    const fattn_part *columns = &view->part[part];
    const int64_t head_offset = head * columns->head_stride;
    if (view->page_rows == 0)
        return batch * columns->batch_stride + head_offset + row * columns->row_stride;
    const int64_t page = table_page(p, table, batch, row / view->page_rows);
    return page * columns->page_stride + head_offset +
           row % MUTANT(23, view->page_rows, 1) * columns->row_stride;
}

static const void *operand_base(const fattn_ptrs *ptrs, const fattn_seq *seq, fattn_operand operand,
                                int part, const fattn_view *view)
{
    const bool keys = operand == OPERAND_KEY;
    if (view->list) return (keys ? ptrs->k_list : ptrs->v_list)[seq->batch]->data;
    return keys ? ptrs->k[part] : ptrs->v;
}

static const void *element_at(const void *base, const fattn_view *view, int part, int64_t offset)
{
    return (const char *)base + offset * (int64_t)fattn_dtype_size(view_dtype(view, part));
}

static fattn_span shared_span(const fattn_problem *p, const fattn_ptrs *ptrs, fattn_operand operand,
                              int64_t kv_head, int64_t j, int64_t n)
{
    const bool keys = operand == OPERAND_KEY;
    const fattn_view *view = keys ? &p->k_shared : &p->v_shared;
    const int64_t offset = view_offset(p, view, 0, NULL, 0, kv_head, j);
    return (fattn_span){.at = element_at(keys ? ptrs->k_shared : ptrs->v_shared, view, 0, offset),
                        .part = &view->part[0],
                        .n = MUTANT(100, i64_min(n, p->shared_len - j), n)};
}

fattn_span view_span(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                     fattn_operand operand, int part, int64_t kv_head, int64_t j, int64_t n)
{
    if (j < p->shared_len) return shared_span(p, ptrs, operand, kv_head, j, n);
    const fattn_view *view = operand == OPERAND_KEY ? &p->k : &p->v;
    const fattn_part *columns =
        view->list ? &view->list[MUTANT(101, seq->batch, 0)] : &view->part[part];
    const void *base = operand_base(ptrs, seq, operand, part, view);
    const int64_t row = seq->kv_row0 + j - p->shared_len;
    if (view->list)
        return (fattn_span){
            .at =
                element_at(base, view, part, kv_head * columns->head_stride + row * columns->row_stride),
            .part = columns,
            .n = n};
    const int64_t offset = view_offset(p, view, part, ptrs->table, seq->batch, kv_head, row);
    if (view->page_rows > 0) n = i64_min(n, view->page_rows - row % view->page_rows);
    return (fattn_span){.at = element_at(base, view, part, offset), .part = columns, .n = n};
}

/* The pages of one view that a sequence with keys walks. */
static fattn_status check_pages(const fattn_problem *p, const fattn_view *view,
                                const fattn_seq *seq, const void *table)
{
    const int64_t first = seq->kv_row0 / view->page_rows;
    const int64_t own = seq->kv_len - p->shared_len, unchecked = MUTANT(24, 0, view->page_rows - 1);
    const int64_t end = i64_div_up(seq->kv_row0 + own - unchecked, view->page_rows);
    for (int64_t index = first; index < end; index++) {
        const int64_t page = table_page(p, table, seq->batch, index);
        REQUIRE(page >= 0 && page < view->n_pages, FATTN_E_ARG,
                "block_table[%lld][%lld] is %lld: the cache has %lld blocks, and %lld keys of this "
                "batch entry need this one",
                (long long)seq->batch, (long long)index, (long long)page, (long long)view->n_pages,
                (long long)seq->kv_len);
    }
    return FATTN_OK;
}

fattn_status problem_check_table(const fattn_problem *p, const fattn_ptrs *ptrs)
{
    for (int64_t s = 0; s < p->n_seqs; s++) {
        const fattn_seq *seq = &p->seqs[s];
        if (seq->pad || seq->q_len == 0 || seq->kv_len == 0) continue;
        if (p->k.page_rows > 0) TRY(check_pages(p, &p->k, seq, ptrs->table));
        if (p->v.page_rows > 0) TRY(check_pages(p, &p->v, seq, ptrs->table));
    }
    return FATTN_OK;
}
