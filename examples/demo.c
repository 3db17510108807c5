/* SPDX-License-Identifier: Apache-2.0 */
/* demo.c — the main job on real tensors: what an inference engine does with one attention layer of
 * a trained model, step by step. Prefill, decode through a paged cache, unified inference with
 * log-sum-exp, merging partial results, a training step forward and backward with dropout; then the
 * same operators against standard attention.
 *
 *   demo [DIR]     DIR has q.npy, k.npy, v.npy, tokens.npy; see data/README.md
 *
 * Every result is compared with float64 (fattn/verify.h). Exits 1 when an element is outside its
 * bound. */
#include "demo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROMPT = 256 /* tokens of the prompt; the rest is decoded */,
    BLOCK = 16 /* rows of a cache block */
};

static void print_warning(void *self, const char *place, const char *sentence)
{
    (void)self;
    printf("   warning (%s): %s\n", place, sentence);
}

/* Prefill: causal, the last query sees the last key. */
static fattn_prompt_flash_attention_args prompt_args(const demo *d, const fattn_tensor *q,
                                                     const fattn_tensor *k, const fattn_tensor *v,
                                                     const fattn_tensor *out)
{
    fattn_prompt_flash_attention_args a;
    fattn_prompt_flash_attention_args_init(&a);
    a.query = q, a.key = k, a.value = v, a.attention_out = out;
    a.num_heads = d->n_heads;
    a.num_key_value_heads = d->n_kv_heads;
    a.scale_value = d->scale;
    a.input_layout = "BNSD";
    a.sparse_mode = 3;
    a.pre_tokens = 65535;
    a.next_tokens = 0;
    return a;
}

static void prefill(demo *d)
{
    const fattn_tensor q = demo_span(&d->q, 0, PROMPT), k = demo_span(&d->k, 0, PROMPT),
                       v = demo_span(&d->v, 0, PROMPT);
    const fattn_tensor out = demo_tensor(d, FATTN_F16, 4, q.shape);
    const fattn_prompt_flash_attention_args a = prompt_args(d, &q, &k, &v, &out);
    demo_title(d, "prefill: prompt_flash_attention, %d tokens, causal", PROMPT);
    const double ms = demo_time(d, "prompt_flash_attention", &a);
    demo_report(d, "prompt_flash_attention", &a, ms);
}

/* The decoding engine: a paged cache with one sequence, and the integers of advance_step. */
typedef struct engine {
    fattn_kv_cache *cache;
    int64_t sequence;
    fattn_tensor keys, values; /* the cache's own */
    fattn_tensor table;        /* i64 [1, blocks] */
    int64_t token, sampled, position, length, slot;
} engine;

static engine engine_open(demo *d)
{
    engine e = {0};
    fattn_kv_cache_options options;
    fattn_kv_cache_options_init(&options);
    options.dtype = FATTN_F16;
    options.block_size = BLOCK;
    options.n_blocks = (d->length + BLOCK - 1) / BLOCK;
    options.n_kv_heads = d->n_kv_heads;
    options.head_dim = d->dim;
    demo_must(fattn_kv_cache_create(d->context, &options, &e.cache), "cache");
    demo_must(fattn_kv_cache_add(e.cache, &e.sequence), "cache");
    demo_must(fattn_kv_cache_tensors(e.cache, 0, &e.keys, &e.values), "cache");
    const int64_t shape[] = {1, options.n_blocks};
    e.table = demo_tensor(d, FATTN_I64, 2, shape);

    const fattn_tensor keys = demo_rows(&d->k, 0, PROMPT), values = demo_rows(&d->v, 0, PROMPT);
    demo_must(fattn_kv_cache_append(e.cache, e.sequence, &keys, &values), "append of the prompt");
    e.length = PROMPT;
    return e;
}

/* One token more: room in the cache, then the step's integers, then the token's key and value. */
static void advance(demo *d, engine *e)
{
    const int64_t one[] = {1, 1}, t = e->length;
    const fattn_tensor token = fattn_tensor_contiguous(&e->token, FATTN_I64, 1, one);
    const fattn_tensor sampled = fattn_tensor_contiguous(&e->sampled, FATTN_I64, 2, one);
    const fattn_tensor position = fattn_tensor_contiguous(&e->position, FATTN_I64, 1, one);
    const fattn_tensor length = fattn_tensor_contiguous(&e->length, FATTN_I64, 1, one);
    const fattn_tensor slot = fattn_tensor_contiguous(&e->slot, FATTN_I64, 1, one);
    demo_must(fattn_kv_cache_extend(e->cache, e->sequence, 1), "extend");
    demo_must(fattn_kv_cache_block_table(e->cache, &e->sequence, 1, &e->table), "block table");

    fattn_advance_step_flashattn_args a;
    fattn_advance_step_flashattn_args_init(&a);
    a.input_tokens = &token, a.sampled_token_ids = &sampled, a.input_positions = &position;
    a.seq_lens = &length, a.slot_mapping = &slot, a.block_tables = &e->table;
    a.num_seqs = a.num_queries = 1;
    a.block_size = BLOCK;
    e->sampled = ((const int64_t *)d->tokens.data)[t]; /* the model's own next token */
    demo_must(fattn_advance_step_flashattn(d->context, &a), "advance_step_flashattn");

    int64_t expected_slot = -1;
    const fattn_tensor expected = fattn_tensor_contiguous(&expected_slot, FATTN_I64, 1, one);
    demo_must(fattn_kv_cache_slot_mapping(e->cache, e->sequence, t, 1, &expected), "slot mapping");
    if (e->token != e->sampled || e->position != t || e->length != t + 1 ||
        e->slot != expected_slot)
        demo_failure(
            d, "advance_step at token %lld: position %lld, length %lld, slot %lld (cache: %lld)",
            (long long)t, (long long)e->position, (long long)e->length, (long long)e->slot,
            (long long)expected_slot);

    const fattn_tensor key = demo_rows(&d->k, t, 1), value = demo_rows(&d->v, t, 1);
    demo_must(fattn_kv_cache_write(e->cache, 0, e->sequence, t, &key, &value), "write");
}

static fattn_incre_flash_attention_args incre_args(const demo *d, const engine *e,
                                                   const fattn_tensor *q, const fattn_tensor *out)
{
    fattn_incre_flash_attention_args a;
    fattn_incre_flash_attention_args_init(&a);
    a.query = q, a.key = &e->keys, a.value = &e->values, a.attention_out = out;
    a.num_heads = d->n_heads;
    a.num_key_value_heads = d->n_kv_heads;
    a.scale_value = d->scale;
    a.input_layout = "BNSD";
    a.block_table = &e->table;
    a.block_size = BLOCK;
    a.actual_seq_lengths = (fattn_int_array){&e->length, 1};
    return a;
}

/* Elements of two equal views that are the same bits. */
static double same_share(const fattn_tensor *a, const fattn_tensor *b)
{
    int64_t same = 0, all = 0;
    for (int64_t h = 0; h < a->shape[1]; h++)
        for (int64_t t = 0; t < a->shape[2]; t++)
            for (int64_t i = 0; i < a->shape[3]; i++, all++) {
                const int64_t at_a = h * a->strides[1] + t * a->strides[2] + i * a->strides[3];
                const int64_t at_b = h * b->strides[1] + t * b->strides[2] + i * b->strides[3];
                same += ((const uint16_t *)a->data)[at_a] == ((const uint16_t *)b->data)[at_b];
            }
    return (double)same / (double)all;
}

/* The decoded rows are the last rows of one prefill over all tokens. */
static void compare_with_prefill(demo *d, const fattn_tensor *decoded)
{
    const int64_t n = d->length - PROMPT;
    const fattn_tensor all = demo_tensor(d, FATTN_F16, 4, d->q.shape);
    const fattn_prompt_flash_attention_args whole = prompt_args(d, &d->q, &d->k, &d->v, &all);
    demo_time(d, "prompt_flash_attention", &whole);
    const fattn_tensor q = demo_span(&d->q, PROMPT, n), tail = demo_span(&all, PROMPT, n);
    const fattn_prompt_flash_attention_args last = prompt_args(d, &q, &d->k, &d->v, decoded);
    fattn_verify_report report;
    demo_check(d, "prompt_flash_attention", &whole, &report);
    demo_check(d, "prompt_flash_attention", &last, &report);
    demo_note(
        "equal   to one prefill of all %lld tokens: worst %.2f of its bound, %.2f %% correctly "
        "rounded, %.2f %% the same bits",
        (long long)d->length, report.worst, 100 * report.correctly_rounded,
        100 * same_share(decoded, &tail));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void decode(demo *d, engine *e)
{
    enum { MAX_STEPS = 4096 };
    static double ms[MAX_STEPS];
    const int64_t steps = d->length - PROMPT, shape[] = {1, d->n_heads, steps, d->dim};
    const fattn_tensor decoded = demo_tensor(d, FATTN_F16, 4, shape);
    double worst = 0;
    demo_title(
        d,
        "decode: %lld steps of advance_step_flashattn and incre_flash_attention, cache blocks "
        "of %d rows",
        (long long)steps, BLOCK);
    for (int64_t i = 0; i < steps; i++) {
        const fattn_tensor q = demo_span(&d->q, PROMPT + i, 1), out = demo_span(&decoded, i, 1);
        const double start = demo_now();
        advance(d, e);
        const fattn_incre_flash_attention_args a = incre_args(d, e, &q, &out);
        demo_must(fattn_incre_flash_attention(d->context, &a), "incre_flash_attention");
        ms[i % MAX_STEPS] = demo_now() - start;
        fattn_verify_report report;
        worst = fmax(worst, demo_check(d, "incre_flash_attention", &a, &report));
    }
    const size_t n = (size_t)(steps < MAX_STEPS ? steps : MAX_STEPS);
    qsort(ms, n, sizeof *ms, by_value);
    demo_note("time    %.3f ms per step (median), advancing and writing the cache included",
              ms[n / 2]);
    demo_note("error   worst %.2f of its bound against float64, over all steps", worst);
    fattn_kv_cache_usage usage = {.size = sizeof usage};
    demo_must(fattn_kv_cache_get_usage(e->cache, &usage), "cache");
    demo_note("memory  the cache: %lld of %lld blocks in use, %.1f kB",
              (long long)usage.used_blocks, (long long)usage.n_blocks, (double)usage.bytes * 1e-3);
    compare_with_prefill(d, &decoded);
}

static fattn_fused_infer_attention_score_args
fused_args(const demo *d, const fattn_tensor *q, const fattn_tensor *k, const fattn_tensor *v,
           const fattn_tensor *out, const fattn_tensor *lse)
{
    fattn_fused_infer_attention_score_args a;
    fattn_fused_infer_attention_score_args_init(&a);
    a.query = q, a.key = k, a.value = v, a.attention_out = out, a.softmax_lse = lse;
    a.num_heads = d->n_heads;
    a.num_key_value_heads = d->n_kv_heads;
    a.scale = d->scale;
    a.input_layout = "BNSD";
    a.softmax_lse_flag = true;
    return a;
}

/* Unified inference over the cache that the decode steps filled. Returns lse. */
static fattn_tensor unified(demo *d, const engine *e)
{
    const int64_t lse_shape[] = {1, d->n_heads, d->length, 1};
    const fattn_tensor out = demo_tensor(d, FATTN_F16, 4, d->q.shape);
    const fattn_tensor lse = demo_tensor(d, FATTN_F32, 4, lse_shape);
    fattn_fused_infer_attention_score_args a =
        fused_args(d, &d->q, &e->keys, &e->values, &out, &lse);
    a.block_table = &e->table;
    a.block_size = BLOCK;
    a.actual_seq_lengths = a.actual_seq_lengths_kv = (fattn_int_array){&e->length, 1};
    a.sparse_mode = 3;
    a.pre_tokens = 65535;
    a.next_tokens = 0;
    demo_title(d,
               "unified: fused_infer_attention_score over the cache, %lld tokens, with softmax_lse",
               (long long)d->length);
    const double ms = demo_time(d, "fused_infer_attention_score", &a);
    demo_report(d, "fused_infer_attention_score", &a, ms);
    return lse;
}

/* The last tokens see the first half of the keys and the second half in two calls, as on two
 * devices; the parts are merged by their lse. In fp32, so that the parts are not rounded to 16 bits
 * in between. */
static void merge(demo *d)
{
    const int64_t n = d->length - PROMPT, half = d->length / 2, m = d->n_heads * n;
    const fattn_tensor last = demo_span(&d->q, PROMPT, n);
    const fattn_tensor q = demo_widen(d, &last), k = demo_widen(d, &d->k), v = demo_widen(d, &d->v);
    const int64_t lse_shape[] = {1, d->n_heads, n, 1}, flat_shape[] = {m, d->dim};
    fattn_tensor out[2], lse[2];
    for (int part = 0; part < 2; part++) {
        const fattn_tensor keys = demo_span(&k, part * half, part == 0 ? half : d->length - half);
        const fattn_tensor values = demo_span(&v, part * half, part == 0 ? half : d->length - half);
        out[part] = demo_tensor(d, FATTN_F32, 4, q.shape);
        lse[part] = demo_tensor(d, FATTN_F32, 4, lse_shape);
        fattn_fused_infer_attention_score_args a =
            fused_args(d, &q, &keys, &values, &out[part], &lse[part]);
        a.sparse_mode = part == 0 ? 0 : 3; /* all of the first half, the second half causally */
        demo_must(fattn_fused_infer_attention_score(d->context, &a), "a half");
    }

    const fattn_tensor whole = demo_tensor(d, FATTN_F32, 4, q.shape);
    const fattn_tensor flat_out = fattn_tensor_contiguous(whole.data, FATTN_F32, 2, flat_shape);
    fattn_tensor flat[4];
    for (int part = 0; part < 2; part++) {
        flat[part] = fattn_tensor_contiguous(lse[part].data, FATTN_F32, 1, flat_shape);
        flat[2 + part] = fattn_tensor_contiguous(out[part].data, FATTN_F32, 2, flat_shape);
    }
    const fattn_tensor *const lses[] = {&flat[0], &flat[1]}, *const outs[] = {&flat[2], &flat[3]};
    fattn_attention_update_args a;
    fattn_attention_update_args_init(&a);
    a.lse = (fattn_tensor_array){lses, 2};
    a.local_out = (fattn_tensor_array){outs, 2};
    a.out = &flat_out;
    demo_title(d, "merge: attention_update of two halves of the keys, %lld rows, fp32",
               (long long)m);
    const double ms = demo_time(d, "attention_update", &a);
    const fattn_prompt_flash_attention_args undivided = prompt_args(d, &q, &k, &v, &whole);
    demo_note("time    %.3f ms for the merge", ms);
    demo_report_error(d, "prompt_flash_attention", &undivided);
    size_t bytes = 0;
    demo_must(fattn_attention_update_workspace(d->context, &a, &bytes), "attention_update");
    demo_note("memory  %zu B beside inputs and outputs", bytes);
}

/* The training operator returns the row maximum and sum; together they are the lse of step 3. */
static void train(demo *d, const fattn_tensor *lse)
{
    const int64_t stats_shape[] = {1, d->n_heads, d->length, 8};
    const fattn_tensor out = demo_tensor(d, FATTN_F16, 4, d->q.shape);
    const fattn_tensor max = demo_tensor(d, FATTN_F32, 4, stats_shape);
    const fattn_tensor sum = demo_tensor(d, FATTN_F32, 4, stats_shape);
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    a.query = &d->q, a.key = &d->k, a.value = &d->v;
    a.attention_out = &out, a.softmax_max = &max, a.softmax_sum = &sum;
    a.head_num = d->n_heads;
    a.input_layout = "BNSD";
    a.scale = d->scale;
    a.sparse_mode = 3;
    demo_title(d,
               "training forward: fusion_attention, %lld tokens, with softmax_max and softmax_sum",
               (long long)d->length);
    const double ms = demo_time(d, "fusion_attention", &a);
    demo_report(d, "fusion_attention", &a, ms);
    double difference = 0;
    for (int64_t row = 0; row < d->n_heads * d->length; row++) {
        const double own = (double)((const float *)max.data)[row * 8] +
                           log((double)((const float *)sum.data)[row * 8]);
        difference = fmax(difference, fabs(own - (double)((const float *)lse->data)[row]));
    }
    demo_note("equal   max + log(sum) and the lse of step 3 differ by at most %.1e", difference);
}

/* Forward and backward with a tenth of the weights dropped: both derive the same mask from seed and
 * offset, nothing is stored. */
static void gradients(demo *d)
{
    const int64_t stats_shape[] = {1, d->n_heads, d->length, 8};
    const fattn_tensor out = demo_tensor(d, FATTN_F16, 4, d->q.shape);
    const fattn_tensor max = demo_tensor(d, FATTN_F32, 4, stats_shape);
    const fattn_tensor sum = demo_tensor(d, FATTN_F32, 4, stats_shape);
    const fattn_tensor dq = demo_tensor(d, FATTN_F16, 4, d->q.shape);
    const fattn_tensor dk = demo_tensor(d, FATTN_F16, 4, d->k.shape);
    const fattn_tensor dv = demo_tensor(d, FATTN_F16, 4, d->v.shape);
    fattn_fusion_attention_args a;
    fattn_fusion_attention_args_init(&a);
    a.query = &d->q, a.key = &d->k, a.value = &d->v;
    a.attention_out = &out, a.softmax_max = &max, a.softmax_sum = &sum;
    a.head_num = d->n_heads;
    a.input_layout = "BNSD";
    a.scale = d->scale;
    a.sparse_mode = 3;
    a.keep_prob = 0.9, a.seed = 1, a.offset = 0;
    demo_title(d, "training step: fusion_attention, then fusion_attention_grad, keep_prob 0.9");
    const double forward = demo_time(d, "fusion_attention", &a);
    demo_report(d, "fusion_attention", &a, forward);

    fattn_fusion_attention_grad_args g;
    fattn_fusion_attention_grad_args_init(&g);
    g.query = &d->q, g.key = &d->k, g.value = &d->v;
    g.dy = &out; /* the gradient of half the sum of squares */
    g.attention_in = &out, g.softmax_max = &max, g.softmax_sum = &sum;
    g.dq = &dq, g.dk = &dk, g.dv = &dv;
    g.head_num = d->n_heads;
    g.input_layout = "BNSD";
    g.scale_value = d->scale;
    g.sparse_mode = 3;
    g.keep_prob = a.keep_prob, g.seed = a.seed, g.offset = a.offset;
    const double backward = demo_time(d, "fusion_attention_grad", &g);
    demo_report(d, "fusion_attention_grad", &g, backward);
}

static void walk(demo *d)
{
    printf("fattn %s, %s, %d threads\n", FATTN_VERSION_STRING, fattn_context_isa(d->context),
           fattn_context_threads(d->context));
    printf("One attention layer of a trained causal decoder (data/README.md): %lld tokens,\n"
           "%lld query heads, %lld key/value heads, head dim %lld, fp16\n",
           (long long)d->length, (long long)d->n_heads, (long long)d->n_kv_heads,
           (long long)d->dim);
    prefill(d);
    engine e = engine_open(d);
    decode(d, &e);
    const fattn_tensor lse = unified(d, &e);
    merge(d);
    train(d, &lse);
    gradients(d);
    demo_table(d);
    fattn_kv_cache_destroy(e.cache);
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fprintf(stderr, "usage: demo [DIR]\n");
        return 64;
    }
    const double start = demo_now();
    demo d = {0};
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.warn = print_warning;
    options.pin_threads = 1; /* the table at the end compares times */
    demo_must(fattn_context_create(&d.context, &options), "context");
    bool fine = demo_load(&d, argc > 1 ? argv[1] : DEMO_DATA);
    if (fine && d.length <= PROMPT) {
        fprintf(stderr, "demo: more than %d tokens are needed\n", PROMPT);
        fine = false;
    }
    if (fine) {
        walk(&d);
        fine = d.failures == 0;
        printf("\n%s (%.1f s)\n", fine ? "Every result is inside its bound." : "FAILED",
               (demo_now() - start) * 1e-3);
    }
    demo_free(&d);
    fattn_context_destroy(d.context);
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
