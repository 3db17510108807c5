/* SPDX-License-Identifier: Apache-2.0 */
/* backward_plan.h — a backward problem cut into work items.
 *
 * An item is a range of packed rows of one (sequence, kv head) against all its keys. It owns the dq of
 * its rows. dK and dV sum over the rows of a kv head: mostly one item has all of them; the rows of a
 * long sequence are cut into at most GRAD_PARTS ranges, a function of its own length and the ISA row
 * alone, whose sums are added in order by whoever finishes last. */
#ifndef FATTN_CPU_BACKWARD_PLAN_H
#define FATTN_CPU_BACKWARD_PLAN_H

#include "cpu/backward_bias.h"
#include "cpu/plan.h"

enum { GRAD_PARTS = 8 };

typedef struct fattn_grad_work {
    fattn_work work; /* k0, k1: the hull of all its rows; partial: its dK and dV when cut */
    int64_t columns; /* offset of its column sums of the bias' gradient in floats */
} fattn_grad_work;

typedef struct fattn_grad_plan {
    const fattn_kernels *kernels;
    fattn_grad_work *works; /* by sequence, kv head, rows */
    int64_t *order;         /* their numbers, biggest first */
    fattn_merge *merges;    /* of the cut ones */
    int64_t n_works, n_merges;
    fattn_pool_plan pool;
    bias_way bias;
    int64_t block_rows; /* rows that share a gathered tile of keys */
    fattn_scratch_layout layout;
    size_t scratch_bytes; /* per worker */
    /* workspace: scratch of each worker, partial dK and dV, column sums, two doubles per item and
     * head of the group (dsink, slopes), one countdown per merge */
    size_t partials_at, columns_at, sums_at, countdowns_at, bytes;
} fattn_grad_plan;

/* Floats of the dK and dV of `keys` keys; SIZE_MAX when that overflows. */
size_t grad_floats(int64_t keys, int64_t d_qk, int64_t d_v);

/* Lists go to the arena. E_NOMEM when they do not fit or the sizes overflow. */
fattn_status backward_plan_make(fattn_grad_plan *plan, const fattn_problem *p,
                                const fattn_kernels *kernels, int threads, fattn_arena *arena);

#endif
