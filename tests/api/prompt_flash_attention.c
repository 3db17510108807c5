/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_flash_attention: the hand-checkable vectors, then layouts, modes, masks, bias and lengths
 * against the formula in double (spec inference 1, 2, 6). */
#include "api/infer_common.h"

static const char *const layouts[] = {"BSH", "BSND", "BNSD"};

static void anchors(void **state)
{
    (void)state;
    infer_case *c = anchor_case(PROMPT, 0, 2);
    expect_anchor(c, (const double[][2]){{3, 4}, {3.172974, 4.172974}}, NULL, "no mask");
    c = anchor_case(PROMPT, 0, 2), c->a.sparse_mode = 3;
    expect_anchor(c, (const double[][2]){{1.755081, 2.755081}, {3.172974, 4.172974}}, NULL,
                  "mode 3");
    c = anchor_case(PROMPT, 0, 2), c->a.sparse_mode = 2;
    expect_anchor(c, (const double[][2]){{1, 2}, {2, 3}}, NULL, "mode 2");
}

static void every_layout(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16, FATTN_F64};
    for (int l = 0; l < 3; l++)
        for (int t = 0; t < 4; t++)
            for (int nkv = 1; nkv <= 4; nkv *= 2) {
                char what[64];
                snprintf(what, sizeof what, "%s %s nkv=%d", layouts[l], fattn_dtype_name(dtypes[t]),
                         nkv);
                infer_case *c = padded_case(PROMPT, layouts[l], dtypes[t], 2, 4, nkv, 5, 9, 12,
                                            nkv == 2 ? 7 : 12);
                if (l > 0 && nkv == 1)
                    c->a.num_heads = c->a.num_key_value_heads = 0; /* from the axes */
                check_infer(c, what);
            }
    check_infer(
        packed_infer(PROMPT, FATTN_F16, 3, (int[]){3, 0, 5}, (int[]){4, 2, 7}, 2, 4, 2, 8, 6),
        "packed");
}

static void modes(void **state)
{
    (void)state;
    static const int sizes[][2] = {{3, 5}, {5, 3}, {4, 4}, {66, 130}};
    static const int tokens[][2] = {{1, 0}, {2, 1}, {-1, 2}, {2, -1}, {1000, 1000}};
    fattn_tensor *causal = causal_mask_2048();
    for (int with = 0; with <= 1; with++)
        for (int mode = 0; mode <= 4; mode++)
            for (int s = 0; s < 4; s++)
                for (int t = 0; t < (mode % 4 ? 1 : 5); t++) {
                    char what[96];
                    snprintf(what, sizeof what, "mode %d %dx%d tokens %d %d mask %d", mode,
                             sizes[s][0], sizes[s][1], tokens[t][0], tokens[t][1], with);
                    infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 2, 2, 1, sizes[s][0],
                                                sizes[s][1], 4, 4);
                    c->a.sparse_mode = mode, c->mode = mode == 0 && !with ? 1 : mode;
                    c->a.pre_tokens = tokens[t][0], c->a.next_tokens = tokens[t][1];
                    if (with && mode < 2) {
                        fattn_tensor *m =
                            tensor_new(FATTN_BOOL, 0, 2, sizes[s][0] + 1, sizes[s][1] + 2);
                        fill_mask(m, 3, 4);
                        c->a.atten_mask = m, c->use_mask = true;
                    } else if (with) {
                        c->a.atten_mask = causal;
                    }
                    check_infer(c, what);
                }
    /* next_tokens is 0 by default: mode 0 with a mask is causal */
    infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 1, 1, 4, 4, 4, 4);
    c->a.atten_mask = tensor_new(FATTN_BOOL, 0, 2, 4, 4), c->use_mask = true, c->mode = 2;
    check_infer(c, "default next_tokens");
}

/* Always the prefill branch: with one query row lengths count, and mode 2 is widened. What the
 * device would refuse is said as such, what it would compute otherwise too. */
static void one_row(void **state)
{
    (void)state;
    for (int mode = 2; mode <= 4; mode++) {
        infer_case *c = padded_case(PROMPT, "BNSD", FATTN_F32, 2, 2, 1, 1, 6, 4, 4);
        c->a.sparse_mode = mode, c->a.pre_tokens = 2, c->a.next_tokens = 0;
        c->mode = mode == 4 ? 4 : 1;
        check_infer(c, "one row");
        assert_true(warned_of("infer_mode_without_mask"));
        assert_false(warned_of("decode_sparse_mode"));
        c->a.atten_mask = causal_mask_2048();
        forget_warnings();
        check_infer(c, "one row with a mask");
        assert_int_equal(warned_of("decode_sparse_mode"), mode == 2);
        assert_false(warned_of("infer_mode_without_mask"));
        harness_reset();
    }
    infer_case *c = padded_case(PROMPT, "BNSD", FATTN_BF16, 2, 2, 1, 1, 6, 4, 4);
    c->a.sparse_mode = 2, c->mode = 2, c->strict = true, c->a.atten_mask = causal_mask_2048();
    check_infer(c, "one row strict");
    c = padded_case(PROMPT, "BNSD", FATTN_F32, 2, 2, 1, 1, 6, 4, 4);
    c->a.actual_seq_lengths = list_of(2, 1, 0), c->q_len[1] = 0;
    check_infer(c, "one row, none in the second batch");
}

static void masks(void **state)
{
    (void)state;
    for (int form = 0; form < 5; form++)
        for (int mode = 0; mode <= 1; mode++)
            for (int l = 0; l < 3; l++) {
                infer_case *c = padded_case(PROMPT, layouts[l], FATTN_F32, 2, 2, 1, 4, 6, 4, 4);
                fattn_tensor *m = form == 0   ? tensor_new(FATTN_BOOL, 0, 2, 4, 6)
                                  : form == 1 ? tensor_new(FATTN_I8, 0, 3, 1, 5, 6)
                                  : form == 2 ? tensor_new(FATTN_U8, 0, 3, 2, 4, 8)
                                  : form == 3 ? tensor_new(FATTN_U8, 0, 4, 1, 1, 4, 6)
                                              : tensor_new(FATTN_U8, 0, 4, 2, 1, 4, 7);
                fill_mask(m, (unsigned)form, 3);
                c->a.atten_mask = m, c->use_mask = true;
                c->a.sparse_mode = c->mode = mode;
                c->a.next_tokens = 3;
                check_infer(c, "mask");
            }
}

static void pse_shift(void **state)
{
    (void)state;
    for (int batch = 1; batch <= 2; batch++)
        for (int heads = 1; heads <= 4; heads += 3) {
            infer_case *c = padded_case(PROMPT, "BSH", FATTN_BF16, 2, 4, 2, 4, 6, 4, 4);
            c->a.pse_shift = tensor_new(FATTN_BF16, 9, 4, batch, heads, 5, 7);
            check_infer(c, "pse_shift");
        }
}

static void lengths(void **state)
{
    (void)state;
    infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 3, 2, 1, 5, 6, 4, 4);
    c->a.actual_seq_lengths = list_of(3, 5, 0, 2),
    c->a.actual_seq_lengths_kv = list_of(4, 6, 3, 0, 99);
    c->q_len[1] = 0, c->q_len[2] = 2, c->k_len[1] = 3, c->k_len[2] = 0;
    check_infer(c, "per batch");
    c->a.sparse_mode = c->mode = 3;
    check_infer(c, "per batch, mode 3");
    c = padded_case(PROMPT, "BNSD", FATTN_F32, 3, 2, 1, 5, 6, 4, 4);
    c->a.actual_seq_lengths = list_of(1, 4), c->a.actual_seq_lengths_kv = list_of(1, 2);
    for (int b = 0; b < 3; b++) c->q_len[b] = 4, c->k_len[b] = 2;
    check_infer(c, "one for all");
    c = packed_infer(PROMPT, FATTN_F32, 3, (int[]){3, 1, 2}, (int[]){4, 2, 7}, 0, 2, 1, 4, 4);
    c->a.actual_seq_lengths = list_of(3, 3, 1, 2), c->a.actual_seq_lengths_kv = list_of(3, 4, 2, 7);
    c->a.sparse_mode = c->mode = 3;
    check_infer(c, "packed lengths");
    assert_true(warned_of("lengths_not_cumulative"));
}

/* Strict: a row hidden by the mask's content is a mean; fp16 scores are rounded before the scale.
 */
static void strict_rows(void **state)
{
    (void)state;
    infer_case *c = padded_case(PROMPT, "BNSD", FATTN_BF16, 1, 2, 1, 4, 6, 4, 4);
    fattn_tensor *m = tensor_new(FATTN_U8, 0, 2, 4, 6);
    for (int j = 0; j < 6; j++) put2(m, 1, j, 1);
    c->a.atten_mask = m, c->a.sparse_mode = 1, c->use_mask = true;
    check_infer(c, "default: 0");
    c->strict = c->mean = true;
    check_infer(c, "strict: mean");

    c = padded_case(PROMPT, "BNSD", FATTN_F16, 1, 1, 1, 1, 2, 2, 2);
    put4(c->a.query, 0, 0, 0, 0, 32), put4(c->a.query, 0, 0, 0, 1, 1);
    put4(c->a.key, 0, 0, 0, 0, 64), put4(c->a.key, 0, 0, 0, 1, 0.75); /* 2048.75 -> 2048 in fp16 */
    put4(c->a.key, 0, 0, 1, 0, 64), put4(c->a.key, 0, 0, 1, 1, 0);
    put4(c->a.value, 0, 0, 0, 0, 0), put4(c->a.value, 0, 0, 1, 0, 1);
    c->a.scale = 1;
    EXPECT_OK(call_infer(c), "fp16 default");
    assert_true(fabs(out_at(c, 0, 0, 0, 0) - 1 / (1 + exp(0.75))) < 1e-3);
    c->strict = true;
    EXPECT_OK(call_infer(c), "fp16 strict");
    assert_true(out_at(c, 0, 0, 0, 0) == 0.5);
    c->a.sparse_mode = 10; /* inner_precise 0 */
    EXPECT_OK(call_infer(c), "fp16 strict, mode 10");
    assert_true(fabs(out_at(c, 0, 0, 0, 0) - 1 / (1 + exp(0.75))) < 1e-3);
}

/* sparse_mode 10..14 are 0..4. */
static void precise_modes(void **state)
{
    (void)state;
    for (int mode = 0; mode <= 4; mode++) {
        infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 2, 1, 4, 6, 4, 4);
        c->a.sparse_mode = 10 + mode, c->mode = mode ? mode : 1;
        c->a.pre_tokens = 2, c->a.next_tokens = 1;
        check_infer(c, "mode 10 + mode");
    }
    infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 2, 1, 4, 6, 4, 4);
    for (int mode = 9; mode <= 15; mode += 6) {
        c->a.sparse_mode = mode;
        expect_refused(call_infer(c), FATTN_E_ARG, "sparse_mode", "mode 9 or 15");
    }
}

/* Tokens that change nothing are spoken of unless they are a default or mean "all". */
static void ignored_tokens(void **state)
{
    (void)state;
    static const struct {
        int64_t pre, next;
        bool warned;
    } cases[] = {{INT32_MAX, 0, false},         {INT32_MAX, INT32_MAX, false},
                 {INT64_MAX, INT64_MAX, false}, {INT32_MAX, 5, true},
                 {INT32_MAX, -1, true},         {7, 0, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 2, 1, 4, 6, 4, 4);
        c->a.pre_tokens = cases[i].pre, c->a.next_tokens = cases[i].next;
        forget_warnings();
        check_infer(c, "tokens without a mask");
        if (warned_of("tokens_without_mask") != cases[i].warned)
            fail_msg("pre_tokens %lld, next_tokens %lld: warned %d", (long long)cases[i].pre,
                     (long long)cases[i].next, !cases[i].warned);
    }
}

/* Training and inference have a place each for a mode without its mask. */
static void places_of_their_own(void **state)
{
    (void)state;
    for (int mode = 1; mode <= 4; mode++) {
        infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 2, 1, 4, 6, 4, 4);
        c->a.sparse_mode = c->mode = mode;
        forget_warnings();
        check_infer(c, "no mask");
        assert_int_equal(warnings(), 1);
        assert_true(warned_of("infer_mode_without_mask"));
    }
}

static void lenient_layouts(void **state)
{
    (void)state;
    infer_case *c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 8, 2, 6, 9, 4, 4);
    c->a.input_layout = "BNSD"; /* BSND tensors under the name BNSD */
    check_infer(c, "BSND under BNSD");
    assert_true(warned_of("layout_read_as_bsnd"));
    c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 8, 2, 6, 9, 4, 4);
    c->a.input_layout = "BSH";
    check_infer(c, "rank 4 under BSH");
    c = padded_case(PROMPT, "BSND", FATTN_F32, 1, 8, 2, 6, 9, 4, 4);
    c->a.input_layout = "BSNH";
    check_infer(c, "BSNH");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, infer_setup)
    const struct CMUnitTest tests[] = {
        TEST(anchors),         TEST(every_layout),  TEST(modes),          TEST(one_row),
        TEST(masks),           TEST(pse_shift),     TEST(lengths),        TEST(strict_rows),
        TEST(lenient_layouts), TEST(precise_modes), TEST(ignored_tokens), TEST(places_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
