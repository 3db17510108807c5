/* SPDX-License-Identifier: Apache-2.0 */
/* bias.c — bias tensors with strides and broadcasts, the compressed form against a genuine ALiBi
 * bias written out in full, and slopes against the hand-computed anchors. */
#include "core/bias.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void tensor_of_every_dtype(void **state)
{
    (void)state;
    const double f64[] = {0.0, 1e-300, -2.5};
    const float f32[] = {0.0f, 0.1f, -2.5f};
    const uint16_t f16[] = {0x0000, 0x3c01, 0xc100};  /* 1 + 2^-10, -2.5 */
    const uint16_t bf16[] = {0x0000, 0x3f81, 0xc020}; /* 1 + 2^-7, -2.5 */
    const struct {
        fattn_dtype dtype;
        const void *data;
        double second;
    } list[] = {{FATTN_F64, f64, 1e-300},
                {FATTN_F32, f32, (double)0.1f},
                {FATTN_F16, f16, 1.0 + 0x1p-10},
                {FATTN_BF16, bf16, 1.0 + 0x1p-7}};
    const fattn_seq seq = {0};
    for (int n = 0; n < 4; n++) {
        const fattn_problem p = {
            .bias = {.kind = BIAS_TENSOR, .dtype = list[n].dtype, .col_stride = 1}};
        const fattn_ptrs ptrs = {.bias = list[n].data};
        assert_true(bias_value(&p, &ptrs, &seq, 0, 0, 0) == 0.0);
        assert_true(bias_value(&p, &ptrs, &seq, 0, 0, 1) == list[n].second);
        assert_true(bias_value(&p, &ptrs, &seq, 0, 0, 2) == -2.5);
    }
}

static void tensor_strides(void **state)
{
    (void)state;
    enum { HEADS = 3, ROWS = 4, COLS = 5 };
    float data[2][HEADS][ROWS][COLS];
    for (int n = 0; n < 2 * HEADS * ROWS * COLS; n++) (&data[0][0][0][0])[n] = (float)n;
    const fattn_problem p = {.bias = {.kind = BIAS_TENSOR, .dtype = FATTN_F32, .col_stride = 1}};
    const fattn_ptrs ptrs = {.bias = data};
    const fattn_seq full = {
        .bias_base = HEADS * ROWS * COLS, .bias_head_stride = ROWS * COLS, .bias_row_stride = COLS};
    const fattn_seq row_broadcast = {.bias_head_stride = ROWS * COLS};
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLS; j++) {
                assert_true(bias_value(&p, &ptrs, &full, h, i, j) == (double)data[1][h][i][j]);
                assert_true(bias_value(&p, &ptrs, &row_broadcast, h, i, j) ==
                            (double)data[0][h][0][j]);
            }
    const fattn_problem none = {0};
    assert_true(bias_value(&none, &(fattn_ptrs){0}, &full, 0, 0, 0) == 0.0);
}

/* bias(i, j) = -slope[h] * (i - j), of which the last 1024 rows are stored. */
static void compressed_against_alibi(void **state)
{
    (void)state;
    enum { HEADS = 2, ROWS = BIAS_COMPRESSED_ROWS };
    static const int64_t totals[] = {1024, 1025, 1500, 2048, 3000, 3072, 4100};
    static const double slopes[HEADS] = {0.5, 0.0625};
    for (size_t t = 0; t < sizeof totals / sizeof totals[0]; t++) {
        const int64_t total = totals[t], first = total - ROWS;
        double *stored = malloc((size_t)(HEADS * ROWS * total) * sizeof *stored);
        assert_non_null(stored);
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t r = 0; r < ROWS; r++)
                for (int64_t j = 0; j < total; j++) /* above the diagonal: never to be used */
                    stored[(h * ROWS + r) * total + j] =
                        j <= first + r ? -slopes[h] * (double)(first + r - j) : NAN;
        const fattn_problem p = {
            .bias = {
                .kind = BIAS_COMPRESSED, .dtype = FATTN_F64, .col_stride = 1, .total_len = total}};
        const fattn_ptrs ptrs = {.bias = stored};
        const fattn_seq seq = {.bias_head_stride = ROWS * total, .bias_row_stride = total};
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t i = 0; i < total; i += i % 7 + 1)
                for (int64_t j = i % 3; j <= i; j += 1 + (i + j) % 5) {
                    const double got = bias_value(&p, &ptrs, &seq, h, i, j);
                    if (got != -slopes[h] * (double)(i - j))
                        fail_msg("total %lld head %lld (%lld, %lld): %g", (long long)total,
                                 (long long)h, (long long)i, (long long)j, got);
                }
        assert_true(bias_value(&p, &ptrs, &seq, 0, 3, 4) == 0.0);
        free(stored);
    }
}

/* The dense expansion rule to the letter, on contents that are no ALiBi: rows from total - 1024 on
 * as stored; an earlier row i from r = i mod 1024, k = total - (i - j) - (1024 - r). */
static void compressed_rule(void **state)
{
    (void)state;
    enum { TOTAL = 2100, ROWS = BIAS_COMPRESSED_ROWS };
    float *stored = malloc(sizeof(float) * ROWS * TOTAL);
    assert_non_null(stored);
    for (int n = 0; n < ROWS * TOTAL; n++) stored[n] = (float)n;
    const fattn_problem p = {
        .bias = {.kind = BIAS_COMPRESSED, .dtype = FATTN_F32, .col_stride = 1, .total_len = TOTAL}};
    const fattn_ptrs ptrs = {.bias = stored};
    const fattn_seq seq = {.bias_row_stride = TOTAL};
    for (int i = 0; i < TOTAL; i += 13)
        for (int j = 0; j <= i; j += 17) {
            const int r = i >= TOTAL - ROWS ? i - (TOTAL - ROWS) : i % ROWS;
            const int k = i >= TOTAL - ROWS ? j : TOTAL - (i - j) - (ROWS - r);
            assert_true(bias_value(&p, &ptrs, &seq, 0, i, j) == (double)stored[r * TOTAL + k]);
        }
    free(stored);
}

/* Anchors of training 11.4: slope 0.5, with and without q_start_idx 3 (distance0 = kv_start -
 * q_start). */
static void slope_anchors(void **state)
{
    (void)state;
    const float slopes[] = {9.0f, 0.5f, 9.0f, 0.25f}; /* [batch][head] */
    fattn_problem p = {.bias = {.kind = BIAS_SLOPE,
                                .dtype = FATTN_F32,
                                .slope_batch_stride = 2,
                                .slope_head_stride = 1}};
    const fattn_ptrs ptrs = {.bias = slopes};
    fattn_seq seq = {0};
    for (int sqrt_form = 0; sqrt_form < 2; sqrt_form++) { /* sqrt(1) = 1: the same here */
        p.bias.kind = sqrt_form ? BIAS_SLOPE_SQRT : BIAS_SLOPE;
        assert_true(bias_value(&p, &ptrs, &seq, 1, 0, 0) == 0.0);
        assert_true(bias_value(&p, &ptrs, &seq, 1, 0, 1) == -0.5);
        assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 0) == -0.5);
        assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 1) == 0.0);
    }
    seq.distance0 = -3;
    p.bias.kind = BIAS_SLOPE;
    assert_true(bias_value(&p, &ptrs, &seq, 1, 0, 0) == -0.5 * 3);
    assert_true(bias_value(&p, &ptrs, &seq, 1, 0, 1) == -0.5 * 2);
    assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 0) == -0.5 * 4);
    assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 1) == -0.5 * 3);
    p.bias.kind = BIAS_SLOPE_SQRT;
    assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 0) == -0.5 * 2); /* sqrt(4) */
    seq.batch = 1;
    assert_true(bias_value(&p, &ptrs, &seq, 1, 1, 0) == -0.25 * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensor_of_every_dtype),
        cmocka_unit_test(tensor_strides),
        cmocka_unit_test(compressed_against_alibi),
        cmocka_unit_test(compressed_rule),
        cmocka_unit_test(slope_anchors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
