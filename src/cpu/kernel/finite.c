/* SPDX-License-Identifier: Apache-2.0 */
/* finite.c — is every value finite? x * 0 is 0 then, and NaN for inf and NaN, which a sum keeps. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_finite_fn, finite);

static INLINE vf row(const float *x, int cols, vf sum)
{
    vf other = v_dup(0);
    int c = 0;
    for (; c + 2 * VL <= cols; c += 2 * VL) {
        sum = v_fma(v_load(x + c), v_dup(0), sum);
        other = v_fma(v_load(x + c + VL), v_dup(0), other);
    }
    for (; c + VL <= cols; c += VL) sum = v_fma(v_load(x + c), v_dup(0), sum);
    if (c < MUTANT(49, cols, 0)) other = v_fma(v_load_partial(x + c, cols - c), v_dup(0), other);
    return v_add(sum, other);
}

int ISA(finite)(const float *x, ptrdiff_t ld, int rows, int cols)
{
    vf sum = v_dup(0);
    for (int r = 0; r < rows; r++) sum = row(x + r * ld, cols, sum);
    return v_sum(sum) == 0;
}
