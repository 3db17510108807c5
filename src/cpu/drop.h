/* SPDX-License-Identifier: Apache-2.0 */
/* drop.h — dropout of a tile: which cells are kept, by row and by key. */
#ifndef FATTN_CPU_DROP_H
#define FATTN_CPU_DROP_H

#include "cpu/item.h"

static inline bool drop_wanted(const fattn_item *it)
{
    return it->p->dropout.kind != DROPOUT_NONE;
}

/* kept[row] has bit k set where cell (row, key j + k) is kept, for packed rows [r, r + rows) and keys
 * [j, j + n), n <= 64; bits from n on are anything. */
void drop_rows_kept(const fattn_item *it, int64_t r, int rows, int64_t j, int n, uint64_t *kept);

/* The same by key: lanes[k] has bit `row` set. Uses `kept` for TILE_ROWS words. */
void drop_lanes_kept(const fattn_item *it, int64_t r, int rows, int64_t j, int n, uint64_t *kept,
                     uint64_t *lanes);

/* Adds the dropped cells of scratch->kept to the hidden ones: neither counts. `some` = hidden holds
 * any. */
void drop_hide(const fattn_item *it, int rows, bool some, uint64_t *hidden);

#endif
