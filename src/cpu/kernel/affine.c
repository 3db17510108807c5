/* SPDX-License-Identifier: Apache-2.0 */
/* affine.c — stored numbers of a tile become values: (x + add) * mul, by row or by column. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_affine_fn, affine);

static INLINE vf change(vf x, const float *add, const float *mul, int at, int n)
{
    if (add) x = v_add(x, n < VL ? v_load_partial(add + at, n) : v_load(add + at));
    if (mul) x = v_mul(x, n < VL ? v_load_partial(mul + at, n) : v_load(mul + at));
    return x;
}

static void by_column(float *x, int cols, const float *add, const float *mul)
{
    int c = 0;
    for (; c + VL <= cols; c += VL) v_store(x + c, change(v_load(x + c), add, mul, c, VL));
    if (c < cols) {
        const vf last = change(v_load_partial(x + c, cols - c), add, mul, c, cols - c);
        v_store_partial(x + c, last, cols - c);
    }
}

static void by_row(float *x, int cols, float add, float mul)
{
    const vf a = v_dup(add), m = v_dup(mul);
    int c = 0;
    for (; c + VL <= cols; c += VL) v_store(x + c, v_mul(v_add(v_load(x + c), a), m));
    if (c < cols) {
        const vf last = v_mul(v_add(v_load_partial(x + c, cols - c), a), m);
        v_store_partial(x + c, last, cols - c);
    }
}

void ISA(affine)(float *x, ptrdiff_t ld, int rows, int cols, const float *add, const float *mul,
                 int by)
{
    for (int r = 0; r < rows; r++)
        if (by)
            by_row(x + r * ld, cols, add ? add[r] : 0.0f, mul ? mul[MUTANT(203, r, 0)] : 1.0f);
        else
            by_column(x + r * ld, cols, add, mul);
}
