/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.h — the memory one worker computes in, described once.
 *
 * scratch_bind() with base NULL tells the bytes, with memory it sets the pointers. Every block
 * begins at a multiple of 64 bytes. Leading dimensions of scratch are multiples of LANES_MAX. */
#ifndef FATTN_CPU_SCRATCH_H
#define FATTN_CPU_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/kernels.h"

/* The running softmax of the packed rows of one work item. */
typedef struct fattn_state {
    float *m, *top, *l; /* per row: reference of the sums, true maximum, sum of 2^(s - m) */
    float *o;           /* [rows][ldo], sum of 2^(s - m) v */
} fattn_state;

/* Scales and offsets of keys or values (scales.h). */
typedef struct fattn_scales {
    float *mul, *add;         /* by column */
    float *key_mul, *key_add; /* by key of the tile: [TILE_KEYS + LANES_MAX] */
} fattn_scales;

typedef struct fattn_scratch_layout {
    int64_t rows; /* of the largest item: whole panels, or DOT_ROWS; backward: of a block */
    int64_t d_qk, d_v;
    bool bias;
    bool quantised; /* keys or values have scales */
    bool half;      /* fp16 arithmetic */
    bool backward;
    int64_t grad_keys; /* backward: keys whose dK and dV the worker itself holds */
    int64_t pool_cols; /* backward: columns of a pooled bias, see backward_bias.h */
} fattn_scratch_layout;

/* What the backward pass has beside that: a block of rows in every form in which it is read. */
typedef struct fattn_grad_scratch {
    float *dyt;             /* per panel dyt[d_v][TILE_ROWS] */
    float *q_rows, *dq;     /* rows ldk apart */
    float *dy_rows;         /* rows ldo apart */
    float *m, *inv, *delta; /* per row, see fattn_grad_rows */
    float *dp;              /* [key][TILE_ROWS] dy . v, then the gradient of the scores */
    float *by_row;          /* [row][TILE_KEYS] that gradient transposed */
    float *clean;           /* [TILE_ROWS] rows of an operand without its non-finite values */
    float *dk, *dv;         /* [grad_keys] rows, ldk and ldo apart */
    float *pool;            /* [TILE_ROWS] rows of pool_cols cells of the bias' gradient */
} fattn_grad_scratch;

/* The operands of fp16 arithmetic (half_tile.h). */
typedef struct fattn_half_scratch {
    int64_t ldv;           /* of values: d_v rounded up to HALF_LANES_MAX */
    uint16_t *q;           /* one qt[d_qk][TILE_ROWS] per panel */
    uint32_t *k;           /* [TILE_KEYS] rows ldk apart, pairs */
    uint16_t *v, *v_clean; /* [TILE_KEYS] rows ldv apart */
    uint32_t *weights;     /* [key][TILE_ROWS], pairs */
} fattn_half_scratch;

typedef struct fattn_scratch {
    int64_t ldk, ldo; /* d_qk and d_v rounded up; V's scratch rows are ldo apart too */
    fattn_state state;
    float *q;                /* tile: one qt[d_qk][TILE_ROWS] per panel; dot: rows ldk apart */
    float *scores;           /* tile: st[key][TILE_ROWS]; dot: s[row][TILE_KEYS] */
    float *bias, *bias_rows; /* tile: [key][TILE_ROWS]; both families: [row][TILE_KEYS] */
    float *tmax, *alpha;     /* [TILE_ROWS] */
    uint64_t *hidden;        /* [TILE_ROWS] bit k of a row: it must not see key k of the tile */
    uint64_t *hidden_lanes;  /* [TILE_KEYS] the same by key, bit = row */
    uint64_t *kept;          /* [TILE_ROWS] bit k of a row: dropout keeps its cell of key k */
    uint64_t *kept_lanes;    /* [TILE_KEYS] the same by key */
    float *k, *v, *v_clean;  /* [TILE_KEYS] rows of K and V, V without its non-finite values */
    float *strided;          /* TILE_ROWS rows of an operand on the way into its panel: the K or V
                                tile, whichever is larger */
    fattn_scales k_scales, v_scales;
    fattn_half_scratch half;
    fattn_grad_scratch grad;
} fattn_scratch;

/* Floats of the state of `rows` rows; SIZE_MAX when that overflows. A multiple of LANES_MAX. */
size_t state_floats(int64_t rows, int64_t d_v);
fattn_state state_bind(float *base, int64_t rows);
/* m = top = -inf, l = 0, o = 0. */
void state_reset(const fattn_state *state, int64_t rows, int64_t ldo);

/* Bytes, a multiple of 64; SIZE_MAX when they overflow. */
size_t scratch_bind(fattn_scratch *scratch, const fattn_scratch_layout *layout, void *base);

#endif
