/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.c — the mask bytes of spec fusion-attention 8.6 for every dtype's rule, 64 cells at a time and
 * cell by cell; keep_prob to threshold; sizes of packed masks (F13). */
#include "core/dropout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void mask_bytes(void **state)
{
    static const struct {
        fattn_dtype dtype;
        float keep;
        uint8_t bytes[16];
    } cases[] = {
        {FATTN_F32,
         0.9f,
         {255, 251, 251, 127, 255, 255, 255, 147, 237, 255, 121, 238, 254, 252, 255, 255}},
        {FATTN_F16,
         0.9f,
         {255, 239, 255, 255, 255, 223, 255, 187, 255, 219, 253, 255, 255, 255, 191, 255}},
        {FATTN_BF16,
         0.9f,
         {127, 127, 191, 157, 221, 254, 235, 123, 255, 255, 103, 255, 255, 255, 255, 255}},
        {FATTN_F32, 0.5f, {155, 26, 185, 28, 52, 31, 159, 147, 137, 116, 33, 34, 86, 48, 31, 117}},
        {FATTN_F16,
         0.5f,
         {43, 207, 69, 210, 213, 155, 4, 19, 47, 25, 245, 207, 196, 114, 170, 227}},
        {FATTN_BF16, 0.5f, {47, 7, 46, 20, 89, 68, 9, 18, 244, 45, 100, 132, 218, 119, 217, 133}},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        fattn_problem p = {.n_heads = 1};
        fattn_ptrs ptrs = {.seed = 2};
        fattn_seq seq = {.q_len = 2, .kv_len = 64};
        dropout_translate(&p.dropout, cases[c].dtype, (double)cases[c].keep);
        for (int64_t e = 0; e < 128; e++) {
            const bool want = cases[c].bytes[e >> 3] >> (e & 7) & 1;
            assert_int_equal(dropout_keeps(&p, &ptrs, &seq, 0, e / 64, e % 64), want);
        }
        for (uint64_t e = 0; e < 64; e++) {
            const uint64_t word = dropout_word(&p.dropout, 2, 0, e);
            for (uint64_t bit = 0; bit < 64; bit++)
                assert_int_equal(word >> bit & 1,
                                 cases[c].bytes[(e + bit) >> 3] >> ((e + bit) & 7) & 1);
        }
    }
}

/* P(keep) of 8.6: 921 of 1024 in fp16, 115 of 128 in bf16. */
static void thresholds(void **state)
{
    fattn_dropout d = {0};
    (void)state;
    dropout_translate(&d, FATTN_F16, 0.9);
    assert_int_equal(1024 - d.threshold, 921);
    dropout_translate(&d, FATTN_BF16, 0.9);
    assert_int_equal(128 - d.threshold, 115);
    assert_true(d.factor == 1 / 0.9 && d.kind == DROPOUT_PHILOX);
    dropout_rule(&d, FATTN_F32, 0);
    assert_int_equal(d.threshold, 0);
    dropout_rule(&d, FATTN_F32, 1);
    assert_int_equal(d.threshold, 1 << 23);
}

/* 11.4: sequence 1 of lengths q 2, 3 and kv 3, 1 with 3 heads: head 2, row 1, key 0 is element 25. */
static void elements(void **state)
{
    const uint8_t mask[4] = {0, 0, 0, 2};
    const fattn_problem p = {.n_heads = 3, .dropout = {.kind = DROPOUT_BITS}};
    const fattn_ptrs ptrs = {.dropout_mask = mask};
    const fattn_seq seq = {.q_len = 3, .kv_len = 1, .drop_base = 18};
    (void)state;
    assert_int_equal(dropout_element(&seq, 2, 1, 0), 25);
    assert_true(dropout_keeps(&p, &ptrs, &seq, 2, 1, 0));
    assert_false(dropout_keeps(&p, &ptrs, &seq, 2, 0, 0));
}

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(dropout_mask_bytes(27), 16);
    assert_int_equal(dropout_mask_bytes(1), 16);
    assert_int_equal(dropout_mask_bytes(127), 16);
    assert_int_equal(dropout_mask_bytes(128), 16);
    assert_int_equal(dropout_mask_bytes(129), 32);
    assert_int_equal(dropout_mask_bytes(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mask_bytes), cmocka_unit_test(thresholds),
                                       cmocka_unit_test(elements), cmocka_unit_test(sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
