/* SPDX-License-Identifier: Apache-2.0 */
/* same_bits.c — a row's bits depend on its own sequence and the ISA only: not on threads, executor,
 * order of the items, workspace, batch neighbours, layout, strides, pages or their size. Compared
 * with memcmp. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/context.h"
#include "base/ints.h"
#include "core/backend.h"
#include "core/mask.h"
#include "cpu/plan.h"
#include "sample.h"

enum { ROUNDS = 32, HALF_ROUNDS = 8, SHAPES = 4 };

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
static const storage plain = {.heads_first = true, .col_stride = 1};
static const sample_limits shapes[SHAPES] = {
    {.q_len = 150,
     .kv_len = 200,
     .group = 4,
     .n_kv_heads = 2,
     .d = 40,
     .dense_mask = true,
     .bias = true,
     .sink = true,
     .empty_rows = true},
    {.q_len = 2,
     .kv_len = 1500,
     .group = 3,
     .n_kv_heads = 2,
     .d = 64,
     .dense_mask = true,
     .bias = true,
     .sink = true,
     .empty_rows = true},
    {.q_len = 14,
     .kv_len = 1200,
     .group = 6,
     .n_kv_heads = 2,
     .d = 33,
     .dense_mask = true,
     .bias = true,
     .empty_rows = true},
    /* so many splits that an item takes several, and how many depends on threads and batch */
    {.q_len = 1, .kv_len = 6000, .group = 3, .n_kv_heads = 2, .d = 40, .dense_mask = true},
};

/* A caller's executor: last item first, workers in turn. */
static void backwards(void *self, fattn_task task, void *arg, int64_t n)
{
    const int workers = *(const int *)self;
    for (int64_t i = n - 1; i >= 0; i--) task(arg, i, (int)(i % workers));
}

static fattn_context *hooked_context(const fattn_context *like, int *workers)
{
    fattn_context_options options;
    fattn_context *context = NULL;
    fattn_context_options_init(&options);
    options.isa = isa_name(like->isa);
    options.compute = like->compute;
    options.executor =
        (fattn_executor){.self = workers, .n_workers = *workers, .parallel_for = backwards};
    return fattn_context_create(&context, &options) == FATTN_OK ? context : NULL;
}

static void compare_seq(const sample *a, const sample *b, int seq, const char *what)
{
    const fattn_seq *x = &a->seqs[seq], *y = &b->seqs[seq];
    const size_t rows = (size_t)(a->p.n_heads * x->q_len);
    const bool same =
        memcmp(a->out_bits[seq], b->out_bits[seq], rows * (size_t)a->p.d_v * sizeof(double)) == 0 &&
        memcmp((float *)a->ptrs.max + x->stats_base, (float *)b->ptrs.max + y->stats_base,
               2 * rows * sizeof(float)) == 0 &&
        memcmp((float *)a->ptrs.sum + x->stats_base, (float *)b->ptrs.sum + y->stats_base,
               2 * rows * sizeof(float)) == 0 &&
        memcmp(a->ptrs.lse + x->lse_base, b->ptrs.lse + y->lse_base, rows * sizeof(float)) == 0;
    if (!same) fail_msg("%s changes the bits of sequence %d: %s", what, seq, sample_print(b));
}

static void compare(const sample *a, const sample *b, const char *what)
{
    for (int seq = 0; seq < a->p.n_seqs; seq++) compare_seq(a, b, seq, what);
}

typedef void (*sample_check)(sample *s, fattn_context *context, const sample_limits *limits);

static void one_sample(sample_check check, fattn_context *context, uint64_t seed, fattn_dtype dtype)
{
    const sample_limits *limits = &shapes[seed % SHAPES];
    sample s;
    sample_make(&s, seed, dtype, limits, &plain);
    sample_run(&s, context);
    check(&s, context, limits);
    sample_free(&s);
}

/* Runs check(sample, context, limits) for random samples, on every instruction set, and f16 ones in fp16
 * arithmetic, which the scalar set is slow at; the sample has been run with one thread. */
static void for_samples(sample_check check)
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        for (uint64_t seed = 1; seed <= ROUNDS; seed++)
            one_sample(check, context, seed, dtypes[seed / SHAPES % 3]);
        fattn_context_destroy(context);

        context = sample_half_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        for (uint64_t seed = 1; seed <= HALF_ROUNDS; seed++)
            one_sample(check, context, seed, FATTN_F16);
        fattn_context_destroy(context);
    }
}

static void check_threads(sample *s, fattn_context *context, const sample_limits *limits)
{
    static const int threads[] = {2, 5};
    sample other;
    sample_make(&other, s->seed, s->p.q.dtype, limits, &plain);
    sample_run(&other, context);
    compare(s, &other, "running again");
    for (int t = 0; t < 2; t++) {
        fattn_context *many = sample_context_like(context, threads[t]);
        sample_run(&other, many);
        compare(s, &other, "our pool");
        fattn_context_destroy(many);

        int workers = threads[t];
        many = hooked_context(context, &workers);
        sample_run(&other, many);
        compare(s, &other, "a caller's executor");
        fattn_context_destroy(many);
    }
    sample_free(&other);
}

static void any_threads(void **state)
{
    (void)state;
    for_samples(check_threads);
}

static void check_storages(sample *s, fattn_context *context, const sample_limits *limits)
{
    static const storage others[] = {
        {.col_stride = 1},
        {.col_stride = 1, .packed = true},
        {.col_stride = 1, .heads_first = true, .gap = 3},
        {.col_stride = 3, .gap = 1},
        {.col_stride = 1, .page_rows = 1},
        {.col_stride = 1, .page_rows = 7, .heads_first = true, .wide_table = true},
        {.col_stride = 1, .page_rows = 16},
        {.col_stride = 1, .page_rows = 64, .heads_first = true},
        {.col_stride = 1, .page_rows = 100, .gap = 2},
        {.col_stride = 2, .page_rows = 128},
        {.col_stride = 1, .page_rows = 16, .chunk = 16},
        {.col_stride = 1, .page_rows = 128, .chunk = 32},
        {.col_stride = 1, .page_rows = 7, .chunk = 5},
        {.col_stride = 1, .shared = true},
        {.col_stride = 1, .list = true},
        {.col_stride = 2, .heads_first = true, .list = true, .shared = true},
    };
    for (size_t n = 0; n < sizeof others / sizeof *others; n++) {
        sample other;
        sample_make(&other, s->seed, s->p.q.dtype, limits, &others[n]);
        sample_run(&other, context);
        compare(s, &other, "storage");
        sample_free(&other);
    }
}

static void any_storage(void **state)
{
    (void)state;
    for_samples(check_storages);
}

/* Each sequence alone; the outputs of the others stay as they were. */
static void check_alone(sample *s, fattn_context *context, const sample_limits *limits)
{
    for (int seq = 0; seq < s->p.n_seqs; seq++) {
        sample other;
        sample_make(&other, s->seed, s->p.q.dtype, limits, &plain);
        const int64_t n = other.p.n_seqs;
        other.p.seqs = &other.seqs[seq];
        other.p.n_seqs = 1;
        sample_run(&other, context);
        other.p.n_seqs = n;
        sample_collect(&other);
        compare_seq(s, &other, seq, "batch neighbours");
        sample_free(&other);
    }
}

static void any_neighbours(void **state)
{
    (void)state;
    for_samples(check_alone);
}

/* Hides by a dense mask what the windows of the rows leave out, and opens the windows. false when some row sees
 * nothing (a rule decides about it) or the keys of a sequence are split (a window's splits are fewer). */
static bool mask_windows(sample *s)
{
    int64_t rows = 1, cols = 1;
    for (int b = 0; b < s->p.n_seqs; b++) {
        rows = i64_max(rows, s->seqs[b].q_len);
        cols = i64_max(cols, s->seqs[b].kv_len);
    }
    uint8_t *cells = calloc((size_t)s->p.n_seqs, (size_t)rows * (size_t)cols);
    assert_non_null(cells);
    s->memory[s->n_memory++] = cells;
    for (int b = 0; b < s->p.n_seqs; b++) {
        fattn_seq *seq = &s->seqs[b];
        if (seq->q_len <= SPLIT_Q_LEN) return false;
        for (int64_t i = 0; i < seq->q_len; i++) {
            const fattn_interval seen = mask_interval(seq, i);
            if (seen.lo >= seen.hi) return false;
            for (int64_t j = 0; j < seq->kv_len; j++)
                cells[(b * rows + i) * cols + j] = j < seen.lo || j >= seen.hi;
        }
        seq->mask_base = b * rows * cols, seq->mask_row_stride = cols, seq->mask_from = 0;
        seq->band_lo = -(seq->q_len + seq->kv_len), seq->band_hi = seq->q_len + seq->kv_len;
        seq->prefix = 0;
    }
    s->p.mask = (fattn_mask){.present = true, .col_stride = 1};
    s->ptrs.mask = cells;
    return true;
}

/* Narrow windows, so that late rows begin inside a tile. */
static void narrow_windows(sample *s, uint64_t seed)
{
    for (int b = 0; b < s->p.n_seqs; b++) {
        s->seqs[b].band_lo = -(int64_t)(11 + seed % 50);
        s->seqs[b].band_hi = (int64_t)(seed % 30);
        s->seqs[b].prefix = 0;
    }
}

static void windows_on(fattn_context *context, fattn_dtype dtype, uint64_t rounds)
{
    static const sample_limits limits = {
        .q_len = 150, .kv_len = 300, .group = 3, .n_kv_heads = 2, .d = 40};
    int compared = 0;
    for (uint64_t seed = 1; seed <= rounds; seed++) {
        sample s, masked;
        sample_make(&s, seed, dtype, &limits, &plain);
        sample_make(&masked, seed, dtype, &limits, &plain);
        if (seed % 2) narrow_windows(&s, seed), narrow_windows(&masked, seed);
        if (mask_windows(&masked)) {
            sample_run(&s, context);
            sample_run(&masked, context);
            compare(&s, &masked, "a mask instead of the windows");
            compared++;
        }
        sample_free(&s);
        sample_free(&masked);
    }
    assert_true(compared > 5);
}

/* It makes no difference who hides a key. */
static void windows_as_masks(void **state)
{
    (void)state;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        windows_on(context, FATTN_F32, 60);
        fattn_context_destroy(context);
        context = sample_half_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        windows_on(context, FATTN_F16, 60);
        fattn_context_destroy(context);
    }
}

/* Shared kv heads give the bits of the same heads repeated, where both sides use one kernel family.
 */
static void expand_heads(fattn_context *context, fattn_dtype dtype)
{
    static const sample_limits big = {
        .q_len = 150, .kv_len = 300, .group = 4, .n_kv_heads = 1, .d = 32};
    int compared = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        sample s, wide;
        sample_make(&s, seed, dtype, &big, &plain);
        sample_make(&wide, seed, dtype, &big, &plain);
        bool same_family = s.p.k.n_parts == 1;
        for (int b = 0; b < s.p.n_seqs; b++) same_family = same_family && s.seqs[b].q_len >= 16;
        if (same_family) {
            wide.p.n_kv_heads = wide.p.n_heads;
            wide.p.group = 1;
            wide.p.k.part[0].head_stride = 0; /* every query head reads the one kv head */
            wide.p.v.part[0].head_stride = 0;
            sample_run(&s, context);
            sample_run(&wide, context);
            compare(&s, &wide, "repeating the kv head");
            compared++;
        }
        sample_free(&s);
        sample_free(&wide);
    }
    assert_true(compared > 5);
    fattn_context_destroy(context);
}

static void expanded_heads(void **state)
{
    (void)state;
    expand_heads(sample_context(isa_name(isa_best()), 1), FATTN_F32);
    expand_heads(sample_half_context("scalar", 1), FATTN_F16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_threads),
        cmocka_unit_test(any_storage),
        cmocka_unit_test(any_neighbours),
        cmocka_unit_test(windows_as_masks),
        cmocka_unit_test(expanded_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
