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

/* The pieces that do without printf say what printf says. */
static void test_put(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 7, -10, INT64_MAX, INT64_MIN};
    for (size_t room = 1; room < 80; room++) {
        char by_put[80], by_printf[80];
        fattn_text put = {.buffer = by_put, .size = room}, add = {.buffer = by_printf, .size = room};
        memset(by_put, '#', sizeof by_put);
        text_put(&put, "");
        assert_string_equal(by_put, "");
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            text_put(&put, i ? "," : "[");
            text_put_int(&put, numbers[i]);
            text_add(&add, "%s%lld", i ? "," : "[", (long long)numbers[i]);
        }
        assert_int_equal(put.length, add.length);
        assert_string_equal(by_put, by_printf);
        assert_int_equal(by_put[room], '#');
    }
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
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_numbers_read_back),
        cmocka_unit_test(test_the_point_is_a_point),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
