/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c — intervals, rows of a key and tile classes against the predicates of the operators'
 * documents, cell by cell. The predicates and pictures below are transcribed from the
 * specification, not from the code: keep(i, j) with delta = kv_len - q_len. */
#include "core/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rng.h"

__extension__ typedef __int128 wide;

typedef struct mode_case {
    int64_t mode;
    bool masked; /* an all-zero dense mask takes part */
    int64_t pre, next, prefix;
    bool special;
    int64_t q_len, kv_len;
} mode_case;

static const char *describe(const mode_case *c)
{
    static char text[256];
    snprintf(text, sizeof text,
             "mode %lld masked %d pre %lld next %lld prefix %lld special %d q_len %lld kv_len %lld",
             (long long)c->mode, c->masked, (long long)c->pre, (long long)c->next,
             (long long)c->prefix, c->special, (long long)c->q_len, (long long)c->kv_len);
    return text;
}

/* The predicate table (training 4.2, inference 1.4), for a mask tensor of zeros or none. */
static bool keep(const mode_case *c, int64_t i, int64_t j)
{
    const wide pre = c->pre, next = c->next, delta = (wide)c->kv_len - c->q_len;
    const wide distance = (wide)j - i;
    const bool band = -pre <= distance - delta && distance - delta <= next;
    switch (c->mode) {
    case 0:
        return !c->masked || (-pre <= distance && distance <= next);
    case 1:
        return true;
    case 2:
        return j <= i;
    case 3:
        return j <= i + delta;
    case 4:
        return band;
    case 5:
        return c->masked || j <= i + delta || j < c->prefix;
    case 6:
        return j <= i + delta || j < c->prefix;
    case 7:
        return c->special ? band : j <= i + delta;
    case 8:
        return c->special ? band : j <= i;
    default:
        return false;
    }
}

static fattn_seq translate(const mode_case *c)
{
    fattn_seq seq = {.q_len = c->q_len, .kv_len = c->kv_len};
    mask_translate(&seq, c->mode, c->masked, c->pre, c->next, c->prefix, c->special);
    return seq;
}

static void check_cells(const mode_case *c)
{
    const fattn_seq seq = translate(c);
    for (int64_t i = 0; i < c->q_len; i++) {
        const fattn_interval row = mask_interval(&seq, i);
        if (row.lo < 0 || row.lo > row.hi || row.hi > c->kv_len)
            fail_msg("%s: row %lld is [%lld, %lld)", describe(c), (long long)i, (long long)row.lo,
                     (long long)row.hi);
        for (int64_t j = 0; j < c->kv_len; j++)
            if ((row.lo <= j && j < row.hi) != keep(c, i, j))
                fail_msg("%s: cell (%lld, %lld) should be %s", describe(c), (long long)i,
                         (long long)j, keep(c, i, j) ? "kept" : "masked");
    }
}

/* Draws the rows of a case like the pictures: '#' kept, '.' masked, rows separated by a blank. */
static void draw(const fattn_seq *seq, char *text)
{
    for (int64_t i = 0; i < seq->q_len; i++) {
        const fattn_interval row = mask_interval(seq, i);
        for (int64_t j = 0; j < seq->kv_len; j++) *text++ = row.lo <= j && j < row.hi ? '#' : '.';
        *text++ = ' ';
    }
    text[-1] = 0;
}

/* The pictures of training 4.2 and the keep tables of inference 1.4. */
static void pictures(void **state)
{
    (void)state;
    static const struct {
        mode_case c;
        const char *want;
    } list[] = {
        {{0, true, 1, 1, 0, false, 4, 6}, "##.... ###... .###.. ..###."},
        {{2, true, 0, 0, 0, false, 4, 6}, "#..... ##.... ###... ####.."},
        {{3, true, 0, 0, 0, false, 4, 6}, "###... ####.. #####. ######"},
        {{4, true, 2, 0, 0, false, 4, 6}, "###... .###.. ..###. ...###"},
        {{4, true, 1, 1, 0, false, 4, 6}, ".###.. ..###. ...### ....##"},
        {{6, true, 0, 0, 3, false, 4, 6}, "###... ####.. #####. ######"},
        {{0, true, 1, 1, 0, false, 6, 4}, "##.. ###. .### ..## ...# ...."},
        {{2, true, 0, 0, 0, false, 6, 4}, "#... ##.. ###. #### #### ####"},
        {{3, true, 0, 0, 0, false, 6, 4}, ".... .... #... ##.. ###. ####"},
        {{4, true, 2, 0, 0, false, 6, 4}, ".... .... #... ##.. ###. .###"},
        {{4, true, 1, 1, 0, false, 6, 4}, ".... #... ##.. ###. .### ..##"},
        {{6, true, 0, 0, 3, false, 6, 4}, "###. ###. ###. ###. ###. ####"},
        {{2, true, 0, 0, 0, false, 3, 5}, "#.... ##... ###.."},
        {{3, true, 0, 0, 0, false, 3, 5}, "###.. ####. #####"},
        {{4, true, 1, 0, 0, false, 3, 5}, ".##.. ..##. ...##"},
        {{4, true, 2, 1, 0, false, 3, 5}, "####. .#### ..###"},
        {{4, true, -1, 2, 0, false, 3, 5}, "...## ....# ....."},
        {{0, true, 1, 1, 0, false, 3, 5}, "##... ###.. .###."},
        {{2, true, 0, 0, 0, false, 5, 3}, "#.. ##. ### ### ###"},
        {{3, true, 0, 0, 0, false, 5, 3}, "... ... #.. ##. ###"},
        {{4, true, 1, 0, 0, false, 5, 3}, "... ... #.. ##. .##"},
        {{4, true, 2, 1, 0, false, 5, 3}, "... #.. ##. ### ###"},
        {{4, true, -1, 2, 0, false, 5, 3}, "#.. ##. .## ..# ..."},
        {{0, true, 1, 1, 0, false, 5, 3}, "##. ### .## ..# ..."},
        /* the vendor's packed examples: mode 7 gives the band to the last sequence, mode 8 to the
           first */
        {{7, true, 6, -2, 0, false, 3, 3}, "#.. ##. ###"},
        {{7, true, 6, -2, 0, true, 2, 6}, "###... ####.."},
        {{8, true, 4, 1, 0, true, 3, 4}, "###. #### ####"},
        {{8, true, 4, 1, 0, false, 5, 5}, "#.... ##... ###.. ####. #####"},
        {{8, true, 4, 1, 0, false, 4, 4}, "#... ##.. ###. ####"},
        /* without a mask: mode 0 is full, mode 5 is mode 6 */
        {{0, false, 1, 1, 0, false, 2, 3}, "### ###"},
        {{5, true, 1, 1, 1, false, 2, 3}, "### ###"},
        {{5, false, 1, 1, 3, false, 3, 4}, "###. ###. ####"},
    };
    for (size_t n = 0; n < sizeof list / sizeof list[0]; n++) {
        char got[128];
        const fattn_seq seq = translate(&list[n].c);
        draw(&seq, got);
        if (strcmp(got, list[n].want))
            fail_msg("%s:\n got  %s\n want %s", describe(&list[n].c), got, list[n].want);
    }
}

/* Mode 4, 13 x 16, pre 6, next 4: row 0 keeps columns 0..7, row 12 keeps 9..15. */
static void band_13x16(void **state)
{
    (void)state;
    const fattn_seq seq = translate(&(mode_case){4, true, 6, 4, 0, false, 13, 16});
    const fattn_interval first = mask_interval(&seq, 0), last = mask_interval(&seq, 12);
    assert_int_equal(first.lo, 0);
    assert_int_equal(first.hi, 8);
    assert_int_equal(last.lo, 9);
    assert_int_equal(last.hi, 16);
}

static int64_t random_token(rng *r)
{
    return rng_between(r, 0, 3) ? rng_between(r, -14, 14) : rng_nasty(r);
}

static mode_case random_case(rng *r, int64_t longest)
{
    mode_case c = {.mode = rng_between(r, 0, 8)};
    c.masked = rng_between(r, 0, 1);
    c.special = rng_between(r, 0, 1);
    c.q_len = rng_between(r, 0, longest);
    c.kv_len = rng_between(r, 0, longest);
    c.pre = random_token(r);
    c.next = random_token(r);
    c.prefix = rng_between(r, 0, c.kv_len);
    return c;
}

static void every_cell(void **state)
{
    (void)state;
    rng r = rng_new(1);
    for (int n = 0; n < 6000; n++) {
        const mode_case c = random_case(&r, 12);
        check_cells(&c);
    }
}

static void rows_of_a_key(void **state)
{
    (void)state;
    rng r = rng_new(2);
    for (int n = 0; n < 4000; n++) {
        const mode_case c = random_case(&r, 12);
        const fattn_seq seq = translate(&c);
        for (int64_t j = -1; j <= c.kv_len; j++) {
            const fattn_interval rows = mask_rows_of_key(&seq, j);
            if (rows.lo < 0 || rows.lo > rows.hi || rows.hi > c.q_len)
                fail_msg("%s: key %lld: rows [%lld, %lld)", describe(&c), (long long)j,
                         (long long)rows.lo, (long long)rows.hi);
            for (int64_t i = 0; i < c.q_len; i++) {
                const bool want = j >= 0 && j < c.kv_len && keep(&c, i, j);
                if ((rows.lo <= i && i < rows.hi) != want)
                    fail_msg("%s: key %lld row %lld should be %d", describe(&c), (long long)j,
                             (long long)i, want);
            }
        }
    }
}

/* FULL iff every cell is kept; EMPTY only when none is. */
static void tile_classes(void **state)
{
    (void)state;
    rng r = rng_new(3);
    int64_t seen[3] = {0, 0, 0}, missed = 0;
    for (int n = 0; n < 20000; n++) {
        const mode_case c = random_case(&r, 20);
        if (c.q_len == 0 || c.kv_len == 0) continue;
        const fattn_seq seq = translate(&c);
        const int64_t i0 = rng_between(&r, 0, c.q_len - 1), i1 = rng_between(&r, i0 + 1, c.q_len);
        const int64_t j0 = rng_between(&r, 0, c.kv_len - 1), j1 = rng_between(&r, j0 + 1, c.kv_len);
        int64_t kept = 0;
        for (int64_t i = i0; i < i1; i++)
            for (int64_t j = j0; j < j1; j++) kept += keep(&c, i, j);
        const fattn_tile_class got = mask_class(&seq, i0, i1, j0, j1);
        const bool full = kept == (i1 - i0) * (j1 - j0);
        if ((got == TILE_FULL) != full || (got == TILE_EMPTY && kept))
            fail_msg("%s: tile rows %lld..%lld keys %lld..%lld is class %d, %lld cells kept",
                     describe(&c), (long long)i0, (long long)i1, (long long)j0, (long long)j1, got,
                     (long long)kept);
        seen[got]++;
        missed += got != TILE_EMPTY && kept == 0;
    }
    for (int k = 0; k < 3; k++) assert_true(seen[k] > 1000);
    if (missed * 20 > seen[TILE_EMPTY])
        fail_msg("%lld empty tiles of %lld were not recognised", (long long)missed,
                 (long long)(missed + seen[TILE_EMPTY]));
}

/* The band is clamped to +-(q_len + kv_len), and nothing overflows at the ends of int64. */
static void hostile_numbers(void **state)
{
    (void)state;
    rng r = rng_new(4);
    for (int n = 0; n < 20000; n++) {
        mode_case c = {.mode = rng_between(&r, 0, 8), .masked = true, .special = true};
        c.q_len = rng_nasty(&r) & INT64_MAX;
        c.kv_len = rng_nasty(&r) & INT64_MAX;
        c.pre = rng_nasty(&r);
        c.next = rng_nasty(&r);
        c.prefix = rng_nasty(&r);
        const fattn_seq seq = translate(&c);
        const wide limit = (wide)c.q_len + c.kv_len;
        assert_true(-limit <= seq.band_lo && seq.band_lo <= limit);
        assert_true(-limit <= seq.band_hi && seq.band_hi <= limit);
        assert_true(seq.prefix >= 0 && seq.prefix <= c.kv_len);
        if (c.q_len == 0) continue;
        const int64_t i = rng_nasty(&r) & INT64_MAX;
        const fattn_interval row = mask_interval(&seq, i < c.q_len ? i : c.q_len - 1);
        assert_true(0 <= row.lo && row.lo <= row.hi && row.hi <= c.kv_len);
        const fattn_interval rows = mask_rows_of_key(&seq, rng_nasty(&r));
        assert_true(0 <= rows.lo && rows.lo <= rows.hi && rows.hi <= c.q_len);
    }
}

/* Any nonzero byte hides; strides, origins and broadcasts address the byte. */
static void dense_mask(void **state)
{
    (void)state;
    enum { BATCH = 2, HEADS = 3, ROWS = 5, COLS = 7 };
    uint8_t bytes[BATCH * HEADS * ROWS * COLS];
    rng r = rng_new(5);
    for (size_t n = 0; n < sizeof bytes; n++)
        bytes[n] = rng_between(&r, 0, 1) ? (uint8_t)rng_between(&r, 1, 255) : 0;
    fattn_problem p = {.mask = {.present = true, .head_stride = ROWS * COLS, .col_stride = 1}};
    const fattn_ptrs ptrs = {.mask = bytes};
    fattn_seq seq = {.mask_base = HEADS * ROWS * COLS + 2 * COLS + 3, .mask_row_stride = COLS};
    for (int64_t head = 0; head < HEADS; head++)
        for (int64_t i = 0; i < ROWS - 2; i++)
            for (int64_t j = 0; j < COLS - 3; j++) {
                const bool want = bytes[((1 * HEADS + head) * ROWS + 2 + i) * COLS + 3 + j] != 0;
                assert_int_equal(mask_hides(&p, &ptrs, &seq, head, i, j), want);
            }
    p.mask.head_stride = 0; /* one [ROWS, COLS] mask for all */
    seq.mask_base = 2 * COLS + 3;
    assert_int_equal(mask_hides(&p, &ptrs, &seq, 2, 1, 1), bytes[3 * COLS + 4] != 0);
    seq.mask_from = 100; /* it says nothing about the keys before */
    bytes[2 * COLS + 3] = 1;
    assert_false(mask_hides(&p, &ptrs, &seq, 0, 0, 99));
    assert_true(mask_hides(&p, &ptrs, &seq, 0, 0, 100));
    p.mask.present = false;
    assert_false(mask_hides(&p, &(fattn_ptrs){0}, &seq, 0, 0, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures),     cmocka_unit_test(band_13x16),
        cmocka_unit_test(every_cell),   cmocka_unit_test(rows_of_a_key),
        cmocka_unit_test(tile_classes), cmocka_unit_test(hostile_numbers),
        cmocka_unit_test(dense_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
