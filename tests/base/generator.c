/* SPDX-License-Identifier: Apache-2.0 */
/* generator.c — seed 0, offset 0 at first, 12 further at each draw; 16 bytes of state; draws of several
 * threads are distinct and none is lost; a lock that a fork left behind holds nobody up. */
#include "fattn/generator.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/context.h"

static fattn_context *new_context(void)
{
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, NULL), FATTN_OK);
    return context;
}

static void order_of_draws(void **state)
{
    fattn_context *context = new_context();
    uint64_t seed, offset;
    (void)state;
    for (uint64_t i = 0; i < 4; i++) {
        generator_draw(&context->generator, &seed, &offset);
        assert_int_equal(seed, 0);
        assert_int_equal(offset, 12 * i);
    }
    assert_int_equal(fattn_generator_seed(context, 2), FATTN_OK);
    generator_draw(&context->generator, &seed, &offset);
    assert_true(seed == 2 && offset == 0);
    fattn_context_destroy(context);
}

static void sixteen_bytes(void **state)
{
    static const uint8_t wanted[] = {8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0, 0, 0, 0, 0, 0, 0x80};
    uint8_t bytes[FATTN_GENERATOR_STATE];
    uint64_t seed, offset;
    fattn_context *context = new_context();
    (void)state;
    assert_int_equal(fattn_generator_set_state(context, wanted), FATTN_OK);
    assert_int_equal(fattn_generator_get_state(context, bytes), FATTN_OK);
    assert_memory_equal(bytes, wanted, sizeof bytes);
    generator_draw(&context->generator, &seed, &offset);
    assert_true(seed == UINT64_C(0x0102030405060708) && offset == UINT64_C(0x8000000000000018));
    assert_int_equal(fattn_generator_get_state(context, bytes), FATTN_OK);
    assert_int_equal(bytes[8], 0x24);
    assert_int_equal(fattn_generator_set_state(context, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_generator_get_state(context, NULL), FATTN_E_ARG);
    fattn_context_destroy(context);
}

enum { THREADS = 4, DRAWS = 20000 };
static uint8_t drawn[THREADS * DRAWS];

static void *draw_many(void *arg)
{
    fattn_context *context = arg;
    for (int i = 0; i < DRAWS; i++) {
        uint64_t seed, offset;
        generator_draw(&context->generator, &seed, &offset);
        __atomic_fetch_add(&drawn[offset / 12], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void many_threads(void **state)
{
    pthread_t threads[THREADS];
    fattn_context *context = new_context();
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, draw_many, context), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS * DRAWS; i++) assert_int_equal(drawn[i], 1);
    fattn_context_destroy(context);
}

static void held_at_a_fork(void **state)
{
    fattn_context *context = new_context();
    uint64_t seed, offset;
    (void)state;
    atomic_store(&context->generator.owner, (int)getpid() + 1); /* another process' number */
    generator_draw(&context->generator, &seed, &offset);
    assert_int_equal(offset, 0);
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_of_draws),
        cmocka_unit_test(sixteen_bytes),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(held_at_a_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
