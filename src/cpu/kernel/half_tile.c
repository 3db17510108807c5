/* SPDX-License-Identifier: Apache-2.0 */
/* half_tile.c — qk and pv of the tile family in fp16 arithmetic, on request only (FATTN_COMPUTE_F16).
 *
 * A sum of halves loses what does not fit 11 bits, so it is kept short: chains of HALF_CHAIN terms, each
 * from 0, are added up in order, and what HALF_TERMS of them give joins an fp32 sum. Where that is not
 * finite, the same terms are summed again in fp32, element by element, so that nothing overflows and an
 * element's bits do not depend on its neighbours. */
#include "../kernels.h"
#include "../simd/half.h"

SLOT(fattn_half_narrow_fn, half_narrow);
SLOT(fattn_half_pairs_fn, half_pairs);
SLOT(fattn_half_qk_fn, half_qk);
SLOT(fattn_half_pv_fn, half_pv);
extern const fattn_half_kernels ISA(half_kernels);

/* The register tile: HEIGHT broadcasts x NV vectors, twice: a chain and the sum of those before it. */
enum { HEIGHT = 6, NV = 2, PARTS = HL / VL };

/* Term t of the sums of a register tile: pairs[i * row + t * step] * b[t * ldb + j * HL ..]; `exact` is
 * what the pairs were rounded from. */
typedef struct terms {
    const uint32_t *pairs;
    const float *exact;
    ptrdiff_t row, step;
    const uint16_t *b;
    ptrdiff_t ldb;
} terms;

static INLINE terms terms_at(terms t, int i, int j)
{
    t.pairs += i * t.row, t.exact += i * t.row, t.b += j;
    return t;
}

/* n terms for mr x nv vectors; the first chain has `first` of them. */
static INLINE void half_sums(vh sum[HEIGHT][NV], terms t, int n, int first, const int mr,
                             const int nv)
{
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) sum[i][j] = h_zero();
    for (int from = 0, end = first; from < n; from = end, end += HALF_CHAIN) {
        vh chain[HEIGHT][NV];
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int j = 0; j < nv; j++) chain[i][j] = h_zero();
        if (end > n) end = n;
        for (int k = from; k < end; k++, t.pairs += t.step, t.b += t.ldb) {
            vh b[NV];
            UNROLL for (int j = 0; j < nv; j++) b[j] = h_load(t.b + j * HL);
            UNROLL for (int i = 0; i < mr; i++) {
                const vh a = h_pair(t.pairs + i * t.row);
                UNROLL for (int j = 0; j < nv; j++) chain[i][j] = h_fma(a, b[j], chain[i][j]);
            }
        }
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int j = 0; j < nv; j++) sum[i][j] = h_add(sum[i][j], chain[i][j]);
    }
}

/* x where it is finite, else the sum of n terms in fp32. */
static __attribute__((noinline)) vf again(vf x, terms t, int n)
{
    const vm finite = v_gt(v_dup(INF), v_max(x, v_sub(v_dup(0), x)));
    vf sum = v_dup(0);
    for (int k = 0; k < n; k++)
        sum = v_fma(v_dup(t.exact[k * t.step]), v_load_f16(t.b + k * t.ldb), sum);
    return v_select(finite, x, MUTANT(219, sum, x));
}

/* Part `part` of a vector of sums, in fp32. */
static INLINE vf settled(vh sum, int finite, terms t, int n, const int part)
{
    const vf x = h_widen(sum, part);
    return finite ? x : again(x, terms_at(t, 0, part * VL), n);
}

/* ---- scores ---- */

/* mr keys x nv vectors of lanes; their maximum goes to mx. */
static INLINE void score_tile(float *st, terms t, int d, float factor, vf mx[NV][PARTS],
                              const int mr, const int nv)
{
    for (int c = 0; c < d; c += HALF_TERMS) {
        const int n = d - c < HALF_TERMS ? d - c : HALF_TERMS, last = c + n == d;
        vh sum[HEIGHT][NV];
        half_sums(sum, t, n, HALF_CHAIN, mr, nv);
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int j = 0; j < nv; j++) {
                const int finite = h_finite(sum[i][j]);
                UNROLL for (int part = 0; part < PARTS; part++) {
                    float *to = st + i * TILE_ROWS + j * HL + part * VL;
                    const vf x = settled(sum[i][j], finite, terms_at(t, i, j * HL), n, part);
                    const vf s = v_fma(x, v_dup(factor), c ? v_load(to) : v_dup(0));
                    v_store(to, s);
                    if (last) mx[j][part] = v_max(s, mx[j][part]);
                }
            }
        t.pairs += n * t.step, t.exact += n * t.step, t.b += n * t.ldb;
    }
}

/* All keys for nv vectors of lanes. */
static INLINE void score_lanes(float *st, terms t, int keys, int d, float factor, float *tmax,
                               const int nv)
{
    vf mx[NV][PARTS];
    UNROLL for (int j = 0; j < nv; j++)
        UNROLL for (int part = 0; part < PARTS; part++) mx[j][part] = v_dup(-INF);
    int i = 0;
    for (; i + HEIGHT <= keys; i += HEIGHT)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, mx, HEIGHT, nv);
    for (; i + 4 <= keys; i += 4)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, mx, 4, nv);
    for (; i < keys; i++)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, mx, 1, nv);
    UNROLL for (int j = 0; j < nv; j++)
        UNROLL for (int part = 0; part < PARTS; part++)
            v_store(tmax + j * HL + part * VL, mx[j][part]);
}

void ISA(half_qk)(float *st, const uint16_t *qt, const uint32_t *pairs, const float *k,
                  ptrdiff_t ldk, int keys, int d, int vectors, float factor, float *tmax)
{
    const terms t = {
        .pairs = pairs, .exact = k, .row = ldk, .step = 1, .b = qt, .ldb = TILE_ROWS};
    int j = 0;
    for (; j + NV <= vectors; j += NV)
        score_lanes(st + j * HL, terms_at(t, 0, j * HL), keys, d, factor, tmax + j * HL, NV);
    for (; j < vectors; j++)
        score_lanes(st + j * HL, terms_at(t, 0, j * HL), keys, d, factor, tmax + j * HL, 1);
}

/* ---- values ---- */

/* Columns of the output that a call has, and how its chains begin. */
typedef struct shape {
    int rows, keys, cols, first;
} shape;

/* mr rows x nv vectors of columns from c on. */
static INLINE void value_tile(float *o, ptrdiff_t ldo, terms t, const shape *s, int c,
                              const float *alpha, const int mr, const int nv)
{
    vh sum[HEIGHT][NV];
    half_sums(sum, t, s->keys, s->first, mr, nv);
    UNROLL for (int i = 0; i < mr; i++) {
        const vf a = v_dup(alpha ? alpha[i] : 1.0f);
        UNROLL for (int j = 0; j < nv; j++) {
            const int finite = h_finite(sum[i][j]);
            UNROLL for (int part = 0; part < PARTS; part++) {
                const int at = j * HL + part * VL;
                if (c + at >= s->cols) continue;
                const vf x = settled(sum[i][j], finite, terms_at(t, i, j * HL), s->keys, part);
                float *to = o + i * ldo + at;
                v_store(to, v_fma(v_load(to), a, x));
            }
        }
    }
}

/* All rows for nv vectors of columns from c on. */
static INLINE void value_columns(float *o, ptrdiff_t ldo, terms t, const shape *s, int c,
                                 const float *alpha, const int nv)
{
    int i = 0;
    for (; i + HEIGHT <= s->rows; i += HEIGHT)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, c, alpha ? alpha + i : NULL, HEIGHT, nv);
    for (; i + 4 <= s->rows; i += 4)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, c, alpha ? alpha + i : NULL, 4, nv);
    for (; i < s->rows; i++)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, c, alpha ? alpha + i : NULL, 1, nv);
}

void ISA(half_pv)(float *o, ptrdiff_t ldo, const uint32_t *pairs, const float *pt,
                  const uint16_t *v, ptrdiff_t ldv, int rows, int keys, int cols,
                  const float *alpha, int key)
{
    const terms t = {
        .pairs = pairs, .exact = pt, .row = 1, .step = TILE_ROWS, .b = v, .ldb = ldv};
    const shape s = {rows, keys, cols, HALF_CHAIN - key % HALF_CHAIN};
    int c = 0;
    for (; c + HL < cols; c += NV * HL)
        value_columns(o + c, ldo, terms_at(t, 0, c), &s, c, alpha, NV);
    for (; c < cols; c += HL) value_columns(o + c, ldo, terms_at(t, 0, c), &s, c, alpha, 1);
}

/* ---- from fp32 ---- */

void ISA(half_narrow)(uint16_t *dst, const float *src, int n)
{
    for (int i = 0; i < n; i += VL) h_store(dst + i, v_load(src + i));
}

void ISA(half_pairs)(uint32_t *dst, const float *src, int n)
{
    for (int i = 0; i < n; i += VL) h_store_pairs(dst + i, v_load(src + i));
}

const fattn_half_kernels ISA(half_kernels) = {
    .lanes = HL,
    .narrow = ISA(half_narrow),
    .pairs = ISA(half_pairs),
    .qk = ISA(half_qk),
    .pv = ISA(half_pv),
};
