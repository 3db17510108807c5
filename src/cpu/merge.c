/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c — partial softmaxes of one row into one:
 *
 *   m = max m_s,  w_s = 2^(m_s - m),  l = sum w_s l_s,  o = sum w_s o_s       (s in key order)
 *
 * A split in which the row sees nothing has m_s = -inf, w_s = 0, so it does not matter how far the
 * key range of a row block reaches. The sum over o is an axpy with the splits as keys. */
#include "cpu/merge.h"

#include <math.h>

#include "base/ints.h"
#include "base/mutant.h"

void merge_prepare(const fattn_cpu_plan *plan, atomic_int *countdowns)
{
    for (int64_t i = 0; i < plan->n_merges; i++)
        atomic_init(&countdowns[i], (int)plan->merges[i].parts);
}

bool merge_is_last(atomic_int *countdown, int splits)
{
    return atomic_fetch_sub_explicit(countdown, splits, memory_order_acq_rel) == splits;
}

/* Splits [s0, s0 + n) of row r, n <= TILE_KEYS, added to the row's l and o. */
static void add_parts(const fattn_item *it, const fattn_merge *merge, const float *first, int64_t r,
                      int n, const fattn_state *state)
{
    float *weights = it->scratch->scores;
    const fattn_state part = state_bind((float *)(uintptr_t)first, it->work->rows);
    const float m = isinf(state->m[r]) && state->m[r] < 0 ? 0.0f : state->m[r];
    for (int s = 0; s < n; s++) weights[s] = MUTANT(40, part.m[s * merge->stride + r] - m, 0.0f);
    it->kernels->exp2(weights, n);
    for (int s = 0; s < n; s++) state->l[r] += weights[s] * part.l[s * merge->stride + r];

    const int64_t ldo = it->scratch->ldo;
    it->kernels->axpy[KERNEL_F32](state->o + r * ldo, (ptrdiff_t)ldo, weights, part.o + r * ldo,
                                  (ptrdiff_t)merge->stride, 1, n, (int)ldo, NULL);
}

void merge_parts(const fattn_item *it, const fattn_merge *merge, const float *partials,
                 const fattn_state *state)
{
    const float *first = partials + merge->partial;
    const int64_t rows = it->work->rows;
    state_reset(state, rows, it->scratch->ldo);
    for (int64_t s = 0; s < merge->parts; s++) {
        const fattn_state part = state_bind((float *)(uintptr_t)(first + s * merge->stride), rows);
        for (int64_t r = 0; r < rows; r++) {
            if (part.m[r] > state->m[r]) state->m[r] = part.m[r];
            if (part.top[r] > state->top[r]) state->top[r] = part.top[r];
        }
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t s = 0; s < merge->parts; s += TILE_KEYS)
            add_parts(it, merge, first + s * merge->stride, r,
                      (int)i64_min(merge->parts - s, TILE_KEYS), state);
}
