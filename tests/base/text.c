/* SPDX-License-Identifier: Apache-2.0 */
/* text.c — pieces add up, what does not fit is counted, numbers read back, JSON stays JSON. */
#include "cm.h"

#include <locale.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void test_cut_and_counted(void **state)
{
    (void)state;
    char buffer[8] = "";
    fattn_text none = {.size = 0}, some = {.buffer = buffer, .size = sizeof buffer};
    for (fattn_text *t = &none; t; t = t == &none ? &some : NULL) {
        text_add(t, "%s", "abc");
        text_add_ints(t, (const int64_t[]){-1, INT64_MAX}, 2);
        text_add(t, "z");
    }
    assert_int_equal(none.length, 3 + 22 + 1);
    assert_int_equal(some.length, none.length);
    assert_string_equal(buffer, "abc-1,9");
}

static const char *of_double(double value)
{
    static char buffer[64];
    fattn_text t = {.buffer = buffer, .size = sizeof buffer};
    text_add_double(&t, value);
    return buffer;
}

static void test_numbers_read_back(void **state)
{
    (void)state;
    const double values[] = {0,     -0.0,   1,       0.1,         1.0 / 3,
                             1e300, 5e-324, -2.5e-7, 123456789.0, INFINITY};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        assert_true(strtod(of_double(values[i]), NULL) == values[i]);
    assert_string_equal(of_double(0.1), "0.1");
    assert_string_equal(of_double(8), "8");
    assert_true(isnan(strtod(of_double(NAN), NULL)));
}

/* A program that speaks German writes 0,5; a problem line never does. */
static void test_the_point_is_a_point(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"};
    bool found = false;
    for (int i = 0; i < 4 && !found; i++) found = setlocale(LC_NUMERIC, names[i]) != NULL;
    if (found) assert_string_equal(of_double(-0.5), "-0.5");
    setlocale(LC_NUMERIC, "C");
    if (!found) print_message("not run: no locale with a decimal comma\n");
}

static void test_json(void **state)
{
    (void)state;
    char buffer[64] = "";
    fattn_text t = {.buffer = buffer, .size = sizeof buffer};
    text_add_json(&t, "a\"b\\c\n\x01\xc3\xa9");
    assert_string_equal(buffer, "a\\\"b\\\\c\\u000a\\u0001\xc3\xa9");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_and_counted),
        cmocka_unit_test(test_numbers_read_back),
        cmocka_unit_test(test_the_point_is_a_point),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
