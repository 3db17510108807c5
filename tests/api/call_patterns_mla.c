/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_mla.c — multi-head latent attention as vllm-ascend and SGLang call it: prefill with
 * 128 + 64 or 192 columns, absorbed decode with one latent head of 512 + 64 (spec inference 5, 15:
 * A8, A10, S5, S6, S7). */
#include "api/call_pattern.h"

typedef fattn_fused_infer_attention_score_args v1_args;
typedef fattn_fused_infer_attention_score_v2_args v2_args;

static const double SCALE_192 = 0.07216878364870322; /* 1 / sqrt(192), absorbed or not */

/* ---- A8, S5: prefill ------------------------------------------------------------------------- */

static const pattern prefill[2] = {
    {.name = "MLA prefill",
     .dtype = FATTN_BF16,
     .in = "TND",
     .batch = 4,
     .heads = 4,
     .kv_heads = 4,
     .d = 128,
     .rope = 64,
     .d_v = 128,
     .q_len = {7, 1, 33, 2},
     .kv_len = {7, 1, 33, 2},
     .mode = 3},
    {.name = "MLA prefill, real size",
     .dtype = FATTN_BF16,
     .in = "TND",
     .batch = 4,
     .heads = 16,
     .kv_heads = 16,
     .d = 128,
     .rope = 64,
     .d_v = 128,
     .q_len = {1024, 1, 500, 130},
     .kv_len = {1024, 1, 500, 130},
     .mode = 3},
};

static void prefill_args(pattern *p, v1_args *a)
{
    p->scale = SCALE_192;
    pattern_tensors(p);
    pattern_v1(p, a);
    a->input_layout = "TND", a->sparse_mode = 3;
    a->actual_seq_lengths = a->actual_seq_lengths_kv = ends_of(p->q_len, p->batch);
    a->atten_mask = triu_mask(FATTN_I8, 2);
}

static void a8_mla_prefill(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int joined = 0; joined < 2; joined++) {
            pattern p = prefill[real];
            v1_args a;
            if (joined) p.d = 192, p.rope = 0;
            prefill_args(&p, &a);
            a.softmax_lse_flag = true;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* num_key_value_heads is left out. */
static void s5_mla_prefill(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = prefill[real];
        v1_args a;
        prefill_args(&p, &a);
        a.num_key_value_heads = 0, a.next_tokens = 0;
        pattern_run_v1(&p, &a);
        harness_reset();
    }
}

/* ---- A10: absorbed decode, v2 ---------------------------------------------------------------- */

/* Keys of one sequence fill several splits, those of another one block and a bit. */
static const pattern decode[2] = {
    {.name = "MLA decode",
     .batch = 4,
     .heads = 4,
     .q_len = {1, 1, 1, 1},
     .kv_len = {1100, 1, 130, 128}},
    {.name = "MLA decode, real size",
     .batch = 6,
     .heads = 128,
     .q_len = {1, 1, 1, 1, 1, 1},
     .kv_len = {4096, 1, 700, 2048, 129, 5000}},
};
static const pattern drafts[2] = {
    {.name = "MLA drafts",
     .batch = 4,
     .heads = 2,
     .q_len = {16, 2, 1, 4},
     .kv_len = {1100, 130, 1, 4}},
    {.name = "MLA drafts, real size",
     .batch = 5,
     .heads = 32,
     .q_len = {16, 2, 4, 16, 1},
     .kv_len = {4096, 130, 1000, 16, 3000}},
};

static pattern latent(const pattern *of, const char *in, const char *out_axes, keys_in keys)
{
    pattern p = *of;
    p.dtype = FATTN_BF16, p.in = in, p.out_axes = out_axes, p.keys = keys, p.block = 128,
    p.unused = -1;
    p.kv_heads = 1, p.d = p.d_v = 512, p.rope = 64, p.latent = true, p.scale = SCALE_192;
    pattern_tensors(&p);
    return p;
}

static void expect_cache(const fattn_tensor *t, int rank, const int *behind_blocks)
{
    assert_int_equal(t->rank, rank);
    for (int i = 1; i < rank; i++) assert_int_equal(t->shape[i], behind_blocks[i - 1]);
}

static void decode_v2(pattern *p, const char *layout)
{
    v2_args a;
    pattern_v2(p, &a);
    assert_ptr_equal(a.key, a.value);
    a.input_layout = layout, a.sparse_mode = 0;
    a.actual_seq_kvlen = counts_of(p->kv_len, p->batch);
    pattern_run_v2(p, &a);
    const int64_t shape[] = {p->heads, p->batch, 1, 512};
    assert_memory_equal(p->out->shape, shape, sizeof shape);
    harness_reset();
}

static void a10_mla_decode_bnsd(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = latent(&decode[real], "BNSD", "NBSD", BNNBSD);
        expect_cache(p.k, 4, (int[]){1, 128, 512}), expect_cache(p.k_rope, 4, (int[]){1, 128, 64});
        decode_v2(&p, "BNSD_NBSD");
    }
}

static void a10_mla_decode_nz(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = latent(&decode[real], "BSND", "NBSD", NZ);
        expect_cache(p.k, 5, (int[]){1, 32, 128, 16}),
            expect_cache(p.k_rope, 5, (int[]){1, 4, 128, 16});
        decode_v2(&p, "BSND_NBSD");
    }
}

/* Up to 16 draft tokens; the caches as in either form. */
static void a10_mla_drafts(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int nz = 0; nz < 2; nz++) {
            pattern p = latent(&drafts[real], "TND", "NTD", nz ? NZ : BNNBSD);
            v2_args a;
            p.mode = 3;
            pattern_v2(&p, &a);
            a.input_layout = "TND_NTD", a.sparse_mode = 3, a.atten_mask = triu_mask(FATTN_I8, 2);
            a.actual_seq_qlen = ends_of(p.q_len, p.batch);
            a.actual_seq_kvlen = counts_of(p.kv_len, p.batch);
            pattern_run_v2(&p, &a);
            assert_int_equal(p.out->shape[0], p.heads);
            harness_reset();
        }
}

/* ---- S6, S7: absorbed decode, v1 ------------------------------------------------------------- */

/* Padded rows of the graph have no key or one. */
static void s6_mla_decode(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int nz = 0; nz < 2; nz++) {
            pattern of = decode[real];
            v1_args a;
            of.kv_len[of.batch] = 0, of.kv_len[of.batch + 1] = 1;
            of.q_len[of.batch] = of.q_len[of.batch + 1] = 1;
            of.batch += 2, of.dummies = 2;
            pattern p = latent(&of, "BSND", "BSND", nz ? NZ : BNBSH);
            if (!nz)
                expect_cache(p.k, 3, (int[]){128, 512}),
                    expect_cache(p.k_rope, 3, (int[]){128, 64});
            pattern_v1(&p, &a);
            a.input_layout = "BSND", a.sparse_mode = 0, a.antiquant_mode = 0,
            a.antiquant_scale = NULL;
            a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* `.out` with a workspace and a softmax_lse of one number per token that is left alone; then with
 * shorter lists. */
static void s7_mla_target_verify(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern of = drafts[real];
        for (int b = 0; b < of.batch; b++) of.q_len[b] = 4, of.kv_len[b] += 4;
        pattern p = latent(&of, "TND", "TND", BNNBSD);
        v1_args a;
        size_t bytes = 0;
        p.mode = 3;
        pattern_v1(&p, &a);
        a.input_layout = "TND", a.sparse_mode = 3, a.atten_mask = triu_mask(FATTN_I8, 2);
        a.actual_seq_lengths = ends_of(p.q_len, p.batch);
        a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
        fattn_tensor *lse = tensor_new(FATTN_BF16, 3, 1, 4 * p.batch),
                     *before = tensor_new(FATTN_BF16, 3, 1, 4 * p.batch);
        a.attention_out = p.out = tensor_new(FATTN_BF16, 0, 3, 4 * p.batch, p.heads, 512),
        a.softmax_lse = lse;
        void *workspace = pattern_workspace(&a, &bytes);
        pattern_replay(&p, &a, workspace, bytes);
        for (int b = 0; b < p.batch; b++) /* three drafts of four were wrong */
            p.kv_len[b] = p.kv_len[b] < 7 ? 4 : p.kv_len[b] - 3;
        a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
        pattern_replay(&p, &a, workspace, bytes);
        assert_memory_equal(lse->data, before->data, tensor_bytes(lse));
        free(workspace);
        harness_reset();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a8_mla_prefill),       cmocka_unit_test(a10_mla_decode_bnsd),
        cmocka_unit_test(a10_mla_decode_nz),    cmocka_unit_test(a10_mla_drafts),
        cmocka_unit_test(s5_mla_prefill),       cmocka_unit_test(s6_mla_decode),
        cmocka_unit_test(s7_mla_target_verify),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
