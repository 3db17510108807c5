/* SPDX-License-Identifier: Apache-2.0 */
/* allocation.c — every allocation of every call fails once: E_NOMEM with "out of memory", no output
 * touched, nothing leaked, and the next call gives the right bits. The same for the creation of
 * threads (linked with --wrap=pthread_create): calls work with as many as there are. */
#include "cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/call.h"
#include "garbage/lines.h"

enum { CANARY = 0xa5, LINES = 24, MANY = 1000 };

/* ---- threads that cannot be had ---------------------------------------------------------------
 */

static int creations, creations_fail_from; /* 0 = none fails */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                          void *arg)
{
    creations++;
    if (creations_fail_from && creations >= creations_fail_from) return EAGAIN;
    return __real_pthread_create(thread, attr, start, arg);
}

/* ---- contexts ---------------------------------------------------------------------------------
 */

static meter memory;

static fattn_status try_context(int threads, const char *backend, fattn_context **context)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = threads;
    options.backend = backend;
    options.allocator = meter_allocator(&memory);
    return fattn_context_create(context, &options);
}

static fattn_context *new_context(int threads, const char *backend)
{
    fattn_context *context = NULL;
    meter_init(&memory, SIZE_MAX, false);
    assert_int_equal(try_context(threads, backend, &context), FATTN_OK);
    return context;
}

static void done(fattn_context *context)
{
    fattn_context_destroy(context);
    assert_int_equal(atomic_load(&memory.live), 0);
}

/* The n-th request from now on fails; with `on`, all later ones too. */
static void starve(long n, bool on)
{
    atomic_store(&memory.requests, 0);
    atomic_store(&memory.refused, 0);
    memory.keep_failing = on;
    atomic_store(&memory.fail_at, n);
}

static bool starved(void)
{
    atomic_store(&memory.fail_at, 0);
    return atomic_load(&memory.refused) > 0;
}

/* ---- one thing that may fail ------------------------------------------------------------------
 */

/* What is tried: 0 = the call, 1 = workspace, 2 = shapes, 3 = estimate, 4 = verify, 5 = plan and
 * run, 6 = explain. */
enum { WAYS = 7 };
static const char *const ways[WAYS] = {"call",   "workspace", "shapes", "estimate",
                                       "verify", "plan",      "explain"};

static fattn_status try_plan(const call *c, fattn_context *context)
{
    fattn_plan *plan = NULL;
    fattn_status status = c->op->plan(context, c->args, &plan);
    if (status == FATTN_OK) {
        const long requests = atomic_load(&memory.requests);
        status = fattn_plan_run(plan, c->args, NULL, 0);
        if (c->op->n_outputs && atomic_load(&memory.requests) != requests && status == FATTN_OK)
            fail_msg("plan_run allocates\n%s", c->text);
    }
    fattn_plan_destroy(plan);
    return status;
}

static fattn_status try_way(const call *c, fattn_context *context, int way)
{
    fattn_tensor shapes[FATTN_MAX_RANK];
    fattn_memory_estimate estimate = {.size = sizeof estimate};
    fattn_verify_report report = {.size = sizeof report};
    fattn_explanation explanation = {.size = sizeof explanation};
    size_t bytes;
    switch (way) {
    case 0:
        return c->op->call(context, c->args);
    case 1:
        return c->op->workspace(context, c->args, &bytes);
    case 2:
        return c->op->shapes(context, c->args, shapes);
    case 3:
        return fattn_estimate_memory(context, c->op, c->args, &estimate);
    case 4:
        return fattn_verify(context, c->op, c->args, &report);
    case 6:
        return fattn_explain(context, c->op, c->args, &explanation);
    default:
        return try_plan(c, context);
    }
}

static bool writes(int way) { return way == 0 || way == 5; }

/* All bytes that a call may write. */
static unsigned char *written(const call *c, size_t *n)
{
    unsigned char *all = NULL;
    *n = sizeof c->cells;
    for (int pass = 0; pass < 2; pass++) {
        size_t at = sizeof c->cells;
        for (int i = 0; i < c->n_tensors; i++) {
            const fenced *slot = &c->tensors[i].slot;
            if (is_input(&c->tensors[i])) continue;
            if (pass) memcpy(all + at, slot->base, slot->capacity);
            at += slot->capacity;
        }
        if (!pass) all = malloc(*n = at);
        assert_non_null(all);
    }
    memcpy(all, c->cells, sizeof c->cells);
    return all;
}

static void compare(const call *c, const char *when, const unsigned char *right, size_t n)
{
    size_t n_now;
    unsigned char *now = written(c, &n_now);
    if (n_now != n || memcmp(now, right, n) != 0) fail_msg("%s: other bits\n%s", when, c->text);
    free(now);
}

static void run_well(call *c, fattn_context *context, const char *when, const unsigned char *right,
                     size_t n)
{
    call_arm(c, CANARY);
    if (c->op->call(context, c->args) != FATTN_OK)
        fail_msg("%s: %s\n%s", when, fattn_error_message(), c->text);
    if (right) compare(c, when, right, n);
}

static void must_be_clean(const call *c, int way, long n, fattn_status status)
{
    if (status != FATTN_E_NOMEM || !strstr(fattn_error_message(), "out of memory"))
        fail_msg("%s, allocation %ld fails: status %d, %s\n%s", ways[way], n, (int)status,
                 fattn_error_message(), c->text);
    if (writes(way) && !call_untouched(c, CANARY))
        fail_msg("%s, allocation %ld fails: output touched\n%s", ways[way], n, c->text);
}

/* Every n until nothing fails any more; returns how many there were. */
static long starve_way(call *c, fattn_context *context, int way, bool on,
                       const unsigned char *right, size_t n_right)
{
    for (long n = 1; n < MANY; n++) {
        const long live = atomic_load(&memory.live);
        if (writes(way)) call_arm(c, CANARY);
        starve(n, on);
        const fattn_status status = try_way(c, context, way);
        const bool failed = starved();
        if (atomic_load(&memory.live) != live)
            fail_msg("%s, allocation %ld fails: %ld blocks leak\n%s", ways[way], n,
                     atomic_load(&memory.live) - live, c->text);
        if (!failed) {
            if (status != FATTN_OK && status != FATTN_E_UNSUPPORTED)
                fail_msg("%s: %s\n%s", ways[way], fattn_error_message(), c->text);
            return n - 1;
        }
        must_be_clean(c, way, n, status);
        run_well(c, context, "after a failed allocation", right, n_right);
    }
    fail_msg("%s: more than %d allocations\n%s", ways[way], MANY, c->text);
    return 0;
}

static long starve_line(const char *text, int threads, const char *backend)
{
    fattn_context *context = new_context(threads, backend);
    call *c = call_new(text, context);
    size_t n;
    long total = 0;
    assert_non_null(c);
    run_well(c, context, "the legal call", NULL, 0);
    unsigned char *right = written(c, &n);
    for (int way = 0; way < WAYS; way++)
        for (int on = 0; on < 2; on++) total += starve_way(c, context, way, on == 1, right, n);
    free(right);
    call_free(c);
    done(context);
    return total;
}

static void test_every_allocation_of_every_operator(void **state)
{
    (void)state;
    int n_ops;
    const fattn_operator *ops = fattn_operators(&n_ops);
    for (int i = 0; i < n_ops; i++) {
        long total = 0;
        for (int l = 0; l < LINES && small_line(&ops[i], l); l++) {
            total += starve_line(small_line(&ops[i], l), 2, NULL);
            if (ops[i].n_outputs) total += starve_line(small_line(&ops[i], l), 1, "ref");
        }
        printf("%s: %ld failed allocations\n", ops[i].name, total);
        assert_true(total > 0);
    }
}

/* ---- contexts and caches ----------------------------------------------------------------------
 */

static void test_every_allocation_of_a_context(void **state)
{
    (void)state;
    long n = 0;
    for (bool failed = true; failed; n++) {
        fattn_context *context = NULL;
        meter_init(&memory, SIZE_MAX, false);
        starve(n + 1, false);
        const fattn_status status = try_context(3, NULL, &context);
        failed = starved();
        assert_int_equal(status, failed ? FATTN_E_NOMEM : FATTN_OK);
        if (failed) assert_non_null(strstr(fattn_error_message(), "out of memory"));
        if (failed) assert_null(context);
        fattn_context_destroy(context);
        assert_int_equal(atomic_load(&memory.live), 0);
    }
    assert_true(n > 1);
}

enum { ROWS = 8 };
static float rows_of_keys[ROWS * 8];

static fattn_tensor some_rows(int64_t n)
{
    return fattn_tensor_contiguous(rows_of_keys, FATTN_F32, 3, (const int64_t[]){n, 2, 4});
}

/* The state that a failed operation must leave alone. */
typedef struct cache_state {
    fattn_kv_cache_usage usage;
    int64_t lengths[4];
} cache_state;

static cache_state state_of(const fattn_kv_cache *cache)
{
    cache_state s;
    memset(&s, 0, sizeof s);
    s.usage.size = sizeof s.usage;
    assert_int_equal(fattn_kv_cache_get_usage(cache, &s.usage), FATTN_OK);
    for (int i = 0; i < 4; i++) s.lengths[i] = fattn_kv_cache_length(cache, i);
    return s;
}

enum { CACHE_STEPS = 9 };

/* A small life of a cache: grow, fork, copy on write, shrink, free. */
static fattn_status cache_step(fattn_kv_cache *cache, int step)
{
    const fattn_tensor one = some_rows(1), five = some_rows(5), eight = some_rows(8);
    int64_t id;
    switch (step) {
    case 0:
        return fattn_kv_cache_add(cache, &id);
    case 1:
        return fattn_kv_cache_append(cache, 0, &five, &five);
    case 2:
        return fattn_kv_cache_fork(cache, 0, &id);
    case 3:
        return fattn_kv_cache_append(cache, 1, &one, &one); /* copies the shared block */
    case 4:
        return fattn_kv_cache_extend(cache, 0, 9);
    case 5:
        return fattn_kv_cache_fork(cache, 1, &id);
    case 6:
        return fattn_kv_cache_append(cache, 2, &eight, &eight);
    case 7:
        return fattn_kv_cache_truncate(cache, 0, 3);
    default:
        return fattn_kv_cache_free(cache, 1);
    }
}

static fattn_kv_cache *new_cache(fattn_context *context, fattn_status *status)
{
    fattn_kv_cache_options options;
    fattn_kv_cache_options_init(&options);
    options.dtype = FATTN_F32;
    options.n_layers = 2;
    options.n_blocks = 12;
    options.block_size = 4;
    options.n_kv_heads = 2;
    options.head_dim = 4;
    options.max_sequences = 4;
    fattn_kv_cache *cache = NULL;
    *status = fattn_kv_cache_create(context, &options, &cache);
    return cache;
}

/* Step `hurt` runs with its n-th allocation failing, and then once more without. true = it failed.
 */
static bool live_once(fattn_context *context, int hurt, long n)
{
    fattn_status status;
    bool failed = false;
    if (hurt < 0) starve(n, false);
    fattn_kv_cache *cache = new_cache(context, &status);
    if (hurt < 0) {
        failed = starved();
        assert_int_equal(status, failed ? FATTN_E_NOMEM : FATTN_OK);
        if (failed) assert_non_null(strstr(fattn_error_message(), "out of memory"));
        if (failed) assert_null(cache);
        if (failed) cache = new_cache(context, &status);
    }
    for (int step = 0; step < CACHE_STEPS; step++) {
        if (step == hurt) {
            const cache_state before = state_of(cache);
            starve(n, false);
            status = cache_step(cache, step);
            failed = starved();
            assert_int_equal(status, failed ? FATTN_E_NOMEM : FATTN_OK);
            const cache_state after = state_of(cache);
            if (failed && memcmp(&before, &after, sizeof before) != 0)
                fail_msg("cache step %d, allocation %ld fails: the state changed", step, n);
            if (!failed) continue;
        }
        if (cache_step(cache, step) != FATTN_OK)
            fail_msg("cache step %d after a failure in step %d: %s", step, hurt,
                     fattn_error_message());
    }
    assert_int_equal(fattn_kv_cache_length(cache, 0), 3);
    assert_int_equal(fattn_kv_cache_length(cache, 2), 14);
    fattn_kv_cache_destroy(cache);
    return failed;
}

static void test_every_allocation_of_a_cache(void **state)
{
    (void)state;
    fattn_context *context = new_context(1, NULL);
    const long live = atomic_load(&memory.live);
    long total = 0;
    for (int step = -1; step < CACHE_STEPS; step++)
        for (long n = 1; live_once(context, step, n); n++) {
            total++;
            assert_int_equal(atomic_load(&memory.live), live);
        }
    printf("kv_cache: %ld failed allocations\n", total);
    assert_true(total > 8);
    done(context);
}

/* ---- no threads -------------------------------------------------------------------------------
 */

/* Bigger than the small lines, so that there is work for several. */
static const char *const wide[] = {
    "fusion_attention input_layout=BNSD query=f16[2,8,40,16] key=f16[2,4,60,16] "
    "value=f16[2,4,60,16]"
    " sparse_mode=3",
    "incre_flash_attention input_layout=BNSD num_heads=4 num_key_value_heads=2 query=f32[1,4,1,16]"
    " key=f32[1,2,1500,16] value=f32[1,2,1500,16]",
};

static void test_every_thread_creation_fails(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    for (int l = 0; l < 2; l++) {
        fattn_context *alone = new_context(1, NULL);
        call *c = call_new(wide[l], alone);
        size_t n;
        assert_non_null(c);
        run_well(c, alone, "one thread", NULL, 0);
        unsigned char *right = written(c, &n);
        fattn_context_destroy(alone);
        for (int from = 0; from <= THREADS; from++) {
            creations = 0;
            creations_fail_from = from;
            fattn_context *context = new_context(THREADS, NULL);
            for (int i = 0; i < 3; i++) run_well(c, context, "few threads", right, n);
            assert_true(creations > 0);
            done(context);
            creations_fail_from = 0;
        }
        free(right);
        call_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_allocation_of_every_operator),
        cmocka_unit_test(test_every_allocation_of_a_context),
        cmocka_unit_test(test_every_allocation_of_a_cache),
        cmocka_unit_test(test_every_thread_creation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
