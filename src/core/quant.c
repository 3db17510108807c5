/* SPDX-License-Identifier: Apache-2.0 */
/* quant.c — scales and offsets found for a key, and one number of them read; the slow, exact way. */
#include "core/quant.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

int64_t grid_of_key(const fattn_problem *p, const fattn_grid *g, const void *table,
                    const fattn_seq *seq, int64_t kv_head, int64_t j, int64_t *n)
{
    const int64_t row = seq->scale_row0 + j;
    if (!g->by_page) return grid_at(g, seq->batch, kv_head, row);
    const int64_t rows = p->k.page_rows, slot = row % rows;
    *n = i64_min(*n, rows - slot);
    return table_page(p, table, seq->batch, row / rows) * g->page_stride +
           kv_head * g->head_stride + MUTANT(199, slot, 0) * g->row_stride;
}

/* An fp32 in the low half of 64 bits, as the device's packed scales are. */
static double load_low_half(const void *base, int64_t at)
{
    uint64_t wide;
    uint32_t low;
    float value;
    memcpy(&wide, (const char *)base + at * (int64_t)sizeof wide, sizeof wide);
    low = (uint32_t)wide;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

double grid_load(const fattn_grid *g, const void *base, int64_t at)
{
    if (!grid_present(g)) return 1.0;
    return g->dtype == FATTN_I64 ? load_low_half(base, at) : element_load(base, g->dtype, at);
}

fattn_quant quant_of(const fattn_problem *p, const fattn_ptrs *ptrs, fattn_operand operand)
{
    const bool keys = operand == OPERAND_KEY;
    return (fattn_quant){.affine = keys ? &p->k_affine : &p->v_affine,
                         .scale = keys ? ptrs->k_scale : ptrs->v_scale,
                         .offset = keys ? ptrs->k_offset : ptrs->v_offset};
}

double quant_value(const fattn_problem *p, const fattn_ptrs *ptrs, fattn_operand operand,
                   const fattn_seq *seq, int64_t kv_head, int64_t j, int64_t c, double x)
{
    const fattn_quant q = quant_of(p, ptrs, operand);
    const fattn_grid *scale = &q.affine->scale, *offset = &q.affine->offset;
    int64_t n = 1;
    if (grid_present(offset))
        x += grid_load(offset, q.offset,
                       grid_of_key(p, offset, ptrs->table, seq, kv_head, j, &n) +
                           grid_column(offset, c));
    if (!grid_present(scale)) return x;
    const int64_t at =
        grid_of_key(p, scale, ptrs->table, seq, kv_head, j, &n) + grid_column(scale, c);
    return x * grid_load(scale, q.scale, at);
}

double quant_out(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t head, int64_t c,
                 double value)
{
    const fattn_grid *scale = &p->out_affine.scale, *offset = &p->out_affine.offset;
    if (grid_present(scale))
        value *= grid_load(scale, ptrs->out_scale, grid_at(scale, 0, head, 0) + grid_column(scale, c));
    if (!grid_present(offset)) return value;
    return value +
           grid_load(offset, ptrs->out_offset, grid_at(offset, 0, head, 0) + grid_column(offset, c));
}
