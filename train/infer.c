/* SPDX-License-Identifier: Apache-2.0 */
/* infer.c — one walk through the layers for any number of rows; only where attention looks for its keys
 * differs. The integers of a decode step are advance_step_flashattn()'s. */
#include "infer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/element.h"
#include "layers.h"

enum { BLOCK = 16 };

typedef enum keys { KEYS_DENSE, KEYS_FILL_CACHE, KEYS_IN_CACHE } keys;

struct infer {
    config shape;
    weights params;
    fattn_context *context; /* borrowed */
    fattn_kv_cache *cache;
    fattn_dtype cache_dtype;
    int64_t sequence; /* in the cache; -1 = none yet */
    int rows;         /* room for so many in each of: */
    real *x, *normed, *inverse, *q, *k, *v, *attended, *gate, *up, *active, *logits;
    real *narrow; /* rows in the dtype of a float cache: of k, of v, then one of q and one of attended */
    /* one decode step, as the vLLM step has it */
    int64_t token, sampled, position, length, slot, *table;
    int64_t blocks;
};

const config *infer_config(const infer *m) { return &m->shape; }

static bool open_cache(infer *m)
{
    fattn_kv_cache_options options;
    fattn_kv_cache_options_init(&options);
    m->blocks = (m->shape.max_position_embeddings + BLOCK - 1) / BLOCK;
    options.layout = FATTN_CACHE_BNNBSD;
    options.dtype = m->cache_dtype;
    options.n_layers = m->shape.num_hidden_layers;
    options.n_blocks = m->blocks;
    options.block_size = BLOCK;
    options.n_kv_heads = m->shape.num_key_value_heads;
    options.head_dim = config_head_dim(&m->shape);
    m->sequence = -1;
    m->table = calloc((size_t)m->blocks, sizeof *m->table);
    return m->table && fattn_kv_cache_create(m->context, &options, &m->cache) == FATTN_OK;
}

static void make_room(infer *m)
{
    const config *c = &m->shape;
    const size_t n = (size_t)c->max_position_embeddings, dim = (size_t)c->hidden_size;
    const size_t kv = (size_t)(c->num_key_value_heads * config_head_dim(c));
    const size_t hidden = (size_t)c->intermediate_size;
    m->rows = c->max_position_embeddings;
    m->x = reals(n * dim), m->normed = reals(n * dim), m->inverse = reals(n);
    m->q = reals(n * dim), m->k = reals(n * kv), m->v = reals(n * kv), m->attended = reals(n * dim);
    m->gate = reals(n * hidden), m->up = reals(n * hidden), m->active = reals(n * hidden);
    m->logits = reals((size_t)c->vocab_size);
    m->narrow = reals(2 * n * kv + 2 * dim);
}

infer *infer_open(const char *dir, fattn_dtype cache, fattn_context *context, char *error,
                  size_t size)
{
    infer *m = calloc(1, sizeof *m);
    if (!m) abort();
    m->context = context, m->cache_dtype = cache;
    if (!gemm_available()) {
        snprintf(error, size, "there is no OpenBLAS here: install libopenblas0");
    } else if (config_read(&m->shape, dir, error, size)) {
        m->params = weights_new(&m->shape);
        make_room(m);
        if (weights_read(&m->shape, &m->params, dir, error, size)) {
            if (open_cache(m)) return m;
            snprintf(error, size, "%s", fattn_error_message());
        }
    }
    infer_free(m);
    return NULL;
}

void infer_free(infer *m)
{
    if (!m) return;
    real *const all[] = {m->x,    m->normed, m->inverse, m->q,      m->k,      m->v, m->attended,
                         m->gate, m->up,     m->active,  m->logits, m->narrow};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    fattn_kv_cache_destroy(m->cache);
    weights_free(&m->params);
    free(m->table), free(m);
}

/* ---- attention ----------------------------------------------------------------------------------
 */

static fattn_tensor rows_of(real *data, int n, int heads, int dim)
{
    const int64_t shape[] = {1, n, heads, dim};
    return fattn_tensor_contiguous(data, REAL_DTYPE, 4, shape);
}

static bool attend_dense(infer *m, int n)
{
    const int heads = m->shape.num_attention_heads, kv = m->shape.num_key_value_heads;
    const int d = config_head_dim(&m->shape);
    const fattn_tensor q = rows_of(m->q, n, heads, d), k = rows_of(m->k, n, kv, d);
    const fattn_tensor v = rows_of(m->v, n, kv, d), out = rows_of(m->attended, n, heads, d);
    fattn_prompt_flash_attention_args a;
    fattn_prompt_flash_attention_args_init(&a);
    a.query = &q, a.key = &k, a.value = &v, a.attention_out = &out;
    a.input_layout = "BSND", a.num_heads = heads, a.num_key_value_heads = kv;
    a.scale_value = 1 / sqrt((double)d), a.sparse_mode = 3;
    return fattn_prompt_flash_attention(m->context, &a) == FATTN_OK;
}

static bool quantised(const infer *m) { return m->cache_dtype != FATTN_F16 && m->cache_dtype != REAL_DTYPE; }

/* The rows as the cache takes them: quantised ones from any float, a float cache from its own dtype. */
static fattn_tensor narrowed(const infer *m, const fattn_tensor *rows, real *copy)
{
    if (m->cache_dtype == REAL_DTYPE || quantised(m)) return *rows;
    fattn_tensor t = fattn_tensor_contiguous(copy, m->cache_dtype, rows->rank, rows->shape);
    int64_t n = 1;
    for (int i = 0; i < rows->rank; i++) n *= rows->shape[i];
    for (int64_t i = 0; i < n; i++)
        io_set(copy, t.dtype, i, io_get(rows->data, rows->dtype, i));
    return t;
}

static bool attend_cached(infer *m, int layer)
{
    const int heads = m->shape.num_attention_heads, kv = m->shape.num_key_value_heads;
    const int d = config_head_dim(&m->shape), dim = heads * d;
    real *narrow_q = m->narrow + 2 * m->rows * kv * d;
    const int64_t table_shape[] = {1, m->blocks};
    const fattn_tensor query = rows_of(m->q, 1, heads, d), result = rows_of(m->attended, 1, heads, d);
    const fattn_tensor q = narrowed(m, &query, narrow_q), out = narrowed(m, &result, narrow_q + dim);
    const fattn_tensor table = fattn_tensor_contiguous(m->table, FATTN_I64, 2, table_shape);
    fattn_tensor k, v, k_scale, v_scale;
    int mode = 0;
    fattn_fused_infer_attention_score_args a;
    if (fattn_kv_cache_tensors(m->cache, layer, &k, &v) != FATTN_OK) return false;
    if (quantised(m) &&
        fattn_kv_cache_scales(m->cache, layer, &k_scale, &v_scale, &mode) != FATTN_OK)
        return false;
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = &q, a.key = &k, a.value = &v, a.attention_out = &out;
    a.input_layout = "BSND", a.num_heads = heads, a.num_key_value_heads = kv;
    a.scale = 1 / sqrt((double)d);
    a.block_table = &table, a.block_size = BLOCK;
    a.actual_seq_lengths_kv = (fattn_int_array){&m->length, 1};
    if (quantised(m)) {
        a.key_antiquant_scale = &k_scale, a.value_antiquant_scale = &v_scale;
        a.key_antiquant_mode = a.value_antiquant_mode = mode;
    }
    if (fattn_fused_infer_attention_score(m->context, &a) != FATTN_OK) return false;
    for (int i = 0; out.data != result.data && i < dim; i++)
        m->attended[i] = (real)io_get(out.data, out.dtype, i);
    return true;
}

static bool write_cache(infer *m, int layer, int first, int n)
{
    const int kv = m->shape.num_key_value_heads, d = config_head_dim(&m->shape);
    const int64_t shape[] = {n, kv, d};
    const fattn_tensor all_k = fattn_tensor_contiguous(m->k, REAL_DTYPE, 3, shape);
    const fattn_tensor all_v = fattn_tensor_contiguous(m->v, REAL_DTYPE, 3, shape);
    const fattn_tensor k = narrowed(m, &all_k, m->narrow);
    const fattn_tensor v = narrowed(m, &all_v, m->narrow + m->rows * kv * d);
    return fattn_kv_cache_write(m->cache, layer, m->sequence, first, &k, &v) == FATTN_OK;
}

/* ---- the walk -----------------------------------------------------------------------------------
 */

static void add(real *to, const real *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] += from[i];
}

static bool layer(infer *m, int index, int first, int n, keys where)
{
    const config *c = &m->shape;
    const layer_weights *w = &m->params.layers[index];
    const int dim = c->hidden_size, d = config_head_dim(c), hidden = c->intermediate_size;
    const int kv = c->num_key_value_heads * d;
    const size_t stream = (size_t)n * (size_t)dim;

    norm_forward(m->normed, m->inverse, m->x, w->attention_norm, n, dim, c->rms_norm_eps);
    linear_forward(m->q, m->normed, w->q, n, dim, dim);
    linear_forward(m->k, m->normed, w->k, n, dim, kv);
    linear_forward(m->v, m->normed, w->v, n, dim, kv);
    rope(m->q, n, c->num_attention_heads, d, first, n, c->rope_theta, false);
    rope(m->k, n, c->num_key_value_heads, d, first, n, c->rope_theta, false);
    if (where != KEYS_DENSE && !write_cache(m, index, first, n)) return false;
    if (where == KEYS_IN_CACHE ? !attend_cached(m, index) : !attend_dense(m, n)) return false;
    linear_forward(m->normed, m->attended, w->o, n, dim, dim);
    add(m->x, m->normed, stream);

    norm_forward(m->normed, m->inverse, m->x, w->mlp_norm, n, dim, c->rms_norm_eps);
    linear_forward(m->gate, m->normed, w->gate, n, dim, hidden);
    linear_forward(m->up, m->normed, w->up, n, dim, hidden);
    swiglu_forward(m->active, m->gate, m->up, (size_t)n * (size_t)hidden);
    linear_forward(m->normed, m->active, w->down, n, hidden, dim);
    add(m->x, m->normed, stream);
    return true;
}

static const float *walk(infer *m, const int32_t *tokens, int first, int n, keys where)
{
    const config *c = &m->shape;
    const int dim = c->hidden_size;
    for (int i = 0; i < n; i++)
        memcpy(m->x + (size_t)i * (size_t)dim,
               m->params.embedding + (size_t)tokens[i] * (size_t)dim, (size_t)dim * sizeof(real));
    for (int l = 0; l < c->num_hidden_layers; l++)
        if (!layer(m, l, first, n, where)) return NULL;
    norm_forward(m->normed, m->inverse, m->x + (size_t)(n - 1) * (size_t)dim, m->params.norm, 1, dim,
                 c->rms_norm_eps);
    linear_forward(m->logits, m->normed, m->params.head, 1, dim, c->vocab_size);
    return (const float *)(const void *)m->logits;
}

const float *infer_recompute(infer *m, const int32_t *tokens, int n)
{
    return walk(m, tokens, 0, n, KEYS_DENSE);
}

const float *infer_prefill(infer *m, const int32_t *tokens, int n)
{
    if (m->sequence >= 0) fattn_kv_cache_free(m->cache, m->sequence);
    if (fattn_kv_cache_add(m->cache, &m->sequence) != FATTN_OK ||
        fattn_kv_cache_extend(m->cache, m->sequence, n) != FATTN_OK)
        return NULL;
    m->length = n;
    return walk(m, tokens, 0, n, KEYS_FILL_CACHE);
}

/* The token's place: behind the last one. */
static bool advance(infer *m, int32_t token)
{
    const int64_t one = 1, pair[] = {1, 1}, table_shape[] = {1, m->blocks};
    const fattn_tensor table = fattn_tensor_contiguous(m->table, FATTN_I64, 2, table_shape);
    const fattn_tensor tokens = fattn_tensor_contiguous(&m->token, FATTN_I64, 1, &one);
    const fattn_tensor sampled = fattn_tensor_contiguous(&m->sampled, FATTN_I64, 2, pair);
    const fattn_tensor positions = fattn_tensor_contiguous(&m->position, FATTN_I64, 1, &one);
    const fattn_tensor lengths = fattn_tensor_contiguous(&m->length, FATTN_I64, 1, &one);
    const fattn_tensor slots = fattn_tensor_contiguous(&m->slot, FATTN_I64, 1, &one);
    fattn_advance_step_flashattn_args a;
    if (fattn_kv_cache_extend(m->cache, m->sequence, 1) != FATTN_OK ||
        fattn_kv_cache_block_table(m->cache, &m->sequence, 1, &table) != FATTN_OK)
        return false;
    m->sampled = token;
    fattn_advance_step_flashattn_args_init(&a);
    a.input_tokens = &tokens, a.sampled_token_ids = &sampled, a.input_positions = &positions;
    a.seq_lens = &lengths, a.slot_mapping = &slots, a.block_tables = &table;
    a.num_seqs = a.num_queries = 1, a.block_size = BLOCK;
    return fattn_advance_step_flashattn(m->context, &a) == FATTN_OK;
}

const float *infer_decode(infer *m, int32_t token)
{
    if (!advance(m, token)) return NULL;
    const int32_t next = (int32_t)m->token;
    return walk(m, &next, (int)m->position, 1, KEYS_IN_CACHE);
}

/* ---- a text ------------------------------------------------------------------------------------- */

/* -log2 of the token's probability. */
static double bits_of(const float *logits, int vocab, int32_t token)
{
    float top = logits[0];
    double sum = 0;
    for (int t = 1; t < vocab; t++) top = logits[t] > top ? logits[t] : top;
    for (int t = 0; t < vocab; t++) sum += exp((double)(logits[t] - top));
    return (log(sum) - (double)(logits[token] - top)) / log(2);
}

double infer_bits_per_byte(infer *m, const bpe *b, const corpus *c, size_t n_tokens)
{
    double bits = 0;
    size_t bytes = 0;
    const size_t n = n_tokens < c->n_held ? n_tokens : c->n_held;
    for (size_t start = 0; start + 1 < n; start += (size_t)m->rows) {
        const size_t end = n - start < (size_t)m->rows ? n : start + (size_t)m->rows;
        const float *logits = infer_prefill(m, c->held + start, 1);
        for (size_t t = start + 1; t < end; t++) {
            size_t length;
            if (!logits) return (double)NAN;
            bits += bits_of(logits, m->shape.vocab_size, c->held[t]);
            bpe_token(b, c->held[t], &length);
            bytes += length;
            if (t + 1 < end) logits = infer_decode(m, c->held[t]);
        }
    }
    return bits / (double)bytes;
}
