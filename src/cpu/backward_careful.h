/* SPDX-License-Identifier: Apache-2.0 */
/* backward_careful.h — NaN and Inf beside hidden cells. A hidden cell has weight 0, but 0 * Inf is NaN:
 * an operand with non-finite values is multiplied without them, and they are added afterwards to
 * exactly the sums whose cells count (values.h, for the three products of the backward pass). */
#ifndef FATTN_CPU_BACKWARD_CAREFUL_H
#define FATTN_CPU_BACKWARD_CAREFUL_H

#include "cpu/gather.h"

typedef struct fattn_cells {
    const float *weights;  /* [key][TILE_ROWS] */
    const uint64_t *hidden; /* [key] bit = row */
    int keys, rows;
} fattn_cells;

/* `rows` rows of x copied without what is not finite; ld as in the scratch. */
fattn_tile careful_clean(fattn_tile x, int rows, int64_t columns, float *clean);

/* sum[key] += weight * x[row], and sum[row] += weight * x[key], for the non-finite values of x. */
void careful_add_to_keys(const fattn_cells *cells, fattn_tile x, int64_t columns, float *sum,
                         int64_t ld);
void careful_add_to_rows(const fattn_cells *cells, fattn_tile x, int64_t columns, float *sum,
                         int64_t ld);

#endif
