/* SPDX-License-Identifier: Apache-2.0 */
/* bias.h — what is added to a score: pse tensors, compressed ALiBi, slopes. (spec fusion-attention
 * 5) */
#ifndef FATTN_CORE_BIAS_H
#define FATTN_CORE_BIAS_H

#include "core/problem.h"

enum { BIAS_COMPRESSED_ROWS = 1024 };

/* bias of (query head, i, j) in natural units, exactly as stored or generated; 0 when there is
 * none. COMPRESSED for j > i returns 0: such cells are never visible. */
double bias_value(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                  int64_t head, int64_t i, int64_t j);

#endif
