/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h — from any layout, page, part, stride and dtype to plain tiles.
 *
 * The rows of an operand are a list of spans (view_span: the sequence, a page each, a shared
 * prefix), a row is a list of parts (one, or nope and rope columns), a part may lie in chunks (NZ
 * caches). */
#ifndef FATTN_CPU_GATHER_H
#define FATTN_CPU_GATHER_H

#include "cpu/item.h"

/* K or V of one (sequence, kv head). */
typedef struct fattn_source {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const fattn_view *view; /* p->k or p->v */
    const fattn_seq *seq;
    fattn_operand operand;
    int64_t head;
    const fattn_scales *scales; /* of the worker */
} fattn_source;

fattn_source gather_keys(const fattn_item *it);
fattn_source gather_values(const fattn_item *it);

/* A tile in fp32: in place or in scratch. */
typedef struct fattn_tile {
    const float *at;
    ptrdiff_t ld;
    /* fp16 arithmetic (half_tile.h), else NULL: keys, rows ld apart; values */
    const uint32_t *pairs;
    const uint16_t *half;
    ptrdiff_t half_ld;
    int64_t key; /* number of the first row in its sequence; set with `half` */
} fattn_tile;

/* Its rows from `row` on. */
static inline fattn_tile tile_from(fattn_tile tile, int64_t row)
{
    tile.at += row * tile.ld;
    if (tile.pairs) tile.pairs += row * tile.ld;
    if (tile.half) tile.half += row * tile.half_ld;
    tile.key += row;
    return tile;
}

/* Keys [j, j + n), n <= TILE_KEYS, of the source, dequantised. Used where they lie when they are fp32 and
 * the columns of a row lie together (if `whole_vectors`: rows, too, and they fill vectors), else copied to
 * scratch, rows ld apart and zero-padded. */
fattn_tile gather_tile(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                       bool whole_vectors, float *scratch, int64_t ld);

/* Rows for the dot family, `first` counted from the first key asked for. */
typedef struct fattn_run {
    const char *at;
    ptrdiff_t ld; /* elements from row to row */
    ptrdiff_t stride;
    int chunk; /* 0 = the columns lie together, else in strips of so many, `stride` apart */
    int first, n;
} fattn_run;

typedef struct fattn_runs {
    int kernel; /* slot of the rows: their own where they lie, KERNEL_F32 when copied */
    int count;
    fattn_run run[TILE_KEYS];
} fattn_runs;

/* The same for the dot family, whose scales stand elsewhere (scales.h). */
fattn_tile gather_folded(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                         float *scratch, int64_t ld);

/* Keys [j, j + n) where they lie, when their columns lie together or in strips that kernels can
 * read; else one run widened into scratch, which gives the same bits. */
void gather_runs(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                 float *scratch, int64_t ld, fattn_runs *runs);

/* An operand that has a row per query: q, and in the backward pass the output and its gradient. */
typedef struct fattn_rows {
    const fattn_view *view;
    const void *const *at; /* by part */
} fattn_rows;

fattn_rows gather_queries(const fattn_item *it);

/* What multiplies all scores of packed row r: scale * log2(e) and the factors of quantised queries; 1 where
 * scores are rounded strictly and get theirs later. */
float gather_factor(const fattn_item *it, int64_t r);

/* qt of packed rows [r, r + n), n <= TILE_ROWS, multiplied by factor. */
void gather_panel(const fattn_item *it, const fattn_rows *from, int64_t r, int n, float factor,
                  float *qt);

/* The same rows one after the other, ld apart, zero-padded, as they are. */
void gather_rows(const fattn_item *it, const fattn_rows *from, int64_t r, int n, float *dst,
                 int64_t ld);

#endif
