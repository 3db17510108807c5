/* SPDX-License-Identifier: Apache-2.0 */
/* edit.c — what happens to a tile of scores between qk and softmax: bias is added, hidden keys
 * become -inf (a select, so that NaN under a mask disappears too), the maximum is taken again. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_edit_fn, edit);

/* One vector of lanes, the j-th. */
static INLINE void lanes(float *st, int keys, const float *bias, const uint64_t *hide, float *tmax,
                         int j)
{
    vf mx = v_dup(-INF);
    for (int key = 0; key < keys; key++) {
        const int at = key * TILE_ROWS + j * VL;
        vf x = v_load(st + at);
        if (bias) x = v_add(x, v_load(bias + at));
        if (hide)
            x = v_select(v_mask((unsigned)(hide[key] >> MUTANT(48, j * VL, 0))), v_dup(-INF), x);
        v_store(st + at, x);
        mx = v_max(x, mx);
    }
    v_store(tmax + j * VL, mx);
}

void ISA(edit)(float *st, int keys, int vectors, const float *bias, const uint64_t *hide,
               float *tmax)
{
    for (int j = 0; j < vectors; j++) lanes(st, keys, bias, hide, tmax, j);
}
