/* SPDX-License-Identifier: Apache-2.0 */
/* infer_spec.c — what the specification prints: hand vectors (spec inference 18), cases of the
 * vendor's tests (14) at reduced batch, shapes of 2.1 and 1.6, outputs into given buffers and
 * workspaces (8). */
#include "api/call_pattern.h"

typedef fattn_fused_infer_attention_score_args v1_args;
typedef fattn_fused_infer_attention_score_v2_args v2_args;

static fattn_tensor *ones(fattn_dtype dtype, int rank, int a, int b, int c, int d)
{
    fattn_tensor *t =
        rank == 3 ? tensor_new(dtype, 0, 3, a, b, c) : tensor_new(dtype, 0, 4, a, b, c, d);
    fill(t, 1);
    return t;
}

static void expect_all(const fattn_tensor *t, double wanted, double tolerance, const char *what)
{
    fattn_tensor flat = *t;
    flat.rank = 1, flat.shape[0] = tensor_count(t), flat.strides[0] = 1;
    for (int64_t i = 0; i < flat.shape[0]; i++)
        if (!(fabs(get1(&flat, i) - wanted) <= tolerance))
            fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)i, get1(&flat, i),
                     wanted);
}

static void expect_shape(const fattn_tensor *t, int rank, const int *shape, const char *what)
{
    if (t->rank != rank) fail_msg("%s: rank %d, not %d", what, (int)t->rank, rank);
    for (int i = 0; i < rank; i++)
        if (t->shape[i] != shape[i])
            fail_msg("%s: extent %d is %lld, not %d", what, i, (long long)t->shape[i], shape[i]);
}

/* ---- section 18 ---------------------------------------------------------------------------------
 */

static void hand_args(v2_args *a)
{
    static const double q[2][2] = {{1, 0}, {0.5, 0.5}};
    static const double k[3][2] = {{1, 0}, {0, 1}, {1, 1}}, v[3][2] = {{1, 2}, {3, 4}, {5, 6}};
    fattn_tensor *query = tensor_new(FATTN_F32, 0, 3, 2, 1, 2);
    fattn_tensor *key = tensor_new(FATTN_F32, 0, 3, 3, 1, 2),
                 *value = tensor_new(FATTN_F32, 0, 3, 3, 1, 2);
    for (int c = 0; c < 2; c++) {
        for (int i = 0; i < 2; i++) put3(query, i, 0, c, q[i][c]);
        for (int j = 0; j < 3; j++) put3(key, j, 0, c, k[j][c]), put3(value, j, 0, c, v[j][c]);
    }
    fattn_fused_infer_attention_score_v2_args_init(a);
    a->query = query, a->key = key, a->value = value, a->input_layout = "TND";
    a->actual_seq_qlen = list_of(1, 2), a->actual_seq_kvlen = list_of(1, 3);
    a->softmax_scale = 0.5, a->return_softmax_lse = true;
}

static void expect_hand(v2_args *a, const double out[2][2], const double lse[2], const char *what)
{
    call_v2(a, what);
    for (int i = 0; i < 2; i++) {
        for (int c = 0; c < 2; c++)
            if (fabs(get3(a->attention_out, i, 0, c) - out[i][c]) > 2e-6)
                fail_msg("%s: out[%d][%d] is %.9g", what, i, c, get3(a->attention_out, i, 0, c));
        if (fabs(get3(a->softmax_lse, i, 0, 0) - lse[i]) > 2e-6)
            fail_msg("%s: lse[%d] is %.9g", what, i, get3(a->softmax_lse, i, 0, 0));
    }
    harness_reset();
}

static void hand_vectors(void **state)
{
    (void)state;
    v2_args a;
    hand_args(&a);
    expect_hand(&a, (const double[2][2]){{3, 4}, {3.172974, 4.172974}},
                (double[]){1.458020, 1.439070}, "no mask");
    hand_args(&a), a.sparse_mode = 3;
    expect_hand(&a, (const double[2][2]){{1.755081, 2.755081}, {3.172974, 4.172974}},
                (double[]){0.974077, 1.439070}, "mode 3");
    hand_args(&a), a.sparse_mode = 2;
    expect_hand(&a, (const double[2][2]){{1, 2}, {2, 3}}, (double[]){0.5, 0.943147}, "mode 2");
    for (int dtype = 0; dtype < 2; dtype++) {
        hand_args(&a), a.sparse_mode = 3;
        fattn_tensor *sink = tensor_new(dtype ? FATTN_BF16 : FATTN_F32, 0, 1, 1);
        fill(sink, 0.25);
        a.learnable_sink = sink;
        expect_hand(&a, (const double[2][2]){{1.182055, 1.855559}, {2.432321, 3.198896}},
                    (double[]){0.974077, 1.439070}, "mode 3 with sink");
    }
}

/* Token 9 of a table row 10, 11, 12 in blocks of 4 lies in block 12, slot 1. */
static void block_and_slot(void **state)
{
    (void)state;
    v2_args a;
    fattn_fused_infer_attention_score_v2_args_init(&a);
    fattn_tensor *key = tensor_new(FATTN_F32, 0, 3, 13, 4, 2),
                 *value = tensor_new(FATTN_F32, 0, 3, 13, 4, 2);
    fattn_tensor *table = tensor_new(FATTN_I32, 0, 2, 1, 3);
    for (int m = 0; m < 3; m++) put2(table, 0, m, 10 + m);
    fill(key, 0), fill(value, 0);
    for (int c = 0; c < 2; c++) put3(value, 12, 1, c, 5);
    a.query = tensor_new(FATTN_F32, 0, 3, 1, 1, 2), a.key = key, a.value = value,
    a.block_table = table;
    a.actual_seq_kvlen = list_of(1, 10), a.block_size = 4;
    call_v2(&a, "paging");
    expect_all(a.attention_out, 0.5, 1e-6, "one of ten keys has the value 5");
    a.actual_seq_kvlen = list_of(1, 9);
    call_v2(&a, "paging");
    expect_all(a.attention_out, 0, 0, "nine keys");
    harness_reset();
}

/* Three draft tokens behind two keys; token 2 does not descend from token 1. */
static void tree_by_hand(void **state)
{
    (void)state;
    static const int masked[3][3] = {{0, 1, 1}, {0, 0, 1}, {0, 1, 0}};
    static const double wanted[3] = {(0 + 1 + 2) / 3.0, (0 + 1 + 2 + 3) / 4.0,
                                     (0 + 1 + 2 + 4) / 4.0};
    for (int packed = 0; packed < 2; packed++) {
        v2_args a;
        fattn_fused_infer_attention_score_v2_args_init(&a);
        fattn_tensor *value =
            packed ? tensor_new(FATTN_F32, 0, 3, 5, 1, 1) : tensor_new(FATTN_F32, 0, 4, 1, 5, 1, 1);
        fattn_tensor *tree =
            packed ? tensor_new(FATTN_BOOL, 0, 1, 9) : tensor_new(FATTN_BOOL, 0, 3, 1, 3, 3);
        for (int j = 0; j < 5; j++) ((float *)value->data)[j] = (float)j;
        for (int i = 0; i < 9; i++)
            ((unsigned char *)tree->data)[i] = (unsigned char)masked[i / 3][i % 3];
        a.query =
            packed ? tensor_new(FATTN_F32, 0, 3, 3, 1, 2) : tensor_new(FATTN_F32, 0, 4, 1, 3, 1, 2);
        a.key =
            packed ? tensor_new(FATTN_F32, 0, 3, 5, 1, 2) : tensor_new(FATTN_F32, 0, 4, 1, 5, 1, 2);
        fill(a.query, 0);
        a.value = value, a.atten_mask = tree, a.sparse_mode = 9,
        a.input_layout = packed ? "TND" : "BSND";
        if (packed) a.actual_seq_qlen = list_of(1, 3), a.actual_seq_kvlen = list_of(1, 5);
        call_v2(&a, "tree");
        for (int i = 0; i < 3; i++)
            assert_true(fabs((double)((float *)a.attention_out->data)[i] - wanted[i]) < 1e-6);
        harness_reset();
    }
}

/* ---- section 14 ---------------------------------------------------------------------------------
 */

static void v1_of(v1_args *a, const char *layout, int heads, fattn_tensor *q, fattn_tensor *k,
                  fattn_tensor *v)
{
    fattn_fused_infer_attention_score_args_init(a);
    a->query = q, a->key = k, a->value = v;
    a->input_layout = layout, a->num_heads = heads, a->scale = 128;
}

static void v2_of(v2_args *a, const char *layout, int heads, fattn_tensor *q, fattn_tensor *k,
                  fattn_tensor *v)
{
    fattn_fused_infer_attention_score_v2_args_init(a);
    a->query = q, a->key = k, a->value = v;
    a->input_layout = layout, a->num_query_heads = heads, a->softmax_scale = 128;
}

static void case_f7(void **state)
{
    (void)state;
    v1_args a;
    v1_of(&a, "NTD_TND", 2, ones(FATTN_BF16, 3, 2, 32, 192, 0), ones(FATTN_BF16, 3, 2, 32, 192, 0),
          ones(FATTN_BF16, 3, 2, 32, 128, 0));
    a.actual_seq_lengths = list_of(1, 32), a.actual_seq_lengths_kv = list_of(1, 32);
    call_v1(&a, "F7");
    expect_shape(a.attention_out, 3, (int[]){32, 2, 128}, "F7");
    expect_all(a.attention_out, 1, 1e-6, "F7");
    harness_reset();
}

/* Keys of every batch entry in one and the same block, one length for all. */
static void case_f12(void **state)
{
    (void)state;
    v1_args a;
    fattn_tensor *table = tensor_new(FATTN_I32, 0, 2, 2, 32);
    fill(table, 1);
    v1_of(&a, "BNSD", 1, ones(FATTN_F16, 4, 2, 1, 256, 128), ones(FATTN_F16, 4, 32, 1, 128, 128),
          ones(FATTN_F16, 4, 32, 1, 128, 128));
    a.block_table = table, a.block_size = 128;
    a.actual_seq_lengths = list_of(1, 256), a.actual_seq_lengths_kv = list_of(1, 2048);
    call_v1(&a, "F12");
    expect_all(a.attention_out, 1, 1e-6, "F12");
    harness_reset();
}

static void case_f13(void **state)
{
    (void)state;
    const fattn_dtype h = FATTN_F16;
    v1_args a;
    v1_of(&a, "BNSD_BSND", 8, ones(h, 4, 2, 8, 1, 192), ones(h, 4, 2, 8, 96, 192),
          ones(h, 4, 2, 8, 96, 128));
    call_v1(&a, "F13 BNSD_BSND");
    expect_shape(a.attention_out, 4, (int[]){2, 1, 8, 128}, "F13 BNSD_BSND");
    expect_all(a.attention_out, 1, 1e-6, "F13 BNSD_BSND");
    v1_of(&a, "BSND", 8, ones(h, 4, 2, 1, 8, 192), ones(h, 4, 2, 96, 8, 192),
          ones(h, 4, 2, 96, 8, 128));
    call_v1(&a, "F13 BSND");
    expect_shape(a.attention_out, 4, (int[]){2, 1, 8, 128}, "F13 BSND");
    expect_all(a.attention_out, 1, 1e-6, "F13 BSND");
    v1_of(&a, "BSH", 8, ones(h, 3, 2, 1, 1536, 0), ones(h, 3, 2, 96, 1536, 0),
          ones(h, 3, 2, 96, 1024, 0));
    call_v1(&a, "F13 BSH");
    expect_shape(a.attention_out, 3, (int[]){2, 1, 1024}, "F13 BSH");
    expect_all(a.attention_out, 1, 1e-6, "F13 BSH");
    v1_of(&a, "NSD", 8, ones(h, 3, 8, 1, 192, 0), ones(h, 3, 8, 96, 192, 0),
          ones(h, 3, 8, 96, 128, 0));
    call_v1(&a, "F13 NSD");
    expect_shape(a.attention_out, 3, (int[]){8, 1, 128}, "F13 NSD");
    expect_all(a.attention_out, 1, 1e-6, "F13 NSD");
    v1_of(&a, "TND", 8, ones(FATTN_BF16, 3, 32, 8, 192, 0), ones(FATTN_BF16, 3, 32, 8, 192, 0),
          ones(FATTN_BF16, 3, 32, 8, 128, 0));
    a.actual_seq_lengths = a.actual_seq_lengths_kv = list_of(1, 32);
    call_v1(&a, "F13 TND");
    expect_shape(a.attention_out, 3, (int[]){32, 8, 128}, "F13 TND");
    expect_all(a.attention_out, 1, 1e-6, "F13 TND");
    harness_reset();
}

/* Calls that must be refused: F4, F6, F11 with a random table, F14. */
static void broken_cases(void **state)
{
    (void)state;
    const fattn_dtype h = FATTN_F16;
    fattn_tensor shapes[2];
    v1_args a;
    v1_of(&a, "TND", 4, ones(h, 4, 1, 4, 8, 16), ones(h, 4, 1, 4, 8, 16), ones(h, 4, 1, 4, 8, 16));
    expect_refused(fattn_fused_infer_attention_score_shapes(plain_context(), &a, shapes),
                   FATTN_E_SHAPE, "query", "F4");
    v1_of(&a, "TND_NTD", 4, ones(h, 3, 2, 4, 64, 0), ones(h, 3, 9, 4, 64, 0),
          ones(h, 3, 9, 4, 64, 0));
    a.attention_out = tensor_new(h, 0, 3, 4, 2, 64);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_ARG,
                   "actual_seq_lengths", "F6");
    v1_of(&a, "BNSD", 4, ones(h, 4, 1, 4, 8, 192), ones(h, 4, 1, 4, 8, 128),
          ones(h, 4, 1, 4, 8, 128));
    expect_refused(fattn_fused_infer_attention_score_shapes(plain_context(), &a, shapes),
                   FATTN_E_SHAPE, "key", "F14");
    harness_reset();
}

static void case_f11(void **state)
{
    (void)state;
    v1_args a;
    pattern p = {.name = "F11", .dtype = FATTN_F16, .in = "TND", .out_axes = "TND"};
    p.batch = 1, p.heads = 16, p.kv_heads = 1, p.d = 192, p.d_v = 128, p.q_len[0] = 1,
    p.kv_len[0] = 69;
    p.keys = BNBSH, p.block = 128, p.scale = 1 / sqrt(192.0);
    p.q = tensor_new(FATTN_F16, 1, 3, 1, 16, 192);
    p.k = tensor_new(FATTN_F16, 2, 3, 1, 128, 192), p.v = tensor_new(FATTN_F16, 3, 3, 1, 128, 128);
    p.table = tensor_new(FATTN_I32, 0, 2, 1, 32);
    fill(p.table, 7); /* entries that nobody reads */
    put2(p.table, 0, 0, 0);
    pattern_v1(&p, &a);
    a.input_layout = "TND";
    a.actual_seq_lengths = list_of(1, 1), a.actual_seq_lengths_kv = list_of(1, 69);
    pattern_run_v1(&p, &a);
    put2(p.table, 0, 0, 3);
    expect_refused(fattn_fused_infer_attention_score(plain_context(), &a), FATTN_E_ARG,
                   "block_table", "F11");
    harness_reset();
}

/* The pair of buffers that callers of `.out` hold, and a workspace of their own. */
static void case_f15(void **state)
{
    (void)state;
    v1_args a;
    size_t bytes = 0;
    fattn_plan *plan = NULL;
    v1_of(&a, "BNSD", 32, tensor_new(FATTN_F16, 1, 4, 1, 32, 1, 64),
          tensor_new(FATTN_F16, 2, 4, 1, 32, 700, 64), tensor_new(FATTN_F16, 3, 4, 1, 32, 700, 64));
    a.scale = 0.125;
    fattn_tensor *out = tensor_new(FATTN_F16, 0, 4, 1, 32, 1, 64),
                 *lse = tensor_new(FATTN_F32, 0, 4, 1, 32, 1, 1);
    a.attention_out = out, a.softmax_lse = lse, a.softmax_lse_flag = true;
    EXPECT_OK(fattn_fused_infer_attention_score(plain_context(), &a), "F15");
    assert_true(get4(lse, 0, 31, 0, 0) > 5);
    fattn_tensor *again = tensor_new(FATTN_F16, 0, 4, 1, 32, 1, 64),
                 *one = tensor_new(FATTN_F32, 0, 1, 1);
    fill(one, 9);
    a.attention_out = again, a.softmax_lse = one, a.softmax_lse_flag = false;
    EXPECT_OK(fattn_fused_infer_attention_score_workspace(plain_context(), &a, &bytes), "F15");
    EXPECT_OK(fattn_fused_infer_attention_score_plan(plain_context(), &a, &plan), "F15");
    assert_int_equal(fattn_plan_workspace(plan), bytes);
    EXPECT_OK(fattn_plan_run(plan, &a, NULL, 0), "F15: the plan's own workspace");
    fattn_plan_destroy(plan);
    assert_memory_equal(out->data, again->data, tensor_bytes(out));
    assert_true(get1(one, 0) == 0);
    harness_reset();
}

static double unit_value(const void *self, int key, int column)
{
    (void)self, (void)key, (void)column;
    return 1;
}

/* 128 keys, each with the score 128 * 128. */
static void expect_unit_lse(const fattn_tensor *lse, const char *what)
{
    static naive_row row;
    row = (naive_row){.keys = 128, .columns = 1, .d = 128, .sink = -(double)INFINITY};
    for (int j = 0; j < 128; j++) row.x[j] = row.sigma[j] = 128 * 128;
    naive_finish(&row, unit_value, NULL);
    assert_true(fabs(row.lse - (128 * 128 + log(128))) < 1e-9);
    for (int64_t t = 0; t < lse->shape[0]; t++)
        for (int64_t h = 0; h < lse->shape[1]; h++)
            if (!close_stat(get3(lse, t, h, 0), row.lse, row.stats_bound))
                fail_msg("%s: lse is %.9g, not %.9g", what, get3(lse, t, h, 0), row.lse);
}

static void case_v1(void **state)
{
    (void)state;
    v2_args a;
    fattn_tensor *cache = tensor_new(FATTN_BF16, 0, 5, 1, 1, 8, 128, 16),
                 *table = tensor_new(FATTN_I32, 0, 2, 1, 1);
    fill(cache, 1);
    v2_of(&a, "TND", 1, ones(FATTN_BF16, 3, 128, 1, 128, 0), cache, cache);
    a.block_table = table, a.block_size = 128, a.return_softmax_lse = true;
    a.actual_seq_qlen = list_of(1, 128), a.actual_seq_kvlen = list_of(1, 128);
    call_v2(&a, "V1");
    expect_shape(a.softmax_lse, 3, (int[]){128, 1, 1}, "V1");
    expect_all(a.attention_out, 1, 1e-6, "V1");
    expect_unit_lse(a.softmax_lse, "V1");
    harness_reset();
}

static void case_v2(void **state)
{
    (void)state;
    v2_args a;
    fattn_tensor *x = ones(FATTN_BF16, 3, 128, 8, 128, 0), *sink = tensor_new(FATTN_BF16, 0, 1, 8);
    fill(sink, 1);
    v2_of(&a, "TND", 8, x, x, x);
    a.learnable_sink = sink, a.return_softmax_lse = true;
    a.actual_seq_qlen = a.actual_seq_kvlen = list_of(1, 128);
    call_v2(&a, "V2");
    expect_all(a.attention_out, 1, 1e-6, "V2");
    expect_unit_lse(a.softmax_lse, "V2");
    fill(sink, 32768); /* all the weight on the sink */
    call_v2(&a, "V2, large sink");
    expect_all(a.attention_out, 0, 0, "V2, large sink");
    harness_reset();
}

/* ---- sections 2.1 and 1.6 -----------------------------------------------------------------------
 */

/* B 2, N 4, Sq 3 (T 3 where packed or without B), D 8, Dv 6. */
static const struct {
    const char *layout;
    int q_rank, q[4], v_last, out_rank, out[4], lse_rank, lse[4];
} shape_rows[] = {
    {"BSH", 3, {2, 3, 32}, 24, 3, {2, 3, 24}, 4, {2, 4, 3, 1}},
    {"BSND", 4, {2, 3, 4, 8}, 6, 4, {2, 3, 4, 6}, 4, {2, 4, 3, 1}},
    {"BNSD", 4, {2, 4, 3, 8}, 6, 4, {2, 4, 3, 6}, 4, {2, 4, 3, 1}},
    {"BNSD_BSND", 4, {2, 4, 3, 8}, 6, 4, {2, 3, 4, 6}, 4, {2, 4, 3, 1}},
    {"NSD", 3, {4, 3, 8}, 6, 3, {4, 3, 6}, 4, {1, 4, 3, 1}},
    {"TND", 3, {3, 4, 8}, 6, 3, {3, 4, 6}, 3, {3, 4, 1}},
    {"NTD", 3, {4, 3, 8}, 6, 3, {4, 3, 6}, 3, {3, 4, 1}},
    {"NTD_TND", 3, {4, 3, 8}, 6, 3, {3, 4, 6}, 3, {3, 4, 1}},
    {"TND_NTD", 3, {3, 4, 8}, 6, 3, {4, 3, 6}, 3, {3, 4, 1}},
    {"BSH_BNSD", 3, {2, 3, 32}, 24, 4, {2, 4, 3, 6}, 4, {2, 4, 3, 1}},
    {"BSND_BNSD", 4, {2, 3, 4, 8}, 6, 4, {2, 4, 3, 6}, 4, {2, 4, 3, 1}},
    {"BSH_NBSD", 3, {2, 3, 32}, 24, 4, {4, 2, 3, 6}, 4, {2, 4, 3, 1}},
    {"BSND_NBSD", 4, {2, 3, 4, 8}, 6, 4, {4, 2, 3, 6}, 4, {2, 4, 3, 1}},
    {"BNSD_NBSD", 4, {2, 4, 3, 8}, 6, 4, {4, 2, 3, 6}, 4, {2, 4, 3, 1}},
};

static fattn_tensor sized(int rank, const int *shape, int last)
{
    int64_t wide[4];
    for (int i = 0; i < rank; i++) wide[i] = i == rank - 1 ? last : shape[i];
    return fattn_tensor_contiguous(NULL, FATTN_BF16, rank, wide);
}

static void output_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shape_rows / sizeof *shape_rows; i++) {
        const char *layout = shape_rows[i].layout;
        const int *q = shape_rows[i].q, rank = shape_rows[i].q_rank;
        const fattn_tensor query = sized(rank, q, q[rank - 1]),
                           value = sized(rank, q, shape_rows[i].v_last);
        v1_args a;
        v2_args b;
        fattn_tensor one[2], two[2];
        fattn_fused_infer_attention_score_args_init(&a);
        fattn_fused_infer_attention_score_v2_args_init(&b);
        a.query = b.query = a.key = b.key = &query, a.value = b.value = &value;
        a.input_layout = b.input_layout = layout, a.num_heads = b.num_query_heads = 4;
        a.softmax_lse_flag = b.return_softmax_lse = true;
        EXPECT_OK(fattn_fused_infer_attention_score_shapes(plain_context(), &a, one), "%s", layout);
        EXPECT_OK(fattn_fused_infer_attention_score_v2_shapes(plain_context(), &b, two), "%s",
                  layout);
        for (int v = 0; v < 2; v++) {
            const fattn_tensor *got = v ? two : one;
            expect_shape(&got[0], shape_rows[i].out_rank, shape_rows[i].out, layout);
            expect_shape(&got[1], shape_rows[i].lse_rank, shape_rows[i].lse, layout);
            assert_int_equal(got[0].dtype, FATTN_BF16);
            assert_int_equal(got[1].dtype, FATTN_F32);
        }
        a.softmax_lse_flag = false;
        EXPECT_OK(fattn_fused_infer_attention_score_shapes(plain_context(), &a, one), "%s", layout);
        expect_shape(&one[1], 1, (int[]){1}, layout);
    }
}

/* ---- workspaces ---------------------------------------------------------------------------------
 */

/* The query agrees with the plan, and a caller's workspace of that size will do. */
static void caller_workspace(void **state)
{
    (void)state;
    v2_args a;
    size_t bytes = 0;
    fattn_plan *plan = NULL;
    v2_of(&a, "BSND", 4, tensor_new(FATTN_BF16, 1, 4, 2, 9, 4, 32),
          tensor_new(FATTN_BF16, 2, 4, 2, 300, 4, 32), tensor_new(FATTN_BF16, 3, 4, 2, 300, 4, 32));
    a.softmax_scale = 0.2, a.sparse_mode = 3;
    call_v2(&a, "call");
    const fattn_tensor *wanted = a.attention_out;
    a.attention_out = tensor_like(wanted);
    EXPECT_OK(fattn_fused_infer_attention_score_v2_workspace(plain_context(), &a, &bytes),
              "workspace");
    EXPECT_OK(fattn_fused_infer_attention_score_v2_plan(plain_context(), &a, &plan), "plan");
    assert_int_equal(fattn_plan_workspace(plan), bytes);
    assert_true(bytes > 0);
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    EXPECT_OK(fattn_plan_run(plan, &a, memory, bytes), "run");
    assert_memory_equal(wanted->data, a.attention_out->data, tensor_bytes(wanted));
    expect_refused(fattn_plan_run(plan, &a, memory, bytes - 1), FATTN_E_ARG, "workspace",
                   "too small");
    free(memory);
    fattn_plan_destroy(plan);
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_vectors),     cmocka_unit_test(block_and_slot),
        cmocka_unit_test(tree_by_hand),     cmocka_unit_test(case_f7),
        cmocka_unit_test(case_f11),         cmocka_unit_test(case_f12),
        cmocka_unit_test(case_f13),         cmocka_unit_test(broken_cases),
        cmocka_unit_test(case_f15),         cmocka_unit_test(case_v1),
        cmocka_unit_test(case_v2),          cmocka_unit_test(output_shapes),
        cmocka_unit_test(caller_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
