/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_dropout.c — dropout in the training operator (spec fusion-attention 8, 11.1 F5-F7, F11, F13): the
 * numbers that come back, the same cells whether drawn or read from a mask, packed sequences, seeds of
 * the generator, and float64 agreement in every dtype. */
#include "api/harness.h"

typedef struct small {
    fattn_fusion_attention_args a;
    fattn_tensor *out;
    int64_t seed, offset, numels;
} small;

static small *bnsd(fattn_dtype dtype, int n, int sq, int sk, int d)
{
    small *s = harness_alloc(sizeof *s);
    fattn_fusion_attention_args_init(&s->a);
    s->a.query = tensor_new(dtype, 1, 4, 2, n, sq, d);
    s->a.key = tensor_new(dtype, 2, 4, 2, n, sk, d);
    s->a.value = tensor_new(dtype, 3, 4, 2, n, sk, d);
    s->a.input_layout = "BNSD";
    s->a.keep_prob = 0.9;
    s->a.attention_out = s->out = tensor_like(s->a.query);
    s->a.seed_out = &s->seed, s->a.offset_out = &s->offset, s->a.numels = &s->numels;
    return s;
}

static void call(small *s) { EXPECT_OK(fattn_fusion_attention(plain_context(), &s->a), "call"); }

/* F5: after manual_seed(2) the first call has (2, 0), the second (2, 12). */
static void numbers_come_back(void **state)
{
    (void)state;
    small *s = harness_alloc(sizeof *s);
    fattn_fusion_attention_args_init(&s->a);
    s->a.query = tensor_new(FATTN_F16, 1, 3, 1, 256, 128);
    s->a.key = tensor_new(FATTN_F16, 2, 3, 1, 256, 128);
    s->a.value = tensor_new(FATTN_F16, 3, 3, 1, 256, 128);
    s->a.input_layout = "BSH", s->a.head_num = 32, s->a.keep_prob = 0.9;
    s->a.attention_out = s->out = tensor_like(s->a.query);
    s->a.seed_out = &s->seed, s->a.offset_out = &s->offset, s->a.numels = &s->numels;
    fattn_generator_seed(plain_context(), 2);
    for (int i = 0; i < 3; i++) {
        call(s);
        assert_true(s->seed == 2 && s->offset == 12 * i && s->numels == 32 * 256 * 256);
    }
    /* a refused call draws nothing */
    s->a.sparse_mode = 99;
    assert_int_not_equal(fattn_fusion_attention(plain_context(), &s->a), FATTN_OK);
    s->a.sparse_mode = 0;
    call(s);
    assert_int_equal(s->offset, 36);
    s->a.seed = 100, s->a.offset = 200; /* F11 */
    call(s);
    assert_true(s->seed == 100 && s->offset == 200);
    s->a.keep_prob = 1, s->a.seed = s->a.offset = 0;
    call(s);
    assert_true(s->seed == 0 && s->offset == 0 && s->numels == 32 * 256 * 256);
    harness_reset();
}

static fattn_tensor *gen_mask(const char *dtype, double p, int64_t seed, int64_t offset,
                              int64_t cells)
{
    fattn_dropout_gen_mask_args a;
    fattn_tensor shape;
    fattn_dropout_gen_mask_args_init(&a);
    a.sizes = (fattn_int_array){&cells, 1};
    a.p = p, a.seed = seed, a.offset = offset, a.dtype = dtype;
    EXPECT_OK(fattn_dropout_gen_mask_shapes(plain_context(), &a, &shape), "shapes");
    fattn_tensor *mask = tensor_like(&shape);
    a.mask = mask;
    EXPECT_OK(fattn_dropout_gen_mask(plain_context(), &a), "gen_mask");
    return mask;
}

/* F6: drawn inside the kernels or read from a mask of the same seed and offset: the same bits, in every
 * dtype, for lengths that are and are not multiples of four, decode and tile family. */
static void mask_or_seed(void **state)
{
    static const struct {
        fattn_dtype dtype;
        const char *name;
    } dtypes[] = {{FATTN_F32, "f32"}, {FATTN_F16, "f16"}, {FATTN_BF16, "bf16"}};
    static const int shapes[][2] = {{70, 64}, {33, 131}, {1, 90}, {2, 700}, {5, 7}};
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < 5; i++) {
            small *s = bnsd(dtypes[t].dtype, 3, shapes[i][0], shapes[i][1], 16);
            s->a.seed = 77, s->a.offset = 12 * i, s->a.keep_prob = 0.8;
            call(s);
            fattn_tensor *drawn = s->out;
            s->a.attention_out = s->out = tensor_like(drawn);
            s->a.dropout_mask =
                gen_mask(dtypes[t].name, (double)(1.0f - (float)0.8), 77, 12 * i, s->numels);
            call(s);
            if (memcmp(drawn->data, s->out->data, tensor_bytes(drawn)) != 0)
                fail_msg("%s, %d x %d", dtypes[t].name, shapes[i][0], shapes[i][1]);
            fattn_verify_report report = {.size = sizeof report};
            const fattn_operator *op = fattn_operator_find("fusion_attention");
            EXPECT_OK(fattn_verify(plain_context(), op, &s->a, &report), "verify");
            assert_int_equal(report.outside, 0);
            s->a.dropout_mask = NULL; /* and the definition sees a difference */
            s->a.seed = 78;
            EXPECT_OK(fattn_verify(plain_context(), op, &s->a, &report), "verify");
            assert_int_not_equal(report.outside, 0);
            harness_reset();
        }
}

/* out(i) = sum of kept p v / keep_prob, written out; the statistics do not know of dropout. */
static void formula(void **state)
{
    enum { N = 2, SQ = 5, SK = 6, D = 4 };
    (void)state;
    small *s = bnsd(FATTN_F32, N, SQ, SK, D);
    fattn_tensor *max = tensor_new(FATTN_F32, 1, 4, 2, N, SQ, 8), *sum = tensor_like(max);
    s->a.softmax_max = max, s->a.softmax_sum = sum;
    s->a.keep_prob = 0.5, s->a.seed = 5;
    call(s);
    const fattn_tensor *bits = gen_mask("f32", 0.5, 5, 0, s->numels);
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < SQ; i++) {
                double p[SK], top = -1e9, total = 0;
                for (int j = 0; j < SK; j++) {
                    p[j] = 0;
                    for (int c = 0; c < D; c++)
                        p[j] += get4(s->a.query, b, h, i, c) * get4(s->a.key, b, h, j, c);
                    top = fmax(top, p[j]);
                }
                for (int j = 0; j < SK; j++) total += p[j] = exp(p[j] - top);
                assert_true(fabs(get4(sum, b, h, i, 3) - total) < 1e-5);
                for (int c = 0; c < D; c++) {
                    double out = 0;
                    for (int j = 0; j < SK; j++) {
                        const int e = ((b * N + h) * SQ + i) * SK + j;
                        if (((const uint8_t *)bits->data)[e >> 3] >> (e & 7) & 1)
                            out += p[j] / total / 0.5 * get4(s->a.value, b, h, j, c);
                    }
                    assert_true(fabs(out - get4(s->out, b, h, i, c)) < 1e-5);
                }
            }
    harness_reset();
}

/* F7 and 11.4: packed sequences count their own cells, negative differences nothing. */
static void packed(void **state)
{
    static const int64_t q[] = {2, 5, 0}, kv[] = {3, 4, 0};
    (void)state;
    small *s = harness_alloc(sizeof *s);
    fattn_fusion_attention_args_init(&s->a);
    s->a.query = tensor_new(FATTN_F32, 1, 3, 5, 3, 8);
    s->a.key = tensor_new(FATTN_F32, 2, 3, 4, 3, 8);
    s->a.value = tensor_new(FATTN_F32, 3, 3, 4, 3, 8);
    s->a.input_layout = "TND", s->a.keep_prob = 0.5, s->a.seed = 3;
    s->a.actual_seq_qlen = (fattn_int_array){q, 3},
    s->a.actual_seq_kvlen = (fattn_int_array){kv, 3};
    s->a.attention_out = s->out = tensor_like(s->a.query);
    s->a.numels = &s->numels;
    call(s);
    assert_int_equal(s->numels, 27);
    fattn_tensor *drawn = s->out;
    s->a.attention_out = s->out = tensor_like(drawn);
    fattn_tensor *mask = gen_mask("f32", 0.5, 3, 0, 27);
    assert_int_equal(tensor_count(mask), 16);
    s->a.dropout_mask = mask;
    call(s);
    assert_memory_equal(drawn->data, s->out->data, tensor_bytes(drawn));
    /* e = 25 is head 2, row 1, key 0 of the second sequence, which has one key: byte 3, bit 1 */
    ((uint8_t *)mask->data)[3] ^= 2;
    call(s);
    for (int t = 0; t < 5; t++)
        for (int h = 0; h < 3; h++)
            assert_int_equal(get3(drawn, t, h, 0) != get3(s->out, t, h, 0), t == 3 && h == 2);
    harness_reset();
}

/* F13 */
static void generated_masks(void **state)
{
    (void)state;
    for (int64_t cells = 0; cells < 300; cells += 7) {
        const fattn_tensor *all = gen_mask("f32", 0, 9, 9, cells),
                           *none = gen_mask("f32", 1, 9, 9, cells);
        assert_int_equal(tensor_count(all), (cells + 127) / 128 * 16);
        for (int64_t i = 0; i < tensor_count(all); i++)
            assert_true(((uint8_t *)all->data)[i] == 255 && ((uint8_t *)none->data)[i] == 0);
    }
    static const uint8_t first[] = {255, 251, 251, 127, 255, 255, 255, 147};
    const fattn_tensor *mask = gen_mask("f32", (double)(1.0f - 0.9f), 2, 0, 1 << 20);
    assert_memory_equal(mask->data, first, sizeof first);
    int64_t kept = 0;
    for (int64_t i = 0; i < tensor_count(mask); i++)
        kept += __builtin_popcount(((uint8_t *)mask->data)[i]);
    assert_true(llabs(kept - 943718) < 1300); /* 4 standard deviations of 2^20 draws at 0.9 */
    harness_reset();
}

/* Another number of threads, another layout, and a plan, which draws at each run. */
static void same_cells(void **state)
{
    (void)state;
    small *s = bnsd(FATTN_F32, 4, 150, 200, 16);
    s->a.seed = 4;
    call(s);
    fattn_context_options options;
    fattn_context *alone = NULL;
    fattn_context_options_init(&options);
    options.threads = 1;
    assert_int_equal(fattn_context_create(&alone, &options), FATTN_OK);
    fattn_tensor *first = s->out;
    s->a.attention_out = s->out = tensor_like(first);
    EXPECT_OK(fattn_fusion_attention(alone, &s->a), "one thread");
    assert_memory_equal(first->data, s->out->data, tensor_bytes(first));
    s->a.query = tensor_spread(s->a.query), s->a.value = tensor_spread(s->a.value);
    call(s);
    assert_memory_equal(first->data, s->out->data, tensor_bytes(first));

    fattn_plan *plan = NULL;
    s->a.seed = 0;
    fattn_generator_seed(alone, 4);
    EXPECT_OK(fattn_fusion_attention_plan(alone, &s->a, &plan), "plan");
    EXPECT_OK(fattn_plan_run(plan, &s->a, NULL, 0), "run");
    assert_memory_equal(first->data, s->out->data, tensor_bytes(first));
    EXPECT_OK(fattn_plan_run(plan, &s->a, NULL, 0), "run");
    assert_int_equal(s->offset, 12);
    assert_memory_not_equal(first->data, s->out->data, tensor_bytes(first));
    s->a.seed = 4; /* numbers of a run, not of the plan */
    EXPECT_OK(fattn_plan_run(plan, &s->a, NULL, 0), "run");
    assert_memory_equal(first->data, s->out->data, tensor_bytes(first));
    fattn_plan_destroy(plan);
    fattn_context_destroy(alone);
    harness_reset();
}

/* A dropped cell contributes nothing, even Inf; a kept one does. */
static void dropped_infinity(void **state)
{
    (void)state;
    for (int sq = 1; sq <= 40; sq += 39) {
        small *s = bnsd(FATTN_F32, 1, sq, 20, 4);
        s->a.keep_prob = 0.5, s->a.seed = 3;
        put4(s->a.value, 0, 0, 7, 2, (double)INFINITY);
        call(s);
        const fattn_tensor *bits = gen_mask("f32", 0.5, 3, 0, s->numels);
        for (int i = 0; i < sq; i++) {
            const int e = i * 20 + 7, kept = ((uint8_t *)bits->data)[e >> 3] >> (e & 7) & 1;
            assert_int_equal(isfinite(get4(s->out, 0, 0, i, 2)) != 0, !kept);
            assert_true(isfinite(get4(s->out, 0, 0, i, 1)));
        }
        harness_reset();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back), cmocka_unit_test(mask_or_seed),
        cmocka_unit_test(formula),           cmocka_unit_test(packed),
        cmocka_unit_test(generated_masks),   cmocka_unit_test(same_cells),
        cmocka_unit_test(dropped_infinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
