/* SPDX-License-Identifier: Apache-2.0 */
/* values.h — NaN and Inf in V under a mask. A hidden key has p = 0, but 0 * Inf is NaN: where some
 * row of a tile must not see a key, a V tile with non-finite values is multiplied without them, and
 * they are added afterwards to exactly the rows that see their key. */
#ifndef FATTN_CPU_VALUES_H
#define FATTN_CPU_VALUES_H

#include <stdbool.h>

#include "cpu/gather.h"

bool values_finite(const fattn_item *it, fattn_tile v, int n);

/* Copies n rows to the v_clean tile, non-finite values replaced by 0. */
fattn_tile values_clean(const fattn_item *it, fattn_tile v, int n);

/* Weights of one PV step: p of (row, key) lies at at[row * row_stride + key * key_stride]. */
typedef struct fattn_weights {
    const float *at;
    ptrdiff_t row_stride, key_stride;
    const uint64_t *hidden; /* by row */
} fattn_weights;

/* o[row] += p * v for the non-finite values of v, rows that see the key only. */
void values_add_non_finite(const fattn_item *it, fattn_tile v, int n, const fattn_weights *weights,
                           int rows, float *o);

#endif
