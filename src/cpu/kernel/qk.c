/* SPDX-License-Identifier: Apache-2.0 */
/* qk.c — scores of one tile, transposed: st[key][lane] = sum_c k[key][c] * qt[c][lane].
 *
 * K is read as it lies, one broadcast per element; the lanes are query rows. A register tile holds
 * tile_height(nv) keys x nv vectors. Every score is one chain over c, in whatever tile. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_qk_fn, qk);

/* mr keys x nv vectors; their maximum goes to mx. */
static INLINE void tile(float *st, const float *qt, const float *k, ptrdiff_t ldk, int d, vf *mx,
                        const int mr, const int nv)
{
    vf acc[TILE_HEIGHT_MAX][TILE_NV];
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_dup(0);

    for (int c = 0; c < d; c++, qt += TILE_ROWS)
        UNROLL for (int i = 0; i < mr; i++) {
            const vf x = v_dup(k[i * ldk + c]);
            UNROLL for (int j = 0; j < nv; j++)
                acc[i][j] = v_fma(x, v_load(qt + j * VL), acc[i][j]);
        }

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) {
            v_store(st + i * TILE_ROWS + j * VL, acc[i][j]);
            mx[j] = v_max(acc[i][j], mx[j]);
        }
}

/* All keys for nv vectors of lanes. */
static INLINE void lanes(float *st, const float *qt, const float *k, ptrdiff_t ldk, int keys, int d,
                         float *tmax, const int nv)
{
    const int mr = tile_height(nv);
    int i = 0;
    vf mx[TILE_NV];
    UNROLL for (int j = 0; j < nv; j++) mx[j] = v_dup(-INF);

    for (; i + mr <= keys; i += mr) tile(st + i * TILE_ROWS, qt, k + i * ldk, ldk, d, mx, mr, nv);
    for (; i + 4 <= keys; i += 4) tile(st + i * TILE_ROWS, qt, k + i * ldk, ldk, d, mx, 4, nv);
    for (; i < MUTANT(54, keys, 0); i++)
        tile(st + i * TILE_ROWS, qt, k + i * ldk, ldk, d, mx, 1, nv);

    UNROLL for (int j = 0; j < nv; j++) v_store(tmax + j * VL, mx[j]);
}

void ISA(qk)(float *st, const float *qt, const float *k, ptrdiff_t ldk, int keys, int d,
             int vectors, float *tmax)
{
    int j = 0;
    for (; j + TILE_NV <= vectors; j += TILE_NV)
        lanes(st + j * VL, qt + j * VL, k, ldk, keys, d, tmax + j * VL, TILE_NV);
    for (; TILE_NV > 2 && j + 2 <= vectors; j += 2)
        lanes(st + j * VL, qt + j * VL, k, ldk, keys, d, tmax + j * VL, 2);
    for (; j < vectors; j++) lanes(st + j * VL, qt + j * VL, k, ldk, keys, d, tmax + j * VL, 1);
}
