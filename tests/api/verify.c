/* SPDX-License-Identifier: Apache-2.0 */
/* fattn_verify(): accepts what is right and names what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
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
        if (only_sum)
            c->args.softmax_max = NULL;
        else
            c->args.softmax_sum = NULL;
        assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
        const fattn_verify_report report = report_of(c);
        assert_true(report.passed);
        assert_int_equal(report.elements, Q_ELEMENTS + B * N * SQ * 8);
        free(c);
    }
}

/* What a rule says of a row without a key has no bound: the next number is wrong. */
static void statistics_of_rows_without_a_key_are_exact(void **state)
{
    (void)state;
    static uint8_t hidden[SQ][SKV];
    const int64_t shape[] = {SQ, SKV};
    const fattn_tensor mask = fattn_tensor_contiguous(hidden, FATTN_U8, 2, shape);
    call_case *c = case_new(1);
    memset(hidden[0], 1, SKV);
    c->args.sparse_mode = 1;
    c->args.atten_mask = &mask;
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    assert_true(report_of(c).passed);
    c->sum[5] = nextafterf(c->sum[5], 0);
    const fattn_verify_report report = report_of(c);
    assert_int_equal(report.outside, 1);
    assert_string_equal(report.worst_output, "softmax_sum");
    assert_int_equal(report.worst_index, 5);
    free(c);
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
    const fattn_verify_report right = report_of(c);
    assert_true(right.passed);
    assert_int_equal(right.outputs[0].nans, 0);
    c->out[3 * D] = NAN;
    const fattn_verify_report wrong = report_of(c);
    assert_int_equal(wrong.outputs[0].nans, 1);
    assert_int_equal(wrong.outputs[0].outside, 1);
    assert_int_equal(wrong.outputs[0].worst_at[2], 3);
    assert_true(isnan(wrong.worst_got) && !isnan(wrong.worst_exact));
    free(c);
}

/* What stands in the report for every output, against the definitions. */
static void each_output_has_its_figures(void **state)
{
    (void)state;
    static const char *const names[] = {"attention_out", "softmax_max", "softmax_sum"};
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    const int64_t at = ((1 * N + 2) * SQ + 60) * D + 7;
    c->out[at] += 0.5f;
    const fattn_verify_report report = report_of(c);
    assert_int_equal(report.n_outputs, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(report.outputs[i].name, names[i]);
        assert_int_equal(report.outputs[i].elements, i == 0 ? Q_ELEMENTS : B * N * SQ * 8);
        assert_int_equal(report.outputs[i].outside, i == 0);
        assert_int_equal(report.outputs[i].worst_rank, 4);
    }
    const fattn_verify_output *out = &report.outputs[0];
    const double off = fabs((double)c->out[at] - out->worst_exact);
    assert_true(fabs(out->worst_got - (double)c->out[at]) == 0);
    assert_true(fabs(out->max_abs - off) < 1e-12);
    assert_true(fabs(out->max_rel - off / (fabs(out->worst_exact) + 1e-7)) < 1e-9 * out->max_rel);
    assert_true(fabs(out->rms / (off / sqrt(Q_ELEMENTS)) - 1) < 1e-6);
    assert_true(fabs(out->worst - off / out->worst_bound) < 1e-9 * out->worst);
    assert_true(out->mean_rel >= out->max_rel / Q_ELEMENTS &&
                out->mean_rel < 2 * out->max_rel / Q_ELEMENTS);
    assert_true(out->cosine > 0.99 && out->cosine < 1);
    assert_true(out->correctly_rounded > 0 && out->correctly_rounded < 1);
    const int64_t place[] = {1, 2, 60, 7};
    assert_memory_equal(out->worst_at, place, sizeof place);
    assert_int_equal(out->worst_index, at);
    assert_true(report.worst == out->worst && report.max_rel == out->max_rel);
    free(c);
}

/* One NaN takes itself out of the figures and nothing else; of NaN alone there are none. */
static void figures_are_of_finite_elements(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    double squares = 0, sum = 0;
    for (int64_t i = 0; i < Q_ELEMENTS; i++) c->out[i] = i % 2 ? NAN : c->out[i] + 0.25f;
    for (int64_t i = 0; i < Q_ELEMENTS; i += 2) squares += 0.0625, sum += 1;
    fattn_verify_report report = report_of(c);
    assert_int_equal(report.outputs[0].infinite, Q_ELEMENTS / 2);
    assert_int_equal(report.outputs[0].nans, Q_ELEMENTS / 2);
    assert_true(fabs(report.rms - sqrt(squares / sum)) < 1e-6); /* 0.25, not 0.25 / sqrt(2) */
    assert_true(report.mean_rel > 0.25 / 8 && report.mean_rel <= report.max_rel);
    for (int64_t i = 0; i < Q_ELEMENTS; i++) c->out[i] = NAN;
    report = report_of(c);
    assert_false(report.passed);
    assert_int_equal(report.outputs[0].infinite, Q_ELEMENTS);
    assert_true(isnan(report.cosine) && isnan(report.rms) && isnan(report.max_abs));
    assert_true(isnan(report.max_rel) && isnan(report.mean_rel) && report.correctly_rounded == 0);
    for (int64_t i = 0; i < Q_ELEMENTS; i++) c->out[i] = 0;
    report = report_of(c);
    assert_true(report.cosine == 0 && report.rms > 0 && report.outputs[0].infinite == 0);
    memset(c->v, 0, sizeof c->v); /* now zero is the answer */
    report = report_of(c);
    assert_true(report.cosine == 1 && report.rms == 0);
    free(c);
}

/* The index in the shape, whatever the strides: rows backwards, heads innermost. */
static void places_in_strided_outputs(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    const int64_t strides[] = {N * SQ * D, 1, -N * D, N};
    memcpy(c->tout.strides, strides, sizeof strides);
    c->tout.data = c->out + (SQ - 1) * N * D;
    assert_int_equal(fattn_fusion_attention(NULL, &c->args), FATTN_OK);
    const int64_t place[] = {1, 3, 69, 5};
    float *wrong = c->tout.data;
    for (int i = 0; i < 4; i++) wrong += place[i] * strides[i];
    *wrong += 1;
    const fattn_verify_report report = report_of(c);
    assert_int_equal(report.outside, 1);
    assert_memory_equal(report.outputs[0].worst_at, place, sizeof place);
    assert_int_equal(report.worst_index, wrong - (float *)c->tout.data);
    free(c);
}

/* A strict refusal carries the device's code, here as in the call. */
static void refused_as_the_call_is(void **state)
{
    (void)state;
    call_case *c = case_new(1);
    fattn_context_options options;
    fattn_context *context;
    fattn_verify_report report = {.size = sizeof report};
    fattn_context_options_init(&options);
    options.strict = 1;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    c->args.sparse_mode = 99;
    const fattn_status status = fattn_fusion_attention(context, &c->args);
    char said[1024];
    snprintf(said, sizeof said, "%s", fattn_error_message());
    assert_int_not_equal(status, FATTN_OK);
    assert_int_equal(
        fattn_verify(context, fattn_operator_find("fusion_attention"), &c->args, &report), status);
    assert_string_equal(fattn_error_message(), said);
    fattn_context_destroy(context);
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
        cmocka_unit_test(statistics_of_rows_without_a_key_are_exact),
        cmocka_unit_test(a_bound_is_close_to_rounding),
        cmocka_unit_test(nan_is_an_error_unless_the_answer_is_nan),
        cmocka_unit_test(each_output_has_its_figures),
        cmocka_unit_test(figures_are_of_finite_elements),
        cmocka_unit_test(places_in_strided_outputs),
        cmocka_unit_test(refused_as_the_call_is),
        cmocka_unit_test(what_cannot_be_verified_is_refused),
        cmocka_unit_test(scratch_beyond_counting_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
