/* SPDX-License-Identifier: Apache-2.0 */
/* strips.c — the dot family on rows whose columns lie in strips (NZ caches): stream.c once more, with the
 * same sums in the same order and therefore the same bits.
 *
 * A strip holds a few columns of every key, so memory is read in order when several keys take the same
 * piece of LANES_MAX columns in turn (dot), or one piece all keys (axpy). */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_dot_strips_fn, dot_strips_f32);
SLOT(fattn_dot_strips_fn, dot_strips_f16);
SLOT(fattn_dot_strips_fn, dot_strips_bf16);
SLOT(fattn_dot_strips_fn, dot_strips_i8);
SLOT(fattn_dot_strips_fn, dot_strips_e4m3);
SLOT(fattn_dot_strips_fn, dot_strips_e5m2);
SLOT(fattn_dot_strips_fn, dot_strips_i4);
SLOT(fattn_axpy_strips_fn, axpy_strips_f32);
SLOT(fattn_axpy_strips_fn, axpy_strips_f16);
SLOT(fattn_axpy_strips_fn, axpy_strips_bf16);
SLOT(fattn_axpy_strips_fn, axpy_strips_i8);
SLOT(fattn_axpy_strips_fn, axpy_strips_e4m3);
SLOT(fattn_axpy_strips_fn, axpy_strips_e5m2);
SLOT(fattn_axpy_strips_fn, axpy_strips_i4);

enum { SUMS = 8, NV_MAX = 8 };

/* One vector of columns, or the first `width` of it, of mr rows x nk keys. */
static INLINE void dot_vector(vf *acc, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                              const int width, const int type, const int mr, const int nk)
{
    vf row[4];
    UNROLL for (int i = 0; i < mr; i++) row[i] = v_load(q + i * ldq);
    UNROLL for (int j = 0; j < nk; j++) {
        const void *at = vec_at(k, j * ldk, type);
        const vf x = width < VL ? v_load_partial_as(at, width, type) : v_load_as(at, type);
        UNROLL for (int i = 0; i < mr; i++) acc[i * nk + j] = v_fma(row[i], x, acc[i * nk + j]);
    }
}

/* mr rows x nk keys, SUMS of them or fewer; k = the first of these keys. */
static INLINE void dot_tile(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *x,
                            const void *k, int d, const void *ahead, const int type, const int mr,
                            const int nk)
{
    vf acc[SUMS];
    float sum[SUMS];
    UNROLL for (int i = 0; i < SUMS; i++) acc[i] = v_dup(0);

    const ptrdiff_t ldk = x->ld, jump = MUTANT(103, x->stride, x->chunk) - x->chunk;
    const int chunk = x->chunk;
    int c = 0, end = chunk; /* of the strip */
    for (; c + LANES_MAX <= d; c += LANES_MAX) {
        if (ahead) {
            UNROLL for (int j = 0; j < nk; j++) v_prefetch(vec_at(ahead, j * ldk + c, type));
        }
        UNROLL for (int v = c; v < c + LANES_MAX; v += VL)
            dot_vector(acc, q + v, ldq, vec_at(k, v, type), ldk, VL, type, mr, nk);
        if (c + LANES_MAX == end) {
            end += chunk;
            k = vec_at(k, jump, type);
            if (ahead) ahead = vec_at(ahead, jump, type);
        }
    }
    for (; c < d; c += VL)
        dot_vector(acc, q + c, ldq, vec_at(k, c, type), ldk, d - c, type, mr, nk);

    UNROLL for (int i = 0; i < mr * nk; i += 4)
        v_store_sum4(sum + i, acc[i], acc[i + 1], acc[i + 2], acc[i + 3]);
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nk; j++) s[i * TILE_KEYS + j] = sum[i * nk + j];
}

/* All keys for mr rows. */
static INLINE void dot_rows(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *x, int keys,
                            int d, const void *ahead, const int type, const int mr)
{
    const int nk = SUMS / mr;
    int key = 0;
    for (; key + nk <= keys; key += nk)
        dot_tile(s + key, q, ldq, x, vec_at(x->at, key * x->ld, type), d,
                 ahead ? vec_at(ahead, key * x->ld, type) : NULL, type, mr, nk);
    for (; key < keys; key++)
        dot_tile(s + key, q, ldq, x, vec_at(x->at, key * x->ld, type), d,
                 ahead ? vec_at(ahead, key * x->ld, type) : NULL, type, mr, 1);
}

static INLINE void dot(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *x, int rows,
                       int keys, int d, const void *ahead, const int type)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, x, keys, d, ahead, type, 4);
    for (; r + 2 <= rows; r += 2, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, x, keys, d, ahead, type, 2);
    for (; r < rows; r++, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, x, keys, d, ahead, type, 1);
}

/* Offset of column c of a row. */
static INLINE ptrdiff_t column(const fattn_strips *x, int c)
{
    return c / x->chunk * MUTANT(104, x->stride, x->chunk) + c % x->chunk;
}

/* mr rows x nv vectors of columns from c on; partial > 0: one vector, the first `partial` columns of it. */
static INLINE void axpy_tile(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *x, int keys,
                             int c, const void *ahead, int partial, const int type, const int mr,
                             const int nv)
{
    ptrdiff_t at[NV_MAX];
    vf acc[4][NV_MAX];
    UNROLL for (int j = 0; j < nv; j++) at[j] = column(x, c + j * VL);
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_load(o + i * ldo + c + j * VL);

    const ptrdiff_t step = vec_bytes(x->ld, type);
    const char *row = x->at, *next = ahead;
    for (int key = 0; key < keys; key++, row += step) {
        if (next) {
            UNROLL for (int j = 0; j < nv; j++)
                if (j * VL % LANES_MAX == 0) v_prefetch(vec_at(next, at[j], type));
            next += step;
        }
        UNROLL for (int j = 0; j < nv; j++) {
            const void *from = vec_at(row, at[j], type);
            const vf v = partial ? v_load_partial_as(from, partial, type) : v_load_as(from, type);
            UNROLL for (int i = 0; i < mr; i++)
                acc[i][j] = v_fma(v_dup(p[i * TILE_KEYS + key]), v, acc[i][j]);
        }
    }

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) v_store(o + i * ldo + c + j * VL, acc[i][j]);
}

/* All columns for mr rows. */
static INLINE void axpy_rows(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *x, int keys,
                             int cols, const void *ahead, const int type, const int mr)
{
    const int nv = AXPY_VECTORS / mr < NV_MAX ? AXPY_VECTORS / mr : NV_MAX;
    int c = 0;
    for (; c + nv * VL <= cols; c += nv * VL)
        axpy_tile(o, ldo, p, x, keys, c, ahead, 0, type, mr, nv);
    for (; c + VL <= cols; c += VL) axpy_tile(o, ldo, p, x, keys, c, ahead, 0, type, mr, 1);
    if (c < cols) axpy_tile(o, ldo, p, x, keys, c, ahead, cols - c, type, mr, 1);
}

static INLINE void axpy(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *x, int rows,
                        int keys, int cols, const void *ahead, const int type)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, x, keys, cols, ahead, type, 4);
    for (; r + 2 <= rows; r += 2, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, x, keys, cols, ahead, type, 2);
    for (; r < rows; r++, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, x, keys, cols, ahead, type, 1);
}

void ISA(dot_strips_f32)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                         int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_F32);
}

void ISA(dot_strips_f16)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                         int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_F16);
}

void ISA(dot_strips_bf16)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                          int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_BF16);
}

void ISA(dot_strips_i8)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                        int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_I8);
}

void ISA(dot_strips_e4m3)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                          int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_E4M3);
}

void ISA(dot_strips_e5m2)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                          int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_E5M2);
}

void ISA(dot_strips_i4)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k, int rows,
                        int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, rows, keys, d, ahead, VEC_I4);
}

void ISA(axpy_strips_f32)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                          int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_F32);
}

void ISA(axpy_strips_f16)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                          int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_F16);
}

void ISA(axpy_strips_bf16)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                           int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_BF16);
}

void ISA(axpy_strips_i8)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                         int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_I8);
}

void ISA(axpy_strips_e4m3)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                           int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_E4M3);
}

void ISA(axpy_strips_e5m2)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                           int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_E5M2);
}

void ISA(axpy_strips_i4)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v, int rows,
                         int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, rows, keys, cols, ahead, VEC_I4);
}
