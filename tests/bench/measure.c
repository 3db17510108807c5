/* SPDX-License-Identifier: Apache-2.0 */
/* measure.c — what a row says about how it is measured is done: how often it runs, under which mask,
 * beside which opponent; a row that the operator refuses says why. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench_measure.h"

static const bench_row small = {.suite = "test",
                                .name = "2x16x96-b1-causal",
                                .op = "fusion_attention",
                                .batch = 1,
                                .n_heads = 2,
                                .n_kv_heads = 2,
                                .head_dim = 16,
                                .q_len = 96,
                                .kv_len = 96,
                                .causal = true};

static bench_result measure(const bench_row *row, int runs)
{
    bench_session session;
    bench_result result;
    fattn_context *context = NULL;
    const bench_settings settings = {.dtype = FATTN_F32, .runs = runs, .standard = true};
    assert_int_equal(fattn_context_create(&context, NULL), FATTN_OK);
    assert_true(bench_session_open(&session, context, settings));
    bench_measure(&session, row, &result);
    bench_finish(&session, &result, 1);
    bench_session_close(&session);
    fattn_context_destroy(context);
    return result;
}

static void a_row_runs_as_often_as_asked(void **state)
{
    (void)state;
    bench_row row = small;
    const bench_result often = measure(&row, 3);
    assert_false(often.failed);
    assert_int_equal(often.runs, 3);
    assert_true(often.best_ms > 0 && often.fraction > 0);
    row.once = true;
    const bench_result once = measure(&row, 3);
    assert_int_equal(once.runs, 1);
    assert_true(once.ms > 0 && once.ms == once.best_ms);
}

/* Standard attention knows the triangle, no band. */
static void a_band_has_no_opponent(void **state)
{
    (void)state;
    bench_row row = small;
    if (standard_library() != NULL) assert_true(measure(&row, 1).standard_ms > 0);
    row.band = 8;
    const bench_result result = measure(&row, 1);
    assert_true(isnan(result.standard_ms) && isnan(result.ratio));
    assert_int_equal(result.standard_bytes, -1);
    assert_true(result.extra_bytes > 0);
    const double flops = 2.0 * (16 + 16) * bench_row_pairs(&row);
    assert_true(fabs(result.gflops * result.best_ms * 1e6 - flops) < 1e-6 * flops);
}

/* Runs a row over numbers of its own: out[2, 96, value columns]. */
static float *run(const bench_row *row, const float *q, const float *k, const float *v)
{
    bench_case c;
    float *out = calloc(2 * 96 * 16, sizeof *out);
    assert_non_null(out);
    assert_int_equal(bench_case_open(&c, NULL, row, FATTN_F32, (void *)(uintptr_t)q,
                                     (void *)(uintptr_t)k, (void *)(uintptr_t)v, out),
                     FATTN_OK);
    assert_int_equal(bench_case_run(&c), FATTN_OK);
    bench_case_close(&c);
    return out;
}

/* Equal scores: a result is the mean of the visible values. Of values j it tells where they begin and
 * end; with four columns instead of 16 it is the same numbers closer together. */
static void a_case_computes_its_row(void **state)
{
    (void)state;
    static float zeros[2 * 96 * 16], values[2 * 96 * 16], narrow[2 * 96 * 4];
    for (int i = 0; i < 2 * 96 * 16; i++) values[i] = (float)(i / 16 % 96);
    for (int i = 0; i < 2 * 96 * 4; i++) narrow[i] = (float)(i / 4 % 96);
    for (int band = 0; band <= 8; band += 8) {
        bench_row row = small;
        row.band = band;
        float *out = run(&row, zeros, zeros, values);
        row.value_dim = 4;
        float *narrow_out = run(&row, zeros, zeros, narrow);
        for (int i = 0; i < 2 * 96; i++) {
            const int last = i % 96, first = band > 0 && last > band ? last - band : 0;
            const float mean = (float)(first + last) / 2;
            assert_true(fabsf(out[i * 16] - mean) < 1e-4f && fabsf(out[i * 16 + 15] - mean) < 1e-4f);
            assert_true(fabsf(narrow_out[i * 4 + 3] - mean) < 1e-4f);
        }
        free(out);
        free(narrow_out);
    }
}

static void a_refused_row_says_why(void **state)
{
    (void)state;
    bench_row row = small;
    row.n_kv_heads = 3; /* of 2 */
    const bench_result result = measure(&row, 1);
    assert_true(result.failed);
    assert_int_equal(result.runs, 0);
    assert_non_null(strstr(result.note, "FATTN_E_"));
    assert_true(isnan(result.ms) && isnan(result.gflops) && isnan(result.fraction));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_runs_as_often_as_asked),
        cmocka_unit_test(a_band_has_no_opponent),
        cmocka_unit_test(a_case_computes_its_row),
        cmocka_unit_test(a_refused_row_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
