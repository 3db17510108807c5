/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c — the reference as a backend: every row once, in every dtype, where the strides say,
 * the same for any number of threads, inside the workspace it asked for, and nothing where nobody
 * asked. */
#include "core/backend.h"
#include "core/element.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "random_small.h"

enum {
    SEQS = 4,
    TOKENS_Q = 40,
    TOKENS_KV = 30,
    HEADS = 4,
    KV_HEADS = 2,
    D = 3,
    DV = 2,
    REPLICAS = 8
};
enum { OUTS = TOKENS_Q * HEADS * DV, STATS = TOKENS_Q * HEADS * REPLICAS };

/* A packed problem [token][head][column]: lengths 20/10, 0/5, 17/15, 3/0, the first two causal. */
typedef struct packed {
    fattn_problem p;
    fattn_ptrs ptrs;
    fattn_seq seqs[SEQS];
    float q[TOKENS_Q * HEADS * D], k[TOKENS_KV * KV_HEADS * D], v[TOKENS_KV * KV_HEADS * DV];
    uint64_t out[OUTS + 1]; /* room for any dtype */
    float max[STATS + 1], sum[STATS + 1], lse[TOKENS_Q * HEADS + 1];
} packed;

/* [token, head, column] */
static fattn_view strips(fattn_dtype dtype, int64_t d, int64_t heads)
{
    return (fattn_view){
        .dtype = dtype,
        .n_parts = 1,
        .part = {{.d = d, .head_stride = d, .row_stride = heads * d, .col_stride = 1}}};
}

static void packed_init(packed *x, fattn_dtype out_dtype)
{
    static const int64_t q_len[SEQS] = {20, 0, 17, 3}, kv_len[SEQS] = {10, 5, 15, 0};
    memset(x, 0, sizeof *x);
    rng r = rng_new(21);
    for (size_t e = 0; e < sizeof x->q / sizeof x->q[0]; e++) x->q[e] = random_normal(&r);
    for (size_t e = 0; e < sizeof x->k / sizeof x->k[0]; e++) x->k[e] = random_normal(&r);
    for (size_t e = 0; e < sizeof x->v / sizeof x->v[0]; e++) x->v[e] = random_normal(&r);
    const fattn_view out = strips(out_dtype, DV, HEADS);
    x->p = (fattn_problem){
        .n_heads = HEADS,
        .stats_dtype = FATTN_F32,
        .n_kv_heads = KV_HEADS,
        .group = HEADS / KV_HEADS,
        .d_qk = D,
        .d_v = DV,
        .q = strips(FATTN_F32, D, HEADS),
        .k = strips(FATTN_F32, D, KV_HEADS),
        .v = strips(FATTN_F32, DV, KV_HEADS),
        .out = out,
        .seqs = x->seqs,
        .n_seqs = SEQS,
        .scale = 0.5,
        .want_max_sum = true,
        .want_lse = true,
        .stats_replicas = REPLICAS,
        .max_replica_stride = 1,
        .empty_no_keys = {.max = 3, .sum = 4, .lse = INFINITY},
    };
    int64_t q_row = 0, kv_row = 0;
    for (int s = 0; s < SEQS; s++) {
        fattn_seq *seq = &x->seqs[s];
        *seq = (fattn_seq){.batch = s,
                           .q_row0 = q_row,
                           .q_len = q_len[s],
                           .kv_row0 = kv_row,
                           .kv_len = kv_len[s],
                           /* sequence-major statistics: blocks [head][row] of 8 */
                           .stats_base = q_row * HEADS * REPLICAS,
                           .stats_head_stride = q_len[s] * REPLICAS,
                           .stats_row_stride = REPLICAS,
                           .lse_base = q_row * HEADS,
                           .lse_head_stride = 1,
                           .lse_row_stride = HEADS};
        mask_translate(seq, s < 2 ? 2 : 1, true, 0, 0, 0, false);
        q_row += q_len[s];
        kv_row += kv_len[s];
    }
    assert_int_equal(q_row, TOKENS_Q);
    x->ptrs = (fattn_ptrs){.q = {x->q},
                           .k = {x->k},
                           .v = x->v,
                           .out = x->out,
                           .max = x->max,
                           .sum = x->sum,
                           .lse = x->lse};
}

/* Plans and runs with a workspace of exactly the asked size, a guard behind it. */
static void run(const packed *x, int threads)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = threads;
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    fattn_arena arena = {.allocator = &context->allocator};
    void *state = NULL;
    size_t bytes = 0;
    assert_int_equal(fattn_backend_ref.accepts(context, &x->p), FATTN_OK);
    assert_int_equal(fattn_backend_ref.plan(context, &x->p, &arena, &state, &bytes), FATTN_OK);
    unsigned char *workspace = aligned_alloc(64, (bytes + 128) / 64 * 64);
    assert_non_null(workspace);
    memset(workspace, 0x5a, (bytes + 128) / 64 * 64);
    fattn_backend_ref.run(context, &x->p, state, &x->ptrs, workspace);
    for (size_t b = bytes; b < (bytes + 128) / 64 * 64; b++) assert_int_equal(workspace[b], 0x5a);
    char text[64];
    assert_true(fattn_backend_ref.describe(state, text, sizeof text) > 0);
    assert_string_equal(text, "float64, 20 items"); /* 4 heads x (2 + 0 + 2 + 1) blocks of rows */
    free(workspace);
    arena_free(&arena);
    fattn_context_destroy(context);
}

static void check_against_rows(const packed *x)
{
    double scratch[512], out[DV];
    assert_true(ref_scratch(&x->p) <= 512);
    for (int s = 0; s < SEQS; s++) {
        const fattn_seq *seq = &x->seqs[s];
        for (int64_t h = 0; h < HEADS; h++)
            for (int64_t i = 0; i < seq->q_len; i++) {
                fattn_ref_row row = {.out = out};
                ref_row(&x->p, &x->ptrs, seq, h, i, scratch, &row);
                const int64_t token = seq->q_row0 + i;
                for (int64_t c = 0; c < DV; c++) {
                    uint64_t cell = 0;
                    element_store(&cell, x->p.out.dtype, 0, out[c]);
                    assert_true(
                        element_load(x->out, x->p.out.dtype, (token * HEADS + h) * DV + c) ==
                        element_load(&cell, x->p.out.dtype, 0));
                }
                const int64_t at = (seq->q_row0 * HEADS + h * seq->q_len + i) * REPLICAS;
                for (int64_t r = 0; r < REPLICAS; r++) {
                    assert_true(x->max[at + r] == (float)row.max);
                    assert_true(x->sum[at + r] == (float)row.sum);
                }
                assert_true(x->lse[token * HEADS + h] == (float)row.lse);
                assert_int_equal(row.empty, s == 3);
            }
    }
}

static void every_dtype(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F64, FATTN_F32, FATTN_F16, FATTN_BF16};
    static packed x;
    for (int n = 0; n < 4; n++) {
        packed_init(&x, dtypes[n]);
        x.max[STATS] = x.sum[STATS] = x.lse[TOKENS_Q * HEADS] = 77.0f;
        x.out[OUTS] = 77;
        run(&x, 1);
        check_against_rows(&x);
        assert_true(x.max[STATS] == 77.0f && x.sum[STATS] == 77.0f && x.out[OUTS] == 77);
        assert_true(x.lse[TOKENS_Q * HEADS] == 77.0f);
    }
}

static void any_number_of_threads(void **state)
{
    (void)state;
    static packed one, many;
    packed_init(&one, FATTN_F64);
    run(&one, 1);
    for (int threads = 2; threads <= 5; threads++) {
        packed_init(&many, FATTN_F64);
        run(&many, threads);
        assert_memory_equal(one.out, many.out, sizeof one.out);
        assert_memory_equal(one.max, many.max, sizeof one.max);
        assert_memory_equal(one.lse, many.lse, sizeof one.lse);
    }
}

/* Outputs that nobody wants are not touched, wanted ones may be absent. */
static void unwanted_outputs(void **state)
{
    (void)state;
    static packed x;
    packed_init(&x, FATTN_F32);
    x.p.want_max_sum = x.p.want_lse = false;
    run(&x, 1);
    for (int n = 0; n < STATS; n++) assert_true(x.max[n] == 0.0f && x.sum[n] == 0.0f);
    for (int n = 0; n < TOKENS_Q * HEADS; n++) assert_true(x.lse[n] == 0.0f);
    packed_init(&x, FATTN_F32);
    x.ptrs.max = NULL, x.ptrs.lse = NULL;
    run(&x, 1);
    assert_true(x.sum[0] > 0.0f);
}

static void refuses_other_dtypes(void **state)
{
    (void)state;
    static packed x;
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, NULL), FATTN_OK);
    packed_init(&x, FATTN_I32);
    assert_int_equal(fattn_backend_ref.accepts(context, &x.p), FATTN_E_UNSUPPORTED);
    assert_non_null(
        strstr(fattn_error_message(),
               "output: the reference backend computes floats and quantised dtypes, not i32"));
    packed_init(&x, FATTN_F64);
    x.p.k.dtype = FATTN_BF16; /* mixed is fine */
    assert_int_equal(fattn_backend_ref.accepts(context, &x.p), FATTN_OK);
    fattn_context_destroy(context);
}

/* Lengths whose scratch no address space holds: a status, no allocation. */
static void impossible_workspace(void **state)
{
    (void)state;
    static packed x;
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, NULL), FATTN_OK);
    packed_init(&x, FATTN_F64);
    x.seqs[0].kv_len = INT64_MAX / 2;
    fattn_arena arena = {.allocator = &context->allocator};
    void *plan = NULL;
    size_t bytes = 0;
    assert_int_equal(fattn_backend_ref.plan(context, &x.p, &arena, &plan, &bytes), FATTN_E_NOMEM);
    assert_non_null(strstr(fattn_error_message(), "out of memory"));
    arena_free(&arena);
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dtype),          cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(unwanted_outputs),     cmocka_unit_test(refuses_other_dtypes),
        cmocka_unit_test(impossible_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
