/* SPDX-License-Identifier: Apache-2.0 */
/* call_patterns_quant.c — quantised calls as serving systems make them (spec inference 15.1: A7, A11, A15),
 * against the formula in double over the dequantised numbers. */
#include "api/harness.h"

enum { BATCH = 3, BLOCK = 128, NZ_I8 = 32, NZ_16 = 16, TABLE = 4 };

static const int kv_len[BATCH] = {300, 1, 129};

static unsigned random_bits(void)
{
    static uint64_t state = 11;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(state >> 33);
}

static const fattn_tensor *random_codes(fattn_dtype dtype, int rank, const int *shape)
{
    int64_t extents[FATTN_MAX_RANK];
    for (int i = 0; i < rank; i++) extents[i] = shape[i];
    fattn_tensor *t = harness_alloc(sizeof *t);
    *t = fattn_tensor_contiguous(NULL, dtype, rank, extents);
    t->data = harness_alloc(tensor_bytes(t));
    for (size_t i = 0; i < tensor_bytes(t); i++) {
        const unsigned code = random_bits() & 255;
        ((uint8_t *)t->data)[i] = (uint8_t)(dtype == FATTN_E4M3 ? code & 0xbf : code); /* below 2 */
    }
    return t;
}

static double code_at(const fattn_tensor *t, int64_t at)
{
    const uint8_t code = ((const uint8_t *)t->data)[at];
    if (t->dtype == FATTN_I8) return (int8_t)code;
    const int exponent = code >> 3 & 15, mantissa = code & 7;
    const double size = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return code & 128 ? -size : size;
}

/* Blocks 1.. in order; 0 belongs to nobody. */
static int block_of(int b, int t)
{
    static const int first[BATCH] = {5, 1, 2};
    return first[b] + t / BLOCK;
}

static fattn_tensor *block_table(void)
{
    fattn_tensor *t = tensor_new(FATTN_I32, 1, 2, BATCH, TABLE);
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < TABLE; i++)
            put2(t, b, i, i * BLOCK < kv_len[b] ? block_of(b, i * BLOCK) : -1);
    return t;
}

/* Element of [blocks, heads, D/c, rows, c]. */
static int64_t nz_at(int heads, int d_all, int c, int b, int g, int t, int d)
{
    const int64_t block = (int64_t)block_of(b, t) * heads + g;
    return ((block * (d_all / c) + d / c) * BLOCK + t % BLOCK) * c + d % c;
}

static naive_row row;

static void expect_row(fattn_dtype dtype, const double *got, const char *what, int b, int h, int i)
{
    for (int d = 0; d < row.columns; d++)
        if (!close_out(dtype, got[d], row.out[d], row.bound[d]))
            fail_msg("%s (%d,%d,%d,%d): %.9g, want %.9g", what, b, h, i, d, got[d], row.out[d]);
}

/* ---- A7: int8 KV, BNSD, a rank-5 NZ view of the cache, scales per channel in bf16 */

enum { A7_N = 8, A7_KV = 2, A7_D = 128 };

typedef struct a7 {
    const fattn_tensor *v, *scale;
    int b, g;
} a7;

static double a7_value(const void *self, int key, int column)
{
    const a7 *a = self;
    return code_at(a->v, nz_at(A7_KV, A7_D, NZ_I8, a->b, a->g, key, column)) *
           get3(a->scale, a->g, 0, column);
}

static void a7_int8_cache(void **state)
{
    (void)state;
    fattn_fused_infer_attention_score_args c;
    fattn_fused_infer_attention_score_args_init(&c);
    const int cache[] = {9, A7_KV, A7_D / NZ_I8, BLOCK, NZ_I8};
    const fattn_tensor *q = tensor_new(FATTN_BF16, 1, 4, BATCH, A7_N, 1, A7_D);
    const fattn_tensor *k = random_codes(FATTN_I8, 5, cache), *v = random_codes(FATTN_I8, 5, cache);
    fattn_tensor *ks = tensor_new(FATTN_BF16, 2, 3, A7_KV, 1, A7_D);
    fattn_tensor *vs = tensor_new(FATTN_BF16, 3, 3, A7_KV, 1, A7_D);
    for (int i = 0; i < A7_KV * A7_D; i++) {
        put3(ks, i / A7_D, 0, i % A7_D, 0.01 + (double)(i % 7) / 700);
        put3(vs, i / A7_D, 0, i % A7_D, 0.02 + (double)(i % 5) / 500);
    }
    c.query = q, c.key = k, c.value = v, c.input_layout = "BNSD", c.num_heads = A7_N;
    c.num_key_value_heads = A7_KV, c.scale = 0.088, c.block_table = block_table(),
    c.block_size = BLOCK;
    c.actual_seq_lengths_kv = list_of(3, kv_len[0], kv_len[1], kv_len[2]);
    c.key_antiquant_scale = ks, c.value_antiquant_scale = vs, c.inner_precise = 1,
    c.sparse_mode = 0;
    c.key_antiquant_mode = c.value_antiquant_mode = 0;
    call_v1(&c, "A7");
    assert_int_equal(warnings(), 0);
    for (int b = 0; b < BATCH; b++)
        for (int h = 0; h < A7_N; h++) {
            const a7 a = {.v = v, .scale = vs, .b = b, .g = h / (A7_N / A7_KV)};
            row = (naive_row){.keys = kv_len[b], .columns = A7_D, .d = A7_D, .sink = -INFINITY};
            for (int t = 0; t < kv_len[b]; t++) {
                double sum = 0, absolute = 0;
                for (int d = 0; d < A7_D; d++) {
                    const double x = get4(q, b, h, 0, d) * get3(ks, a.g, 0, d) *
                                     code_at(k, nz_at(A7_KV, A7_D, NZ_I8, b, a.g, t, d));
                    sum += x, absolute += fabs(x);
                }
                row.key[t] = t, row.x[t] = c.scale * sum, row.sigma[t] = c.scale * absolute;
            }
            naive_finish(&row, a7_value, &a);
            double got[A7_D];
            get_run(c.attention_out, (const int64_t[]){b, h, 0, 0}, A7_D, got);
            expect_row(FATTN_BF16, got, "A7", b, h, 0);
        }
    harness_reset();
}

/* ---- A11: MLA decode with int8 (NZ caches) or e4m3 (plain ones) */

enum { A11_N = 4, A11_D = 512, A11_R = 64 };

typedef struct a11 {
    const char *layout;
    fattn_dtype dtype;
    bool nz;
    int tokens[BATCH]; /* queries of each */
    /* made */
    const fattn_tensor *q, *k, *q_rope, *k_rope, *q_scale;
    int b;
} a11;

static int64_t a11_key(const a11 *p, int b, int t, int d)
{
    if (p->nz) return nz_at(1, A11_D, NZ_I8, b, 0, t, d);
    return ((int64_t)block_of(b, t) * BLOCK + t % BLOCK) * A11_D + d;
}

static double a11_rope(const a11 *p, int b, int t, int d)
{
    const int64_t block = block_of(b, t), slot = t % BLOCK;
    if (!p->nz) return get4(p->k_rope, block, 0, slot, d);
    return get(p->k_rope, (const int64_t[]){block, 0, d / NZ_16, slot, d % NZ_16});
}

static double a11_value(const void *self, int key, int column)
{
    const a11 *p = self;
    return 0.03125 * code_at(p->k, a11_key(p, p->b, key, column));
}

static int first_token(const a11 *p, int b)
{
    int first = 0;
    for (int i = 0; i < b; i++) first += p->tokens[i];
    return first;
}

static void a11_tensors(a11 *p)
{
    const int total = first_token(p, BATCH);
    const bool packed = p->layout[0] == 'T', bsnd = p->layout[1] == 'S';
    const int q3[] = {total, A11_N, A11_D}, q_bsnd[] = {BATCH, 1, A11_N, A11_D};
    const int q_bnsd[] = {BATCH, A11_N, 1, A11_D};
    const int nz[] = {9, 1, A11_D / NZ_I8, BLOCK, NZ_I8}, plain[] = {9, 1, BLOCK, A11_D};
    p->q =
        packed ? random_codes(p->dtype, 3, q3) : random_codes(p->dtype, 4, bsnd ? q_bsnd : q_bnsd);
    p->k = p->nz ? random_codes(p->dtype, 5, nz) : random_codes(p->dtype, 4, plain);
    p->q_rope = packed ? tensor_new(FATTN_BF16, 4, 3, total, A11_N, A11_R)
                : bsnd ? tensor_new(FATTN_BF16, 4, 4, BATCH, 1, A11_N, A11_R)
                       : tensor_new(FATTN_BF16, 4, 4, BATCH, A11_N, 1, A11_R);
    p->k_rope = p->nz ? tensor_new(FATTN_BF16, 5, 5, 9, 1, A11_R / NZ_16, BLOCK, NZ_16)
                      : tensor_new(FATTN_BF16, 5, 4, 9, 1, BLOCK, A11_R);
    p->q_scale = packed ? tensor_new(FATTN_F32, 6, 2, total, A11_N)
                 : bsnd ? tensor_new(FATTN_F32, 6, 3, BATCH, 1, A11_N)
                        : tensor_new(FATTN_F32, 6, 3, BATCH, A11_N, 1);
}

static void a11_run(a11 p)
{
    fattn_fused_infer_attention_score_v2_args a;
    fattn_fused_infer_attention_score_v2_args_init(&a);
    fattn_tensor *key_scale = tensor_new(FATTN_F32, 1, 1, 1),
                 *value_scale = tensor_new(FATTN_F32, 1, 1, 1);
    const bool packed = p.layout[0] == 'T', bsnd = p.layout[1] == 'S';
    a11_tensors(&p);
    put1(key_scale, 0, 0.0625), put1(value_scale, 0, 0.03125);
    a.query = p.q, a.key = a.value = p.k, a.query_rope = p.q_rope, a.key_rope = p.k_rope;
    a.input_layout = p.layout, a.num_query_heads = A11_N, a.num_key_value_heads = 1;
    a.block_table = block_table(), a.block_size = BLOCK;
    a.actual_seq_kvlen = list_of(3, kv_len[0], kv_len[1], kv_len[2]);
    a.query_quant_mode = 3, a.dequant_scale_query = p.q_scale;
    a.dequant_scale_key = key_scale, a.dequant_scale_value = value_scale;
    a.softmax_scale = p.dtype == FATTN_I8 ? 0.0005 : 0.07;
    if (packed) {
        a.actual_seq_qlen =
            list_of(3, p.tokens[0], p.tokens[0] + p.tokens[1], first_token(&p, BATCH));
        a.sparse_mode = 3;
        fattn_tensor *mask = tensor_new(FATTN_I8, 1, 2, 2048, 2048);
        for (int i = 0; i < 2048; i++)
            for (int j = i + 1; j < 2048; j++) ((int8_t *)mask->data)[i * 2048 + j] = 1;
        a.atten_mask = mask;
    }
    call_v2(&a, "A11");
    assert_int_equal(a.attention_out->dtype, FATTN_BF16);
    for (p.b = 0; p.b < BATCH; p.b++)
        for (int h = 0; h < A11_N; h++)
            for (int i = 0; i < p.tokens[p.b]; i++) {
                const int token = first_token(&p, p.b) + i;
                const int64_t q_row = packed || bsnd ? (int64_t)(packed ? token : p.b) * A11_N + h
                                                     : (int64_t)p.b * A11_N + h;
                const double factor =
                    ((const float *)p.q_scale->data)[q_row] * 0.0625 * a.softmax_scale;
                row = (naive_row){.columns = A11_D, .d = A11_D + A11_R, .sink = -INFINITY};
                row.keys = kv_len[p.b] - (packed ? p.tokens[p.b] - 1 - i : 0);
                for (int t = 0; t < row.keys; t++) {
                    double sum = 0, absolute = 0;
                    for (int d = 0; d < A11_D + A11_R; d++) {
                        const double x =
                            d < A11_D
                                ? code_at(p.q, q_row * A11_D + d) *
                                      code_at(p.k, a11_key(&p, p.b, t, d))
                                : get(&(fattn_tensor){.data = p.q_rope->data,
                                                      .dtype = FATTN_BF16,
                                                      .rank = 2,
                                                      .shape = {tensor_count(p.q_rope) / A11_R,
                                                                A11_R},
                                                      .strides = {A11_R, 1}},
                                      (const int64_t[]){q_row, d - A11_D}) *
                                      a11_rope(&p, p.b, t, d - A11_D);
                        sum += x, absolute += fabs(x);
                    }
                    row.key[t] = t, row.x[t] = factor * sum, row.sigma[t] = fabs(factor) * absolute;
                }
                naive_finish(&row, a11_value, &p);
                double got[A11_D];
                if (packed) /* TND_NTD: [N,T,D] */
                    get_run(a.attention_out, (const int64_t[]){h, token, 0}, A11_D, got);
                else if (bsnd) /* BSND_NBSD: [N,B,1,D] */
                    get_run(a.attention_out, (const int64_t[]){h, p.b, 0, 0}, A11_D, got);
                else
                    get_run(a.attention_out, (const int64_t[]){p.b, h, 0, 0}, A11_D, got);
                expect_row(FATTN_BF16, got, p.layout, p.b, h, i);
            }
    harness_reset();
}

static void a11_mla_int8(void **state)
{
    (void)state;
    a11_run((a11){"BSND_NBSD", FATTN_I8, true, {1, 1, 1}, .b = 0});
    a11_run((a11){"TND_NTD", FATTN_I8, true, {3, 1, 2}, .b = 0});
    a11_run((a11){"BNSD", FATTN_E4M3, false, {1, 1, 1}, .b = 0});
}

/* ---- A15: prefill over an int8 cache that the caller has dequantised with the other sign of the offset:
 * (x - offset) * scale is (x + (-offset)) * scale. Both ways are the same attention. */

static void a15_dequantised_outside(void **state)
{
    (void)state;
    enum { T = 40, H = 4, KV = 2, D = 64 };
    const int lengths[] = {25, 15}, shape[] = {T, KV, D};
    const fattn_tensor *codes[2] = {random_codes(FATTN_I8, 3, shape),
                                    random_codes(FATTN_I8, 3, shape)};
    fattn_tensor *scale = tensor_new(FATTN_F32, 2, 2, KV, D),
                 *offset = tensor_new(FATTN_F32, 3, 2, KV, D);
    fattn_tensor *wide[2] = {tensor_new(FATTN_F32, 1, 3, T, KV, D),
                             tensor_new(FATTN_F32, 1, 3, T, KV, D)};
    fattn_tensor *minus = tensor_new(FATTN_F32, 1, 2, KV, D);
    for (int g = 0; g < KV; g++)
        for (int d = 0; d < D; d++) {
            put2(scale, g, d, 0.0078125), put2(offset, g, d, (double)((g + d) % 9 - 4));
            put2(minus, g, d, -get2(offset, g, d));
            for (int t = 0; t < T; t++)
                for (int side = 0; side < 2; side++)
                    put3(wide[side], t, g, d,
                         (code_at(codes[side], (t * KV + g) * D + d) - get2(offset, g, d)) *
                             get2(scale, g, d));
        }
    fattn_fused_infer_attention_score_args a, b;
    fattn_tensor *mask = tensor_new(FATTN_I8, 1, 2, 2048, 2048);
    for (int i = 0; i < 2048; i++)
        for (int j = i + 1; j < 2048; j++) ((int8_t *)mask->data)[i * 2048 + j] = 1;
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = tensor_new(FATTN_F32, 7, 3, T, H, D), a.key = wide[0], a.value = wide[1];
    a.input_layout = "TND", a.num_heads = H, a.num_key_value_heads = KV, a.scale = 0.125;
    a.atten_mask = mask, a.sparse_mode = 3, a.block_size = BLOCK;
    a.actual_seq_lengths = list_of(2, lengths[0], lengths[0] + lengths[1]);
    a.actual_seq_lengths_kv = list_of(2, lengths[0], lengths[0] + lengths[1]);
    b = a;
    b.key = codes[0], b.value = codes[1];
    b.key_antiquant_scale = b.value_antiquant_scale = scale;
    b.key_antiquant_offset = b.value_antiquant_offset = minus;
    call_v1(&a, "A15"), call_v1(&b, "A15 inside");
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++)
                assert_true(get3(a.attention_out, t, h, d) == get3(b.attention_out, t, h, d));
    harness_reset();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a7_int8_cache),
        cmocka_unit_test(a11_mla_int8),
        cmocka_unit_test(a15_dequantised_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
