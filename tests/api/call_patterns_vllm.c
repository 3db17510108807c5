/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_vllm.c — the calls of vllm-ascend with grouped heads, vision towers and bias (spec
 * inference 15.1: A1-A6, A13, A14). */
#include "api/call_pattern.h"

typedef fattn_fused_infer_attention_score_args v1_args;
typedef fattn_fused_infer_attention_score_v2_args v2_args;

static const double SCALE_128 = 0.08838834764831845; /* 1 / sqrt(128) */

/* ---- A1, A3: nothing cached ------------------------------------------------------------------ */

static const pattern dense_prefill[2] = {
    {.name = "A1",
     .dtype = FATTN_BF16,
     .in = "TND",
     .batch = 4,
     .heads = 4,
     .kv_heads = 2,
     .d = 128,
     .d_v = 128,
     .q_len = {5, 1, 17, 2},
     .kv_len = {5, 1, 17, 2}},
    {.name = "A1, real size",
     .dtype = FATTN_BF16,
     .in = "TND",
     .batch = 5,
     .heads = 32,
     .kv_heads = 8,
     .d = 128,
     .d_v = 128,
     .q_len = {1024, 1, 700, 257, 66},
     .kv_len = {1024, 1, 700, 257, 66}},
};

static void a1_prefill_without_cache(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = dense_prefill[real];
        v1_args a;
        p.mode = 3, p.scale = SCALE_128;
        pattern_tensors(&p);
        pattern_v1(&p, &a);
        a.input_layout = "TND", a.block_table = NULL, a.block_size = 128; /* ignored */
        a.actual_seq_lengths = a.actual_seq_lengths_kv = ends_of(p.q_len, p.batch);
        a.sparse_mode = 3, a.atten_mask = triu_mask(FATTN_I8, 2);
        pattern_run_v1(&p, &a);
        harness_reset();
    }
}

static void a3_encoder_without_mask(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = dense_prefill[real];
        v1_args a;
        p.name = "A3", p.dtype = FATTN_F16, p.scale = SCALE_128;
        pattern_tensors(&p);
        pattern_v1(&p, &a);
        a.input_layout = "TND", a.block_size = 128;
        a.actual_seq_lengths = a.actual_seq_lengths_kv = ends_of(p.q_len, p.batch);
        a.sparse_mode = 0;
        pattern_run_v1(&p, &a);
        assert_int_equal(warnings(), 0);
        harness_reset();
    }
}

/* ---- A2, A4: rank-3 views of the cache ------------------------------------------------------- */

/* A prefix hit, a decode, a later chunk, a speculation of 3; then decodes alone; then speculation
 * alone. */
static const pattern paged[2][3] = {
    {{.name = "mixed", .batch = 4, .q_len = {9, 1, 20, 4}, .kv_len = {140, 131, 20, 64}},
     {.name = "decode", .batch = 3, .q_len = {1, 1, 1}, .kv_len = {300, 1, 128}},
     {.name = "speculation", .batch = 2, .q_len = {4, 4}, .kv_len = {129, 4}}},
    {{.name = "mixed, real size",
      .batch = 5,
      .q_len = {512, 1, 1024, 1, 4},
      .kv_len = {2048, 4096, 1024, 77, 900}},
     {.name = "decode, real size",
      .batch = 6,
      .q_len = {1, 1, 1, 1, 1, 1},
      .kv_len = {4096, 1, 129, 2000, 8000, 512}},
     {.name = "speculation, real size", .batch = 3, .q_len = {4, 4, 4}, .kv_len = {4096, 700, 4}}},
};

static pattern paged_pattern(int real, int which)
{
    pattern p = paged[real][which];
    p.dtype = FATTN_BF16, p.in = "TND", p.keys = BNBSH, p.block = 128, p.unused = -1,
    p.seed = 21u + (unsigned)which;
    p.heads = real ? 32 : 4, p.kv_heads = real ? 8 : 2, p.d = p.d_v = 128, p.scale = SCALE_128;
    return p;
}

static void paged_args(const pattern *p, v1_args *a)
{
    pattern_v1(p, a);
    a->input_layout = "TND";
    a->actual_seq_lengths = ends_of(p->q_len, p->batch);
    a->actual_seq_lengths_kv = counts_of(p->kv_len, p->batch); /* not cumulative */
    a->atten_mask = triu_mask(FATTN_I8, 2);
}

static void a2_cached_prefill_and_decode(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int which = 0; which < 3; which++) {
            pattern p = paged_pattern(real, which);
            v1_args a;
            p.mode = 3;
            pattern_tensors(&p);
            assert_ptr_equal((char *)p.k->data + tensor_bytes(p.k),
                             p.v->data); /* views of one cache */
            paged_args(&p, &a);
            a.sparse_mode = 3;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* pre = window keeps window + 1 keys. */
static void a4_sliding_window(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int which = 0; which < 3; which++) {
            pattern p = paged_pattern(real, which);
            v1_args a;
            p.mode = 4, p.pre = real ? 512 : 30, p.next = 0;
            pattern_tensors(&p);
            paged_args(&p, &a);
            a.sparse_mode = 4, a.pre_tokens = real ? 512 : 30, a.next_tokens = 0;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* ---- A5: gpt-oss ----------------------------------------------------------------------------- */

/* 64 heads of 64 columns; every other layer has a window of 128. */
static void a5_sinks(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int which = 0; which < 2; which++)
            for (int mode = 3; mode <= 4; mode++) {
                pattern p = paged_pattern(real, which);
                v2_args a;
                p.heads = real ? 64 : 16, p.kv_heads = real ? 8 : 2, p.d = p.d_v = 64,
                p.scale = 0.125;
                p.mode = mode, p.pre = 128, p.next = 0;
                pattern_tensors(&p);
                pattern_v2(&p, &a);
                a.learnable_sink = p.sink = tensor_new(FATTN_BF16, 5, 1, p.heads);
                a.input_layout = "TND", a.sparse_mode = mode, a.next_tokens = 0;
                if (mode == 4) a.pre_tokens = 128;
                a.atten_mask = triu_mask(FATTN_I8, 2);
                a.actual_seq_qlen = ends_of(p.q_len, p.batch);
                a.actual_seq_kvlen = counts_of(p.kv_len, p.batch);
                a.return_softmax_lse = mode == 3; /* without the sink */
                pattern_run_v2(&p, &a);
                harness_reset();
            }
}

/* ---- A6: a captured graph -------------------------------------------------------------------- */

enum { STEPS = 3 };

/* Buffers and workspace are for the longest lists; the last two requests are padding with one key.
 */
static void step_lengths(pattern *p, const int *longest, int step)
{
    for (int b = 0; b < p->batch; b++) p->kv_len[b] = 1 + (longest[b] - 1) * (STEPS - step) / STEPS;
}

/* The workspace is asked for once; replays bring new lists for the same buffers, and the dummy
 * softmax_lse of the query's dtype stays as it is. */
static void a6_graph_replay(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = paged_pattern(real, 1);
        v1_args a;
        size_t bytes = 0;
        p.name = "A6", p.mode = 3, p.columns = real ? 72 : 4;
        p.q_len[p.batch] = p.q_len[p.batch + 1] = p.kv_len[p.batch] = p.kv_len[p.batch + 1] = 1;
        p.batch += 2, p.dummies = 2;
        pattern_tensors(&p);
        paged_args(&p, &a);
        fattn_tensor *lse = tensor_new(p.dtype, 3, 1, 1),
                     *out = tensor_new(p.dtype, 0, 3, p.batch, p.heads, p.d);
        const double before = get1(lse, 0);
        a.attention_out = p.out = out, a.softmax_lse = lse;
        a.sparse_mode = 3, a.pre_tokens = a.next_tokens = 2147483647;
        void *workspace = pattern_workspace(&a, &bytes);
        const pattern first = p;
        for (int step = 0; step < STEPS; step++) {
            step_lengths(&p, first.kv_len, step);
            a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
            pattern_replay(&p, &a, workspace, bytes);
            assert_true(get1(lse, 0) == before);
        }
        free(workspace);
        harness_reset();
    }
}

/* ---- A13: vision towers ---------------------------------------------------------------------- */

/* Many segments (windows of 16 or 64 patches); heads of 80 or 72 columns in 128, the rest zeros. */
static pattern vision(int real, fattn_dtype dtype)
{
    pattern p = {.name = "A13",
                 .dtype = dtype,
                 .in = "TND",
                 .batch = real ? 24 : 9,
                 .heads = real ? 16 : 2,
                 .d = 128,
                 .d_v = 128,
                 .scale = 1 / sqrt(80.0),
                 .seed = 9};
    p.kv_heads = p.heads;
    for (int b = 0; b < p.batch; b++)
        p.q_len[b] = p.kv_len[b] = (real ? 64 : 8) - (b % 4 == 3 ? 5 : 0);
    pattern_tensors(&p);
    return p;
}

static void pad_columns(const fattn_tensor *t, int from)
{
    for (int64_t s = 0; s < t->shape[0]; s++)
        for (int64_t h = 0; h < t->shape[1]; h++)
            for (int64_t c = from; c < t->shape[2]; c++) put3(t, s, h, c, 0);
}

static void a13_vision_tower(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(QUICK); real++)
        for (int half = 0; half < 2; half++) {
            pattern p = vision(real, half ? FATTN_F16 : FATTN_BF16);
            v1_args a;
            size_t bytes = 0;
            pad_columns(p.q, 80), pad_columns(p.k, 80), pad_columns(p.v, 80);
            pattern_v1(&p, &a);
            a.input_layout = "TND", a.block_size = 128, a.sparse_mode = 0;
            a.pre_tokens = a.next_tokens = 2147483647;
            a.actual_seq_lengths = a.actual_seq_lengths_kv = ends_of(p.q_len, p.batch);
            pattern_run_v1(&p, &a); /* eager */
            for (int64_t s = 0; s < p.out->shape[0]; s++) assert_true(get3(p.out, s, 1, 80) == 0);
            const fattn_tensor *eager = p.out;
            a.attention_out = p.out = tensor_like(eager),
            a.softmax_lse = tensor_new(p.dtype, 1, 1, 1);
            void *workspace = pattern_workspace(&a, &bytes);
            pattern_replay(&p, &a, workspace, bytes);
            free(workspace);
            assert_memory_equal(eager->data, p.out->data, tensor_bytes(eager));
            harness_reset();
        }
}

/* ---- A14: relative position bias ------------------------------------------------------------- */

/* Everything else is default: next_tokens 0 without a mask hides nothing. */
static void a14_relative_bias(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int bias = 0; bias < 2; bias++) {
            const int s = real ? 577 : 21;
            pattern p = {.name = "A14",
                         .dtype = FATTN_F16,
                         .in = "BNSD",
                         .batch = 2,
                         .heads = real ? 12 : 3,
                         .kv_heads = real ? 12 : 3,
                         .d = 64,
                         .d_v = 64,
                         .q_len = {s, s},
                         .kv_len = {s, s},
                         .scale = 0.125};
            fattn_prompt_flash_attention_args a;
            fattn_tensor shape;
            pattern_tensors(&p);
            fattn_prompt_flash_attention_args_init(&a);
            a.query = p.q, a.key = p.k, a.value = p.v, a.num_heads = p.heads,
            a.scale_value = p.scale;
            a.input_layout = "BNSD";
            if (bias) a.pse_shift = p.pse = tensor_new(FATTN_F16, 8, 4, p.batch, p.heads, s, s);
            EXPECT_OK(fattn_prompt_flash_attention_shapes(plain_context(), &a, &shape), "A14");
            a.attention_out = p.out = tensor_like(&shape);
            EXPECT_OK(fattn_prompt_flash_attention(plain_context(), &a), "A14");
            pattern_check(&p);
            harness_reset();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a1_prefill_without_cache),
        cmocka_unit_test(a2_cached_prefill_and_decode),
        cmocka_unit_test(a3_encoder_without_mask),
        cmocka_unit_test(a4_sliding_window),
        cmocka_unit_test(a5_sinks),
        cmocka_unit_test(a6_graph_replay),
        cmocka_unit_test(a13_vision_tower),
        cmocka_unit_test(a14_relative_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
