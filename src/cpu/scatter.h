/* SPDX-License-Identifier: Apache-2.0 */
/* scatter.h — from rows of fp32 scratch to any layout, stride and dtype: gather.h the other way. */
#ifndef FATTN_CPU_SCATTER_H
#define FATTN_CPU_SCATTER_H

#include "cpu/item.h"

/* Columns of one part of a row, src / divisor rounded once, to element `offset` of `base`. The k and v
 * tiles are used on the way. */
void scatter_row(const fattn_item *it, const fattn_view *view, int part, void *base, int64_t offset,
                 const float *src, float divisor);

#endif
