/* SPDX-License-Identifier: Apache-2.0 */
/* standard.c — the opponent computes attention, too: its results are inside the bound that our own
 * results have to meet, for every dtype, mask, head ratio and cut of the work. A ratio against an
 * opponent that is wrong says nothing. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "fattn/fattn.h"
#include "standard.h"

typedef struct shape {
    int64_t batch, n_heads, n_kv_heads, q_len, kv_len, head_dim, value_dim;
    bool causal;
} shape;

/* Random numbers that fp16 and bf16 hold exactly: multiples of 1/16 in [-2, 2]. */
static void fill(float *x, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)((int)(seed >> 16) % 65 - 32) / 16.0f;
    }
}

/* The numbers of x as `dtype`, in new memory. */
static void *store(const float *x, size_t n, fattn_dtype dtype)
{
    void *data = malloc(n * fattn_dtype_size(dtype));
    assert_non_null(data);
    for (size_t i = 0; i < n; i++) {
        if (dtype == FATTN_F32) ((float *)data)[i] = x[i];
        if (dtype == FATTN_F16) ((uint16_t *)data)[i] = half_to_f16(x[i]);
        if (dtype == FATTN_BF16) ((uint16_t *)data)[i] = half_to_bf16(x[i]);
    }
    return data;
}

typedef struct tensors {
    float *q, *k, *v, *out;
    size_t n_q, n_k, n_v, n_out;
} tensors;

static tensors make_tensors(const shape *s)
{
    tensors t = {.n_q = (size_t)(s->batch * s->n_heads * s->q_len * s->head_dim),
                 .n_k = (size_t)(s->batch * s->n_kv_heads * s->kv_len * s->head_dim),
                 .n_v = (size_t)(s->batch * s->n_kv_heads * s->kv_len * s->value_dim),
                 .n_out = (size_t)(s->batch * s->n_heads * s->q_len * s->value_dim)};
    t.q = calloc(t.n_q, 4), t.k = calloc(t.n_k, 4), t.v = calloc(t.n_v, 4),
    t.out = calloc(t.n_out, 4);
    assert_true(t.q && t.k && t.v && t.out);
    fill(t.q, t.n_q, 1);
    fill(t.k, t.n_k, 2);
    fill(t.v, t.n_v, 3);
    return t;
}

/* t->out as the output of the operator with the same arguments. */
static void check_inside_bound(const shape *s, const tensors *t, double scale, const char *text)
{
    const int64_t q_shape[] = {s->batch, s->n_heads, s->q_len, s->head_dim};
    const int64_t k_shape[] = {s->batch, s->n_kv_heads, s->kv_len, s->head_dim};
    const int64_t v_shape[] = {s->batch, s->n_kv_heads, s->kv_len, s->value_dim};
    const int64_t out_shape[] = {s->batch, s->n_heads, s->q_len, s->value_dim};
    const fattn_tensor q = fattn_tensor_contiguous(t->q, FATTN_F32, 4, q_shape);
    const fattn_tensor k = fattn_tensor_contiguous(t->k, FATTN_F32, 4, k_shape);
    const fattn_tensor v = fattn_tensor_contiguous(t->v, FATTN_F32, 4, v_shape);
    const fattn_tensor out = fattn_tensor_contiguous(t->out, FATTN_F32, 4, out_shape);
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    a.query = &q, a.key = &k, a.value = &v, a.attention_out = &out;
    a.head_num = s->n_heads;
    a.input_layout = "BNSD";
    a.scale = scale;
    a.sparse_mode = s->causal ? 3 : 0;
    const fattn_operator *op = fattn_operator_find("fusion_attention");
    fattn_verify_report report = {.size = sizeof report};
    if (fattn_verify(NULL, op, &a, &report) != FATTN_OK) {
        print_error("%s: %s\n", text, fattn_error_message());
        fail();
    }
    if (report.passed) return;
    print_error("%s: [%lld] %.9g, exact %.9g, bound %.3g\n", text, (long long)report.worst_index,
                report.worst_got, report.worst_exact, report.worst_bound);
    fail();
}

static void check(const shape *s, fattn_dtype dtype, int threads, uint64_t memory)
{
    char text[160];
    snprintf(text, sizeof text, "%s b%d h%d/%d q%d k%d d%d/%d causal=%d threads=%d",
             fattn_dtype_name(dtype), (int)s->batch, (int)s->n_heads, (int)s->n_kv_heads,
             (int)s->q_len, (int)s->kv_len, (int)s->head_dim, (int)s->value_dim, s->causal, threads);
    const tensors t = make_tensors(s);
    void *q = store(t.q, t.n_q, dtype), *k = store(t.k, t.n_k, dtype),
         *v = store(t.v, t.n_v, dtype);
    const double scale = 1.0 / sqrt((double)s->head_dim);
    const standard_problem p = {.dtype = dtype,
                                .batch = s->batch,
                                .n_heads = s->n_heads,
                                .n_kv_heads = s->n_kv_heads,
                                .q_len = s->q_len,
                                .kv_len = s->kv_len,
                                .head_dim = s->head_dim,
                                .value_dim = s->value_dim,
                                .scale = (float)scale,
                                .causal = s->causal,
                                .q = q,
                                .k = k,
                                .v = v,
                                .out = t.out};
    const standard_layout layout = standard_plan(&p, memory);
    assert_true(layout.batches > 0);
    void *workspace = aligned_alloc(64, (layout.bytes + 63) / 64 * 64);
    bench_pool *pool = bench_pool_create(threads);
    fattn_capability_set set = {.size = sizeof set};
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    standard_attention(&p, layout, pool, bench_simd_find(set.isas[0]), workspace);
    check_inside_bound(s, &t, (double)p.scale, text);
    bench_pool_destroy(pool);
    void *const memories[] = {workspace, q, k, v, t.q, t.k, t.v, t.out};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) free(memories[i]);
}

static void test_inside_bound(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {2, 4, 4, 40, 70, 64, 64, false}, {2, 4, 2, 40, 70, 64, 64, true}, {1, 6, 2, 1, 333, 128, 128, false},
        {3, 2, 2, 1, 100, 32, 32, false}, {1, 8, 1, 33, 33, 24, 24, true}, {1, 2, 1, 300, 160, 64, 64, false},
        {2, 4, 2, 40, 70, 72, 48, true}, {1, 2, 1, 1, 100, 192, 128, false},
    };
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    if (standard_library() == NULL) {
        print_message("not run: standard attention, no OpenBLAS on this machine\n");
        skip();
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            for (int threads = 1; threads <= 4; threads += 3)
                check(&shapes[i], dtypes[d], threads, UINT64_C(1) << 30);
}

/* The gradients of the opponent against ours, element by element. */
static void check_backward(const shape *s, int threads)
{
    const tensors t = make_tensors(s);
    const int64_t q_shape[] = {s->batch, s->n_heads, s->q_len, s->head_dim};
    const int64_t k_shape[] = {s->batch, s->n_kv_heads, s->kv_len, s->head_dim};
    const int64_t stats_shape[] = {s->batch, s->n_heads, s->q_len, 8};
    const size_t stats = (size_t)(s->batch * s->n_heads * s->q_len * 8);
    const size_t sizes[] = {t.n_q, t.n_q, t.n_k, t.n_k, t.n_q, t.n_k, t.n_k, stats, stats};
    float *x[9]; /* dy; dq, dk, dv of the opponent; ours; max, sum */
    for (int i = 0; i < 9; i++) assert_non_null(x[i] = calloc(sizes[i], sizeof(float)));
    fill(x[0], t.n_q, 4);
    const double scale = 1 / sqrt((double)s->head_dim);
    const standard_problem p = {.dtype = FATTN_F32, .batch = s->batch, .n_heads = s->n_heads,
                                .n_kv_heads = s->n_kv_heads, .q_len = s->q_len,
                                .kv_len = s->kv_len, .head_dim = s->head_dim,
                                .value_dim = s->head_dim, .scale = (float)scale,
                                .causal = s->causal, .q = t.q, .k = t.k, .v = t.v, .out = t.out};
    const standard_layout layout = standard_plan(&p, UINT64_C(1) << 30);
    assert_int_equal(layout.batches, s->batch);
    float *work = aligned_alloc(64, (layout.bytes + 63) / 64 * 64);
    float *dscores = aligned_alloc(64, (standard_score_bytes(&p) + 63) / 64 * 64);
    assert_true(work && dscores);
    memset(dscores, 0, standard_score_bytes(&p));
    bench_pool *pool = bench_pool_create(threads);
    fattn_capability_set set = {.size = sizeof set};
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    standard_attention(&p, layout, pool, bench_simd_find(set.isas[0]), work);
    const standard_gradients g = {work, x[0], dscores, x[1], x[2], x[3]};
    standard_backward(&p, &g, pool, bench_simd_find(set.isas[0]));

    const fattn_tensor q = fattn_tensor_contiguous(t.q, FATTN_F32, 4, q_shape);
    const fattn_tensor k = fattn_tensor_contiguous(t.k, FATTN_F32, 4, k_shape);
    const fattn_tensor v = fattn_tensor_contiguous(t.v, FATTN_F32, 4, k_shape);
    const fattn_tensor out = fattn_tensor_contiguous(t.out, FATTN_F32, 4, q_shape);
    const fattn_tensor dy = fattn_tensor_contiguous(x[0], FATTN_F32, 4, q_shape);
    const fattn_tensor dq = fattn_tensor_contiguous(x[4], FATTN_F32, 4, q_shape);
    const fattn_tensor dk = fattn_tensor_contiguous(x[5], FATTN_F32, 4, k_shape);
    const fattn_tensor dv = fattn_tensor_contiguous(x[6], FATTN_F32, 4, k_shape);
    const fattn_tensor max = fattn_tensor_contiguous(x[7], FATTN_F32, 4, stats_shape);
    const fattn_tensor sum = fattn_tensor_contiguous(x[8], FATTN_F32, 4, stats_shape);
    fattn_fusion_attention_args f;
    fattn_fusion_attention_grad_args b;
    fattn_fusion_attention_args_init(&f);
    fattn_fusion_attention_grad_args_init(&b);
    f.query = b.query = &q, f.key = b.key = &k, f.value = b.value = &v, b.dy = &dy;
    f.attention_out = b.attention_in = &out, f.softmax_max = b.softmax_max = &max;
    f.softmax_sum = b.softmax_sum = &sum, b.dq = &dq, b.dk = &dk, b.dv = &dv;
    f.head_num = b.head_num = s->n_heads, f.input_layout = b.input_layout = "BNSD";
    f.scale = b.scale_value = scale, f.sparse_mode = b.sparse_mode = s->causal ? 3 : 0;
    assert_int_equal(fattn_fusion_attention(NULL, &f), FATTN_OK);
    assert_int_equal(fattn_fusion_attention_grad(NULL, &b), FATTN_OK);
    for (int i = 1; i < 4; i++)
        for (size_t e = 0; e < sizes[i]; e++)
            if (!(fabsf(x[i][e] - x[i + 3][e]) <= 1e-4f))
                fail_msg("gradient %d[%zu]: %g, ours %g", i, e, (double)x[i][e], (double)x[i + 3][e]);
    bench_pool_destroy(pool);
    for (int i = 0; i < 9; i++) free(x[i]);
    void *const memories[] = {work, dscores, t.q, t.k, t.v, t.out};
    for (size_t i = 0; i < sizeof memories / sizeof *memories; i++) free(memories[i]);
}

static void test_backward(void **state)
{
    (void)state;
    static const shape shapes[] = {{2, 4, 4, 40, 70, 64, 64, false},
                                   {2, 4, 2, 40, 70, 64, 64, true},
                                   {1, 6, 2, 33, 33, 24, 24, true}};
    if (standard_library() == NULL) {
        print_message("not run: standard attention, no OpenBLAS on this machine\n");
        skip();
    }
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int threads = 1; threads <= 4; threads += 3) check_backward(&shapes[i], threads);
}

/* Materialised as a whole, per batch entry, or not at all: by a quarter of the memory. */
static void test_plan(void **state)
{
    (void)state;
    const standard_problem p = {.dtype = FATTN_F32,
                                .batch = 4,
                                .n_heads = 2,
                                .n_kv_heads = 2,
                                .q_len = 64,
                                .kv_len = 64,
                                .head_dim = 32,
                                .value_dim = 32};
    const uint64_t one = 2 * 64 * 64 * 4;
    assert_int_equal(standard_plan(&p, 16 * one).batches, 4);
    assert_true(standard_plan(&p, 16 * one).bytes >= 4 * one);
    assert_int_equal(standard_plan(&p, 15 * one).batches, 1);
    assert_true(standard_plan(&p, 15 * one).bytes < 2 * one);
    assert_int_equal(standard_plan(&p, 3 * one).batches, 0);
}

/* One entry at a time gives what all at once gives. */
static void test_per_batch_entry(void **state)
{
    (void)state;
    if (standard_library() == NULL) {
        print_message("not run: standard attention, no OpenBLAS on this machine\n");
        skip();
    }
    const shape s = {3, 4, 2, 40, 70, 64, 64, true};
    check(&s, FATTN_F32, 2, UINT64_C(4) * 60000); /* 51,200 bytes of scores per entry */
    check(&s, FATTN_F16, 2, UINT64_C(4) * 200000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside_bound),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_per_batch_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
