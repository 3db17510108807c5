/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: shapes once, addresses at every run; nothing allocated in a run; every failure clean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bnsd_case.h"

static void assert_same_results(const call_case *a, const call_case *b)
{
    assert_memory_equal(a->out, b->out, sizeof a->out);
    assert_memory_equal(a->max, b->max, sizeof a->max);
    assert_memory_equal(a->sum, b->sum, sizeof a->sum);
}

/* Not mostly zero: a comparison of untouched buffers proves nothing. */
static void assert_written(const call_case *c)
{
    int zeros = 0;
    for (int i = 0; i < Q_ELEMENTS; i++) zeros += c->out[i] == 0;
    assert_true(zeros < Q_ELEMENTS / 10);
}

static void one_plan_serves_other_addresses(void **state)
{
    (void)state;
    call_case *first = case_new(1), *second = case_new(77), *expected = case_new(77);
    fattn_plan *plan = NULL;
    assert_int_equal(fattn_fusion_attention_plan(NULL, &first->args, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &first->args, NULL, 0), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &second->args, NULL, 0), FATTN_OK);
    assert_int_equal(fattn_fusion_attention(NULL, &expected->args), FATTN_OK);
    assert_written(second);
    assert_same_results(second, expected);
    assert_non_null(strstr(fattn_plan_describe(plan), "fusion_attention"));
    fattn_plan_destroy(plan);
    free(first), free(second), free(expected);
}

static void assert_run_refused(fattn_plan *plan, call_case *c, const char *name)
{
    call_case *before = malloc(sizeof *before);
    memcpy(before, c, sizeof *c);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), name));
    assert_memory_equal(before, c, sizeof *c);
    free(before);
}

static void what_the_plan_did_not_know_is_refused(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_plan *plan = NULL;
    assert_int_equal(fattn_fusion_attention_plan(NULL, &c->args, &plan), FATTN_OK);

    c->tk.shape[2]--;
    assert_run_refused(plan, c, "key");
    c->tk.shape[2]++;
    c->tv.strides[2]++;
    assert_run_refused(plan, c, "value");
    c->tv.strides[2]--;
    c->args.scale = 0.25;
    assert_run_refused(plan, c, "scale");
    c->args.scale = 0.2;
    c->args.softmax_max = NULL;
    assert_run_refused(plan, c, "softmax_max");
    c->args.softmax_max = &c->tmax;
    c->args.input_layout = "BSND";
    assert_run_refused(plan, c, "input_layout");
    c->args.input_layout = "BNSD";
    c->tv.data = NULL;
    assert_run_refused(plan, c, "value");
    c->tv.data = c->v;
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, NULL, NULL, 0), FATTN_E_ARG);
    assert_int_equal(fattn_plan_run(NULL, &c->args, NULL, 0), FATTN_E_ARG);
    fattn_plan_destroy(plan);
    free(c);
}

/* A number that says where rows lie belongs to the plan like a shape, although it stands in a
 * tensor. */
static void the_number_of_a_padding_size_is_planned(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    int64_t rows = 2;
    const int64_t one[] = {1}, keys[] = {SKV - 5}, row[] = {B, N, 1, D};
    fattn_tensor pad = fattn_tensor_contiguous(&rows, FATTN_I64, 1, one);
    const fattn_tensor q = fattn_tensor_contiguous(c->q, FATTN_F32, 4, row);
    const fattn_tensor out = fattn_tensor_contiguous(c->out, FATTN_F32, 4, row);
    fattn_incre_flash_attention_args a;
    fattn_incre_flash_attention_args_init(&a);
    a.query = &q, a.key = &c->tk, a.value = &c->tv, a.attention_out = &out, a.input_layout = "BNSD";
    a.num_heads = N, a.num_key_value_heads = NKV;
    a.actual_seq_lengths = (fattn_int_array){keys, 1}, a.kv_padding_size = &pad;

    fattn_plan *plan = NULL;
    assert_int_equal(fattn_incre_flash_attention_plan(NULL, &a, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &a, NULL, 0), FATTN_OK);
    rows = 3;
    c->out[0] = 7;
    assert_int_equal(fattn_plan_run(plan, &a, NULL, 0), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "kv_padding_size"));
    assert_true(c->out[0] == 7);
    rows = 2;
    assert_int_equal(fattn_plan_run(plan, &a, NULL, 0), FATTN_OK);
    fattn_plan_destroy(plan);
    free(c);
}

static void a_plan_needs_its_outputs(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_plan *plan = NULL;
    size_t bytes = 0;
    c->args.attention_out = NULL;
    assert_int_equal(fattn_fusion_attention_plan(NULL, &c->args, &plan), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "attention_out"));
    assert_null(plan);
    assert_int_equal(fattn_fusion_attention_workspace(NULL, &c->args, &bytes), FATTN_OK);
    c->args.attention_out = &c->tout, c->tout.data = NULL; /* its shape is enough */
    assert_int_equal(fattn_fusion_attention_plan(NULL, &c->args, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_E_ARG);
    fattn_plan_destroy(plan);
    free(c);
}

/* A workspace that ends at an unreadable page: one byte too many would fault. */
static void the_workspace_is_exact(void **state)
{
    (void)state;
    call_case *c = case_new(3), *expected = case_new(3);
    fattn_plan *plan = NULL;
    assert_int_equal(fattn_fusion_attention_plan(NULL, &c->args, &plan), FATTN_OK);
    size_t bytes = 0;
    assert_int_equal(fattn_fusion_attention_workspace(NULL, &c->args, &bytes), FATTN_OK);
    assert_int_equal(bytes, fattn_plan_workspace(plan));
    assert_true(bytes > 0 && bytes % 64 == 0);

    const size_t page = (size_t)sysconf(_SC_PAGESIZE), span = (bytes + page - 1) / page * page;
    char *map = mmap(NULL, span + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + span, page, PROT_NONE), 0);
    char *workspace = map + span - bytes;
    memset(workspace, 0xff, bytes); /* NaN everywhere: nothing may rely on what was there */

    assert_int_equal(fattn_plan_run(plan, &c->args, workspace, bytes - 1), FATTN_E_ARG);
    assert_int_equal(fattn_plan_run(plan, &c->args, workspace - 8, bytes), FATTN_E_ARG);
    assert_int_equal(fattn_plan_run(plan, &c->args, workspace, bytes), FATTN_OK);
    assert_int_equal(fattn_fusion_attention(NULL, &expected->args), FATTN_OK);
    assert_written(c);
    assert_same_results(c, expected);
    munmap(map, span + page);
    fattn_plan_destroy(plan);
    free(c), free(expected);
}

/* An allocator that counts and fails at the n-th call. */
typedef struct counter {
    long calls, live, fail_at;
    size_t bytes, peak;
} counter;

enum { HEADER = 64 }; /* before each block: its size */

static void *counting_alloc(void *self, size_t bytes)
{
    counter *count = self;
    if (++count->calls == count->fail_at) return NULL;
    char *memory = aligned_alloc(HEADER, HEADER + (bytes + HEADER - 1) / HEADER * HEADER);
    if (!memory) return NULL;
    memcpy(memory, &bytes, sizeof bytes);
    count->live++;
    count->bytes += bytes;
    if (count->bytes > count->peak) count->peak = count->bytes;
    return memory + HEADER;
}

static void counting_free(void *self, void *memory)
{
    counter *count = self;
    size_t bytes;
    memcpy(&bytes, (char *)memory - HEADER, sizeof bytes);
    count->live--;
    count->bytes -= bytes;
    free((char *)memory - HEADER);
}

static fattn_context *counting_context(counter *count)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 2;
    options.allocator =
        (fattn_allocator){.self = count, .alloc = counting_alloc, .free = counting_free};
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    return context;
}

/* Workspace and peak memory of one planned causal call over `length` tokens; nothing is computed.
 */
static size_t peak_of(int64_t length, size_t *workspace)
{
    counter count = {0};
    fattn_context *context = counting_context(&count);
    const int64_t shape[] = {1, 2, length, 64};
    const fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F16, 4, shape);
    fattn_fusion_attention_args args;
    fattn_fusion_attention_args_init(&args);
    args.query = args.key = args.value = args.attention_out = &t;
    args.input_layout = "BNSD", args.sparse_mode = 3;
    fattn_plan *plan = NULL;
    const size_t before = count.bytes;
    assert_int_equal(fattn_fusion_attention_workspace(context, &args, workspace), FATTN_OK);
    count.peak = count.bytes;
    assert_int_equal(fattn_fusion_attention_plan(context, &args, &plan), FATTN_OK);
    const size_t peak = count.peak - before;
    fattn_plan_destroy(plan);
    assert_int_equal(count.bytes, before);
    fattn_context_destroy(context);
    return peak;
}

/* 16 times the length is 256 times the scores: the workspace is the same, and the plan's list of
 * items grows with the rows, by less than a byte per row and head. */
static void memory_does_not_grow_with_the_scores(void **state)
{
    (void)state;
    size_t short_workspace = 0, long_workspace = 0;
    const size_t short_peak = peak_of(1024, &short_workspace);
    const size_t long_peak = peak_of(16384, &long_workspace);
    assert_int_equal(short_workspace, long_workspace);
    assert_true(short_workspace > 0);
    assert_true(long_peak >= long_workspace && short_peak >= short_workspace);
    assert_true(long_peak - short_peak < 2 * 16384);
}

/* A context whose executor runs the plan again from inside the first run. */
static struct {
    fattn_plan *plan;
    call_case *inner;
    fattn_status own, foreign;
    void *workspace;
    int depth;
} nested;

static void nesting_for(void *self, fattn_task task, void *arg, int64_t n)
{
    (void)self;
    if (nested.depth++ == 0 && nested.plan) {
        nested.own = fattn_plan_run(nested.plan, &nested.inner->args, NULL, 0);
        nested.foreign = fattn_plan_run(nested.plan, &nested.inner->args, nested.workspace,
                                        fattn_plan_workspace(nested.plan));
    }
    nested.depth--;
    for (int64_t i = 0; i < n; i++) task(arg, i, 0);
}

static void a_busy_workspace_is_refused_not_shared(void **state)
{
    (void)state;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.executor = (fattn_executor){.n_workers = 2, .parallel_for = nesting_for};
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);

    call_case *outer = case_new(5), *expected = case_new(5), *expected_inner = case_new(9);
    nested.inner = case_new(9);
    assert_int_equal(fattn_fusion_attention_plan(context, &outer->args, &nested.plan), FATTN_OK);
    nested.workspace = aligned_alloc(64, (fattn_plan_workspace(nested.plan) + 63) / 64 * 64);
    nested.own = nested.foreign = FATTN_E_BACKEND;
    assert_int_equal(fattn_plan_run(nested.plan, &outer->args, NULL, 0), FATTN_OK);
    assert_int_equal(nested.own, FATTN_E_BUSY);
    assert_int_equal(nested.foreign, FATTN_OK);

    assert_int_equal(fattn_fusion_attention(NULL, &expected->args), FATTN_OK);
    assert_int_equal(fattn_fusion_attention(NULL, &expected_inner->args), FATTN_OK);
    assert_same_results(outer, expected);
    assert_same_results(nested.inner, expected_inner);

    fattn_plan_destroy(nested.plan);
    nested.plan = NULL;
    free(nested.workspace), free(nested.inner), free(outer), free(expected), free(expected_inner);
    fattn_context_destroy(context);
}

static void a_run_allocates_nothing(void **state)
{
    (void)state;
    counter count = {0};
    fattn_context *context = counting_context(&count);
    call_case *c = case_new(1);
    fattn_plan *plan = NULL;
    assert_int_equal(fattn_fusion_attention_plan(context, &c->args, &plan), FATTN_OK);
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    const long before = count.calls;
    assert_int_equal(fattn_plan_run(plan, &c->args, NULL, 0), FATTN_OK);
    assert_int_equal(count.calls, before);
    fattn_plan_destroy(plan);
    fattn_context_destroy(context);
    assert_int_equal(count.live, 0);
    free(c);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    call_case *expected = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &expected->args), FATTN_OK);
    for (int planned = 0; planned < 2; planned++) {
        fattn_status status = FATTN_E_NOMEM;
        counter count = {0};
        fattn_context *context = counting_context(&count);
        const long base = count.calls, live = count.live;
        long failures = 0;
        for (long n = 1; status == FATTN_E_NOMEM && n < 1000; n++) {
            call_case *c = case_new(1);
            fattn_plan *plan = NULL;
            count.fail_at = count.calls + n;
            if (planned) {
                status = fattn_fusion_attention_plan(context, &c->args, &plan);
                if (status == FATTN_OK)
                    status = fattn_plan_run(plan, &c->args, NULL, 0);
                else
                    assert_null(plan);
            } else {
                status = fattn_fusion_attention(context, &c->args);
            }
            if (status == FATTN_OK) {
                assert_same_results(c, expected);
            } else {
                failures++;
                assert_int_equal(status, FATTN_E_NOMEM);
                assert_non_null(strstr(fattn_error_message(), "out of memory"));
                for (int i = 0; i < Q_ELEMENTS; i++) assert_true(c->out[i] == 0);
            }
            fattn_plan_destroy(plan);
            assert_int_equal(count.live, live);
            free(c);
        }
        (void)base;
        assert_int_equal(status, FATTN_OK);
        assert_true(failures >= 2);
        count.fail_at = 0;
        fattn_context_destroy(context);
        assert_int_equal(count.live, 0);
    }
    free(expected);
}

/* Both compute the same problem; only what a plan says of itself tells them apart. */
static void the_backend_that_is_asked_for_runs(void **state)
{
    (void)state;
    static const char *const names[] = {"cpu", "ref"};
    call_case *c = case_new(1);
    for (int i = 0; i < 2; i++) {
        fattn_context_options options;
        fattn_context *context = NULL;
        fattn_plan *plan = NULL;
        char wanted[16];
        fattn_context_options_init(&options);
        options.backend = names[i];
        assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
        assert_int_equal(fattn_fusion_attention_plan(context, &c->args, &plan), FATTN_OK);
        snprintf(wanted, sizeof wanted, "; %s: ", names[i]);
        assert_non_null(strstr(fattn_plan_describe(plan), wanted));
        fattn_plan_destroy(plan);
        fattn_context_destroy(context);
    }
    free(c);
}

static void args_structs_are_checked_for_their_size(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    c->args.size = 0;
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "args_init"));
    c->args.size = sizeof c->args - 8;
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_E_ARG);

    struct {
        fattn_fusion_attention_args args;
        int64_t newer[2];
    } later = {.args = c->args};
    later.args.size = sizeof later;
    assert_int_equal(fattn_fusion_attention(NULL, &later.args), FATTN_OK);
    later.newer[1] = 1;
    assert_int_equal(fattn_fusion_attention(NULL, &later.args), FATTN_E_ARG);
    assert_int_equal(fattn_fusion_attention(NULL, NULL), FATTN_E_ARG);
    free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_plan_serves_other_addresses),
        cmocka_unit_test(what_the_plan_did_not_know_is_refused),
        cmocka_unit_test(the_number_of_a_padding_size_is_planned),
        cmocka_unit_test(a_plan_needs_its_outputs),
        cmocka_unit_test(the_workspace_is_exact),
        cmocka_unit_test(memory_does_not_grow_with_the_scores),
        cmocka_unit_test(a_busy_workspace_is_refused_not_shared),
        cmocka_unit_test(a_run_allocates_nothing),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(the_backend_that_is_asked_for_runs),
        cmocka_unit_test(args_structs_are_checked_for_their_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
