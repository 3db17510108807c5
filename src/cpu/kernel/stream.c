/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c — the dot family: few query rows against K and V in their own element type, at the speed
 * of memory. dot: s[row][key] = q[row] . k[key]; axpy: o[row] += sum_key p[row][key] * v[key].
 *
 * Both ask for the rows `ahead` while they work, one prefetch per cache line: what the other one
 * reads next is then on its way. Row groups after the first find everything in the cache. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_dot_fn, dot_f32);
SLOT(fattn_dot_fn, dot_f16);
SLOT(fattn_dot_fn, dot_bf16);
SLOT(fattn_dot_fn, dot_i8);
SLOT(fattn_dot_fn, dot_e4m3);
SLOT(fattn_dot_fn, dot_e5m2);
SLOT(fattn_dot_fn, dot_i4);
SLOT(fattn_axpy_fn, axpy_f32);
SLOT(fattn_axpy_fn, axpy_f16);
SLOT(fattn_axpy_fn, axpy_bf16);
SLOT(fattn_axpy_fn, axpy_i8);
SLOT(fattn_axpy_fn, axpy_e4m3);
SLOT(fattn_axpy_fn, axpy_e5m2);
SLOT(fattn_axpy_fn, axpy_i4);

enum { LINE = 64, SUMS = 8, SUMS_MAX = 16, AXPY_KEYS = 16 };

/* Of a byte or less. */
static INLINE int is_small(const int type) { return vec_bytes(4, type) <= 4; }

/* Does the vector at column c begin a cache line of its row (were the row aligned)? */
static INLINE int begins_line(int c, const int type) { return vec_bytes(c, type) % LINE == 0; }

/* One vector of columns, from c on, of mr rows x nk keys; asks for the same columns `ahead`. */
static INLINE void dot_vector(vf *acc, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                              int c, const void *ahead, const int type, const int mr, const int nk)
{
    vf row[4];
    UNROLL for (int i = 0; i < mr; i++) row[i] = v_load(q + i * ldq + c);
    UNROLL for (int j = 0; j < nk; j++) {
        const vf x = v_load_as(vec_at(k, j * ldk + c, type), type);
        if (ahead && begins_line(c, type)) v_prefetch(vec_at(ahead, j * ldk + c, type));
        UNROLL for (int i = 0; i < mr; i++) acc[i * nk + j] = v_fma(row[i], x, acc[i * nk + j]);
    }
}

/* mr rows x nk keys, at most SUMS of them. No more keys at a time, although a larger tile would load q
 * less often: memory is fast only when it is read nearly in order. */
static INLINE void dot_tile(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                            int d, const void *ahead, const int type, const int mr, const int nk)
{
    vf acc[SUMS_MAX];
    float sum[SUMS_MAX];
    UNROLL for (int i = 0; i < SUMS_MAX; i++) acc[i] = v_dup(0);
    int c = 0;
    if (is_small(type)) { /* many vectors in a line: no questions between them */
        const int line = LINE * 4 / (int)vec_bytes(4, type);
        for (; c + line <= d; c += line) {
            if (ahead) {
                UNROLL for (int j = 0; j < nk; j++) v_prefetch(vec_at(ahead, j * ldk + c, type));
            }
            UNROLL for (int v = 0; v < line; v += VL)
                dot_vector(acc, q, ldq, k, ldk, c + v, NULL, type, mr, nk);
        }
    }
    for (; c + VL <= d; c += VL) dot_vector(acc, q, ldq, k, ldk, c, ahead, type, mr, nk);
    if (c < MUTANT(58, d, 0)) {
        UNROLL for (int j = 0; j < nk; j++) {
            const vf x = v_load_partial_as(vec_at(k, j * ldk + c, type), d - c, type);
            UNROLL for (int i = 0; i < mr; i++)
                acc[i * nk + j] = v_fma(v_load(q + i * ldq + c), x, acc[i * nk + j]);
        }
    }
    UNROLL for (int i = 0; i < mr * nk; i += 4)
        v_store_sum4(sum + i, acc[i], acc[i + 1], acc[i + 2], acc[i + 3]);
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nk; j++) s[i * TILE_KEYS + j] = sum[i * nk + j];
}

/* All keys for mr rows. */
static INLINE void dot_rows(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                            int keys, int d, const void *ahead, const int type, const int mr)
{
    const int sums = VL == 16 && is_small(type) ? SUMS_MAX : SUMS; /* where registers allow */
    const int nk = mr == 1 ? SUMS / 2 : sums / mr;
    const ptrdiff_t step = vec_bytes(ldk, type);
    const char *row = k, *next = ahead;
    int key = 0;
    for (; key + nk <= keys; key += nk, row += nk * step) {
        dot_tile(s + key, q, ldq, row, ldk, d, next, type, mr, nk);
        if (next) next += nk * step;
    }
    for (; key < keys; key++, row += step) {
        dot_tile(s + key, q, ldq, row, ldk, d, next, type, mr, 1);
        if (next) next += step;
    }
}

static INLINE void dot(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                       int rows, int keys, int d, const void *ahead, const int type)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, k, ldk, keys, d, ahead, type, 4);
    for (; r + 2 <= rows; r += 2, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, k, ldk, keys, d, ahead, type, 2);
    for (; r < rows; r++, ahead = NULL)
        dot_rows(s + r * TILE_KEYS, q + r * ldq, ldq, k, ldk, keys, d, ahead, type, 1);
}

/* mr rows x nv vectors of columns; partial > 0: one vector, the first `partial` columns of it. */
static INLINE void axpy_tile(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv,
                             int keys, const void *ahead, int partial, const int type, const int mr,
                             const int nv)
{
    const ptrdiff_t step = vec_bytes(ldv, type);
    const char *row = v, *next = ahead;
    vf acc[4][8];
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) acc[i][j] = v_load(o + i * ldo + j * VL);

    for (int key = 0; key < keys; key++, row += step) {
        if (next) {
            UNROLL for (int j = 0; j < nv; j++)
                if (begins_line(j * VL, type)) v_prefetch(vec_at(next, j * VL, type));
            next += step;
        }
        UNROLL for (int j = 0; j < nv; j++) {
            const void *at = vec_at(row, j * VL, type);
            const vf x = partial ? v_load_partial_as(at, partial, type) : v_load_as(at, type);
            UNROLL for (int i = 0; i < mr; i++)
                acc[i][j] = v_fma(v_dup(p[i * TILE_KEYS + key]), x, acc[i][j]);
        }
    }

    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) v_store(o + i * ldo + j * VL, acc[i][j]);
}

/* Columns c.. of mr rows in tiles of nv vectors; returns the first column that is left. */
static INLINE int axpy_columns(float *o, ptrdiff_t ldo, const float *p, const void *v,
                               ptrdiff_t ldv, int keys, int c, int cols, const void *ahead,
                               const int type, const int mr, const int nv)
{
    for (; c + nv * VL <= cols; c += nv * VL)
        axpy_tile(o + c, ldo, p, vec_at(v, c, type), ldv, keys,
                  ahead ? vec_at(ahead, c, type) : NULL, 0, type, mr, nv);
    return c;
}

/* All columns for mr rows. */
static INLINE void axpy_rows(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv,
                             int keys, int cols, const void *ahead, const int type, const int mr)
{
    const int nv = AXPY_VECTORS / mr;
    int c = 0;
    if (nv >= 8) c = axpy_columns(o, ldo, p, v, ldv, keys, c, cols, ahead, type, mr, 8);
    if (nv >= 4) c = axpy_columns(o, ldo, p, v, ldv, keys, c, cols, ahead, type, mr, 4);
    if (nv >= 2) c = axpy_columns(o, ldo, p, v, ldv, keys, c, cols, ahead, type, mr, 2);
    c = axpy_columns(o, ldo, p, v, ldv, keys, c, cols, ahead, type, mr, 1);
    if (c < cols)
        axpy_tile(o + c, ldo, p, vec_at(v, c, type), ldv, keys,
                  ahead ? vec_at(ahead, c, type) : NULL, cols - c, type, mr, 1);
}

static INLINE void axpy_block(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv,
                              int rows, int keys, int cols, const void *ahead, const int type)
{
    int r = 0;
    for (; r + 4 <= rows; r += 4, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, v, ldv, keys, cols, ahead, type, 4);
    for (; r + 2 <= rows; r += 2, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, v, ldv, keys, cols, ahead, type, 2);
    for (; r < rows; r++, ahead = NULL)
        axpy_rows(o + r * ldo, ldo, p + r * TILE_KEYS, v, ldv, keys, cols, ahead, type, 1);
}

/* A few keys at a time, for all rows and columns: memory is read almost in order. */
static INLINE void axpy(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv,
                        int rows, int keys, int cols, const void *ahead, const int type)
{
    for (int key = 0; key < keys; key += AXPY_KEYS) {
        const int n = keys - key < AXPY_KEYS ? keys - key : AXPY_KEYS;
        axpy_block(o, ldo, p + MUTANT(59, key, 0), vec_at(v, key * ldv, type), ldv, rows, n, cols,
                   ahead ? vec_at(ahead, key * ldv, type) : NULL, type);
    }
}

void ISA(dot_f32)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                  int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_F32);
}

void ISA(dot_f16)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                  int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_F16);
}

void ISA(dot_bf16)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                   int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_BF16);
}

void ISA(dot_i8)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                 int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_I8);
}

void ISA(dot_e4m3)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                   int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_E4M3);
}

void ISA(dot_e5m2)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                   int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_E5M2);
}

void ISA(dot_i4)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk, int rows,
                 int keys, int d, const void *ahead)
{
    dot(s, q, ldq, k, ldk, rows, keys, d, ahead, VEC_I4);
}

void ISA(axpy_f32)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                   int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_F32);
}

void ISA(axpy_f16)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                   int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_F16);
}

void ISA(axpy_bf16)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                    int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_BF16);
}

void ISA(axpy_i8)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                  int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_I8);
}

void ISA(axpy_e4m3)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                    int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_E4M3);
}

void ISA(axpy_e5m2)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                    int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_E5M2);
}

void ISA(axpy_i4)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv, int rows,
                  int keys, int cols, const void *ahead)
{
    axpy(o, ldo, p, v, ldv, rows, keys, cols, ahead, VEC_I4);
}
