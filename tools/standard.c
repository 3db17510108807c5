/* SPDX-License-Identifier: Apache-2.0 */
/* standard.c — softmax(q k^T * scale) v with the whole score matrix in memory. One work item is a
 * block of query rows of one key/value head: the query heads of a group lie one after the other, so
 * their rows form one matrix and OpenBLAS, on one thread per item, gets the largest products there
 * are. */
#include "standard.h"

#include <pthread.h>

#include "io/openblas.h"

static const openblas *blas;

static void take_openblas(void)
{
    blas = openblas_find();
    if (blas) blas->set_threads(1); /* per item; the items run on all threads */
}

const char *standard_library(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, take_openblas);
    return blas ? blas->version : NULL;
}

int64_t standard_padded_keys(const standard_problem *p) { return (p->kv_len + 15) / 16 * 16; }

/* Floats that one batch entry needs for the widened copies of q, k, v. */
static int64_t widened_floats(const standard_problem *p)
{
    if (p->dtype == FATTN_F32) return 0;
    return p->n_heads * p->q_len * p->head_dim +
           p->n_kv_heads * p->kv_len * (p->head_dim + p->value_dim);
}

static int64_t score_floats(const standard_problem *p)
{
    return p->n_heads * p->q_len * standard_padded_keys(p);
}

standard_layout standard_plan(const standard_problem *p, uint64_t memory_bytes)
{
    const uint64_t one = 4 * (uint64_t)(widened_floats(p) + score_floats(p));
    const uint64_t allowed = memory_bytes / 4;
    if (one > allowed) return (standard_layout){0};
    const bool whole = one * (uint64_t)p->batch <= allowed;
    const int64_t batches = whole ? p->batch : 1;
    /* 256: every part begins on its own cache line */
    return (standard_layout){.batches = batches, .bytes = (size_t)(one * (uint64_t)batches) + 256};
}

/* One chunk of batch entries: what the items of its four passes share. */
typedef struct chunk {
    const standard_problem *p;
    const bench_simd *simd;
    const float *q, *k, *v; /* fp32, first entry of the chunk */
    float *wide_q, *wide_k, *wide_v;
    const void *raw_q, *raw_k, *raw_v;
    float *scores; /* [heads of the chunk, q_len, padded_keys] */
    float *out;
    int64_t rows, row_block, blocks; /* per key/value head */
} chunk;

typedef struct block {
    int64_t head, first, rows; /* key/value head in the chunk; query rows of its group */
} block;

static block block_of(const chunk *c, int64_t item)
{
    const int64_t first = item % c->blocks * c->row_block;
    const int64_t left = c->rows - first;
    return (block){item / c->blocks, first, left < c->row_block ? left : c->row_block};
}

static void widen(const chunk *c, float *to, const void *from, int64_t head, int64_t n)
{
    const uint16_t *source = (const uint16_t *)from + head * n;
    (c->p->dtype == FATTN_F16 ? c->simd->widen_f16 : c->simd->widen_bf16)(to + head * n, source, n);
}

static void widen_head(void *arg, int64_t head, int worker)
{
    (void)worker;
    const chunk *c = arg;
    widen(c, c->wide_q, c->raw_q, head, c->rows * c->p->head_dim);
    widen(c, c->wide_k, c->raw_k, head, c->p->kv_len * c->p->head_dim);
    widen(c, c->wide_v, c->raw_v, head, c->p->kv_len * c->p->value_dim);
}

static void multiply_scores(void *arg, int64_t item, int worker)
{
    (void)worker;
    const chunk *c = arg;
    const standard_problem *p = c->p;
    const block b = block_of(c, item);
    const int n = (int)p->kv_len, d = (int)p->head_dim, ld = (int)standard_padded_keys(p);
    const float *q = c->q + (b.head * c->rows + b.first) * d;
    const float *k = c->k + b.head * p->kv_len * d;
    float *s = c->scores + (b.head * c->rows + b.first) * ld;
    if (b.rows == 1)
        blas->sgemv(BLAS_ROW_MAJOR, BLAS_NO_TRANS, n, d, 1.0f, k, d, q, 1, 0.0f, s, 1);
    else
        blas->sgemm(BLAS_ROW_MAJOR, BLAS_NO_TRANS, BLAS_TRANS, (int)b.rows, n, d, 1.0f, q, d, k, d,
                    0.0f, s, ld);
}

static void normalise(void *arg, int64_t item, int worker)
{
    (void)worker;
    const chunk *c = arg;
    const standard_problem *p = c->p;
    const block b = block_of(c, item);
    const int64_t ld = standard_padded_keys(p);
    for (int64_t r = b.first; r < b.first + b.rows; r++) {
        int64_t visible = p->kv_len;
        if (p->causal) visible += r % p->q_len + 1 - p->q_len;
        if (visible < 0) visible = 0;
        c->simd->softmax(c->scores + (b.head * c->rows + r) * ld, visible, ld, p->scale);
    }
}

static void multiply_values(void *arg, int64_t item, int worker)
{
    (void)worker;
    const chunk *c = arg;
    const standard_problem *p = c->p;
    const block b = block_of(c, item);
    const int n = (int)p->kv_len, d = (int)p->value_dim, ld = (int)standard_padded_keys(p);
    const float *s = c->scores + (b.head * c->rows + b.first) * ld;
    const float *v = c->v + b.head * p->kv_len * d;
    float *out = c->out + (b.head * c->rows + b.first) * d;
    if (b.rows == 1)
        blas->sgemv(BLAS_ROW_MAJOR, BLAS_TRANS, n, d, 1.0f, v, d, s, 1, 0.0f, out, 1);
    else
        blas->sgemm(BLAS_ROW_MAJOR, BLAS_NO_TRANS, BLAS_NO_TRANS, (int)b.rows, d, n, 1.0f, s, ld, v,
                    d, 0.0f, out, d);
}

static float *take(char **memory, int64_t floats)
{
    const size_t bytes = ((size_t)floats * sizeof(float) + 63) / 64 * 64;
    float *part = (float *)(void *)*memory;
    *memory += bytes;
    return part;
}

static const void *entry(const void *base, int64_t elements, fattn_dtype dtype)
{
    return (const char *)base + elements * (int64_t)fattn_dtype_size(dtype);
}

static void run_chunk(const standard_problem *p, int64_t first, int64_t n, bench_pool *pool,
                      const bench_simd *simd, char *memory)
{
    const int64_t heads = n * p->n_kv_heads;
    const int64_t q_floats = p->n_heads * p->q_len * p->head_dim;
    const int64_t k_floats = p->n_kv_heads * p->kv_len * p->head_dim;
    const int64_t v_floats = p->n_kv_heads * p->kv_len * p->value_dim;
    chunk c = {.p = p, .simd = simd, .rows = p->n_heads / p->n_kv_heads * p->q_len};
    c.raw_q = entry(p->q, first * q_floats, p->dtype);
    c.raw_k = entry(p->k, first * k_floats, p->dtype);
    c.raw_v = entry(p->v, first * v_floats, p->dtype);
    c.out = p->out + first * p->n_heads * p->q_len * p->value_dim;
    c.scores = take(&memory, n * score_floats(p));
    c.q = c.raw_q, c.k = c.raw_k, c.v = c.raw_v;
    if (p->dtype != FATTN_F32) {
        c.q = c.wide_q = take(&memory, n * q_floats);
        c.k = c.wide_k = take(&memory, n * k_floats);
        c.v = c.wide_v = take(&memory, n * v_floats);
        bench_pool_run(pool, widen_head, &c, heads);
    }
    /* Fewer heads than threads: cut their rows, at least 64 each so that a product stays a product.
     */
    const int64_t wanted = (2 * bench_pool_threads(pool) + heads - 1) / heads;
    const int64_t block_rows = (c.rows + wanted - 1) / wanted;
    c.row_block = block_rows < 64 ? 64 : block_rows;
    if (heads >= 2 * bench_pool_threads(pool) || c.row_block > c.rows) c.row_block = c.rows;
    c.blocks = (c.rows + c.row_block - 1) / c.row_block;
    bench_pool_run(pool, multiply_scores, &c, heads * c.blocks);
    bench_pool_run(pool, normalise, &c, heads * c.blocks);
    bench_pool_run(pool, multiply_values, &c, heads * c.blocks);
}

void standard_attention(const standard_problem *p, standard_layout layout, bench_pool *pool,
                        const bench_simd *simd, void *workspace)
{
    for (int64_t first = 0; first < p->batch; first += layout.batches) {
        const int64_t left = p->batch - first;
        run_chunk(p, first, left < layout.batches ? left : layout.batches, pool, simd, workspace);
    }
}
