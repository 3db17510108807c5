/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c — parallel loops: every item exactly once with 1..9 threads, no worker number twice at a
 * time, nested, busy, forked, on the caller's executor, and in our floating-point environment. */
#include "cm.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/context.h"

enum { ITEMS = 500, WORKERS = 16 };

/* ThreadSanitizer cannot follow threads that start after a fork; the fork tests are skipped there.
 */
#if defined(__SANITIZE_THREAD__)
enum { CAN_FORK = 0 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
enum { CAN_FORK = 0 };
#else
enum { CAN_FORK = 1 };
#endif
#else
enum { CAN_FORK = 1 };
#endif

static fattn_context *with_threads(int threads)
{
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = threads;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    assert_int_equal(fattn_context_threads(context), threads);
    return context;
}

typedef struct loop {
    fattn_context *context;
    int64_t n;
    atomic_int seen[ITEMS];
    atomic_int inside[WORKERS]; /* items that run as this worker right now */
    atomic_int wrong;           /* assertions do not work on other threads */
    int nested;
} loop;

static void burn(int rounds)
{
    for (volatile int i = 0; i < rounds; i++) {
    }
}

static void count_item(void *arg, int64_t item, int worker)
{
    loop *l = arg;
    if (worker < 0 || worker >= l->context->threads || item < 0 || item >= l->n) {
        atomic_fetch_add(&l->wrong, 1);
        return;
    }
    if (atomic_fetch_add(&l->inside[worker], 1) != 0) atomic_fetch_add(&l->wrong, 1);
    atomic_fetch_add(&l->seen[item], 1);
    burn((int)(item * 7919 % 300));
    atomic_fetch_sub(&l->inside[worker], 1);
}

static loop *new_loop(fattn_context *context, int64_t n)
{
    loop *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->context = context;
    l->n = n;
    return l;
}

static void check_loop(loop *l, int times)
{
    assert_int_equal(atomic_load(&l->wrong), 0);
    for (int64_t i = 0; i < ITEMS; i++)
        assert_int_equal(atomic_load(&l->seen[i]), i < l->n ? times : 0);
}

static void run_and_check(fattn_context *context, int64_t n)
{
    loop *l = new_loop(context, n);
    context_parallel(context, count_item, l, n);
    check_loop(l, 1);
    free(l);
}

static void test_every_item_once(void **state)
{
    (void)state;
    const int64_t sizes[] = {0, 1, 2, 3, 8, 9, 10, 63, ITEMS, -5};
    for (int threads = 1; threads <= 9; threads++) {
        fattn_context *context = with_threads(threads);
        for (int round = 0; round < 20; round++)
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                run_and_check(context, sizes[i]);
        fattn_context_destroy(context);
    }
}

/* The threads fall asleep between the loops and have to be woken. */
static void test_after_a_pause(void **state)
{
    (void)state;
    fattn_context *context = with_threads(3);
    for (int round = 0; round < 20; round++) {
        usleep(1000);
        run_and_check(context, 40);
    }
    fattn_context_destroy(context);
}

static void test_destroy_unused(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) fattn_context_destroy(with_threads(4));
    for (int i = 0; i < 20; i++) {
        fattn_context *context = with_threads(4);
        run_and_check(context, 5);
        fattn_context_destroy(context); /* the threads may still be on their way to sleep */
    }
    fattn_context_destroy(NULL);
}

typedef struct meeting {
    atomic_int here;
    pthread_t who[2];
} meeting;

/* Item 0 waits until item 1 runs too: only possible on two threads. */
static void meet(void *arg, int64_t item, int worker)
{
    meeting *m = arg;
    (void)worker;
    m->who[item] = pthread_self();
    atomic_fetch_add(&m->here, 1);
    for (int i = 0; i < 20000 && atomic_load(&m->here) < 2; i++) usleep(100);
}

static void test_items_really_run_together(void **state)
{
    (void)state;
    fattn_context *context = with_threads(2);
    for (int round = 0; round < 10; round++) {
        meeting m = {0};
        context_parallel(context, meet, &m, 2);
        assert_int_equal(atomic_load(&m.here), 2);
        assert_false(pthread_equal(m.who[0], m.who[1]));
    }
    fattn_context_destroy(context);
}

static void outer_item(void *arg, int64_t item, int worker)
{
    loop *l = arg;
    (void)item, (void)worker;
    loop *inner = new_loop(l->context, 50);
    context_parallel(l->context, count_item, inner, 50);
    if (atomic_load(&inner->wrong)) atomic_fetch_add(&l->wrong, 1);
    for (int i = 0; i < 50; i++)
        if (atomic_load(&inner->seen[i]) != 1) atomic_fetch_add(&l->wrong, 1);
    free(inner);
    atomic_fetch_add(&l->seen[item], 1);
}

static void test_nested(void **state)
{
    (void)state;
    fattn_context *context = with_threads(4);
    loop *l = new_loop(context, 30);
    context_parallel(context, outer_item, l, 30);
    check_loop(l, 1);
    free(l);
    fattn_context_destroy(context);
}

static void *caller(void *arg)
{
    fattn_context *context = arg;
    for (int round = 0; round < 100; round++) {
        loop *l = calloc(1, sizeof *l);
        if (!l) return NULL;
        l->context = context;
        l->n = 60;
        context_parallel(context, count_item, l, 60);
        int bad = atomic_load(&l->wrong);
        for (int i = 0; i < 60; i++) bad += atomic_load(&l->seen[i]) != 1;
        free(l);
        if (bad) return NULL;
    }
    return context;
}

static void test_busy_pool_is_not_awaited(void **state)
{
    (void)state;
    enum { CALLERS = 4 };
    fattn_context *context = with_threads(3);
    pthread_t callers[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, caller, context), 0);
    for (int i = 0; i < CALLERS; i++) {
        void *result = NULL;
        pthread_join(callers[i], &result);
        assert_ptr_equal(result, context);
    }
    fattn_context_destroy(context);
}

/* Allocates nothing: sanitizers' allocators may be locked in the child. */
static int child_runs(fattn_context *context)
{
    static loop l;
    for (int round = 0; round < 3; round++) {
        memset(&l, 0, sizeof l);
        l.context = context;
        l.n = 100;
        context_parallel(context, count_item, &l, 100);
        for (int i = 0; i < 100; i++)
            if (atomic_load(&l.seen[i]) != 1) return 1;
        if (atomic_load(&l.wrong)) return 1;
    }
    meeting m = {0}; /* the child has threads of its own */
    context_parallel(context, meet, &m, 2);
    if (atomic_load(&m.here) != 2 || pthread_equal(m.who[0], m.who[1])) return 3;
    fattn_context_destroy(context);
    return 0;
}

static void fork_and_check(fattn_context *context)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(20); /* a hang is a failure */
        _exit(child_runs(context));
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_fork(void **state)
{
    (void)state;
    if (!CAN_FORK) skip();
    fattn_context *context = with_threads(3);
    fork_and_check(context); /* before the threads exist */
    run_and_check(context, 30);
    for (int i = 0; i < 5; i++) fork_and_check(context);
    run_and_check(context, 30);
    fattn_context_destroy(context);
}

typedef struct load {
    fattn_context *context;
    atomic_bool stop;
} load;

static void *keep_busy(void *arg)
{
    static loop items;
    load *l = arg;
    items.context = l->context;
    items.n = 100;
    while (!atomic_load(&l->stop)) context_parallel(l->context, count_item, &items, 100);
    return NULL;
}

/* Another thread of the parent is inside a loop when the fork happens. */
static void test_fork_under_load(void **state)
{
    (void)state;
    if (!CAN_FORK) skip();
    load l = {.context = with_threads(3)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_busy, &l), 0);
    for (int i = 0; i < 30; i++) fork_and_check(l.context);
    atomic_store(&l.stop, true);
    pthread_join(thread, NULL);
    fattn_context_destroy(l.context);
}

/* An executor that runs the items backwards, each as another worker. */
typedef struct backwards {
    int calls, n_workers;
} backwards;

static void run_backwards(void *self, fattn_task task, void *arg, int64_t n_items)
{
    backwards *b = self;
    b->calls++;
    for (int64_t i = n_items - 1; i >= 0; i--) task(arg, i, (int)(i % b->n_workers));
}

static void test_executor(void **state)
{
    (void)state;
    backwards b = {.n_workers = 7};
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 2; /* the executor's count wins */
    options.executor = (fattn_executor){&b, b.n_workers, run_backwards};
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    assert_int_equal(fattn_context_threads(context), 7);
    run_and_check(context, 100);
    assert_int_equal(b.calls, 1);

    loop *l = new_loop(context, 30);
    context_parallel(context, outer_item, l, 30); /* nested loops do not come back to it */
    check_loop(l, 1);
    free(l);
    assert_int_equal(b.calls, 2);
    fattn_context_destroy(context);
}

enum { QUOTIENTS = 64 };

typedef struct quotients {
    volatile float value[QUOTIENTS];
    int flags_before[QUOTIENTS];
} quotients;

static void divide(void *arg, int64_t item, int worker)
{
    quotients *q = arg;
    volatile float divisor = (float)item + 3.0f, one = 1.0f;
    (void)worker;
    q->flags_before[item] = fetestexcept(FE_DIVBYZERO);
    q->value[item] = one / divisor;
}

static void check_environment(fattn_context *context, int64_t n)
{
    const float third = 1.0f / 3.0f;
    quotients plain = {0}, odd = {0};
    context_parallel(context, divide, &plain, n);
    assert_true(plain.value[0] == third);

    const int modes[] = {FE_UPWARD, FE_DOWNWARD};
    for (int i = 0; i < 2; i++) {
        feclearexcept(FE_ALL_EXCEPT);
        feraiseexcept(FE_DIVBYZERO);
        fesetround(modes[i]);
        context_parallel(context, divide, &odd, n);
        const int mode = fegetround(), flags = fetestexcept(FE_ALL_EXCEPT);
        fesetround(FE_TONEAREST);
        feclearexcept(FE_ALL_EXCEPT);
        assert_int_equal(mode, modes[i]);
        assert_int_equal(flags, FE_DIVBYZERO); /* not inexact, which we raised */
        for (int64_t x = 0; x < n; x++) {
            assert_true(odd.value[x] == plain.value[x]);
            assert_int_equal(odd.flags_before[x], 0);
        }
    }
}

static void test_environment(void **state)
{
    (void)state;
    backwards b = {.n_workers = 3};
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.executor = (fattn_executor){&b, b.n_workers, run_backwards};
    fattn_context *own = with_threads(3), *serial = with_threads(1), *theirs = NULL;
    assert_int_equal(fattn_context_create(&theirs, &options), FATTN_OK);
    fattn_context *const contexts[] = {own, serial, theirs};
    for (int i = 0; i < 3; i++) {
        check_environment(contexts[i], QUOTIENTS);
        check_environment(contexts[i], 1);
        fattn_context_destroy(contexts[i]);
    }
}

static void read_mask(void *arg, int64_t item, int worker)
{
    sigset_t mask;
    meeting *m = arg;
    meet(m, item, worker);
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    if (worker > 0 && !sigismember(&mask, SIGINT)) atomic_fetch_add(&m->here, 100);
}

static void test_signals_stay_with_the_caller(void **state)
{
    (void)state;
    sigset_t before, after;
    sigemptyset(&before);
    sigemptyset(&after);
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    fattn_context *context = with_threads(2);
    meeting m = {0};
    context_parallel(context, read_mask, &m, 2);
    assert_int_equal(atomic_load(&m.here), 2);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
    fattn_context_destroy(context);
}

/* Threads that wait for the next loop cost no processor time: measured is the time of this process, not the
 * clock on the wall. */
static void test_idle_threads_sleep(void **state)
{
    (void)state;
    fattn_context *context = with_threads(4);
    run_and_check(context, ITEMS);
    const struct timespec settle = {.tv_nsec = 50 * 1000 * 1000}, pause = {.tv_nsec = 300 * 1000 * 1000};
    nanosleep(&settle, NULL);
    struct timespec before, after;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before), 0);
    nanosleep(&pause, NULL);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after), 0);
    const double used = (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    assert_true(used < 0.03); /* four spinning threads would use at least 0.3 s */
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_after_a_pause),
        cmocka_unit_test(test_idle_threads_sleep),
        cmocka_unit_test(test_destroy_unused),
        cmocka_unit_test(test_items_really_run_together),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_busy_pool_is_not_awaited),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fork_under_load),
        cmocka_unit_test(test_executor),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_signals_stay_with_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
