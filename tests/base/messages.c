/* SPDX-License-Identifier: Apache-2.0 */
/* messages.c — the language of sentences, the page behind them, and cutting between characters.
 * That the table holds every sentence of the code is checked by messages.py. */
#include "cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/messages.h"
#include "fattn/fattn.h"

static int english(void **state)
{
    (void)state;
    message_set_language(LANGUAGE_ENGLISH);
    return 0;
}

static void names_of_languages(void **state)
{
    (void)state;
    assert_int_equal(message_language_from_name("en"), LANGUAGE_ENGLISH);
    assert_int_equal(message_language_from_name("zh"), LANGUAGE_CHINESE);
    assert_int_equal(message_language_from_name("zh_CN.UTF-8"), LANGUAGE_CHINESE);
    assert_int_equal(message_language_from_name("zh-CN"), LANGUAGE_CHINESE);
    assert_int_equal(message_language_from_name("zh.UTF-8"), LANGUAGE_CHINESE);
    assert_int_equal(message_language_from_name("en-GB"), LANGUAGE_ENGLISH);
    assert_int_equal(message_language_from_name("en.UTF-8"), LANGUAGE_ENGLISH);
    assert_int_equal(message_language_from_name("en_US"), LANGUAGE_ENGLISH);
    const char *const unknown[] = {"", "z", "de", "zhong", "zh CN", "zh,", "EN", "c", "-zh"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        assert_true(message_language_from_name(unknown[i]) < 0);
}

static void the_page_stands_behind(void **state)
{
    (void)state;
    assert_int_equal(error_set(FATTN_E_ARG, "block_size: %lld is not positive", -3LL), FATTN_E_ARG);
    assert_string_equal(fattn_error_message(),
                        "block_size: -3 is not positive (docs/calls.md#decode-steps)");
}

static void chinese_on_request(void **state)
{
    (void)state;
    message_set_language(LANGUAGE_CHINESE);
    error_set(FATTN_E_ARG, "block_size: %lld is not positive", -3LL);
    assert_string_equal(fattn_error_message(),
                        "block_size：-3 不是正数 (docs/calls.md#decode-steps)");
    error_set(FATTN_E_ARG, "a sentence that no table knows: %d", 7);
    assert_string_equal(fattn_error_message(), "a sentence that no table knows: 7");
}

/* A sentence that fills the buffer ends with a whole character. */
static void cut_between_characters(void **state)
{
    (void)state;
    char text[3002] = "";
    for (int shift = 0; shift < 3; shift++) {
        memset(text, 'x', (size_t)shift);
        for (int i = shift; i + 3 < 3000; i += 3) memcpy(text + i, "头", 4);
        error_set(FATTN_E_ARG, "%s", text);
        const char *said = fattn_error_message();
        const size_t length = strlen(said);
        assert_true(length >= 900 && length < 1024);
        assert_int_equal((length - (size_t)shift) % 3, 0);
        assert_memory_equal(said, text, length);
    }
}

static void parts(void **state)
{
    (void)state;
    assert_string_equal(message_say("no part of any sentence"), "no part of any sentence");
    for (size_t i = 0; i < message_count; i++) {
        const fattn_message *m = &message_table[i];
        message_set_language(LANGUAGE_ENGLISH);
        assert_string_equal(message_say(m->english), m->english);
        message_set_language(LANGUAGE_CHINESE);
        assert_string_equal(message_say(m->english), m->chinese);
        assert_ptr_equal(message_find(m->english), m);
    }
    assert_null(message_find(""));
}

/* What a sentence is given as a part is in its language, too: the help of a parameter, and a
 * clause. */
static void sentences_are_of_one_language(void **state)
{
    (void)state;
    message_set_language(LANGUAGE_CHINESE);
    fattn_attention_update_args none;
    fattn_attention_update_args_init(&none);
    assert_int_equal(fattn_attention_update(NULL, &none), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "共 1..32 个"));
    assert_null(strstr(fattn_error_message(), "each"));

    float data[32] = {0};
    const int64_t square[] = {1, 2, 2, 8}; /* BSH, 2 heads: BSND and BNSD fit */
    fattn_tensor tensor = fattn_tensor_contiguous(data, FATTN_F32, 4, square);
    fattn_prompt_flash_attention_args prompt;
    fattn_prompt_flash_attention_args_init(&prompt);
    prompt.query = prompt.key = prompt.value = &tensor;
    prompt.attention_out = &tensor;
    prompt.num_heads = 2;
    assert_int_equal(fattn_prompt_flash_attention(NULL, &prompt), FATTN_E_SHAPE);
    assert_non_null(strstr(fattn_error_message(), "都相符"));
    assert_null(strstr(fattn_error_message(), "both"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(names_of_languages, english),
        cmocka_unit_test_teardown(the_page_stands_behind, english),
        cmocka_unit_test_teardown(chinese_on_request, english),
        cmocka_unit_test_teardown(cut_between_characters, english),
        cmocka_unit_test_teardown(parts, english),
        cmocka_unit_test_teardown(sentences_are_of_one_language, english),
    };
    return cmocka_run_group_tests(tests, english, NULL);
}
