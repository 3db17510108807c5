/* SPDX-License-Identifier: Apache-2.0 */
/* mask.h — which keys a query row may see. Every sparse_mode becomes one interval per row:
 *
 *   row i sees [ max(0, i + band_lo), min(kv_len, max(prefix, i + band_hi + 1)) )
 *
 * Both ends grow with i, so a tile is classified by two corners. (spec fusion-attention 4.2, 14;
 * inference 1.4) */
#ifndef FATTN_CORE_MASK_H
#define FATTN_CORE_MASK_H

#include "core/problem.h"

/* Masks of the modes that need no more than their own predicate: MASK_COMPRESSED squared, in mode 6
 * MASK_PREFIX_ROWS x MASK_COMPRESSED. */
enum { MASK_COMPRESSED = 2048, MASK_PREFIX_ROWS = 3072 };

typedef struct fattn_interval {
    int64_t lo, hi; /* lo >= hi: sees nothing; then lo == hi */
} fattn_interval;

/* The keys row i of the sequence may see, before the dense mask. 0 <= lo <= hi <= kv_len. */
fattn_interval mask_interval(const fattn_seq *seq, int64_t i);

/* The rows of the sequence that may see key j: contiguous [lo, hi), possibly empty. */
fattn_interval mask_rows_of_key(const fattn_seq *seq, int64_t j);

typedef enum fattn_tile_class { TILE_EMPTY, TILE_PARTIAL, TILE_FULL } fattn_tile_class;

/* Rows [i0, i1) against keys [j0, j1) (both non-empty): EMPTY may be missed (PARTIAL is then
 * returned), never wrongly claimed; FULL is exact. */
fattn_tile_class mask_class(const fattn_seq *seq, int64_t i0, int64_t i1, int64_t j0, int64_t j1);

/* Sets band_lo, band_hi, prefix of a sequence whose lengths are set, from the family's parameters.
 * `mode` 0..8; `masked`: the dense mask takes part (modes 0, 1, 5), which is what makes mode 0's
 * tokens count; `special`: this is the sequence that modes 7 and 8 give the band to. */
void mask_translate(fattn_seq *seq, int64_t mode, bool masked, int64_t pre, int64_t next,
                    int64_t prefix, bool special);

/* true when the dense mask hides (head, i, j) of the sequence. */
bool mask_hides(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq, int64_t head,
                int64_t i, int64_t j);

#endif
