/* SPDX-License-Identifier: Apache-2.0 */
/* pool_starved.c — the system gives fewer threads than wanted, or none: loops are right all the
 * same. The n-th pthread_create fails, for every n (linked with --wrap=pthread_create). */
#include "cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/context.h"

static int calls, fail_from; /* creations from this one on fail; 0 = none */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg)
{
    calls++;
    if (fail_from && calls >= fail_from) return EAGAIN;
    return __real_pthread_create(thread, attr, start, arg);
}

static atomic_int seen[200];

static void count_item(void *arg, int64_t item, int worker)
{
    (void)arg, (void)worker;
    atomic_fetch_add(&seen[item], 1);
}

static void test_every_creation_fails_once(void **state)
{
    (void)state;
    enum { THREADS = 5 };
    for (fail_from = 0; fail_from <= THREADS; fail_from++) {
        fattn_context *context = NULL;
        fattn_context_options options;
        fattn_context_options_init(&options);
        options.threads = THREADS;
        calls = 0;
        assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
        assert_int_equal(calls, 0); /* nothing starts before the first loop */
        for (int round = 0; round < 5; round++) {
            memset(seen, 0, sizeof seen);
            context_parallel(context, count_item, NULL, 200);
            for (int i = 0; i < 200; i++) assert_int_equal(atomic_load(&seen[i]), 1);
        }
        assert_true(calls >= 1);
        fattn_context_destroy(context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_creation_fails_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
