/* SPDX-License-Identifier: Apache-2.0 */
/* values.c — the slow path for V tiles that hold NaN or Inf beside hidden keys. */
#include "cpu/values.h"

#include <math.h>

#include "base/mutant.h"

bool values_finite(const fattn_item *it, fattn_tile v, int n)
{
    return MUTANT(47, it->kernels->finite(v.at, v.ld, n, (int)it->p->d_v) != 0, true);
}

fattn_tile values_clean(const fattn_item *it, fattn_tile v, int n)
{
    const int64_t ldo = it->scratch->ldo, d = it->p->d_v;
    float *clean = it->scratch->v_clean;
    for (int k = 0; k < n; k++)
        for (int64_t c = 0; c < ldo; c++) {
            const float value = c < d ? v.at[k * v.ld + c] : 0.0f;
            clean[k * ldo + c] = isfinite(value) ? value : 0.0f;
        }
    return (fattn_tile){.at = clean, .ld = (ptrdiff_t)ldo};
}

static void add_value(const fattn_weights *w, int key, float value, int rows, int64_t ldo, float *o)
{
    for (int r = 0; r < rows; r++)
        if (!(w->hidden[r] >> key & 1))
            o[r * ldo] += w->at[r * w->row_stride + key * w->key_stride] * value;
}

void values_add_non_finite(const fattn_item *it, fattn_tile v, int n, const fattn_weights *weights,
                           int rows, float *o)
{
    for (int k = 0; k < n; k++)
        for (int64_t c = 0; c < it->p->d_v; c++) {
            const float value = v.at[k * v.ld + c];
            if (!isfinite(value)) add_value(weights, k, value, rows, it->scratch->ldo, o + c);
        }
}
