/* SPDX-License-Identifier: Apache-2.0 */
/* view.c — where a row starts, contiguous or paged, and the check of the block ids that are used.
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

/* The pages of one view that a sequence with keys walks. */
static fattn_status check_pages(const fattn_problem *p, const fattn_view *view,
                                const fattn_seq *seq, const void *table)
{
    const int64_t first = seq->kv_row0 / view->page_rows;
    const int64_t unchecked = MUTANT(24, 0, view->page_rows - 1);
    const int64_t end = i64_div_up(seq->kv_row0 + seq->kv_len - unchecked, view->page_rows);
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
