/* SPDX-License-Identifier: Apache-2.0 */
/* backward_careful.c — the slow path for operands that hold NaN or Inf. */
#include "cpu/backward_careful.h"

#include <math.h>

#include "base/mutant.h"

fattn_tile careful_clean(fattn_tile x, int rows, int64_t columns, float *clean)
{
    for (int r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) {
            const float value = x.at[r * x.ld + c];
            clean[r * columns + c] = isfinite(value) ? value : 0.0f;
        }
    return (fattn_tile){.at = clean, .ld = (ptrdiff_t)columns};
}

static bool counts(const fattn_cells *cells, int key, int row)
{
    return !(cells->hidden[key] >> row & MUTANT(182, 1, 0));
}

void careful_add_to_keys(const fattn_cells *cells, fattn_tile x, int64_t columns, float *sum,
                         int64_t ld)
{
    for (int row = 0; row < cells->rows; row++)
        for (int64_t c = 0; c < columns; c++) {
            const float value = x.at[row * x.ld + c];
            if (isfinite(value)) continue;
            for (int key = 0; key < cells->keys; key++)
                if (counts(cells, key, row))
                    sum[key * ld + c] += cells->weights[key * TILE_ROWS + row] * value;
        }
}

void careful_add_to_rows(const fattn_cells *cells, fattn_tile x, int64_t columns, float *sum,
                         int64_t ld)
{
    for (int key = 0; key < cells->keys; key++)
        for (int64_t c = 0; c < columns; c++) {
            const float value = x.at[key * x.ld + c];
            if (isfinite(value)) continue;
            for (int row = 0; row < cells->rows; row++)
                if (counts(cells, key, row))
                    sum[row * ld + c] += cells->weights[key * TILE_ROWS + row] * value;
        }
}
