/* SPDX-License-Identifier: Apache-2.0 */
/* half_tile.h — fp16 arithmetic of the tile family (FATTN_COMPUTE_F16): which calls are computed in it, and
 * their operands in halves. Scores, softmax, weights and output are fp32 as ever; the two products between
 * them read halves (kernels.h). */
#ifndef FATTN_CPU_HALF_TILE_H
#define FATTN_CPU_HALF_TILE_H

#include "base/context.h"
#include "cpu/gather.h"

/* The kernels of a forward call whose queries, keys and values are all f16, where the context asks for
 * them; else NULL, fp32. */
const fattn_half_kernels *half_for(const fattn_context *context, const fattn_problem *p);

/* half[c][lane] of the n rows that stand in qt; lanes without a row become 0. */
void half_queries(const fattn_item *it, const float *qt, int n, uint16_t *half);

/* Sets the halves of a tile of n keys, or of values, the first of which is number j; `half`: rows of scratch. */
void half_keys(const fattn_item *it, int n, fattn_tile *k);
void half_values(const fattn_item *it, int64_t j, int n, uint16_t *half, fattn_tile *v);

/* The weights of n keys in `vectors` vectors of lanes, from scratch->scores. */
void half_weights(const fattn_item *it, int n, int vectors);

#endif
