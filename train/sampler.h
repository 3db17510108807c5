/* SPDX-License-Identifier: Apache-2.0 */
/* sampler.h — the next token from its logits. */
#ifndef FATTN_TRAIN_SAMPLER_H
#define FATTN_TRAIN_SAMPLER_H

#include <stdint.h>

typedef struct sampler {
    double temperature; /* 0 = greedy: the first of the largest */
    int top_k;          /* only the k largest, 0 = all */
    double top_p;       /* only the fewest whose probabilities sum to p (Holtzman et al. 2020), 1 = all */
    uint64_t seed, drawn; /* the n-th draw of a seed is the same everywhere */
} sampler;

int32_t sampler_next(sampler *s, const float *logits, int vocab);

#endif
