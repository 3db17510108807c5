/* SPDX-License-Identifier: Apache-2.0 */
/* gather.h — from any layout, page, part, stride and dtype to plain tiles.
 *
 * The rows of an operand are a list of runs (the sequence, or one page each), a row is a list of parts
 * (one, or nope and rope columns). This is the only file that reads a block table. */
#ifndef FATTN_CPU_GATHER_H
#define FATTN_CPU_GATHER_H

#include "cpu/item.h"

/* K or V of one (sequence, kv head). */
typedef struct fattn_source {
    const fattn_problem *p;
    const fattn_view *view;
    const void *base[2]; /* per part */
    const void *table;
    const fattn_seq *seq;
    int64_t head;
} fattn_source;

fattn_source gather_keys(const fattn_item *it);
fattn_source gather_values(const fattn_item *it);

/* A tile in fp32: in place or in scratch. */
typedef struct fattn_tile {
    const float *at;
    ptrdiff_t ld;
} fattn_tile;

/* Keys [j, j + n), n <= TILE_KEYS, of the source. Used where they lie when they are fp32 and contiguous
 * (and fill whole vectors, if `whole_vectors`), else copied to scratch, rows ld apart and zero-padded. */
fattn_tile gather_tile(const fattn_source *source, const fattn_kernels *kernels, int64_t j, int n,
                       bool whole_vectors, float *scratch, int64_t ld);

/* Rows in their own dtype, `first` counted from the first key asked for. */
typedef struct fattn_run {
    const char *at;
    int first, n;
} fattn_run;

typedef struct fattn_runs {
    ptrdiff_t ld; /* elements from row to row */
    int count;
    fattn_run run[TILE_KEYS];
} fattn_runs;

/* true when rows are single strips of adjacent elements, readable where they lie. */
bool gather_direct(const fattn_source *source);

/* Keys [j, j + n), where they lie; the source must be direct. */
void gather_runs(const fattn_source *source, int64_t j, int n, fattn_runs *runs);

/* Keys [j, j + n) copied element by element into scratch: one run. */
void gather_copy(const fattn_source *source, int64_t j, int n, void *scratch, fattn_runs *runs);

/* qt of packed rows [r, r + n), n <= TILE_ROWS, multiplied by factor; the k tile is used on the way. */
void gather_q_panel(const fattn_item *it, int64_t r, int n, float factor, float *qt);

/* The same rows one after the other, ldk apart, zero-padded. */
void gather_q_rows(const fattn_item *it, int64_t r, int n, float factor, float *q);

#endif
