/* SPDX-License-Identifier: Apache-2.0 */
/* backward.c — the bits of the gradients depend on the sequence and the ISA only: not on threads,
 * executor, layout, strides or batch neighbours; and cut sequences are the sum of their parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/context.h"
#include "cpu/isa.h"
#include "grad_sample.h"

enum { ROUNDS = 18 };

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
static const storage plain = {.heads_first = true, .col_stride = 1};
static const sample_limits shapes[] = {
    {.q_len = 90,
     .kv_len = 140,
     .group = 3,
     .n_kv_heads = 2,
     .d = 40,
     .dense_mask = true,
     .bias = true,
     .sink = true,
     .empty_rows = true},
    {.q_len = 200, .kv_len = 70, .group = 2, .n_kv_heads = 3, .d = 17, .sink = true, .bias = true},
    {.q_len = 4500, .kv_len = 40, .group = 4, .n_kv_heads = 1, .d = 8, .bias = true, .sink = true},
};

static void compare_seq(const grad_sample *a, const grad_sample *b, int seq, const char *what)
{
    const fattn_problem *p = &a->p;
    const fattn_seq *x = &a->s.seqs[seq];
    bool same = true;
    for (int64_t h = 0; h < p->n_heads; h++)
        for (int64_t i = 0; i < x->q_len; i++)
            for (int64_t c = 0; c < p->d_qk; c++)
                same &= grad_dq(a, seq, h, i, c) == grad_dq(b, seq, h, i, c);
    for (int64_t h = 0; h < p->n_kv_heads; h++)
        for (int64_t j = 0; j < x->kv_len; j++) {
            for (int64_t c = 0; c < p->d_qk; c++)
                same &= grad_dk(a, seq, h, j, c) == grad_dk(b, seq, h, j, c);
            for (int64_t c = 0; c < p->d_v; c++)
                same &= grad_dv(a, seq, h, j, c) == grad_dv(b, seq, h, j, c);
        }
    if (!same) fail_msg("%s changes the bits of sequence %d: %s", what, seq, sample_print(&b->s));
}

static void compare(const grad_sample *a, const grad_sample *b, const char *what)
{
    for (int seq = 0; seq < a->p.n_seqs; seq++) compare_seq(a, b, seq, what);
    if (a->p.sink && memcmp(a->dsink, b->dsink, (size_t)a->p.n_heads * sizeof(float)) != 0)
        fail_msg("%s changes the bits of dsink: %s", what, sample_print(&b->s));
    if (a->dbias && memcmp(a->dbias, b->dbias, a->dbias_bytes) != 0)
        fail_msg("%s changes the bits of dbias: %s", what, sample_print(&b->s));
}

/* A caller's executor: last item first, workers in turn. */
static void backwards(void *self, fattn_task task, void *arg, int64_t n)
{
    const int workers = *(const int *)self;
    for (int64_t i = n - 1; i >= 0; i--) task(arg, i, (int)(i % workers));
}

static fattn_context *hooked_context(const char *isa, int *workers)
{
    fattn_context_options options;
    fattn_context *context = NULL;
    fattn_context_options_init(&options);
    options.isa = isa;
    options.executor =
        (fattn_executor){.self = workers, .n_workers = *workers, .parallel_for = backwards};
    return fattn_context_create(&context, &options) == FATTN_OK ? context : NULL;
}

static void for_samples(void (*check)(grad_sample *g, fattn_context *context,
                                      const sample_limits *limits))
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            const sample_limits *limits = &shapes[seed % 3];
            grad_sample g;
            grad_make(&g, seed, dtypes[seed / 3 % 3], limits, &plain, context);
            grad_run(&g, context);
            check(&g, context, limits);
            grad_free(&g);
        }
        fattn_context_destroy(context);
    }
}

static void check_threads(grad_sample *g, fattn_context *context, const sample_limits *limits)
{
    grad_sample other;
    grad_make(&other, g->s.seed, g->p.q.dtype, limits, &plain, context);
    grad_run(&other, context);
    compare(g, &other, "running again");
    for (int threads = 2; threads <= 5; threads += 3) {
        fattn_context *many = sample_context(isa_name(context->isa), threads);
        grad_run(&other, many);
        compare(g, &other, "our pool");
        fattn_context_destroy(many);

        int workers = threads;
        many = hooked_context(isa_name(context->isa), &workers);
        grad_run(&other, many);
        compare(g, &other, "a caller's executor");
        fattn_context_destroy(many);
    }
    grad_free(&other);
}

static void any_threads(void **state)
{
    (void)state;
    for_samples(check_threads);
}

static void check_storages(grad_sample *g, fattn_context *context, const sample_limits *limits)
{
    static const storage others[] = {
        {.col_stride = 1},
        {.col_stride = 1, .packed = true},
        {.col_stride = 1, .heads_first = true, .gap = 3},
        {.col_stride = 3, .gap = 1},
    };
    for (size_t n = 0; n < sizeof others / sizeof *others; n++) {
        grad_sample other;
        grad_make(&other, g->s.seed, g->p.q.dtype, limits, &others[n], context);
        grad_run(&other, context);
        compare(g, &other, "storage");
        grad_free(&other);
    }
}

static void any_storage(void **state)
{
    (void)state;
    for_samples(check_storages);
}

/* Each sequence alone. dsink and the slopes of all are sums over the batch, so they change. */
static void check_alone(grad_sample *g, fattn_context *context, const sample_limits *limits)
{
    for (int seq = 0; seq < g->p.n_seqs; seq++) {
        grad_sample other;
        grad_make(&other, g->s.seed, g->p.q.dtype, limits, &plain, context);
        const int64_t n = other.p.n_seqs;
        other.p.seqs = &other.s.seqs[seq];
        other.p.n_seqs = 1;
        grad_run(&other, context);
        other.p.n_seqs = n;
        compare_seq(g, &other, seq, "batch neighbours");
        grad_free(&other);
    }
}

static void any_neighbours(void **state)
{
    (void)state;
    for_samples(check_alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_threads),
        cmocka_unit_test(any_storage),
        cmocka_unit_test(any_neighbours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
