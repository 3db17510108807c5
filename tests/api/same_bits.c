/* SPDX-License-Identifier: Apache-2.0 */
/* The same-bits promise (docs/accuracy.md): a row's result does not depend on threads, batch
 * neighbours, layout, strides, alignment or paging. One logical problem is laid out in many ways;
 * memcmp decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpuinfo.h"
#include "base/half.h"
#include "fattn/fattn.h"

/* A problem without a layout. Element (b, h, s, d) of an operand is at ((b*heads + h)*rows +
 * s)*cols + d. */
typedef struct logical {
    const char *op;
    int64_t b, n, nkv, sq, skv, d, dv, mode, pre, next;
    fattn_dtype dtype;
    int64_t kv_len[8];
} logical;

/* How it is laid out this time. */
typedef struct variant {
    const char *layout;
    int64_t gap;         /* unused elements after each innermost row; shifts alignment too */
    int64_t block_size;  /* 0 = not paged */
    bool blocks_by_head; /* BnNBsD instead of BnBsH */
    int64_t only;        /* -1 = all sequences, else this one alone */
    int threads;
} variant;

typedef struct operand {
    char *memory;
    fattn_tensor tensor;
    int64_t b, h, s, d; /* element strides by meaning */
} operand;

typedef struct result {
    char *out;  /* logical order */
    float *lse; /* or max then sum */
    size_t out_bytes, lse_count;
} result;

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    return x;
}

/* Element value by its logical position: the same wherever it is stored. */
static float value_at(uint32_t id, int64_t b, int64_t h, int64_t s, int64_t d)
{
    uint32_t x = mix(id * 77u + (uint32_t)b);
    x = mix(x + (uint32_t)h);
    x = mix(x + (uint32_t)s);
    x = mix(x + (uint32_t)d);
    return ((float)(x >> 8) / (float)(1 << 23) - 1.0f) * (id == 1 ? 2.0f : 1.0f);
}

static void put(char *memory, fattn_dtype dtype, int64_t at, float x)
{
    if (dtype == FATTN_F32)
        ((float *)(void *)memory)[at] = x;
    else
        ((uint16_t *)(void *)memory)[at] = dtype == FATTN_F16 ? half_to_f16(x) : half_to_bf16(x);
}

/* Lays out b x h x s x d elements in the order of `letters` (H = N and D in one axis, T = B and S).
 */
static operand operand_new(const char *letters, fattn_dtype dtype, int64_t b, int64_t h, int64_t s,
                           int64_t d, int64_t gap)
{
    operand o = {0};
    const int rank = (int)strlen(letters);
    o.tensor = (fattn_tensor){.dtype = dtype, .rank = rank};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        const int64_t extent = letters[i] == 'B'   ? b
                               : letters[i] == 'N' ? h
                               : letters[i] == 'S' ? s
                               : letters[i] == 'T' ? b * s
                               : letters[i] == 'H' ? h * d
                                                   : d;
        o.tensor.shape[i] = extent;
        o.tensor.strides[i] = stride;
        if (letters[i] == 'B') o.b = stride;
        if (letters[i] == 'N') o.h = stride;
        if (letters[i] == 'S') o.s = stride;
        if (letters[i] == 'T') o.s = stride, o.b = s * stride;
        if (letters[i] == 'D') o.d = stride;
        if (letters[i] == 'H') o.d = stride, o.h = d * stride;
        stride = stride * extent + (i == rank - 1 ? gap : 0);
    }
    const size_t size = fattn_dtype_size(dtype);
    o.memory = malloc(((size_t)stride + (size_t)gap + 1) * size);
    assert_non_null(o.memory);
    memset(o.memory, 0xff, ((size_t)stride + (size_t)gap + 1) * size); /* NaN in every gap */
    o.tensor.data = o.memory + (size_t)gap * size;
    return o;
}

static void operand_fill(operand *o, uint32_t id, fattn_dtype dtype, int64_t b0, int64_t b,
                         int64_t h, int64_t s, int64_t d)
{
    for (int64_t i = 0; i < b; i++)
        for (int64_t j = 0; j < h; j++)
            for (int64_t k = 0; k < s; k++)
                for (int64_t l = 0; l < d; l++)
                    put(o->tensor.data, dtype, i * o->b + j * o->h + k * o->s + l * o->d,
                        value_at(id, b0 + i, j, k, l));
}

/* A cache whose blocks lie in a shuffled order; unused rows and blocks hold NaN. */
static operand cache_new(const logical *p, const variant *v, uint32_t id, int64_t cols, int64_t b0,
                         int64_t b, const int64_t *table, int64_t m, int64_t blocks)
{
    const char *letters = v->blocks_by_head ? "BNSD" : "BSH"; /* B = block, S = row of the block */
    operand o = operand_new(letters, p->dtype, blocks, p->nkv, v->block_size, cols, v->gap);
    for (int64_t i = 0; i < b; i++)
        for (int64_t t = 0; t < p->kv_len[b0 + i]; t++)
            for (int64_t h = 0; h < p->nkv; h++)
                for (int64_t c = 0; c < cols; c++)
                    put(o.tensor.data, p->dtype,
                        table[i * m + t / v->block_size] * o.b + h * o.h + t % v->block_size * o.s +
                            c * o.d,
                        value_at(id, b0 + i, h, t, c));
    return o;
}

static fattn_context *context_of(const char *isa, int threads)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.isa = isa;
    options.threads = threads;
    fattn_context *context = NULL;
    assert_int_equal(fattn_context_create(&context, &options), FATTN_OK);
    return context;
}

static bool training(const logical *p) { return strcmp(p->op, "fusion_attention") == 0; }

/* Where statistic `which` (0, 1) of (b, h, i) stands. */
static float stat_of(const logical *p, bool packed, const float *stats, int64_t i, int64_t h,
                     int64_t s)
{
    const int64_t step = training(p) ? 8 : 1;
    if (packed && !training(p)) return stats[(i * p->sq + s) * p->n + h];
    /* dense, and the training operator's default TND order: [B][N][S] */
    return stats[((i * p->n + h) * p->sq + s) * step];
}

/* Everything one run needs, laid out as the variant says. */
typedef struct layout_run {
    const logical *p;
    const variant *v;
    bool packed;
    int64_t b0, b; /* sequences [b0, b0 + b) of the problem */
    operand q, k, val, out;
    int64_t m, blocks; /* table columns, blocks of the cache */
    int64_t *ids;      /* block of (sequence, column), unused ones too */
    int32_t *table;    /* the same, unused entries -1 */
    int64_t q_list[8], kv_list[8];
    float *first, *second; /* lse, or max and sum */
    fattn_tensor table_tensor, first_tensor, second_tensor;
} layout_run;

/* Every block at a place of its own; 7 generates all of them. */
static void make_table(layout_run *r)
{
    const int64_t size = r->v->block_size;
    r->m = size ? (r->p->skv + size - 1) / size + 1 : 0;
    const int64_t n = r->b * r->m, shape[] = {r->b, r->m};
    r->blocks = n + ((n + 3) % 7 ? 3 : 4);
    r->ids = calloc((size_t)(n + 1), sizeof *r->ids);
    r->table = calloc((size_t)(n + 1), sizeof *r->table);
    for (int64_t i = 0; i < n; i++) {
        const bool used = i % r->m * size < r->p->kv_len[r->b0 + i / r->m];
        r->ids[i] = (i * 7 + 2) % r->blocks;
        r->table[i] = used ? (int32_t)r->ids[i] : -1;
    }
    r->table_tensor = fattn_tensor_contiguous(r->table, FATTN_I32, 2, shape);
}

static operand make_keys(const layout_run *r, uint32_t id, int64_t cols)
{
    const logical *p = r->p;
    if (r->v->block_size) return cache_new(p, r->v, id, cols, r->b0, r->b, r->ids, r->m, r->blocks);
    operand o = operand_new(r->v->layout, p->dtype, r->b, p->nkv, p->skv, cols, r->v->gap);
    operand_fill(&o, id, p->dtype, r->b0, r->b, p->nkv, p->skv, cols);
    return o;
}

static void make_outputs(layout_run *r)
{
    const logical *p = r->p;
    const int64_t copies = training(p) ? 8 : 1;
    const size_t stats = (size_t)(r->b * p->n * p->sq);
    const int64_t dense[] = {r->b, p->n, p->sq, copies}, tnd[] = {r->b * p->sq, p->n, copies};
    r->out = operand_new(r->v->layout, p->dtype, r->b, p->n, p->sq, p->dv, r->v->gap);
    r->first = calloc(stats * 8, sizeof *r->first);
    r->second = calloc(stats * 8, sizeof *r->second);
    r->first_tensor =
        fattn_tensor_contiguous(r->first, FATTN_F32, r->packed ? 3 : 4, r->packed ? tnd : dense);
    r->second_tensor = r->first_tensor;
    r->second_tensor.data = r->second;
}

static layout_run run_new(const logical *p, const variant *v)
{
    layout_run r = {.p = p, .v = v, .packed = strchr(v->layout, 'T') != NULL};
    r.b0 = v->only < 0 ? 0 : v->only;
    r.b = v->only < 0 ? p->b : 1;
    r.q = operand_new(v->layout, p->dtype, r.b, p->n, p->sq, p->d, v->gap);
    operand_fill(&r.q, 1, p->dtype, r.b0, r.b, p->n, p->sq, p->d);
    make_table(&r);
    r.k = make_keys(&r, 2, p->d);
    r.val = make_keys(&r, 3, p->dv);
    make_outputs(&r);
    for (int64_t i = 0; i < r.b; i++) {
        r.q_list[i] = r.packed ? (i + 1) * p->sq : p->sq;
        r.kv_list[i] = r.packed && !v->block_size ? (i + 1) * p->skv : p->kv_len[r.b0 + i];
    }
    return r;
}

static void run_free(layout_run *r)
{
    free(r->q.memory), free(r->k.memory), free(r->val.memory), free(r->out.memory);
    free(r->ids), free(r->table), free(r->first), free(r->second);
}

static fattn_status call_training(const layout_run *r, fattn_context *context)
{
    const logical *p = r->p;
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    a.query = &r->q.tensor, a.key = &r->k.tensor, a.value = &r->val.tensor;
    a.attention_out = &r->out.tensor, a.softmax_max = &r->first_tensor;
    a.softmax_sum = &r->second_tensor;
    a.head_num = p->n, a.input_layout = r->v->layout, a.scale = 0.3, a.sparse_mode = p->mode;
    a.pre_tokens = p->pre, a.next_tokens = p->next;
    if (r->packed) a.actual_seq_qlen = (fattn_int_array){r->q_list, r->b};
    if (r->packed) a.actual_seq_kvlen = (fattn_int_array){r->kv_list, r->b};
    return fattn_fusion_attention(context, &a);
}

static fattn_status call_inference(const layout_run *r, fattn_context *context)
{
    const logical *p = r->p;
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = &r->q.tensor, a.key = &r->k.tensor, a.value = &r->val.tensor;
    a.attention_out = &r->out.tensor, a.softmax_lse = &r->first_tensor, a.softmax_lse_flag = true;
    a.num_heads = p->n, a.num_key_value_heads = p->nkv, a.input_layout = r->v->layout;
    a.scale = 0.3, a.sparse_mode = p->mode, a.pre_tokens = p->pre, a.next_tokens = p->next;
    a.actual_seq_lengths_kv = (fattn_int_array){r->kv_list, r->b};
    if (r->packed) a.actual_seq_lengths = (fattn_int_array){r->q_list, r->b};
    if (r->v->block_size) a.block_table = &r->table_tensor, a.block_size = r->v->block_size;
    return fattn_fused_infer_attention_score(context, &a);
}

/* The outputs in logical order. */
static result collect(const layout_run *r)
{
    const logical *p = r->p;
    const size_t size = fattn_dtype_size(p->dtype), rows = (size_t)(r->b * p->n * p->sq);
    result all = {.out_bytes = rows * (size_t)p->dv * size, .lse_count = 2 * rows};
    all.out = malloc(all.out_bytes);
    all.lse = malloc(all.lse_count * sizeof *all.lse);
    char *at = all.out;
    float *lse = all.lse;
    for (int64_t i = 0; i < r->b; i++)
        for (int64_t h = 0; h < p->n; h++)
            for (int64_t s = 0; s < p->sq; s++) {
                const int64_t row = i * r->out.b + h * r->out.h + s * r->out.s;
                for (int64_t c = 0; c < p->dv; c++, at += size)
                    memcpy(at, (char *)r->out.tensor.data + (size_t)(row + c * r->out.d) * size,
                           size);
                *lse++ = stat_of(p, r->packed, r->first, i, h, s);
                *lse++ = training(p) ? stat_of(p, r->packed, r->second, i, h, s) : 0;
            }
    return all;
}

/* Runs the problem as the variant says and gives the result in logical order. */
static result run(const logical *p, const variant *v, const char *isa)
{
    layout_run r = run_new(p, v);
    fattn_context *context = context_of(isa, v->threads);
    const fattn_status status =
        training(p) ? call_training(&r, context) : call_inference(&r, context);
    if (status != FATTN_OK) print_message("%s: %s\n", v->layout, fattn_error_message());
    assert_int_equal(status, FATTN_OK);
    const result all = collect(&r);
    fattn_context_destroy(context);
    run_free(&r);
    return all;
}

static void result_free(result *r) { free(r->out), free(r->lse); }

/* The part of `all` that belongs to sequence `only`, or all of it, equals `r`. */
static void assert_same(const logical *p, const variant *v, const char *isa, const result *all,
                        const result *r)
{
    const size_t skip = v->only < 0 ? 0 : (size_t)v->only;
    const bool same =
        memcmp(all->out + skip * r->out_bytes, r->out, r->out_bytes) == 0 &&
        memcmp(all->lse + skip * r->lse_count, r->lse, r->lse_count * sizeof *r->lse) == 0;
    if (!same)
        print_message(
            "%s %s b=%d n=%d/%d sq=%d skv=%d d=%d/%d mode=%d dtype=%s: layout %s gap %d block %d "
            "by_head %d only %d threads %d differs\n",
            isa, p->op, (int)p->b, (int)p->n, (int)p->nkv, (int)p->sq, (int)p->skv, (int)p->d,
            (int)p->dv, (int)p->mode, fattn_dtype_name(p->dtype), v->layout, (int)v->gap,
            (int)v->block_size, v->blocks_by_head, (int)v->only, v->threads);
    assert_true(same);
}

static void assert_not_trivial(const result *r)
{
    size_t zero = 0;
    for (size_t i = 0; i < r->out_bytes; i++) zero += r->out[i] == 0;
    assert_true(zero < r->out_bytes / 3);
}

/* Ragged key lengths only where the layout has lengths per batch. */
static const logical infer_cases[] = {
    {"fused", 3, 8, 2, 1, 700, 64, 64, 0, 0, 0, 0, {700, 3, 513}},
    {"fused", 2, 4, 4, 1, 1500, 40, 40, 0, 0, 0, 0, {1500, 1025}},
    {"fused", 2, 4, 1, 5, 1300, 128, 128, 3, 0, 0, 0, {1300, 1300}},
    {"fused", 2, 6, 2, 33, 200, 72, 48, 3, 0, 0, 0, {200, 200}},
    {"fused", 2, 4, 2, 100, 333, 64, 64, 4, 150, 20, 0, {333, 333}},
};
static const logical training_cases[] = {
    {"fusion_attention", 2, 4, 2, 70, 130, 64, 64, 3, 0, 0, 0, {130, 130}},
    {"fusion_attention", 3, 2, 1, 130, 190, 20, 20, 0, 0, 0, 0, {190, 190, 190}},
    {"fusion_attention", 2, 6, 3, 3, 600, 33, 17, 4, 400, 0, 0, {600, 600}},
};
static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};

static bool ragged(const logical *p)
{
    for (int64_t i = 0; i < p->b; i++)
        if (p->kv_len[i] != p->skv) return true;
    return false;
}

static void check_variants(const logical *p, const variant *variants, int n, const char *isa)
{
    const variant base = {"BNSD", 0, 0, false, -1, 1};
    result all = run(p, &base, isa);
    assert_not_trivial(&all);
    for (int i = 0; i < n; i++) {
        if (ragged(p) && strchr(variants[i].layout, 'T') && !variants[i].block_size) continue;
        result r = run(p, &variants[i], isa);
        assert_same(p, &variants[i], isa, &all, &r);
        result_free(&r);
    }
    result_free(&all);
}

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static void inference_is_the_same_bits(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"BNSD", 0, 0, false, -1, 1},  {"BNSD", 0, 0, false, -1, 2},  {"BNSD", 0, 0, false, -1, 7},
        {"BNSD", 3, 0, false, -1, 2},  {"BSND", 0, 0, false, -1, 3},  {"BSND", 1, 0, false, -1, 2},
        {"BSH", 0, 0, false, -1, 2},   {"BSH", 5, 0, false, -1, 1},   {"TND", 0, 0, false, -1, 2},
        {"BNSD", 0, 0, false, 1, 2},   {"BSND", 0, 0, false, 0, 1},   {"TND", 2, 0, false, 1, 2},
        {"BSH", 0, 16, false, -1, 2},  {"BNSD", 0, 16, true, -1, 2},  {"BNSD", 1, 5, true, -1, 3},
        {"BSND", 0, 64, false, -1, 1}, {"BSH", 0, 1000, false, 1, 2}, {"BNSD", 0, 128, false, 0, 2},
        {"TND", 0, 16, true, -1, 2},   {"TND", 0, 33, false, 1, 1},   {"BNSD", 0, 1, true, -1, 2},
    };
    for (const char *const *isa = isa_available_names(); *isa; isa++)
        for (int c = 0; c < COUNT(infer_cases); c++)
            for (int t = 0; t < COUNT(dtypes); t++) {
                logical p = infer_cases[c];
                p.dtype = dtypes[t];
                check_variants(&p, variants, COUNT(variants), *isa);
            }
}

static void training_is_the_same_bits(void **state)
{
    (void)state;
    static const variant variants[] = {
        {"BNSD", 0, 0, false, -1, 1}, {"BNSD", 0, 0, false, -1, 5}, {"BNSD", 3, 0, false, -1, 2},
        {"BSND", 0, 0, false, -1, 2}, {"BSH", 0, 0, false, -1, 2},  {"SBH", 0, 0, false, -1, 2},
        {"SBH", 1, 0, false, -1, 3},  {"TND", 0, 0, false, -1, 2},  {"TND", 4, 0, false, 1, 1},
        {"BSND", 0, 0, false, 1, 2},  {"SBH", 0, 0, false, 0, 1},
    };
    for (const char *const *isa = isa_available_names(); *isa; isa++)
        for (int c = 0; c < COUNT(training_cases); c++)
            for (int t = 0; t < COUNT(dtypes); t++) {
                logical p = training_cases[c];
                p.dtype = dtypes[t];
                check_variants(&p, variants, COUNT(variants), *isa);
            }
}

/* Two ways to ask for the same thing. */
static void a_window_that_covers_everything_is_no_window(void **state)
{
    (void)state;
    const variant v = {"BNSD", 0, 0, false, -1, 2};
    for (int t = 0; t < COUNT(dtypes); t++) {
        logical full = training_cases[1], window = full;
        full.dtype = window.dtype = dtypes[t];
        window.mode = 4, window.pre = 190, window.next = 190;
        result a = run(&full, &v, NULL), b = run(&window, &v, NULL);
        assert_same(&full, &v, "default", &a, &b);
        result_free(&a), result_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inference_is_the_same_bits),
        cmocka_unit_test(training_is_the_same_bits),
        cmocka_unit_test(a_window_that_covers_everything_is_no_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
