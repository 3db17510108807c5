/* SPDX-License-Identifier: Apache-2.0 */
/* attention_update.c — merging by log-sum-exp: by hand, the vendor's cases against long double,
 * parts without keys, strides, in place, errors. (spec inference 13, 14.5, 18) */
#include "cm.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "core/rng.h"
#include "fattn/fattn.h"

enum { PARTS = 33 };

/* Element i of a tensor's memory. */
static double get(const void *data, fattn_dtype dtype, int64_t i)
{
    switch (dtype) {
    case FATTN_F64:
        return ((const double *)data)[i];
    case FATTN_F32:
        return (double)((const float *)data)[i];
    case FATTN_F16:
        return (double)half_from_f16(((const uint16_t *)data)[i]);
    default:
        return (double)half_from_bf16(((const uint16_t *)data)[i]);
    }
}

static void put(void *data, fattn_dtype dtype, int64_t i, double x)
{
    switch (dtype) {
    case FATTN_F64:
        ((double *)data)[i] = x;
        break;
    case FATTN_F32:
        ((float *)data)[i] = (float)x;
        break;
    case FATTN_F16:
        ((uint16_t *)data)[i] = half_to_f16_from_double(x);
        break;
    default:
        ((uint16_t *)data)[i] = half_to_bf16_from_double(x);
        break;
    }
}

static double half_ulp(fattn_dtype dtype, double x)
{
    const int digits = dtype == FATTN_F64   ? 53
                       : dtype == FATTN_F32 ? 24
                       : dtype == FATTN_F16 ? 11
                                            : 8;
    const int least = dtype == FATTN_F64 ? -1021 : dtype == FATTN_F16 ? -13 : -125;
    int exponent;
    frexp(x, &exponent);
    if (x == 0 || exponent < least) exponent = least;
    return ldexp(0.5, exponent - digits);
}

typedef struct call {
    int64_t rows, columns, parts, pad; /* pad: extra elements behind every row and every lse */
    fattn_dtype dtype, lse_dtype;
    double *lse[PARTS], *local[PARTS], *out, *lse_out; /* memory for any dtype */
    fattn_tensor t_lse[PARTS], t_local[PARTS], t_out, t_lse_out;
    const fattn_tensor *p_lse[PARTS], *p_local[PARTS];
    fattn_attention_update_args args;
} call;

static void *memory(int64_t n)
{
    double *data = calloc((size_t)n + 1, sizeof *data);
    assert_non_null(data);
    return data;
}

static call *new_call(fattn_dtype dtype, int64_t rows, int64_t columns, int64_t parts, int64_t pad)
{
    call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    *c = (call){.rows = rows, .columns = columns, .parts = parts, .pad = pad, .dtype = dtype};
    c->lse_dtype = dtype == FATTN_F64 ? FATTN_F64 : FATTN_F32;
    const int64_t shape[] = {rows, columns};
    for (int64_t i = 0; i < parts; i++) {
        c->lse[i] = memory(rows * (1 + pad));
        c->local[i] = memory(rows * (columns + pad));
        c->t_lse[i] = fattn_tensor_contiguous(c->lse[i], c->lse_dtype, 1, shape);
        c->t_local[i] = fattn_tensor_contiguous(c->local[i], dtype, 2, shape);
        c->t_lse[i].strides[0] = 1 + pad;
        c->t_local[i].strides[0] = columns + pad;
        c->p_lse[i] = &c->t_lse[i];
        c->p_local[i] = &c->t_local[i];
    }
    c->out = memory(rows * columns);
    c->lse_out = memory(rows);
    c->t_out = fattn_tensor_contiguous(c->out, dtype, 2, shape);
    c->t_lse_out = fattn_tensor_contiguous(c->lse_out, c->lse_dtype, 1, shape);
    fattn_attention_update_args_init(&c->args);
    c->args.lse = (fattn_tensor_array){c->p_lse, parts};
    c->args.local_out = (fattn_tensor_array){c->p_local, parts};
    c->args.update_type = 1;
    c->args.out = &c->t_out;
    c->args.lse_out = &c->t_lse_out;
    return c;
}

static void free_call(call *c)
{
    for (int64_t i = 0; i < c->parts; i++) free(c->lse[i]), free(c->local[i]);
    free(c->out), free(c->lse_out), free(c);
}

static double lse_of(const call *c, int64_t i, int64_t r)
{
    return get(c->lse[i], c->lse_dtype, r * c->t_lse[i].strides[0]);
}

static double local_of(const call *c, int64_t i, int64_t r, int64_t d)
{
    return get(c->local[i], c->dtype, r * c->t_local[i].strides[0] + d);
}

static void set_lse(call *c, int64_t i, int64_t r, double x)
{
    put(c->lse[i], c->lse_dtype, r * c->t_lse[i].strides[0], x);
}

static void set_local(call *c, int64_t i, int64_t r, int64_t d, double x)
{
    put(c->local[i], c->dtype, r * c->t_local[i].strides[0] + d, x);
}

static double out_of(const call *c, int64_t r, int64_t d)
{
    return get(c->out, c->dtype, r * c->columns + d);
}
static double lse_out_of(const call *c, int64_t r) { return get(c->lse_out, c->lse_dtype, r); }

static void fill(call *c, rng *r, double spread)
{
    for (int64_t i = 0; i < c->parts; i++)
        for (int64_t m = 0; m < c->rows; m++) {
            set_lse(c, i, m, spread * rng_unit(r));
            for (int64_t d = 0; d < c->columns; d++) set_local(c, i, m, d, 3 * rng_unit(r));
        }
}

static void check_ok(fattn_status status)
{
    if (status != FATTN_OK) fail_msg("%s: %s", fattn_status_name(status), fattn_error_message());
}

/* Against the formula in long double, without a common maximum: weights are exp(lse_i - L) exactly.
 */
static void check_merge(const call *c, const char *what)
{
    for (int64_t m = 0; m < c->rows; m++) {
        long double top = -INFINITY, sum = 0;
        for (int64_t i = 0; i < c->parts; i++) {
            const double x = lse_of(c, i, m);
            if (x != INFINITY && (long double)x > top) top = x;
        }
        for (int64_t i = 0; i < c->parts; i++)
            if (fabs(lse_of(c, i, m)) != INFINITY) sum += expl(lse_of(c, i, m) - top);
        const double lse = (double)(top + logl(sum));
        const double lse_error = fabs(lse_out_of(c, m) - lse);
        if (!(lse_error <= half_ulp(c->lse_dtype, lse) + 4 * DBL_EPSILON * fmax(1, fabs(lse))))
            fail_msg("%s: lse_out[%lld] is %.17g, want %.17g", what, (long long)m, lse_out_of(c, m),
                     lse);
        for (int64_t d = 0; d < c->columns; d++) {
            long double exact = 0, size = 0;
            for (int64_t i = 0; i < c->parts; i++) {
                if (fabs(lse_of(c, i, m)) == INFINITY) continue;
                const long double term = expl(lse_of(c, i, m) - top) / sum * local_of(c, i, m, d);
                exact += term, size += fabsl(term);
            }
            const double bound =
                half_ulp(c->dtype, (double)exact) + 64 * DBL_EPSILON * (double)size;
            if (!(fabs(out_of(c, m, d) - (double)exact) <= bound))
                fail_msg("%s: out[%lld,%lld] is %.17g, want %.17Lg", what, (long long)m,
                         (long long)d, out_of(c, m, d), exact);
        }
    }
}

static void test_by_hand(void **state)
{
    (void)state;
    call *c = new_call(FATTN_F32, 2, 2, 2, 0);
    for (int d = 0; d < 2; d++)
        for (int m = 0; m < 2; m++) set_local(c, 0, m, d, 1), set_local(c, 1, m, d, 3);
    set_lse(c, 0, 0, 0.5), set_lse(c, 1, 0, 1.5);
    set_lse(c, 0, 1, INFINITY), set_lse(c, 1, 1, 1.5);
    check_ok(fattn_attention_update(NULL, &c->args));
    assert_true(fabs(lse_out_of(c, 0) - 1.813262) < 1e-6);
    assert_true(fabs(out_of(c, 0, 0) - 2.462117) < 1e-6 && fabs(out_of(c, 0, 1) - 2.462117) < 1e-6);
    assert_true(lse_out_of(c, 1) == 1.5);
    assert_true(out_of(c, 1, 0) == 3 && out_of(c, 1, 1) == 3);
    free_call(c);
}

static void test_vendor_cases(void **state)
{
    (void)state;
    static const int cases[][3] = {{4, 32, 2},  {8, 64, 2},   {16, 128, 3}, {32, 256, 2},
                                   {64, 64, 4}, {120, 32, 2}, {240, 128, 2}};
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16, FATTN_F64};
    char what[80];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int t = 0; t < 4; t++)
            for (int type = 0; type < 2; type++) {
                const int *n = cases[i];
                snprintf(what, sizeof what, "M %d D %d sp %d %s", n[0], n[1], n[2],
                         fattn_dtype_name(dtypes[t]));
                call *c = new_call(dtypes[t], n[0], n[1], n[2], t == 1);
                rng r = rng_new(100 * i + (uint64_t)t);
                fill(c, &r, type ? 2 : 30);
                check_ok(fattn_attention_update(NULL, &c->args));
                check_merge(c, what);
                free_call(c);
            }
}

static void test_one_and_many_parts(void **state)
{
    (void)state;
    for (int64_t parts = 1; parts <= 32; parts += 31) {
        call *c = new_call(FATTN_F32, 5, 7, parts, 3);
        rng r = rng_new(5);
        fill(c, &r, 4);
        check_ok(fattn_attention_update(NULL, &c->args));
        check_merge(c, "parts");
        if (parts == 1)
            for (int64_t d = 0; d < 7; d++) assert_true(out_of(c, 0, d) == local_of(c, 0, 0, d));
        free_call(c);
    }
}

/* Parts without keys have weight 0 and may hold anything. */
static void test_parts_without_keys(void **state)
{
    (void)state;
    static const double none[] = {INFINITY, -INFINITY, -3.40e38};
    for (int i = 0; i < 3; i++) {
        call *c = new_call(FATTN_F16, 1, 8, 3, 0);
        rng r = rng_new(9);
        fill(c, &r, 1);
        set_lse(c, 1, 0, none[i]);
        for (int d = 0; d < 8; d++) set_local(c, 1, 0, d, d % 2 ? NAN : INFINITY);
        check_ok(fattn_attention_update(NULL, &c->args));
        for (int d = 0; d < 8; d++) {
            const double w0 = exp(lse_of(c, 0, 0)), w2 = exp(lse_of(c, 2, 0));
            const double want = (w0 * local_of(c, 0, 0, d) + w2 * local_of(c, 2, 0, d)) / (w0 + w2);
            assert_true(fabs(out_of(c, 0, d) - want) <= 1.001 * half_ulp(FATTN_F16, want));
        }
        free_call(c);
    }
}

static void test_nothing_at_all(void **state)
{
    (void)state;
    fattn_context *strict = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.strict = 1;
    check_ok(fattn_context_create(&strict, &options));
    call *c = new_call(FATTN_F32, 2, 8, 2, 0);
    for (int i = 0; i < 2; i++)
        for (int d = 0; d < 8; d++) set_local(c, i, 0, d, NAN), set_local(c, i, 1, d, 2);
    set_lse(c, 0, 0, INFINITY), set_lse(c, 1, 0, -INFINITY);
    check_ok(fattn_attention_update(NULL, &c->args));
    for (int d = 0; d < 8; d++) assert_true(out_of(c, 0, d) == 0 && out_of(c, 1, d) == 2);
    assert_true(lse_out_of(c, 0) == INFINITY);
    check_ok(fattn_attention_update(strict, &c->args));
    for (int d = 0; d < 8; d++) assert_true(isnan(out_of(c, 0, d)) && out_of(c, 1, d) == 2);
    assert_true(isnan(lse_out_of(c, 0)));
    free_call(c);
    fattn_context_destroy(strict);
}

static void test_nan_reaches_its_row_only(void **state)
{
    (void)state;
    call *c = new_call(FATTN_F32, 2, 4, 2, 0);
    rng r = rng_new(2);
    fill(c, &r, 1);
    set_lse(c, 0, 0, NAN);
    check_ok(fattn_attention_update(NULL, &c->args));
    assert_true(isnan(out_of(c, 0, 0)) && isnan(lse_out_of(c, 0)));
    assert_true(isfinite(out_of(c, 1, 3)) && isfinite(lse_out_of(c, 1)));
    free_call(c);
}

static void test_update_type(void **state)
{
    (void)state;
    fattn_tensor shapes[2];
    call *c = new_call(FATTN_BF16, 3, 8, 2, 0);
    rng r = rng_new(1);
    fill(c, &r, 1);
    put(c->lse_out, FATTN_F32, 1, 77);
    c->args.update_type = 0;
    check_ok(fattn_attention_update_shapes(NULL, &c->args, shapes));
    assert_int_equal(shapes[0].dtype, FATTN_BF16);
    assert_int_equal(shapes[0].rank, 2);
    assert_int_equal(shapes[0].shape[0], 3);
    assert_int_equal(shapes[0].strides[0], 8);
    assert_int_equal(shapes[1].shape[0], 0);
    check_ok(fattn_attention_update(NULL, &c->args));
    assert_true(lse_out_of(c, 1) == 77); /* not ours to write */
    c->args.update_type = 1;
    check_ok(fattn_attention_update_shapes(NULL, &c->args, shapes));
    assert_int_equal(shapes[1].dtype, FATTN_F32);
    assert_int_equal(shapes[1].shape[0], 3);
    check_ok(fattn_attention_update(NULL, &c->args));
    assert_true(lse_out_of(c, 1) != 77);
    c->args.lse_out = NULL; /* not wanted */
    check_ok(fattn_attention_update(NULL, &c->args));
    check_merge(c, "bf16");
    free_call(c);
}

static void test_in_place(void **state)
{
    (void)state;
    call *c = new_call(FATTN_F32, 6, 8, 3, 0);
    rng r = rng_new(8);
    fill(c, &r, 2);
    check_ok(fattn_attention_update(NULL, &c->args));
    c->args.out = c->p_local[1];
    c->args.lse_out = c->p_lse[1];
    check_ok(fattn_attention_update(NULL, &c->args));
    assert_memory_equal(c->local[1], c->out, 6 * 8 * sizeof(float));
    assert_memory_equal(c->lse[1], c->lse_out, 6 * sizeof(float));
    free_call(c);
}

/* Any number of threads, any rounding mode of the caller: the same bits. */
static void test_same_bits(void **state)
{
    (void)state;
    const int64_t rows = 700, columns = 200;
    call *c = new_call(FATTN_F32, rows, columns, 3, 1);
    rng r = rng_new(4);
    fill(c, &r, 5);
    float *first = memory(rows * columns);
    for (int threads = 1; threads <= 5; threads += 2) {
        fattn_context *context = NULL;
        fattn_context_options options;
        fattn_context_options_init(&options);
        options.threads = threads;
        check_ok(fattn_context_create(&context, &options));
        memset(c->out, 0, (size_t)(rows * columns) * sizeof(float));
        if (threads > 1) fesetround(FE_UPWARD);
        const fattn_status status = fattn_attention_update(context, &c->args);
        fesetround(FE_TONEAREST);
        check_ok(status);
        if (threads == 1) memcpy(first, c->out, (size_t)(rows * columns) * sizeof(float));
        assert_memory_equal(first, c->out, (size_t)(rows * columns) * sizeof(float));
        fattn_context_destroy(context);
    }
    check_merge(c, "large");
    free(first);
    free_call(c);
}

static void test_empty(void **state)
{
    (void)state;
    const int64_t sizes[][2] = {{0, 8}, {3, 0}, {0, 0}};
    for (int i = 0; i < 3; i++) {
        call *c = new_call(FATTN_F32, sizes[i][0], sizes[i][1], 2, 0);
        check_ok(fattn_attention_update(NULL, &c->args));
        if (sizes[i][0]) assert_true(fabs(lse_out_of(c, 2) - log(2)) < 1e-7);
        free_call(c);
    }
}

static void expect(call *c, fattn_context *context, fattn_status status, const char *word)
{
    memset(c->out, 0x5a, (size_t)(c->rows * c->columns) * sizeof(float));
    const fattn_status got = fattn_attention_update(context, &c->args);
    if (got != status || !strstr(fattn_error_message(), word))
        fail_msg("wanted %s with \"%s\", got %s: %s", fattn_status_name(status), word,
                 fattn_status_name(got), fattn_error_message());
    for (int64_t i = 0; i < c->rows * c->columns * (int64_t)sizeof(float); i++)
        assert_int_equal(((unsigned char *)c->out)[i], 0x5a);
}

static void test_errors(void **state)
{
    (void)state;
    call *c = new_call(FATTN_F32, 3, 12, 2, 0);
    const fattn_attention_update_args good = c->args;
    assert_int_equal(fattn_attention_update(NULL, NULL), FATTN_E_ARG);
    c->args.update_type = 2, expect(c, NULL, FATTN_E_ARG, "update_type"), c->args = good;
    c->args.lse.count = 0, expect(c, NULL, FATTN_E_ARG, "lse"), c->args = good;
    c->args.lse.count = 1, expect(c, NULL, FATTN_E_ARG, "local_out"), c->args = good;
    c->args.out = NULL, expect(c, NULL, FATTN_E_ARG, "out"), c->args = good;
    c->args.size = 0, expect(c, NULL, FATTN_E_ARG, "args_init"), c->args = good;
    c->t_lse[1].shape[0] = 2, expect(c, NULL, FATTN_E_SHAPE, "lse"), c->t_lse[1].shape[0] = 3;
    c->t_local[1].shape[1] = 11, expect(c, NULL, FATTN_E_SHAPE, "local_out"),
    c->t_local[1].shape[1] = 12;
    c->t_local[1].dtype = FATTN_F16, expect(c, NULL, FATTN_E_DTYPE, "local_out"),
    c->t_local[1].dtype = FATTN_F32;
    c->t_lse[0].dtype = FATTN_F16, expect(c, NULL, FATTN_E_DTYPE, "lse"),
    c->t_lse[0].dtype = FATTN_F32;
    c->t_local[0].rank = 1, expect(c, NULL, FATTN_E_SHAPE, "local_out"), c->t_local[0].rank = 2;
    c->t_local[0].dtype = FATTN_I8, expect(c, NULL, FATTN_E_DTYPE, "local_out"),
    c->t_local[0].dtype = FATTN_F32;
    c->t_out.strides[1] = 0, expect(c, NULL, FATTN_E_SHAPE, "out"), c->t_out.strides[1] = 1;
    c->t_lse_out.shape[0] = 4, expect(c, NULL, FATTN_E_SHAPE, "lse_out"), c->t_lse_out.shape[0] = 3;
    c->p_lse[1] = NULL, expect(c, NULL, FATTN_E_ARG, "lse"), c->p_lse[1] = &c->t_lse[1];

    fattn_context *strict = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.strict = 1;
    check_ok(fattn_context_create(&strict, &options));
    expect(c, strict, FATTN_E_SHAPE, "multiple of 8");
    check_ok(fattn_attention_update(NULL, &c->args));
    free_call(c);
    c = new_call(FATTN_F32, 2, 8, 33, 0);
    expect(c, NULL, FATTN_E_ARG, "1..32");
    c->args.lse.count = c->args.local_out.count = 17;
    expect(c, strict, FATTN_E_ARG, "1..16");
    check_ok(fattn_attention_update(NULL, &c->args));
    free_call(c);
    fattn_context_destroy(strict);
}

static void test_plan(void **state)
{
    (void)state;
    fattn_plan *plan = NULL;
    size_t bytes = 1;
    call *c = new_call(FATTN_F32, 3, 8, 2, 0);
    rng r = rng_new(6);
    fill(c, &r, 1);
    check_ok(fattn_attention_update_workspace(NULL, &c->args, &bytes));
    assert_int_equal(bytes, 0);
    check_ok(fattn_attention_update_plan(NULL, &c->args, &plan));
    check_ok(fattn_plan_run(plan, &c->args, NULL, 0));
    check_merge(c, "plan");
    fattn_plan_destroy(plan);
    free_call(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_vendor_cases),
        cmocka_unit_test(test_one_and_many_parts),
        cmocka_unit_test(test_parts_without_keys),
        cmocka_unit_test(test_nothing_at_all),
        cmocka_unit_test(test_nan_reaches_its_row_only),
        cmocka_unit_test(test_update_type),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
