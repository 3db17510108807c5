/* SPDX-License-Identifier: Apache-2.0 */
/* rows.c — the suites' names and shapes, as they are promised to whoever compares two runs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bench_rows.h"

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
    assert_non_null(find(rows, n, "decode-mla128")->skip);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) assert_string_not_equal(rows[i].name, rows[j].name);
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
    const bench_row full = {.batch = 2, .n_heads = 7, .q_len = 3, .kv_len = 5};
    assert_true(fabs(bench_row_pairs(&full) - 15.0 * 14) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guide),  cmocka_unit_test(test_prefill),
        cmocka_unit_test(test_decode), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
