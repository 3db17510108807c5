/* SPDX-License-Identifier: Apache-2.0 */
/* infer_edges.c — the corners of inference calls: queries without elements, outputs in other views,
 * idle and reshaped softmax_lse, lists of one tensor, empty masks, the compressed mask on one row
 * of the device, absorbed decode with lengths and with many rows (spec inference
 * 0.6, 1.4.3, 1.5, 3.4, 5.2, 8, 10, 11). */
#include "api/infer_common.h"

typedef fattn_fused_infer_attention_score_args args;

static fattn_context *contexts(int strict) { return strict ? strict_context() : plain_context(); }

static const fattn_tensor *f16(int rank, int a, int b, int c, int d)
{
    return tensor_new(FATTN_F16, 1, rank, a, b, c, d);
}

static args call_of(const char *layout, int heads, const fattn_tensor *q, const fattn_tensor *k,
                    const fattn_tensor *v)
{
    args a;
    fattn_fused_infer_attention_score_args_init(&a);
    a.input_layout = layout, a.num_heads = heads, a.scale = 0.25;
    a.query = q, a.key = k, a.value = v;
    return a;
}

/* Outputs as _shapes() says, and the call. */
static fattn_status run(fattn_context *context, args *a)
{
    fattn_tensor shapes[2];
    const fattn_status status = fattn_fused_infer_attention_score_shapes(context, a, shapes);
    if (status != FATTN_OK) return status;
    a->attention_out = tensor_like(&shapes[0]), a->softmax_lse = tensor_like(&shapes[1]);
    return fattn_fused_infer_attention_score(context, a);
}

static void expect_shape(const fattn_tensor *t, int rank, const int *shape, const char *what)
{
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same) fail_msg("%s: another shape than the specification's", what);
}

static void expect_same(const fattn_tensor *got, const fattn_tensor *want, const char *what)
{
    assert_int_equal(tensor_bytes(got), tensor_bytes(want));
    if (memcmp(got->data, want->data, tensor_bytes(want)) != 0) fail_msg("%s: other bits", what);
}

/* ---- a query without elements (11.1)
 * -------------------------------------------------------------- */

static void answered(args a, int rank, const int *out, const char *what)
{
    for (int strict = 0; strict < 2; strict++) {
        size_t bytes;
        a.softmax_lse_flag = strict == 0;
        EXPECT_OK(run(contexts(strict), &a), "%s, strict %d", what, strict);
        expect_shape(a.attention_out, rank, out, what);
        assert_int_equal(a.attention_out->dtype, FATTN_F16);
        if (a.softmax_lse_flag) assert_int_equal(tensor_count(a.softmax_lse), 0);
        EXPECT_OK(fattn_fused_infer_attention_score_workspace(contexts(strict), &a, &bytes), "%s",
                  what);
        assert_int_equal(warnings(), 0);
    }
}

static void an_idle_rank_is_answered(void **state)
{
    (void)state;
    const fattn_tensor *q = f16(3, 0, 4, 64, 0), *k = f16(3, 7, 4, 64, 0);
    answered(call_of("TND", 4, q, k, k), 3, (int[]){0, 4, 64}, "packed, no lengths");

    args a = call_of("TND", 4, q, f16(3, 7, 16, 256, 0), f16(3, 7, 16, 256, 0));
    a.block_table = tensor_new(FATTN_I32, 0, 2, 2, 2);
    answered(a, 3, (int[]){0, 4, 64}, "packed, paged, no lengths");

    a = call_of("BSH", 4, f16(3, 0, 3, 256, 0), f16(3, 2, 5, 256, 0), f16(3, 2, 5, 256, 0));
    answered(a, 3, (int[]){0, 3, 256}, "another batch in key");
    a.sparse_mode = 77, a.inner_precise = -4, a.query_rope = a.key_rope = f16(2, 5, 5, 0, 0);
    a.atten_mask = f16(2, 1, 1, 0, 0), a.actual_seq_lengths = list_of(3, 1, 2, 3);
    answered(a, 3, (int[]){0, 3, 256}, "nothing else is read");

    k = f16(4, 2, 8, 2, 24);
    answered(call_of("BSND", 4, f16(4, 2, 0, 4, 24), k, k), 4, (int[]){2, 0, 4, 24}, "head dim 24");
    k = f16(4, 2, 2, 8, 32);
    a = call_of("BNSD_BSND", 4, f16(4, 2, 4, 0, 64), f16(4, 2, 2, 8, 64), k);
    answered(a, 4, (int[]){2, 0, 4, 32}, "value's head dim");
}

static void the_other_operators_answer_too(void **state)
{
    (void)state;
    const fattn_tensor *q = f16(3, 0, 4, 64, 0), *k = f16(3, 7, 4, 64, 0),
                       *q4 = f16(4, 2, 0, 4, 24);
    for (int strict = 0; strict < 2; strict++) {
        fattn_prompt_flash_attention_args p;
        fattn_prompt_flash_attention_args_init(&p);
        p.query = p.attention_out = q, p.key = p.value = k, p.num_heads = 4, p.input_layout = "TND";
        EXPECT_OK(fattn_prompt_flash_attention(contexts(strict), &p), "prompt");
        fattn_incre_flash_attention_args i;
        fattn_incre_flash_attention_args_init(&i);
        i.query = i.attention_out = q4, i.key = i.value = f16(4, 3, 5, 4, 24);
        i.num_heads = 4, i.input_layout = "BSND";
        EXPECT_OK(fattn_incre_flash_attention(contexts(strict), &i), "incre");
        fattn_fused_infer_attention_score_v2_args v;
        fattn_fused_infer_attention_score_v2_args_init(&v);
        v.query = v.attention_out = q, v.key = v.value = k, v.num_query_heads = 4,
        v.input_layout = "TND";
        v.softmax_lse = f16(1, 1, 0, 0, 0);
        EXPECT_OK(fattn_fused_infer_attention_score_v2(contexts(strict), &v), "version 2");
    }
}

/* Layout, rank and heads are read first, and the outputs are outputs. */
static void an_empty_query_is_no_excuse(void **state)
{
    (void)state;
    const fattn_tensor *k = f16(3, 2, 5, 256, 0);
    args a = call_of("BSH", 5, f16(3, 0, 3, 256, 0), k, k);
    expect_refused(run(plain_context(), &a), FATTN_E_SHAPE, "query", "5 heads in 256 columns");
    a = call_of("BSND", 4, f16(3, 0, 3, 256, 0), k, k);
    expect_refused(run(plain_context(), &a), FATTN_E_SHAPE, "query", "rank");
    a = call_of("HSB", 4, f16(3, 0, 3, 256, 0), k, k);
    expect_refused(run(plain_context(), &a), FATTN_E_ARG, "input_layout", "layout");
    a = call_of("BSH", 4, tensor_new(FATTN_I64, 0, 3, 0, 3, 256), k, k);
    expect_refused(run(plain_context(), &a), FATTN_E_DTYPE, "query", "dtype");
    a = call_of("BSH", 4, f16(3, 0, 3, 256, 0), k, k);
    a.attention_out = f16(3, 1, 3, 256, 0);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_SHAPE,
                   "attention_out", "size");
    a.attention_out = tensor_new(FATTN_F32, 0, 3, 0, 3, 256);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_DTYPE,
                   "attention_out", "dtype");
}

/* ---- outputs (8)
 * ---------------------------------------------------------------------------------- */

/* 3 + 1 + 2 queries and 4 + 2 + 3 keys, 4 heads, as the device takes them. */
static args packed_call(void)
{
    args a = call_of("TND", 4, tensor_new(FATTN_F16, 1, 3, 6, 4, 64),
                     tensor_new(FATTN_F16, 2, 3, 9, 4, 64), tensor_new(FATTN_F16, 3, 3, 9, 4, 64));
    a.actual_seq_lengths = list_of(3, 3, 4, 6), a.actual_seq_lengths_kv = list_of(3, 4, 6, 9);
    return a;
}

static void the_result_goes_into_another_view(void **state)
{
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        args a = packed_call();
        EXPECT_OK(run(contexts(strict), &a), "as it is");
        const fattn_tensor *wanted = a.attention_out;
        a.attention_out = tensor_new(FATTN_F16, 0, 2, 6, 256);
        EXPECT_OK(fattn_fused_infer_attention_score(contexts(strict), &a), "f16[6,256], strict %d",
                  strict);
        expect_same(a.attention_out, wanted, "f16[6,256]");
        a.attention_out = tensor_new(FATTN_F16, 0, 2, 6, 255);
        expect_refused(fattn_fused_infer_attention_score(contexts(strict), &a), FATTN_E_SHAPE,
                       "attention_out", "one column less");
        a.attention_out = tensor_new(FATTN_BF16, 0, 2, 6, 256);
        expect_refused(fattn_fused_infer_attention_score(contexts(strict), &a), FATTN_E_DTYPE,
                       "attention_out", "another dtype");
    }
}

/* Without the flag: any tensor, left alone. */
static void an_idle_lse_may_be_anything(void **state)
{
    (void)state;
    args a = packed_call();
    EXPECT_OK(run(plain_context(), &a), "as it is");
    fattn_tensor *dummy = tensor_new(FATTN_F16, 5, 2, 3, 7), before = *dummy;
    void *bytes = harness_alloc(tensor_bytes(dummy));
    memcpy(bytes, dummy->data, tensor_bytes(&before));
    dummy->strides[0] = 0, dummy->strides[1] = 1; /* three rows in one place */
    a.softmax_lse = dummy;
    for (int strict = 0; strict < 2; strict++)
        EXPECT_OK(fattn_fused_infer_attention_score(contexts(strict), &a), "a dummy");
    assert_memory_equal(dummy->data, bytes, tensor_bytes(&before));
    fattn_tensor *lse = tensor_new(FATTN_F32, 0, 3, 6, 4, 1);
    lse->strides[0] = 0;
    a.softmax_lse = lse, a.softmax_lse_flag = true;
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_SHAPE,
                   "softmax_lse", "overlap");
}

static void lse_goes_into_another_view(void **state)
{
    (void)state;
    args a = packed_call();
    a.softmax_lse_flag = true;
    EXPECT_OK(run(plain_context(), &a), "as it is");
    const fattn_tensor *wanted = a.softmax_lse;
    expect_shape(wanted, 3, (int[]){6, 4, 1}, "softmax_lse");
    const fattn_tensor *views[] = {tensor_new(FATTN_F32, 0, 2, 6, 4),
                                   tensor_new(FATTN_F32, 0, 1, 24),
                                   tensor_new(FATTN_F32, 0, 4, 1, 6, 4, 1)};
    for (int i = 0; i < 3; i++) {
        a.softmax_lse = views[i];
        EXPECT_OK(fattn_fused_infer_attention_score(plain_context(), &a), "view %d", i);
        expect_same(a.softmax_lse, wanted, "softmax_lse");
        expect_refused(fattn_fused_infer_attention_score(strict_context(), &a), FATTN_E_SHAPE,
                       "softmax_lse", "strict: of the lse shape");
    }
    a.softmax_lse = tensor_new(FATTN_F32, 0, 2, 4, 6); /* head by head? nobody knows */
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_SHAPE,
                   "softmax_lse", "[N,T]");
    a.softmax_lse = tensor_new(FATTN_F16, 0, 2, 6, 4);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_DTYPE,
                   "softmax_lse", "f16");
}

/* ---- lists and masks
 * ------------------------------------------------------------------------------ */

static const fattn_tensor **list_of_one(const fattn_tensor *t)
{
    const fattn_tensor **items = harness_alloc(sizeof *items);
    items[0] = t;
    return items;
}

/* 3.4: a single tensor, or B tensors. */
static void a_list_of_one_tensor(void **state)
{
    (void)state;
    for (int paged = 0; paged < 2; paged++) {
        const fattn_tensor *k = paged ? f16(3, 6, 16, 32, 0) : f16(4, 3, 40, 2, 16);
        const fattn_tensor *v = tensor_new(FATTN_F16, 9, paged ? 3 : 4, paged ? 6 : 3,
                                           paged ? 16 : 40, paged ? 32 : 2, 16);
        args a = call_of("BSND", 4, tensor_new(FATTN_F16, 7, 4, 3, 1, 4, 16), k, v);
        a.num_key_value_heads = 2, a.actual_seq_lengths_kv = list_of(3, 20, 32, 1),
        a.block_size = 16;
        fattn_tensor *table = tensor_new(FATTN_I32, 0, 2, 3, 2);
        for (int i = 0; i < 6; i++) put2(table, i / 2, i % 2, 5 - i);
        a.block_table = paged ? table : NULL;
        EXPECT_OK(run(plain_context(), &a), "key and value");
        const fattn_tensor *wanted = a.attention_out;
        a.key = a.value = NULL;
        a.key_list = (fattn_tensor_array){list_of_one(k), 1};
        a.value_list = (fattn_tensor_array){list_of_one(v), 1};
        for (int strict = 0; strict < 2; strict++) {
            EXPECT_OK(run(contexts(strict), &a), "lists of one, paged %d, strict %d", paged,
                      strict);
            expect_same(a.attention_out, wanted, "lists of one");
        }
        fattn_plan *plan = NULL;
        EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), &a, &plan), "plan");
        memset(a.attention_out->data, 0, tensor_bytes(a.attention_out));
        EXPECT_OK(fattn_plan_run(plan, &a, NULL, 0), "run");
        expect_same(a.attention_out, wanted, "planned");
        fattn_plan_destroy(plan);
    }
}

/* 0.6: a tensor without elements is absent. */
static void an_empty_mask_is_no_mask(void **state)
{
    (void)state;
    for (int strict = 0; strict < 2; strict++) {
        args a = packed_call();
        EXPECT_OK(run(contexts(strict), &a), "no mask");
        const fattn_tensor *wanted = a.attention_out;
        a.atten_mask = tensor_new(FATTN_U8, 0, 2, 0, 0);
        EXPECT_OK(run(contexts(strict), &a), "u8[0,0], strict %d", strict);
        expect_same(a.attention_out, wanted, "u8[0,0]");
    }
}

/* ---- one query row and the compressed mask on the device (1.4.3, 1.5)
 * ------------------------------- */

/* Token j of every sequence has the value j. */
static const fattn_tensor *counting(const fattn_tensor *t, int axis, int per_block)
{
    for (int64_t i = 0; i < t->shape[0]; i++)
        for (int64_t s = 0; s < t->shape[axis]; s++)
            for (int64_t c = 0; c < t->shape[3 - axis]; c++) {
                const double x = per_block ? (double)(i * per_block + s) : (double)s;
                if (axis == 1)
                    put3(t, i, s, c, x);
                else
                    for (int64_t d = 0; d < t->shape[3]; d++) put4(t, i, c, s, d, x);
            }
    return t;
}

static void expect_row(const args *a, double value, double lse, const char *what)
{
    const int64_t n = tensor_count(a->attention_out);
    fattn_tensor flat = *a->attention_out;
    flat.rank = 1, flat.shape[0] = n, flat.strides[0] = 1;
    for (int64_t i = 0; i < n; i++)
        if (get1(&flat, i) != value) fail_msg("%s: out is %g, not %g", what, get1(&flat, i), value);
    for (int64_t i = 0; i < tensor_count(a->softmax_lse); i++) {
        const float got = ((const float *)a->softmax_lse->data)[i];
        if (isnan(lse) ? fabsf(got) > 100 : got != (float)lse)
            fail_msg("%s: lse is %g", what, (double)got);
    }
}

static void a_window_in_front_of_the_only_key(void **state)
{
    (void)state;
    args a = call_of("BSH", 2, f16(3, 1, 1, 32, 0), f16(3, 2, 16, 32, 0),
                     counting(f16(3, 2, 16, 32, 0), 1, 16));
    fattn_tensor *table = tensor_new(FATTN_I32, 0, 2, 1, 2);
    put2(table, 0, 1, 1);
    a.block_table = table, a.block_size = 16, a.actual_seq_lengths_kv = list_of(1, 21);
    a.sparse_mode = 3, a.atten_mask = causal_mask_2048(), a.softmax_lse_flag = true;
    a.pre_tokens = 5;
    EXPECT_OK(run(strict_context(), &a), "window 5 of 21");
    expect_row(&a, (16 + 17 + 18 + 19 + 20) / 5.0, -1e12 + log(5), "window 5 of 21");
    a.pre_tokens = 20;
    EXPECT_OK(run(strict_context(), &a), "window 20 of 21");
    expect_row(&a, 10.5, -1e12 + log(20), "window 20 of 21");
    a.pre_tokens = 21;
    EXPECT_OK(run(strict_context(), &a), "window 21 of 21");
    expect_row(&a, 0, (double)NAN, "window 21 of 21: key 0");
}

static void padding_in_front_of_the_only_key(void **state)
{
    (void)state;
    fattn_tensor *padding = tensor_new(FATTN_I64, 0, 1, 1);
    args a = call_of("BNSD", 2, f16(4, 1, 2, 1, 16), f16(4, 1, 2, 8, 16),
                     counting(f16(4, 1, 2, 8, 16), 2, 0));
    a.actual_seq_lengths_kv = list_of(1, 5), a.kv_padding_size = padding;
    a.sparse_mode = 3, a.atten_mask = causal_mask_2048(), a.softmax_lse_flag = true;
    put1(padding, 0, 1); /* keys 2..6 of the tensor */
    EXPECT_OK(run(strict_context(), &a), "two rows in front");
    expect_row(&a, 4, -1e12 + log(5), "two rows in front");
    put1(padding, 0, 3); /* keys 0..4 */
    EXPECT_OK(run(strict_context(), &a), "nothing in front");
    expect_row(&a, 0, (double)NAN, "nothing in front: key 0");
}

/* ---- warnings about one query row
 * ------------------------------------------------------------------- */

static void the_hidden_window_is_that_of_bsh(void **state)
{
    (void)state;
    for (int other = 0; other < 2; other++) {
        args a = call_of(other ? "BSH_NBSD" : "BSH", 2, f16(3, 1, 1, 32, 0), f16(3, 2, 16, 32, 0),
                         f16(3, 2, 16, 32, 0));
        a.block_table = tensor_new(FATTN_I32, 0, 2, 1, 2);
        a.actual_seq_lengths_kv = list_of(1, 21), a.pre_tokens = 5;
        forget_warnings();
        EXPECT_OK(run(plain_context(), &a), "%s", a.input_layout);
        assert_int_equal(warned_of("hidden_window"), !other);
    }
}

static void what_the_device_does_with_one_causal_row(void **state)
{
    (void)state;
    static const char *const layouts[] = {"BNSD_BSND", "NSD"}, *const said[] = {"refuses one row",
                                                                                "first one only"};
    for (int i = 0; i < 2; i++) {
        args a = call_of(layouts[i], 4, i ? f16(3, 4, 1, 16, 0) : f16(4, 2, 4, 1, 16),
                         i ? f16(3, 4, 8, 16, 0) : f16(4, 2, 4, 8, 16),
                         i ? f16(3, 4, 8, 16, 0) : f16(4, 2, 4, 8, 16));
        a.sparse_mode = 2, a.atten_mask = causal_mask_2048();
        forget_warnings();
        EXPECT_OK(run(plain_context(), &a), "%s", layouts[i]);
        assert_true(warned_of("decode_sparse_mode"));
        assert_non_null(strstr(warning_text("decode_sparse_mode"), said[i]));
    }
}

/* ---- packed lists (docs/calls.md#lengths: one reading must fit both)
 * ------------------------------ */

static void lengths_beside_ends_are_told(void **state)
{
    (void)state;
    args a = call_of("TND", 1, f16(3, 9, 1, 16, 0), f16(3, 9, 1, 16, 0), f16(3, 9, 1, 16, 0));
    a.actual_seq_lengths = list_of(3, 2, 3, 4), a.actual_seq_lengths_kv = list_of(3, 2, 5, 9);
    a.softmax_lse_flag = true;
    EXPECT_OK(run(plain_context(), &a), "lengths beside ends");
    assert_true(warned_of("lengths_not_cumulative"));
    assert_true(strncmp(warning_text("lengths_not_cumulative"), "actual_seq_lengths:", 19) == 0);
    for (int t = 0; t < 9; t++) /* read as ends: tokens 4..8 belong to nobody */
        assert_int_equal(isinf(((const float *)a.softmax_lse->data)[t]) != 0, t >= 4);
    forget_warnings();
    a.actual_seq_lengths = list_of(3, 2, 5, 9), a.actual_seq_lengths_kv = list_of(4, 2, 3, 4, 0);
    a.actual_seq_lengths_kv.count = 3;
    EXPECT_OK(run(plain_context(), &a), "ends beside lengths");
    assert_true(strncmp(warning_text("lengths_not_cumulative"), "actual_seq_lengths_kv:", 22) == 0);
    forget_warnings();
    a.actual_seq_lengths = list_of(3, 2, 5, 7), a.actual_seq_lengths_kv = list_of(3, 9, 9, 9);
    EXPECT_OK(run(plain_context(), &a), "a tail, and an end that is a length as well");
    assert_int_equal(warnings(), 0);
}

/* ---- absorbed decode: rope parts beside head dim 512
 * -------------------------------------------------- */

static args absorbed(int rows, fattn_dtype dtype)
{
    args a =
        call_of("BSND", 2, tensor_new(dtype, 1, 4, 2, rows, 2, 512),
                tensor_new(dtype, 2, 4, 2, 24, 1, 512), tensor_new(dtype, 2, 4, 2, 24, 1, 512));
    a.query_rope = tensor_new(dtype, 3, 4, 2, rows, 2, 64),
    a.key_rope = tensor_new(dtype, 4, 4, 2, 24, 1, 64);
    a.num_key_value_heads = 1, a.scale = 0.04, a.actual_seq_lengths_kv = list_of(2, 24, 19);
    return a;
}

/* 11.2: "non-packed decode with q lengths given: ignore". */
static void one_absorbed_row_ignores_query_lengths(void **state)
{
    (void)state;
    args a = absorbed(1, FATTN_F16);
    EXPECT_OK(run(plain_context(), &a), "no lengths");
    const fattn_tensor *wanted = a.attention_out;
    a.actual_seq_lengths = list_of(2, 100, 0);
    EXPECT_OK(run(plain_context(), &a), "any lengths");
    expect_same(a.attention_out, wanted, "any lengths");
    assert_int_equal(warnings(), 0);
    a = absorbed(3, FATTN_F16), a.actual_seq_lengths = list_of(2, 4, 1);
    expect_refused(run(plain_context(), &a), FATTN_E_ARG, "actual_seq_lengths",
                   "more than one row: honoured");
}

/* One tensor whose columns are those of two. */
static const fattn_tensor *joined(const fattn_tensor *left, const fattn_tensor *right)
{
    fattn_tensor *t = tensor_new(left->dtype, 0, 4, (int)left->shape[0], (int)left->shape[1],
                                 (int)left->shape[2], (int)(left->shape[3] + right->shape[3]));
    for (int64_t b = 0; b < t->shape[0]; b++)
        for (int64_t s = 0; s < t->shape[1]; s++)
            for (int64_t n = 0; n < t->shape[2]; n++)
                for (int64_t d = 0; d < t->shape[3]; d++)
                    put4(t, b, s, n, d,
                         d < left->shape[3] ? get4(left, b, s, n, d)
                                            : get4(right, b, s, n, d - left->shape[3]));
    return t;
}

/* 10: decode for every number of rows in mode 4; the band is that of 1.4. */
static void an_absorbed_band_over_many_rows(void **state)
{
    (void)state;
    args a = absorbed(20, FATTN_F32);
    a.sparse_mode = 4, a.pre_tokens = 6, a.next_tokens = 0, a.atten_mask = causal_mask_2048();
    EXPECT_OK(run(plain_context(), &a), "rope parts");
    assert_int_equal(warnings(), 0);
    args whole = a;
    whole.query = joined(a.query, a.query_rope), whole.key = joined(a.key, a.key_rope);
    whole.query_rope = whole.key_rope = NULL;
    EXPECT_OK(run(plain_context(), &whole), "whole columns");
    for (int64_t i = 0; i < tensor_count(a.attention_out); i++) {
        const float got = ((const float *)a.attention_out->data)[i];
        const float want = ((const float *)whole.attention_out->data)[i];
        if (!(fabsf(got - want) <= 1e-5f))
            fail_msg("element %lld: %g, not %g", (long long)i, (double)got, (double)want);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, infer_setup)
    const struct CMUnitTest tests[] = {
        TEST(an_idle_rank_is_answered),
        TEST(the_other_operators_answer_too),
        TEST(an_empty_query_is_no_excuse),
        TEST(the_result_goes_into_another_view),
        TEST(an_idle_lse_may_be_anything),
        TEST(lse_goes_into_another_view),
        TEST(a_list_of_one_tensor),
        TEST(an_empty_mask_is_no_mask),
        TEST(a_window_in_front_of_the_only_key),
        TEST(padding_in_front_of_the_only_key),
        TEST(the_hidden_window_is_that_of_bsh),
        TEST(what_the_device_does_with_one_causal_row),
        TEST(lengths_beside_ends_are_told),
        TEST(one_absorbed_row_ignores_query_lengths),
        TEST(an_absorbed_band_over_many_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
