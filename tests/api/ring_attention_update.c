/* SPDX-License-Identifier: Apache-2.0 */
/* ring_attention_update.c — merging by (max, sum): by hand, every kind of side with every other,
 * all layouts against a naive walk in memory order, in place, errors. (spec fusion-attention
 * 10, 11.4) */
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

enum { MAX_ATTN = 4096, MAX_STATS = 4096, PREV = 0, CUR = 1, OUT = 2 };

/* One call over contiguous memory; [PREV], [CUR], [OUT]. */
typedef struct call {
    double attn[3][MAX_ATTN]; /* memory for any dtype */
    float max[3][MAX_STATS], sum[3][MAX_STATS];
    fattn_dtype dtype;
    bool tnd;
    int64_t s, b, n, d; /* tnd: s = T, b = 1 */
    int64_t list[16];
    fattn_tensor t_attn[3], t_max[3], t_sum[3], t_list;
    fattn_ring_attention_update_args args;
} call;

static void bind(call *c, fattn_dtype dtype, bool tnd, int64_t s, int64_t b, int64_t n, int64_t d)
{
    const int64_t sbh[] = {s, b, n * d}, sbh_stats[] = {b, n, s, 8};
    const int64_t packed[] = {s, n, d}, packed_stats[] = {s, n, 8};
    memset(c, 0, sizeof *c);
    c->dtype = dtype, c->tnd = tnd, c->s = s, c->b = b, c->n = n, c->d = d;
    for (int i = 0; i < 3; i++) {
        c->t_attn[i] = fattn_tensor_contiguous(c->attn[i], dtype, 3, tnd ? packed : sbh);
        c->t_max[i] = fattn_tensor_contiguous(c->max[i], FATTN_F32, tnd ? 3 : 4,
                                              tnd ? packed_stats : sbh_stats);
        c->t_sum[i] = c->t_max[i];
        c->t_sum[i].data = c->sum[i];
    }
    fattn_ring_attention_update_args_init(&c->args);
    c->args.prev_attn_out = &c->t_attn[PREV], c->args.cur_attn_out = &c->t_attn[CUR];
    c->args.prev_softmax_max = &c->t_max[PREV], c->args.cur_softmax_max = &c->t_max[CUR];
    c->args.prev_softmax_sum = &c->t_sum[PREV], c->args.cur_softmax_sum = &c->t_sum[CUR];
    c->args.attn_out = &c->t_attn[OUT];
    c->args.softmax_max = &c->t_max[OUT], c->args.softmax_sum = &c->t_sum[OUT];
    if (tnd) c->args.input_layout = "TND";
}

static void set_list(call *c, const int64_t *list, int64_t n)
{
    memcpy(c->list, list, (size_t)n * sizeof *list);
    c->t_list = fattn_tensor_contiguous(c->list, FATTN_I64, 1, &n);
    c->args.actual_seq_qlen = &c->t_list;
}

static double get(const call *c, int which, int64_t i)
{
    const void *data = c->attn[which];
    switch (c->dtype) {
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

static void put(call *c, int which, int64_t i, double x)
{
    void *data = c->attn[which];
    switch (c->dtype) {
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

static void check_ok(fattn_status status)
{
    if (status != FATTN_OK) fail_msg("%s: %s", fattn_status_name(status), fattn_error_message());
}

static void set_side(call *c, int which, int64_t row, float max, float sum)
{
    for (int i = 0; i < 8; i++) c->max[which][row * 8 + i] = max, c->sum[which][row * 8 + i] = sum;
}

static void fill(call *c, rng *r)
{
    const int64_t rows = c->s * c->b * c->n;
    for (int which = 0; which < 2; which++)
        for (int64_t i = 0; i < rows; i++) {
            set_side(c, which, i, (float)(3 * rng_unit(r)), (float)(1.5 + rng_unit(r)));
            for (int64_t d = 0; d < c->d; d++) put(c, which, i * c->d + d, 2 * rng_unit(r));
        }
}

static void test_by_hand(void **state)
{
    (void)state;
    static call c;
    bind(&c, FATTN_F32, false, 1, 1, 1, 1);
    set_side(&c, PREV, 0, 1, 2), set_side(&c, CUR, 0, 0, 1);
    put(&c, PREV, 0, 3), put(&c, CUR, 0, 6);
    check_ok(fattn_ring_attention_update(NULL, &c.args));
    for (int i = 0; i < 8; i++) {
        assert_true(c.max[OUT][i] == 1);
        assert_true(fabsf(c.sum[OUT][i] - 2.3678794f) < 3e-7f);
    }
    assert_true(fabs(get(&c, OUT, 0) - 3.4660872) < 3e-7);
}

typedef struct expected {
    const char *what;
    float prev_max, prev_sum, cur_max, cur_sum; /* in */
    double out;                                 /* from prev 3 and cur 6 */
    float max, sum;
} expected;

static void test_every_kind_of_side(void **state)
{
    (void)state;
    static call c;
    static const expected cases[] = {
        {"empty, valid", -5, 0, 1, 2, 6, 1, 2},
        {"valid, empty", 1, 2, 7, 0, 3, 1, 2},
        {"empty, empty", -5, 0, -4, 0, 0, -4, 0},
        {"invalid, valid", -FLT_MAX, FLT_MAX, 1, 2, 6, 1, 2},
        {"valid, invalid", 1, 2, -FLT_MAX, FLT_MAX, 3, 1, 2},
        {"invalid, invalid", -FLT_MAX, FLT_MAX, -FLT_MAX, FLT_MAX, 0, -FLT_MAX, FLT_MAX},
        {"very low, valid", -3e38f, 4, 1, 2, 6, 1, 2},
        {"equal, equal", 1, 2, 1, 2, 4.5, 1, 4},
        {"far apart", 100, 1, -100, 1, 3, 100, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const expected *e = &cases[i];
        bind(&c, FATTN_BF16, false, 1, 1, 1, 1);
        set_side(&c, PREV, 0, e->prev_max, e->prev_sum),
            set_side(&c, CUR, 0, e->cur_max, e->cur_sum);
        put(&c, PREV, 0, 3), put(&c, CUR, 0, 6);
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        if (get(&c, OUT, 0) != e->out || c.max[OUT][0] != e->max || c.sum[OUT][7] != e->sum)
            fail_msg("%s: out %g, max %g, sum %g", e->what, get(&c, OUT, 0), (double)c.max[OUT][0],
                     (double)c.sum[OUT][7]);
    }
}

/* One side empty, the other invalid: the invalid side, whichever stands first. What an invalid row
 * holds is 0. */
static void test_empty_beside_invalid(void **state)
{
    (void)state;
    static call c;
    for (int empty = 0; empty < 2; empty++) {
        bind(&c, FATTN_F32, false, 1, 1, 1, 1);
        set_side(&c, empty, 0, 0, 0), set_side(&c, 1 - empty, 0, -FLT_MAX, FLT_MAX);
        put(&c, empty, 0, NAN), put(&c, 1 - empty, 0, 0);
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        assert_true(get(&c, OUT, 0) == 0);
        assert_true(c.max[OUT][3] == -FLT_MAX && c.sum[OUT][3] == FLT_MAX);
    }
}

/* What a weightless side holds, NaN included, never comes through. */
static void test_weightless_nan(void **state)
{
    (void)state;
    static call c;
    const float sides[][2] = {{0, 0}, {-FLT_MAX, FLT_MAX}, {-1e30f, 1}};
    for (int i = 0; i < 3; i++) {
        bind(&c, FATTN_F32, false, 1, 1, 1, 1);
        set_side(&c, PREV, 0, 0.5f, 3), set_side(&c, CUR, 0, sides[i][0], sides[i][1]);
        put(&c, PREV, 0, 1.25), put(&c, CUR, 0, NAN);
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        assert_true(get(&c, OUT, 0) == 1.25);
    }
}

/* Naive merge of one (token, head): `row` counts statistics, `at` attn elements, in memory order.
 */
static void check_row(const call *c, int64_t row, int64_t at, const char *what)
{
    const double pm = (double)c->max[PREV][row * 8], cm = (double)c->max[CUR][row * 8];
    const double ps = (double)c->sum[PREV][row * 8], cs = (double)c->sum[CUR][row * 8];
    const double m = fmax(pm, cm), a = ps * exp(pm - m), b = cs * exp(cm - m);
    for (int i = 0; i < 8; i++) {
        if ((double)c->max[OUT][row * 8 + i] != m ||
            fabs((double)c->sum[OUT][row * 8 + i] - (a + b)) > 1.001 * half_ulp(FATTN_F32, a + b))
            fail_msg("%s: row %lld: max %g, sum %g", what, (long long)row,
                     (double)c->max[OUT][row * 8 + i], (double)c->sum[OUT][row * 8 + i]);
    }
    for (int64_t d = 0; d < c->d; d++) {
        const double p = get(c, PREV, at + d), q = get(c, CUR, at + d);
        const double exact = p * (a / (a + b)) + q * (b / (a + b));
        const double bound = half_ulp(c->dtype, exact) + 16 * DBL_EPSILON * (fabs(p) + fabs(q));
        if (!(fabs(get(c, OUT, at + d) - exact) <= bound))
            fail_msg("%s: element %lld is %.17g, want %.17g", what, (long long)(at + d),
                     get(c, OUT, at + d), exact);
    }
}

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16, FATTN_F64};

static void test_sbh(void **state)
{
    (void)state;
    static call c;
    static const int sizes[][4] = {
        {4, 2, 2, 16}, {1, 1, 1, 8}, {5, 3, 4, 7}, {9, 1, 3, 1}}; /* S B N D */
    for (int i = 0; i < 4; i++)
        for (int t = 0; t < 4; t++) {
            const int64_t s = sizes[i][0], b = sizes[i][1], n = sizes[i][2], d = sizes[i][3];
            rng r = rng_new((uint64_t)(i * 4 + t));
            bind(&c, dtypes[t], false, s, b, n, d);
            fill(&c, &r);
            check_ok(fattn_ring_attention_update(NULL, &c.args));
            for (int64_t x = 0; x < s; x++)
                for (int64_t y = 0; y < b; y++)
                    for (int64_t h = 0; h < n; h++)
                        check_row(&c, (y * n + h) * s + x, (x * b + y) * n * d + h * d, "SBH");
        }
}

/* The statistics of a sequence of tokens [start, start + length) in memory: [N, length, 8] blocks,
 * or with "TND" [T, N, 8] over all. */
static void check_tnd(const call *c, bool stats_tnd, const char *what)
{
    int64_t start = 0;
    for (int64_t i = 0; i < c->t_list.shape[0]; i++) {
        const int64_t length = c->list[i] - start;
        for (int64_t h = 0; h < c->n; h++)
            for (int64_t x = 0; x < length; x++) {
                const int64_t token = start + x;
                const int64_t row = stats_tnd ? token * c->n + h : start * c->n + h * length + x;
                check_row(c, row, (token * c->n + h) * c->d, what);
            }
        start = c->list[i];
    }
}

static void test_tnd(void **state)
{
    (void)state;
    static call c;
    static const struct {
        int64_t n_list, list[6];
    } lists[] = {{2, {2, 5}},       {1, {7}},
                 {3, {0, 2, 5}},    {6, {0, 0, 3, 3, 4, 9}},
                 {4, {3, 3, 4, 4}}, {5, {1, 2, 3, 4, 5}}};
    static const char *const softmax[] = {"TND", "", "SBH"};
    char what[80];
    for (int i = 0; i < 6; i++)
        for (int l = 0; l < 3; l++)
            for (int t = 0; t < 4; t++) {
                const int64_t tokens = lists[i].list[lists[i].n_list - 1];
                rng r = rng_new((uint64_t)(i * 12 + l * 4 + t));
                snprintf(what, sizeof what, "TND list %d softmax \"%s\" %s", i, softmax[l],
                         fattn_dtype_name(dtypes[t]));
                bind(&c, dtypes[t], true, tokens, 1, 3, 9);
                set_list(&c, lists[i].list, lists[i].n_list);
                c.args.input_softmax_layout = softmax[l];
                fill(&c, &r);
                check_ok(fattn_ring_attention_update(NULL, &c.args));
                check_tnd(&c, l == 0, what);
            }
}

/* The vendor's case: T 5, N 2, D 64, [2, 5] without the leading 0, maxima 0.2..1.3, sums from 0.4.
 */
static void test_vendor_tnd(void **state)
{
    (void)state;
    static call c;
    for (int t = 0; t < 3; t++) {
        rng r = rng_new((uint64_t)t);
        bind(&c, dtypes[t], true, 5, 1, 2, 64);
        set_list(&c, (const int64_t[]){2, 5}, 2);
        c.args.input_softmax_layout = "TND";
        fill(&c, &r);
        for (int64_t i = 0; i < 10; i++)
            for (int which = 0; which < 2; which++)
                set_side(&c, which, i, (float)(0.75 + 0.55 * rng_unit(&r)),
                         (float)(1.4 + rng_unit(&r)));
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        check_tnd(&c, true, "vendor");
    }
}

/* Lists as int32 with a stride, attn with odd strides. */
static void test_strides(void **state)
{
    (void)state;
    static call c, plain;
    int32_t list[] = {0, -1, 2, -1, 5, -1};
    static float wide[MAX_ATTN];
    rng r = rng_new(3);
    bind(&plain, FATTN_F32, true, 5, 1, 3, 4);
    set_list(&plain, (const int64_t[]){2, 5}, 2);
    fill(&plain, &r);
    check_ok(fattn_ring_attention_update(NULL, &plain.args));

    bind(&c, FATTN_F32, true, 5, 1, 3, 4);
    set_list(&c, (const int64_t[]){0, 2, 5}, 3);
    memcpy(c.attn, plain.attn, sizeof c.attn);
    memcpy(c.max, plain.max, sizeof c.max);
    memcpy(c.sum, plain.sum, sizeof c.sum);
    c.t_list.data = list, c.t_list.dtype = FATTN_I32, c.t_list.strides[0] = 2;
    c.t_attn[OUT].data = wide; /* [D, N, T] in memory, two apart */
    c.t_attn[OUT].strides[0] = 2, c.t_attn[OUT].strides[1] = 10, c.t_attn[OUT].strides[2] = 30;
    check_ok(fattn_ring_attention_update(NULL, &c.args));
    for (int64_t t = 0; t < 5; t++)
        for (int64_t h = 0; h < 3; h++)
            for (int64_t d = 0; d < 4; d++)
                assert_true((double)wide[t * 2 + h * 10 + d * 30] ==
                            get(&plain, OUT, (t * 3 + h) * 4 + d));
    assert_memory_equal(c.sum[OUT], plain.sum[OUT], 15 * 8 * sizeof(float));
}

static void test_in_place(void **state)
{
    (void)state;
    static call c;
    for (int which = 0; which < 2; which++) {
        rng r = rng_new(12);
        bind(&c, FATTN_F16, true, 6, 1, 2, 5);
        set_list(&c, (const int64_t[]){2, 6}, 2);
        fill(&c, &r);
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        c.args.attn_out = &c.t_attn[which];
        c.args.softmax_max = &c.t_max[which], c.args.softmax_sum = &c.t_sum[which];
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        assert_memory_equal(c.attn[which], c.attn[OUT], 60 * sizeof(uint16_t));
        assert_memory_equal(c.max[which], c.max[OUT], 12 * 8 * sizeof(float));
        assert_memory_equal(c.sum[which], c.sum[OUT], 12 * 8 * sizeof(float));
    }
}

static void test_same_bits(void **state)
{
    (void)state;
    static call c, first;
    for (int threads = 1; threads <= 3; threads += 2) {
        fattn_context *context = NULL;
        fattn_context_options options;
        fattn_context_options_init(&options);
        options.threads = threads;
        check_ok(fattn_context_create(&context, &options));
        rng r = rng_new(21);
        bind(&c, FATTN_F32, false, 40, 2, 3, 11);
        fill(&c, &r);
        if (threads > 1) fesetround(FE_DOWNWARD);
        const fattn_status status = fattn_ring_attention_update(context, &c.args);
        fesetround(FE_TONEAREST);
        check_ok(status);
        if (threads == 1) first = c;
        assert_memory_equal(c.attn[OUT], first.attn[OUT], sizeof c.attn[OUT]);
        assert_memory_equal(c.sum[OUT], first.sum[OUT], sizeof c.sum[OUT]);
        fattn_context_destroy(context);
    }
}

static void test_empty(void **state)
{
    (void)state;
    static call c;
    const int64_t sizes[][4] = {{0, 2, 2, 4}, {3, 0, 2, 4}, {3, 2, 2, 0}};
    for (int i = 0; i < 3; i++) {
        bind(&c, FATTN_F32, false, sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        check_ok(fattn_ring_attention_update(NULL, &c.args));
    }
    bind(&c, FATTN_F32, true, 0, 1, 2, 4);
    set_list(&c, (const int64_t[]){0, 0}, 2);
    check_ok(fattn_ring_attention_update(NULL, &c.args));
}

static call *broken;
static void expect(fattn_status status, const char *word)
{
    static call before;
    before = *broken;
    const fattn_status got = fattn_ring_attention_update(NULL, &broken->args);
    if (got != status || !strstr(fattn_error_message(), word))
        fail_msg("wanted %s with \"%s\", got %s: %s", fattn_status_name(status), word,
                 fattn_status_name(got), fattn_error_message());
    assert_memory_equal(before.attn, broken->attn, sizeof before.attn);
    assert_memory_equal(before.max, broken->max, sizeof before.max);
    assert_memory_equal(before.sum, broken->sum, sizeof before.sum);
}

static void fresh(bool tnd)
{
    rng r = rng_new(1);
    bind(broken, FATTN_F16, tnd, 5, tnd ? 1 : 2, 2, 8);
    if (tnd) set_list(broken, (const int64_t[]){2, 5}, 2);
    fill(broken, &r);
}

static void test_errors(void **state)
{
    (void)state;
    static call c;
    broken = &c;
    assert_int_equal(fattn_ring_attention_update(NULL, NULL), FATTN_E_ARG);
    static const char *const layouts[] = {"sbh", "BSH", "", "TNDX"};
    for (int i = 0; i < 4; i++)
        fresh(false), c.args.input_layout = layouts[i], expect(FATTN_E_ARG, "input_layout");
    fresh(false), c.args.input_layout = NULL, expect(FATTN_E_ARG, "input_layout");
    fresh(true), c.args.input_softmax_layout = "BNSD", expect(FATTN_E_ARG, "input_softmax_layout");
    fresh(false), c.args.size = 0, expect(FATTN_E_ARG, "args_init");
    fresh(false), c.args.cur_attn_out = NULL, expect(FATTN_E_ARG, "cur_attn_out");
    fresh(false), c.args.attn_out = NULL, expect(FATTN_E_ARG, "attn_out");
    fresh(false), c.t_attn[CUR].dtype = FATTN_BF16, expect(FATTN_E_DTYPE, "cur_attn_out");
    fresh(false), c.t_attn[PREV].dtype = FATTN_I64, c.t_attn[PREV].shape[0] = 0,
                  expect(FATTN_E_DTYPE, "prev_attn_out");
    fresh(false), c.t_max[PREV].dtype = FATTN_F16, expect(FATTN_E_DTYPE, "prev_softmax_max");
    fresh(false), c.t_sum[OUT].dtype = FATTN_F16, expect(FATTN_E_DTYPE, "softmax_sum");
    fresh(false), c.t_max[CUR].shape[3] = 4, expect(FATTN_E_SHAPE, "cur_softmax_max");
    fresh(false), c.t_attn[OUT].shape[0] = 4, expect(FATTN_E_SHAPE, "attn_out");
    fresh(false), c.t_attn[OUT].strides[2] = 0, expect(FATTN_E_SHAPE, "attn_out");
    fresh(false), c.t_attn[PREV].rank = 2, expect(FATTN_E_SHAPE, "prev_attn_out");
    fresh(false), c.t_max[PREV].rank = 3, expect(FATTN_E_SHAPE, "prev_softmax_max");
    fresh(false), c.t_max[PREV].shape[1] = 3,
                  expect(FATTN_E_SHAPE, "prev_attn_out"); /* H 16, N 3 */
    fresh(true), c.args.actual_seq_qlen = NULL, expect(FATTN_E_ARG, "actual_seq_qlen");
    fresh(true), c.t_list.dtype = FATTN_F32, expect(FATTN_E_DTYPE, "actual_seq_qlen");
    fresh(true), c.t_list.rank = 2, expect(FATTN_E_SHAPE, "actual_seq_qlen");
    fresh(true), c.t_list.shape[0] = 0, expect(FATTN_E_SHAPE, "actual_seq_qlen");
    static const int64_t lists[][2] = {{2, 4}, {2, 6},         {5, 2},        {-1, 5},
                                       {6, 5}, {INT64_MIN, 5}, {INT64_MAX, 5}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        fresh(true), set_list(&c, lists[i], 2), expect(FATTN_E_ARG, "actual_seq_qlen");
}

/* Statistics that nobody wants change nothing about the rest. */
static void test_outputs_are_optional(void **state)
{
    (void)state;
    static call all, c;
    broken = &all, fresh(true);
    check_ok(fattn_ring_attention_update(NULL, &all.args));
    for (int left_out = 1; left_out < 4; left_out++) {
        broken = &c, fresh(true);
        memset(c.max[OUT], 0x5A, sizeof c.max[OUT]), memset(c.sum[OUT], 0x5A, sizeof c.sum[OUT]);
        if (left_out & 1) c.args.softmax_max = NULL;
        if (left_out & 2) c.args.softmax_sum = NULL;
        check_ok(fattn_ring_attention_update(NULL, &c.args));
        const size_t n = 5 * 2 * 8;
        assert_memory_equal(c.attn[OUT], all.attn[OUT], n * 2);
        for (size_t i = 0; i < n * sizeof(float); i++) {
            const unsigned char max = ((unsigned char *)c.max[OUT])[i];
            const unsigned char sum = ((unsigned char *)c.sum[OUT])[i];
            assert_int_equal(max, left_out & 1 ? 0x5A : ((unsigned char *)all.max[OUT])[i]);
            assert_int_equal(sum, left_out & 2 ? 0x5A : ((unsigned char *)all.sum[OUT])[i]);
        }
    }
}

static void test_shapes_and_plan(void **state)
{
    (void)state;
    static call c;
    fattn_tensor outputs[3];
    fattn_plan *plan = NULL;
    size_t bytes = 1;
    broken = &c;
    fresh(true);
    c.args.attn_out = c.args.softmax_max = c.args.softmax_sum = NULL;
    c.t_list.data = NULL;
    check_ok(fattn_ring_attention_update_shapes(NULL, &c.args, outputs));
    assert_int_equal(outputs[0].dtype, FATTN_F16);
    assert_memory_equal(outputs[0].shape, c.t_attn[OUT].shape, 3 * sizeof(int64_t));
    assert_int_equal(outputs[2].dtype, FATTN_F32);
    assert_memory_equal(outputs[2].strides, c.t_sum[OUT].strides, 3 * sizeof(int64_t));
    fresh(true);
    check_ok(fattn_ring_attention_update_workspace(NULL, &c.args, &bytes));
    assert_int_equal(bytes, 0);
    check_ok(fattn_ring_attention_update_plan(NULL, &c.args, &plan));
    check_ok(fattn_plan_run(plan, &c.args, NULL, 0));
    check_tnd(&c, false, "plan");
    fattn_plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_every_kind_of_side),
        cmocka_unit_test(test_empty_beside_invalid),
        cmocka_unit_test(test_weightless_nan),
        cmocka_unit_test(test_sbh),
        cmocka_unit_test(test_tnd),
        cmocka_unit_test(test_vendor_tnd),
        cmocka_unit_test(test_strides),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_outputs_are_optional),
        cmocka_unit_test(test_shapes_and_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
