/* SPDX-License-Identifier: Apache-2.0 */
/* infer_forms.c — every form of the inference operators against the formula: layouts times places
 * of the keys, rope parts, shared prefix, left padding, masks and bias, tree mask, sink (spec
 * inference 1-9). */
#include "api/infer_form.h"

static const char *const layouts[] = {"BSH",       "BSND",      "BNSD",      "TND",     "NTD",
                                      "BNSD_BSND", "BSH_BNSD",  "BSND_BNSD", "NTD_TND", "TND_NTD",
                                      "BSH_NBSD",  "BSND_NBSD", "BNSD_NBSD", "NSD"};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Every layout with every place of the keys, every mode, with and without sink. */
static void every_layout(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++)
            for (int mode = 0; mode < 5; mode++) {
                if (mode == 1) continue; /* needs a full-size mask: fused_infer_attention_score.c */
                if (kv == KV_LIST && strchr(layouts[l], 'T')) continue;
                form f = form_usual(layouts[l], (kv_form)kv, seed++);
                f.mode = mode, f.pre = mode == 4 ? 11 : f.pre, f.next = mode == 4 ? 2 : f.next;
                f.sink = seed % 3 == 0, f.op = seed % 2 == 0 && !f.sink ? V1 : V2;
                form_run(f);
            }
}

/* Separate rope parts give what whole columns give. */
static void rope_parts(void **state)
{
    (void)state;
    unsigned seed = 1001;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_LIST; kv++) {
            form f = form_usual(layouts[l], (kv_form)kv, seed++);
            f.rope = 16, f.split_rope = true, f.mode = 3, f.op = seed % 2 ? V1 : V2;
            f.sink = f.op == V2;
            form_run(f);
        }
}

/* D = 512 with one latent head for all, up to 16 draft tokens, keys in more than one split. */
static void absorbed_decode(void **state)
{
    (void)state;
    static const char *const mla[] = {"BNSD_NBSD", "BSND_NBSD", "TND_NTD", "BSND", "TND"};
    static const int q_len[FORM_BATCH] = {16, 1, 5}, kv_len[FORM_BATCH] = {600, 30, 530};
    for (int l = 0; l < 5; l++)
        for (int kv = KV_BNBSH; kv <= KV_NZ; kv++) {
            form f = form_usual(mla[l], (kv_form)kv, 77u + (unsigned)(l * 3 + kv));
            f.dtype = FATTN_BF16, f.heads = 2, f.kv_heads = 1, f.d = 512, f.d_v = 512;
            f.rope = 64, f.split_rope = true, f.mode = 3, f.block = 16;
            f.q_room = 16, f.kv_room = 600;
            memcpy(f.q_len, q_len, sizeof q_len), memcpy(f.kv_len, kv_len, sizeof kv_len);
            form_run(f);
        }
}

/* Shared prefixes and tensor lists exactly as long as their keys: no length says so. */
static void lengths_left_out(void **state)
{
    (void)state;
    unsigned seed = 9501;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++)
            for (int mode = 0; mode <= 3; mode += 3) {
                if (strchr(layouts[l], 'T') && kv == KV_LIST) continue;
                form f = form_usual(layouts[l], (kv_form)kv, seed++);
                f.op = V1, f.mode = mode, f.exact = true;
                f.prefix = seed % 3 ? form_random(1, 40) : 0;
                for (int b = 0; b < FORM_BATCH; b++)
                    f.kv_len[b] = f.prefix + form_random(0, KV_MOST - 41);
                form_run(f);
            }
}

static void shared_prefix(void **state)
{
    (void)state;
    unsigned seed = 2001;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++) {
            if (kv == KV_LIST && strchr(layouts[l], 'T')) continue;
            form f = form_usual(layouts[l], (kv_form)kv, seed++);
            f.op = V1, f.mode = 3, f.prefix = form_random(1, 40);
            for (int b = 0; b < FORM_BATCH; b++)
                f.kv_len[b] = f.prefix + form_random(0, KV_MOST - 41);
            form_run(f);
        }
}

static void left_padding(void **state)
{
    (void)state;
    static const char *const dense_layouts[] = {"BSH", "BSND", "BNSD", "BNSD_BSND"};
    unsigned seed = 3001;
    for (int l = 0; l < 4; l++)
        for (int sides = 1; sides < 4; sides++)
            for (int mode = 0; mode < 5; mode++) {
                if (mode == 1) continue;
                form f = form_usual(dense_layouts[l], KV_DENSE, seed++);
                f.op = V1, f.mode = mode, f.pre = mode == 4 ? 5 : f.pre,
                f.next = mode == 4 ? 1 : f.next;
                f.q_pad = sides & 1 ? 0 : -1, f.kv_pad = sides & 2 ? 3 : -1;
                for (int b = 0; b < FORM_BATCH; b++)
                    f.kv_len[b] = f.kv_len[b] > KV_MOST - 3 ? KV_MOST - 3 : f.kv_len[b];
                form_run(f);
            }
}

static void tree_mask(void **state)
{
    (void)state;
    unsigned seed = 4001;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++) {
            if (kv == KV_LIST && strchr(layouts[l], 'T')) continue;
            form f = form_usual(layouts[l], (kv_form)kv, seed++);
            f.mode = 9;
            form_run(f);
        }
}

/* One query row, not packed: without rope, modes 2 and 3 let it see every key, mode 4 keeps its
 * band; with rope the modes are what they are (docs/masks.md). */
static void one_row(void **state)
{
    (void)state;
    unsigned seed = 5001;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++)
            for (int mode = 0; mode < 5; mode++) {
                if (mode == 1 || strchr(layouts[l], 'T')) continue;
                form f = form_usual(layouts[l], (kv_form)kv, seed++);
                f.mode = mode, f.pre = mode == 4 ? 20 : f.pre, f.next = mode == 4 ? 0 : f.next;
                f.q_room = 1, f.op = seed % 2 ? V1 : V2;
                if (kv != KV_LIST && seed % 3 == 0) f.rope = 16, f.split_rope = true;
                for (int b = 0; b < FORM_BATCH; b++)
                    f.q_len[b] = 1, f.kv_len[b] = form_random(0, KV_MOST);
                form_run(f);
            }
}

/* Bias and full-size mask are addressed by positions of the tensors, whatever the place of the
 * keys; tokens of mode 0 count from the upper left corner and are ignored with left padding. */
static void masks_and_bias(void **state)
{
    (void)state;
    unsigned seed = 6001;
    for (int l = 0; l < LAYOUTS; l++)
        for (int kv = 0; kv < KV_FORMS; kv++)
            for (int what = 1; what < 8; what++) {
                if (strchr(layouts[l], 'T')) continue;
                form f = form_usual(layouts[l], (kv_form)kv, seed++);
                f.pse = what & 1, f.mask = what & 2, f.op = V1;
                if (what & 4) f.q_room = 1;
                for (int b = 0; b < FORM_BATCH && f.q_room == 1; b++) f.q_len[b] = 1;
                if (f.mask && seed % 2) f.pre = 60, f.next = 2;
                if (seed % 3 == 0) {
                    f.prefix = form_random(1, 20);
                    for (int b = 0; b < FORM_BATCH; b++)
                        f.kv_len[b] = f.prefix + form_random(0, KV_MOST - 21);
                }
                form_run(f);
            }
}

static void left_padded_masks(void **state)
{
    (void)state;
    static const char *const dense_layouts[] = {"BSH", "BSND", "BNSD", "BSND_NBSD", "BNSD_BSND"};
    unsigned seed = 7001;
    for (int l = 0; l < 5; l++)
        for (int what = 1; what < 4; what++)
            for (int sides = 1; sides < 4; sides++) {
                form f = form_usual(dense_layouts[l], KV_DENSE, seed++);
                f.pse = what & 1, f.mask = what & 2, f.op = V1;
                f.q_pad = sides & 1 ? 1 : -1, f.kv_pad = sides & 2 ? 4 : -1;
                if (f.mask) f.pre = 3, f.next = 1; /* ignored */
                for (int b = 0; b < FORM_BATCH; b++) {
                    if (f.q_pad >= 0 && f.q_len[b] > Q_MOST - 1) f.q_len[b] = Q_MOST - 1;
                    if (f.kv_len[b] > KV_MOST - 4) f.kv_len[b] = KV_MOST - 4;
                }
                char name[40];
                snprintf(name, sizeof name, "%s what %d sides %d", dense_layouts[l], what, sides);
                form_check(&f, name);
                assert_int_equal(warned_of("tokens_without_mask"), f.mask);
                harness_reset();
            }
}

/* prompt_flash_attention: its layouts, modes and lengths; NSD and SH hold one sequence. */
static void prompt_layouts(void **state)
{
    (void)state;
    static const char *const names[] = {"BSH", "BSND", "BNSD", "TND", "NSD", "BNSD_BSND", "SH"};
    unsigned seed = 8001;
    for (int l = 0; l < 7; l++)
        for (int mode = 0; mode < 5; mode++)
            for (int rows = 1; rows <= Q_MOST; rows += Q_MOST - 1) {
                if (mode == 1) continue;
                form f = form_usual(names[l], KV_DENSE, seed++);
                f.op = PROMPT_OP, f.lse = false, f.mode = mode, f.q_room = rows;
                f.pre = mode == 4 ? 9 : f.pre, f.next = mode == 4 ? 3 : f.next;
                for (int b = 0; b < f.batch && rows == 1; b++) f.q_len[b] = 1;
                form_run(f);
            }
}

/* incre_flash_attention: caches of every kind, left padding, mask and bias. */
static void incre_forms(void **state)
{
    (void)state;
    static const char *const names[] = {"BSH", "BSND", "BNSD"};
    unsigned seed = 9001;
    for (int l = 0; l < 3; l++)
        for (int kv = 0; kv < KV_LIST; kv++)
            for (int what = 0; what < 4; what++) {
                form f = form_usual(names[l], (kv_form)kv, seed++);
                f.op = INCRE_OP, f.lse = false, f.q_room = 1;
                f.pse = what & 1, f.mask = what & 2;
                if (kv == KV_DENSE) f.kv_pad = form_random(0, 9);
                for (int b = 0; b < FORM_BATCH; b++)
                    f.q_len[b] = 1, f.kv_len[b] = form_random(0, KV_MOST - 9);
                form_run(f);
            }
}

/* In decode data that would begin before the tensor is no data: zeros. */
static void padding_beyond_the_keys(void **state)
{
    (void)state;
    for (int op = V1; op <= INCRE_OP; op++) {
        form f = form_usual("BSND", KV_DENSE, 21);
        f.op = (form_op)op, f.lse = op == V1, f.q_room = 1, f.kv_pad = 49;
        f.q_len[0] = f.q_len[1] = f.q_len[2] = 1;
        f.kv_len[0] = 40, f.kv_len[1] = 41, f.kv_len[2] = 1;
        form_make(&f);
        fill(f.a.key, 0.5), fill(f.a.value, 0.5);
        f.padding[1] = form_rows(50);
        form_call(&f, "one sequence is too long for its padding");
        for (int h = 0; h < f.heads; h++)
            for (int c = 0; c < f.d_v; c++) {
                assert_true(fabs(form_out(&f, 0, 0, h, c) - 0.5) < 1e-3);
                assert_true(form_out(&f, 1, 0, h, c) == 0);
            }
        if (f.lse) assert_true(form_lse(&f, 1, 0, 0) == (double)INFINITY);
        harness_reset();
    }
}

/* NSD: shapes and lists of one sequence without a batch axis; its numbers are among the forms. */
static void nsd(void **state)
{
    (void)state;
    fattn_fused_infer_attention_score_args a;
    fattn_tensor shapes[2];
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = tensor_new(FATTN_F32, 1, 3, 2, 5, 8), a.key = tensor_new(FATTN_F32, 2, 3, 2, 9, 8);
    a.value = tensor_new(FATTN_F32, 3, 3, 2, 9, 8);
    a.input_layout = "NSD", a.num_heads = 2, a.softmax_lse_flag = true;
    EXPECT_OK(fattn_fused_infer_attention_score_shapes(plain_context(), &a, shapes), "NSD");
    assert_int_equal(shapes[1].rank, 4);
    assert_int_equal(shapes[1].shape[0], 1);
    assert_int_equal(shapes[1].shape[1], 2);
    assert_int_equal(shapes[1].shape[2], 5);
    a.attention_out = tensor_like(&shapes[0]), a.softmax_lse = tensor_like(&shapes[1]);
    a.actual_seq_lengths = list_of(2, 2, 3);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_ARG,
                   "actual_seq_lengths", "NSD");
    fattn_prompt_flash_attention_args p;
    fattn_prompt_flash_attention_args_init(&p);
    p.query = p.key = p.value = tensor_new(FATTN_F32, 1, 2, 5, 16), p.input_layout = "SH",
    p.num_heads = 2;
    p.attention_out = tensor_new(FATTN_F32, 0, 2, 5, 16), p.actual_seq_lengths = list_of(2, 2, 3);
    expect_refused(fattn_prompt_flash_attention(plain_context(), &p), FATTN_E_ARG,
                   "actual_seq_lengths", "SH");
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout),
        cmocka_unit_test(rope_parts),
        cmocka_unit_test(absorbed_decode),
        cmocka_unit_test(shared_prefix),
        cmocka_unit_test(left_padding),
        cmocka_unit_test(tree_mask),
        cmocka_unit_test(one_row),
        cmocka_unit_test(masks_and_bias),
        cmocka_unit_test(left_padded_masks),
        cmocka_unit_test(prompt_layouts),
        cmocka_unit_test(incre_forms),
        cmocka_unit_test(padding_beyond_the_keys),
        cmocka_unit_test(nsd),
        cmocka_unit_test(lengths_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
