/* SPDX-License-Identifier: Apache-2.0 */
/* forward.c — whole runs of the cpu backend against a naive double loop, every element inside the
 * bound of the contract: random lengths, bands, dense masks, biases, sinks, head ratios, head dims,
 * layouts, pages and dtypes, on every instruction set of this machine. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/context.h"
#include "cpu/isa.h"
#include "sample.h"

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};

static storage random_storage(rng *r)
{
    static const int64_t pages[] = {0, 0, 0, 1, 7, 16, 64, 128}, chunks[] = {0, 0, 0, 0, 16, 32, 5};
    return (storage){.packed = rng_between(r, 0, 1),
                     .heads_first = rng_between(r, 0, 1),
                     .gap = rng_between(r, 0, 2) ? 0 : rng_between(r, 1, 5),
                     .col_stride = rng_between(r, 0, 5) ? 1 : 2,
                     .page_rows = pages[rng_between(r, 0, 7)],
                     .wide_table = rng_between(r, 0, 1),
                     .chunk = chunks[rng_between(r, 0, 6)],
                     .shared = rng_between(r, 0, 2) == 0,
                     .list = rng_between(r, 0, 3) == 0};
}

/* Half a unit in the last place of a value of this dtype. */
static double half_ulp(fattn_dtype dtype, double value)
{
    const int bits = dtype == FATTN_F32 ? 24 : dtype == FATTN_F16 ? 11 : 8;
    const double smallest = dtype == FATTN_F16 ? 0x1p-25 : 0x1p-150;
    int exponent;
    frexp(value, &exponent);
    return fmax(ldexp(0.5, exponent - bits), smallest);
}

static void check_stats(const sample *s, int b, int64_t head, int64_t i, const naive_row *want)
{
    const fattn_seq *seq = &s->seqs[b];
    const int64_t at = seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
    const double max = (double)((float *)s->ptrs.max)[at], sum = (double)((float *)s->ptrs.sum)[at];
    const double lse =
        (double)s->ptrs.lse[seq->lse_base + head * seq->lse_head_stride + i * seq->lse_row_stride];
    const double total = want->max + log(want->sum);
    const bool good = fabs(lse - want->lse) <= want->lse_bound &&
                      fabs(max + log(sum) - total) <= 2 * want->lse_bound &&
                      fabs(max - want->max) <= 0x1p-20 * fmax(1.0, fabs(want->max)) +
                                                   0x1p-24 * 300.0 * fmax(8.0, fabs(want->max));
    if (!good || ((float *)s->ptrs.max)[at + 1] != ((float *)s->ptrs.max)[at] || ((float *)s->ptrs.sum)[at + 1] != ((float *)s->ptrs.sum)[at])
        fail_msg("seq %d head %lld row %lld: max %.9g sum %.9g lse %.9g, not %.9g %.9g %.9g: %s", b,
                 (long long)head, (long long)i, max, sum, lse, want->max, want->sum, want->lse,
                 sample_print(s));
}

static void check_empty(const sample *s, int b, int64_t head, int64_t i)
{
    const fattn_seq *seq = &s->seqs[b];
    const int64_t at = seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
    bool window = false;
    for (int64_t j = 0; j < seq->kv_len; j++)
        window = window || (j >= i + seq->band_lo && (j <= i + seq->band_hi || j < seq->prefix));
    const fattn_empty *want = seq->kv_len == 0 ? &s->p.empty_no_keys
                              : window         ? &s->p.empty_masked
                                               : &s->p.empty_no_window;
    const bool sunk = s->p.sink && s->p.sink_in_stats;
    const float max = sunk ? ((const float *)s->ptrs.sink)[head] : want->max;
    const float sum = sunk ? 1.0f : want->sum;
    const float lse = s->ptrs.lse[seq->lse_base + head * seq->lse_head_stride + i];
    if (((float *)s->ptrs.max)[at] != max || ((float *)s->ptrs.sum)[at] != sum || lse != want->lse)
        fail_msg("empty row %lld of seq %d head %lld: %g %g %g: %s", (long long)i, b,
                 (long long)head, (double)((float *)s->ptrs.max)[at], (double)((float *)s->ptrs.sum)[at], (double)lse,
                 sample_print(s));
}

static void check_row(const sample *s, int b, int64_t head, int64_t i)
{
    naive_row want;
    sample_naive(s, b, head, i, &want);
    const double *got = s->out_bits[b] + (head * s->seqs[b].q_len + i) * s->p.d_v;
    for (int64_t c = 0; c < s->p.d_v; c++) {
        const double bound = half_ulp(s->p.out.dtype, want.out[c]) + 2.0 * want.bound[c];
        if (!(fabs(got[c] - want.out[c]) <= (want.visible ? bound : 0.0)))
            fail_msg("seq %d head %lld row %lld column %lld: %.9g, not %.9g (bound %.3g): %s", b,
                     (long long)head, (long long)i, (long long)c, got[c], want.out[c], bound,
                     sample_print(s));
    }
    if (want.visible)
        check_stats(s, b, head, i, &want);
    else
        check_empty(s, b, head, i);
}

static void check_all(const sample *s)
{
    for (int b = 0; b < s->p.n_seqs; b++)
        for (int64_t head = 0; head < s->p.n_heads; head++)
            for (int64_t i = 0; i < s->seqs[b].q_len; i++) check_row(s, b, head, i);
}

static void run_rounds(const sample_limits *limits, uint64_t first, uint64_t rounds)
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_context(isa_name((fattn_isa)isa), 2);
        if (!context) continue;
        for (uint64_t seed = first; seed < first + rounds; seed++) {
            rng r = rng_new(seed ^ 99);
            const storage how = random_storage(&r);
            sample s;
            sample_make(&s, seed, dtypes[seed % 3], limits, &how);
            sample_run(&s, context);
            check_all(&s);
            sample_free(&s);
        }
        fattn_context_destroy(context);
    }
}

static void prefill(void **state)
{
    (void)state;
    const sample_limits limits = {.q_len = 150,
                                  .kv_len = 200,
                                  .group = 3,
                                  .n_kv_heads = 2,
                                  .d = 40,
                                  .dense_mask = true,
                                  .bias = true,
                                  .sink = true,
                                  .empty_rows = true};
    run_rounds(&limits, 1000, 60);
}

static void decode(void **state)
{
    (void)state;
    const sample_limits limits = {.q_len = 3,
                                  .kv_len = 1500,
                                  .group = 5,
                                  .n_kv_heads = 2,
                                  .d = 70,
                                  .dense_mask = true,
                                  .bias = true,
                                  .sink = true,
                                  .empty_rows = true};
    run_rounds(&limits, 2000, 60);
}

static void wide_heads(void **state)
{
    (void)state;
    const sample_limits limits = {
        .q_len = 20, .kv_len = 90, .group = 12, .n_kv_heads = 1, .d = 256};
    run_rounds(&limits, 3000, 20);
}

/* One number by hand: q.k = 0 everywhere, so out is the mean of v, l = 2, lse = ln 2. */
static void by_hand(void **state)
{
    (void)state;
    const sample_limits limits = {.q_len = 1, .kv_len = 1, .group = 1, .n_kv_heads = 1, .d = 1};
    const storage plain = {.col_stride = 1};
    fattn_context *context = sample_context("scalar", 1);
    sample s;
    sample_make(&s, 3, FATTN_F32, &limits, &plain);
    float q = 0.0f, k[2] = {1.0f, -1.0f}, v[2] = {3.0f, 5.0f};
    s.p.n_seqs = 1;
    s.p.k.n_parts = s.p.q.n_parts = 1;
    s.seqs[0] = (fattn_seq){.q_len = 1, .kv_len = 2, .band_lo = -3, .band_hi = 3};
    s.p.k.part[0] = s.p.v.part[0] = (fattn_part){.d = 1, .row_stride = 1, .col_stride = 1};
    s.ptrs.q[0] = &q;
    s.ptrs.k[0] = k;
    s.ptrs.v = v;
    sample_run(&s, context);
    assert_true(s.out_bits[0][0] == 4.0);
    assert_true(((float *)s.ptrs.max)[0] == 0.0f && ((float *)s.ptrs.sum)[0] == 2.0f);
    assert_true(fabs((double)s.ptrs.lse[0] - log(2.0)) < 1e-7);
    sample_free(&s);
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(prefill),
        cmocka_unit_test(decode),
        cmocka_unit_test(wide_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
