/* SPDX-License-Identifier: Apache-2.0 */
/* philox.c — the check vectors of spec fusion-attention 8.6; the first line is the public known answer of
 * Philox4x32-10 for zeros. */
#include "base/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void check_vectors(void **state)
{
    static const struct {
        uint64_t seed, offset;
        uint32_t words[8];
    } cases[] = {
        {0,
         0,
         {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8, 0xf8e4cca4, 0x5cb200db, 0xb1a574eb,
          0x097eff67}},
        {2,
         0,
         {0x6cea1ec5, 0x7f4dbfff, 0xf99450e5, 0x664593ce, 0x12e48da7, 0x3b20d6d5, 0xf6b9713a,
          0x7ec43907}},
        {2,
         12,
         {0x4548d952, 0x366038b0, 0x5a3e6dd1, 0x0695755c, 0x506d6f7e, 0xee2d9504, 0x00ea171d,
          0x80554f6c}},
        {UINT64_C(1234567890123),
         7,
         {0x7df4d988, 0xb0f99919, 0xc407db32, 0x6f44a04c, 0x92a33132, 0xaf4299b3, 0x9b066a72,
          0xdb40b5a5}},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        for (uint64_t block = 0; block < 2; block++) {
            uint32_t words[PHILOX_WORDS];
            philox_block(cases[c].seed, cases[c].offset, block, words);
            for (int i = 0; i < PHILOX_WORDS; i++)
                assert_int_equal(words[i], cases[c].words[4 * (int)block + i]);
        }
}

/* The counter is one 128-bit number: block 2^32 of offset 0 changes its second word, not the key. */
static void blocks_carry(void **state)
{
    uint32_t a[PHILOX_WORDS], b[PHILOX_WORDS];
    int same = 0;
    (void)state;
    philox_block(5, 0, UINT64_C(1) << 32, a);
    philox_block(5, 0, 0, b);
    for (int i = 0; i < PHILOX_WORDS; i++) same += a[i] == b[i];
    assert_int_equal(same, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(check_vectors),
                                       cmocka_unit_test(blocks_carry)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
