/* SPDX-License-Identifier: Apache-2.0 */
/* item.h — what every step of a work item knows: the problem, its addresses, its rows and keys, the
 * kernels and the worker's memory. Also the small facts about packed rows. */
#ifndef FATTN_CPU_ITEM_H
#define FATTN_CPU_ITEM_H

#include "core/problem.h"
#include "cpu/kernels.h"
#include "cpu/plan.h"
#include "cpu/scratch.h"

typedef struct fattn_item {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const fattn_kernels *kernels;
    const fattn_half_kernels *half; /* fp16 arithmetic of the tile family; NULL = fp32 */
    const fattn_seq *seq;
    const fattn_work *work;
    int64_t next_state; /* floats from the state of a split to that of the next */
    fattn_scratch *scratch;
} fattn_item;

static const double LOG2_E = 1.44269504088896340736;
static const double LN_2 = 0.69314718055994530942;

/* Query row and query head of packed row r of the item's kv head. */
static inline int64_t item_query(const fattn_item *it, int64_t r) { return r / it->p->group; }
static inline int64_t item_head(const fattn_item *it, int64_t r)
{
    return it->work->kv_head * it->p->group + r % it->p->group;
}

/* Slot of a float dtype in the kernel table; the plan accepts no other dtypes. */
static inline int item_dtype(fattn_dtype dtype)
{
    return dtype == FATTN_F16 ? KERNEL_F16 : dtype == FATTN_BF16 ? KERNEL_BF16 : KERNEL_F32;
}

/* Slot of any dtype that kernels read, -1 of others. */
static inline int item_kernel(fattn_dtype dtype)
{
    switch (dtype) {
    case FATTN_F32:
    case FATTN_F16:
    case FATTN_BF16:
        return item_dtype(dtype);
    case FATTN_I8:
        return KERNEL_I8;
    case FATTN_E4M3:
        return KERNEL_E4M3;
    case FATTN_E5M2:
        return KERNEL_E5M2;
    case FATTN_I4:
        return KERNEL_I4;
    default:
        return -1;
    }
}

/* scale * log2(e): from q.k to log2 units. */
static inline float item_factor(const fattn_item *it) { return (float)(it->p->scale * LOG2_E); }

#endif
