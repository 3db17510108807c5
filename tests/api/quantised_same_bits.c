/* SPDX-License-Identifier: Apache-2.0 */
/* quantised_same_bits.c — quantised keys and values keep the same-bits promise (docs/accuracy.md): threads,
 * layouts, pages of any size, NZ chunks, batch neighbours and the mode that addresses the same scales change no
 * bit. One query row (dot products), few of them, and many (tiles); keys over several splits. */
#include "api/harness.h"

enum { B = 3, N = 8, NKV = 2, D = 64, S = 1100, CODES_MAX = B * NKV * S * D };

static const int kv_len[B] = {1100, 513, 37};

/* How the same keys are stored and called. */
typedef struct variant {
    const char *name, *layout; /* layout of query and dense keys */
    int block;                 /* 0 = dense */
    bool nz;
    int threads, only; /* only >= 0: that batch entry alone */
} variant;

static const variant variants[] = {
    {"BNSD", "BNSD", 0, false, 1, -1},           {"3 threads", "BNSD", 0, false, 3, -1},
    {"BSND", "BSND", 0, false, 2, -1},           {"BSH", "BSH", 0, false, 2, -1},
    {"pages of 16", "BNSD", 16, false, 2, -1},   {"pages of 64", "BSND", 64, false, 1, -1},
    {"pages of 100", "BNSD", 100, false, 3, -1}, {"NZ", "BNSD", 32, true, 2, -1},
    {"alone", "BNSD", 0, false, 2, 1},           {"alone in pages", "BNSD", 64, false, 2, 1},
};

static uint8_t codes[2][CODES_MAX]; /* [B][NKV][S][D], a value each */
static float scales[2][B * NKV * S];

static unsigned hash(unsigned a, unsigned b)
{
    uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) + b;
    x = (x ^ x >> 31) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)(x >> 40);
}

static int bits_of(fattn_dtype dtype) { return dtype == FATTN_I4 ? 4 : 8; }

static void make_keys(fattn_dtype dtype)
{
    for (unsigned i = 0; i < CODES_MAX; i++)
        for (unsigned side = 0; side < 2; side++) {
            const unsigned code = hash(side + 1, i) & ((1u << bits_of(dtype)) - 1);
            codes[side][i] = (uint8_t)(dtype == FATTN_E4M3 ? code & 0xbf : code);
        }
    for (unsigned i = 0; i < B * NKV * S; i++)
        for (unsigned side = 0; side < 2; side++)
            scales[side][i] = (1 + (float)(hash(side + 7, i) % 1000) / 1000) / 64;
}

static void put_code(fattn_tensor *t, int64_t at, int code)
{
    uint8_t *byte = (uint8_t *)t->data + at * bits_of(t->dtype) / 8;
    const int shift = bits_of(t->dtype) == 4 ? (int)(at % 2) * 4 : 0;
    *byte = (uint8_t)(*byte | code << shift);
}

static int block_of(const variant *v, int b, int t)
{
    return (b * ((S + v->block - 1) / v->block) + t / v->block) * 7 % 211; /* 211: prime, enough */
}

/* Where (b, g, t, d) lies, in values. */
static int64_t place(const variant *v, fattn_dtype dtype, int b, int g, int t, int d)
{
    const int chunk = 32 * 8 / bits_of(dtype), row = v->block ? t % v->block : t;
    if (v->nz)
        return ((((int64_t)block_of(v, b, t) * NKV + g) * (D / chunk) + d / chunk) * v->block +
                row) *
                   chunk +
               d % chunk;
    if (v->block) return (((int64_t)block_of(v, b, t) * NKV + g) * v->block + row) * D + d;
    if (strcmp(v->layout, "BNSD") == 0) return (((int64_t)b * NKV + g) * S + t) * D + d;
    return (((int64_t)b * S + t) * NKV + g) * D + d;
}

static fattn_tensor *keys_tensor(const variant *v, fattn_dtype dtype, int side)
{
    const int pack = dtype == FATTN_I4 ? 8 : 1, batch = v->only < 0 ? B : 1;
    const int chunk = 32 / (pack == 8 ? 4 : 1); /* containers of a strip: 32 bytes */
    const int64_t nz[] = {211, NKV, D / pack / chunk, v->block, chunk};
    const int64_t pages[] = {211, NKV, v->block, D / pack}, bnsd[] = {batch, NKV, S, D / pack};
    const int64_t bsnd[] = {batch, S, NKV, D / pack}, bsh[] = {batch, S, NKV * D / pack};
    const bool heads_first = strcmp(v->layout, "BNSD") == 0, flat = strcmp(v->layout, "BSH") == 0;
    fattn_tensor *t = harness_alloc(sizeof *t);
    *t = fattn_tensor_contiguous(NULL, dtype,
                                 v->nz  ? 5
                                 : flat ? 3
                                        : 4,
                                 v->nz         ? nz
                                 : v->block    ? pages
                                 : heads_first ? bnsd
                                 : flat        ? bsh
                                               : bsnd);
    t->data = harness_alloc(tensor_bytes(t));
    for (int b = 0; b < B; b++)
        for (int g = 0; g < NKV; g++)
            for (int j = 0; j < kv_len[b]; j++)
                for (int d = 0; d < D; d++)
                    if (v->only < 0 || v->only == b)
                        put_code(t, place(v, dtype, v->only < 0 ? b : 0, g, j, d),
                                 codes[side][((b * NKV + g) * S + j) * D + d]);
    return t;
}

/* By channel, or by token and head: dense [B,NKV,S], in pages [blocks,NKV,rows]. */
static const fattn_tensor *scale_tensor(const variant *v, bool by_key, int side)
{
    const int batch = v->only < 0 ? B : 1;
    if (!by_key) {
        fattn_tensor *t = tensor_new(FATTN_F32, 1, 2, NKV, D);
        memcpy(t->data, scales[side], NKV * D * sizeof(float));
        return t;
    }
    fattn_tensor *t = v->block ? tensor_new(FATTN_F32, 1, 3, 211, NKV, v->block)
                               : tensor_new(FATTN_F32, 1, 3, batch, NKV, S);
    for (int b = 0; b < B; b++)
        for (int g = 0; g < NKV; g++)
            for (int j = 0; j < kv_len[b]; j++) {
                if (v->only >= 0 && v->only != b) continue;
                const int at = v->only < 0 ? b : 0;
                const int64_t first = v->block ? block_of(v, at, j) : at;
                put3(t, first, g, v->block ? j % v->block : j,
                     (double)scales[side][(b * NKV + g) * S + j]);
            }
    return t;
}

static fattn_context *context_of(int threads)
{
    fattn_context_options o;
    fattn_context *c = NULL;
    fattn_context_options_init(&o);
    o.threads = threads;
    assert_int_equal(fattn_context_create(&c, &o), FATTN_OK);
    return c;
}

/* The result as [B][N][sq][D]; of `only` just that entry. */
static void run(const variant *v, fattn_dtype dtype, bool by_key, int sq, float *out)
{
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    const int batch = v->only < 0 ? B : 1;
    fattn_tensor *q = tensor_layout(FATTN_F32, 1, v->layout, batch, sq, N, D), *table = NULL;
    int64_t at[4], lengths[B];
    const bool bnsd = strcmp(v->layout, "BNSD") == 0, flat = strcmp(v->layout, "BSH") == 0;
#define AT(b, h, i, d)                                                                             \
    (at[0] = (b), at[1] = bnsd ? (h) : (i),                                                        \
     at[2] = flat   ? (h)*D + (d)                                                                  \
             : bnsd ? (i)                                                                          \
                    : (h),                                                                         \
     at[3] = (d), at)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < sq; i++)
                for (int d = 0; d < D; d++)
                    if (v->only < 0 || v->only == b)
                        put(q, AT(v->only < 0 ? b : 0, h, i, d),
                            (double)(hash(99, (unsigned)(((b * N + h) * sq + i) * D + d)) % 2000) /
                                    1000 -
                                1);
    for (int b = 0; b < batch; b++) lengths[b] = kv_len[v->only < 0 ? b : v->only];
    if (v->block) {
        table = tensor_new(FATTN_I32, 1, 2, batch, (S + v->block - 1) / v->block);
        for (int b = 0; b < batch; b++)
            for (int j = 0; j < lengths[b]; j += v->block)
                put2(table, b, j / v->block, block_of(v, b, j));
    }
    a.query = q, a.key = keys_tensor(v, dtype, 0), a.value = keys_tensor(v, dtype, 1);
    a.input_layout = v->layout, a.num_heads = N, a.num_key_value_heads = NKV, a.scale = 0.02;
    a.actual_seq_lengths_kv = (fattn_int_array){lengths, batch};
    a.block_table = table, a.block_size = v->block;
    a.key_antiquant_scale = scale_tensor(v, by_key, 0),
    a.value_antiquant_scale = scale_tensor(v, by_key, 1);
    a.key_antiquant_mode = a.value_antiquant_mode = by_key ? v->block ? 5 : 3 : 0;
    fattn_tensor shapes[2];
    fattn_context *context = context_of(v->threads);
    EXPECT_OK(fattn_fused_infer_attention_score_shapes(context, &a, shapes), "%s", v->name);
    fattn_tensor *result = tensor_like(&shapes[0]);
    a.attention_out = result, a.softmax_lse = tensor_like(&shapes[1]);
    EXPECT_OK(fattn_fused_infer_attention_score(context, &a), "%s", v->name);
    fattn_context_destroy(context);
    for (int b = 0; b < B; b++)
        for (int h = 0; h < N; h++)
            for (int i = 0; i < sq; i++)
                for (int d = 0; d < D; d++)
                    if (v->only < 0 || v->only == b)
                        *out++ = (float)get(result, AT(v->only < 0 ? b : 0, h, i, d));
}

static void one(fattn_dtype dtype, bool by_key, int sq)
{
    static float first[B * N * 20 * D], other[B * N * 20 * D];
    const size_t entry = (size_t)(N * sq * D);
    make_keys(dtype);
    run(&variants[0], dtype, by_key, sq, first);
    assert_true(isfinite(first[0]) && first[0] != 0 && first[0] != first[entry]); /* numbers, not one */
    for (size_t i = 1; i < sizeof variants / sizeof *variants; i++) {
        const variant *v = &variants[i];
        run(v, dtype, by_key, sq, other);
        const float *wanted = v->only < 0 ? first : first + entry * (size_t)v->only;
        if (memcmp(other, wanted, entry * (v->only < 0 ? B : 1) * sizeof(float)))
            fail_msg("%s, %s, %d rows, %s: other bits", fattn_dtype_name(dtype),
                     by_key ? "by key" : "by column", sq, v->name);
        harness_reset();
    }
}

static void same_bits(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_I8, FATTN_I4, FATTN_E4M3};
    static const int rows[] = {1, 2, 20};
    for (int i = 0; i < 3; i++)
        for (int r = 0; r < 3; r++)
            for (int by_key = 0; by_key < 2; by_key++) one(dtypes[i], by_key, rows[r]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
