/* SPDX-License-Identifier: Apache-2.0 */
/* seen.h — the products of a tile, without the blocks of cells that are hidden from everybody: of a tile on
 * the diagonal of a causal mask that is almost half. What is left out would have added zeros.
 *
 * Hidden cells come by row (bit k = key k, scores.h) or by key (bit r = lane r); NULL = none are hidden, and
 * then each of these is one call of its kernel. Blocks begin at fixed places of the tile, so a row's bits
 * depend on its own panel only. */
#ifndef FATTN_CPU_SEEN_H
#define FATTN_CPU_SEEN_H

#include "cpu/gather.h"

/* Query rows as a product reads them, [d][TILE_ROWS]. */
typedef struct fattn_queries {
    const float *at;
    const uint16_t *half; /* fp16 arithmetic: these instead, and the factor afterwards */
    float factor;
    int64_t d;
} fattn_queries;

/* st[key][lane] = k[key] . q[lane] for `rows` lanes; 0 in blocks that nobody sees. Without hidden cells
 * scratch->tmax is set, too. */
void seen_scores(const fattn_item *it, float *st, fattn_queries q, fattn_tile k, int keys, int rows,
                 const uint64_t *hidden_by_key);

/* o[row] = o[row] * alpha[row] + sum_key w[key][row] * x[key]; alpha NULL = 1. Hidden weights are 0. With x
 * in halves w lies in scratch->scores, and the weights in scratch->half as well. */
void seen_add_to_rows(const fattn_item *it, float *o, int64_t ldo, const float *w, fattn_tile x,
                      int rows, int keys, const float *alpha, const uint64_t *hidden_by_row);

/* o[key] += sum_row w[key][row] * x[row]. */
void seen_add_to_keys(const fattn_item *it, float *o, int64_t ldo, const float *w, fattn_tile x,
                      int keys, int rows, const uint64_t *hidden_by_key);

#endif
