/* SPDX-License-Identifier: Apache-2.0 */
/* fattn_verify(): accepts what is right and names what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "bnsd_case.h"

static fattn_verify_report report_of(const call_case *c)
{
    fattn_verify_report report = {.size = sizeof report};
    assert_int_equal(fattn_verify(NULL, fattn_operator_find("fusion_attention"), &c->args, &report),
                     FATTN_OK);
    return report;
}

static void a_right_result_passes_and_every_element_counts(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    const fattn_verify_report report = report_of(c);
    assert_true(report.passed);
    assert_int_equal(report.elements, Q_ELEMENTS + 2 * B * N * SQ * 8);
    assert_int_equal(report.outside, 0);
    assert_true(report.worst > 0 && report.worst <= 1);
    assert_true(report.cosine > 0.999999);
    assert_true(report.rms > 0 && report.rms <= report.max_abs);
    free(c);
}

/* Moves one number of the array at `offset` in the case and looks whether it is found. */
static void assert_found(size_t offset, int64_t index, float delta, const char *output)
{
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    ((float *)((char *)c + offset))[index] += delta;
    const fattn_verify_report report = report_of(c);
    assert_false(report.passed);
    assert_int_equal(report.outside, 1);
    assert_int_equal(report.worst_index, index);
    assert_string_equal(report.worst_output, output);
    free(c);
}

static void one_wrong_number_is_found_by_name_and_place(void **state)
{
    (void)state;
    assert_found(offsetof(call_case, out), 1234, 1e-4f, "attention_out");
    assert_found(offsetof(call_case, max), 777, 1e-3f, "softmax_max");
    assert_found(offsetof(call_case, sum), 4000, 1e-1f, "softmax_sum");
}

static void one_statistic_alone_can_be_verified(void **state)
{
    (void)state;
    for (int only_sum = 0; only_sum < 2; only_sum++) {
        call_case *c = case_new(1);
        if (only_sum) c->args.softmax_max = NULL;
        else c->args.softmax_sum = NULL;
        assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
        const fattn_verify_report report = report_of(c);
        assert_true(report.passed);
        assert_int_equal(report.elements, Q_ELEMENTS + B * N * SQ * 8);
        free(c);
    }
}

/* The bound follows the data: the slightest error that is not rounding is outside. */
static void a_bound_is_close_to_rounding(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    c->out[42] += 2e-5f;
    const fattn_verify_report report = report_of(c);
    assert_false(report.passed);
    assert_true(report.worst_bound < 2e-5);
    free(c);
}

static void nan_is_an_error_unless_the_answer_is_nan(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    c->out[7] = NAN;
    assert_false(report_of(c).passed);
    c->q[0] = NAN; /* row 0 of head 0: its D outputs, max and sum are NaN by right */
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    assert_true(isnan(c->out[0]) && isnan(c->out[D - 1]) && !isnan(c->out[D]));
    free(c);
}

static void what_cannot_be_verified_is_refused(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_verify_report report = {.size = sizeof report};
    assert_int_equal(fattn_verify(NULL, NULL, &c->args, &report), FATTN_E_ARG);
    assert_int_equal(fattn_verify(NULL, fattn_operator_find("attention_update"), &c->args, &report),
                     FATTN_E_UNSUPPORTED);
    assert_int_equal(fattn_verify(NULL, fattn_operator_find("fusion_attention"), &c->args, NULL),
                     FATTN_E_ARG);
    report.size = 8;
    assert_int_equal(fattn_verify(NULL, fattn_operator_find("fusion_attention"), &c->args, &report),
                     FATTN_E_ARG);
    free(c);
}

/* Keys that only broadcasting can reach: their scratch cannot even be counted in bytes. */
static void scratch_beyond_counting_is_no_memory(void **state)
{
    (void)state;
    uint16_t q = 0, k = 0, out = 0;
    const int64_t one[] = {1, 1, 1, 1};
    const fattn_tensor query = fattn_tensor_contiguous(&q, FATTN_F16, 4, one);
    const fattn_tensor result = fattn_tensor_contiguous(&out, FATTN_F16, 4, one);
    fattn_tensor keys = fattn_tensor_contiguous(&k, FATTN_F16, 4, one);
    memset(keys.strides, 0, sizeof keys.strides);
    fattn_fusion_attention_args args;
    fattn_fusion_attention_args_init(&args);
    args.query = &query, args.key = args.value = &keys, args.attention_out = &result;
    args.head_num = 1, args.input_layout = "BNSD";
    for (int bits = 57; bits <= 61; bits++) { /* 4 * 2^61 doubles; from 58 on bytes overflow */
        fattn_verify_report report = {.size = sizeof report};
        keys.shape[2] = (int64_t)1 << bits;
        assert_int_equal(
            fattn_verify(NULL, fattn_operator_find("fusion_attention"), &args, &report),
            FATTN_E_NOMEM);
        assert_non_null(strstr(fattn_error_message(), "out of memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_result_passes_and_every_element_counts),
        cmocka_unit_test(one_wrong_number_is_found_by_name_and_place),
        cmocka_unit_test(one_statistic_alone_can_be_verified),
        cmocka_unit_test(a_bound_is_close_to_rounding),
        cmocka_unit_test(nan_is_an_error_unless_the_answer_is_nan),
        cmocka_unit_test(what_cannot_be_verified_is_refused),
        cmocka_unit_test(scratch_beyond_counting_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
