/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c — the suites' names and shapes, as they are promised to whoever compares two runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bench_case.h"
#include "problem_line.h"

static const bench_row *find(const bench_row *rows, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    print_error("no row %s\n", name);
    fail();
    return NULL;
}

static void test_guide(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("guide", rows), 3);
    assert_string_equal(rows[0].name, "8x64x512-b4");
    assert_string_equal(rows[1].name, "16x64x1024-b4");
    assert_string_equal(rows[2].name, "32x128x2048-b4");
    assert_int_equal(rows[2].n_heads, 32);
    assert_int_equal(rows[2].head_dim, 128);
    assert_int_equal(rows[2].q_len, 2048);
    assert_int_equal(rows[2].batch, 4);
    assert_false(rows[2].causal);
}

static void test_prefill(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    const int n = bench_rows("prefill", rows);
    assert_int_equal(n, 21);
    assert_int_equal(find(rows, n, "16x64x256-b1")->head_dim, 64);
    assert_true(find(rows, n, "16x128x4096-b1-causal")->causal);
    const bench_row *gqa = find(rows, n, "32/8x128x4096-b1-causal");
    assert_int_equal(gqa->n_heads, 32);
    assert_int_equal(gqa->n_kv_heads, 8);
}

/* Head dims beside 64 and 128; the fourth has narrower values. */
static void test_dims(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int head, value;
    } dims[] = {{"16x72x2048-b1", 72, 72},    {"16x80x2048-b1", 80, 80},
                {"16x96x2048-b1", 96, 96},    {"16x192/128x2048-b1", 192, 128},
                {"16x256x2048-b1", 256, 256}, {"16x512x2048-b1", 512, 512}};
    bench_row rows[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("dims", rows), 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(rows[i].name, dims[i].name);
        assert_string_equal(rows[i].op, "fusion_attention");
        assert_int_equal(rows[i].head_dim, dims[i].head);
        assert_int_equal(bench_row_value_dim(&rows[i]), dims[i].value);
        assert_int_equal(rows[i].n_heads, 16);
        assert_int_equal(rows[i].q_len, 2048);
        assert_false(rows[i].causal);
        assert_true(bench_row_flops(&rows[i]) == 2.0 * (dims[i].head + dims[i].value) * 16 * 2048 * 2048);
        const bench_sizes sizes = bench_case_sizes(&rows[i], FATTN_F16);
        assert_int_equal(sizes.q, 2 * 16 * 2048 * dims[i].head);
        assert_int_equal(sizes.k, sizes.q);
        assert_int_equal(sizes.v, 2 * 16 * 2048 * dims[i].value);
        assert_int_equal(sizes.out, sizes.v);
    }
}

/* Doubling lengths; as many visible pairs as a count finds, and from 2k tokens on the band's grow with
 * the length alone. */
static void test_scaling(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    const int n = bench_rows("scaling", rows);
    assert_int_equal(n, 6 + 9 + 1);
    for (int i = 0; i < n; i++) {
        char name[BENCH_NAME];
        const int causal = i < 6, length = i < 15 ? 1024 << (causal ? i : i - 6) : 1 << 20;
        snprintf(name, sizeof name, "8x64x%d-b1-%s", length, causal ? "causal" : "band1024");
        assert_string_equal(rows[i].name, name);
        assert_string_equal(rows[i].op, "fusion_attention");
        assert_int_equal(rows[i].n_heads, 8);
        assert_int_equal(rows[i].head_dim, 64);
        assert_int_equal(rows[i].q_len, length);
        assert_int_equal(rows[i].kv_len, length);
        assert_true(rows[i].causal);
        assert_int_equal(rows[i].band, causal ? 0 : 1024);
        assert_int_equal(rows[i].once, i == 15);
        double pairs = 0;
        for (int q = 0; q < length; q++) pairs += causal || q < 1024 ? q + 1 : 1025;
        assert_true(bench_row_pairs(&rows[i]) == 8 * pairs);
    }
}

static void test_decode(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    const int n = bench_rows("decode", rows);
    assert_int_equal(n, 35);
    assert_int_equal(find(rows, n, "decode-32/8x128-kv4096-b1")->block_size, 0);
    const bench_row *paged = find(rows, n, "decode-32/32x128-kv32768-b8-p16");
    assert_int_equal(paged->block_size, 16);
    assert_int_equal(paged->kv_len, 32768);
    assert_int_equal(paged->batch, 8);
    assert_int_equal(find(rows, n, "decode-32/8x128-kv32768-b1-t8")->q_len, 8);
    assert_int_equal(find(rows, n, "decode-32/32x128-kv32768-b1-t8")->n_kv_heads, 32);
    assert_non_null(strstr(find(rows, n, "decode-mla128")->lines[0], "key_rope=T[8,1,4096,64]"));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) assert_string_not_equal(rows[i].name, rows[j].name);
}

/* The guide's and one with shared heads; five products where the forward has two. */
static void test_backward(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS], forward[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("backward", rows), 4);
    bench_rows("guide", forward);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(rows[i].name, forward[i].name);
        assert_true(bench_row_flops(&rows[i]) == 2.5 * bench_row_flops(&forward[i]));
        assert_true(bench_row_flops(&forward[i]) == 4.0 * (double)forward[i].head_dim * bench_row_pairs(&forward[i]));
    }
    assert_string_equal(rows[3].name, "32/8x128x4096-b1-causal");
    for (int i = 0; i < 4; i++) assert_string_equal(rows[i].op, "fusion_attention_grad");
}

/* Every line of a row is a legal call; the row and its plain form ask for equally many results. */
static void check_lines(const bench_row *row)
{
    int64_t results[2] = {0, 0};
    assert_non_null(row->lines[0]);
    for (int i = 0; i < 3 && row->lines[i]; i++) {
        char text[16384], *to = text;
        for (const char *at = row->lines[i]; *at; at++)
            to += sprintf(to, at[0] == 'T' && at[1] == '[' ? "f16" : "%c", *at);
        line_error error = {.text = ""};
        problem_line *line = line_parse(text, &error);
        if (!line) fail_msg("%s: %s", row->name, error.text);
        if (line_shapes(line, NULL) != FATTN_OK)
            fail_msg("%s: %s", row->name, fattn_error_message());
        const fattn_tensor *out = line_tensor_of(line, "attention_out", 0);
        int64_t count = 1;
        for (int a = 0; a < out->rank; a++) count *= out->shape[a];
        results[i > 0] += count;
        line_destroy(line);
    }
    if (row->lines[1] && results[0] != results[1])
        fail_msg("%s: %lld results, its plain form has %lld", row->name, (long long)results[0],
                 (long long)results[1]);
}

/* Whether query i sees key j of 2048, by the definitions of the sparse modes. */
static bool in_band(int i, int j) { return j <= i && i - j <= 256; }
static bool in_prefix(int i, int j) { return j <= i || j < 512; }
static bool in_own_sequence(int i, int j)
{
    static const int ends[] = {300, 301, 1301, 1321, 1821, 1828, 1978, 2048};
    int s = 0;
    while (i >= ends[s]) s++;
    return j <= i && j >= (s > 0 ? ends[s - 1] : 0);
}

static double count_pairs(bool (*sees)(int i, int j))
{
    double pairs = 0;
    for (int i = 0; i < 2048; i++)
        for (int j = 0; j < 2048; j++) pairs += sees(i, j);
    return pairs;
}

static void test_modes(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
        bool (*sees)(int i, int j);
        double share; /* of all pairs, where no function says which */
    } forms[] = {
        {"band256", "sparse_mode=4 pre_tokens=256 next_tokens=0 ", in_band, 0},
        {"prefix512", "sparse_mode=6 prefix=512 ", in_prefix, 0},
        {"tndmix", "actual_seq_qlen=300,301,1301,1321,1821,1828,1978,2048 ", in_own_sequence, 0},
        {"mask", "sparse_mode=1 atten_mask=bool[2048,2048] density=0.25", NULL, 0.75},
        {"pse", "pse=T[1,16,2048,2048]", NULL, 1},
        {"alibi", "pse_type=2 pse=f32[16]{0.707106781,0.5,", NULL, 1},
        {"f16arith", "compute=f16", NULL, 1}};
    bench_row rows[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("modes", rows), 7);
    for (int i = 0; i < 7; i++) {
        char name[BENCH_NAME];
        snprintf(name, sizeof name, "16x128x2048-b1-%s", forms[i].name);
        assert_string_equal(rows[i].name, name);
        assert_string_equal(rows[i].suite, "modes");
        if (!strstr(rows[i].lines[0], forms[i].words))
            fail_msg("%s: %s", rows[i].lines[0], forms[i].words);
        check_lines(&rows[i]);
        const double pairs = forms[i].sees ? count_pairs(forms[i].sees) : forms[i].share * 2048 * 2048;
        assert_true(rows[i].pairs == 16 * pairs);
        assert_int_equal(rows[i].dims, 256);
        assert_false(rows[i].plan_timed);
        assert_int_equal(rows[i].half, i == 6);
        assert_int_equal(rows[i].lines[1] != NULL, !forms[i].sees); /* the unmasked form */
        if (rows[i].lines[1]) {
            assert_null(strstr(rows[i].lines[1], "mask"));
            assert_null(strstr(rows[i].lines[1], "pse"));
            assert_int_equal(strstr(rows[i].lines[1], "compute=f32") != NULL, i == 6);
            assert_null(rows[i].lines[2]);
        }
    }
}

static void test_serving(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    static const char *const names[] = {
        "serving-mix-p16", "serving-mix-p128", "serving-tndmix",      "serving-leftpad",
        "serving-prefix",  "serving-nz",       "serving-mla-prefill", "serving-mla-decode"};
    const int n = bench_rows("serving", rows);
    assert_int_equal(n, 8);
    for (int i = 0; i < n; i++) {
        assert_string_equal(rows[i].name, names[i]);
        assert_non_null(rows[i].lines[1]);
        check_lines(&rows[i]);
    }
    /* 1 prefill of 2048 and 63 decodes at 1-8k keys */
    assert_non_null(strstr(rows[0].lines[0], "query=T[2111,32,128]"));
    assert_non_null(strstr(rows[0].lines[0], "block_size=16"));
    assert_non_null(strstr(rows[1].lines[0], "block_size=128"));
    assert_true(rows[0].pairs > 32 * (2048.0 * 2049 / 2 + 63 * 1024) &&
                rows[0].pairs < 32 * (2048.0 * 2049 / 2 + 63 * 8193));
}

static void test_call(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("call", rows), 2);
    assert_string_equal(rows[0].name, "tiny");
    assert_non_null(strstr(rows[0].lines[0], "query=T[1,1,1,64] key=T[1,1,128,64]"));
    assert_string_equal(rows[1].name, "plan256");
    assert_non_null(strstr(rows[1].lines[0], "block_table=i32[256,"));
    for (int i = 0; i < 2; i++) check_lines(&rows[i]);
}

static void test_unknown(void **state)
{
    (void)state;
    bench_row rows[BENCH_MAX_ROWS];
    assert_int_equal(bench_rows("nonsense", rows), 0);
}

static void test_pairs(void **state)
{
    (void)state;
    /* 3 queries of 5 keys, causal: 3 + 4 + 5 */
    const bench_row row = {.batch = 2, .n_heads = 7, .q_len = 3, .kv_len = 5, .causal = true};
    assert_true(fabs(bench_row_pairs(&row) - 12.0 * 14) < 1e-9);
    /* 3 queries of 5 keys with at most 4, at most 3, at most 6: 3 + 4 + 4, 3 + 3 + 3, 3 + 4 + 5 */
    static const struct {
        int band, pairs;
    } bands[] = {{3, 11}, {2, 9}, {5, 12}};
    for (int i = 0; i < 3; i++) {
        bench_row band = row;
        band.band = bands[i].band;
        assert_true(fabs(bench_row_pairs(&band) - bands[i].pairs * 14) < 1e-9);
    }
    const bench_row full = {.batch = 2, .n_heads = 7, .q_len = 3, .kv_len = 5};
    assert_true(fabs(bench_row_pairs(&full) - 15.0 * 14) < 1e-9);
}

/* The decode rows with 32/8 heads, once per kind of cache. */
static void test_quant(void **state)
{
    (void)state;
    static const char *const kinds[] = {"f16", "int8-token", "int8-channel", "int8-pages", "int4", "fp8"};
    bench_row rows[BENCH_MAX_ROWS];
    const int n = bench_rows("quant", rows);
    assert_int_equal(n, 24);
    for (int i = 0; i < n; i++) {
        char name[BENCH_NAME];
        const int kv_len = i < 12 ? 4096 : 32768, batch = i / 6 % 2 ? 8 : 1;
        snprintf(name, sizeof name, "decode-32/8x128-kv%d-b%d-%s", kv_len, batch, kinds[i % 6]);
        const bench_row *row = find(rows, n, name);
        assert_int_equal(row->kv_len, kv_len);
        assert_int_equal(row->batch, batch);
        assert_int_equal(row->n_heads, 32);
        assert_int_equal(row->n_kv_heads, 8);
        assert_int_equal(row->head_dim, 128);
        assert_int_equal(row->q_len, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guide),  cmocka_unit_test(test_prefill),
        cmocka_unit_test(test_dims),   cmocka_unit_test(test_decode),
        cmocka_unit_test(test_modes),  cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_backward), cmocka_unit_test(test_serving),
        cmocka_unit_test(test_call),   cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_pairs),  cmocka_unit_test(test_quant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
