/* SPDX-License-Identifier: Apache-2.0 */
/* Against the recursion of Chen & Goodman (1998, section 3.1), written a second time by counting in the
 * text, and the sum over all bytes. */
#include "cm.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "train/kneser_ney.h"

static void assert_near(double a, double b, double by) { assert_true(fabs(a - b) <= by); }

static const char text[] = "abracadabra, abracadabra! a cad, a bar, a crab; abra abra cadabra";
enum { N = sizeof text - 1 };

/* How often an n-gram counts: KN_ORDER long, its places; shorter, the different bytes before it among
 * the places where all KN_ORDER bytes fit. */
static int count(const uint8_t *gram, int length)
{
    bool before[256] = {0};
    int places = 0, different = 0;
    for (int i = KN_ORDER - length; i + length <= N; i++) {
        if (memcmp(text + i, gram, (size_t)length) != 0) continue;
        places++;
        if (length == KN_ORDER) continue;
        different += !before[(uint8_t)text[i - 1]];
        before[(uint8_t)text[i - 1]] = true;
    }
    return length == KN_ORDER ? places : different;
}

/* n1 / (n1 + 2 n2) over the different n-grams of a length. */
static double discount(int length)
{
    double once = 0, twice = 0;
    for (int i = KN_ORDER - length; i + length <= N; i++) {
        bool first = true;
        for (int j = KN_ORDER - length; j < i && first; j++)
            first = memcmp(text + i, text + j, (size_t)length) != 0;
        const int c = first ? count((const uint8_t *)text + i, length) : 0;
        once += c == 1, twice += c == 2;
    }
    return once / (once + 2 * twice);
}

static double recursion(const uint8_t *context, int n, int byte)
{
    const int length = n + 1;
    uint8_t gram[KN_ORDER];
    double total = 0, types = 0, own = 0;
    const double lower = n == 0 ? 1.0 / 256 : recursion(context + 1, n - 1, byte);
    memcpy(gram, context, (size_t)n);
    for (int b = 0; b < 256; b++) {
        gram[n] = (uint8_t)b;
        const int c = count(gram, length);
        total += c, types += c > 0;
        if (b == byte) own = c;
    }
    if (total == 0) return lower;
    const double d = discount(length);
    return fmax(own - d, 0) / total + d * types / total * lower;
}

static void equals_the_recursion(void **state)
{
    (void)state;
    static const char *const contexts[] = {"abra", "cada", " a b", "zzzz", "zabr", "a, a", "bra,"};
    kneser_ney *k = kn_train((const uint8_t *)text, N);
    assert_non_null(k);
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        for (const char *b = "abcdr ,;!x"; *b; b++) {
            const uint8_t *context = (const uint8_t *)contexts[i];
            assert_near(kn_probability(k, context, KN_ORDER - 1, (uint8_t)*b),
                                recursion(context, KN_ORDER - 1, (uint8_t)*b), 1e-14);
        }
    kn_free(k);
}

static void sums_to_one(void **state)
{
    (void)state;
    kneser_ney *k = kn_train((const uint8_t *)text, N);
    for (size_t n = 0; n < N; n++) {
        double sum = 0;
        for (int b = 0; b < 256; b++) sum += kn_probability(k, (const uint8_t *)text, n, (uint8_t)b);
        assert_near(sum, 1, 1e-12);
    }
    kn_free(k);
}

static void bits_are_the_mean(void **state)
{
    (void)state;
    kneser_ney *k = kn_train((const uint8_t *)text, N);
    const uint8_t two[] = {'a', 'b'};
    const double bits = -log2(kn_probability(k, two, 0, 'a')) - log2(kn_probability(k, two, 1, 'b'));
    assert_near(kn_bits_per_byte(k, two, 2), bits / 2, 1e-12);
    kn_free(k);
    assert_null(kn_train((const uint8_t *)text, KN_ORDER - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_recursion),
        cmocka_unit_test(sums_to_one),
        cmocka_unit_test(bits_are_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
