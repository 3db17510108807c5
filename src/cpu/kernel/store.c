/* SPDX-License-Identifier: Apache-2.0 */
/* store.c — one row of the result: dst[c] = src[c] / divisor, rounded once more to dst's type, to
 * nearest even. Exactly cols elements are read and written. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_store_fn, store_f32);
SLOT(fattn_store_fn, store_f16);
SLOT(fattn_store_fn, store_bf16);

static INLINE void store(char *dst, const float *src, int cols, float divisor, const int type)
{
    const vf div = v_dup(divisor);
    int c = 0;
    for (; c + VL <= cols; c += VL)
        v_store_as(
            dst + vec_bytes(c, type),
            MUTANT(57, v_div(v_load(src + c), div), v_mul(v_load(src + c), v_div(v_dup(1), div))),
            type);
    if (c < cols) {
        const vf x = v_div(v_load_partial(src + c, cols - c), div);
        v_store_partial_as(dst + vec_bytes(c, type), x, cols - c, type);
    }
}

void ISA(store_f32)(void *dst, const float *src, int cols, float divisor)
{
    store(dst, src, cols, divisor, VEC_F32);
}

void ISA(store_f16)(void *dst, const float *src, int cols, float divisor)
{
    store(dst, src, cols, divisor, VEC_F16);
}

void ISA(store_bf16)(void *dst, const float *src, int cols, float divisor)
{
    store(dst, src, cols, divisor, VEC_BF16);
}
