/* SPDX-License-Identifier: Apache-2.0 */
/* bench_quant.c — a row of the suite `quant`: one decode step over quantised keys and values, in turn with
 * the same step over f16, and how far the answer is from float64 over the numbers before quantising and over
 * the dequantised ones. */
#include "bench_quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 64 /* rows */, SIDES = 2 };

/* How keys and values of a row are stored. */
static const struct kind {
    const char *name;
    fattn_dtype dtype; /* f16: as they are */
    fattn_granularity granularity;
    bool paged;
} kinds[] = {{"f16", FATTN_F16, FATTN_PER_TENSOR, false},
             {"int8-token", FATTN_I8, FATTN_PER_TOKEN, false},
             {"int8-channel", FATTN_I8, FATTN_PER_CHANNEL, false},
             {"int8-pages", FATTN_I8, FATTN_PER_TOKEN, true},
             {"int4", FATTN_I4, FATTN_PER_TOKEN_HEAD, false},
             {"fp8", FATTN_E4M3, FATTN_PER_TOKEN_HEAD, false}};

typedef struct side {
    fattn_tensor plain; /* f16 [B,Nkv,S,D] or, of pages, [blocks,Nkv,rows,D] */
    fattn_tensor codes, scale;
} side;

typedef struct step {
    const bench_row *row;
    const struct kind *kind;
    side kv[SIDES];
    fattn_tensor query, out, plain_out, table;
    int64_t *lengths;
    fattn_fused_infer_attention_score_args args, plain_args;
    fattn_plan *plan, *plain_plan;
} step;

static int64_t count_of(const fattn_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

static size_t bytes_of(const fattn_tensor *t)
{
    return t->rank ? (size_t)count_of(t) * fattn_dtype_size(t->dtype) : 0;
}

static bool reserve(fattn_tensor *t)
{
    t->data = aligned_alloc(64, (bytes_of(t) + 63) / 64 * 64);
    return t->data != NULL;
}

/* The first batch entry quantised (of pages: its blocks); the others hold the same numbers. */
static fattn_status quantise(const step *st, bench_session *s, side *x)
{
    fattn_quantize_options o;
    fattn_quantize_options_init(&o);
    o.dtype = st->kind->dtype, o.granularity = st->kind->granularity;
    const int64_t batch = st->row->batch;
    fattn_tensor input = x->plain, codes, scale;
    fattn_status status = fattn_quantize_kv_shapes(&o, &input, &x->codes, &x->scale);
    if (status != FATTN_OK) return status;
    if (!reserve(&x->codes) || !reserve(&x->scale)) return FATTN_E_NOMEM;
    input.shape[0] /= batch;
    status = fattn_quantize_kv_shapes(&o, &input, &codes, &scale);
    if (status != FATTN_OK) return status;
    codes.data = x->codes.data, scale.data = x->scale.data;
    status = fattn_quantize_kv(s->context, &o, &input, &codes, &scale);
    for (int64_t b = 1; b < batch; b++) {
        memcpy((char *)x->codes.data + (size_t)b * bytes_of(&codes), codes.data, bytes_of(&codes));
        if (bytes_of(&x->scale) > bytes_of(&scale))
            memcpy((char *)x->scale.data + (size_t)b * bytes_of(&scale), scale.data,
                   bytes_of(&scale));
    }
    return status;
}

static bool make_table(step *st)
{
    const int64_t per_sequence = st->row->kv_len / PAGE, n = st->row->batch * per_sequence;
    const int64_t shape[] = {st->row->batch, per_sequence};
    uint64_t state = 1;
    st->table = fattn_tensor_contiguous(NULL, FATTN_I32, 2, shape);
    if (!reserve(&st->table)) return false;
    int32_t *ids = st->table.data;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const int64_t j = (int64_t)((state >> 33) % (uint64_t)(i + 1));
        ids[i] = ids[j];
        ids[j] = (int32_t)i;
    }
    return true;
}

static void set_args(fattn_fused_infer_attention_score_args *a, step *st, bool quantised)
{
    const bool codes = quantised && st->kind->dtype != FATTN_F16;
    fattn_fused_infer_attention_score_args_init(a);
    a->query = &st->query;
    a->key = codes ? &st->kv[0].codes : &st->kv[0].plain;
    a->value = codes ? &st->kv[1].codes : &st->kv[1].plain;
    a->attention_out = quantised ? &st->out : &st->plain_out;
    a->input_layout = "BNSD", a->scale = 1.0 / sqrt((double)st->row->head_dim);
    a->num_heads = st->row->n_heads, a->num_key_value_heads = st->row->n_kv_heads;
    a->actual_seq_lengths_kv = (fattn_int_array){st->lengths, st->row->batch};
    if (st->kind->paged) a->block_table = &st->table, a->block_size = PAGE;
    if (!codes) return;
    a->key_antiquant_scale = &st->kv[0].scale, a->value_antiquant_scale = &st->kv[1].scale;
    a->key_antiquant_mode = a->value_antiquant_mode =
        fattn_quantize_mode(st->kind->granularity, st->kind->paged);
}

static fattn_status open_step(step *st, bench_session *s)
{
    const bench_row *r = st->row;
    const int64_t q_shape[] = {r->batch, r->n_heads, 1, r->head_dim};
    const int64_t dense[] = {r->batch, r->n_kv_heads, r->kv_len, r->head_dim};
    const int64_t pages[] = {r->batch * (r->kv_len / PAGE), r->n_kv_heads, PAGE, r->head_dim};
    st->query = fattn_tensor_contiguous(NULL, FATTN_F16, 4, q_shape);
    st->out = st->plain_out = st->query;
    const size_t q = bytes_of(&st->query),
                 kv = (size_t)(dense[0] * dense[1] * dense[2] * dense[3]) * 2;
    if (!bench_buffer_fill(&s->q, q, FATTN_F16, 1) || !bench_buffer_fill(&s->k, kv, FATTN_F16, 2) ||
        !bench_buffer_fill(&s->v, kv, FATTN_F16, 3) || !reserve(&st->out) ||
        !reserve(&st->plain_out))
        return FATTN_E_NOMEM;
    st->query.data = s->q.data;
    const int64_t *shape = st->kind->paged ? pages : dense;
    for (int i = 0; i < SIDES; i++) {
        st->kv[i].plain = fattn_tensor_contiguous(i ? s->v.data : s->k.data, FATTN_F16, 4, shape);
        if (st->kind->dtype == FATTN_F16) continue;
        const fattn_status status = quantise(st, s, &st->kv[i]);
        if (status != FATTN_OK) return status;
    }
    st->lengths = malloc((size_t)r->batch * sizeof *st->lengths);
    if (!st->lengths || (st->kind->paged && !make_table(st))) return FATTN_E_NOMEM;
    for (int64_t b = 0; b < r->batch; b++) st->lengths[b] = r->kv_len;
    set_args(&st->args, st, true), set_args(&st->plain_args, st, false);
    fattn_status status = fattn_fused_infer_attention_score_plan(s->context, &st->args, &st->plan);
    if (status == FATTN_OK)
        status =
            fattn_fused_infer_attention_score_plan(s->context, &st->plain_args, &st->plain_plan);
    if (status == FATTN_OK) status = fattn_plan_run(st->plan, &st->args, NULL, 0);
    return status == FATTN_OK ? fattn_plan_run(st->plain_plan, &st->plain_args, NULL, 0) : status;
}

static void close_step(step *st)
{
    fattn_plan_destroy(st->plan), fattn_plan_destroy(st->plain_plan);
    free(st->out.data), free(st->plain_out.data), free(st->table.data), free(st->lengths);
    for (int i = 0; i < SIDES; i++) free(st->kv[i].codes.data), free(st->kv[i].scale.data);
}

/* ---- errors: the query heads of the first key head, first batch entry */

/* Where key t of head 0 starts in `plain`, as (batch or block, row). */
static void find_row(const step *st, int64_t t, int64_t *major, int64_t *minor)
{
    *major = st->kind->paged ? ((const int32_t *)st->table.data)[t / PAGE] : 0;
    *minor = st->kind->paged ? t % PAGE : t;
}

static double half(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    const double size = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits >> 15 ? -size : size;
}

static double code(const fattn_tensor *t, int64_t at)
{
    const uint8_t byte = ((const uint8_t *)t->data)[t->dtype == FATTN_I4 ? at / 2 : at];
    if (t->dtype == FATTN_I8) return (int8_t)byte;
    if (t->dtype == FATTN_I4) return (double)(((byte >> at % 2 * 4 & 15) ^ 8) - 8);
    const int exponent = byte >> 3 & 15, mantissa = byte & 7; /* e4m3, and no NaN here */
    const double size = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return byte & 128 ? -size : size;
}

static double scale_of(const step *st, const side *x, int64_t major, int64_t minor, int64_t d)
{
    const float *scale = x->scale.data;
    const int64_t *n = x->scale.shape;
    if (st->kind->granularity == FATTN_PER_CHANNEL) return (double)scale[d];
    if (st->kind->granularity == FATTN_PER_TOKEN) return (double)scale[major * n[1] + minor];
    return (double)scale[major * n[1] * n[2] + minor];
}

/* Row t of head 0 in double: dequantised, or as it was. */
static void row_of(const step *st, const side *x, int64_t t, bool dequantised, double *row)
{
    const int64_t *n = x->plain.shape, d = n[3];
    int64_t major, minor;
    find_row(st, t, &major, &minor);
    const int64_t at = (major * n[1] * n[2] + minor) * d;
    for (int64_t c = 0; c < d; c++)
        row[c] = dequantised ? code(&x->codes, at + c) * scale_of(st, x, major, minor, c)
                             : half(((const uint16_t *)x->plain.data)[at + c]);
}

/* Relative rms error of the result of head `head`. */
static double head_error(const step *st, int head, bool dequantised, double *x, double *row)
{
    const int64_t d = st->row->head_dim, n = st->row->kv_len;
    const uint16_t *q = (const uint16_t *)st->query.data + head * d,
                   *out = (const uint16_t *)st->out.data + head * d;
    double most = -INFINITY, sum = 0, error = 0, size = 0, exact[512] = {0};
    for (int64_t t = 0; t < n; t++) {
        row_of(st, &st->kv[0], t, dequantised, row);
        x[t] = 0;
        for (int64_t c = 0; c < d; c++) x[t] += half(q[c]) * row[c];
        x[t] *= st->args.scale;
        most = fmax(most, x[t]);
    }
    for (int64_t t = 0; t < n; t++) {
        const double p = exp(x[t] - most);
        row_of(st, &st->kv[1], t, dequantised, row);
        sum += p;
        for (int64_t c = 0; c < d; c++) exact[c] += p * row[c];
    }
    for (int64_t c = 0; c < d; c++) {
        error += pow(half(out[c]) - exact[c] / sum, 2);
        size += pow(exact[c] / sum, 2);
    }
    return sqrt(error / size);
}

static double error_of(const step *st, bool dequantised)
{
    double *x = malloc((size_t)st->row->kv_len * sizeof *x), row[512], worst = 0;
    if (!x) return NAN;
    for (int head = 0; head < (int)(st->row->n_heads / st->row->n_kv_heads); head++)
        worst = fmax(worst, head_error(st, head, dequantised, x, row));
    free(x);
    return worst;
}

/* ---- rounds */

static int rounds(bench_session *s, const step *st, double *ms, double *plain_ms)
{
    const double begin = bench_now();
    int n = 0;
    bench_probe_read(&s->probe, -1);
    while (bench_more(n, s->settings.runs, bench_now() - begin)) {
        double start = bench_now();
        if (fattn_plan_run(st->plan, &st->args, NULL, 0) != FATTN_OK) break;
        ms[n] = (bench_now() - start) * 1e3;
        start = bench_now();
        if (fattn_plan_run(st->plain_plan, &st->plain_args, NULL, 0) != FATTN_OK) break;
        plain_ms[n] = (bench_now() - start) * 1e3;
        bench_probe_read(&s->probe, n++ % BENCH_READ_KINDS);
    }
    return n;
}

static void measure(bench_session *s, const step *st, bench_result *result)
{
    static double ms[BENCH_MOST_RUNS], plain_ms[BENCH_MOST_RUNS];
    const int n = rounds(s, st, ms, plain_ms);
    if (n == 0) return;
    bench_result plain = bench_result_empty();
    bench_result_times(result, ms, n);
    bench_result_times(&plain, plain_ms, n);
    const bool f16 = st->kind->dtype == FATTN_F16;
    result->kv_bytes = 0;
    for (int i = 0; i < SIDES; i++)
        result->kv_bytes +=
            (int64_t)(f16 ? bytes_of(&st->kv[i].plain)
                          : bytes_of(&st->kv[i].codes) + bytes_of(&st->kv[i].scale));
    result->gflops = bench_row_flops(&result->row) / result->best_ms * 1e-6;
    result->gbps = (double)result->kv_bytes / result->best_ms * 1e-6;
    result->f16_ratio = plain.best_ms / result->best_ms;
    result->extra_bytes = (int64_t)fattn_plan_workspace(st->plan);
    result->err_unquantised = error_of(st, false);
    result->err_dequantised = f16 ? result->err_unquantised : error_of(st, true);
}

int bench_quant_rows(bench_row *rows)
{
    static const int kv_lens[] = {4096, 32768}, batches[] = {1, 8};
    int n = 0;
    for (int k = 0; k < 2; k++)
        for (int b = 0; b < 2; b++)
            for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++, n++) {
                rows[n] = (bench_row){.suite = "quant",
                                      .op = "fused_infer_attention_score",
                                      .batch = batches[b],
                                      .n_heads = 32,
                                      .n_kv_heads = 8,
                                      .head_dim = 128,
                                      .q_len = 1,
                                      .kv_len = kv_lens[k],
                                      .decode = true,
                                      .quant = kinds[i].name};
                snprintf(rows[n].name, BENCH_NAME, "decode-32/8x128-kv%d-b%d-%s", kv_lens[k],
                         batches[b], kinds[i].name);
            }
    return n;
}

void bench_quant(bench_session *s, const bench_row *row, bench_result *result)
{
    step st = {.row = row, .kind = &kinds[0]};
    *result = bench_result_empty();
    result->row = *row;
    result->dtype = FATTN_F16;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, row->quant) == 0) st.kind = &kinds[i];
    const uint64_t bytes =
        (uint64_t)(row->batch * row->n_kv_heads * row->kv_len * row->head_dim) * 8;
    if (bytes > s->memory_bytes / 2) {
        snprintf(result->note, sizeof result->note,
                 "tensors of %.1f GB are more than half of the memory", (double)bytes * 1e-9);
        return;
    }
    const fattn_status status = open_step(&st, s);
    if (status == FATTN_OK) {
        measure(s, &st, result);
    } else {
        snprintf(result->note, sizeof result->note, "%s: %.150s", fattn_status_name(status),
                 status == FATTN_E_NOMEM ? "out of memory" : fattn_error_message());
        result->failed = status != FATTN_E_NOMEM;
    }
    close_step(&st);
}
