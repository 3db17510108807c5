/* SPDX-License-Identifier: Apache-2.0 */
/* bench_pool.h — the benchmark's own threads, for the probes and for standard attention. They wait
 * spinning for some microseconds, then asleep, so that they take nothing from the runs between. */
#ifndef FATTN_TOOLS_BENCH_POOL_H
#define FATTN_TOOLS_BENCH_POOL_H

#include <stdint.h>

typedef struct bench_pool bench_pool;
typedef void (*bench_task)(void *arg, int64_t item, int worker);

/* NULL when out of memory or threads. The caller of bench_pool_run() is worker 0. Every worker
 * keeps to one CPU of the caller's mask, the caller too until the pool is destroyed: some systems
 * pack threads on few CPUs while these seem to suffice, which would time the packing. */
bench_pool *bench_pool_create(int threads);
void bench_pool_destroy(bench_pool *pool); /* NULL is fine */
int bench_pool_threads(const bench_pool *pool);

/* task(arg, i, worker) for every i in [0, n); returns when all are done. */
void bench_pool_run(bench_pool *pool, bench_task task, void *arg, int64_t n);

#endif
