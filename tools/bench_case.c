/* SPDX-License-Identifier: Apache-2.0 */
/* bench_case.c — tensors and args of a row. Keys and values are BNSD, or the same memory as a cache
 * of blocks [blocks, kv heads, block_size, head dim] with the blocks in a fixed random order, as a
 * pool that has been used for a while hands them out. */
#include "bench_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATTERN = 1 << 22 /* elements */,
    MASK = 2048 /* rows and columns of the compressed mask */,
    STATS = 8 /* copies of each softmax_max and softmax_sum */
};

bool bench_buffer_reserve(bench_buffer *buffer, size_t bytes)
{
    if (bytes <= buffer->bytes) return true;
    free(buffer->data);
    *buffer = (bench_buffer){.data = aligned_alloc(64, (bytes + 63) / 64 * 64)};
    if (buffer->data == NULL) return false;
    buffer->bytes = bytes;
    return true;
}

void bench_buffer_free(bench_buffer *buffer)
{
    free(buffer->data);
    *buffer = (bench_buffer){0};
}

static uint64_t next_random(uint64_t *state) /* splitmix64 */
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* The sum of four uniform 16-bit numbers: bell-shaped, variance 1, |x| < 3.5. */
static float next_normal(uint64_t *state)
{
    const uint64_t x = next_random(state);
    const int64_t sum = (int64_t)(x & 0xffff) + (int64_t)(x >> 16 & 0xffff) +
                        (int64_t)(x >> 32 & 0xffff) + (int64_t)(x >> 48);
    return (float)(sum - 2 * 0xffff) * (1.7320508f / 65536.0f);
}

/* Truncated, not rounded: any bits are as good as others here. */
static uint16_t f16_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude < 0x38800000u) return 0; /* below the smallest normal fp16 */
    return (uint16_t)((bits >> 16 & 0x8000u) | (magnitude - 0x38000000u) >> 13);
}

static void put_element(void *data, fattn_dtype dtype, size_t at, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (dtype == FATTN_F32) ((float *)data)[at] = x;
    if (dtype == FATTN_F16) ((uint16_t *)data)[at] = f16_bits(x);
    if (dtype == FATTN_BF16) ((uint16_t *)data)[at] = (uint16_t)(bits >> 16);
}

bool bench_buffer_fill(bench_buffer *buffer, size_t bytes, fattn_dtype dtype, unsigned seed)
{
    if (bytes <= buffer->bytes) return true;
    if (!bench_buffer_reserve(buffer, bytes)) return false;
    const size_t size = fattn_dtype_size(dtype), pattern = (size_t)PATTERN * size;
    uint64_t state = seed;
    for (size_t i = 0; i < (size_t)PATTERN && i < bytes / size; i++)
        put_element(buffer->data, dtype, i, next_normal(&state));
    for (size_t at = pattern; at < bytes; at += pattern)
        memcpy((char *)buffer->data + at, buffer->data,
               bytes - at < pattern ? bytes - at : pattern);
    return true;
}

/* softmax_max or softmax_sum. */
static size_t stats_bytes(const bench_row *row)
{
    return (size_t)(row->batch * row->n_heads * row->q_len * STATS) * sizeof(float);
}

bench_sizes bench_case_sizes(const bench_row *row, fattn_dtype dtype)
{
    const size_t size = fattn_dtype_size(dtype);
    const size_t q_rows = (size_t)(row->batch * row->n_heads * row->q_len) * size;
    const size_t kv_rows = (size_t)(row->batch * row->n_kv_heads * row->kv_len) * size;
    const size_t d = (size_t)row->head_dim, dv = (size_t)bench_row_value_dim(row);
    const size_t q = q_rows * d, k = kv_rows * d;
    bench_sizes sizes = {.q = q, .k = k, .v = kv_rows * dv, .out = q_rows * dv};
    if (row->backward) sizes.backward = 2 * q + 2 * k + 2 * stats_bytes(row);
    return sizes;
}

/* A block table [batch, blocks per sequence] that is a permutation of all blocks. */
static bool shuffled_table(fattn_tensor *table, int64_t batch, int64_t per_sequence)
{
    const int64_t n = batch * per_sequence, shape[] = {batch, per_sequence};
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    *table = fattn_tensor_contiguous(ids, FATTN_I32, 2, shape);
    if (ids == NULL) return false;
    uint64_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = (int64_t)(next_random(&state) % (uint64_t)(i + 1));
        ids[i] = ids[j];
        ids[j] = (int32_t)i;
    }
    return true;
}

/* The compressed causal mask: what the device wants beside sparse_mode 3. */
static bool causal_mask(fattn_tensor *mask)
{
    const int64_t shape[] = {MASK, MASK};
    uint8_t *cells = malloc((size_t)MASK * MASK);
    *mask = fattn_tensor_contiguous(cells, FATTN_BOOL, 2, shape);
    if (cells == NULL) return false;
    for (int i = 0; i < MASK; i++)
        for (int j = 0; j < MASK; j++) cells[i * MASK + j] = j > i;
    return true;
}

static void fusion_args(bench_case *c, const bench_row *row)
{
    fattn_fusion_attention_args *a = &c->args.fusion;
    fattn_fusion_attention_args_init(a);
    a->query = &c->query, a->key = &c->key, a->value = &c->value, a->attention_out = &c->out;
    a->head_num = row->n_heads;
    a->input_layout = "BNSD";
    a->scale = c->scale;
    if (row->causal) a->sparse_mode = 3, a->atten_mask = &c->mask;
    if (row->band > 0) a->sparse_mode = 4, a->pre_tokens = row->band, a->next_tokens = 0;
}

/* Takes `bytes` off the front of the memory. */
static fattn_tensor take(char **memory, size_t bytes, fattn_dtype dtype, const int64_t *shape)
{
    const fattn_tensor tensor = fattn_tensor_contiguous(*memory, dtype, 4, shape);
    *memory += bytes;
    return tensor;
}

/* Runs the forward, for what it leaves to the backward; dy are the numbers of the query, elsewhere. */
static fattn_status grad_args(bench_case *c, fattn_context *context, const bench_row *row)
{
    const bench_sizes sizes = bench_case_sizes(row, c->query.dtype);
    const int64_t stats[] = {row->batch, row->n_heads, row->q_len, STATS};
    c->backward = aligned_alloc(64, (sizes.backward + 63) / 64 * 64);
    if (c->backward == NULL) return FATTN_E_NOMEM;
    char *memory = c->backward;
    c->dy = take(&memory, sizes.q, c->query.dtype, c->query.shape);
    c->dq = take(&memory, sizes.q, c->query.dtype, c->query.shape);
    c->dk = take(&memory, sizes.k, c->key.dtype, c->key.shape);
    c->dv = take(&memory, sizes.v, c->key.dtype, c->key.shape);
    c->max = take(&memory, stats_bytes(row), FATTN_F32, stats);
    c->sum = take(&memory, stats_bytes(row), FATTN_F32, stats);
    memcpy(c->dy.data, c->query.data, sizes.q);

    fusion_args(c, row);
    c->args.fusion.softmax_max = &c->max, c->args.fusion.softmax_sum = &c->sum;
    const fattn_status status = fattn_fusion_attention(context, &c->args.fusion);
    fattn_fusion_attention_grad_args *a = &c->args.grad;
    fattn_fusion_attention_grad_args_init(a);
    a->query = &c->query, a->key = &c->key, a->value = &c->value, a->dy = &c->dy;
    a->attention_in = &c->out, a->softmax_max = &c->max, a->softmax_sum = &c->sum;
    a->dq = &c->dq, a->dk = &c->dk, a->dv = &c->dv;
    a->head_num = row->n_heads;
    a->input_layout = "BNSD";
    a->scale_value = c->scale;
    if (row->causal) a->sparse_mode = 3, a->atten_mask = &c->mask;
    return status;
}

static void prompt_args(bench_case *c, const bench_row *row)
{
    fattn_prompt_flash_attention_args *a = &c->args.prompt;
    fattn_prompt_flash_attention_args_init(a);
    a->query = &c->query, a->key = &c->key, a->value = &c->value, a->attention_out = &c->out;
    a->num_heads = row->n_heads;
    a->num_key_value_heads = row->n_kv_heads;
    a->input_layout = "BNSD";
    a->scale_value = c->scale;
    if (row->causal) a->sparse_mode = 3, a->atten_mask = &c->mask;
}

static void incre_args(bench_case *c, const bench_row *row)
{
    fattn_incre_flash_attention_args *a = &c->args.incre;
    fattn_incre_flash_attention_args_init(a);
    a->query = &c->query, a->key = &c->key, a->value = &c->value, a->attention_out = &c->out;
    a->num_heads = row->n_heads;
    a->num_key_value_heads = row->n_kv_heads;
    a->input_layout = "BNSD";
    a->scale_value = c->scale;
    a->actual_seq_lengths = (fattn_int_array){c->lengths, row->batch};
    if (row->block_size > 0) a->block_table = &c->table, a->block_size = row->block_size;
}

static void fused_args(bench_case *c, const bench_row *row)
{
    fattn_fused_infer_attention_score_args *a = &c->args.fused;
    fattn_fused_infer_attention_score_args_init(a);
    a->query = &c->query, a->key = &c->key, a->value = &c->value, a->attention_out = &c->out;
    a->num_heads = row->n_heads;
    a->num_key_value_heads = row->n_kv_heads;
    a->input_layout = "BNSD";
    a->scale = c->scale;
    if (row->causal) a->sparse_mode = 3, a->atten_mask = &c->mask;
}

static const struct {
    const char *op;
    void (*fill)(bench_case *c, const bench_row *row);
} operators[] = {
    {"fusion_attention", fusion_args},
    {"prompt_flash_attention", prompt_args},
    {"incre_flash_attention", incre_args},
    {"fused_infer_attention_score", fused_args},
};

static bool make_tensors(bench_case *c, const bench_row *row, fattn_dtype dtype, void *q, void *k,
                         void *v, void *out)
{
    const int64_t q_shape[] = {row->batch, row->n_heads, row->q_len, row->head_dim};
    int64_t out_shape[] = {row->batch, row->n_heads, row->q_len, row->head_dim};
    int64_t kv_shape[] = {row->batch, row->n_kv_heads, row->kv_len, row->head_dim};
    if (row->block_size > 0) {
        const int64_t per_sequence = row->kv_len / row->block_size;
        kv_shape[0] = row->batch * per_sequence;
        kv_shape[2] = row->block_size;
        if (!shuffled_table(&c->table, row->batch, per_sequence)) return false;
    }
    c->query = fattn_tensor_contiguous(q, dtype, 4, q_shape);
    c->key = fattn_tensor_contiguous(k, dtype, 4, kv_shape);
    kv_shape[3] = out_shape[3] = bench_row_value_dim(row);
    c->value = fattn_tensor_contiguous(v, dtype, 4, kv_shape);
    c->out = fattn_tensor_contiguous(out, dtype, 4, out_shape);
    c->lengths = malloc((size_t)row->batch * sizeof *c->lengths);
    if (c->lengths == NULL) return false;
    for (int64_t b = 0; b < row->batch; b++) c->lengths[b] = row->kv_len;
    return !row->causal || causal_mask(&c->mask);
}

fattn_status bench_case_open(bench_case *c, fattn_context *context, const bench_row *row,
                             fattn_dtype dtype, void *q, void *k, void *v, void *out)
{
    *c = (bench_case){.scale = 1.0 / sqrt((double)row->head_dim)};
    if (!make_tensors(c, row, dtype, q, k, v, out)) return FATTN_E_NOMEM;
    const fattn_status status = row->backward ? grad_args(c, context, row) : FATTN_OK;
    if (status != FATTN_OK) return status;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(operators[i].op, row->op) == 0) operators[i].fill(c, row);
    return fattn_operator_find(row->op)->plan(context, &c->args, &c->plan);
}

fattn_status bench_case_run(bench_case *c) { return fattn_plan_run(c->plan, &c->args, NULL, 0); }

void bench_case_close(bench_case *c)
{
    fattn_plan_destroy(c->plan);
    free(c->table.data);
    free(c->mask.data);
    free(c->lengths);
    free(c->backward);
    *c = (bench_case){0};
}
