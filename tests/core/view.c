/* SPDX-License-Identifier: Apache-2.0 */
/* view.c — row offsets against a naive walk over the elements of contiguous, packed and paged
 * caches, and the check of block ids: used ones only. */
#include "core/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"

enum { BATCH = 3, HEADS = 2, ROWS = 11, D = 4, PAGE = 4, PAGES = 9, TABLE_COLS = 5 };

static void contiguous_rows(void **state)
{
    (void)state;
    const fattn_problem p = {0};
    const fattn_view bnsd = {.n_parts = 1,
                             .part = {{D, HEADS * ROWS * D, ROWS * D, D, 1, 0, 0, 0}}};
    const fattn_view tnd = {.n_parts = 1, .part = {{D, 0, D, HEADS * D, 1, 0, 0, 0}}};
    int64_t flat = 0; /* counts through [batch][head][row] in memory order */
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < HEADS; h++)
            for (int s = 0; s < ROWS; s++, flat += D)
                assert_int_equal(view_offset(&p, &bnsd, 0, NULL, b, h, s), flat);
    flat = 0; /* [token][head] */
    for (int t = 0; t < ROWS; t++)
        for (int h = 0; h < HEADS; h++, flat += D)
            assert_int_equal(view_offset(&p, &tnd, 0, NULL, BATCH - 1, h, t), flat);
}

/* Two parts have their own strides. */
static void two_parts(void **state)
{
    (void)state;
    const fattn_problem p = {0};
    const fattn_view view = {
        .n_parts = 2, .part = {{D, 0, D, HEADS * D, 1, 0, 0, 0}, {2, 0, 2, HEADS * 2, 1, 0, 0, 0}}};
    assert_int_equal(view_offset(&p, &view, 0, NULL, 0, 1, 3), 3 * HEADS * D + D);
    assert_int_equal(view_offset(&p, &view, 1, NULL, 0, 1, 3), 3 * HEADS * 2 + 2);
}

/* A cache whose cells name themselves: page, slot and head. BnBsH: [page][slot][head][D], BnNBsD:
 * [page][head][slot][D]. */
static int64_t cell_name(int64_t page, int64_t slot, int64_t head)
{
    return (page * 100 + slot) * 100 + head;
}

static void fill_cache(int64_t *cells, bool heads_first)
{
    for (int page = 0; page < PAGES; page++)
        for (int a = 0; a < (heads_first ? HEADS : PAGE); a++)
            for (int b = 0; b < (heads_first ? PAGE : HEADS); b++)
                for (int d = 0; d < D; d++)
                    *cells++ = heads_first ? cell_name(page, b, a) : cell_name(page, a, b);
}

static void paged_rows(void **state)
{
    (void)state;
    static int64_t cells[PAGES * PAGE * HEADS * D];
    int64_t wide_table[BATCH][TABLE_COLS];
    int32_t narrow_table[BATCH][TABLE_COLS];
    rng r = rng_new(11);
    for (int b = 0; b < BATCH; b++)
        for (int m = 0; m < TABLE_COLS; m++)
            wide_table[b][m] = narrow_table[b][m] = (int32_t)rng_between(&r, 0, PAGES - 1);

    for (int form = 0; form < 4; form++) {
        const bool heads_first = form & 1, narrow = form & 2;
        fill_cache(cells, heads_first);
        const fattn_part part = {.d = D,
                                 .head_stride = heads_first ? PAGE * D : D,
                                 .row_stride = heads_first ? D : HEADS * D,
                                 .col_stride = 1,
                                 .page_stride = PAGE * HEADS * D};
        fattn_problem p = {.k = {.n_parts = 1, .part = {part}, .page_rows = PAGE, .n_pages = PAGES},
                           .table = {narrow ? FATTN_I32 : FATTN_I64, TABLE_COLS, 1, TABLE_COLS}};
        const void *table = narrow ? (const void *)narrow_table : (const void *)wide_table;
        for (int b = 0; b < BATCH; b++)
            for (int h = 0; h < HEADS; h++) {
                int64_t page = -1, slot = 0; /* the walk: token after token */
                for (int s = 0; s < TABLE_COLS * PAGE; s++, slot++) {
                    if (s % PAGE == 0) page = wide_table[b][s / PAGE], slot = 0;
                    const int64_t at = view_offset(&p, &p.k, 0, table, b, h, s);
                    if (cells[at] != cell_name(page, slot, h))
                        fail_msg("form %d batch %d head %d row %d: offset %lld", form, b, h, s,
                                 (long long)at);
                }
            }
    }
}

/* bs 4, table row [10, 11, 12], token 9 -> block 12 slot 1. */
static void anchor_token_nine(void **state)
{
    (void)state;
    const int32_t table[] = {10, 11, 12};
    const fattn_problem p = {
        .k = {.n_parts = 1,
              .part = {{.d = 1, .row_stride = 1, .col_stride = 1, .page_stride = 4}},
              .page_rows = 4,
              .n_pages = 13},
        .table = {FATTN_I32, 3, 1, 3}};
    assert_int_equal(view_offset(&p, &p.k, 0, table, 0, 0, 9), 12 * 4 + 1);
    assert_int_equal(table_page(&p, table, 0, 2), 12);
}

/* A table with strides, read column by column. */
static void strided_table(void **state)
{
    (void)state;
    const int64_t table[] = {7, 0, 8, 0, 9, 0}; /* 3 columns of 2 batches, col-major */
    const fattn_problem p = {.table = {FATTN_I64, 1, 2, 3}};
    assert_int_equal(table_page(&p, table, 0, 1), 8);
    assert_int_equal(table_page(&p, table, 1, 2), 0);
}

static fattn_status check(int64_t kv_len, int64_t q_len, bool pad, const int32_t *table)
{
    fattn_seq seqs[2] = {{.batch = 0, .q_len = 1, .kv_len = 0},
                         {.batch = 1, .q_len = q_len, .kv_len = kv_len, .pad = pad}};
    const fattn_view view = {.n_parts = 1, .page_rows = PAGE, .n_pages = PAGES};
    const fattn_problem p = {
        .k = view, .v = view, .table = {FATTN_I32, 3, 1, 3}, .seqs = seqs, .n_seqs = 2};
    return problem_check_table(&p, &(fattn_ptrs){.table = table});
}

static void used_ids_only(void **state)
{
    (void)state;
    const int32_t bad = 12345;
    const int32_t table[] = {bad, bad, bad, 0, PAGES - 1, bad};
    assert_int_equal(check(8, 1, false, table), FATTN_OK);
    assert_int_equal(check(1, 1, false, table), FATTN_OK);
    assert_int_equal(check(9, 0, false, table), FATTN_OK); /* no query reads it */
    assert_int_equal(check(0, 1, false, table), FATTN_OK);
    assert_int_equal(check(9, 1, false, table), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(),
                           "block_table[1][2] is 12345: the cache has 9 blocks, and 9 keys of this "
                           "batch entry need this one"));
    const int32_t negative[] = {0, 0, 0, 0, -1, 0}, end[] = {0, 0, 0, 0, PAGES, 0};
    assert_int_equal(check(4, 1, false, negative), FATTN_OK);
    assert_int_equal(check(5, 1, false, negative), FATTN_E_ARG);
    assert_int_equal(check(5, 1, false, end), FATTN_E_ARG);
}

/* An id that only fits 64 bits must not be cut to 32. */
static void wide_ids(void **state)
{
    (void)state;
    const int64_t table[] = {1ll << 32};
    fattn_seq seq = {.q_len = 1, .kv_len = 1};
    const fattn_view view = {.n_parts = 1, .page_rows = PAGE, .n_pages = PAGES};
    const fattn_problem p = {
        .k = view, .v = view, .table = {FATTN_I64, 1, 1, 1}, .seqs = &seq, .n_seqs = 1};
    assert_int_equal(problem_check_table(&p, &(fattn_ptrs){.table = table}), FATTN_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contiguous_rows), cmocka_unit_test(two_parts),
        cmocka_unit_test(paged_rows),      cmocka_unit_test(anchor_token_nine),
        cmocka_unit_test(strided_table),   cmocka_unit_test(used_ids_only),
        cmocka_unit_test(wide_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
