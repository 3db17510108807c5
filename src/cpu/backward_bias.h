/* SPDX-License-Identifier: Apache-2.0 */
/* backward_bias.h — the gradient of the bias: dS, summed over the cells of the scores that read the
 * same cell of the bias (spec fusion-attention 5.3).
 *
 *   CELLS    every cell is read once: written as it comes
 *   COLUMNS  all rows of a head read the same cells: column sums per item, added at the end
 *   SLOPES   one number per head: sums per item, added at the end
 *   POOLED   batch entries share the cells, or rows 1024 apart do (compressed): a second pass over the
 *            scores, one item per 64 rows of the stored bias, which holds their sums in fp32 */
#ifndef FATTN_CPU_BACKWARD_BIAS_H
#define FATTN_CPU_BACKWARD_BIAS_H

#include "cpu/backward_panel.h"

typedef enum bias_way { BIAS_UNWANTED, BIAS_CELLS, BIAS_COLUMNS, BIAS_SLOPES, BIAS_POOLED } bias_way;

bias_way bias_way_of(const fattn_problem *p);

/* CELLS, COLUMNS, SLOPES: takes the dS that panel_grads() left. columns: [group][kv_len], slopes:
 * [group]. */
void bias_take(const fattn_item *it, const fattn_grad_panel *panel, bias_way way, int64_t j, int n,
               float *columns, double *slopes);

/* One cell of the gradient of the bias, and the cells of a head that all rows of a sequence share. */
void bias_store(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t at, float value);
void bias_store_columns(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                        int64_t head, const float *columns);

/* The items of the second pass: `groups` of the batch (one when it shares the cells), kv heads, blocks
 * of stored packed rows. */
typedef struct fattn_pool_plan {
    int64_t groups, blocks; /* n_items = groups * n_kv_heads * blocks */
    int64_t rows, cols;     /* stored packed rows per head group; columns */
} fattn_pool_plan;

fattn_pool_plan pool_plan_of(const fattn_problem *p, bias_way way);

/* Computes item `index`; it->work and it->seq are set here. */
void pool_item(const fattn_item *base, const fattn_pool_plan *plan, int64_t index);

#endif
