/* SPDX-License-Identifier: Apache-2.0 */
/* compute_f16.c — FATTN_COMPUTE_F16 through the public interface, on every instruction set that has it: no less
 * exact than the same call in bf16 storage, whatever overflows fp16 is computed again, and calls that are not
 * computed in it have the bits of FATTN_COMPUTE_F32 (docs/accuracy.md, fp16 arithmetic). */
#include "harness.h"

#include "base/cpuinfo.h"

enum { HEADS = 2, MOST_D = 128, MOST_ROWS = 320 };

/* Real numbers; the calls store them in 16 bits. [head][row][d] */
typedef struct numbers {
    int n_kv_heads, q_len, kv_len, d;
    bool causal;
    double scale;
    double q[HEADS * MOST_ROWS * MOST_D], k[HEADS * MOST_ROWS * MOST_D],
        v[HEADS * MOST_ROWS * MOST_D], out[HEADS * MOST_ROWS * MOST_D];
} numbers;

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(int64_t)*seed * 0x1p-63;
}

/* About normal, with this deviation around this mean. */
static void draw(double *x, int n, double deviation, double mean, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        x[i] = mean + deviation * (uniform(&seed) + uniform(&seed) + uniform(&seed));
}

static void answer_row(numbers *s, int head, int i)
{
    const int kv_head = head * s->n_kv_heads / HEADS;
    const int seen = s->causal ? s->kv_len - s->q_len + i + 1 : s->kv_len;
    double p[MOST_ROWS], max = -INFINITY, sum = 0;
    for (int j = 0; j < seen; j++) {
        p[j] = 0;
        for (int c = 0; c < s->d; c++)
            p[j] += s->scale * s->q[(head * s->q_len + i) * s->d + c] *
                    s->k[(kv_head * s->kv_len + j) * s->d + c];
        max = fmax(max, p[j]);
    }
    double *out = s->out + (head * s->q_len + i) * s->d;
    for (int c = 0; c < s->d; c++) out[c] = 0;
    for (int j = 0; j < seen; j++) {
        p[j] = exp(p[j] - max), sum += p[j];
        for (int c = 0; c < s->d; c++) out[c] += p[j] * s->v[(kv_head * s->kv_len + j) * s->d + c];
    }
    for (int c = 0; c < s->d; c++) out[c] /= sum;
}

static void answer(numbers *s)
{
    for (int head = 0; head < HEADS; head++)
        for (int i = 0; i < s->q_len; i++) answer_row(s, head, i);
}

static fattn_tensor *stored(fattn_dtype dtype, int heads, int rows, int d, const double *x)
{
    fattn_tensor *t = tensor_new(dtype, 1, 4, 1, heads, rows, d);
    for (int h = 0; h < heads; h++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < d; c++) put4(t, 0, h, r, c, x[(h * rows + r) * d + c]);
    return t;
}

static fattn_context *context_of(int isa, fattn_compute compute)
{
    fattn_context_options options;
    fattn_context *context = NULL;
    fattn_context_options_init(&options);
    options.isa = isa_name((fattn_isa)isa);
    options.threads = 2;
    options.compute = compute;
    return fattn_context_create(&context, &options) == FATTN_OK ? context : NULL;
}

/* attention_out of the numbers in this storage. */
static fattn_tensor *attend(fattn_context *context, const numbers *s, fattn_dtype dtype,
                            char *compute)
{
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = stored(dtype, HEADS, s->q_len, s->d, s->q);
    a.key = stored(dtype, s->n_kv_heads, s->kv_len, s->d, s->k);
    a.value = stored(dtype, s->n_kv_heads, s->kv_len, s->d, s->v);
    a.num_heads = HEADS, a.num_key_value_heads = s->n_kv_heads;
    a.input_layout = "BNSD", a.scale = s->scale;
    if (s->causal) {
        fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 2, 2048, 2048);
        for (int i = 0; i < 2048; i++)
            for (int j = i + 1; j < 2048; j++) put2(mask, i, j, 1);
        a.atten_mask = mask, a.sparse_mode = 3;
    }
    fattn_tensor *out = tensor_new(dtype, 0, 4, 1, HEADS, s->q_len, s->d);
    a.attention_out = out;
    EXPECT_OK(fattn_fused_infer_attention_score(context, &a), "%s", "attend");
    fattn_explanation e = {.size = sizeof e};
    EXPECT_OK(fattn_explain(context, fattn_operator_find("fused_infer_attention_score"), &a, &e),
              "%s", "explain");
    if (compute) snprintf(compute, 4, "%s", e.compute);
    return out;
}

/* Root of the mean square error over that of the answer. */
static double rms(const numbers *s, const fattn_tensor *out)
{
    double error = 0, size = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < s->q_len; i++)
            for (int c = 0; c < s->d; c++) {
                const double want = s->out[(h * s->q_len + i) * s->d + c];
                const double off = get4(out, 0, h, i, c) - want;
                error += off * off, size += want * want;
            }
    return sqrt(error / size);
}

static bool same_bytes(const fattn_tensor *a, const fattn_tensor *b)
{
    return memcmp(a->data, b->data, tensor_bytes(a)) == 0;
}

static void each_set(void (*check)(fattn_context *half, fattn_context *plain))
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!isa_has_half((fattn_isa)isa)) continue;
        fattn_context *half = context_of(isa, FATTN_COMPUTE_F16);
        fattn_context *plain = context_of(isa, FATTN_COMPUTE_F32);
        assert_true(half && plain);
        check(half, plain);
        harness_reset();
        fattn_context_destroy(half);
        fattn_context_destroy(plain);
    }
}

/* Ours must not be worse than bf16 storage, nor be fp32. */
static void check_error(fattn_context *half, fattn_context *plain, numbers *s, const char *what,
                        bool sometimes_fp32)
{
    char compute[4];
    answer(s);
    const fattn_tensor *out = attend(half, s, FATTN_F16, compute);
    const fattn_tensor *bf16 = attend(plain, s, FATTN_BF16, NULL);
    const fattn_tensor *f16 = attend(plain, s, FATTN_F16, NULL);
    const double ours = rms(s, out), theirs = rms(s, bf16);
    printf("%s: f16 arithmetic %.2e, bf16 storage %.2e, f16 storage %.2e\n", what, ours, theirs,
           rms(s, f16));
    assert_string_equal(compute, "f16");
    if (!(ours <= theirs)) fail_msg("%s: %.3g, bf16 %.3g", what, ours, theirs);
    if (!sometimes_fp32) assert_false(same_bytes(out, f16));
    harness_reset();
}

static void accuracy(fattn_context *half, fattn_context *plain)
{
    static const struct {
        int n_kv_heads, q_len, kv_len, d;
        bool causal;
        double deviation, mean; /* of q and k; of v */
    } forms[] = {{2, 70, 300, 64, false, 1, 0},    {1, 100, 200, 128, true, 1, 0},
                 {2, 33, 128, 40, false, 2, 0},    {1, 64, 64, 72, true, 2, 0},
                 {2, 20, 310, 128, false, 1, 3},   {2, 64, 256, 16, false, 0.01, 0},
                 {2, 50, 300, 128, false, 1.5, -1}};
    static numbers s;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        s = (numbers){.n_kv_heads = forms[i].n_kv_heads,
                      .q_len = forms[i].q_len,
                      .kv_len = forms[i].kv_len,
                      .d = forms[i].d,
                      .causal = forms[i].causal,
                      .scale = 1 / sqrt(forms[i].d)};
        draw(s.q, HEADS * s.q_len * s.d, forms[i].deviation, 0, 3 * i + 1);
        draw(s.k, s.n_kv_heads * s.kv_len * s.d, forms[i].deviation, 0, 3 * i + 2);
        draw(s.v, s.n_kv_heads * s.kv_len * s.d, 1, forms[i].mean, 3 * i + 3);
        char what[32];
        snprintf(what, sizeof what, "form %zu", i);
        check_error(half, plain, &s, what, false);
    }
}

static void test_accuracy(void **state)
{
    (void)state;
    each_set(accuracy);
}

/* Scores of 5 million before the scale, and values whose weighted sum passes 65504. */
static void overflow(fattn_context *half, fattn_context *plain)
{
    static numbers s;
    s = (numbers){.n_kv_heads = 2, .q_len = 40, .kv_len = 150, .d = 64, .scale = 1e-6};
    draw(s.q, HEADS * s.q_len * s.d, 20, 300, 1);
    draw(s.k, HEADS * s.kv_len * s.d, 20, 300, 2);
    draw(s.v, HEADS * s.kv_len * s.d, 10000, 30000, 3);
    check_error(half, plain, &s, "overflow", true);
}

/* One key has almost all of the weight and a value of 0; the others share what is left, 2^-14 each, and their
 * values are small, too. */
static void underflow(fattn_context *half, fattn_context *plain)
{
    static numbers s;
    s = (numbers){.n_kv_heads = 1, .q_len = 20, .kv_len = 320, .d = 32, .scale = 1};
    draw(s.k, s.kv_len * s.d, 0.01, 0, 4);
    draw(s.v, s.kv_len * s.d, 1e-3, 2e-3, 5);
    draw(s.q, HEADS * s.q_len * s.d, 0.01, 0, 6);
    for (int r = 0; r < HEADS * s.q_len; r++) s.q[r * s.d] = 1;
    for (int c = 0; c < s.d; c++) s.k[c] = 0, s.v[c] = 0;
    s.k[0] = 14 * log(2);
    check_error(half, plain, &s, "underflow", false);
}

static void test_overflow(void **state)
{
    (void)state;
    each_set(overflow);
    each_set(underflow);
}

/* Other storage, and few query rows. */
static void others(fattn_context *half, fattn_context *plain)
{
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_BF16, FATTN_F16};
    static numbers s;
    s = (numbers){.n_kv_heads = 1, .q_len = 30, .kv_len = 100, .d = 32, .scale = 0.2};
    draw(s.q, HEADS * s.q_len * s.d, 1, 0, 1);
    draw(s.k, s.kv_len * s.d, 1, 0, 2);
    draw(s.v, s.kv_len * s.d, 1, 0, 3);
    for (int i = 0; i < 3; i++) {
        char compute[4];
        if (dtypes[i] == FATTN_F16) s.q_len = 4; /* two heads: eight rows */
        const fattn_tensor *a = attend(half, &s, dtypes[i], compute);
        assert_string_equal(compute, "f32");
        assert_true(same_bytes(a, attend(plain, &s, dtypes[i], NULL)));
    }
}

static void test_others(void **state)
{
    (void)state;
    each_set(others);
}

static void test_verify(void **state)
{
    (void)state;
    fattn_context *half = context_of(ISA_SCALAR, FATTN_COMPUTE_F16);
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    fattn_verify_report report = {.size = sizeof report};
    expect_refused(
        fattn_verify(half, fattn_operator_find("fused_infer_attention_score"), &a, &report),
        FATTN_E_UNSUPPORTED, "verify", "fp16 arithmetic");
    fattn_context_destroy(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
