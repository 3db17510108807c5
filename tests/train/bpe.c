/* SPDX-License-Identifier: Apache-2.0 */
/* Merges worked out by hand, any bytes there and back, the file, and damaged files. */
#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "train/bpe.h"
#include "train/weights.h"

enum { MOST = 4096 };

static bpe *learned(const char *text, int vocab)
{
    bpe *b = bpe_train((const uint8_t *)text, strlen(text), vocab);
    assert_non_null(b);
    return b;
}

static void check_tokens(const bpe *b, const char *text, const int32_t *expected, size_t n)
{
    int32_t tokens[MOST];
    assert_int_equal(bpe_encode(b, (const uint8_t *)text, strlen(text), NULL), n);
    assert_int_equal(bpe_encode(b, (const uint8_t *)text, strlen(text), tokens), n);
    assert_memory_equal(tokens, expected, n * sizeof *tokens);
}

/* "ab" occurs three times, then " ab" twice; nothing else occurs twice inside a word. */
static void merges_by_hand(void **state)
{
    (void)state;
    bpe *b = learned("ab ab ab", 1000);
    assert_int_equal(bpe_vocab_size(b), 258);
    check_tokens(b, "ab ab ab", (const int32_t[]){256, 257, 257}, 3);
    check_tokens(b, "ba ab", (const int32_t[]){'b', 'a', 257}, 3);
    bpe_free(b);
}

/* (a,a) and (a,b) both occur twice: the lower ids first. Then (256,b) twice. */
static void ties_go_to_the_lower_ids(void **state)
{
    (void)state;
    bpe *b = learned("aab aab", 257);
    check_tokens(b, "aab", (const int32_t[]){256, 'b'}, 2);
    size_t n;
    assert_memory_equal(bpe_token(b, 256, &n), "aa", 2);
    assert_int_equal(n, 2);
    bpe_free(b);
}

/* No merge crosses from a word into the next one. */
static void words_are_apart(void **state)
{
    (void)state;
    bpe *b = learned("x1 x1 x1 x1 don't don't", 600);
    int32_t tokens[MOST];
    const char *text = "x1 don't";
    const size_t count = bpe_encode(b, (const uint8_t *)text, strlen(text), tokens);
    const char *const expected[] = {"x", "1", " don", "'t"};
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const uint8_t *bytes = bpe_token(b, tokens[i], &n);
        assert_int_equal(n, strlen(expected[i]));
        assert_memory_equal(bytes, expected[i], n);
    }
    bpe_free(b);
}

static void check_there_and_back(const bpe *b, const uint8_t *text, size_t n)
{
    static int32_t tokens[MOST];
    static uint8_t back[2 * MOST];
    const size_t count = bpe_encode(b, text, n, tokens);
    size_t to = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const uint8_t *piece = bpe_token(b, tokens[i], &bytes);
        memcpy(back + to, piece, bytes);
        to += bytes;
    }
    assert_int_equal(to, n);
    assert_memory_equal(back, text, n);
}

static void any_bytes_there_and_back(void **state)
{
    (void)state;
    bpe *b = learned("the cat and the hat and the bat, 12 times 12 is 144\n\n  the end", 400);
    static uint8_t text[MOST];
    for (uint64_t seed = 0; seed < 50; seed++) {
        const size_t n = (size_t)(random_uniform(seed, 0) * MOST);
        const double few = seed % 2 ? 128 : 256; /* ASCII alone has longer words */
        for (size_t i = 0; i < n; i++) text[i] = (uint8_t)(random_uniform(seed, i + 1) * few);
        check_there_and_back(b, text, n);
    }
    memset(text, 'a', sizeof text); /* one word */
    check_there_and_back(b, text, sizeof text);
    memset(text, ' ', sizeof text);
    check_there_and_back(b, text, sizeof text);
    check_there_and_back(b, text, 0);
    bpe_free(b);
}

static void bytes_alone(void **state)
{
    (void)state;
    bpe *b = learned("aaaa aaaa", 256);
    assert_int_equal(bpe_vocab_size(b), 256);
    check_tokens(b, "a\xff", (const int32_t[]){'a', 255}, 2);
    bpe_free(b);
}

static void spoil(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void the_file_says_the_same(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "{", "[]", "{\"model\": {\"vocab\": {}, \"merges\": []}}",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}}",
        "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": [7]}}"};
    char dir[] = "/tmp/fattn-bpe-XXXXXX", path[64], error[600];
    assert_non_null(mkdtemp(dir));
    bpe *b = learned("the cat and the hat \xc3\xa9 \xc3\xa9 and the bat, 12 times 12", 300);
    assert_true(bpe_write(b, dir, error, sizeof error));
    bpe *again = bpe_read(dir, error, sizeof error);
    assert_non_null(again);
    assert_int_equal(bpe_vocab_size(again), bpe_vocab_size(b));
    for (int32_t t = 0; t < bpe_vocab_size(b); t++) {
        size_t n, m;
        const uint8_t *x = bpe_token(b, t, &n), *y = bpe_token(again, t, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
    }
    int32_t one[MOST], other[MOST];
    const char *text = "the bat and the caf\xc3\xa9, 12 hats";
    const size_t count = bpe_encode(b, (const uint8_t *)text, strlen(text), one);
    assert_int_equal(bpe_encode(again, (const uint8_t *)text, strlen(text), other), count);
    assert_memory_equal(one, other, count * sizeof *one);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spoil(path, bad[i]);
        assert_null(bpe_read(dir, error, sizeof error));
        assert_non_null(strstr(error, "tokenizer.json"));
        assert_null(strchr(error, '\n'));
    }
    unlink(path), rmdir(dir);
    assert_null(bpe_read(dir, error, sizeof error));
    bpe_free(b), bpe_free(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_hand),           cmocka_unit_test(ties_go_to_the_lower_ids),
        cmocka_unit_test(words_are_apart),          cmocka_unit_test(any_bytes_there_and_back),
        cmocka_unit_test(bytes_alone),              cmocka_unit_test(the_file_says_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
