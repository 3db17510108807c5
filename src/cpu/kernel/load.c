/* SPDX-License-Identifier: Apache-2.0 */
/* load.c — from the caller's memory into fp32 scratch.
 *
 * load widens rows of K or V and pads them with zeros to a multiple of LANES_MAX columns; pack
 * widens, scales and transposes up to 64 rows of Q: qt[c][lane] = rows[lane][c] * scale. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_load_fn, load_f32);
SLOT(fattn_load_fn, load_f16);
SLOT(fattn_load_fn, load_bf16);
SLOT(fattn_load_fn, load_i8);
SLOT(fattn_load_fn, load_e4m3);
SLOT(fattn_load_fn, load_e5m2);
SLOT(fattn_load_fn, load_i4);
SLOT(fattn_pack_fn, pack_f32);
SLOT(fattn_pack_fn, pack_f16);
SLOT(fattn_pack_fn, pack_bf16);

static INLINE void load_row(float *dst, const void *src, int cols, const int type)
{
    const int padded = (cols + LANES_MAX - 1) / LANES_MAX * LANES_MAX;
    int c = 0;
    if (type == VEC_I4 && VL == 1)
        for (; c < cols; c++) v_store(dst + c, v_dup(vec_i4(src, c)));
    for (; c + VL <= cols; c += VL) v_store(dst + c, v_load_as(vec_at(src, c, type), type));
    if (c < cols) {
        v_store(dst + c, v_load_partial_as(vec_at(src, c, type), cols - c, type));
        c += VL;
    }
    for (; c < MUTANT(50, padded, 0); c += VL) v_store(dst + c, v_dup(0));
}

static INLINE void load(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                        int cols, const int type)
{
    for (int r = 0; r < rows; r++)
        load_row(dst + r * ld, vec_at(src, r * src_stride, type), cols, type);
}

/* A block of VL rows (n of them real, the others zero) x VL columns (width of them real). Whole blocks
 * stay in registers: their loops have constant bounds. */
static INLINE void pack_block(float *qt, const void *const *rows, const int n, int c,
                              const int width, vf scale, const int type)
{
    vf x[VL];
    if (n == VL && width == VL) {
        UNROLL for (int i = 0; i < VL; i++) x[i] = v_load_as(vec_at(rows[i], c, type), type);
    } else {
        UNROLL for (int i = 0; i < VL; i++) x[i] = v_dup(0);
        for (int i = 0; i < n; i++) {
            const void *src = vec_at(rows[i], c, type);
            x[i] = width == VL ? v_load_as(src, type) : v_load_partial_as(src, width, type);
        }
    }
    v_transpose(x);
    if (width == VL) {
        UNROLL for (int i = 0; i < VL; i++)
            v_store(qt + (c + i) * TILE_ROWS, v_mul(x[i], MUTANT(51, scale, v_dup(1))));
    } else {
        for (int i = 0; i < width; i++)
            v_store(qt + (c + i) * TILE_ROWS, v_mul(x[i], MUTANT(51, scale, v_dup(1))));
    }
}

/* All columns of n rows. */
static INLINE void pack_rows(float *qt, const void *const *rows, const int n, int cols, vf scale,
                             const int type)
{
    int c = 0;
    for (; c + VL <= cols; c += VL) pack_block(qt, rows, n, c, VL, scale, type);
    if (c < cols) pack_block(qt, rows, n, c, cols - c, scale, type);
}

static INLINE void pack(float *qt, const void *const *rows, int n_rows, int cols, float scale,
                        const int type)
{
    int r = 0;
    for (; r + VL <= n_rows; r += VL) pack_rows(qt + r, rows + r, VL, cols, v_dup(scale), type);
    if (r < n_rows) pack_rows(qt + r, rows + r, n_rows - r, cols, v_dup(scale), type);
}

void ISA(load_f32)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                   int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_F32);
}

void ISA(load_f16)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                   int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_F16);
}

void ISA(load_bf16)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                    int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_BF16);
}

void ISA(load_i8)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                  int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_I8);
}

void ISA(load_e4m3)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                    int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_E4M3);
}

void ISA(load_e5m2)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                    int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_E5M2);
}

void ISA(load_i4)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride, int rows,
                  int cols)
{
    load(dst, ld, src, src_stride, rows, cols, VEC_I4);
}

void ISA(pack_f32)(float *qt, const void *const *rows, int n_rows, int cols, float scale)
{
    pack(qt, rows, n_rows, cols, scale, VEC_F32);
}

void ISA(pack_f16)(float *qt, const void *const *rows, int n_rows, int cols, float scale)
{
    pack(qt, rows, n_rows, cols, scale, VEC_F16);
}

void ISA(pack_bf16)(float *qt, const void *const *rows, int n_rows, int cols, float scale)
{
    pack(qt, rows, n_rows, cols, scale, VEC_BF16);
}
