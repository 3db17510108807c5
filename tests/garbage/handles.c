/* SPDX-License-Identifier: Apache-2.0 */
/* handles.c — garbage for what takes no args struct: contexts, plans, reports, tensors, names. */
#include "cm.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "garbage/nonsense.h"

enum { CONTEXTS = 20000, LARGEST = 256 << 20 };

static meter memory;

/* ---- contexts ---------------------------------------------------------------------------------
 */

static const char *nasty_text(source *s, const char *good)
{
    static char longest[20000];
    static const char *const words[] = {"",    "avx1024",  "%s%n", "cpu ",
                                        "CPU", "\xff\xfe", "AVX2", "ref,cpu"};
    const int pick = source_pick(s, 12);
    memset(longest, 'x', sizeof longest - 1);
    return pick < 8 ? words[pick] : pick == 8 ? longest : pick == 9 ? NULL : good;
}

static void no_loop(void *self, fattn_task task, void *arg, int64_t n)
{
    (void)self, (void)task, (void)arg, (void)n;
}

static void damage_options(fattn_context_options *o, source *s)
{
    for (int n = 1 + source_pick(s, 3); n > 0; n--) switch (source_pick(s, 9)) {
        case 0:
            o->size =
                (size_t[]){0, 1, sizeof *o - 1, SIZE_MAX, SIZE_MAX / 2, 1 << 20}[source_pick(s, 6)];
            break;
        case 1:
            o->threads = nasty_int(s);
            break;
        case 2:
            o->strict = nasty_int(s);
            break;
        case 3:
            o->isa = nasty_text(s, "scalar");
            break;
        case 4:
            o->backend = nasty_text(s, "ref");
            break;
        case 5:
            o->compute = (fattn_compute)nasty_int(s);
            break;
        case 6:
            o->executor = (fattn_executor){.n_workers = nasty_int(s), .parallel_for = no_loop};
            break;
        case 7:
            o->allocator.alloc = NULL;
            break;
        default:
            o->allocator.free = NULL;
        }
}

static void test_garbage_contexts(void **state)
{
    (void)state;
    fenced slot = fenced_new(4096);
    fattn_context_options *o = (void *)(fenced_end(&slot) - sizeof *o);
    long good = 0;
    meter_init(&memory, LARGEST, true);
    for (uint64_t n = 0; n < CONTEXTS; n++) {
        source s = source_seeded(n);
        fattn_context_options_init(o);
        o->allocator = meter_allocator(&memory);
        damage_options(o, &s);
        fattn_context *context;
        memset(&context, CANARY, sizeof context);
        forget_message();
        const fattn_status status = fattn_context_create(&context, o);
        check_status(status, "context_create");
        if (status != FATTN_OK && !is_canary(&context, sizeof context))
            fail_msg("%llu: handle touched", (unsigned long long)n);
        if (status == FATTN_OK) fattn_context_destroy(context), good++;
        if (atomic_load(&memory.live) != 0) fail_msg("%llu: leak", (unsigned long long)n);
    }
    assert_true(good > 500 && good < 19500);
    assert_int_equal(fattn_context_create(NULL, NULL), FATTN_E_ARG);
    fattn_context_options_init(NULL);
    fattn_context_destroy(NULL);
    fenced_free(&slot);
}

/* ---- NULL and nonsense everywhere else --------------------------------------------------------
 */

static void test_operators_without_places(void **state)
{
    (void)state;
    int n;
    const fattn_operator *ops = fattn_operators(&n);
    for (int i = 0; i < n; i++) {
        _Alignas(16) unsigned char args[2048];
        fattn_tensor shapes[FATTN_MAX_RANK];
        size_t bytes = 0;
        fattn_plan *plan = NULL;
        assert_true(ops[i].args_size <= sizeof args);
        ops[i].args_init(NULL);
        ops[i].args_init(args);
        assert_int_equal(ops[i].call(NULL, NULL), FATTN_E_ARG);
        assert_int_equal(ops[i].shapes(NULL, NULL, shapes), FATTN_E_ARG);
        assert_int_equal(ops[i].workspace(NULL, NULL, &bytes), FATTN_E_ARG);
        assert_int_equal(ops[i].plan(NULL, NULL, &plan), FATTN_E_ARG);
        assert_int_equal(ops[i].call(NULL, args), FATTN_E_ARG); /* nothing was given */
        assert_int_not_equal(ops[i].shapes(NULL, args, NULL), FATTN_OK);
        assert_int_equal(ops[i].workspace(NULL, args, NULL), FATTN_E_ARG);
        assert_int_equal(ops[i].plan(NULL, args, NULL), FATTN_E_ARG);
        assert_null(plan);
        assert_null(fattn_field_find(&ops[i], NULL));
        assert_null(fattn_field_find(&ops[i], ""));
        assert_null(fattn_field_find(&ops[i], " "));
    }
    assert_null(fattn_operator_find(NULL));
    assert_null(fattn_operator_find(""));
    assert_null(fattn_operator_find("npu_"));
    assert_null(fattn_field_find(NULL, "query"));
}

static void test_reports_without_a_size(void **state)
{
    (void)state;
    int n;
    const fattn_operator *op = fattn_operators(&n);
    fattn_verify_report report;
    fattn_memory_estimate estimate;
    fattn_capability_set set;
    memset(&report, CANARY, sizeof report);
    memset(&estimate, CANARY, sizeof estimate);
    memset(&set, CANARY, sizeof set);
    assert_int_equal(fattn_verify(NULL, op, NULL, &report), FATTN_E_ARG);
    assert_int_equal(fattn_verify(NULL, op, NULL, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_verify(NULL, NULL, NULL, &report), FATTN_E_ARG);
    assert_int_equal(fattn_estimate_memory(NULL, op, NULL, &estimate), FATTN_E_ARG);
    assert_int_equal(fattn_estimate_memory(NULL, NULL, NULL, &estimate), FATTN_E_ARG);
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_E_ARG);
    assert_int_equal(fattn_capabilities(NULL, NULL), FATTN_E_ARG);
    assert_true(is_canary(&report, sizeof report) && is_canary(&estimate, sizeof estimate) &&
                is_canary(&set, sizeof set));
    report.size = sizeof report;
    assert_int_equal(fattn_verify(NULL, op, NULL, &report), FATTN_E_ARG);
    estimate.size = sizeof estimate;
    assert_int_equal(fattn_estimate_memory(NULL, op, NULL, &estimate), FATTN_E_ARG);
}

static void test_plans_and_names(void **state)
{
    (void)state;
    assert_int_equal(fattn_plan_run(NULL, NULL, NULL, 0), FATTN_E_ARG);
    assert_int_equal(fattn_plan_workspace(NULL), 0);
    assert_non_null(fattn_plan_describe(NULL));
    fattn_plan_destroy(NULL);
    const int numbers[] = {-1, 0, FATTN_DTYPE_COUNT, 99, INT_MAX, INT_MIN};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(fattn_dtype_size((fattn_dtype)numbers[i]), 0);
        assert_string_equal(fattn_dtype_name((fattn_dtype)numbers[i]), "?");
        assert_non_null(fattn_status_name((fattn_status)numbers[i]));
    }
    assert_int_equal(fattn_dtype_from_name(NULL), FATTN_DTYPE_NONE);
    assert_int_equal(fattn_dtype_from_name(""), FATTN_DTYPE_NONE);
    assert_int_equal(fattn_dtype_from_name("?"), FATTN_DTYPE_NONE);
    assert_int_equal(fattn_dtype_from_name("f16 "), FATTN_DTYPE_NONE);
}

static void test_contiguous(void **state)
{
    (void)state;
    source s = source_seeded(5);
    for (int n = 0; n < 20000; n++) {
        fenced slot = {NULL, 0};
        int64_t shape[FATTN_MAX_RANK];
        const int rank = n % 2 ? source_pick(&s, 9) : nasty_int(&s);
        for (int i = 0; i < FATTN_MAX_RANK; i++) shape[i] = source_nasty(&s);
        const fattn_tensor t = fattn_tensor_contiguous(&slot, FATTN_F16, rank, shape);
        const bool good = rank >= 0 && rank <= FATTN_MAX_RANK;
        assert_int_equal(t.rank, good ? rank : -1);
        for (int i = 0; good && i < rank; i++) assert_int_equal(t.shape[i], shape[i]);
    }
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F16, 2, NULL).rank, -1);
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F16, 0, NULL).rank, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_contexts),
        cmocka_unit_test(test_operators_without_places),
        cmocka_unit_test(test_reports_without_a_size),
        cmocka_unit_test(test_plans_and_names),
        cmocka_unit_test(test_contiguous),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
