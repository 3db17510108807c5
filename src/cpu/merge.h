/* SPDX-License-Identifier: Apache-2.0 */
/* merge.h — the splits of one row block, put together in key order by whoever finishes last. */
#ifndef FATTN_CPU_MERGE_H
#define FATTN_CPU_MERGE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "cpu/item.h"

/* Sets the countdown of every merge; before a run's items start. */
void merge_prepare(const fattn_cpu_plan *plan, atomic_int *countdowns);

/* Counts an item's splits as done; true for the last ones, whose item then sees the partial states of all. */
bool merge_is_last(atomic_int *countdown, int splits);

/* Partial states from `partials` (floats) into `state`. */
void merge_parts(const fattn_item *it, const fattn_merge *merge, const float *partials,
                 const fattn_state *state);

#endif
