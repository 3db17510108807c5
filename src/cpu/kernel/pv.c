/* SPDX-License-Identifier: Apache-2.0 */
/* pv.c — weighted sum of the values, added to what is there:
 *   o[row][c] = o[row][c] * alpha[row] + sum_key pt[key][row] * v[key][c]
 *
 * V is read as it lies, columns in the lanes; pt is the transposed tile, so the weights of one key
 * stand side by side. A register tile holds tile_height(nv) rows x nv vectors of columns. Every
 * element is one chain over the keys of the call, from 0, whatever register tile it falls into; what
 * was there joins at the end, so the error grows with 64 keys and the number of tiles, not with the
 * length of the sequence. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_pv_fn, pv);

/* mr rows x nv vectors of columns. */
static INLINE void tile(float *o, ptrdiff_t ldo, const float *pt, const float *v, ptrdiff_t ldv,
                        int keys, const float *alpha, const int mr, const int nv)
{
    vf acc[TILE_HEIGHT_MAX][TILE_NV];
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_dup(0.0f);

    for (int key = 0; key < keys; key++, pt += TILE_ROWS, v += ldv)
        UNROLL for (int i = 0; i < mr; i++) {
            const vf p = v_dup(pt[i]);
            UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_fma(p, v_load(v + j * VL), acc[i][j]);
        }

    UNROLL for (int i = 0; i < mr; i++) {
        const vf a = v_dup(alpha[i]);
        UNROLL for (int j = 0; j < nv; j++) {
            float *to = o + i * ldo + j * VL;
            v_store(to, v_fma(v_load(to), a, acc[i][j]));
        }
    }
}

/* All rows for nv vectors of columns. */
static INLINE void columns(float *o, ptrdiff_t ldo, const float *pt, const float *v, ptrdiff_t ldv,
                           int rows, int keys, const float *alpha, const int nv)
{
    const int mr = tile_height(nv);
    int i = 0;
    for (; i + mr <= rows; i += mr)
        tile(o + i * ldo, ldo, pt + i, v, ldv, keys, alpha + i, mr, nv);
    for (; i + 4 <= rows; i += 4)
        tile(o + i * ldo, ldo, pt + i, v, ldv, keys, alpha + i, 4, nv);
    for (; i + 2 <= rows; i += 2)
        tile(o + i * ldo, ldo, pt + i, v, ldv, keys, alpha + i, 2, nv);
    for (; i < rows; i++)
        tile(o + i * ldo, ldo, pt + i, v, ldv, keys, alpha + MUTANT(53, i, 0), 1, nv);
}

/* What stays as it is, is multiplied by these. */
static const float ones[TILE_ROWS] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
};

void ISA(pv)(float *o, ptrdiff_t ldo, const float *pt, const float *v, ptrdiff_t ldv, int rows,
             int keys, int cols, const float *alpha)
{
    if (!alpha) alpha = ones;
    int c = 0;
    for (; c + TILE_NV * VL <= cols; c += TILE_NV * VL)
        columns(o + c, ldo, pt, v + c, ldv, rows, keys, alpha, TILE_NV);
    for (; TILE_NV > 2 && c + 2 * VL <= cols; c += 2 * VL)
        columns(o + c, ldo, pt, v + c, ldv, rows, keys, alpha, 2);
    for (; c < cols; c += VL) columns(o + c, ldo, pt, v + c, ldv, rows, keys, alpha, 1);
}
