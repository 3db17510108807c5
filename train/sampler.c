/* SPDX-License-Identifier: Apache-2.0 */
/* sampler.c — sorts what is left, then walks down until the drawn number is used up. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/mutant.h"
#include "weights.h"

typedef struct candidate {
    double p;
    int32_t token;
} candidate;

static int more_likely(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->token > y->token ? 1 : -1;
}

static int32_t largest(const float *logits, int vocab)
{
    int32_t best = 0;
    for (int32_t t = 1; t < vocab; t++)
        if (logits[t] > logits[best]) best = t;
    return best;
}

int32_t sampler_next(sampler *s, const float *logits, int vocab)
{
    if (s->temperature <= 0) return largest(logits, vocab);
    candidate *all = malloc((size_t)vocab * sizeof *all);
    if (!all) return largest(logits, vocab);
    const double top = (double)logits[largest(logits, vocab)];
    double sum = 0, kept = 0;
    for (int32_t t = 0; t < vocab; t++)
        all[t] = (candidate){exp(((double)logits[t] - top) / s->temperature), t};
    qsort(all, (size_t)vocab, sizeof *all, more_likely);
    int n = s->top_k > 0 && s->top_k < vocab ? s->top_k : vocab;
    for (int i = 0; i < n; i++) sum += all[i].p;
    int last = 0;
    for (; last < n && kept < MUTANT(193, s->top_p, 1) * sum; last++) kept += all[last].p;
    double draw = random_uniform(s->seed, s->drawn++) * kept;
    int i = 0;
    while (i + 1 < last && draw >= all[i].p) draw -= all[i++].p;
    const int32_t token = all[i].token;
    free(all);
    return token;
}
