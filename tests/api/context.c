/* SPDX-License-Identifier: Apache-2.0 */
/* context.c — options there and back, their limits and sentences, the allocator, failing memory,
 * the default context. (The environment: tests/base/env.c; loops: tests/base/pool.c.) */
#include "cm.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/context.h"

/* The sanitizers ask this: a request that is too big gets NULL, as from the C library. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

static fattn_context_options defaults(void)
{
    fattn_context_options options;
    memset(&options, 0xee, sizeof options);
    fattn_context_options_init(&options);
    return options;
}

static void expect(const fattn_context_options *options, fattn_status status, const char *word)
{
    fattn_context *context = NULL;
    const fattn_status got = fattn_context_create(&context, options);
    if (got != status || !strstr(fattn_error_message(), word))
        fail_msg("wanted \"%s\", got %s: %s", word, fattn_status_name(got), fattn_error_message());
    assert_null(context);
}

static void nothing(void *self, fattn_task task, void *arg, int64_t n)
{
    (void)self, (void)task, (void)arg, (void)n;
}

static void *give(void *self, size_t bytes)
{
    (void)self;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void test_bad_options(void **state)
{
    (void)state;
    fattn_context_options o = defaults();
    assert_int_equal(fattn_context_create(NULL, &o), FATTN_E_ARG);
    o.size = 0, expect(&o, FATTN_E_ARG, "options_init"), o = defaults();
    o.size = 8, expect(&o, FATTN_E_ARG, "size"), o = defaults();
    o.size = SIZE_MAX, expect(&o, FATTN_E_ARG, "size"), o = defaults();
    const int threads[] = {-1, 1025, -2147483647 - 1, 2147483647};
    for (int i = 0; i < 4; i++)
        o.threads = threads[i], expect(&o, FATTN_E_ARG, "threads"), o = defaults();
    o.strict = 2, expect(&o, FATTN_E_ARG, "strict"), o = defaults();
    o.strict = -2, expect(&o, FATTN_E_ARG, "strict"), o = defaults();
    o.backend = "gpu", expect(&o, FATTN_E_ARG, "cpu, ref, any"), o = defaults();
    o.backend = "", expect(&o, FATTN_E_ARG, "backend"), o = defaults();
    o.compute = (fattn_compute)7, expect(&o, FATTN_E_ARG, "compute"), o = defaults();
    o.allocator.alloc = give, expect(&o, FATTN_E_ARG, "allocator"), o = defaults();
    o.executor.parallel_for = nothing, expect(&o, FATTN_E_ARG, "n_workers"), o = defaults();
    o.executor = (fattn_executor){NULL, 1025, nothing}, expect(&o, FATTN_E_ARG, "n_workers");
}

/* fp16 arithmetic: an instruction set has it or is refused by name. */
static void test_compute(void **state)
{
    (void)state;
    for (int i = 0; i < ISA_COUNT; i++) {
        fattn_context_options o = defaults();
        o.isa = isa_name((fattn_isa)i);
        o.compute = FATTN_COMPUTE_F16;
        fattn_context *context = NULL;
        if (isa_has_half((fattn_isa)i)) {
            assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
            assert_int_equal(fattn_context_compute(context), FATTN_COMPUTE_F16);
            fattn_context_destroy(context);
        } else if (isa_available((fattn_isa)i)) {
            expect(&o, FATTN_E_UNSUPPORTED, o.isa);
            expect(&o, FATTN_E_UNSUPPORTED, "compute");
            expect(&o, FATTN_E_UNSUPPORTED, "scalar"); /* which has it */
            o.backend = "ref"; /* computes in double anyway */
            assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
            fattn_context_destroy(context);
        }
    }
    assert_string_equal(fattn_compute_name(FATTN_COMPUTE_F32), "f32");
    assert_string_equal(fattn_compute_name(FATTN_COMPUTE_F16), "f16");
    assert_true(isa_has_half(ISA_SCALAR));
    assert_false(isa_has_half(ISA_AVX2));
    assert_false(isa_has_half((fattn_isa)42));
}

static void test_isa(void **state)
{
    (void)state;
    fattn_context_options o = defaults();
    for (const char *const *name = isa_available_names(); *name; name++) {
        fattn_context *context = NULL;
        char copy[16];
        strcpy(copy, *name);
        o.isa = copy;
        assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
        memset(copy, 'x', sizeof copy); /* the name was copied */
        assert_string_equal(fattn_context_isa(context), *name);
        fattn_context_destroy(context);
    }
    for (int i = 0; i < ISA_COUNT; i++) {
        if (isa_available((fattn_isa)i)) continue;
        o.isa = isa_name((fattn_isa)i);
        expect(&o, FATTN_E_ARG, "not available");
        expect(&o, FATTN_E_ARG, "scalar"); /* the sentence lists what there is */
    }
    o.isa = "pentium";
    expect(&o, FATTN_E_ARG, "pentium");
    for (const char *const *name = isa_available_names(); *name; name++)
        expect(&o, FATTN_E_ARG, *name);
}

static void test_settled(void **state)
{
    (void)state;
    fattn_context *context = NULL;
    fattn_context_options o = defaults();
    o.threads = 1024;
    o.strict = 1;
    assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
    assert_int_equal(fattn_context_threads(context), 1024);
    assert_true(fattn_context_strict(context));
    fattn_context_destroy(context);
    o.threads = 1;
    o.strict = 0;
    assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
    assert_int_equal(fattn_context_threads(context), 1);
    assert_false(fattn_context_strict(context));
    fattn_context_destroy(context);
}

/* A caller of a later version: larger options are fine as long as the unknown bytes are 0. */
static void test_larger_options(void **state)
{
    (void)state;
    struct {
        fattn_context_options known;
        unsigned char unknown[16];
    } o = {.known = defaults()};
    fattn_context *context = NULL;
    o.known.size = sizeof o;
    assert_int_equal(fattn_context_create(&context, &o.known), FATTN_OK);
    fattn_context_destroy(context);
    o.unknown[15] = 1;
    expect(&o.known, FATTN_E_ARG, "does not know");
}

typedef struct counter {
    int live, calls, fail_at;
} counter;

static void *count_alloc(void *self, size_t bytes)
{
    counter *c = self;
    if (++c->calls == c->fail_at) return NULL;
    c->live++;
    return give(NULL, bytes);
}

static void count_free(void *self, void *memory)
{
    ((counter *)self)->live--;
    free(memory);
}

static void test_allocator(void **state)
{
    (void)state;
    counter c = {0};
    fattn_context *context = NULL;
    fattn_context_options o = defaults();
    o.threads = 3;
    o.allocator = (fattn_allocator){&c, count_alloc, count_free};
    for (c.fail_at = 1;; c.fail_at++) { /* every call fails once */
        c.calls = 0;
        const fattn_status status = fattn_context_create(&context, &o);
        if (status == FATTN_OK) break;
        assert_int_equal(status, FATTN_E_NOMEM);
        assert_non_null(strstr(fattn_error_message(), "out of memory"));
        assert_int_equal(c.live, 0);
    }
    assert_non_null(context);
    assert_true(c.fail_at >= 3); /* the context and its pool */
    c.fail_at = 0;
    void *memory = context_alloc(context, 100);
    assert_non_null(memory);
    context_free(context, memory);
    context_free(context, NULL);
    fattn_context_destroy(context);
    assert_int_equal(c.live, 0);
}

static void test_default_memory_is_aligned(void **state)
{
    (void)state;
    fattn_context *context = NULL;
    assert_int_equal(context_resolve(&context), FATTN_OK);
    const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    for (int i = 0; i < 6; i++) {
        unsigned char *memory = context_alloc(context, sizes[i]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 64, 0);
        memset(memory, 1, sizes[i]);
        context_free(context, memory);
    }
    assert_null(context_alloc(context, SIZE_MAX));
    assert_null(context_alloc(context, SIZE_MAX - 70));
}

static void *resolve(void *arg)
{
    fattn_context *context = NULL;
    (void)arg;
    return context_resolve(&context) == FATTN_OK ? context : NULL;
}

static void test_one_default_for_all(void **state)
{
    (void)state;
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    fattn_context *mine = NULL, *given = NULL;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, resolve, NULL), 0);
    assert_int_equal(context_resolve(&mine), FATTN_OK);
    for (int i = 0; i < THREADS; i++) {
        void *theirs = NULL;
        pthread_join(threads[i], &theirs);
        assert_ptr_equal(theirs, mine);
    }
    assert_true(fattn_context_threads(NULL) >= 1);
    fattn_context_options o = defaults();
    assert_int_equal(fattn_context_create(&given, &o), FATTN_OK);
    fattn_context *resolved = given;
    assert_int_equal(context_resolve(&resolved), FATTN_OK);
    assert_ptr_equal(resolved, given);
    fattn_context_destroy(given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_default_for_all), /* first: makes the default */
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_compute),
        cmocka_unit_test(test_isa),
        cmocka_unit_test(test_settled),
        cmocka_unit_test(test_larger_options),
        cmocka_unit_test(test_allocator),
        cmocka_unit_test(test_default_memory_is_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
