/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h — a problem cut into work items.
 *
 * The rows of a kv head are packed: r = i * group + g, so all query heads of a group share one
 * gathered K/V tile and i stays monotone. An item is a block of packed rows of one (sequence, kv
 * head) against a range of keys. How the keys are split depends on the sequence's own lengths and
 * the ISA row only; how many panels of rows and how many splits share an item may depend on
 * anything, because it does not touch a row's bits. */
#ifndef FATTN_CPU_PLAN_H
#define FATTN_CPU_PLAN_H

#include "base/context.h"
#include "core/problem.h"
#include "cpu/kernels.h"
#include "cpu/scratch.h"

enum { SPLIT_Q_LEN = 16 }; /* most query rows of a sequence whose keys are split */

typedef struct fattn_work {
    int64_t row0;    /* packed rows [row0, row0 + rows) */
    int64_t k0, k1;  /* hull of the keys they see, inside the splits; equal: nothing to see */
    int64_t partial; /* offset of the first split's state in floats, the others' follow */
    int32_t seq, kv_head;
    int32_t merge; /* index of the merge that takes the partial results, -1 = whole */
    int32_t rows;
    int16_t splits; /* that the keys reach over; 1 where merge is -1 and in the tile family */
    bool dot;       /* dot family, else tile family */
} fattn_work;

/* The splits of one row block; partial states lie in key order, `stride` floats apart. */
typedef struct fattn_merge {
    int64_t partial, stride;
    int64_t parts;
} fattn_merge;

typedef struct fattn_cpu_plan {
    const fattn_kernels *kernels;
    const fattn_half_kernels *half; /* NULL = fp32 arithmetic */
    fattn_work *works; /* biggest first */
    fattn_merge *merges;
    int64_t n_works, n_merges;
    int64_t n_dots; /* works of the dot family */
    fattn_scratch_layout layout;
    size_t scratch_bytes; /* per worker */
    /* workspace: scratch of each worker, partial states, one countdown per merge */
    size_t partials_at, countdowns_at, bytes;
} fattn_cpu_plan;

/* Work by cost: 0 = the most expensive class. */
enum { COST_STEPS = 4 /* classes per doubling */, COST_CLASSES = 80 * COST_STEPS /* cost < 2^80 */ };
int plan_cost_class(const fattn_work *work);
/* Counts of a class each, turned into where its first one goes. */
void plan_class_starts(int64_t *counts);
/* Adds `count` blocks of `bytes` at a multiple of 64; false on overflow. */
bool plan_reserve(size_t *total, size_t count, size_t bytes);

/* `half`: for fp16 arithmetic, else NULL. Lists go to the arena. E_NOMEM when they do not fit or the sizes overflow. */
fattn_status plan_make(fattn_cpu_plan *plan, const fattn_problem *p, const fattn_kernels *kernels,
                       const fattn_half_kernels *half, int threads, fattn_arena *arena);

#endif
