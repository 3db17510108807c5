/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h — the contract between the CPU backend and its kernels. A kernel gets pointers, leading
 * dimensions (in elements), ints and floats; it cannot fail, allocate, lock or ask who called.
 *
 * Two shapes of work (docs/kernels.md):
 *  tile   up to 64 query rows in vector lanes against up to 64 keys. Scores are transposed,
 *         st[key][64 rows], so K and V are read as they lie and nothing is reduced across lanes.
 *  dot    up to 8 query rows against up to 64 keys; scores s[row][64 keys], K and V in their own
 * dtype. Scores are in log2 units: q is scaled by scale*log2(e) beforehand, p = 2^(s - m).
 *
 * Same bits: what a kernel computes for one row (one key, one column) must not depend on how many
 * others stand beside it. No read or write outside the stated extents, not even of bytes that are
 * discarded. */
#ifndef FATTN_CPU_KERNELS_H
#define FATTN_CPU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/mutant.h"

enum {
    TILE_ROWS = 64, /* leading dimension of st and qt, lanes of the row state */
    TILE_KEYS = 64, /* keys per tile; tiles begin at multiples of it in the sequence */
    DOT_ROWS = 8,   /* most rows of the dot family */
    GRAD_PANELS_MAX = 4, /* most panels of a block in the backward pass */
    LANES_MAX =
        16, /* scratch leading dimensions are multiples of it, scratch rows 64-byte aligned */
    HALF_LANES_MAX = 32, /* the same for rows of halves */
    HALF_CHAIN = 16,     /* fp16 arithmetic: terms of a chain */
    HALF_TERMS = 64,     /* and terms whose sum is a half */
    HALF_WEIGHT = 128    /* weights are so much larger there: products of small ones with small values
                            would be 0 */
};

/* Element types: those that queries and results have, then those of quantised keys and values. Rows of I4 are
 * counted in columns, of which an even number begins every row and strip. */
enum {
    KERNEL_F32,
    KERNEL_F16,
    KERNEL_BF16,
    KERNEL_FLOATS,
    KERNEL_I8 = KERNEL_FLOATS,
    KERNEL_E4M3,
    KERNEL_E5M2,
    KERNEL_I4,
    KERNEL_DTYPES
};

/* dst[r][c] = src[r*src_stride + c] widened, for rows x cols; columns cols..round_up(cols,
 * LANES_MAX) of dst are set to 0. ld >= round_up(cols, LANES_MAX). */
typedef void (*fattn_load_fn)(float *dst, ptrdiff_t ld, const void *src, ptrdiff_t src_stride,
                              int rows, int cols);

/* qt[c*TILE_ROWS + r] = rows[r][c] * scale for r < n_rows; lanes n_rows..round_up(n_rows, lanes)
 * are 0. */
typedef void (*fattn_pack_fn)(float *qt, const void *const *rows, int n_rows, int cols,
                              float scale);

/* x = (x + add) * mul, add and mul by row or by column; NULL = 0 and 1. One rounding each. */
typedef void (*fattn_affine_fn)(float *x, ptrdiff_t ld, int rows, int cols, const float *add,
                                const float *mul, int by_row);

/* dst[c] = src[c] / divisor, rounded to nearest even; contiguous. */
typedef void (*fattn_store_fn)(void *dst, const float *src, int cols, float divisor);

/* st[key][lane] = sum_c k[key*ldk + c] * qt[c][lane], c ascending, for `vectors` vectors of lanes;
 * tmax[lane] = max over the keys. k is fp32, any address; keys 1..TILE_KEYS. */
typedef void (*fattn_qk_fn)(float *st, const float *qt, const float *k, ptrdiff_t ldk, int keys,
                            int d, int vectors, float *tmax);

/* Adds bias[key][lane] (log2 units, NULL = none), then sets st to -inf where bit `lane` of
 * hide[key] is set (NULL = none), and recomputes tmax. */
typedef void (*fattn_edit_fn)(float *st, int keys, int vectors, const float *bias,
                              const uint64_t *hide, float *tmax);

/* One step of the online softmax, per lane. Row state: m = reference of the running sums (-inf at
 * the start), top = true maximum, l = sum of 2^(s - m). A lane moves m to tmax only when tmax > m +
 * 8, and then alpha = 2^(m_old - m_new), else alpha = 1 exactly. st becomes p = 2^(st - m); lanes
 * whose m is still -inf get p = 0. 2^0 is exactly 1; relative error of 2^x <= 2^-22.5. Keys are
 * summed in ascending order. Returns nonzero when any alpha != 1. */
typedef int (*fattn_softmax_fn)(float *st, int keys, int vectors, const float *tmax, float *m,
                                float *top, float *l, float *alpha);

/* o[row][c] = o[row][c] * (alpha ? alpha[row] : 1) + sum_key pt[key][row] * v[key*ldv + c]; the sum is
 * one chain from 0, keys ascending, and joins with one rounding. rows 1..TILE_ROWS, cols a multiple of
 * the vector width; o rows ldo apart. */
typedef void (*fattn_pv_fn)(float *o, ptrdiff_t ldo, const float *pt, const float *v, ptrdiff_t ldv,
                            int rows, int keys, int cols, const float *alpha);

/* s[row*TILE_KEYS + key] = sum_c q[row*ldq + c] * k[key*ldk + c], k in its dtype. q is fp32,
 * aligned scratch, zero-padded to round_up(d, LANES_MAX); k is read exactly d columns wide. The
 * order of the sum depends on d alone. `ahead` (may be NULL): rows of the same stride and width
 * that will be read next; only prefetched. rows 1..DOT_ROWS, keys 1..TILE_KEYS. */
typedef void (*fattn_dot_fn)(float *s, const float *q, ptrdiff_t ldq, const void *k, ptrdiff_t ldk,
                             int rows, int keys, int d, const void *ahead);

/* The row-major twin of fattn_softmax_fn for s[row][TILE_KEYS]: takes the maximum itself; s becomes
 * p. Entries keys..TILE_KEYS of each row are -inf on entry (p = 0 on return). State per row. */
typedef int (*fattn_softmax_rows_fn)(float *s, int rows, float *m, float *top, float *l,
                                     float *alpha);

/* o[row*ldo + c] += sum_key p[row*TILE_KEYS + key] * v[key*ldv + c], keys ascending, one chain per
 * element; v in its dtype, read exactly cols wide. o is scratch with ldo >= round_up(cols,
 * LANES_MAX). */
typedef void (*fattn_axpy_fn)(float *o, ptrdiff_t ldo, const float *p, const void *v, ptrdiff_t ldv,
                              int rows, int keys, int cols, const void *ahead);

/* Rows of K or V whose columns lie in strips: column c of row r stands at
 * at + r*ld + c / chunk * stride + c % chunk elements; chunk is a multiple of LANES_MAX. */
typedef struct fattn_strips {
    const void *at;
    ptrdiff_t ld, stride;
    int chunk;
} fattn_strips;

/* dot and axpy for such rows: the same bits. `ahead` lies in the same strides. */
typedef void (*fattn_dot_strips_fn)(float *s, const float *q, ptrdiff_t ldq, const fattn_strips *k,
                                    int rows, int keys, int d, const void *ahead);
typedef void (*fattn_axpy_strips_fn)(float *o, ptrdiff_t ldo, const float *p, const fattn_strips *v,
                                     int rows, int keys, int cols, const void *ahead);

/* x[i] = 2^x[i], the same polynomial as softmax; -inf gives 0. */
typedef void (*fattn_exp2_fn)(float *x, int n);

/* The random stream of dropout and the rule that turns a word into a bit (core/dropout.h). */
typedef struct fattn_philox {
    uint64_t keys[10][2]; /* of the rounds */
    uint64_t offset;
    uint32_t word_bits, threshold;
} fattn_philox;

/* kept[r] = 64 bits from element first[r] on, 1 = keep. The same on every instruction set. */
typedef void (*fattn_keep_fn)(uint64_t *kept, const uint64_t *first, int rows,
                              const fattn_philox *philox);

/* st = bit `lane` of kept[key] ? st * factor : 0; the row-major twin for s[row][TILE_KEYS]. */
typedef void (*fattn_drop_fn)(float *st, int keys, int vectors, const uint64_t *kept,
                              float factor);
typedef void (*fattn_drop_rows_fn)(float *s, int rows, const uint64_t *kept, float factor);

/* ---- backward: tiles as above, [key][lane] ---- */

/* sum[lane] = sum_c a[c][lane] * b[c][lane], c ascending; both packed like qt. */
typedef void (*fattn_lane_dot_fn)(float *sum, const float *a, const float *b, int d, int vectors);

/* What the gradient of a score needs to know of its row: [TILE_ROWS] each. */
typedef struct fattn_grad_rows {
    const float *m;     /* softmax_max in log2 units */
    const float *inv;   /* 1 / softmax_sum */
    const float *delta; /* dy . attention_in */
    float factor;       /* dropout: 1 / keep_prob */
} fattn_grad_rows;

/* From scores and dp = dy . v to the weights of dV and the gradient of the scores:
 *   p = 2^(st - m) * inv,  st = p * R,  dp = p * (dp * R - delta)
 * R = factor where bit `lane` of keep[key] is set, else 0 (keep NULL: R = 1). Both become 0 where bit
 * `lane` of hide[key] is set (NULL = none), whatever stands there. */
typedef void (*fattn_grad_fn)(float *st, float *dp, int keys, int vectors,
                              const fattn_grad_rows *rows, const uint64_t *hide,
                              const uint64_t *keep);

/* o[key*ldo + c] += sum_row w[key*TILE_ROWS + row] * x[row*ldx + c], rows ascending, one chain from 0: the
 * share of these rows in dK or dV. keys, rows 1..64, cols a multiple of the vector width. */
typedef void (*fattn_kv_grad_fn)(float *o, ptrdiff_t ldo, const float *w, const float *x,
                                 ptrdiff_t ldx, int keys, int rows, int cols);

/* Nonzero when every one of rows x cols fp32 values is finite. */
typedef int (*fattn_finite_fn)(const float *x, ptrdiff_t ld, int rows, int cols);

/* ---- fp16 arithmetic of the tile family (FATTN_COMPUTE_F16) ----
 *
 * The vector operand of a product is halves, the other one pairs: each half twice in 32 bits. Sums: chains of
 * HALF_CHAIN terms in halves, one rounding a term, each from 0 and added up in order; what up to HALF_TERMS
 * terms give joins an fp32 sum with one rounding. A sum that is not finite is made again from the same terms
 * in fp32. The bits of the sums are the same on every instruction set. */

/* dst[i] = src[i] as a half, or src[i] * factor as a pair; n a multiple of LANES_MAX. */
typedef void (*fattn_half_narrow_fn)(uint16_t *dst, const float *src, int n);
typedef void (*fattn_half_pairs_fn)(uint32_t *dst, const float *src, int n, float factor);

/* fattn_qk_fn, multiplied by factor: HALF_TERMS columns to a sum. pairs and k are the same numbers, rows
 * ldk apart; vectors of fattn_half_kernels.lanes. */
typedef void (*fattn_half_qk_fn)(float *st, const uint16_t *qt, const uint32_t *pairs,
                                 const float *k, ptrdiff_t ldk, int keys, int d, int vectors,
                                 float factor, float *tmax);

/* fattn_pv_fn with its weights as pairs, HALF_WEIGHT times as large, and as they were before. Chains
 * end where key numbers are multiples of HALF_CHAIN, `key` being the first; so a key of weight 0 in
 * front changes nothing. v is read in whole vectors, o is written cols wide, a multiple of LANES_MAX.
 * keys 1..HALF_TERMS. */
typedef void (*fattn_half_pv_fn)(float *o, ptrdiff_t ldo, const uint32_t *pairs, const float *pt,
                                 const uint16_t *v, ptrdiff_t ldv, int rows, int keys, int cols,
                                 const float *alpha, int key);

typedef struct fattn_half_kernels {
    int lanes; /* halves per vector */
    fattn_half_narrow_fn narrow;
    fattn_half_pairs_fn pairs;
    fattn_half_qk_fn qk;
    fattn_half_pv_fn pv;
} fattn_half_kernels;

/* One row per ISA: the kernels and the numbers they were tuned with. */
typedef struct fattn_kernels {
    const char *name;
    int lanes;      /* floats per vector */
    int dot_rows;   /* q_len * group below this: dot family, else tile family */
    int split_keys; /* decode: keys per split, a multiple of TILE_KEYS; part of the bits */
    int panels;     /* 64-row panels that share one gathered K/V tile */
    int grad_columns; /* backward: as many columns of q and v together go with one 64-row panel per
                         tile, narrower ones with more panels */
    int grad_rows;  /* backward: packed rows of a sequence beyond which its rows are cut; part of the
                       bits */
    fattn_load_fn load[KERNEL_DTYPES];
    fattn_pack_fn pack[KERNEL_FLOATS];
    fattn_store_fn store[KERNEL_FLOATS];
    fattn_qk_fn qk;
    fattn_edit_fn edit;
    fattn_softmax_fn softmax;
    fattn_pv_fn pv;
    fattn_dot_fn dot[KERNEL_DTYPES]; /* this and the next three: NULL = rows are widened first */
    fattn_softmax_rows_fn softmax_rows;
    fattn_axpy_fn axpy[KERNEL_DTYPES];
    fattn_dot_strips_fn dot_strips[KERNEL_DTYPES];
    fattn_axpy_strips_fn axpy_strips[KERNEL_DTYPES];
    fattn_affine_fn affine;
    fattn_exp2_fn exp2;
    fattn_finite_fn finite;
    fattn_keep_fn keep;
    fattn_drop_fn drop;
    fattn_drop_rows_fn drop_rows;
    fattn_lane_dot_fn lane_dot;
    fattn_grad_fn grad;
    fattn_kv_grad_fn kv_grad;
    /* Peak probe for `fattn bench`: runs n rounds of independent FMAs on registers, returns the
     * FLOPs done. */
    double (*fma_probe)(int64_t n);
} fattn_kernels;

#endif
