/* SPDX-License-Identifier: Apache-2.0 */
/* files.c — files and problem lines as garbage: every truncation, every byte changed, thousands of
 * edits. */
#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/lines.h"
#include "garbage/outside.h"

enum { FILE_EDITS = 30000, LINE_EDITS = 12000 };

static const fattn_dtype wanted[] = {FATTN_DTYPE_NONE, FATTN_F16,  FATTN_BF16, FATTN_F32,
                                     FATTN_I64,        FATTN_E4M3, FATTN_I4,   FATTN_BOOL};

/* The reader sees exactly n bytes: a heap block that ends there. */
static bool judge(int which, const unsigned char *bytes, size_t n, fattn_dtype as, const char *what)
{
    bool good;
    unsigned char *exact = malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, bytes, n);
    const char *bad = outside_judge_file(outside_kind_of(which), exact, n, as, &good);
    free(exact);
    if (bad) fail_msg("file %d, %zu bytes, %s: %s", which, n, what, bad);
    return good;
}

static void test_every_truncation(void **state)
{
    (void)state;
    unsigned char bytes[OUTSIDE_ROOM];
    for (int f = 0; f < outside_files(); f++) {
        const size_t n = outside_file(f, bytes);
        const bool named = f == 5 || f == 4; /* dtypes that only the caller can say */
        if (!judge(f, bytes, n, named ? FATTN_BF16 : FATTN_DTYPE_NONE, "whole"))
            fail_msg("file %d is refused", f);
        for (size_t k = 0; k < n; k++)
            if (judge(f, bytes, k, named ? FATTN_BF16 : FATTN_DTYPE_NONE, "cut off"))
                fail_msg("file %d: %zu of %zu bytes are accepted", f, k, n);
    }
}

static void test_every_byte(void **state)
{
    (void)state;
    static const unsigned char values[] = {0, 1, 0x7f, 0x80, 0xff, '9', '-', '(', '{'};
    unsigned char bytes[OUTSIDE_ROOM];
    for (int f = 0; f < outside_files(); f++) {
        const size_t n = outside_file(f, bytes);
        for (size_t at = 0; at < n; at++) {
            const unsigned char old = bytes[at];
            for (size_t v = 0; v < sizeof values; v++) {
                bytes[at] = values[v];
                judge(f, bytes, n, wanted[at % 8], "one byte changed");
            }
            bytes[at] = old;
        }
    }
}

static void test_many_edits(void **state)
{
    (void)state;
    unsigned char bytes[OUTSIDE_ROOM];
    long good = 0;
    for (uint64_t seed = 0; seed < FILE_EDITS; seed++) {
        char what[40];
        source s = source_seeded(seed);
        const int f = source_pick(&s, outside_files());
        size_t n = outside_file(f, bytes);
        for (int edits = 1 + source_pick(&s, 4); edits > 0; edits--) n = outside_edit(bytes, n, &s);
        snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
        good += judge(f, bytes, n, wanted[source_pick(&s, 8)], what);
    }
    printf("%d files, %ld still good\n", FILE_EDITS, good);
    assert_true(good > FILE_EDITS / 100 && good < FILE_EDITS / 2);
}

static void test_damaged_lines(void **state)
{
    (void)state;
    int n_ops;
    const fattn_operator *ops = fattn_operators(&n_ops);
    long good = 0;
    for (uint64_t seed = 0; seed < LINE_EDITS; seed++) {
        char text[OUTSIDE_ROOM + 1];
        bool fine;
        source s = source_seeded(seed);
        const char *base = NULL;
        while (!base) base = small_line(&ops[source_pick(&s, n_ops)], source_pick(&s, 12));
        size_t n = strlen(base);
        memcpy(text, base, n);
        for (int edits = source_pick(&s, 4); edits > 0; edits--)
            n = outside_edit((unsigned char *)text, n, &s);
        text[n] = '\0';
        const char *bad = outside_judge_line(text, &fine);
        if (bad) fail_msg("seed %llu: %s\n  %s", (unsigned long long)seed, bad, text);
        good += fine;
    }
    printf("%d lines, %ld still good\n", LINE_EDITS, good);
    assert_true(good > LINE_EDITS / 20 && good < LINE_EDITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_many_edits),
        cmocka_unit_test(test_damaged_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
