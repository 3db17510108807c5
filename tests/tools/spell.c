/* SPDX-License-Identifier: Apache-2.0 */
/* spell.c — the nearest word is found, and nothing is suggested for nonsense. */
#include "cm.h"

#include "tools/spell.h"

#include <string.h>

static const char *const words[] = {"query",       "key",   "key_rope",
                                    "sparse-mode", "scale", "softmax_max"};

static const char *nearest(const char *word)
{
    spell s = spell_start(word);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) spell_offer(&s, words[i]);
    return s.best;
}

static void finds(void **state)
{
    (void)state;
    assert_string_equal(nearest("qeury"), "query");
    assert_string_equal(nearest("kye"), "key");
    assert_string_equal(nearest("keyrope"), "key_rope");
    assert_string_equal(nearest("sparse_mode"), "sparse-mode");
    assert_string_equal(nearest("SCALE"), "scale");
    assert_string_equal(nearest("softmax_sum"), "softmax_max");
    assert_null(nearest("elephant_in_the_room"));
    assert_null(nearest(""));
}

static void long_words(void **state)
{
    (void)state;
    char word[4096];
    memset(word, 'q', sizeof word);
    word[sizeof word - 1] = '\0';
    nearest(word);
    spell s = spell_start("query");
    spell_offer(&s, word);
    assert_null(s.best);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(finds), cmocka_unit_test(long_words)};
    return cmocka_run_group_tests_name("spell", tests, NULL, NULL);
}
