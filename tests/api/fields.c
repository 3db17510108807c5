/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing is silently ignored: for every field of every operator's table a non-default value
 * changes the result, is refused by name, or the field is flagged "ignored" (then nothing changes)
 * or refused.
 *
 * vary() gives, for one field, two calls that differ in that field alone. */
#include "api/harness.h"

#include <float.h>

enum { MOST_ARGS = 1024 };

typedef union any_args {
    size_t size;
    fattn_fusion_attention_args fusion;
    fattn_fusion_attention_grad_args grad;
    fattn_dropout_gen_mask_args mask;
    fattn_prompt_flash_attention_args prompt;
    fattn_incre_flash_attention_args incre;
    fattn_fused_infer_attention_score_args fused;
    fattn_fused_infer_attention_score_v2_args fused2;
    fattn_advance_step_flashattn_args step;
    fattn_attention_update_args merge;
    fattn_ring_attention_update_args ring;
} any_args;

static bool strict; /* the field shows in strict behaviour only */

static int setup(void **state)
{
    (void)state;
    harness_reset();
    strict = false;
    return 0;
}

#define NEW(...) tensor_new(FATTN_F32, __VA_ARGS__)
#define IS(text) (strcmp(field, text) == 0)

static fattn_tensor *int_tensor(int rank, int rows, int cols, const int64_t *values)
{
    fattn_tensor *t =
        rank == 1 ? tensor_new(FATTN_I64, 0, 1, rows) : tensor_new(FATTN_I64, 0, 2, rows, cols);
    memcpy(t->data, values, tensor_bytes(t));
    return t;
}

static fattn_tensor *ones_from(fattn_dtype dtype, int rank, int rows, int cols, int first)
{
    fattn_tensor *t =
        rank == 2 ? tensor_new(dtype, 0, 2, rows, cols) : tensor_new(dtype, 0, 4, 1, 1, rows, cols);
    for (int i = 0; i < rows; i++)
        for (int j = first; j < cols; j++)
            put(t, (int64_t[]){rank == 2 ? i : 0, rank == 2 ? j : 0, i, j}, 1);
    return t;
}

/* ---- fusion_attention
 * ---------------------------------------------------------------------------- */

static void base_fusion(any_args *args, const char *field)
{
    fattn_fusion_attention_args *a = &args->fusion;
    a->query = NEW(1, 4, 2, 4, 2, 4), a->key = NEW(2, 4, 2, 6, 1, 4),
    a->value = NEW(3, 4, 2, 6, 1, 4);
    a->input_layout = "BSND";
    if (IS("actual_seq_qlen") || IS("actual_seq_kvlen") || IS("softmax_layout")) {
        a->query = NEW(1, 3, 5, 2, 4), a->key = NEW(2, 3, 6, 1, 4), a->value = NEW(3, 3, 6, 1, 4);
        a->input_layout = "TND";
        a->actual_seq_qlen = list_of(2, 2, 5), a->actual_seq_kvlen = list_of(2, 3, 6);
    }
    if (IS("pse_type") || IS("q_start_idx") || IS("kv_start_idx"))
        a->key = NEW(2, 4, 2, 4, 1, 4), a->value = NEW(3, 4, 2, 4, 1, 4);
    if (IS("pse_type")) a->pse = NEW(4, 4, 1, 2, 4, 4), a->scale = 0.5;
    if (IS("q_start_idx") || IS("kv_start_idx")) a->pse = NEW(4, 1, 2), a->pse_type = 2;
    if (IS("query_rope") || IS("key_rope"))
        a->query_rope = NEW(5, 4, 2, 4, 2, 2), a->key_rope = NEW(6, 4, 2, 6, 1, 2);
    if (IS("pre_tokens") || IS("next_tokens")) a->sparse_mode = 4, a->next_tokens = 1;
    if (IS("prefix")) a->sparse_mode = 6, a->prefix = list_of(2, 0, 0);
    if (IS("head_num")) {
        a->input_layout = "BSH", a->head_num = 2;
        a->query = NEW(1, 3, 2, 4, 8), a->key = NEW(2, 3, 2, 6, 8), a->value = NEW(3, 3, 2, 6, 8);
    }
    if (IS("input_layout")) {
        a->head_num = 2;
        a->query = NEW(1, 4, 2, 2, 2, 4), a->key = NEW(2, 4, 2, 2, 2, 4),
        a->value = NEW(3, 4, 2, 2, 2, 4);
    }
    if (IS("inner_precise")) {
        strict = true;
        a->head_num = 2, a->sparse_mode = 1, a->atten_mask = ones_from(FATTN_U8, 2, 4, 6, 0);
    }
    if (IS("seed") || IS("offset") || IS("dropout_mask") || IS("keep_prob"))
        a->keep_prob = 0.5, a->seed = 7, a->offset = 4;
}

/* 96 cells. */
static fattn_tensor *keep_bits(unsigned first)
{
    fattn_tensor *t = tensor_new(FATTN_U8, 0, 1, 16);
    for (int i = 0; i < 16; i++) ((uint8_t *)t->data)[i] = (uint8_t)(first + 37 * (unsigned)i);
    return t;
}

static bool vary_fusion(any_args *args, const char *field)
{
    fattn_fusion_attention_args *a = &args->fusion;
    if (IS("query"))
        a->query = NEW(9, 4, 2, 4, 2, 4);
    else if (IS("key"))
        a->key = NEW(9, 4, 2, 6, 1, 4);
    else if (IS("value"))
        a->value = NEW(9, 4, 2, 6, 1, 4);
    else if (IS("head_num"))
        a->head_num = 4;
    else if (IS("input_layout"))
        a->input_layout = "BNSD";
    else if (IS("pse"))
        a->pse = NEW(4, 4, 2, 2, 4, 6);
    else if (IS("atten_mask"))
        a->atten_mask = ones_from(FATTN_U8, 2, 4, 6, 3);
    else if (IS("query_rope"))
        a->query_rope = NEW(9, 4, 2, 4, 2, 2);
    else if (IS("key_rope"))
        a->key_rope = NEW(9, 4, 2, 6, 1, 2);
    else if (IS("scale"))
        a->scale = 0.5;
    else if (IS("keep_prob"))
        a->keep_prob = 0.25;
    else if (IS("dropout_mask"))
        a->dropout_mask = keep_bits(5);
    else if (IS("pre_tokens"))
        a->pre_tokens = 1;
    else if (IS("next_tokens"))
        a->next_tokens = 0;
    else if (IS("inner_precise"))
        a->inner_precise = 2;
    else if (IS("prefix"))
        a->prefix = list_of(2, 5, 0);
    else if (IS("actual_seq_qlen"))
        a->actual_seq_qlen = list_of(2, 3, 5);
    else if (IS("actual_seq_kvlen"))
        a->actual_seq_kvlen = list_of(2, 4, 6);
    else if (IS("sparse_mode"))
        a->sparse_mode = 2;
    else if (IS("pse_type"))
        a->pse_type = 0;
    else if (IS("q_start_idx"))
        a->q_start_idx = list_of(1, 2);
    else if (IS("kv_start_idx"))
        a->kv_start_idx = list_of(1, 2);
    else if (IS("softmax_layout"))
        a->softmax_layout = "TND";
    else if (IS("sink"))
        a->sink = NEW(7, 1, 2);
    else if (IS("seed"))
        a->seed = 100;
    else if (IS("offset"))
        a->offset = 200;
    else
        return false;
    return true;
}

/* ---- fusion_attention_grad
 * ---------------------------------------------------------------------- */

/* A new tensor of that shape and other numbers; statistics stay positive. */
static fattn_tensor *tensor_of(const fattn_tensor *shape, unsigned seed)
{
    fattn_tensor *t = tensor_like(shape);
    float *x = t->data;
    for (size_t i = 0; i < tensor_bytes(t) / sizeof *x; i++)
        x[i] = 1 + 0.01f * (float)((i / 8 * 7 + seed) % 97);
    return t;
}

/* The forward's case, with statistics and an output that fit its shapes. */
static void base_grad(any_args *args, const char *field)
{
    any_args forward;
    fattn_fusion_attention_grad_args *a = &args->grad;
    fattn_tensor shapes[3];
    memset(&forward, 0, sizeof forward);
    fattn_fusion_attention_args_init(&forward.fusion);
    const bool scaled = IS("scale_value"), own = IS("dq_rope") || IS("dk_rope");
    base_fusion(&forward, scaled ? "scale" : own ? "query_rope" : IS("dpse") ? "pse_type" : field);
    const fattn_fusion_attention_args *f = &forward.fusion;
    a->query = f->query, a->key = f->key, a->value = f->value, a->input_layout = f->input_layout;
    a->head_num = f->head_num, a->pse = f->pse, a->atten_mask = f->atten_mask;
    a->query_rope = f->query_rope, a->key_rope = f->key_rope, a->scale_value = f->scale;
    a->keep_prob = f->keep_prob, a->pre_tokens = f->pre_tokens, a->next_tokens = f->next_tokens;
    a->inner_precise = f->inner_precise, a->prefix = f->prefix, a->pse_type = f->pse_type;
    a->actual_seq_qlen = f->actual_seq_qlen, a->actual_seq_kvlen = f->actual_seq_kvlen;
    a->sparse_mode = f->sparse_mode, a->q_start_idx = f->q_start_idx;
    a->kv_start_idx = f->kv_start_idx, a->sink = IS("dsink") ? NEW(7, 1, 2) : f->sink;
    a->seed = f->seed, a->offset = f->offset;
    EXPECT_OK(fattn_fusion_attention_shapes(strict ? strict_context() : plain_context(), f, shapes),
              "shapes of the forward");
    a->dy = tensor_of(&shapes[0], 21), a->attention_in = tensor_of(&shapes[0], 22);
    a->softmax_max = tensor_of(&shapes[1], 23);
    a->softmax_sum = tensor_of(&shapes[1], 24);
    if (IS("inner_precise")) /* what the forward says of rows that are the mean of all values */
        for (size_t i = 0; i < tensor_bytes(a->softmax_max) / sizeof(float); i++)
            ((float *)a->softmax_max->data)[i] = -FLT_MAX;
}

static bool vary_grad(any_args *args, const char *field)
{
    fattn_fusion_attention_grad_args *a = &args->grad;
    any_args forward;
    if (IS("dy")) return a->dy = tensor_of(a->dy, 31), true;
    if (IS("attention_in")) return a->attention_in = tensor_of(a->dy, 32), true;
    if (IS("softmax_max")) return a->softmax_max = tensor_of(a->softmax_max, 33), true;
    if (IS("softmax_sum")) return a->softmax_sum = tensor_of(a->softmax_sum, 34), true;
    if (IS("scale_value")) return a->scale_value = 0.5, true;
    memset(&forward, 0, sizeof forward);
    fattn_fusion_attention_args_init(&forward.fusion);
    if (!vary_fusion(&forward, field)) return false;
    const fattn_fusion_attention_args *f = &forward.fusion;
#define TAKE(name)                                                                                 \
    if (IS(#name)) return a->name = f->name, true
    TAKE(query);
    TAKE(key);
    TAKE(value);
    TAKE(head_num);
    TAKE(input_layout);
    TAKE(pse);
    TAKE(atten_mask);
    TAKE(query_rope);
    TAKE(key_rope);
    TAKE(keep_prob);
    TAKE(pre_tokens);
    TAKE(next_tokens);
    TAKE(inner_precise);
    TAKE(seed);
    TAKE(offset);
    TAKE(prefix);
    TAKE(actual_seq_qlen);
    TAKE(actual_seq_kvlen);
    TAKE(sparse_mode);
    TAKE(pse_type);
    TAKE(q_start_idx);
    TAKE(kv_start_idx);
    TAKE(softmax_layout);
    TAKE(sink);
    TAKE(dropout_mask);
#undef TAKE
    return false;
}

/* ---- dropout_gen_mask
 * --------------------------------------------------------------------------- */

static void base_mask(any_args *args, const char *field)
{
    (void)field;
    args->mask.sizes = list_of(2, 3, 50);
    fattn_generator_seed(plain_context(), 11);
}

static bool vary_mask(any_args *args, const char *field)
{
    fattn_dropout_gen_mask_args *a = &args->mask;
    if (IS("sizes")) return a->sizes = list_of(2, 3, 40), true;
    if (IS("p")) return a->p = 0.25, true;
    if (IS("seed")) return a->seed = 3, true;
    if (IS("offset")) return a->offset = 3, true;
    if (IS("draw")) return a->draw = true, true;
    if (IS("dtype")) return a->dtype = "bf16", true;
    return false;
}

/* ---- inference: prompt and fused share their spelling up to a few names
 * -------------------------- */

#define INFER_BASE(a)                                                                              \
    do {                                                                                           \
        (a)->query = NEW(1, 4, 2, 4, 2, 4);                                                        \
        (a)->key = NEW(2, 4, 2, 6, 2, 4), (a)->value = NEW(3, 4, 2, 6, 2, 4);                      \
        (a)->input_layout = "BSND", (a)->num_heads = 2;                                            \
        if (IS("pre_tokens") || IS("next_tokens")) (a)->sparse_mode = 4, (a)->next_tokens = 1;     \
        if (IS("num_heads") || IS("num_key_value_heads")) {                                        \
            (a)->input_layout = "BSH", (a)->num_heads = IS("num_heads") ? 2 : 4;                   \
            (a)->query = NEW(1, 3, 2, 4, 8), (a)->key = NEW(2, 3, 2, 6, 8);                        \
            (a)->value = NEW(3, 3, 2, 6, 8);                                                       \
        }                                                                                          \
        if (IS("input_layout")) {                                                                  \
            (a)->query = NEW(1, 4, 2, 2, 2, 4);                                                    \
            (a)->key = NEW(2, 4, 2, 2, 2, 4), (a)->value = NEW(3, 4, 2, 2, 2, 4);                  \
        }                                                                                          \
    } while (0)

#define INFER_VARY(a, extra)                                                                       \
    do {                                                                                           \
        if (IS("query"))                                                                           \
            (a)->query = NEW(9, 4, 2, 4, 2, 4);                                                    \
        else if (IS("key"))                                                                        \
            (a)->key = NEW(9, 4, 2, 6, 2, 4);                                                      \
        else if (IS("value"))                                                                      \
            (a)->value = NEW(9, 4, 2, 6, 2, 4);                                                    \
        else if (IS("num_heads"))                                                                  \
            (a)->num_heads = 4;                                                                    \
        else if (IS("num_key_value_heads"))                                                        \
            (a)->num_key_value_heads = 2;                                                          \
        else if (IS("input_layout"))                                                               \
            (a)->input_layout = "BNSD";                                                            \
        else if (IS("pse_shift"))                                                                  \
            (a)->pse_shift = NEW(4, 4, 1, 2, 4, 6);                                                \
        else if (IS("atten_mask"))                                                                 \
            (a)->atten_mask = ones_from(FATTN_BOOL, 2, 4, 6, 3);                                   \
        else if (IS("pre_tokens"))                                                                 \
            (a)->pre_tokens = 1;                                                                   \
        else if (IS("next_tokens"))                                                                \
            (a)->next_tokens = 0;                                                                  \
        else if (IS("actual_seq_lengths"))                                                         \
            (a)->actual_seq_lengths = list_of(2, 3, 4);                                            \
        else if (IS("actual_seq_lengths_kv"))                                                      \
            (a)->actual_seq_lengths_kv = list_of(1, 5);                                            \
        else if (IS("sparse_mode"))                                                                \
            (a)->sparse_mode = 3;                                                                  \
        else                                                                                       \
            return extra;                                                                          \
        return true;                                                                               \
    } while (0)

static void base_prompt(any_args *args, const char *field) { INFER_BASE(&args->prompt); }

static bool vary_prompt_own(fattn_prompt_flash_attention_args *a, const char *field)
{
    if (!IS("scale_value")) return false;
    a->scale_value = 0.5;
    return true;
}

static bool vary_prompt(any_args *args, const char *field)
{
    INFER_VARY(&args->prompt, vary_prompt_own(&args->prompt, field));
}

/* The keys of the base case are blocks of 3 rows of one cache. */
static fattn_tensor *table(int64_t a, int64_t b, int64_t c, int64_t d)
{
    return int_tensor(2, 2, 2, (const int64_t[]){a, b, c, d});
}

/* One tensor per batch entry, as `a` key. */
static fattn_tensor_array key_list(unsigned seed)
{
    const fattn_tensor **items = harness_alloc(2 * sizeof *items);
    for (int b = 0; b < 2; b++) items[b] = NEW(seed + (unsigned)b, 4, 1, 6, 2, 4);
    return (fattn_tensor_array){items, 2};
}

/* [2, rows, 2, 16] in 16 bits, as the device takes it. */
static fattn_tensor *device_tensor(unsigned seed, int rows)
{
    return tensor_new(FATTN_F16, seed, 4, 2, rows, 2, 16);
}

/* Left padding needs lengths; 1 row is in front of the data, 1 behind. */
static const fattn_tensor *rows_behind(int64_t rows) { return int_tensor(1, 1, 1, &rows); }

#define FORMS_BASE(a)                                                                              \
    do {                                                                                           \
        if (IS("key_list") || IS("value_list")) {                                                  \
            (a)->key = (a)->value = NULL;                                                          \
            (a)->key_list = key_list(20), (a)->value_list = key_list(30);                          \
        }                                                                                          \
        if (IS("query_rope") || IS("key_rope"))                                                    \
            (a)->query_rope = NEW(5, 4, 2, 4, 2, 2), (a)->key_rope = NEW(6, 4, 2, 6, 2, 2);        \
    } while (0)

#define FORMS_VARY(a)                                                                              \
    do {                                                                                           \
        if (IS("key_list")) return (a)->key_list = key_list(40), true;                             \
        if (IS("value_list")) return (a)->value_list = key_list(50), true;                         \
        if (IS("query_rope")) return (a)->query_rope = NEW(7, 4, 2, 4, 2, 2), true;                \
        if (IS("key_rope")) return (a)->key_rope = NEW(8, 4, 2, 6, 2, 2), true;                    \
    } while (0)

static void base_fused(any_args *args, const char *field)
{
    fattn_fused_infer_attention_score_args *a = &args->fused;
    INFER_BASE(a);
    FORMS_BASE(a);
    if (IS("query_padding_size") || IS("kv_padding_size")) {
        a->actual_seq_lengths = list_of(1, 2), a->actual_seq_lengths_kv = list_of(1, 4);
        a->query_padding_size = rows_behind(1), a->kv_padding_size = rows_behind(1);
    }
    if (strstr(field, "shared_prefix"))
        a->key_shared_prefix = NEW(5, 4, 1, 3, 2, 4),
        a->value_shared_prefix = NEW(6, 4, 1, 3, 2, 4);
    if (IS("block_table") || IS("block_size")) {
        a->key = NEW(2, 3, 5, 3, 8), a->value = NEW(3, 3, 5, 3, 8);
        a->block_table = table(0, 1, 2, 3), a->block_size = 3;
        a->actual_seq_lengths_kv = list_of(2, 6, 4);
    }
    if (IS("inner_precise")) {
        strict = true;
        a->query = device_tensor(1, 4), a->key = device_tensor(2, 6),
        a->value = device_tensor(3, 6);
        a->sparse_mode = 1, a->atten_mask = ones_from(FATTN_U8, 2, 4, 6, 0);
    }
}

static bool vary_fused_own(fattn_fused_infer_attention_score_args *a, const char *field)
{
    FORMS_VARY(a);
    if (IS("query_padding_size"))
        a->query_padding_size = rows_behind(0);
    else if (IS("kv_padding_size"))
        a->kv_padding_size = rows_behind(2);
    else if (IS("key_shared_prefix"))
        a->key_shared_prefix = NEW(7, 4, 1, 3, 2, 4);
    else if (IS("value_shared_prefix"))
        a->value_shared_prefix = NEW(7, 4, 1, 3, 2, 4);
    else if (IS("actual_shared_prefix_len"))
        a->actual_shared_prefix_len = list_of(1, 2);
    else if (IS("scale"))
        a->scale = 0.5;
    else if (IS("block_table"))
        a->block_table = table(4, 1, 2, 3);
    else if (IS("block_size"))
        a->block_size = 4;
    else if (IS("inner_precise"))
        a->inner_precise = 2;
    else if (IS("softmax_lse_flag"))
        a->softmax_lse_flag = true;
    else
        return false;
    return true;
}

static bool vary_fused(any_args *args, const char *field)
{
    INFER_VARY(&args->fused, vary_fused_own(&args->fused, field));
}

/* v2 spells v1's arguments otherwise. */
static void base_fused2(any_args *args, const char *field)
{
    fattn_fused_infer_attention_score_v2_args *a = &args->fused2;
    a->query = NEW(1, 4, 2, 4, 2, 4), a->key = NEW(2, 4, 2, 6, 2, 4),
    a->value = NEW(3, 4, 2, 6, 2, 4);
    a->input_layout = "BSND", a->num_query_heads = 2;
    FORMS_BASE(a);
    if (IS("pre_tokens") || IS("next_tokens")) a->sparse_mode = 4, a->next_tokens = 1;
    if (IS("num_query_heads") || IS("num_key_value_heads")) {
        a->input_layout = "BSH", a->num_query_heads = IS("num_query_heads") ? 2 : 4;
        a->query = NEW(1, 3, 2, 4, 8), a->key = NEW(2, 3, 2, 6, 8), a->value = NEW(3, 3, 2, 6, 8);
    }
    if (IS("input_layout")) {
        a->query = NEW(1, 4, 2, 2, 2, 4);
        a->key = NEW(2, 4, 2, 2, 2, 4), a->value = NEW(3, 4, 2, 2, 2, 4);
    }
    if (IS("block_table") || IS("block_size")) {
        a->key = NEW(2, 3, 5, 3, 8), a->value = NEW(3, 3, 5, 3, 8);
        a->block_table = table(0, 1, 2, 3), a->block_size = 3;
        a->actual_seq_kvlen = list_of(2, 6, 4);
    }
    if (IS("inner_precise")) {
        strict = true;
        a->query = device_tensor(1, 4), a->key = device_tensor(2, 6),
        a->value = device_tensor(3, 6);
        a->sparse_mode = 1, a->atten_mask = ones_from(FATTN_U8, 2, 4, 6, 0);
    }
}

static bool vary_fused2(any_args *args, const char *field)
{
    fattn_fused_infer_attention_score_v2_args *a = &args->fused2;
    FORMS_VARY(a);
    if (IS("query"))
        a->query = NEW(9, 4, 2, 4, 2, 4);
    else if (IS("key"))
        a->key = NEW(9, 4, 2, 6, 2, 4);
    else if (IS("value"))
        a->value = NEW(9, 4, 2, 6, 2, 4);
    else if (IS("pse_shift"))
        a->pse_shift = NEW(4, 4, 1, 2, 4, 6);
    else if (IS("atten_mask"))
        a->atten_mask = ones_from(FATTN_BOOL, 2, 4, 6, 3);
    else if (IS("actual_seq_qlen"))
        a->actual_seq_qlen = list_of(2, 3, 4);
    else if (IS("actual_seq_kvlen"))
        a->actual_seq_kvlen = list_of(1, 5);
    else if (IS("block_table"))
        a->block_table = table(4, 1, 2, 3);
    else if (IS("block_size"))
        a->block_size = 4;
    else if (IS("learnable_sink"))
        a->learnable_sink = NEW(4, 1, 2);
    else if (IS("num_query_heads"))
        a->num_query_heads = 4;
    else if (IS("num_key_value_heads"))
        a->num_key_value_heads = 2;
    else if (IS("softmax_scale"))
        a->softmax_scale = 0.5;
    else if (IS("pre_tokens"))
        a->pre_tokens = 1;
    else if (IS("next_tokens"))
        a->next_tokens = 0;
    else if (IS("input_layout"))
        a->input_layout = "BNSD";
    else if (IS("sparse_mode"))
        a->sparse_mode = 3;
    else if (IS("inner_precise"))
        a->inner_precise = 2;
    else if (IS("return_softmax_lse"))
        a->return_softmax_lse = true;
    else
        return false;
    return true;
}

static void base_incre(any_args *args, const char *field)
{
    fattn_incre_flash_attention_args *a = &args->incre;
    a->query = NEW(1, 4, 2, 1, 2, 4);
    a->key = NEW(2, 4, 2, 6, 2, 4), a->value = NEW(3, 4, 2, 6, 2, 4);
    a->input_layout = "BSND", a->num_heads = 2;
    if (IS("num_heads") || IS("num_key_value_heads")) {
        a->input_layout = "BSH", a->num_heads = IS("num_heads") ? 2 : 4;
        a->query = NEW(1, 3, 2, 1, 8), a->key = NEW(2, 3, 2, 6, 8), a->value = NEW(3, 3, 2, 6, 8);
    }
    if (IS("input_layout")) a->key = NEW(2, 4, 2, 2, 2, 4), a->value = NEW(3, 4, 2, 2, 2, 4);
    if (IS("block_table") || IS("block_size")) {
        a->key = NEW(2, 3, 5, 3, 8), a->value = NEW(3, 3, 5, 3, 8);
        a->block_table = table(0, 1, 2, 3), a->block_size = 3;
        a->actual_seq_lengths = list_of(2, 6, 4);
    }
    if (IS("input_layout")) a->query = NEW(1, 4, 2, 1, 2, 4), a->input_layout = "BSND";
    if (IS("kv_padding_size"))
        a->actual_seq_lengths = list_of(1, 4), a->kv_padding_size = rows_behind(1);
}

static bool vary_incre(any_args *args, const char *field)
{
    fattn_incre_flash_attention_args *a = &args->incre;
    if (IS("query"))
        a->query = NEW(9, 4, 2, 1, 2, 4);
    else if (IS("key"))
        a->key = NEW(9, 4, 2, 6, 2, 4);
    else if (IS("value"))
        a->value = NEW(9, 4, 2, 6, 2, 4);
    else if (IS("pse_shift"))
        a->pse_shift = NEW(4, 4, 1, 2, 1, 6);
    else if (IS("atten_mask"))
        a->atten_mask = ones_from(FATTN_BOOL, 2, 2, 6, 3);
    else if (IS("actual_seq_lengths"))
        a->actual_seq_lengths = list_of(1, 5);
    else if (IS("kv_padding_size"))
        a->kv_padding_size = rows_behind(0);
    else if (IS("block_table"))
        a->block_table = table(4, 1, 2, 3);
    else if (IS("block_size"))
        a->block_size = 4;
    else if (IS("num_heads"))
        a->num_heads = 4;
    else if (IS("num_key_value_heads"))
        a->num_key_value_heads = 2;
    else if (IS("scale_value"))
        a->scale_value = 0.5;
    else if (IS("input_layout"))
        a->input_layout = "TND"; /* refused */
    else if (IS("inner_precise"))
        a->inner_precise = 2; /* refused: 0 and 1 are the same numbers */
    else
        return false;
    return true;
}

/* ---- the integer and merge operators
 * ------------------------------------------------------------- */

static void base_step(any_args *args, const char *field)
{
    fattn_advance_step_flashattn_args *a = &args->step;
    const bool speculative = IS("spec_token") || IS("accepted_num");
    a->num_seqs = 3, a->num_queries = speculative ? 3 : 2, a->block_size = 4;
    a->block_tables =
        int_tensor(2, 3, 4, (const int64_t[]){10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33});
    if (speculative) {
        static const int64_t six[] = {5, 6, 7, 8, 4, 3};
        a->input_tokens = int_tensor(1, 6, 0, six), a->input_positions = int_tensor(1, 6, 0, six);
        a->seq_lens = int_tensor(1, 6, 0, six), a->slot_mapping = int_tensor(1, 6, 0, six);
        a->sampled_token_ids = int_tensor(2, 3, 2, six);
        a->spec_token = int_tensor(2, 3, 1, six),
        a->accepted_num = int_tensor(1, 3, 0, (const int64_t[]){0, 1, 1});
        return;
    }
    static const int64_t three[] = {5, 6, 7};
    a->input_tokens = int_tensor(1, 3, 0, three), a->input_positions = int_tensor(1, 3, 0, three);
    a->seq_lens = int_tensor(1, 3, 0, three), a->slot_mapping = int_tensor(1, 3, 0, three);
    a->sampled_token_ids = int_tensor(2, 2, 1, three);
    if (IS("core_count")) strict = true;
}

static bool vary_step(any_args *args, const char *field)
{
    fattn_advance_step_flashattn_args *a = &args->step;
    static const int64_t other[] = {9, 3, 1, 2, 2, 1};
    if (IS("input_tokens"))
        a->input_tokens = tensor_new(FATTN_I64, 0, 1, 2);
    else if (IS("sampled_token_ids"))
        a->sampled_token_ids = int_tensor(2, 2, 1, other);
    else if (IS("input_positions"))
        a->input_positions = tensor_new(FATTN_I64, 0, 1, 2);
    else if (IS("seq_lens"))
        a->seq_lens = int_tensor(1, 3, 0, other);
    else if (IS("slot_mapping"))
        a->slot_mapping = tensor_new(FATTN_I64, 0, 1, 2);
    else if (IS("block_tables"))
        a->block_tables =
            int_tensor(2, 3, 4, (const int64_t[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6});
    else if (IS("num_seqs"))
        a->num_seqs = 4;
    else if (IS("num_queries"))
        a->num_queries = 1;
    else if (IS("block_size"))
        a->block_size = 5;
    else if (IS("spec_token"))
        a->spec_token = int_tensor(2, 3, 1, other);
    else if (IS("accepted_num"))
        a->accepted_num = int_tensor(1, 3, 0, (const int64_t[]){1, 0, 1});
    else if (IS("core_count"))
        a->core_count = 1;
    else
        return false;
    return true;
}

static fattn_tensor_array pair(fattn_tensor *a, fattn_tensor *b)
{
    const fattn_tensor **data = harness_alloc(2 * sizeof *data);
    data[0] = a, data[1] = b;
    return (fattn_tensor_array){data, 2};
}

static void base_merge(any_args *args, const char *field)
{
    fattn_attention_update_args *a = &args->merge;
    a->lse = pair(NEW(1, 1, 3), NEW(2, 1, 3)),
    a->local_out = pair(NEW(3, 2, 3, 8), NEW(4, 2, 3, 8));
    if (IS("lse_out")) a->update_type = 1;
}

static bool vary_merge(any_args *args, const char *field)
{
    fattn_attention_update_args *a = &args->merge;
    if (IS("lse"))
        a->lse = pair(NEW(8, 1, 3), NEW(9, 1, 3));
    else if (IS("local_out"))
        a->local_out = pair(NEW(8, 2, 3, 8), NEW(9, 2, 3, 8));
    else if (IS("update_type"))
        a->update_type = 1;
    else
        return false;
    return true;
}

static fattn_tensor *positive(unsigned seed, int rank, int a, int b, int c, int d)
{
    fattn_tensor *t = rank == 4 ? NEW(seed, 4, a, b, c, d) : NEW(seed, 3, a, b, c);
    float *x = t->data;
    for (int64_t i = 0; i < tensor_count(t); i++) x[i] = fabsf(x[i - i % 8]) + 0.5f;
    return t;
}

static void base_ring(any_args *args, const char *field)
{
    fattn_ring_attention_update_args *a = &args->ring;
    const bool tokens = IS("actual_seq_qlen") || IS("input_softmax_layout");
    if (tokens) {
        a->input_layout = "TND";
        a->actual_seq_qlen = int_tensor(1, 3, 0, (const int64_t[]){0, 1, 4});
        a->prev_attn_out = NEW(1, 3, 4, 2, 8), a->cur_attn_out = NEW(2, 3, 4, 2, 8);
        a->prev_softmax_max = positive(3, 3, 4, 2, 8, 0),
        a->prev_softmax_sum = positive(4, 3, 4, 2, 8, 0);
        a->cur_softmax_max = positive(5, 3, 4, 2, 8, 0),
        a->cur_softmax_sum = positive(6, 3, 4, 2, 8, 0);
        return;
    }
    a->prev_attn_out = NEW(1, 3, 4, 1, 16), a->cur_attn_out = NEW(2, 3, 4, 1, 16);
    a->prev_softmax_max = positive(3, 4, 1, 2, 4, 8),
    a->prev_softmax_sum = positive(4, 4, 1, 2, 4, 8);
    a->cur_softmax_max = positive(5, 4, 1, 2, 4, 8),
    a->cur_softmax_sum = positive(6, 4, 1, 2, 4, 8);
}

static bool vary_ring(any_args *args, const char *field)
{
    fattn_ring_attention_update_args *a = &args->ring;
    if (IS("prev_attn_out"))
        a->prev_attn_out = NEW(9, 3, 4, 1, 16);
    else if (IS("prev_softmax_max"))
        a->prev_softmax_max = positive(9, 4, 1, 2, 4, 8);
    else if (IS("prev_softmax_sum"))
        a->prev_softmax_sum = positive(9, 4, 1, 2, 4, 8);
    else if (IS("cur_attn_out"))
        a->cur_attn_out = NEW(9, 3, 4, 1, 16);
    else if (IS("cur_softmax_max"))
        a->cur_softmax_max = positive(9, 4, 1, 2, 4, 8);
    else if (IS("cur_softmax_sum"))
        a->cur_softmax_sum = positive(9, 4, 1, 2, 4, 8);
    else if (IS("actual_seq_qlen"))
        a->actual_seq_qlen = int_tensor(1, 3, 0, (const int64_t[]){0, 3, 4});
    else if (IS("input_layout"))
        a->input_layout = "BSH"; /* refused: only SBH and TND */
    else if (IS("input_softmax_layout"))
        a->input_softmax_layout = "TND";
    else
        return false;
    return true;
}

/* ---- the walk
 * ------------------------------------------------------------------------------------ */

static const struct subject {
    const char *op;
    void (*base)(any_args *, const char *field);
    bool (*vary)(any_args *, const char *field);
} subjects[] = {
    {"fusion_attention", base_fusion, vary_fusion},
    {"fusion_attention_grad", base_grad, vary_grad},
    {"dropout_gen_mask", base_mask, vary_mask},
    {"prompt_flash_attention", base_prompt, vary_prompt},
    {"incre_flash_attention", base_incre, vary_incre},
    {"fused_infer_attention_score", base_fused, vary_fused},
    {"fused_infer_attention_score_v2", base_fused2, vary_fused2},
    {"advance_step_flashattn", base_step, vary_step},
    {"attention_update", base_merge, vary_merge},
    {"ring_attention_update", base_ring, vary_ring},
};

static void *at(any_args *args, const fattn_field *f) { return (char *)args + f->offset; }

static void make_base(const struct subject *s, const fattn_operator *op, const char *field,
                      any_args *args)
{
    memset(args, 0, sizeof *args);
    op->args_init(args);
    s->base(args, field);
}

/* Gives every output memory, calls, and returns all results as one string of bytes. */
static fattn_status results(const fattn_operator *op, any_args *args, unsigned char *bytes,
                            size_t *n)
{
    fattn_context *context = strict ? strict_context() : plain_context();
    fattn_tensor shapes[8];
    const fattn_status status = op->n_outputs ? op->shapes(context, args, shapes) : FATTN_OK;
    int output = 0;
    *n = 0;
    if (status != FATTN_OK) return status;
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        if (f->kind == FATTN_FIELD_TENSOR_OUT) {
            const fattn_tensor *shape = &shapes[output++];
            *(const fattn_tensor **)at(args, f) = shape->dtype ? tensor_like(shape) : NULL;
        }
        if (f->kind == FATTN_FIELD_INT_OUT)
            *(int64_t **)at(args, f) = harness_alloc(sizeof(int64_t));
    }
    const fattn_status called = op->call(context, args);
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        const bool tensor =
            f->kind == FATTN_FIELD_TENSOR_OUT || f->kind == FATTN_FIELD_TENSOR_INOUT;
        const fattn_tensor *t = tensor ? *(fattn_tensor **)at(args, f) : NULL;
        const void *from = t                                ? t->data
                           : f->kind == FATTN_FIELD_INT_OUT ? *(void **)at(args, f)
                                                            : NULL;
        const size_t size = t ? tensor_bytes(t) : from ? sizeof(int64_t) : 0;
        assert_true(*n + size <= 1 << 16);
        if (size) memcpy(bytes + *n, from, size);
        *n += size;
    }
    return called;
}

/* Some non-default value of the field's kind. */
static void set_something(any_args *args, const fattn_field *f)
{
    void *value = at(args, f);
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
        *(const fattn_tensor **)value = NEW(5, 1, 3);
        break;
    case FATTN_FIELD_INT:
        *(int64_t *)value = f->default_int + 1;
        break;
    case FATTN_FIELD_BOOL:
        *(bool *)value = !f->default_int;
        break;
    case FATTN_FIELD_FLOAT:
        *(double *)value = f->default_float * 0.5;
        break;
    case FATTN_FIELD_STRING:
        *(const char **)value = "something";
        break;
    case FATTN_FIELD_INTS:
        *(fattn_int_array *)value = list_of(1, 1);
        break;
    default:
        fail_msg("%s: no value for its kind", f->name);
    }
}

/* A tensor output is written, and with `field` NULL the others are not different for it. */
static void check_output(const struct subject *s, const fattn_operator *op, const fattn_field *f)
{
    static unsigned char bytes[1 << 16];
    any_args args;
    size_t n;
    make_base(s, op, f->name, &args);
    EXPECT_OK(results(op, &args, bytes, &n), "%s.%s", op->name, f->name);
    if (f->kind == FATTN_FIELD_INT_OUT)
        return; /* changed values are seen by seed, offset and numels */
    const fattn_tensor *t = *(fattn_tensor **)at(&args, f);
    assert_non_null(t);
    fattn_tensor *untouched = tensor_like(t);
    if (memcmp(t->data, untouched->data, tensor_bytes(t)) == 0)
        fail_msg("%s.%s: the output is never written", op->name, f->name);
}

/* Where two arguments must agree the sentence may name the other one. */
static const char *partner(const char *op, const char *field)
{
    if (strcmp(op, "advance_step_flashattn") == 0 && IS("num_seqs")) return "input_tokens";
    if (strcmp(op, "advance_step_flashattn") == 0 && IS("num_queries")) return "sampled_token_ids";
    if (strcmp(op, "fusion_attention_grad") == 0 && IS("head_num")) return "softmax_max";
    return field;
}

/* The base calls are none: such a field is refused by its name (what it does: quantised.c). */
static bool is_of_quantised_calls(const fattn_field *f)
{
    return strstr(f->name, "quant") || strncmp(f->name, "deq_", 4) == 0 || strcmp(f->name, "out_dtype") == 0;
}

static void check_field(const struct subject *s, const fattn_operator *op, const fattn_field *f)
{
    static unsigned char before[1 << 16], after[1 << 16];
    any_args args;
    size_t n_before, n_after;
    strict = false;
    make_base(s, op, f->name, &args);
    EXPECT_OK(results(op, &args, before, &n_before), "%s.%s: the base call", op->name, f->name);
    make_base(s, op, f->name, &args);
    if (f->flags & FATTN_FIELD_IGNORED || is_of_quantised_calls(f))
        set_something(&args, f);
    else if (!s->vary(&args, f->name))
        fail_msg("%s.%s: the test does not know this field: add it", op->name, f->name);
    const fattn_status status = results(op, &args, after, &n_after);
    const bool same =
        status == FATTN_OK && n_before == n_after && memcmp(before, after, n_after) == 0;

    if (f->flags & FATTN_FIELD_IGNORED) {
        EXPECT_OK(status, "%s.%s", op->name, f->name);
        if (!same)
            fail_msg("%s.%s is documented \"ignored\" and changes something", op->name, f->name);
    } else if (status != FATTN_OK) {
        expect_refused(status, status, partner(op->name, f->name), op->name);
    } else if (same) {
        fail_msg("%s.%s: silently ignored", op->name, f->name);
    }
}

static void every_field(void **state)
{
    (void)state;
    for (size_t s = 0; s < sizeof subjects / sizeof subjects[0]; s++) {
        const fattn_operator *op = fattn_operator_find(subjects[s].op);
        assert_non_null(op);
        assert_true(op->args_size <= sizeof(any_args));
        for (int i = 0; i < op->n_fields; i++) {
            const fattn_field *f = &op->fields[i];
            const bool output = f->kind == FATTN_FIELD_TENSOR_OUT || f->kind == FATTN_FIELD_INT_OUT;
            if (output)
                check_output(&subjects[s], op, f);
            else
                check_field(&subjects[s], op, f);
            harness_reset();
        }
    }
}

static void every_operator(void **state)
{
    (void)state;
    int count = 0;
    fattn_operators(&count);
    assert_int_equal(count, (int)(sizeof subjects / sizeof subjects[0]));
}

/* numels follows the shapes. */
static void numels(void **state)
{
    (void)state;
    const fattn_operator *op = fattn_operator_find("fusion_attention");
    static unsigned char bytes[1 << 16];
    any_args args;
    size_t n;
    make_base(&subjects[0], op, "numels", &args);
    EXPECT_OK(results(op, &args, bytes, &n), "numels");
    assert_int_equal(*args.fusion.numels, 2 * 2 * 4 * 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_operator, setup),
        cmocka_unit_test_setup(every_field, setup),
        cmocka_unit_test_setup(numels, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
