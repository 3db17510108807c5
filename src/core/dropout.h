/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.h — which cells of the scores dropout keeps (spec fusion-attention 8).
 *
 * Cell (head, i, j) of a sequence is element e of the call. With Philox, word e of the stream gives a
 * uniform number u of a few bits, and the cell is kept iff u >= the drop probability; how many bits
 * and how the probability is rounded depends on the dtype, as on the device (8.6). */
#ifndef FATTN_CORE_DROPOUT_H
#define FATTN_CORE_DROPOUT_H

#include "core/problem.h"

/* keep_prob nearer to 1 than that is 1 (8.1). */
#define DROPOUT_KEEP_ALL 1e-9

/* The rule of a dtype (f32, f16, bf16; f64 has f32's) for a drop probability in [0, 1]. */
void dropout_rule(fattn_dropout *dropout, fattn_dtype dtype, float p_drop);

/* From keep_prob in (0, 1), not within DROPOUT_KEEP_ALL of 1: kind PHILOX, factor and rule. */
void dropout_translate(fattn_dropout *dropout, fattn_dtype dtype, double keep_prob);

/* Bytes of a packed mask of `cells` bits: a multiple of 16 (8.2). Saturated. */
int64_t dropout_mask_bytes(int64_t cells);

/* true when cell (head, i, j) is kept; without dropout every cell is. */
bool dropout_keeps(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                   int64_t head, int64_t i, int64_t j);

/* Element of cell (head, i, j). */
static inline uint64_t dropout_element(const fattn_seq *seq, int64_t head, int64_t i, int64_t j)
{
    return (uint64_t)seq->drop_base +
           ((uint64_t)head * (uint64_t)seq->q_len + (uint64_t)i) * (uint64_t)seq->kv_len +
           (uint64_t)j;
}

/* Bits [e, e + 64) of the stream as the rule decides them, 1 = keep; e any. */
uint64_t dropout_word(const fattn_dropout *dropout, uint64_t seed, uint64_t offset, uint64_t e);

#endif
