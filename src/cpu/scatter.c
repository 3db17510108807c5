/* SPDX-License-Identifier: Apache-2.0 */
/* scatter.c — rounds a strip of adjacent elements, then spreads it where they do not lie together. */
#include "cpu/scatter.h"

#include <string.h>

#include "base/mutant.h"

static void spread(char *dst, int64_t stride, const char *src, size_t size, int64_t n)
{
    for (int64_t c = 0; c < n; c++)
        memcpy(dst + c * MUTANT(178, stride, 1) * (int64_t)size, src + c * (int64_t)size, size);
}

void scatter_row(const fattn_item *it, const fattn_view *view, int part, void *base, int64_t offset,
                 const float *src, float divisor)
{
    const fattn_part *columns = &view->part[part];
    const size_t size = fattn_dtype_size(view->dtype);
    char *dst = (char *)base + offset * (int64_t)size;
    char *strip = columns->col_stride == 1 ? dst : (char *)it->scratch->strided;
    it->kernels->store[item_dtype(view->dtype)](strip, src, (int)columns->d, divisor);
    if (strip != dst) spread(dst, columns->col_stride, strip, size, columns->d);
}
