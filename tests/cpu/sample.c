/* SPDX-License-Identifier: Apache-2.0 */
/* sample.c — see sample.h. */
#include "sample.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/rng.h"
#include "base/half.h"
#include "core/backend.h"
#include "core/bias.h"

static void *keep(sample *s, size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    assert(memory && s->n_memory < (int)(sizeof s->memory / sizeof *s->memory));
    s->memory[s->n_memory++] = memory;
    return memory;
}

static float round_to(fattn_dtype dtype, double value)
{
    if (dtype == FATTN_F16) return half_from_f16(half_to_f16((float)value));
    if (dtype == FATTN_BF16) return half_from_bf16(half_to_bf16((float)value));
    return (float)value;
}

void sample_store(char *at, fattn_dtype dtype, float value)
{
    const uint16_t bits = dtype == FATTN_F16 ? half_to_f16(value) : half_to_bf16(value);
    if (dtype == FATTN_F32)
        memcpy(at, &value, sizeof value);
    else
        memcpy(at, &bits, sizeof bits);
}

/* Lengths and bands: anything the modes can give, empty windows included. */
static void random_seq(rng *r, fattn_seq *seq, const sample_limits *limits)
{
    seq->q_len = rng_between(r, limits->empty_rows ? 0 : 1, limits->q_len);
    seq->kv_len = rng_between(r, limits->empty_rows ? 0 : 1, limits->kv_len);
    const int64_t limit = seq->q_len + seq->kv_len, shift = seq->kv_len - seq->q_len;
    seq->band_lo = -limit;
    seq->band_hi = limit;
    seq->prefix = 0;
    switch (rng_between(r, 0, 4)) {
    case 0:
        break;
    case 1:
        seq->band_hi = shift;
        break;
    case 2:
        seq->band_hi = 0;
        break;
    case 3:
        seq->band_lo = rng_between(r, -limit, limits->empty_rows ? limit : 0);
        seq->band_hi = rng_between(r, limits->empty_rows ? -limit : 0, limit);
        break;
    default:
        seq->band_hi = shift < 0 && !limits->empty_rows ? 0 : shift;
        seq->prefix = rng_between(r, 0, seq->kv_len);
    }
    if (!limits->empty_rows && seq->band_hi < 0) seq->band_hi = 0;
}

static float *random_values(sample *s, rng *r, int64_t n, fattn_dtype dtype, double amplitude)
{
    float *values = keep(s, (size_t)n * sizeof(float));
    for (int64_t i = 0; i < n; i++) values[i] = round_to(dtype, amplitude * rng_unit(r));
    return values;
}

/* Dense masks differ by batch, head and row, or are shared along some of these. */
static void random_mask(sample *s, rng *r)
{
    fattn_mask *mask = &s->p.mask;
    int64_t rows = 1, cols = 1;
    for (int b = 0; b < s->p.n_seqs; b++) {
        rows = s->seqs[b].q_len > rows ? s->seqs[b].q_len : rows;
        cols = s->seqs[b].kv_len > cols ? s->seqs[b].kv_len : cols;
    }
    mask->present = true;
    mask->col_stride = rng_between(r, 1, 4) == 1 ? 2 : 1;
    const int64_t row_stride = cols * mask->col_stride + rng_between(r, 0, 3);
    mask->head_stride = rng_between(r, 0, 1) * rows * row_stride;
    const int64_t seq_stride = rng_between(r, 0, 1) * s->p.n_heads * rows * row_stride;
    const bool tree = rng_between(r, 0, 2) == 0; /* speaks of the last keys only */
    for (int b = 0; b < s->p.n_seqs; b++) {
        fattn_seq *seq = &s->seqs[b];
        seq->mask_base = b * seq_stride;
        seq->mask_row_stride = row_stride;
        seq->mask_from = tree ? rng_between(r, 0, seq->kv_len) : 0;
    }
    const size_t bytes = (size_t)(s->p.n_seqs * s->p.n_heads * rows * row_stride);
    uint8_t *cells = keep(s, bytes);
    const int64_t share = rng_between(r, 2, 9); /* one hidden cell in so many */
    for (size_t i = 0; i < bytes; i++) cells[i] = rng_between(r, 0, share) == 0 ? 7 : 0;
    s->ptrs.mask = cells;
}

static void random_bias(sample *s, rng *r)
{
    static const fattn_bias_kind kinds[] = {BIAS_TENSOR, BIAS_SLOPE, BIAS_SLOPE_SQRT};
    fattn_bias *bias = &s->p.bias;
    bias->kind = kinds[rng_between(r, 0, 2)];
    bias->dtype = bias->kind == BIAS_TENSOR ? s->p.q.dtype : FATTN_F32;
    bias->before_scale = bias->kind == BIAS_TENSOR && rng_between(r, 0, 1);
    bias->col_stride = rng_between(r, 1, 3) == 1 ? 2 : 1;
    bias->slope_head_stride = 1;
    bias->slope_batch_stride = rng_between(r, 0, 1) * s->p.n_heads;
    int64_t total = s->p.n_seqs * s->p.n_heads;
    for (int b = 0; b < s->p.n_seqs && bias->kind == BIAS_TENSOR; b++) {
        fattn_seq *seq = &s->seqs[b];
        seq->bias_base = total;
        seq->bias_row_stride = seq->kv_len * bias->col_stride;
        seq->bias_head_stride = seq->q_len * seq->bias_row_stride;
        total += s->p.n_heads * seq->bias_head_stride;
    }
    for (int b = 0; b < s->p.n_seqs; b++) s->seqs[b].distance0 = rng_between(r, -9, 9);
    const float *values = random_values(s, r, total, bias->dtype, 0.5);
    char *stored = keep(s, (size_t)total * fattn_dtype_size(bias->dtype));
    for (int64_t i = 0; i < total; i++)
        sample_store(stored + i * (int64_t)fattn_dtype_size(bias->dtype), bias->dtype, values[i]);
    s->ptrs.bias = stored;
}

/* The first keys of all sequences are the same ones, so that they may be stored once. */
static void share_first_keys(sample *s, rng *r)
{
    const fattn_problem *p = &s->p;
    int64_t most = INT64_MAX;
    for (int b = 0; b < p->n_seqs; b++) most = s->seqs[b].kv_len < most ? s->seqs[b].kv_len : most;
    s->common = rng_between(r, 0, most);
    for (int b = 1; b < p->n_seqs; b++)
        for (int64_t h = 0; h < p->n_kv_heads; h++) {
            const int64_t to = h * s->seqs[b].kv_len, from = h * s->seqs[0].kv_len;
            memcpy(s->k[b] + to * p->d_qk, s->k[0] + from * p->d_qk,
                   (size_t)(s->common * p->d_qk) * sizeof(float));
            memcpy(s->v[b] + to * p->d_v, s->v[0] + from * p->d_v,
                   (size_t)(s->common * p->d_v) * sizeof(float));
        }
}

static void random_meaning(sample *s, rng *r, fattn_dtype dtype, const sample_limits *limits)
{
    fattn_problem *p = &s->p;
    p->group = rng_between(r, 1, limits->group);
    p->n_kv_heads = rng_between(r, 1, limits->n_kv_heads);
    p->n_heads = p->group * p->n_kv_heads;
    p->d_qk = rng_between(r, 1, limits->d);
    p->d_v = rng_between(r, 0, 1) ? p->d_qk : rng_between(r, 1, limits->d);
    s->d_nope = p->d_qk > 1 && rng_between(r, 0, 3) == 0 ? rng_between(r, 1, p->d_qk - 1) : p->d_qk;
    if (s->d_nope > 16 && rng_between(r, 0, 1))
        s->d_nope -= s->d_nope == p->d_qk ? 0 : s->d_nope % 16;
    p->scale = 1.5 / sqrt((double)p->d_qk);
    p->seqs = s->seqs;
    p->n_seqs = rng_between(r, 1, SAMPLE_SEQS);
    p->q.dtype = p->k.dtype = p->v.dtype = p->out.dtype = dtype;
    for (int b = 0; b < p->n_seqs; b++) {
        random_seq(r, &s->seqs[b], limits);
        const fattn_seq *seq = &s->seqs[b];
        s->q[b] = random_values(s, r, p->n_heads * seq->q_len * p->d_qk, dtype, 2.0);
        s->k[b] = random_values(s, r, p->n_kv_heads * seq->kv_len * p->d_qk, dtype, 2.0);
        s->v[b] = random_values(s, r, p->n_kv_heads * seq->kv_len * p->d_v, dtype, 2.0);
    }
    if (rng_between(r, 0, 1)) share_first_keys(s, r);
    if (limits->dense_mask && rng_between(r, 0, 2) == 0) random_mask(s, r);
    if (limits->bias && rng_between(r, 0, 2) == 0) random_bias(s, r);
    if (limits->sink && rng_between(r, 0, 3) == 0) {
        p->sink = true;
        p->sink_dtype = FATTN_F32;
        p->sink_stride = 1;
        p->sink_in_stats = rng_between(r, 0, 1);
        s->ptrs.sink = random_values(s, r, p->n_heads, FATTN_F32, 4.0);
    }
}

/* Columns in chunks, [.., chunk, row, column of the chunk], as NZ caches have them. */
static int64_t lay_out_chunks(fattn_part *part, int64_t chunk, int64_t d, int64_t heads,
                              int64_t rows, int64_t batches)
{
    const int64_t chunks = (d + chunk - 1) / chunk;
    *part = (fattn_part){.d = d,
                         .chunk = chunk,
                         .chunk_stride = rows * chunk,
                         .col_stride = 1,
                         .row_stride = chunk,
                         .head_stride = chunks * rows * chunk,
                         .batch_stride = heads * chunks * rows * chunk};
    part->page_stride = part->batch_stride;
    return batches * part->batch_stride + 1;
}

/* One view over `heads` heads of `d` columns, `rows` rows per batch entry. Returns the elements. */
static int64_t lay_out(fattn_part *part, const storage *how, int64_t d, int64_t heads, int64_t rows,
                       int64_t batches)
{
    const int64_t width = d * how->col_stride + how->gap;
    part->d = d;
    part->col_stride = how->col_stride;
    part->row_stride = how->heads_first ? width : heads * width;
    part->head_stride = how->heads_first ? rows * width : width;
    part->batch_stride = part->page_stride = heads * rows * width;
    return batches * heads * rows * width + 1;
}

static void *view_memory(sample *s, fattn_view *view, int part, int64_t d, int64_t heads,
                         int64_t rows, int64_t batches)
{
    const bool keys = view == &s->p.k || view == &s->p.v;
    const int64_t count =
        keys && s->how.chunk
            ? lay_out_chunks(&view->part[part], s->how.chunk, d, heads, rows, batches)
            : lay_out(&view->part[part], &s->how, d, heads, rows, batches);
    view->n_parts = part + 1;
    return keep(s, (size_t)count * fattn_dtype_size(view->dtype));
}

/* Pages in an order that is neither sorted nor dense; unused table entries hold nonsense. */
static int64_t make_table(sample *s, rng *r, int64_t pages_per_seq)
{
    const int64_t n = s->p.n_seqs * pages_per_seq, spare = 3;
    int64_t *ids = keep(s, (size_t)(n + spare) * sizeof *ids);
    for (int64_t i = 0; i < n + spare; i++) ids[i] = i;
    for (int64_t i = n + spare - 1; i > 0; i--) {
        const int64_t other = rng_between(r, 0, i), id = ids[i];
        ids[i] = ids[other];
        ids[other] = id;
    }
    s->p.table = (fattn_table){.dtype = s->how.wide_table ? FATTN_I64 : FATTN_I32,
                               .batch_stride = pages_per_seq,
                               .col_stride = 1,
                               .cols = pages_per_seq};
    const int64_t page = s->how.page_rows;
    int32_t *narrow = keep(s, (size_t)(n + 1) * sizeof *narrow);
    for (int64_t i = 0; i < n; i++) {
        const int64_t own = s->seqs[i / pages_per_seq].kv_len - s->p.shared_len;
        const bool used = i % pages_per_seq * page < own;
        if (!used) ids[i] = INT64_C(1) << 40 | -7;
        narrow[i] = used ? (int32_t)ids[i] : -7;
    }
    s->ptrs.table = s->how.wide_table ? (const void *)ids : (const void *)narrow;
    return n + spare;
}

/* A tensor of its own for every batch entry, each with its own number of rows. */
static void lay_out_list(sample *s, fattn_view *view, int64_t d, fattn_tensor *tensors,
                         const fattn_tensor **list)
{
    fattn_part *parts = keep(s, SAMPLE_SEQS * sizeof *parts);
    view->n_parts = 1;
    view->part[0].d = d;
    view->list = parts;
    for (int b = 0; b < s->p.n_seqs; b++) {
        const int64_t rows = s->seqs[b].kv_len + b;
        const int64_t count = lay_out(&parts[b], &s->how, d, s->p.n_kv_heads, rows, 1);
        tensors[b].data = keep(s, (size_t)count * fattn_dtype_size(view->dtype));
        list[b] = &tensors[b];
    }
}

static void lay_out_shared(sample *s)
{
    fattn_problem *p = &s->p;
    p->shared_len = s->common;
    if (p->shared_len == 0) return;
    p->k_shared.dtype = p->k.dtype;
    p->v_shared.dtype = p->v.dtype;
    s->ptrs.k_shared = view_memory(s, &p->k_shared, 0, p->d_qk, p->n_kv_heads, p->shared_len, 1);
    s->ptrs.v_shared = view_memory(s, &p->v_shared, 0, p->d_v, p->n_kv_heads, p->shared_len, 1);
}

static void lay_out_kv(sample *s, rng *r, int64_t kv_rows, int64_t batches)
{
    fattn_problem *p = &s->p;
    const int64_t page = s->how.page_rows;
    if (s->d_nope == p->d_qk && s->how.shared) lay_out_shared(s);
    if (s->d_nope == p->d_qk && s->how.list && page == 0) {
        lay_out_list(s, &p->k, p->d_qk, s->k_tensors, s->k_list);
        lay_out_list(s, &p->v, p->d_v, s->v_tensors, s->v_list);
        s->ptrs.k_list = s->k_list;
        s->ptrs.v_list = s->v_list;
        return;
    }
    p->k.page_rows = p->v.page_rows = page;
    if (page > 0) {
        int64_t longest = 1;
        for (int b = 0; b < p->n_seqs; b++)
            longest = s->seqs[b].kv_len > longest ? s->seqs[b].kv_len : longest;
        batches = make_table(s, r, (longest + page - 1) / page);
        kv_rows = page;
        p->k.n_pages = p->v.n_pages = batches;
    }
    s->ptrs.k[0] = view_memory(s, &p->k, 0, s->d_nope, p->n_kv_heads, kv_rows, batches);
    if (s->d_nope < p->d_qk)
        s->ptrs.k[1] =
            view_memory(s, &p->k, 1, p->d_qk - s->d_nope, p->n_kv_heads, kv_rows, batches);
    s->ptrs.v = view_memory(s, &p->v, 0, p->d_v, p->n_kv_heads, kv_rows, batches);
}

static void lay_out_all(sample *s, rng *r)
{
    fattn_problem *p = &s->p;
    int64_t q_rows = 1, kv_rows = 1;
    int64_t q_sum = 0, kv_sum = 0;
    const bool packed =
        s->how.packed && s->how.page_rows == 0 && !s->how.list && p->bias.slope_batch_stride == 0;
    for (int b = 0; b < p->n_seqs; b++) {
        fattn_seq *seq = &s->seqs[b];
        seq->batch = packed ? 0 : b;
        seq->q_row0 = packed ? q_sum : 0;
        seq->kv_row0 = packed ? kv_sum : 0;
        q_sum += seq->q_len;
        kv_sum += seq->kv_len;
        q_rows = seq->q_len > q_rows ? seq->q_len : q_rows;
        kv_rows = seq->kv_len > kv_rows ? seq->kv_len : kv_rows;
    }
    if (packed) q_rows = q_sum + 1, kv_rows = kv_sum + 1;
    const int64_t batches = packed ? 1 : p->n_seqs;
    s->ptrs.q[0] = view_memory(s, &p->q, 0, s->d_nope, p->n_heads, q_rows, batches);
    if (s->d_nope < p->d_qk)
        s->ptrs.q[1] = view_memory(s, &p->q, 1, p->d_qk - s->d_nope, p->n_heads, q_rows, batches);
    s->ptrs.out = view_memory(s, &p->out, 0, p->d_v, p->n_heads, q_rows, batches);
    lay_out_kv(s, r, kv_rows, batches);
}

/* The tests' own walk: nothing of core/view.c. */
static char *at(const sample *s, const fattn_view *view, const void *base, int part, int seq,
                int64_t head, int64_t row, int64_t c)
{
    const fattn_part *x = &view->part[part];
    const int64_t size = (int64_t)fattn_dtype_size(view->dtype);
    int64_t offset = head * x->head_stride;
    if (view->list) {
        x = &view->list[seq];
        base = (view == &s->p.k ? s->k_tensors : s->v_tensors)[seq].data;
        offset = head * x->head_stride;
    }
    offset += x->chunk ? c / x->chunk * x->chunk_stride + c % x->chunk : c * x->col_stride;
    if (view->list) {
        offset += row * x->row_stride;
    } else if (view->page_rows == 0) {
        offset += s->seqs[seq].batch * x->batch_stride + row * x->row_stride;
    } else {
        const int64_t entry = seq * s->p.table.batch_stride + row / view->page_rows;
        const int64_t id = s->how.wide_table ? ((const int64_t *)s->ptrs.table)[entry]
                                             : ((const int32_t *)s->ptrs.table)[entry];
        offset += id * x->page_stride + row % view->page_rows * x->row_stride;
    }
    return (char *)(uintptr_t)base + offset * size;
}

char *sample_q_at(const sample *s, int seq, int64_t head, int64_t row, int64_t c)
{
    const int part = c >= s->d_nope;
    return at(s, &s->p.q, s->ptrs.q[part], part, seq, head, s->seqs[seq].q_row0 + row,
              part ? c - s->d_nope : c);
}

/* Rows of the shared prefix stand in front of every sequence's own. */
static char *shared_at(const fattn_view *view, const void *base, int64_t kv_head, int64_t row,
                       int64_t c)
{
    const fattn_part *x = &view->part[0];
    return (char *)(uintptr_t)base +
           (kv_head * x->head_stride + row * x->row_stride + c * x->col_stride) *
               (int64_t)fattn_dtype_size(view->dtype);
}

char *sample_k_at(const sample *s, int seq, int64_t kv_head, int64_t row, int64_t c)
{
    const int part = c >= s->d_nope;
    if (row < s->p.shared_len) return shared_at(&s->p.k_shared, s->ptrs.k_shared, kv_head, row, c);
    row -= s->p.shared_len;
    return at(s, &s->p.k, s->ptrs.k[part], part, seq, kv_head, s->seqs[seq].kv_row0 + row,
              part ? c - s->d_nope : c);
}

char *sample_v_at(const sample *s, int seq, int64_t kv_head, int64_t row, int64_t c)
{
    if (row < s->p.shared_len) return shared_at(&s->p.v_shared, s->ptrs.v_shared, kv_head, row, c);
    row -= s->p.shared_len;
    return at(s, &s->p.v, s->ptrs.v, 0, seq, kv_head, s->seqs[seq].kv_row0 + row, c);
}

static void store_values(sample *s)
{
    const fattn_problem *p = &s->p;
    for (int b = 0; b < p->n_seqs; b++) {
        const fattn_seq *seq = &s->seqs[b];
        for (int64_t h = 0; h < p->n_heads; h++)
            for (int64_t i = 0; i < seq->q_len; i++)
                for (int64_t c = 0; c < p->d_qk; c++)
                    sample_store(sample_q_at(s, b, h, i, c), p->q.dtype,
                                 s->q[b][(h * seq->q_len + i) * p->d_qk + c]);
        for (int64_t h = 0; h < p->n_kv_heads; h++)
            for (int64_t j = 0; j < seq->kv_len; j++) {
                for (int64_t c = 0; c < p->d_qk; c++)
                    sample_store(sample_k_at(s, b, h, j, c), p->k.dtype,
                                 s->k[b][(h * seq->kv_len + j) * p->d_qk + c]);
                for (int64_t c = 0; c < p->d_v; c++)
                    sample_store(sample_v_at(s, b, h, j, c), p->v.dtype,
                                 s->v[b][(h * seq->kv_len + j) * p->d_v + c]);
            }
    }
}

static void lay_out_stats(sample *s)
{
    fattn_problem *p = &s->p;
    p->want_max_sum = p->want_lse = true;
    p->stats_replicas = 2;
    p->max_replica_stride = 1;
    int64_t total = 0;
    for (int b = 0; b < p->n_seqs; b++) {
        fattn_seq *seq = &s->seqs[b];
        seq->stats_base = 2 * total;
        seq->stats_row_stride = 2;
        seq->stats_head_stride = 2 * seq->q_len;
        seq->lse_base = total;
        seq->lse_row_stride = 1;
        seq->lse_head_stride = seq->q_len;
        total += p->n_heads * seq->q_len;
    }
    s->stats_count = total;
    s->ptrs.max = keep(s, (size_t)(2 * total) * sizeof(float));
    s->ptrs.sum = keep(s, (size_t)(2 * total) * sizeof(float));
    s->ptrs.lse = keep(s, (size_t)total * sizeof(float));
    p->empty_no_keys = (fattn_empty){.max = -1.0f, .sum = -2.0f, .lse = -3.0f};
    p->empty_no_window = (fattn_empty){.max = -4.0f, .sum = -5.0f, .lse = -6.0f};
    p->empty_masked = (fattn_empty){.max = -7.0f, .sum = -8.0f, .lse = -9.0f};
    p->empty_pad = (fattn_empty){.max = -10.0f, .sum = -11.0f, .lse = -12.0f};
}

void sample_make(sample *s, uint64_t seed, fattn_dtype dtype, const sample_limits *limits,
                 const storage *how)
{
    memset(s, 0, sizeof *s);
    s->seed = seed;
    s->how = *how;
    rng meaning = rng_new(seed), order = rng_new(seed ^ 0x5eed);
    random_meaning(s, &meaning, dtype, limits);
    lay_out_all(s, &order);
    store_values(s);
    lay_out_stats(s);
    for (int b = 0; b < s->p.n_seqs; b++)
        s->out_bits[b] =
            keep(s, (size_t)(s->p.n_heads * s->seqs[b].q_len * s->p.d_v) * sizeof(double));
}

void sample_free(sample *s)
{
    while (s->n_memory > 0) free(s->memory[--s->n_memory]);
}

void sample_clear(sample *s)
{
    const fattn_problem *p = &s->p;
    for (int b = 0; b < p->n_seqs; b++)
        for (int64_t h = 0; h < p->n_heads; h++)
            for (int64_t i = 0; i < s->seqs[b].q_len; i++)
                for (int64_t c = 0; c < p->d_v; c++)
                    sample_store(at(s, &p->out, s->ptrs.out, 0, b, h, s->seqs[b].q_row0 + i, c),
                                 p->out.dtype, 12345.0f);
    float *max = s->ptrs.max, *sum = s->ptrs.sum;
    for (int64_t i = 0; i < 2 * s->stats_count; i++) max[i] = sum[i] = 12345.0f;
    for (int64_t i = 0; i < s->stats_count; i++) s->ptrs.lse[i] = 12345.0f;
}

void sample_run(sample *s, fattn_context *context)
{
    fattn_arena arena = {.allocator = &context->allocator};
    void *state = NULL;
    size_t bytes = 0;
    fattn_status status = fattn_backend_cpu.accepts(context, &s->p);
    assert(status == FATTN_OK);
    status = fattn_backend_cpu.plan(context, &s->p, &arena, &state, &bytes);
    assert(status == FATTN_OK);
    (void)status;
    void *workspace = aligned_alloc(64, bytes ? bytes : 64);
    memset(workspace, 0xa5, bytes); /* a run must not rely on what it finds there */
    sample_clear(s);
    fattn_backend_cpu.run(context, &s->p, state, &s->ptrs, workspace);
    free(workspace);
    arena_free(&arena);
    sample_collect(s);
}

void sample_collect(sample *s)
{
    const fattn_problem *p = &s->p;
    for (int b = 0; b < p->n_seqs; b++) {
        double *to = s->out_bits[b];
        for (int64_t h = 0; h < p->n_heads; h++)
            for (int64_t i = 0; i < s->seqs[b].q_len; i++)
                for (int64_t c = 0; c < p->d_v; c++) {
                    const char *from =
                        at(s, &p->out, s->ptrs.out, 0, b, h, s->seqs[b].q_row0 + i, c);
                    float value;
                    uint16_t bits;
                    memcpy(&value, from, p->out.dtype == FATTN_F32 ? sizeof value : sizeof bits);
                    memcpy(&bits, from, sizeof bits);
                    if (p->out.dtype == FATTN_F16) value = half_from_f16(bits);
                    if (p->out.dtype == FATTN_BF16) value = half_from_bf16(bits);
                    *to++ = (double)value;
                }
    }
}

bool sample_sees(const sample *s, int seq, int64_t head, int64_t i, int64_t j)
{
    const fattn_seq *q = &s->seqs[seq];
    const fattn_mask *mask = &s->p.mask;
    const bool band = j >= i + q->band_lo && (j <= i + q->band_hi || j < q->prefix);
    if (j < 0 || j >= q->kv_len || !band) return false;
    return !mask->present || j < q->mask_from ||
           s->ptrs.mask[q->mask_base + head * mask->head_stride + i * q->mask_row_stride +
                        (j - q->mask_from) * mask->col_stride] == 0;
}

const char *sample_print(const sample *s)
{
    static char text[512];
    int n = snprintf(
        text, sizeof text,
        "seed=%llu dtype=%s kv_heads=%lld group=%lld d=%lld+%lld dv=%lld mask=%d bias=%d "
        "sink=%d packed=%d heads_first=%d gap=%lld col=%lld page=%lld chunk=%lld "
        "shared=%lld list=%d tree=%d",
        (unsigned long long)s->seed, fattn_dtype_name(s->p.q.dtype), (long long)s->p.n_kv_heads,
        (long long)s->p.group, (long long)s->d_nope, (long long)(s->p.d_qk - s->d_nope),
        (long long)s->p.d_v, s->p.mask.present, (int)s->p.bias.kind, s->p.sink, s->how.packed,
        s->how.heads_first, (long long)s->how.gap, (long long)s->how.col_stride,
        (long long)s->how.page_rows, (long long)s->how.chunk, (long long)s->p.shared_len,
        s->p.k.list != NULL, s->p.mask.present && s->seqs[0].mask_from > 0);
    for (int b = 0; b < s->p.n_seqs && n < (int)sizeof text - 72; b++)
        n += snprintf(text + n, sizeof text - (size_t)n, " [q%lld kv%lld %lld..%lld p%lld]",
                      (long long)s->seqs[b].q_len, (long long)s->seqs[b].kv_len,
                      (long long)s->seqs[b].band_lo, (long long)s->seqs[b].band_hi,
                      (long long)s->seqs[b].prefix);
    return text;
}

static double score(const sample *s, int seq, int64_t head, int64_t i, int64_t j, double *sigma)
{
    const fattn_problem *p = &s->p;
    const fattn_seq *x = &s->seqs[seq];
    const float *q = s->q[seq] + (head * x->q_len + i) * p->d_qk;
    const float *k = s->k[seq] + (head / p->group * x->kv_len + j) * p->d_qk;
    double dot = 0, size = 0;
    for (int64_t c = 0; c < p->d_qk; c++) {
        dot += (double)q[c] * (double)k[c];
        size += fabs((double)q[c] * (double)k[c]);
    }
    const double bias = bias_value(p, &s->ptrs, x, head, i, j);
    const double bias_factor = p->bias.before_scale ? p->scale : 1.0;
    *sigma = fabs(p->scale) * size + fabs(bias * bias_factor);
    return dot * p->scale + bias * bias_factor;
}

void sample_naive(const sample *s, int seq, int64_t head, int64_t i, naive_row *row)
{
    const fattn_problem *p = &s->p;
    const int64_t n = s->seqs[seq].kv_len;
    const double u = 0x1p-24;
    double *x = malloc((size_t)(2 * n + 1) * sizeof *x), *sigma = x + n;
    double m = -INFINITY, keys = 0.0, total, sigma_mean = 0.0;
    memset(row, 0, sizeof *row);
    for (int64_t j = 0; j < n; j++) {
        x[j] = -INFINITY;
        if (!sample_sees(s, seq, head, i, j)) continue;
        row->visible++;
        x[j] = score(s, seq, head, i, j, &sigma[j]);
        m = fmax(m, x[j]);
    }
    for (int64_t j = 0; j < n; j++) keys += x[j] == -INFINITY ? 0.0 : exp(x[j] - m);
    row->lse = m + log(keys);
    const double sink =
        p->sink ? (double)((const float *)s->ptrs.sink)[head * p->sink_stride] : -INFINITY;
    total = keys + exp(sink - m);
    row->max = p->sink_in_stats ? fmax(m, sink) : m;
    row->sum = (p->sink_in_stats ? total : keys) * exp(m - row->max);

    for (int64_t j = 0; j < n && row->visible; j++) {
        if (x[j] == -INFINITY) continue;
        const float *v = s->v[seq] + (head / p->group * n + j) * p->d_v;
        const double weight = exp(x[j] - m) / total;
        sigma_mean += exp(x[j] - m) / keys * sigma[j];
        for (int64_t c = 0; c < p->d_v; c++) row->out[c] += weight * (double)v[c];
    }
    row->lse_bound = 0x1p-20 * fmax(1.0, fabs(row->lse)) + u * (double)p->d_qk * sigma_mean;
    for (int64_t c = 0; c < p->d_v; c++) {
        double size = 0.0;
        for (int64_t j = 0; j < n; j++) {
            if (x[j] == -INFINITY) continue;
            const double weight = exp(x[j] - m) / total;
            const double v = (double)s->v[seq][(head / p->group * n + j) * p->d_v + c];
            size += weight * fabs(v);
            row->bound[c] += u * weight * fabs(v - row->out[c]) *
                             ((double)(p->d_qk + 2) * sigma[j] + fabs(x[j] - m) + 2.0);
        }
        row->bound[c] += u * (double)row->visible * (size + fabs(row->out[c]));
        if (p->sink) /* one more key, with v = 0 */
            row->bound[c] += u * exp(sink - m) / total * fabs(row->out[c]) *
                             (2.0 * fabs(sink) + fabs(sink - m) + 2.0);
    }
    free(x);
}

static fattn_context *context_of(const char *isa, int threads, fattn_compute compute)
{
    fattn_context_options options;
    fattn_context *context = NULL;
    fattn_context_options_init(&options);
    options.isa = isa;
    options.threads = threads;
    options.compute = compute;
    return fattn_context_create(&context, &options) == FATTN_OK ? context : NULL;
}

fattn_context *sample_context(const char *isa, int threads)
{
    return context_of(isa, threads, FATTN_COMPUTE_F32);
}

fattn_context *sample_half_context(const char *isa, int threads)
{
    return context_of(isa, threads, FATTN_COMPUTE_F16);
}

fattn_context *sample_context_like(const fattn_context *context, int threads)
{
    return context_of(isa_name(context->isa), threads, context->compute);
}
