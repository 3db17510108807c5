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

/* Term t of the sums of a register tile: pairs[at + i * row + t * step] * b[t * ldb + j * HL ..]; `exact` is
 * what the pairs were rounded from. */
typedef struct terms {
    const uint32_t *pairs;
    const float *exact;
    ptrdiff_t at, row, step;
    const uint16_t *b;
    ptrdiff_t ldb;
} terms;

static INLINE terms terms_at(terms t, int i, int j)
{
    t.at += i * t.row, t.b += j;
    return t;
}

/* n terms for mr x nv vectors; the first chain has `first` of them. Are all sums finite? */
static INLINE int half_sums(vh sum[HEIGHT][NV], terms t, int n, int first, const int mr,
                            const int nv)
{
    const uint32_t *pairs = t.pairs + t.at;
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) sum[i][j] = h_zero();
    for (int from = 0, end = first; from < n; from = end, end += HALF_CHAIN) {
        vh chain[HEIGHT][NV];
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int j = 0; j < nv; j++) chain[i][j] = h_zero();
        if (end > n) end = n;
        for (int k = from; k < end; k++, pairs += t.step, t.b += t.ldb) {
            vh b[NV];
            UNROLL for (int j = 0; j < nv; j++) b[j] = h_load(t.b + j * HL);
            UNROLL for (int i = 0; i < mr; i++) {
                const vh a = h_pair(pairs + i * t.row);
                UNROLL for (int j = 0; j < nv; j++) chain[i][j] = h_fma(a, b[j], chain[i][j]);
            }
        }
        UNROLL for (int i = 0; i < mr; i++)
            UNROLL for (int j = 0; j < nv; j++) sum[i][j] = h_add(sum[i][j], chain[i][j]);
    }
    vh zeros = h_zero(); /* 0 times what is not finite is NaN */
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++) zeros = h_fma(sum[i][j], h_zero(), zeros);
    return h_finite(zeros);
}

/* x where it is finite, else the sum of n terms in fp32. */
static INLINE vf settled(vf x, terms t, int n)
{
    const vm finite = v_gt(v_dup(INF), v_max(x, v_sub(v_dup(0), x)));
    vf sum = v_dup(0);
    for (int k = 0; k < n; k++)
        sum = v_fma(v_dup(t.exact[t.at + k * t.step]), v_load_f16(t.b + k * t.ldb), sum);
    return v_select(finite, x, MUTANT(219, sum, x));
}

/* Register tiles with sums that are not finite are made again, a vector at a time, in functions of their own
 * (COLD): a call in the midst of a tile would drive it out of its registers. */

/* ---- scores ---- */

/* A block of columns: its scores begin or go on. */
typedef struct block {
    int n, first; /* how many; is it the first one? */
    float factor;
} block;

static INLINE void put_score(float *to, vf x, block b)
{
    v_store(to, v_fma(x, v_dup(b.factor), b.first ? v_dup(0) : v_load(to)));
}

static COLD void scores_again(float *st, terms t, block b, int mr, int nv)
{
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) {
            vh sum[HEIGHT][NV];
            half_sums(sum, terms_at(t, i, j * HL), b.n, HALF_CHAIN, 1, 1);
            UNROLL for (int part = 0; part < PARTS; part++) {
                const int at = j * HL + part * VL;
                const vf x = settled(h_widen(sum[0][0], part), terms_at(t, i, at), b.n);
                put_score(st + i * TILE_ROWS + at, x, b);
            }
        }
}

/* mr keys x nv vectors of lanes; tmax follows their maximum. */
static INLINE void score_tile(float *st, terms t, int d, float factor, float *tmax, const int mr,
                              const int nv)
{
    for (int c = 0; c < d; c += HALF_TERMS) {
        const int n = d - c < HALF_TERMS ? d - c : HALF_TERMS;
        const block b = {.n = n, .first = c == 0, .factor = factor};
        vh sum[HEIGHT][NV];
        if (half_sums(sum, t, n, HALF_CHAIN, mr, nv)) {
            UNROLL for (int i = 0; i < mr; i++)
                UNROLL for (int j = 0; j < nv; j++)
                    UNROLL for (int part = 0; part < PARTS; part++)
                        put_score(st + i * TILE_ROWS + j * HL + part * VL,
                                  h_widen(sum[i][j], part), b);
        } else {
            scores_again(st, t, b, mr, nv);
        }
        t.at += n * t.step, t.b += n * t.ldb;
    }
    UNROLL for (int j = 0; j < nv * HL; j += VL) {
        vf mx = v_load(tmax + j);
        UNROLL for (int i = 0; i < mr; i++) mx = v_max(v_load(st + i * TILE_ROWS + j), mx);
        v_store(tmax + j, mx);
    }
}

/* All keys for nv vectors of lanes. */
static INLINE void score_lanes(float *st, terms t, int keys, int d, float factor, float *tmax,
                               const int nv)
{
    int i = 0;
    for (int j = 0; j < nv * HL; j += VL) v_store(tmax + j, v_dup(-INF));
    for (; i + HEIGHT <= keys; i += HEIGHT)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, tmax, HEIGHT, nv);
    for (; i + 4 <= keys; i += 4)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, tmax, 4, nv);
    for (; i < keys; i++)
        score_tile(st + i * TILE_ROWS, terms_at(t, i, 0), d, factor, tmax, 1, nv);
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

/* What all tiles of a call share. */
typedef struct shape {
    int rows, keys, first; /* terms of the first chain */
} shape;

static INLINE void put_value(float *to, vf x, float alpha)
{
    v_store(to, v_fma(v_load(to), v_dup(alpha), x));
}

/* Exact: HALF_WEIGHT is a power of two. */
static INLINE vf unweighted(vf sum) { return v_mul(sum, v_dup(1.0f / HALF_WEIGHT)); }

static COLD void values_again(float *o, ptrdiff_t ldo, terms t, shape s, const float *alpha,
                              int mr, int nv, int parts)
{
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nv; j++) {
            vh sum[HEIGHT][NV];
            half_sums(sum, terms_at(t, i, j * HL), s.keys, s.first, 1, 1);
            UNROLL for (int part = 0; part < PARTS; part++) {
                const int at = j * HL + part * VL;
                if (part == parts) break;
                const vf x = unweighted(h_widen(sum[0][0], part));
                put_value(o + i * ldo + at, settled(x, terms_at(t, i, at), s.keys), alpha[i]);
            }
        }
}

/* mr rows x nv vectors of columns, of each so many parts. */
static INLINE void value_tile(float *o, ptrdiff_t ldo, terms t, shape s, const float *alpha,
                              const int mr, const int nv, const int parts)
{
    vh sum[HEIGHT][NV];
    if (!half_sums(sum, t, s.keys, s.first, mr, nv)) {
        values_again(o, ldo, t, s, alpha, mr, nv, parts);
        return;
    }
    UNROLL for (int i = 0; i < mr; i++)
        UNROLL for (int j = 0; j < nv; j++)
            UNROLL for (int part = 0; part < parts; part++)
                put_value(o + i * ldo + j * HL + part * VL, unweighted(h_widen(sum[i][j], part)),
                          alpha[i]);
}

/* All rows for nv vectors of columns. */
static INLINE void value_columns(float *o, ptrdiff_t ldo, terms t, shape s, const float *alpha,
                                 const int nv, const int parts)
{
    int i = 0;
    for (; i + HEIGHT <= s.rows; i += HEIGHT)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, alpha + i, HEIGHT, nv, parts);
    for (; i + 4 <= s.rows; i += 4)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, alpha + i, 4, nv, parts);
    for (; i < s.rows; i++)
        value_tile(o + i * ldo, ldo, terms_at(t, i, 0), s, alpha + i, 1, nv, parts);
}

void ISA(half_pv)(float *o, ptrdiff_t ldo, const uint32_t *pairs, const float *pt,
                  const uint16_t *v, ptrdiff_t ldv, int rows, int keys, int cols,
                  const float *alpha, int key)
{
    const terms t = {
        .pairs = pairs, .exact = pt, .row = 1, .step = TILE_ROWS, .b = v, .ldb = ldv};
    const shape s = {rows, keys, HALF_CHAIN - key % HALF_CHAIN};
    float ones[TILE_ROWS];
    for (int i = 0; i < TILE_ROWS; i++) ones[i] = 1;
    if (!alpha) alpha = ones;
    int c = 0;
    for (; c + NV * HL <= cols; c += NV * HL)
        value_columns(o + c, ldo, terms_at(t, 0, c), s, alpha, NV, PARTS);
    for (; c + HL <= cols; c += HL)
        value_columns(o + c, ldo, terms_at(t, 0, c), s, alpha, 1, PARTS);
    for (; c < cols; c += VL) /* less than a vector */
        value_columns(o + c, ldo, terms_at(t, 0, c), s, alpha, 1, 1);
}

/* ---- from fp32 ---- */

void ISA(half_narrow)(uint16_t *dst, const float *src, int n)
{
    for (int i = 0; i < n; i += VL) h_store(dst + i, v_load(src + i));
}

void ISA(half_pairs)(uint32_t *dst, const float *src, int n, float factor)
{
    for (int i = 0; i < n; i += VL) h_store_pairs(dst + i, v_mul(v_load(src + i), v_dup(factor)));
}

const fattn_half_kernels ISA(half_kernels) = {
    .lanes = HL,
    .narrow = ISA(half_narrow),
    .pairs = ISA(half_pairs),
    .qk = ISA(half_qk),
    .pv = ISA(half_pv),
};
