/* SPDX-License-Identifier: Apache-2.0 */
/* grad.c — the backward pass on one tile (spec fusion-attention 7, steps 2 to 7).
 *
 * Scores and everything made of them lie as in the forward, [key][lane], query rows in the lanes: the
 * statistics of a row are lane vectors, and nothing is reduced across lanes. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_lane_dot_fn, lane_dot);
SLOT(fattn_grad_fn, grad);
SLOT(fattn_kv_grad_fn, kv_grad);

void ISA(lane_dot)(float *sum, const float *a, const float *b, int d, int vectors)
{
    for (int j = 0; j < vectors; j++) {
        vf x = v_dup(0);
        for (int c = 0; c < d; c++)
            x = v_fma(v_load(a + c * TILE_ROWS + j * VL), v_load(b + c * TILE_ROWS + j * VL), x);
        v_store(sum + j * VL, x);
    }
}

/* x where bit `lane` of the word is set, else 0: a select, so that NaN disappears, too. */
static INLINE vf where(uint64_t word, int first, vf x)
{
    return v_select(v_mask((unsigned)(word >> first)), x, v_dup(0));
}

/* One vector of lanes, the j-th. */
static INLINE void lanes(float *st, float *dp, int keys, const fattn_grad_rows *rows,
                         const uint64_t *hide, const uint64_t *keep, int j)
{
    const vf m = v_load(rows->m + j * VL), inv = v_load(rows->inv + j * VL);
    const vf delta = v_load(rows->delta + j * VL), factor = v_dup(rows->factor);
    for (int key = 0; key < keys; key++) {
        const int at = key * TILE_ROWS + j * VL;
        vf p = v_mul(v_exp2(v_sub(v_load(st + at), m)), inv);
        vf pr = p, g = v_load(dp + at);
        if (keep) {
            pr = where(keep[key], j * VL, v_mul(p, factor));
            g = where(keep[key], j * VL, v_mul(g, factor));
        }
        vf ds = v_mul(p, v_sub(g, MUTANT(175, delta, v_dup(0))));
        if (hide) {
            pr = where(~hide[key], j * VL, pr);
            ds = where(~hide[key], j * VL, ds);
        }
        v_store(st + at, pr);
        v_store(dp + at, ds);
    }
}

void ISA(grad)(float *st, float *dp, int keys, int vectors, const fattn_grad_rows *rows,
               const uint64_t *hide, const uint64_t *keep)
{
    for (int j = 0; j < vectors; j++) {
        if (keep)
            lanes(st, dp, keys, rows, hide, keep, j);
        else if (hide)
            lanes(st, dp, keys, rows, hide, NULL, j);
        else
            lanes(st, dp, keys, rows, NULL, NULL, j);
    }
}

/* mr keys x nv vectors of columns: per element one chain over the rows from 0, in whatever register
 * tile, which joins what is there at the end: the error grows with the panels, not with their rows. */
static INLINE void tile(float *o, ptrdiff_t ldo, const float *w, const float *x, ptrdiff_t ldx,
                        int rows, const int mr, const int nv)
{
    vf acc[TILE_HEIGHT_MAX][TILE_NV];
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_dup(0.0f);

    for (int row = 0; row < rows; row++, w++, x += ldx)
        UNROLL for (int i = 0; i < mr; i++) {
            const vf p = v_dup(w[i * TILE_ROWS]);
            UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_fma(p, v_load(x + j * VL), acc[i][j]);
        }

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) {
            float *to = o + i * ldo + j * VL;
            v_store(to, v_add(v_load(to), acc[i][j]));
        }
}

/* All keys for nv vectors of columns. */
static INLINE void columns(float *o, ptrdiff_t ldo, const float *w, const float *x, ptrdiff_t ldx,
                           int keys, int rows, const int nv)
{
    const int mr = tile_height(nv);
    int i = 0;
    for (; i + mr <= keys; i += mr)
        tile(o + i * ldo, ldo, w + i * TILE_ROWS, x, ldx, rows, mr, nv);
    for (; i + 4 <= keys; i += 4) tile(o + i * ldo, ldo, w + i * TILE_ROWS, x, ldx, rows, 4, nv);
    for (; i + 2 <= keys; i += 2) tile(o + i * ldo, ldo, w + i * TILE_ROWS, x, ldx, rows, 2, nv);
    for (; i < MUTANT(176, keys, keys / 2 * 2); i++)
        tile(o + i * ldo, ldo, w + i * TILE_ROWS, x, ldx, rows, 1, nv);
}

void ISA(kv_grad)(float *o, ptrdiff_t ldo, const float *w, const float *x, ptrdiff_t ldx, int keys,
                  int rows, int cols)
{
    int c = 0;
    for (; c + TILE_NV * VL <= cols; c += TILE_NV * VL)
        columns(o + c, ldo, w, x + c, ldx, keys, rows, TILE_NV);
    for (; TILE_NV > 2 && c + 2 * VL <= cols; c += 2 * VL)
        columns(o + c, ldo, w, x + c, ldx, keys, rows, 2);
    for (; c < cols; c += VL) columns(o + c, ldo, w, x + c, ldx, keys, rows, 1);
}
