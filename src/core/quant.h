/* SPDX-License-Identifier: Apache-2.0 */
/* quant.h — where the scales and offsets of quantised operands lie (spec inference 4).
 *
 * Per tensor, channel, head, token, page and group are one thing, a fattn_grid with some strides 0; who
 * reads one does not ask which it is. */
#ifndef FATTN_CORE_QUANT_H
#define FATTN_CORE_QUANT_H

#include "core/problem.h"

static inline bool grid_present(const fattn_grid *g) { return g->dtype != FATTN_DTYPE_NONE; }

/* Element of the grid, counted from its base. */
static inline int64_t grid_at(const fattn_grid *g, int64_t batch, int64_t head, int64_t row)
{
    return batch * g->batch_stride + head * g->head_stride + row * g->row_stride;
}

/* Offset of column c from there. */
static inline int64_t grid_column(const fattn_grid *g, int64_t c)
{
    return c / g->col_group * g->col_stride;
}

/* The element for key j of a sequence, column 0, and how many of the n >= 1 keys from there follow in
 * row_stride. */
int64_t grid_of_key(const fattn_problem *p, const fattn_grid *g, const void *table,
                    const fattn_seq *seq, int64_t kv_head, int64_t j, int64_t *n);

/* Number `at` of the grid; 1 when there is no grid. */
double grid_load(const fattn_grid *g, const void *base, int64_t at);

/* The numbers of one operand. */
typedef struct fattn_quant {
    const fattn_affine *affine;
    const void *scale, *offset;
} fattn_quant;

fattn_quant quant_of(const fattn_problem *p, const fattn_ptrs *ptrs, fattn_operand operand);
static inline bool quant_present(const fattn_quant *q) { return grid_present(&q->affine->scale); }

/* (x + offset) * scale in double, for column c of key j. */
double quant_value(const fattn_problem *p, const fattn_ptrs *ptrs, fattn_operand operand,
                   const fattn_seq *seq, int64_t kv_head, int64_t j, int64_t c, double x);

/* What the output stores, before it is rounded: value * scale + offset of column c of a head. */
double quant_out(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t head, int64_t c,
                 double value);

#endif
