/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h — the threads of one context. Made with the context, started at its first loop. */
#ifndef FATTN_BASE_POOL_H
#define FATTN_BASE_POOL_H

#include "fattn/context.h"

typedef struct fattn_pool fattn_pool;

/* A pool of `workers` >= 2 workers, the caller of a loop being one of them; starts nothing yet.
 * NULL when out of memory. `allocator` is borrowed as long as the pool lives. */
fattn_pool *pool_create(const fattn_allocator *allocator, int workers);

/* From its start on every thread of the pool keeps to one CPU of the calling thread's present
 * affinity mask: worker w to the w-th of them, around and around. Before the first loop. */
void pool_pin(fattn_pool *pool);

/* Joins the threads. NULL is fine. No loop may be running. */
void pool_destroy(fattn_pool *pool);

/* Runs task(arg, i, worker) once for every i in [0, n), the caller as worker 0; returns when all
 * are done. Works with fewer threads when the system gives no more. false, and nothing was run,
 * when another thread uses the pool. */
bool pool_run(fattn_pool *pool, fattn_task task, void *arg, int64_t n);

/* true inside an item of a pool_run on this thread. */
bool pool_in_item(void);

/* Runs items [0, n) here, one after the other, as worker 0, in our floating-point environment. */
void pool_run_here(fattn_task task, void *arg, int64_t n);

/* One item as pool_run runs it: environment and nesting flag set; for executors. */
void pool_run_item(fattn_task task, void *arg, int64_t item, int worker);

#endif
