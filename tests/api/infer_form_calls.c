/* SPDX-License-Identifier: Apache-2.0 */
/* infer_form_calls.c — forms of the inference operators that are refused, ignored or empty; plans
 * of them, and outputs into given buffers (spec inference 3, 8, 11). */
#include "api/infer_form.h"

/* ---- refusals -----------------------------------------------------------------------------------
 */

static form small_form(kv_form kv)
{
    form f = form_usual("BSND", kv, 5);
    for (int b = 0; b < FORM_BATCH; b++) f.q_len[b] = 2, f.kv_len[b] = 9;
    f.op = V1;
    return f;
}

#define REFUSES(status, argument, form_, change)                                                   \
    do {                                                                                           \
        form f = form_;                                                                            \
        form_make(&f);                                                                             \
        fattn_fused_infer_attention_score_args a;                                                  \
        form_to_v1(&f, &a);                                                                        \
        change;                                                                                    \
        fattn_tensor out = *form_tensor(f.dtype, "BSND", FORM_BATCH, f.q_room, f.heads, f.d_v);    \
        a.attention_out = tensor_like(&out);                                                       \
        const size_t bytes = tensor_bytes(a.attention_out);                                        \
        unsigned char *before = harness_alloc(bytes);                                              \
        memcpy(before, a.attention_out->data, bytes);                                              \
        a.softmax_lse_flag = false;                                                                \
        expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), status, argument,   \
                       #change);                                                                   \
        assert_memory_equal(before, a.attention_out->data, bytes);                                 \
        harness_reset();                                                                           \
    } while (0)

static void refusals(void **state)
{
    (void)state;
    form pads = small_form(KV_DENSE), prefixed = small_form(KV_DENSE), roped = small_form(KV_DENSE);
    pads.q_pad = 0, pads.kv_pad = 2;
    prefixed.prefix = 4;
    roped.rope = 16, roped.split_rope = true;
    REFUSES(FATTN_E_ARG, "query_padding_size", pads, a.query_padding_size = form_rows(6));
    REFUSES(FATTN_E_ARG, "kv_padding_size", pads, a.kv_padding_size = form_rows(KV_MOST));
    REFUSES(FATTN_E_ARG, "query_padding_size", pads, a.actual_seq_lengths.count = 0);
    REFUSES(FATTN_E_ARG, "kv_padding_size", pads, a.actual_seq_lengths_kv.count = 0);
    REFUSES(FATTN_E_SHAPE, "kv_padding_size", pads,
            a.kv_padding_size = tensor_new(FATTN_I64, 0, 1, 2));
    REFUSES(FATTN_E_SHAPE, "kv_padding_size", pads,
            a.kv_padding_size = tensor_new(FATTN_F32, 0, 1, 1));
    REFUSES(FATTN_E_ARG, "kv_padding_size", prefixed, a.kv_padding_size = form_rows(1));
    REFUSES(FATTN_E_ARG, "actual_shared_prefix_len", prefixed,
            a.actual_shared_prefix_len = list_of(1, 6));
    REFUSES(FATTN_E_ARG, "actual_shared_prefix_len", prefixed,
            a.actual_shared_prefix_len = list_of(2, 4, 4));
    REFUSES(FATTN_E_ARG, "value_shared_prefix", prefixed, a.value_shared_prefix = NULL);
    REFUSES(FATTN_E_SHAPE, "key_shared_prefix", prefixed,
            a.key_shared_prefix = form_tensor(f.dtype, "BSND", 2, 5, f.kv_heads, f.d));
    REFUSES(FATTN_E_DTYPE, "key_shared_prefix", prefixed,
            a.key_shared_prefix = form_tensor(FATTN_F64, "BSND", 1, 5, f.kv_heads, f.d));
    REFUSES(FATTN_E_ARG, "actual_shared_prefix_len", small_form(KV_DENSE),
            a.actual_shared_prefix_len = list_of(1, 2));
    REFUSES(FATTN_E_ARG, "key_rope", roped, a.key_rope = NULL);
    REFUSES(FATTN_E_SHAPE, "key_rope", roped,
            a.key_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, KV_MOST, f.kv_heads, 8));
    REFUSES(FATTN_E_SHAPE, "query_rope", roped,
            a.query_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, 1, f.heads, 16));
    REFUSES(FATTN_E_ARG, "value_list", small_form(KV_LIST), a.value_list.count = 0);
    REFUSES(FATTN_E_SHAPE, "key_list", small_form(KV_LIST), a.key_list.count = 2);
    REFUSES(FATTN_E_ARG, "key_list", small_form(KV_LIST), a.key = a.key_list.data[0]);
    REFUSES(FATTN_E_ARG, "key", small_form(KV_DENSE), a.key = NULL);
    REFUSES(FATTN_E_ARG, "actual_seq_lengths_kv", small_form(KV_LIST),
            a.actual_seq_lengths_kv = list_of(3, 12, 9, 9));
    REFUSES(FATTN_E_SHAPE, "key", small_form(KV_NZ),
            a.value = form_tensor(f.dtype, "BSND", 1, 16, 1, 16));
    REFUSES(FATTN_E_SHAPE, "block_size", small_form(KV_NZ), a.block_size = 7);
    REFUSES(FATTN_E_ARG, "sparse_mode", small_form(KV_DENSE), a.sparse_mode = 9);
}

/* Features that have no meaning together. */
static void exclusions(void **state)
{
    (void)state;
    form prefixed = small_form(KV_DENSE), paged = small_form(KV_BNBSH);
    form packed = form_usual("TND", KV_DENSE, 5);
    prefixed.prefix = 4;
    REFUSES(FATTN_E_ARG, "kv_padding_size", paged, a.kv_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "query_padding_size", paged, a.query_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "kv_padding_size", small_form(KV_LIST), a.kv_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "kv_padding_size", packed, a.kv_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "query_padding_size", packed, a.query_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "query_padding_size", prefixed, a.query_padding_size = form_rows(0));
    REFUSES(FATTN_E_ARG, "key_list", small_form(KV_LIST),
            a.block_table = tensor_new(FATTN_I32, 0, 2, 3, 1));
    REFUSES(FATTN_E_ARG, "pse_shift", packed,
            a.pse_shift = tensor_new(f.dtype, 1, 4, 1, f.heads, 30, 300));
    REFUSES(FATTN_E_ARG, "atten_mask", packed,
            a.atten_mask = tensor_new(FATTN_BOOL, 1, 2, 30, 300));
    REFUSES(FATTN_E_UNSUPPORTED, "key_shared_prefix", prefixed,
            (a.query_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, Q_MOST, f.heads, 4),
             a.key_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, KV_MOST, f.kv_heads, 4)));
    REFUSES(FATTN_E_UNSUPPORTED, "key_list", small_form(KV_LIST),
            (a.query_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, Q_MOST, f.heads, 4),
             a.key_rope = form_tensor(f.dtype, "BSND", FORM_BATCH, KV_MOST, f.kv_heads, 4)));
    packed = form_usual("TND", KV_LIST, 5);
    REFUSES(FATTN_E_ARG, "key_list", packed, (void)f);
}

/* Decode goes on without a padding that the device cannot apply there, and says so. */
static void ignored_padding(void **state)
{
    (void)state;
    static const kv_form places[] = {KV_BNBSH, KV_LIST, KV_DENSE};
    for (int p = 0; p < 3; p++) {
        form f = form_usual("BSND", places[p], 31);
        f.op = V1, f.q_room = 1;
        for (int b = 0; b < FORM_BATCH; b++) f.q_len[b] = 1, f.kv_len[b] = KV_MOST;
        f.q_pad = 0; /* of one row nothing is left to pad */
        if (places[p] != KV_DENSE) f.kv_pad = 0;
        form_make(&f);
        if (places[p] != KV_DENSE) f.padding[1] = form_rows(7);
        f.padding[0] = form_rows(1);
        form_call(&f, "ignored padding");
        assert_int_equal(warned_of("padding_ignored"), places[p] != KV_DENSE);
        fattn_fused_infer_attention_score_args a;
        form_to_v1(&f, &a);
        a.query_padding_size = a.kv_padding_size = NULL;
        a.attention_out = tensor_like(f.a.attention_out);
        EXPECT_OK(fattn_fused_infer_attention_score(plain_context(), &a), "without padding");
        assert_memory_equal(a.attention_out->data, f.a.attention_out->data,
                            tensor_bytes(a.attention_out));
        harness_reset();
    }
}

/* Nothing to attend with, or nothing to attend to: rope parts are as empty as what they belong to.
 */
static void empty_with_rope(void **state)
{
    (void)state;
    for (int keys = 0; keys < 2; keys++)
        for (int kv = 0; kv < KV_LIST; kv++) {
            form f = form_usual(keys ? "BSND" : "TND", (kv_form)kv, 41);
            f.op = kv % 2 ? V1 : V2, f.rope = 16, f.split_rope = true;
            if (keys && kv == KV_DENSE) f.kv_room = 0;
            for (int b = 0; b < FORM_BATCH; b++) {
                f.q_len[b] = keys ? 2 : 0;
                f.kv_len[b] = keys ? 0 : 9;
            }
            form_run(f);
        }
}

static void tree_refusals(void **state)
{
    (void)state;
    form f = small_form(KV_DENSE);
    f.op = V2, f.mode = 9;
    form_make(&f);
    f.a.attention_out = form_tensor(f.dtype, "BSND", FORM_BATCH, f.q_room, f.heads, f.d_v);
    f.a.return_softmax_lse = false;
    EXPECT_OK(fattn_fused_infer_attention_score_v2(plain_context(), &f.a), "tree");
    const fattn_tensor *good = f.a.atten_mask;
    f.a.atten_mask = NULL;
    expect_refused(fattn_fused_infer_attention_score_v2(plain_context(), &f.a), FATTN_E_ARG,
                   "atten_mask", "no tree");
    f.a.atten_mask = tensor_new(FATTN_BOOL, 0, 3, FORM_BATCH, 2, 2);
    expect_refused(fattn_fused_infer_attention_score_v2(plain_context(), &f.a), FATTN_E_SHAPE,
                   "atten_mask", "small");
    f.a.atten_mask = good, f.a.actual_seq_kvlen = list_of(1, 1);
    expect_refused(fattn_fused_infer_attention_score_v2(plain_context(), &f.a), FATTN_E_ARG,
                   "sparse_mode", "few keys");
    f.a.sparse_mode = 3, f.a.learnable_sink = tensor_new(FATTN_F16, 1, 1, f.heads),
    f.a.atten_mask = NULL;
    expect_refused(fattn_fused_infer_attention_score_v2(plain_context(), &f.a), FATTN_E_DTYPE,
                   "learnable_sink", "f16");
    harness_reset();
}

/* A plan keeps the padding's value; another one needs another plan. */
static void padding_in_a_plan(void **state)
{
    (void)state;
    form f = small_form(KV_DENSE);
    f.q_pad = 1, f.kv_pad = 2;
    form_make(&f);
    form_call(&f, "call");
    fattn_fused_infer_attention_score_args a;
    fattn_plan *plan = NULL;
    form_to_v1(&f, &a);
    const fattn_tensor *whole = f.a.attention_out;
    a.attention_out = tensor_like(whole);
    EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), &a, &plan), "plan");
    a.kv_padding_size = form_rows(2); /* another address, the same number */
    EXPECT_OK(fattn_plan_run(plan, &a, NULL, 0), "run");
    assert_memory_equal(a.attention_out->data, whole->data, tensor_bytes(whole));
    a.kv_padding_size = form_rows(3);
    expect_refused(fattn_plan_run(plan, &a, NULL, 0), FATTN_E_ARG, "plan", "another padding");
    fattn_plan_destroy(plan);
    fattn_tensor empty = *a.kv_padding_size;
    empty.data = NULL;
    a.kv_padding_size = &empty;
    expect_refused(fattn_fused_infer_attention_score_plan(plain_context(), &a, &plan), FATTN_E_ARG,
                   "kv_padding_size", "a plan without the number");
    harness_reset();
}

static const fattn_tensor *moved(const fattn_tensor *t)
{
    fattn_tensor *copy = tensor_like(t);
    memcpy(copy->data, t->data, tensor_bytes(t));
    return copy;
}

/* A plan serves other addresses, those of a list and a prefix, too. */
static void plans(void **state)
{
    (void)state;
    for (int kv = 0; kv < KV_FORMS; kv++) {
        form f = small_form((kv_form)kv);
        f.prefix = 4, f.mode = 3;
        form_make(&f);
        form_call(&f, "call");
        fattn_fused_infer_attention_score_args a;
        fattn_plan *plan = NULL;
        form_to_v1(&f, &a);
        EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), &a, &plan), "plan");
        const fattn_tensor *items[2][FORM_BATCH];
        for (int b = 0; b < FORM_BATCH && kv == KV_LIST; b++)
            items[0][b] = moved(a.key_list.data[b]), items[1][b] = moved(a.value_list.data[b]);
        if (kv == KV_LIST) {
            a.key_list.data = items[0], a.value_list.data = items[1];
        } else {
            a.key = moved(a.key), a.value = moved(a.value);
        }
        a.key_shared_prefix = moved(a.key_shared_prefix),
        a.value_shared_prefix = moved(a.value_shared_prefix);
        fill(f.shared[0], (double)NAN), fill(f.shared[1], (double)NAN); /* not read any more */
        a.attention_out = tensor_like(f.a.attention_out),
        a.softmax_lse = tensor_like(f.a.softmax_lse);
        EXPECT_OK(fattn_plan_run(plan, &a, NULL, 0), "run");
        assert_memory_equal(a.attention_out->data, f.a.attention_out->data,
                            tensor_bytes(a.attention_out));
        assert_memory_equal(a.softmax_lse->data, f.a.softmax_lse->data,
                            tensor_bytes(a.softmax_lse));
        if (kv == KV_LIST) {
            items[0][1] = form_tensor(f.dtype, "BSND", 1, 40, f.kv_heads, f.d);
            items[1][1] = form_tensor(f.dtype, "BSND", 1, 40, f.kv_heads, f.d_v);
            expect_refused(fattn_plan_run(plan, &a, NULL, 0), FATTN_E_ARG, "plan",
                           "a longer tensor in the list");
        }
        fattn_plan_destroy(plan);
        harness_reset();
    }
}

/* Contiguous memory of the right size will do; a dummy softmax_lse is left alone. */
static void given_buffers(void **state)
{
    (void)state;
    form f = small_form(KV_DENSE);
    f.lse = false;
    form_make(&f);
    form_call(&f, "shapes as they are");
    fattn_fused_infer_attention_score_args a;
    form_to_v1(&f, &a);
    fattn_tensor *flat = tensor_new(f.dtype, 9, 1, (int)tensor_count(f.a.attention_out));
    fattn_tensor *dummy = tensor_new(FATTN_BF16, 3, 2, 2, 2);
    unsigned char before[8];
    memcpy(before, dummy->data, sizeof before);
    a.attention_out = flat, a.softmax_lse = dummy;
    EXPECT_OK(fattn_fused_infer_attention_score(plain_context(), &a), "flat");
    assert_memory_equal(flat->data, f.a.attention_out->data, tensor_bytes(flat));
    assert_memory_equal(before, dummy->data, sizeof before);
    a.attention_out = tensor_new(f.dtype, 9, 1, (int)tensor_count(flat) + 1);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_SHAPE,
                   "attention_out", "size");
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),        cmocka_unit_test(exclusions),
        cmocka_unit_test(ignored_padding), cmocka_unit_test(empty_with_rope),
        cmocka_unit_test(tree_refusals),   cmocka_unit_test(padding_in_a_plan),
        cmocka_unit_test(plans),           cmocka_unit_test(given_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
