/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c — persistent worker threads for parallel loops.
 *
 * One loop at a time: `owner` is a try-lock, a second caller is told so and runs its items itself.
 * The loop in progress is described by job fields and one atomic word, the gate:
 *
 *   gate = epoch << 32 | open << 31 | workers inside
 *
 * A worker may join only while the gate is open, by a compare-and-swap that counts it in; the
 * caller closes the gate when the items have run out, then waits until nobody is inside. A thread
 * that wakes up late finds the gate shut and touches nothing, so a short loop never waits for
 * sleepers.
 *
 * Fork: threads do not survive it. `generation` counts the forks this process descends from; the
 * owner word contains it, so a lock that some other thread of the parent held is void in the child,
 * and the first loop there starts new threads. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/compiler.h"
#include "base/cpuinfo.h"
#include "base/fpenv.h"
#include "base/ints.h"
#include "base/mutant.h"

enum { SPIN_NS = 50 * 1000, PAUSES_PER_LOOK = 64 };

static const uint64_t GATE_OPEN = UINT64_C(1) << 31;
static const uint64_t GATE_INSIDE = (UINT64_C(1) << 31) - 1;
enum { EPOCH_SHIFT = 32 };

typedef struct pool_thread {
    fattn_pool *pool;
    pthread_t handle;
    int worker;
} pool_thread;

struct fattn_pool {
    const fattn_allocator *allocator;
    int workers;   /* wanted, the caller included */
    int n_threads; /* running */
    bool started;
    bool pinned;
    cpu_set_t cpus; /* when pinned */
    int64_t
        spin_ns; /* 0 when workers outnumber the CPUs: spinning would steal from a working thread */
    _Atomic uint64_t owner; /* 0 = free, else generation << 1 | 1 */
    uint64_t generation;    /* in which the threads were started */

    /* the loop in progress: written before the gate opens, read by workers inside */
    fattn_task task;
    void *arg;
    int64_t n;
    _Atomic int64_t next; /* first item nobody has taken */
    _Atomic uint64_t gate;

    _Atomic bool quit;
    _Atomic int sleepers;       /* workers waiting for `wake`, or about to */
    _Atomic bool caller_sleeps; /* the caller waits for `done`, or is about to */
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    pool_thread threads[]; /* workers - 1 */
};

static _Thread_local bool in_item;
static _Atomic uint64_t generation = 1;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void count_fork(void) { atomic_fetch_add(&generation, 1); }

static void watch_forks(void) { pthread_atfork(NULL, NULL, count_fork); }

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Takes items until none is left. */
static void work(fattn_pool *pool, int worker)
{
    const fattn_fpenv saved = fpenv_enter();
    const bool outer = in_item;
    in_item = true;
    for (;;) {
        const int64_t item = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (item >= MUTANT(10, pool->n, pool->n - 1)) break;
        pool->task(pool->arg, item, worker);
    }
    in_item = outer;
    fpenv_leave(saved);
}

/* Counts the calling worker in, if the gate is open for a loop it has not seen; *seen becomes its
 * epoch. */
static bool join(fattn_pool *pool, uint64_t *seen)
{
    uint64_t gate = atomic_load(&pool->gate);
    while ((gate & GATE_OPEN) && gate >> EPOCH_SHIFT != *seen) {
        if (!atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) continue;
        *seen = gate >> EPOCH_SHIFT;
        return true;
    }
    return false;
}

/* Counts the calling worker out and wakes a caller that waits for the last one. */
static void leave(fattn_pool *pool)
{
    const uint64_t gate = atomic_fetch_sub(&pool->gate, 1) - 1;
    if ((gate & (GATE_OPEN | GATE_INSIDE)) != 0 || !atomic_load(&pool->caller_sleeps)) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_signal(&pool->done);
    pthread_mutex_unlock(&pool->mutex);
}

static bool worth_waking(fattn_pool *pool, uint64_t seen)
{
    const uint64_t gate = atomic_load(&pool->gate);
    return atomic_load(&pool->quit) || ((gate & GATE_OPEN) && gate >> EPOCH_SHIFT != seen);
}

/* Waits for the next loop or the end: a short while awake, then asleep. */
static void wait_for_loop(fattn_pool *pool, uint64_t seen)
{
    const int64_t deadline = pool->spin_ns ? now_ns() + pool->spin_ns : 0;
    while (pool->spin_ns && now_ns() < deadline)
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if (worth_waking(pool, seen)) return;
            CPU_PAUSE();
        }

    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers,
                     1); /* before the look below: the caller looks the other way round */
    while (!worth_waking(pool, seen)) pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void *thread_main(void *argument)
{
    const pool_thread *self = argument;
    fattn_pool *pool = self->pool;
    uint64_t seen = 0;

    while (!atomic_load(&pool->quit)) {
        wait_for_loop(pool, seen);
        if (!join(pool, &seen)) continue;
        work(pool, self->worker);
        leave(pool);
    }
    return NULL;
}

static void wake_sleepers(fattn_pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
}

/* Fresh state: in a new pool, and in the child of a fork, where locks may have been copied while
 * held. */
static void reset(fattn_pool *pool)
{
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    atomic_store(&pool->gate, 0);
    atomic_store(&pool->quit, false);
    atomic_store(&pool->sleepers, 0);
    atomic_store(&pool->caller_sleeps, false);
    pool->n_threads = 0;
    pool->started = false;
    pool->generation = atomic_load(&generation);
}

/* A CPU that has gone meanwhile is no reason to fail: the thread then runs where it may. */
static void pin(const fattn_pool *pool, const pool_thread *thread)
{
    int skip = thread->worker % CPU_COUNT(&pool->cpus);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &pool->cpus) || skip-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        (void)pthread_setaffinity_np(thread->handle, sizeof one, &one);
        return;
    }
}

/* Starts what the system gives; a loop is right with any number of threads. */
static void start(fattn_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all,
                    &before); /* inherited: signals belong to the caller's threads */
    for (int i = 0; i < pool->workers - 1; i++) {
        pool_thread *thread = &pool->threads[pool->n_threads];
        *thread = (pool_thread){.pool = pool, .worker = pool->n_threads + 1};
        if (pthread_create(&thread->handle, NULL, thread_main, thread) != 0) break;
        if (pool->pinned) pin(pool, thread);
        pool->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->started = true;
}

static void wait_until_empty(fattn_pool *pool)
{
    const int64_t deadline = pool->spin_ns ? now_ns() + pool->spin_ns : 0;
    do
        for (int i = 0; i < PAUSES_PER_LOOK; i++) {
            if ((atomic_load(&pool->gate) & GATE_INSIDE) == 0) return;
            CPU_PAUSE();
        }
    while (pool->spin_ns && now_ns() < deadline);

    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->gate) & GATE_INSIDE) pthread_cond_wait(&pool->done, &pool->mutex);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void run_loop(fattn_pool *pool, fattn_task task, void *arg, int64_t n)
{
    pool->task = task;
    pool->arg = arg;
    pool->n = n;
    atomic_store(&pool->next, 0);
    const uint64_t epoch = (atomic_load(&pool->gate) >> EPOCH_SHIFT) % UINT32_MAX + 1;
    atomic_store(&pool->gate, epoch << EPOCH_SHIFT | GATE_OPEN);
    wake_sleepers(pool);

    work(pool, 0);
    atomic_fetch_and(&pool->gate, ~GATE_OPEN);
    wait_until_empty(pool);
}

bool pool_run(fattn_pool *pool, fattn_task task, void *arg, int64_t n)
{
    const uint64_t current = atomic_load(&generation);
    const uint64_t mine = current << 1 | 1;
    uint64_t owner = atomic_load(&pool->owner);
    if (owner == mine || !atomic_compare_exchange_strong(&pool->owner, &owner, mine)) return false;

    if (MUTANT(11, pool->generation != current, false)) reset(pool);
    if (!pool->started) start(pool);
    run_loop(pool, task, arg, n);
    atomic_store(&pool->owner, 0);
    return true;
}

bool pool_in_item(void) { return in_item; }

void pool_run_here(fattn_task task, void *arg, int64_t n)
{
    const fattn_fpenv saved = fpenv_enter();
    for (int64_t i = 0; i < n; i++) task(arg, i, 0);
    fpenv_leave(saved);
}

void pool_run_item(fattn_task task, void *arg, int64_t item, int worker)
{
    const fattn_fpenv saved = fpenv_enter();
    const bool outer = in_item;
    in_item = true;
    task(arg, item, worker);
    in_item = outer;
    fpenv_leave(saved);
}

fattn_pool *pool_create(const fattn_allocator *allocator, int workers)
{
    pthread_once(&fork_once, watch_forks);
    const size_t bytes = sizeof(fattn_pool) + (size_t)(workers - 1) * sizeof(pool_thread);
    fattn_pool *pool = allocator->alloc(allocator->self, bytes);
    if (!pool) return NULL;

    memset(pool, 0, bytes);
    pool->allocator = allocator;
    pool->workers = workers;
    pool->spin_ns = workers <= cpu_default_threads() ? SPIN_NS : 0;
    reset(pool);
    return pool;
}

void pool_pin(fattn_pool *pool)
{
    pool->pinned = sched_getaffinity(0, sizeof pool->cpus, &pool->cpus) == 0;
}

void pool_destroy(fattn_pool *pool)
{
    if (!pool) return;
    if (pool->generation == atomic_load(&generation)) {
        atomic_store(&pool->quit, true);
        wake_sleepers(pool);
        for (int i = 0; i < pool->n_threads; i++) pthread_join(pool->threads[i].handle, NULL);
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
    }
    pool->allocator->free(pool->allocator->self, pool);
}
