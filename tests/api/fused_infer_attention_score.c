/* SPDX-License-Identifier: Apache-2.0 */
/* fused_infer_attention_score v1: vectors with lse, both branches, paged caches, one-row rules,
 * strict corners, all against the formula in double (spec inference 1-3, 8, 10, 18). */
#include "api/infer_common.h"

#include <float.h>

static const char *const layouts[] = {"BSH", "BSND", "BNSD"};

static void anchors(void **state)
{
    (void)state;
    infer_case *c = anchor_case(FUSED, 0, 2);
    expect_anchor(c, (const double[][2]){{3, 4}, {3.172974, 4.172974}},
                  (double[]){1.458020, 1.439070}, "no mask");
    c = anchor_case(FUSED, 0, 2), c->a.sparse_mode = 3;
    expect_anchor(c, (const double[][2]){{1.755081, 2.755081}, {3.172974, 4.172974}},
                  (double[]){0.974077, 1.439070}, "mode 3");
    c = anchor_case(FUSED, 0, 2), c->a.sparse_mode = 2;
    expect_anchor(c, (const double[][2]){{1, 2}, {2, 3}}, (double[]){0.5, 0.943147}, "mode 2");
    c = anchor_case(FUSED, 0, 2), c->a.sparse_mode = 3;
    static const double bias[2][3] = {{0.1, -0.2, 0}, {0, 0.3, -0.1}};
    fattn_tensor *pse = tensor_new(FATTN_F32, 0, 4, 1, 1, 2, 3);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++) put4(pse, 0, 0, i, j, bias[i][j]);
    c->a.pse_shift = pse;
    expect_anchor(c, (const double[][2]){{1.620051, 2.620051}, {3.092169, 4.092169}},
                  (double[]){0.971101, 1.506098}, "mode 3 with pse");
}

static void lse_shapes(void **state)
{
    (void)state;
    fattn_tensor shapes[2];
    infer_case *c = padded_case(FUSED, "BSND", FATTN_F32, 2, 4, 4, 3, 5, 4, 4);
    EXPECT_OK(fattn_fused_infer_attention_score_shapes(plain_context(), &c->a, shapes), "shapes");
    assert_int_equal(shapes[1].rank, 4);
    assert_int_equal(shapes[1].shape[1], 4);
    assert_int_equal(shapes[1].shape[2], 3);
    check_infer(c, "BSND with lse");
    c = padded_case(FUSED, "BSND", FATTN_F32, 2, 4, 4, 3, 5, 4, 4);
    c->a.softmax_lse_flag = false;
    check_infer(c, "no lse");
    assert_int_equal(c->a.softmax_lse->rank, 1);
    assert_int_equal(c->a.softmax_lse->shape[0], 1);
    c = padded_case(FUSED, "BSND", FATTN_F32, 2, 4, 4, 3, 5, 4, 4);
    c->a.softmax_lse = tensor_spread(tensor_new(FATTN_F32, 0, 4, 2, 4, 3, 1));
    check_infer(c, "strided lse");
}

static void every_layout(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16, FATTN_F64};
    for (int l = 0; l < 3; l++)
        for (int t = 0; t < 4; t++)
            for (int sq = 1; sq <= 5; sq += 4)
                check_infer(padded_case(FUSED, layouts[l], dtypes[t], 2, 4, 2, sq, 70, 12, 9),
                            layouts[l]);
    for (int mode = 0; mode <= 4; mode++) {
        infer_case *c = packed_infer(FUSED, FATTN_F16, 4, (int[]){3, 0, 5, 1}, (int[]){4, 2, 3, 70},
                                     2, 4, 2, 8, 6);
        c->a.sparse_mode = mode, c->mode = mode ? mode : 1;
        c->a.pre_tokens = 2, c->a.next_tokens = 1;
        check_infer(c, "packed");
    }
}

/* The same values, any layout: the same bits. */
static void layouts_agree(void **state)
{
    (void)state;
    for (int sq = 1; sq <= 33; sq += 32) {
        infer_case *first = padded_case(FUSED, "BNSD", FATTN_BF16, 2, 4, 2, sq, 90, 20, 20);
        first->a.sparse_mode = 3;
        EXPECT_OK(call_infer(first), "BNSD");
        for (int l = 0; l < 2; l++) {
            infer_case *c = padded_case(FUSED, layouts[l], FATTN_BF16, 2, 4, 2, sq, 90, 20, 20);
            c->a.sparse_mode = 3;
            EXPECT_OK(call_infer(c), "%s", layouts[l]);
            assert_memory_equal(c->a.softmax_lse->data, first->a.softmax_lse->data,
                                tensor_bytes(c->a.softmax_lse));
            for (int b = 0; b < 2; b++)
                for (int h = 0; h < 4; h++)
                    for (int i = 0; i < sq; i++)
                        for (int x = 0; x < 20; x++)
                            assert_true(out_at(c, b, h, i, x) == out_at(first, b, h, i, x));
        }
    }
}

static void paged(void **state)
{
    (void)state;
    static const int sizes[] = {1, 5, 16, 128};
    for (int form = BNBSH; form <= BNBSND; form++)
        for (int l = 0; l < 4; l++)
            for (int s = 0; s < 4; s++) {
                char what[64];
                snprintf(what, sizeof what, "cache form %d layout %d block %d", form, l, sizes[s]);
                infer_case *c =
                    l < 3 ? padded_case(FUSED, layouts[l], FATTN_F16, 3, 4, 2, 6, 140, 8, 6)
                          : packed_infer(FUSED, FATTN_F16, 3, (int[]){3, 1, 4}, (int[]){140, 9, 0},
                                         1, 4, 2, 8, 6);
                if (l < 3) {
                    c->a.actual_seq_lengths_kv = list_of(3, 140, 9, 0);
                    c->k_len[1] = 9, c->k_len[2] = 0;
                }
                c->a.sparse_mode = c->mode = 3;
                make_paged(c, (cache_form)form, sizes[s], s % 2 ? FATTN_I32 : FATTN_I64);
                if (s == 2 && form != BNBSND) c->a.block_size = 0; /* as the cache says */
                check_infer(c, what);
                assert_int_equal(warned_of("cache_read_as_bnbsnd"), form == BNBSND);
                harness_reset();
            }
    infer_case *c = packed_infer(FUSED, FATTN_F16, 2, (int[]){3, 1}, (int[]){14, 9}, 0, 4, 2, 8, 6);
    make_paged(c, BNBSND, 4, FATTN_I32);
    c->strict = true;
    expect_refused(call_infer(c), FATTN_E_SHAPE, "key", "BnBsND, strict");
}

static void lengths(void **state)
{
    (void)state;
    infer_case *c = padded_case(FUSED, "BSH", FATTN_F32, 3, 2, 1, 5, 6, 4, 4);
    c->a.actual_seq_lengths = list_of(5, 5, 0, 2, 7, 7),
    c->a.actual_seq_lengths_kv = list_of(3, 6, 3, 0);
    c->q_len[1] = 0, c->q_len[2] = 2, c->k_len[1] = 3, c->k_len[2] = 0;
    check_infer(c, "per batch");
    /* callers pass the same lengths for queries and keys */
    c = padded_case(FUSED, "BSH", FATTN_F32, 2, 2, 1, 5, 9, 4, 4);
    c->a.actual_seq_lengths = c->a.actual_seq_lengths_kv = list_of(1, 9);
    check_infer(c, "clamped");
    assert_true(warned_of("q_length_clamped"));
    c->strict = true;
    expect_refused(call_infer(c), FATTN_E_ARG, "actual_seq_lengths", "clamped, strict");
    c = padded_case(FUSED, "BSH", FATTN_F32, 2, 2, 1, 5, 9, 4, 4);
    c->a.actual_seq_lengths = list_of(1, 8), c->a.actual_seq_lengths_kv = list_of(1, 9);
    expect_refused(call_infer(c), FATTN_E_ARG, "actual_seq_lengths", "too long");
    /* one query row: query lengths are ignored */
    forget_warnings();
    c = padded_case(FUSED, "BSH", FATTN_F32, 2, 2, 1, 1, 9, 4, 4);
    c->a.actual_seq_lengths = list_of(1, 9), c->a.actual_seq_lengths_kv = list_of(1, 9);
    check_infer(c, "decode");
    assert_int_equal(warnings(), 0);
    /* packed: a tail is padding by default, an error in strict */
    c = packed_infer(FUSED, FATTN_F32, 2, (int[]){3, 2}, (int[]){4, 2}, 3, 2, 1, 4, 4);
    check_infer(c, "tail");
    c->strict = true;
    expect_refused(call_infer(c), FATTN_E_ARG, "actual_seq_lengths", "tail, strict");
}

static void masks_and_bias(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        infer_case *c = padded_case(FUSED, "BSND", FATTN_F32, 2, 2, 1, 4, 6, 4, 4);
        fattn_tensor *m = form == 0   ? tensor_new(FATTN_BOOL, 0, 2, 4, 6)
                          : form == 1 ? tensor_new(FATTN_I8, 0, 3, 2, 5, 6)
                          : form == 2 ? tensor_new(FATTN_U8, 0, 4, 1, 1, 4, 6)
                                      : tensor_new(FATTN_U8, 0, 4, 2, 1, 4, 7);
        fill_mask(m, (unsigned)form, 3);
        c->a.atten_mask = m, c->use_mask = true;
        c->a.pse_shift = tensor_new(FATTN_F32, 4, 4, 2, 2, 4, 6);
        check_infer(c, "prefill mask");
        c = padded_case(FUSED, "BSND", FATTN_F32, 2, 2, 1, 1, 6, 4, 4);
        m = form == 0   ? tensor_new(FATTN_BOOL, 0, 2, 2, 6)
            : form == 1 ? tensor_new(FATTN_I8, 0, 3, 1, 2048, 2048) /* one row of many */
            : form == 2 ? tensor_new(FATTN_U8, 0, 4, 2, 1, 1, 6)
                        : tensor_new(FATTN_U8, 0, 3, 2, 1, 6);
        fill_mask(m, (unsigned)form, 3);
        c->a.atten_mask = m, c->use_mask = c->mask_row0 = true;
        c->a.sparse_mode = form % 2;
        c->a.pse_shift = tensor_new(FATTN_F32, 4, 4, 1, 2, 1, 6);
        check_infer(c, "decode mask");
    }
    /* paged keys: the mask may end at the longest sequence */
    infer_case *c = padded_case(FUSED, "BSND", FATTN_F32, 2, 2, 1, 3, 10, 4, 4);
    c->a.actual_seq_lengths_kv = list_of(2, 10, 7), c->k_len[1] = 7;
    make_paged(c, BNBSH, 4, FATTN_I32);
    fattn_tensor *m = tensor_new(FATTN_BOOL, 0, 3, 2, 3, 10);
    fill_mask(m, 6, 3);
    c->a.atten_mask = m, c->use_mask = true, c->a.sparse_mode = 1;
    check_infer(c, "paged mask");
}

/* docs/masks.md, one query row: modes 2 and 3 see every key, mode 4 keeps its band. */
static void one_row(void **state)
{
    (void)state;
    fattn_tensor *causal = causal_mask_2048();
    for (int with = 0; with <= 1; with++)
        for (int mode = 2; mode <= 4; mode++)
            for (int l = 0; l < 3; l++) {
                infer_case *c = padded_case(FUSED, layouts[l], FATTN_F32, 2, 2, 1, 1, 9, 4, 4);
                c->a.actual_seq_lengths_kv = list_of(2, 9, 5), c->k_len[1] = 5;
                c->a.sparse_mode = mode, c->a.pre_tokens = 2, c->a.next_tokens = 0;
                if (with) c->a.atten_mask = causal;
                c->mode = mode == 4 ? 4 : 1;
                forget_warnings();
                check_infer(c, "one row");
                assert_int_equal(warned_of("decode_sparse_mode"), with || mode == 4);
                /* strict: ignored, or row 0 of the mask */
                c = padded_case(FUSED, layouts[l], FATTN_F16, 2, 2, 1, 1, 9, 4, 4);
                c->a.actual_seq_lengths_kv = list_of(2, 9, 5), c->k_len[1] = 5;
                c->a.sparse_mode = mode, c->a.pre_tokens = 2, c->a.next_tokens = 0;
                c->strict = true;
                if (with) c->a.atten_mask = causal;
                c->first_key = with && mode >= 3 && l != 1;
                if (with && !c->first_key)
                    expect_refused(call_infer(c), FATTN_E_SHAPE, "atten_mask", "one row, strict");
                else
                    check_infer(c, "one row, strict");
            }
}

/* Layout BSH, paged rank-3 cache, 16-bit: the device slides a window. */
static void hidden_window(void **state)
{
    (void)state;
    for (int strict = 0; strict <= 1; strict++)
        for (int pre = 3; pre <= 12; pre += 9) {
            harness_reset();
            infer_case *c = padded_case(FUSED, "BSH", FATTN_F16, 2, 2, 1, 1, 12, 4, 4);
            c->a.actual_seq_lengths_kv = list_of(2, 12, 2), c->k_len[1] = 2;
            make_paged(c, BNBSH, 16, FATTN_I32);
            c->a.pre_tokens = pre;
            c->strict = strict, c->window = strict ? pre : 0;
            check_infer(c, "hidden window");
            assert_int_equal(warned_of("hidden_window"), !strict && pre == 3);
            /* never both "ignored as on the device" and "the device slides a window" */
            assert_int_equal(warned_of("tokens_without_mask"), !strict && pre == 12);
        }
    infer_case *c = padded_case(FUSED, "BSND", FATTN_F16, 2, 2, 1, 1, 12, 4, 4);
    make_paged(c, BNBSH, 16, FATTN_I32);
    c->a.pre_tokens = 3, c->strict = true;
    check_infer(c, "no window in BSND");
}

/* One query row: the device's decode branch ignores sparse_mode, so mode 1 without a mask is the
 * same in both behaviours. */
static void one_row_mode_1(void **state)
{
    (void)state;
    for (int strict = 0; strict <= 1; strict++) {
        infer_case *c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 1, 9, 4, 4);
        c->a.sparse_mode = 1, c->strict = strict;
        check_infer(c, "mode 1, one row");
        assert_int_equal(warnings(), 0);
    }
}

/* Optional tensors without elements are absent (spec inference 0). */
static void empty_is_absent(void **state)
{
    (void)state;
    for (int rows = 1; rows <= 4; rows += 3) {
        infer_case *c = padded_case(FUSED, "BNSD", FATTN_F32, 2, 2, 1, rows, 9, 4, 4);
        EXPECT_OK(call_infer(c), "nothing optional");
        const fattn_tensor *out = c->a.attention_out;
        c->a.attention_out = NULL;
        c->a.block_table = tensor_new(FATTN_I32, 0, 2, 2, 0);
        c->a.atten_mask = tensor_new(FATTN_BOOL, 0, 2, 0, 0);
        c->a.pse_shift = tensor_new(FATTN_F32, 0, 4, 1, 0, 5, 9);
        c->a.query_rope = tensor_new(FATTN_F16, 0, 1, 0);
        c->a.key_rope = tensor_new(FATTN_F16, 0, 4, 2, 1, 9, 0);
        c->a.query_padding_size = c->a.kv_padding_size = tensor_new(FATTN_I64, 0, 1, 0);
        c->a.key_shared_prefix = c->a.value_shared_prefix = tensor_new(FATTN_F32, 0, 2, 0, 3);
        EXPECT_OK(call_infer(c), "optional tensors without elements");
        assert_memory_equal(out->data, c->a.attention_out->data, tensor_bytes(out));
        assert_int_equal(warnings(), 0);
        c->a.antiquant_scale = tensor_new(FATTN_F32, 0, 1, 0);
        expect_refused(call_infer(c), FATTN_E_ARG, "antiquant_scale", "quantised keys");
    }
    infer_case *c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 4, 9, 16, 16);
    c->a.sparse_mode = 1, c->strict = true, c->a.atten_mask = tensor_new(FATTN_BOOL, 0, 2, 0, 0);
    expect_refused(call_infer(c), FATTN_E_ARG, "atten_mask", "an empty mask is missing");
    c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 4, 0, 16, 16);
    c->a.sparse_mode = 1, c->strict = true, c->a.atten_mask = tensor_new(FATTN_BOOL, 0, 2, 4, 0);
    EXPECT_OK(call_infer(c), "the full-size mask of no keys");
}

static void empty_rows(void **state)
{
    (void)state;
    for (int strict = 0; strict <= 1; strict++) {
        infer_case *c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 1, 6, 4, 4); /* decode */
        c->a.actual_seq_lengths_kv = list_of(2, 6, 0), c->k_len[1] = 0;
        c->strict = strict;
        if (strict) c->empty_lse = (double)-3.40e38f;
        check_infer(c, "decode without keys");
        c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 1, 6, 4, 4);
        fattn_tensor *m = tensor_new(FATTN_U8, 0, 2, 2, 6);
        fill(m, 1);
        put2(m, 0, 3, 0);
        c->a.atten_mask = m, c->use_mask = c->mask_row0 = true;
        c->strict = c->mean = strict, c->mean_lse = -1e12;
        check_infer(c, "decode fully masked");
        c = padded_case(FUSED, "BNSD", FATTN_F16, 2, 2, 1, 5, 3, 16, 16); /* mode 3, Lq > Lk */
        c->a.sparse_mode = c->mode = 3, c->a.atten_mask = causal_mask_2048(), c->strict = strict;
        check_infer(c, "mode 3");
        for (int precise = 0; precise <= 3; precise++) {
            c = padded_case(FUSED, "BNSD", FATTN_F16, 1, 2, 1, 3, 6, 16, 16);
            m = tensor_new(FATTN_U8, 0, 2, 3, 6);
            for (int j = 0; j < 6; j++) put2(m, 2, j, 1);
            c->a.atten_mask = m, c->a.sparse_mode = 1, c->use_mask = true;
            c->a.inner_precise = precise;
            c->strict = strict, c->mean = strict && precise < 2;
            c->mean_lse = precise == 1 ? -65504 : -(double)FLT_MAX;
            if (strict && precise % 2)
                EXPECT_OK(call_infer(c), "rounded scores");
            else
                check_infer(c, "prefill fully masked");
            if (strict && precise == 1)
                assert_true(fabs(get4(c->a.softmax_lse, 0, 0, 2, 0) - (-65504 + log(6))) < 0.01);
        }
    }
    check_infer(padded_case(FUSED, "BSH", FATTN_F32, 2, 2, 1, 4, 0, 4, 4), "no keys");
    check_infer(padded_case(FUSED, "BSH", FATTN_F32, 2, 2, 1, 0, 4, 4, 4), "no queries");
    check_infer(padded_case(FUSED, "BSH", FATTN_F32, 0, 2, 1, 4, 4, 4, 4), "no batch");
    check_infer(packed_infer(FUSED, FATTN_F32, 2, (int[]){3, 4}, (int[]){5, 0}, 0, 2, 1, 4, 4),
                "a packed sequence without keys");
}

/* One plan, many steps: new addresses, new block tables. */
static void plan_with_tables(void **state)
{
    (void)state;
    infer_case *c = padded_case(FUSED, "BSND", FATTN_F16, 2, 4, 2, 1, 40, 8, 8);
    make_paged(c, BNBSH, 8, FATTN_I32);
    EXPECT_OK(call_infer(c), "call");
    fattn_plan *plan = NULL;
    EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), &c->a, &plan), "plan");
    fattn_fused_infer_attention_score_args other = c->a;
    other.attention_out = tensor_like(c->a.attention_out);
    EXPECT_OK(fattn_plan_run(plan, &other, NULL, 0), "run");
    assert_memory_equal(other.attention_out->data, c->a.attention_out->data,
                        tensor_bytes(c->a.attention_out));
    put2(c->a.block_table, 1, 4, -7);
    expect_refused(fattn_plan_run(plan, &other, NULL, 0), FATTN_E_ARG, "block_table",
                   "bad id in a run");
    fattn_plan_destroy(plan);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, infer_setup)
    const struct CMUnitTest tests[] = {
        TEST(anchors),         TEST(lse_shapes), TEST(every_layout),     TEST(layouts_agree),
        TEST(paged),           TEST(lengths),    TEST(masks_and_bias),   TEST(one_row),
        TEST(hidden_window),   TEST(empty_rows), TEST(plan_with_tables), TEST(one_row_mode_1),
        TEST(empty_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
