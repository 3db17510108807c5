/* SPDX-License-Identifier: Apache-2.0 */
/* incre_flash_attention: one query row per batch, contiguous and paged, against the formula in
 * double (spec inference 1, 3.1, 7). */
#include "api/infer_common.h"

static const char *const layouts[] = {"BSH", "BSND", "BNSD"};

static void anchors(void **state)
{
    (void)state;
    expect_anchor(anchor_case(INCRE, 0, 1), (const double[][2]){{3, 4}}, NULL, "row 0");
    expect_anchor(anchor_case(INCRE, 1, 1), (const double[][2]){{3.172974, 4.172974}}, NULL,
                  "row 1");
}

static void every_layout(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    for (int l = 0; l < 3; l++)
        for (int t = 0; t < 3; t++)
            for (int nkv = 1; nkv <= 4; nkv *= 2)
                check_infer(padded_case(INCRE, layouts[l], dtypes[t], 3, 4, nkv, 1, 70, 12,
                                        nkv == 2 ? 7 : 12),
                            layouts[l]);
}

static void lengths(void **state)
{
    (void)state;
    infer_case *c = padded_case(INCRE, "BSH", FATTN_F32, 3, 2, 1, 1, 9, 4, 4);
    c->a.actual_seq_lengths_kv = list_of(3, 9, 0, 4), c->k_len[1] = 0, c->k_len[2] = 4;
    check_infer(c, "per batch");
    c = padded_case(INCRE, "BSH", FATTN_F32, 3, 2, 1, 1, 9, 4, 4);
    c->a.actual_seq_lengths_kv = list_of(1, 5), c->k_len[0] = c->k_len[1] = c->k_len[2] = 5;
    check_infer(c, "one for all");
}

static void masks(void **state)
{
    (void)state;
    for (int batch = 1; batch <= 3; batch += 2)
        for (int rank = 2; rank <= 4; rank++)
            for (int l = 0; l < 3; l++) {
                infer_case *c = padded_case(INCRE, layouts[l], FATTN_F16, 3, 2, 1, 1, 9, 4, 4);
                fattn_tensor *m = rank == 2   ? tensor_new(FATTN_BOOL, 0, 2, batch, 9)
                                  : rank == 3 ? tensor_new(FATTN_I8, 0, 3, batch, 1, 11)
                                              : tensor_new(FATTN_U8, 0, 4, batch, 1, 1, 9);
                fill_mask(m, (unsigned)rank, 3);
                c->a.atten_mask = m, c->use_mask = c->mask_row0 = true;
                check_infer(c, "mask");
                if (batch == 3) continue;
                c->strict = true;
                expect_refused(call_infer(c), FATTN_E_SHAPE, "atten_mask", "shared mask, strict");
            }
}

/* A mask reaches as far as the longest valid length, not as far as the tensor. */
static void mask_of_valid_keys(void **state)
{
    (void)state;
    for (int strict = 0; strict <= 1; strict++)
        for (int columns = 4; columns <= 7; columns++) {
            infer_case *c = padded_case(INCRE, "BNSD", FATTN_F16, 3, 2, 1, 1, 9, 4, 4);
            c->a.actual_seq_lengths_kv = list_of(3, 3, 5, 0);
            c->k_len[0] = 3, c->k_len[1] = 5, c->k_len[2] = 0, c->strict = strict;
            c->empty_lse = strict ? -3.40e38 : (double)INFINITY;
            fattn_tensor *m = tensor_new(FATTN_BOOL, 0, 2, 3, columns);
            put2(m, 1, 3, 1), put2(m, 0, 0, 1);
            c->a.atten_mask = m, c->use_mask = c->mask_row0 = true;
            if (columns >= 5)
                check_infer(c, "mask of valid keys");
            else
                expect_refused(call_infer(c), FATTN_E_SHAPE, "atten_mask", "too few columns");
        }
}

static void pse_shift(void **state)
{
    (void)state;
    for (int batch = 1; batch <= 3; batch += 2)
        for (int heads = 1; heads <= 2; heads++) {
            infer_case *c = padded_case(INCRE, "BSND", FATTN_F16, 3, 2, 1, 1, 9, 4, 4);
            c->a.pse_shift = tensor_new(FATTN_F16, 7, 4, batch, heads, 1, 10);
            check_infer(c, "pse_shift");
        }
}

/* Every cache form, block size and table dtype; the bits of the contiguous call. */
static void paged(void **state)
{
    (void)state;
    static const int sizes[] = {1, 3, 16, 128, 2}; /* 2 == Nkv: rank 4 is [blocks, Nkv, rows, D] */
    for (int form = BNBSH; form <= BNBSND; form++)
        for (int l = 0; l < 3; l++)
            for (int s = 0; s < (form == BNBSND ? 4 : 5); s++) {
                char what[64];
                snprintf(what, sizeof what, "cache form %d %s block %d", form, layouts[l],
                         sizes[s]);
                infer_case *c = padded_case(INCRE, layouts[l], FATTN_F16, 4, 4, 2, 1, 150, 8, 6);
                c->a.actual_seq_lengths_kv = list_of(4, 150, 0, 1, 77);
                c->k_len[1] = 0, c->k_len[2] = 1, c->k_len[3] = 77;
                EXPECT_OK(call_infer(c), "%s", what);
                const fattn_tensor *dense = c->a.attention_out;
                c->a.attention_out = NULL;
                make_paged(c, (cache_form)form, sizes[s], s % 2 ? FATTN_I64 : FATTN_I32);
                check_infer(c, what);
                assert_memory_equal(dense->data, c->a.attention_out->data, tensor_bytes(dense));
                harness_reset();
            }
}

static void bad_ids(void **state)
{
    (void)state;
    static const int ids[] = {-1, 1000000};
    for (int n = 0; n < 2; n++) {
        infer_case *c = padded_case(INCRE, "BSH", FATTN_F32, 2, 2, 1, 1, 20, 4, 4);
        make_paged(c, BNBSH, 4, FATTN_I32);
        EXPECT_OK(call_infer(c), "good ids");
        const fattn_tensor *before = c->a.attention_out;
        fattn_tensor *after = tensor_like(before);
        put2(c->a.block_table, 1, 2, ids[n]);
        c->a.attention_out = after;
        expect_refused(call_infer(c), FATTN_E_ARG, "block_table", "bad id");
        for (size_t i = 0; i < tensor_bytes(after); i++)
            assert_int_equal(((unsigned char *)after->data)[i], 0xA5);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, infer_setup)
    const struct CMUnitTest tests[] = {
        TEST(anchors),   TEST(every_layout), TEST(lengths), TEST(masks),
        TEST(pse_shift), TEST(paged),        TEST(bad_ids), TEST(mask_of_valid_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
