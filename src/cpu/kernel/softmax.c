/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.c — one step of the online softmax in log2 units, and 2^x alone.
 *
 * The reference m moves only when the maximum has grown by more than 2^8 (fp32 sums stand that with
 * ease), so the accumulators are rarely rescaled. While a row has seen nothing m is -inf; 0 stands
 * in for it, so that -inf gives p = 0 and NaN still gives NaN. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_softmax_fn, softmax);
SLOT(fattn_softmax_rows_fn, softmax_rows);
SLOT(fattn_exp2_fn, exp2);

static const float headroom = 8;

/* Moves *m to x where that is due. Returns alpha; *moved tells whether any lane did. */
static INLINE vf follow(vf x, vf *m, int *moved)
{
    const vm up = v_gt(x, v_add(*m, v_dup(headroom)));
    if (!v_any(up)) return v_dup(1);
    const vf next = v_select(up, x, *m);
    const vf alpha = v_select(up, v_exp2(v_sub(*m, next)), v_dup(1));
    *m = next;
    *moved = 1;
    return alpha;
}

/* What the scores are measured from. */
static INLINE vf reference(vf m)
{
    return v_select(v_gt(m, v_dup(-INF)), m, MUTANT(56, v_dup(0), m));
}

/* All keys for nv vectors of lanes. */
static INLINE int lanes(float *st, int keys, const float *tmax, float *m, float *top, float *l,
                        float *alpha, const int nv)
{
    vf ref[TILE_NV], sum[TILE_NV];
    int moved = 0;
    UNROLL for (int j = 0; j < nv; j++) {
        const vf x = v_load(tmax + j * VL);
        vf now = v_load(m + j * VL);
        const vf a = follow(x, &now, &moved);
        v_store(m + j * VL, now);
        v_store(top + j * VL, v_max(x, v_load(top + j * VL)));
        v_store(alpha + j * VL, a);
        sum[j] = v_dup(0); /* a tile's own: long rows of equal values would round one way for ever */
        ref[j] = reference(now);
    }

    for (int key = 0; key < keys; key++, st += TILE_ROWS)
        UNROLL for (int j = 0; j < nv; j++) {
            const vf p = v_exp2(v_sub(v_load(st + j * VL), ref[j]));
            v_store(st + j * VL, p);
            sum[j] = v_add(sum[j], p);
        }

    UNROLL for (int j = 0; j < nv; j++) {
        const vf a = MUTANT(55, v_load(alpha + j * VL), v_dup(1));
        v_store(l + j * VL, v_fma(v_load(l + j * VL), a, sum[j]));
    }
    return moved;
}

int ISA(softmax)(float *st, int keys, int vectors, const float *tmax, float *m, float *top,
                 float *l, float *alpha)
{
    int j = 0, moved = 0;
    for (; j + TILE_NV <= vectors; j += TILE_NV) {
        const int at = j * VL;
        moved |= lanes(st + at, keys, tmax + at, m + at, top + at, l + at, alpha + at, TILE_NV);
    }
    for (; j < vectors; j++) {
        const int at = j * VL;
        moved |= lanes(st + at, keys, tmax + at, m + at, top + at, l + at, alpha + at, 1);
    }
    return moved;
}

/* One row of TILE_KEYS scores; its state is a single number each. */
static INLINE int row(float *s, float *m, float *top, float *l, float *alpha)
{
    vf mx = v_dup(-INF), sum = v_dup(0);
    for (int c = 0; c < TILE_KEYS; c += VL) mx = v_max(v_load(s + c), mx);

    int moved = 0;
    const vf x = v_dup(v_hmax(mx));
    vf now = v_dup(*m);
    *alpha = v_first(follow(x, &now, &moved));
    *m = v_first(now);
    *top = v_first(v_max(x, v_dup(*top)));

    const vf ref = reference(now);
    for (int c = 0; c < TILE_KEYS; c += VL) {
        const vf p = v_exp2(v_sub(v_load(s + c), ref));
        v_store(s + c, p);
        sum = v_add(sum, p);
    }
    *l = *l * *alpha + v_sum(sum);
    return moved;
}

int ISA(softmax_rows)(float *s, int rows, float *m, float *top, float *l, float *alpha)
{
    int moved = 0;
    for (int r = 0; r < rows; r++)
        moved |= row(s + r * TILE_KEYS, m + r, top + r, l + r, alpha + r);
    return moved;
}

void ISA(exp2)(float *x, int n)
{
    int i = 0;
    for (; i + VL <= n; i += VL) v_store(x + i, v_exp2(v_load(x + i)));
    if (i < n) v_store_partial(x + i, v_exp2(v_load_partial(x + i, n - i)), n - i);
}
