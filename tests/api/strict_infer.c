/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of strict_infer.c (spec inference 1.4, 1.7, 1.8, 2, 3, 5, 10, 11), one or more cases
 * each. The calls that are spoilt are as the device takes them: 16 bits, head dims and block sizes
 * of its kernels. */
#include "api/infer_case.h"
#include "api/strict_case.h"

typedef fattn_fused_infer_attention_score_args args;
typedef fattn_fused_infer_attention_score_v2_args args2;

#define NEW(...) tensor_new(FATTN_F16, 1, __VA_ARGS__)
#define MASK(...) a->atten_mask = tensor_new(FATTN_U8, 0, __VA_ARGS__)
#define CAUSAL MASK(2, 2048, 2048)
#define TOKENS(pre, next) a->pre_tokens = (pre), a->next_tokens = (next)
#define PREFIX(t) a->key_shared_prefix = a->value_shared_prefix = (t)
#define SINK(dtype, n) v->learnable_sink = tensor_new(dtype, 1, 1, n)
#define PACKED_ROPE a->query_rope = NEW(3, 9, 4, 64), a->key_rope = NEW(3, 12, 2, 64)
#define HEADS(a, n, nkv)                                                                           \
    (a)->num_heads = (n), (a)->num_key_value_heads = (nkv), (a)->query = NEW(4, 2, 6, n, 16),      \
    (a)->key = (a)->value = NEW(4, 2, 8, nkv, 16)
#define COLUMNS(a, s, d, dv)                                                                       \
    (a)->query = NEW(4, 2, s, 4, d), (a)->key = NEW(4, 2, 8, 2, d), (a)->value = NEW(4, 2, 8, 2, dv)
#define IN(a, dtype)                                                                               \
    (a)->query = tensor_new(dtype, 1, 4, 2, 6, 4, 16),                                             \
    (a)->key = (a)->value = tensor_new(dtype, 2, 4, 2, 8, 2, 16)
#define ROPE(a) (a)->query_rope = NEW(4, 2, 6, 4, 64), (a)->key_rope = NEW(4, 2, 8, 2, 64)
#define REPAGE(a, rows) (a)->block_size = (rows), (a)->key = (a)->value = NEW(3, 8, rows, 32)

/* ---- calls that the device takes
 * ----------------------------------------------------------------- */

static strict_case *of(const infer_case *from)
{
    strict_case *c = strict_case_new("fused_infer_attention_score");
    c->a.fused = from->a;
    return c;
}

static infer_case *plain(const char *layout, int sq)
{
    return padded_case(FUSED, layout, FATTN_F16, 2, 4, 2, sq, 8, 16, 16);
}

static strict_case *dense(const char *layout) { return of(plain(layout, 6)); }
static strict_case *decode(const char *layout) { return of(plain(layout, 1)); }

static strict_case *batch3(void)
{
    return of(padded_case(FUSED, "BSND", FATTN_F16, 3, 4, 2, 6, 8, 16, 16));
}

static strict_case *bnsd_bsnd(void)
{
    strict_case *c = dense("BNSD");
    c->a.fused.input_layout = "BNSD_BSND";
    return c;
}

static strict_case *prompt(const char *layout)
{
    const args from = dense(layout)->a.fused;
    strict_case *c = strict_case_new("prompt_flash_attention");
    fattn_prompt_flash_attention_args *p = &c->a.prompt;
    p->query = from.query, p->key = from.key, p->value = from.value;
    p->num_heads = from.num_heads, p->num_key_value_heads = from.num_key_value_heads;
    p->input_layout = layout;
    return c;
}

static strict_case *incre(const char *layout)
{
    const args from = decode(layout)->a.fused;
    strict_case *c = strict_case_new("incre_flash_attention");
    fattn_incre_flash_attention_args *i = &c->a.incre;
    i->query = from.query, i->key = from.key, i->value = from.value;
    i->num_heads = from.num_heads, i->num_key_value_heads = from.num_key_value_heads;
    i->input_layout = layout;
    return c;
}

static strict_case *packed(int q, int k)
{
    return of(
        packed_infer(FUSED, FATTN_F16, 3, (int[]){q, q, q}, (int[]){k, k, k}, 0, 4, 2, 64, 64));
}

static strict_case *packed_causal(int q, int k)
{
    strict_case *c = packed(q, k);
    args *a = &c->a.fused;
    a->sparse_mode = 3;
    CAUSAL;
    return c;
}

static strict_case *banded(int mode)
{
    strict_case *c = dense("BSND");
    args *a = &c->a.fused;
    a->sparse_mode = mode, a->next_tokens = 4096;
    if (mode == 0) MASK(2, 6, 8);
    if (mode == 4) CAUSAL;
    return c;
}

static strict_case *biased(void)
{
    strict_case *c = dense("BSND");
    c->a.fused.pse_shift = NEW(4, 2, 4, 6, 8);
    return c;
}

static const fattn_tensor *one(int64_t value)
{
    fattn_tensor *t = tensor_new(FATTN_I64, 0, 1, 1);
    *(int64_t *)t->data = value;
    return t;
}

/* Left padding: one row in front of the keys, one behind. */
static strict_case *padded(void)
{
    strict_case *c = dense("BSND");
    args *a = &c->a.fused;
    a->actual_seq_lengths = list_of(1, 6), a->actual_seq_lengths_kv = list_of(1, 6);
    a->kv_padding_size = one(1);
    return c;
}

/* Block b * columns + p, wrapped to `blocks`. */
static const fattn_tensor *table_of(int batch, int columns, int blocks)
{
    fattn_tensor *t = tensor_new(FATTN_I32, 0, 2, batch, columns);
    for (int b = 0; b < batch; b++)
        for (int p = 0; p < columns; p++) put2(t, b, p, (b * columns + p) % blocks);
    return t;
}

/* 8 blocks, 4 columns, sequences of 40 and 33 keys. */
static strict_case *paged(const char *layout, int sq, int block)
{
    strict_case *c = of(plain(layout, sq));
    args *a = &c->a.fused;
    REPAGE(a, block);
    a->block_table = table_of(2, 4, 8);
    a->actual_seq_lengths_kv = list_of(2, 40, 33);
    return c;
}

static strict_case *packed_paged(void)
{
    strict_case *c = packed(3, 4);
    args *a = &c->a.fused;
    a->block_size = 16, a->key = a->value = NEW(3, 8, 16, 128);
    a->block_table = table_of(3, 2, 8), a->actual_seq_lengths_kv = list_of(3, 10, 9, 0);
    return c;
}

static void list_keys(args *a, int n)
{
    const fattn_tensor **items = harness_alloc((size_t)n * sizeof *items);
    for (int b = 0; b < n; b++) items[b] = NEW(4, 1, 8, 2, 16);
    a->query = NEW(4, n, 6, 4, 16), a->key = a->value = NULL;
    a->key_list = a->value_list = (fattn_tensor_array){items, n};
}

static strict_case *listed(int n)
{
    strict_case *c = dense("BSND");
    list_keys(&c->a.fused, n);
    return c;
}

/* ---- absorbed decode
 * ------------------------------------------------------------------------------ */

static void mla_cache(args *a, int rows, int nkv, int d, int dr)
{
    a->block_size = rows, a->key = a->value = NEW(3, 8, rows, nkv * d);
    a->key_rope = NEW(3, 8, rows, nkv * dr);
}

static strict_case *mla(int rows)
{
    strict_case *c = strict_case_new("fused_infer_attention_score");
    args *a = &c->a.fused;
    a->input_layout = "BSND", a->num_heads = 4, a->num_key_value_heads = 1, a->scale = 0.04;
    a->query = NEW(4, 2, rows, 4, 512), a->query_rope = NEW(4, 2, rows, 4, 64);
    mla_cache(a, 16, 1, 512, 64);
    a->block_table = table_of(2, 4, 8), a->actual_seq_lengths_kv = list_of(2, 40, 33);
    if (rows == 1) return c;
    a->sparse_mode = 3;
    CAUSAL;
    return c;
}

/* `n` heads, as many query rows as there are. */
static void mla_heads(args *a, int n)
{
    const int rows = (int)a->query->shape[1];
    a->num_heads = n, a->query = NEW(4, 2, rows, n, 512), a->query_rope = NEW(4, 2, rows, n, 64);
}

/* The caches chunked: [blocks, 1, D/16, rows, 16]. */
static void mla_nz(args *a, int rows)
{
    a->block_size = rows, a->key = a->value = NEW(5, 8, 1, 32, rows, 16);
    a->key_rope = NEW(5, 8, 1, 4, rows, 16);
}

/* Mode 4 as the device takes it. */
static strict_case *mla_banded(void)
{
    strict_case *c = mla(4);
    args *a = &c->a.fused;
    mla_heads(a, 128);
    mla_cache(a, 64, 1, 512, 64);
    a->sparse_mode = 4;
    TOKENS(9, 0);
    return c;
}

static strict_case *mla_unpaged(void)
{
    strict_case *c = mla_banded();
    args *a = &c->a.fused;
    a->block_table = NULL, a->block_size = 0;
    a->key = a->value = NEW(4, 2, 40, 1, 512), a->key_rope = NEW(4, 2, 40, 1, 64);
    return c;
}

static strict_case *mla_packed(void)
{
    strict_case *c = mla(1);
    args *a = &c->a.fused;
    a->input_layout = "TND", a->query = NEW(3, 5, 4, 512), a->query_rope = NEW(3, 5, 4, 64);
    a->actual_seq_lengths = list_of(2, 1, 5);
    return c;
}

/* ---- quantised
 * ------------------------------------------------------------------------------------ */

#define ONE(dtype) tensor_new(dtype, 1, 1, 1)
#define KEYS_OF(a, dtype, sq, d)                                                                   \
    (a)->query = NEW(4, 2, sq, 4, d),                                                              \
    (a)->key = (a)->value = tensor_new(dtype, 1, 4, 2, 8, 2, (dtype) == FATTN_I4 ? (d) / 8 : (d))
#define SCALES(a, dtype)                                                                           \
    (a)->key_antiquant_scale = (a)->value_antiquant_scale = tensor_new(dtype, 1, 1, 128)
#define BY_TOKEN(a, side)                                                                          \
    (a)->side##_antiquant_scale = tensor_new(FATTN_F32, 1, 2, 2, 40),                              \
    (a)->side##_antiquant_mode = 1

static strict_case *quantised(int sq)
{
    strict_case *c = of(plain("BSND", sq));
    args *a = &c->a.fused;
    KEYS_OF(a, FATTN_I8, sq, 64);
    a->antiquant_scale = NEW(3, 2, 2, 64);
    return c;
}

static strict_case *separate(int sq)
{
    strict_case *c = quantised(sq);
    c->a.fused.antiquant_scale = NULL;
    SCALES(&c->a.fused, FATTN_F16);
    return c;
}

static strict_case *full(int sq)
{
    strict_case *c = quantised(sq);
    args *a = &c->a.fused;
    a->query = tensor_new(FATTN_I8, 1, 4, 2, sq, 4, 64), a->antiquant_scale = NULL;
    a->dequant_scale1 = a->quant_scale1 = a->dequant_scale2 = ONE(FATTN_F32);
    return c;
}

static strict_case *nz_int8(void)
{
    strict_case *c = strict_case_new("fused_infer_attention_score");
    args *a = &c->a.fused;
    a->input_layout = "BNSD", a->num_heads = 10, a->num_key_value_heads = 1, a->inner_precise = 1;
    a->query = tensor_new(FATTN_BF16, 1, 4, 2, 10, 1, 128);
    a->key = a->value = tensor_new(FATTN_I8, 1, 5, 8, 1, 4, 128, 32), a->block_size = 128;
    a->block_table = table_of(2, 4, 8), a->actual_seq_lengths_kv = list_of(2, 40, 33);
    SCALES(a, FATTN_BF16);
    return c;
}

/* ---- version 2
 * ------------------------------------------------------------------------------------ */

static strict_case *second(const args *from)
{
    strict_case *c = strict_case_new("fused_infer_attention_score_v2");
    args2 *v = &c->a.fused2;
    v->query = from->query, v->key = from->key, v->value = from->value;
    v->query_rope = from->query_rope, v->key_rope = from->key_rope;
    v->actual_seq_qlen = from->actual_seq_lengths,
    v->actual_seq_kvlen = from->actual_seq_lengths_kv;
    v->block_table = from->block_table, v->block_size = from->block_size;
    v->num_query_heads = from->num_heads, v->num_key_value_heads = from->num_key_value_heads;
    v->softmax_scale = from->scale, v->input_layout = from->input_layout;
    return c;
}

static strict_case *dense2(const char *layout) { return second(&dense(layout)->a.fused); }

static strict_case *packed2(int d)
{
    return second(
        &packed_infer(FUSED, FATTN_F16, 2, (int[]){3, 1}, (int[]){4, 2}, 0, 4, 2, d, d)->a);
}

/* Packed queries, int8 keys in a cache, a scale per key. */
static strict_case *packed_cache2(void)
{
    strict_case *c = second(&packed_paged()->a.fused);
    args2 *v = &c->a.fused2;
    v->key = v->value = tensor_new(FATTN_I8, 1, 3, 8, 16, 128);
    v->dequant_scale_key = v->dequant_scale_value = tensor_new(FATTN_F32, 1, 2, 3, 40);
    v->key_quant_mode = v->value_quant_mode = 1;
    return c;
}

static strict_case *mla_int8(void)
{
    strict_case *c = second(&mla(1)->a.fused);
    args2 *v = &c->a.fused2;
    v->query = tensor_new(FATTN_I8, 1, 4, 2, 1, 4, 512);
    v->query_rope = tensor_new(FATTN_BF16, 1, 4, 2, 1, 4, 64);
    v->key = v->value = tensor_new(FATTN_I8, 1, 5, 8, 1, 16, 128, 32), v->block_size = 128;
    v->key_rope = tensor_new(FATTN_BF16, 1, 5, 8, 1, 4, 128, 16);
    v->dequant_scale_query = tensor_new(FATTN_F32, 1, 3, 2, 1, 4);
    v->dequant_scale_key = v->dequant_scale_value = ONE(FATTN_F32), v->query_quant_mode = 3;
    return c;
}

static strict_case *tree(void)
{
    strict_case *c = second(&mla(4)->a.fused);
    c->a.fused2.sparse_mode = 9;
    c->a.fused2.atten_mask = tensor_new(FATTN_U8, 0, 3, 2, 4, 4);
    return c;
}

/* ---- large sizes in little memory
 * ------------------------------------------------------------------ */

static const fattn_tensor *repeated(fattn_tensor *t, int axis, int64_t extent)
{
    t->shape[axis] = extent, t->strides[axis] = 0;
    return t;
}

/* That many rows of keys, of which one is valid. */
static void long_keys(args *a, int sq, int64_t rows)
{
    a->query = NEW(4, 1, sq, 1, 16), a->num_heads = a->num_key_value_heads = 1;
    a->key = a->value = repeated(NEW(4, 1, 1, 1, 16), 1, rows);
    a->actual_seq_lengths_kv = list_of(1, 1);
}

/* A query with one key, and a sequence without queries: that many keys of 128 + 64 columns
 * together, and values of 512, the widest. Only with rope parts no rule on head dims comes first.
 */
static void wide_values(args *a, int keys)
{
    a->num_heads = a->num_key_value_heads = 1;
    a->query = NEW(3, 1, 1, 128), a->query_rope = NEW(3, 1, 1, 64);
    a->key = repeated(NEW(3, 1, 1, 128), 0, keys),
    a->key_rope = repeated(NEW(3, 1, 1, 64), 0, keys);
    a->value = repeated(NEW(3, 1, 1, 512), 0, keys);
    a->actual_seq_lengths = list_of(2, 1, 1), a->actual_seq_lengths_kv = list_of(2, 1, keys);
}

/* The same behind a block table: blocks of 512 rows in the memory of one; the second entry has one
 * key. */
static void long_cache(args *a, int keys)
{
    const int columns = (keys + 511) / 512, blocks = columns + 1;
    a->block_size = 512, a->key = a->value = repeated(NEW(3, 1, 512, 32), 0, blocks);
    a->block_table = table_of(2, columns, blocks);
    a->actual_seq_lengths_kv = list_of(2, keys, 1);
}

/* Two tensors of packed tokens in place of the two of a batch. */
static void packed_list(args *a)
{
    const fattn_tensor **items = harness_alloc(2 * sizeof *items);
    items[0] = items[1] = NEW(3, 4, 2, 16);
    a->query = NEW(3, 6, 4, 16);
    a->key_list = a->value_list = (fattn_tensor_array){items, 2};
    a->actual_seq_lengths = list_of(2, 3, 6), a->actual_seq_lengths_kv = list_of(2, 4, 8);
}

/* The second tensor of the lists gets one key less. */
static void shorten_second(args *a)
{
    const fattn_tensor **items = harness_alloc(2 * sizeof *items);
    items[0] = a->key_list.data[0], items[1] = NEW(4, 1, 7, 2, 16);
    a->key_list.data = a->value_list.data = items;
}

/* `n` sequences of `tokens` tokens together, and a key each. */
static void many(args *a, int n, int64_t tokens)
{
    int64_t *q = harness_alloc((size_t)n * sizeof *q), *k = harness_alloc((size_t)n * sizeof *k);
    for (int b = 0; b < n; b++) q[b] = k[b] = b + 1;
    q[n - 1] = tokens;
    a->num_heads = a->num_key_value_heads = 1;
    a->query = repeated(NEW(3, 1, 1, 64), 0, tokens);
    a->key = a->value = repeated(NEW(3, 1, 1, 64), 0, n);
    a->actual_seq_lengths = (fattn_int_array){q, n},
    a->actual_seq_lengths_kv = (fattn_int_array){k, n};
}

/* The cache as [blocks, rows, Nkv, D]. */
static void split_heads(args *a) { a->key = a->value = NEW(4, 8, 16, 2, 16); }

#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    static strict_case *STRICT_NAME(__LINE__, make_)(void) { return made; }                        \
    static void STRICT_NAME(__LINE__, spoil_)(strict_case * c)                                     \
    {                                                                                              \
        args *a = &c->a.fused;                                                                     \
        args2 *v = &c->a.fused2;                                                                   \
        fattn_prompt_flash_attention_args *p = &c->a.prompt;                                       \
        fattn_incre_flash_attention_args *i = &c->a.incre;                                         \
        (void)a, (void)v, (void)p, (void)i;                                                        \
        __VA_ARGS__;                                                                               \
    }
#include "api/strict_infer.def"
#undef ROW

static const strict_test tests[] = {
#define ROW(id, code, by_default, status, argument, made, ...)                                     \
    STRICT_ENTRY(id, code, by_default, status, argument, #__VA_ARGS__),
#include "api/strict_infer.def"
#undef ROW
};

int main(void) { return strict_main(&strict_infer, tests, (int)(sizeof tests / sizeof tests[0])); }
