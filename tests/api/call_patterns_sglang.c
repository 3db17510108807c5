/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_sglang.c — the calls of SGLang's Ascend backend with grouped heads and sliding
 * windows (spec inference 15.2: S1-S4, S8; S5-S7 are in call_patterns_mla.c). */
#include "api/call_pattern.h"

typedef fattn_fused_infer_attention_score_args v1_args;
typedef fattn_fused_infer_attention_score_v2_args v2_args;

static const double SCALE_128 = 0.08838834764831845;

static pattern grouped(int real, const char *name, const char *in)
{
    return (pattern){.name = name,
                     .dtype = FATTN_BF16,
                     .in = in,
                     .heads = real ? 32 : 4,
                     .kv_heads = real ? 8 : 2,
                     .d = 128,
                     .d_v = 128,
                     .scale = SCALE_128};
}

/* ---- S1: one request at a time --------------------------------------------------------------- */

/* A single token comes with mode 0 and the same mask: its row 0, which shows key 0, and there is no
 * other. */
static void s1_prefill_per_request(void **state)
{
    (void)state;
    static const int lengths[2][3] = {{37, 1, 130}, {1500, 1, 1024}};
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int request = 0; request < 3; request++) {
            const int rows = lengths[real][request];
            pattern p = grouped(real, "S1", "BSND");
            v1_args a;
            p.batch = 1, p.q_len[0] = p.kv_len[0] = rows, p.mode = rows == 1 ? 0 : 3;
            pattern_tensors(&p);
            pattern_v1(&p, &a);
            a.input_layout = "BSND", a.next_tokens = 0;
            a.atten_mask = triu_mask(FATTN_BOOL, 3), a.sparse_mode = rows == 1 ? 0 : 3;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* The compressed mask in its three ranks and dtypes. */
static void s1_masks_of_every_rank(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_BOOL, FATTN_I8, FATTN_U8};
    for (int rank = 2; rank <= 4; rank++)
        for (int mode = 2; mode <= 4; mode++) {
            pattern p = grouped(0, "S1, rank of the mask", "BSND");
            v1_args a;
            p.batch = 2, p.q_len[0] = p.q_len[1] = 6, p.kv_len[0] = p.kv_len[1] = 70;
            p.mode = mode, p.pre = 9, p.next = 1;
            pattern_tensors(&p);
            pattern_v1(&p, &a);
            a.input_layout = "BSND", a.sparse_mode = mode, a.pre_tokens = 9, a.next_tokens = 1;
            a.atten_mask = triu_mask(dtypes[rank - 2], rank);
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* ---- S2, S3: decode -------------------------------------------------------------------------- */

/* Unused columns of the table hold 0; the last two rows are padding of the graph with no key and
 * one. */
static pattern decode(int real, const char *name, const char *in)
{
    static const int lengths[2][6] = {{300, 1, 128, 40, 0, 1}, {4096, 1, 129, 8000, 0, 1}};
    pattern p = grouped(real, name, in);
    p.keys = BNBSH, p.block = 128, p.unused = 0, p.batch = 6, p.dummies = 2;
    for (int b = 0; b < p.batch; b++) p.q_len[b] = 1, p.kv_len[b] = lengths[real][b];
    pattern_tensors(&p);
    return p;
}

static void s2_decode(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = decode(real, "S2", "BSND");
        v1_args a;
        pattern_v1(&p, &a);
        a.input_layout = "BSND", a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
        pattern_run_v1(&p, &a);
        harness_reset();
    }
}

static void s3_decode_in_a_graph(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++) {
        pattern p = decode(real, "S3", "BSH");
        v1_args a;
        size_t bytes = 0;
        pattern_v1(&p, &a);
        a.input_layout = "BSH", a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
        fattn_tensor *lse = tensor_new(FATTN_BF16, 4, 1, 1);
        const double before = get1(lse, 0);
        a.attention_out = p.out = tensor_like(p.q), a.softmax_lse = lse;
        void *workspace = pattern_workspace(&a, &bytes);
        for (int step = 0; step < 3; step++) {
            for (int b = 0; b < 4 && step; b++) p.kv_len[b] = (p.kv_len[b] + 1) / 2;
            a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
            pattern_replay(&p, &a, workspace, bytes);
        }
        assert_true(get1(lse, 0) == before);
        free(workspace);
        harness_reset();
    }
}

/* ---- S4: several tokens to verify ------------------------------------------------------------ */

/* Every request has k tokens: ends k, 2k, ... */
static void s4_target_verify(void **state)
{
    (void)state;
    static const int lengths[2][4] = {{150, 4, 128, 33}, {4096, 4, 2050, 700}};
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int k = 2; k <= 4; k += 2) {
            pattern p = grouped(real, "S4", "TND");
            v1_args a;
            p.keys = BNBSH, p.block = 128, p.batch = 4, p.mode = 3;
            for (int b = 0; b < 4; b++) p.q_len[b] = k, p.kv_len[b] = lengths[real][b];
            pattern_tensors(&p);
            pattern_v1(&p, &a);
            a.input_layout = "TND", a.sparse_mode = 3, a.atten_mask = triu_mask(FATTN_BOOL, 2);
            a.actual_seq_lengths = list_of(4, k, 2 * k, 3 * k, 4 * k);
            a.actual_seq_lengths_kv = counts_of(p.kv_len, p.batch);
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* ---- S8: sliding windows with wide heads ----------------------------------------------------- */

/* Gemma and others: D 256 and 512, a request at a time. */
static pattern wide(int real, const char *in, int rows, int keys, int d)
{
    pattern p = {.name = "S8",
                 .dtype = FATTN_BF16,
                 .in = in,
                 .batch = 1,
                 .heads = real ? 8 : 2,
                 .kv_heads = 1,
                 .d = d,
                 .d_v = d,
                 .q_len = {rows},
                 .kv_len = {keys},
                 .scale = 1 / sqrt(d),
                 .mode = 4,
                 .pre = real ? 1023 : 19,
                 .next = 0};
    return p;
}

/* mode 4 by either operator. */
static void run_band(pattern *p, bool v2)
{
    v1_args one;
    v2_args two;
    pattern_v1(p, &one), pattern_v2(p, &two);
    one.input_layout = two.input_layout = p->in, one.sparse_mode = two.sparse_mode = 4;
    one.pre_tokens = two.pre_tokens = p->pre, one.next_tokens = two.next_tokens = 0;
    one.atten_mask = two.atten_mask = triu_mask(FATTN_BOOL, 2);
    if (p->table) one.actual_seq_lengths_kv = two.actual_seq_kvlen = counts_of(p->kv_len, 1);
    if (v2)
        pattern_run_v2(p, &two);
    else
        pattern_run_v1(p, &one);
    harness_reset();
}

/* Prefill, a chunk behind 20 or 2000 others, decode from the cache. */
static void s8_window_by_tokens(void **state)
{
    (void)state;
    static const struct {
        int rows, keys;
        keys_in place;
    } calls[2][3] = {{{50, 50, DENSE_KEYS}, {30, 50, DENSE_KEYS}, {1, 140, BNBSH}},
                     {{1500, 1500, DENSE_KEYS}, {500, 2500, DENSE_KEYS}, {1, 4000, BNBSH}}};
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int call = 0; call < 3; call++)
            for (int d = 256; d <= 512; d *= 2) {
                pattern p = wide(real, "BSND", calls[real][call].rows, calls[real][call].keys, d);
                p.keys = calls[real][call].place, p.block = 128;
                pattern_tensors(&p);
                run_band(&p, d == 512);
            }
}

/* The same window as a bool mask of every cell. */
static void s8_window_by_mask(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int d = 256; d <= 512; d *= 2) {
            const int rows = real ? 1200 : 45;
            pattern p = wide(real, "BSND", rows, rows, d);
            v1_args a;
            fattn_tensor *mask = tensor_new(FATTN_BOOL, 0, 3, 1, rows, rows);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < rows; j++) put3(mask, 0, i, j, j > i || j < i - p.pre);
            p.mode = 0, p.mask = mask;
            pattern_tensors(&p);
            pattern_v1(&p, &a);
            a.input_layout = "BSND", a.atten_mask = mask;
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

/* What those loops are there for: all requests in one packed call. */
static void s8_wide_heads_packed(void **state)
{
    (void)state;
    for (int real = 0; real < pattern_sizes(SLOW); real++)
        for (int d = 256; d <= 512; d *= 2) {
            pattern p = wide(real, "TND", 0, 0, d);
            v1_args a;
            const int scale = real ? 30 : 1;
            p.batch = 3, p.keys = BNBSH, p.block = 128;
            p.q_len[0] = 20 * scale, p.q_len[1] = 1, p.q_len[2] = 7 * scale;
            p.kv_len[0] = 20 * scale, p.kv_len[1] = 90 * scale, p.kv_len[2] = 40 * scale;
            pattern_tensors(&p);
            pattern_v1(&p, &a);
            a.input_layout = "TND", a.sparse_mode = 4, a.pre_tokens = p.pre, a.next_tokens = 0;
            a.atten_mask = triu_mask(FATTN_BOOL, 2);
            a.actual_seq_lengths = ends_of(p.q_len, 3),
            a.actual_seq_lengths_kv = counts_of(p.kv_len, 3);
            pattern_run_v1(&p, &a);
            harness_reset();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s1_prefill_per_request),
        cmocka_unit_test(s1_masks_of_every_rank),
        cmocka_unit_test(s2_decode),
        cmocka_unit_test(s3_decode_in_a_graph),
        cmocka_unit_test(s4_target_verify),
        cmocka_unit_test(s8_window_by_tokens),
        cmocka_unit_test(s8_window_by_mask),
        cmocka_unit_test(s8_wide_heads_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
