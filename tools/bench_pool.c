/* SPDX-License-Identifier: Apache-2.0 */
/* bench_pool.c — a loop over items on a fixed set of threads: a generation number starts a loop,
 * one counter hands out items, another counts the workers that are still in it. */
#include "bench_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SPINS = 20000 }; /* some ten microseconds */

typedef struct worker_start {
    struct bench_pool *pool;
    int worker;
} worker_start;

struct bench_pool {
    cpu_set_t cpus; /* of the creating thread; worker w keeps to the w-th of them */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint generation; /* changes under the lock */
    atomic_bool stop;
    bench_task task;
    void *arg;
    int64_t n;
    _Atomic int64_t next;
    atomic_int busy;
    int threads, started;
    pthread_t *ids;
    worker_start *starts;
};

static void take_items(bench_pool *pool, int worker)
{
    for (;;) {
        const int64_t i = atomic_fetch_add(&pool->next, 1);
        if (i >= pool->n) return;
        pool->task(pool->arg, i, worker);
    }
}

/* Returns when the generation is no longer `seen`. */
static void await_generation(bench_pool *pool, unsigned seen)
{
    for (int spin = 0; spin < SPINS; spin++)
        if (atomic_load(&pool->generation) != seen) return;
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->generation) == seen) pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static void start_generation(bench_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->generation, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void pin(const cpu_set_t *cpus, int worker)
{
    const int count = CPU_COUNT(cpus);
    int skip = count > 0 ? worker % count : 0;
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, cpus) || skip-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)sched_setaffinity(0, sizeof one, &one); /* refused: it runs where it may */
        return;
    }
}

static void *worker_main(void *arg)
{
    const worker_start *start = arg;
    bench_pool *pool = start->pool;
    pin(&pool->cpus, start->worker);
    for (unsigned seen = 0;; seen++) {
        await_generation(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        take_items(pool, start->worker);
        atomic_fetch_sub(&pool->busy, 1);
    }
}

bench_pool *bench_pool_create(int threads)
{
    bench_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->threads = threads > 1 ? threads : 1;
    sched_getaffinity(0, sizeof pool->cpus, &pool->cpus);
    pool->ids = calloc((size_t)pool->threads, sizeof *pool->ids);
    pool->starts = calloc((size_t)pool->threads, sizeof *pool->starts);
    bool fine = pool->ids != NULL && pool->starts != NULL;
    for (int w = 1; fine && w < pool->threads; w++) {
        pool->starts[w] = (worker_start){.pool = pool, .worker = w};
        fine = pthread_create(&pool->ids[w], NULL, worker_main, &pool->starts[w]) == 0;
        if (fine) pool->started++;
    }
    if (fine) pin(&pool->cpus, 0);
    if (fine) return pool;
    bench_pool_destroy(pool);
    return NULL;
}

void bench_pool_destroy(bench_pool *pool)
{
    if (pool == NULL) return;
    atomic_store(&pool->stop, true);
    start_generation(pool);
    for (int w = 1; w <= pool->started; w++) pthread_join(pool->ids[w], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    sched_setaffinity(0, sizeof pool->cpus, &pool->cpus);
    free(pool->ids);
    free(pool->starts);
    free(pool);
}

int bench_pool_threads(const bench_pool *pool) { return pool->threads; }

void bench_pool_run(bench_pool *pool, bench_task task, void *arg, int64_t n)
{
    pool->task = task;
    pool->arg = arg;
    pool->n = n;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->started);
    start_generation(pool);
    take_items(pool, 0);
    while (atomic_load(&pool->busy) > 0) sched_yield();
}
