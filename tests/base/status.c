/* SPDX-License-Identifier: Apache-2.0 */
/* status.c — names, the thread's own sentence, and its fixed length. */
#include "cm.h"

#include <pthread.h>
#include <string.h>

#include "base/error.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(fattn_status_name(FATTN_OK), "FATTN_OK");
    assert_string_equal(fattn_status_name(FATTN_E_SHAPE), "FATTN_E_SHAPE");
    assert_string_equal(fattn_status_name(FATTN_E_BACKEND), "FATTN_E_BACKEND");
    assert_non_null(fattn_status_name((fattn_status)99));
    assert_non_null(fattn_status_name((fattn_status)-1));
}

static void test_sentence(void **state)
{
    (void)state;
    assert_int_equal(error_set(FATTN_E_ARG, "block_size: %d is odd", 3), FATTN_E_ARG);
    assert_string_equal(fattn_error_message(), "block_size: 3 is odd");
}

static void test_long_sentence_is_cut(void **state)
{
    (void)state;
    char text[4000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(FATTN_E_ARG, "%s", text);
    const size_t length = strlen(fattn_error_message());
    assert_true(length >= 255 && length < 1024);
    assert_memory_equal(fattn_error_message(), text, length);
}

/* What is added is cut like the sentence, and the format stays known. */
static void test_appended(void **state)
{
    (void)state;
    char text[4000];
    error_set(FATTN_E_ARG, "scale: %d is odd", 3);
    error_append(" [%s %d]", "code", 7);
    assert_string_equal(fattn_error_message(), "scale: 3 is odd [code 7]");
    assert_string_equal(error_format(), "scale: %d is odd");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_append("%s", text);
    assert_true(strlen(fattn_error_message()) < 1024);
    assert_memory_equal(fattn_error_message(), "scale: 3 is odd [code 7]xxx", 27);
}

static void *other_thread(void *arg)
{
    char *seen = arg;
    seen[0] = fattn_error_message()[0]; /* nothing has failed here yet: "" */
    error_set(FATTN_E_ARG, "theirs");
    return NULL;
}

static void test_one_buffer_per_thread(void **state)
{
    (void)state;
    pthread_t thread;
    char seen[1] = {'?'};
    error_set(FATTN_E_ARG, "mine");
    assert_int_equal(pthread_create(&thread, NULL, other_thread, seen), 0);
    pthread_join(thread, NULL);
    assert_int_equal(seen[0], '\0');
    assert_string_equal(fattn_error_message(), "mine");
}

static fattn_status forwards(fattn_status inner, int *reached)
{
    TRY(inner);
    *reached = 1;
    REQUIRE(*reached == 2, FATTN_E_SHAPE, "reached: %d", *reached);
    return FATTN_OK;
}

static void test_macros(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(forwards(FATTN_E_BUSY, &reached), FATTN_E_BUSY);
    assert_int_equal(reached, 0);
    assert_int_equal(forwards(FATTN_OK, &reached), FATTN_E_SHAPE);
    assert_string_equal(fattn_error_message(), "reached: 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_sentence),
        cmocka_unit_test(test_long_sentence_is_cut),
        cmocka_unit_test(test_appended),
        cmocka_unit_test(test_one_buffer_per_thread),
        cmocka_unit_test(test_macros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
