/* SPDX-License-Identifier: Apache-2.0 */
/* scores.h — what is done to scores between QK^T and softmax: which keys a row must not see, what
 * is added to a score, and the rounding of strict mode. Everything by row: bit or column k is key j
 * + k. */
#ifndef FATTN_CPU_SCORES_H
#define FATTN_CPU_SCORES_H

#include "core/mask.h"
#include "cpu/item.h"

/* Classifies packed rows [r, r + rows) against keys [j, j + n), dense mask included. For PARTIAL,
 * hidden[row] has bit k set where key j + k must not be seen; otherwise it may be left alone. */
fattn_tile_class scores_hidden(const fattn_item *it, int64_t r, int rows, int64_t j, int n,
                               uint64_t *hidden);

/* lanes[k] has bit `row` set where hidden[row] has bit k; rows up to TILE_ROWS, the others read as
 * 0. */
void scores_hidden_lanes(const uint64_t *hidden, int rows, uint64_t *lanes);

/* bias[row * TILE_KEYS + k] in log2 units. Not for a problem without a bias. */
void scores_bias_rows(const fattn_item *it, int64_t r, int rows, int64_t j, int n, float *bias);

/* The same as scratch->bias[k * TILE_ROWS + row], for the lanes of `rows` rows. */
void scores_bias_lanes(const fattn_item *it, int64_t r, int rows, int64_t j, int n);

/* |distance| or its root for distances first .. first + n - 1. */
void scores_distances(bool root, int64_t first, int n, double *out);

/* Strict inner_precise: q.k is rounded to fp16, then comes the scale; q was packed without it. */
void scores_round_f16(const fattn_item *it, float *scores, int n);

#endif
