/* SPDX-License-Identifier: Apache-2.0 */
/* special.c — NaN and Inf reach exactly the rows that see them; rows without a key; sinks of any
 * size; strict rounding; scores at the ends of the range. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/context.h"
#include "base/half.h"
#include "sample.h"

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
static const sample_limits tiles = {.q_len = 140,
                                    .kv_len = 200,
                                    .group = 3,
                                    .n_kv_heads = 2,
                                    .d = 24,
                                    .dense_mask = true,
                                    .empty_rows = true};
static const sample_limits dots = {.q_len = 3,
                                   .kv_len = 1100,
                                   .group = 2,
                                   .n_kv_heads = 2,
                                   .d = 24,
                                   .dense_mask = true,
                                   .empty_rows = true};

static void for_isas(void (*check)(fattn_context *context))
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        check(context);
        fattn_context_destroy(context);
    }
}

/* Those that make f16 samples of a context with fp16 arithmetic. */
static void for_isas_and_halves(void (*check)(fattn_context *context))
{
    for_isas(check);
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        fattn_context *context = sample_half_context(isa_name((fattn_isa)isa), 1);
        if (!context) continue;
        check(context);
        fattn_context_destroy(context);
    }
}

static fattn_dtype dtype_for(const fattn_context *context, fattn_dtype dtype)
{
    return context->compute == FATTN_COMPUTE_F16 ? FATTN_F16 : dtype;
}

static storage some_storage(uint64_t seed)
{
    static const storage all[] = {{.col_stride = 1, .heads_first = true},
                                  {.col_stride = 1, .page_rows = 7},
                                  {.col_stride = 2},
                                  {.col_stride = 1, .page_rows = 5, .chunk = 16},
                                  {.col_stride = 1, .list = true}};
    return all[seed % 5];
}

/* Poisons key j of one kv head in K or V and demands: rows that see it become NaN (K: all of the
 * row, V: the poisoned column is not finite), the others keep their bits. */
static void check_poison(fattn_context *context, uint64_t seed, const sample_limits *limits,
                         bool in_v, float poison)
{
    const storage how = some_storage(seed);
    sample clean, dirty;
    sample_make(&clean, seed, dtype_for(context, dtypes[seed % 3]), limits, &how);
    sample_make(&dirty, seed, dtype_for(context, dtypes[seed % 3]), limits, &how);
    rng r = rng_new(seed + 1);
    const int b = (int)rng_between(&r, 0, clean.p.n_seqs - 1);
    const fattn_seq *seq = &clean.seqs[b];
    const int64_t d = in_v ? clean.p.d_v : clean.p.d_qk;
    if (seq->kv_len > 0) {
        const int64_t kv_head = rng_between(&r, 0, clean.p.n_kv_heads - 1);
        const int64_t j = rng_between(&r, 0, seq->kv_len - 1), column = rng_between(&r, 0, d - 1);
        char *at = in_v ? sample_v_at(&dirty, b, kv_head, j, column)
                        : sample_k_at(&dirty, b, kv_head, j, column);
        sample_store(at, clean.p.v.dtype, poison);
        sample_run(&clean, context);
        sample_run(&dirty, context);
        for (int64_t head = 0; head < clean.p.n_heads; head++)
            for (int64_t i = 0; i < seq->q_len; i++) {
                const bool sees =
                    head / clean.p.group == kv_head && sample_sees(&clean, b, head, i, j);
                const int64_t row = (head * seq->q_len + i) * clean.p.d_v;
                const double *was = clean.out_bits[b] + row, *is = dirty.out_bits[b] + row;
                for (int64_t c = 0; c < clean.p.d_v; c++) {
                    const bool hit = sees && (!in_v || c == column);
                    if (hit ? isfinite(is[c]) : memcmp(&was[c], &is[c], sizeof *is) != 0)
                        fail_msg(
                            "%s key %lld %s row %lld of head %lld, column %lld: %g -> %g: %s %s",
                            in_v ? "v" : "k", (long long)j, sees ? "does not reach" : "leaks into",
                            (long long)i, (long long)head, (long long)c, was[c], is[c],
                            isa_name(context->isa), sample_print(&clean));
                }
            }
    }
    sample_free(&clean);
    sample_free(&dirty);
}

static void poison(fattn_context *context)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        check_poison(context, seed, &tiles, true, seed % 2 ? NAN : INFINITY);
        check_poison(context, seed, &dots, true, seed % 2 ? -INFINITY : NAN);
        check_poison(context, seed, &tiles, false, NAN);
        check_poison(context, seed, &dots, false, NAN);
    }
}

static void non_finite_keys(void **state)
{
    (void)state;
    for_isas_and_halves(poison);
}

/* NaN in one query row: that row only, and its statistics. */
static void poison_query(fattn_context *context)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        const storage how = some_storage(seed);
        const sample_limits *limits = seed % 2 ? &tiles : &dots;
        sample clean, dirty;
        const fattn_dtype dtype = dtype_for(context, FATTN_F32);
        sample_make(&clean, seed, dtype, limits, &how);
        sample_make(&dirty, seed, dtype, limits, &how);
        const fattn_seq *seq = &clean.seqs[0];
        if (seq->q_len > 0) {
            const int64_t poisoned = (int64_t)(seed % (uint64_t)seq->q_len);
            sample_store(sample_q_at(&dirty, 0, 0, poisoned, 0), dtype, NAN);
            sample_run(&clean, context);
            sample_run(&dirty, context);
            for (int64_t head = 0; head < clean.p.n_heads; head++)
                for (int64_t i = 0; i < seq->q_len; i++) {
                    naive_row row;
                    sample_naive(&clean, 0, head, i, &row);
                    const bool hit = head == 0 && i == poisoned && row.visible > 0;
                    const int64_t at = (head * seq->q_len + i) * clean.p.d_v;
                    const double was = clean.out_bits[0][at], is = dirty.out_bits[0][at];
                    const float max =
                        ((float *)dirty.ptrs.max)[seq->stats_base + head * seq->stats_head_stride +
                                       i * seq->stats_row_stride];
                    if (hit ? !isnan(is) || !isnan(max) : memcmp(&was, &is, sizeof is) != 0)
                        fail_msg("row %lld head %lld: %g -> %g: %s", (long long)i, (long long)head,
                                 was, is, sample_print(&clean));
                }
        }
        sample_free(&clean);
        sample_free(&dirty);
    }
}

static void non_finite_queries(void **state)
{
    (void)state;
    for_isas_and_halves(poison_query);
}

static void hide_all(sample *s)
{
    const fattn_mask *mask = &s->p.mask;
    for (int b = 0; b < s->p.n_seqs; b++) {
        fattn_seq *seq = &s->seqs[b];
        seq->mask_from = 0; /* there is room for every key */
        for (int64_t head = 0; head < s->p.n_heads; head++)
            for (int64_t i = 0; i < seq->q_len; i++)
                for (int64_t j = 0; j < seq->kv_len; j++)
                    ((uint8_t *)(uintptr_t)
                         s->ptrs.mask)[seq->mask_base + head * mask->head_stride +
                                       i * seq->mask_row_stride + j * mask->col_stride] = 1;
    }
}

/* The mean of V over the window, over all keys when the window is empty; sum counts them. */
static void means(fattn_context *context)
{
    int64_t part = 0, all = 0, late = 0; /* rows whose mean is over some keys, all, not the first */
    for (uint64_t seed = 1; seed <= 40; seed++) {
        const storage how = some_storage(seed);
        sample s;
        sample_make(&s, seed, FATTN_F32, &tiles, &how);
        s.p.empty_masked = s.p.empty_no_window =
            (fattn_empty){.mean = true, .max = -FLT_MAX, .lse = 1.0f, .lse_mean = true};
        if (s.p.mask.present && seed % 2) {
            hide_all(&s);
            for (int b = 0; b < s.p.n_seqs; b++) /* a narrow band: windows that begin later */
                if (s.seqs[b].q_len + s.seqs[b].kv_len > 30)
                    s.seqs[b].band_lo = -2, s.seqs[b].band_hi = 30;
        }
        sample_run(&s, context);
        for (int b = 0; b < s.p.n_seqs; b++)
            for (int64_t i = 0; i < s.seqs[b].q_len; i++) {
                naive_row row;
                sample_naive(&s, b, 0, i, &row);
                const fattn_seq *seq = &s.seqs[b];
                if (row.visible > 0 || seq->kv_len == 0) continue;
                double sum = 0.0, n = 0.0;
                bool from_first = true;
                for (int pass = 0; pass < 2 && n == 0.0; pass++)
                    for (int64_t j = 0; j < seq->kv_len; j++) {
                        const bool window =
                            j >= i + seq->band_lo && (j <= i + seq->band_hi || j < seq->prefix);
                        if (pass == 0 && !window) continue;
                        if (n == 0.0) from_first = j == 0;
                        sum += (double)s.v[b][j * s.p.d_v];
                        n += 1.0;
                    }
                const float got = (float)s.out_bits[b][i * s.p.d_v];
                const int64_t at = seq->stats_base + i * seq->stats_row_stride;
                const float lse = s.ptrs.lse[seq->lse_base + i];
                if (fabs((double)got - sum / n) > 1e-7 || ((float *)s.ptrs.sum)[at] != (float)n ||
                    fabs((double)lse - 1.0 - log(n)) > 1e-6)
                    fail_msg("row %lld: mean %g of %g keys, not %g: %s", (long long)i, (double)got,
                             (double)((float *)s.ptrs.sum)[at], sum / n, sample_print(&s));
                part += n < (double)seq->kv_len;
                all += n == (double)seq->kv_len;
                late += !from_first;
            }
        sample_free(&s);
    }
    assert_true(part > 10 && all > 10 && late > 10);
}

static void mean_of_empty_rows(void **state)
{
    (void)state;
    for_isas(means);
}

/* A problem of one head and one row, to be filled by hand. */
typedef struct tiny {
    sample s;
    float q[2], k[128], v[64], sink;
} tiny;

static void tiny_make(tiny *t, int64_t keys)
{
    const sample_limits limits = {.q_len = 1, .kv_len = 1, .group = 1, .n_kv_heads = 1, .d = 1};
    const storage plain = {.col_stride = 1};
    memset(t, 0, sizeof *t);
    sample_make(&t->s, 3, FATTN_F32, &limits, &plain);
    fattn_problem *p = &t->s.p;
    p->n_seqs = 1;
    p->scale = 1.0;
    p->k.n_parts = p->q.n_parts = 1;
    t->s.seqs[0] = (fattn_seq){.q_len = 1, .kv_len = keys, .band_lo = -keys, .band_hi = keys};
    p->k.part[0] = p->v.part[0] = (fattn_part){.d = 1, .row_stride = 1, .col_stride = 1};
    t->s.ptrs.q[0] = t->q;
    t->s.ptrs.k[0] = t->k;
    t->s.ptrs.v = t->v;
    t->s.ptrs.sink = &t->sink;
    t->q[0] = 1.0f;
}

/* Spec: scores 1.5 and 1.5 with sink 1.5: max 1.5, sum 3, out (v0 + v1) / 3; sink 2.5: 0.211942. */
static void sinks_by_hand(void **state)
{
    (void)state;
    fattn_context *context = sample_context("scalar", 1);
    tiny t;
    tiny_make(&t, 2);
    t.s.p.sink = t.s.p.sink_in_stats = true;
    t.s.p.sink_dtype = FATTN_F32;
    t.k[0] = t.k[1] = 1.5f;
    t.v[0] = 1.0f;
    t.v[1] = 2.0f;
    t.sink = 1.5f;
    sample_run(&t.s, context);
    assert_true(fabs(t.s.out_bits[0][0] - 1.0) < 1e-6);
    assert_true(fabs((double)((float *)t.s.ptrs.max)[0] - 1.5) < 1e-6 &&
                fabs((double)((float *)t.s.ptrs.sum)[0] - 3.0) < 1e-6);
    assert_true(fabs((double)t.s.ptrs.lse[0] - 1.5 - log(2.0)) < 1e-6);
    t.sink = 2.5f;
    sample_run(&t.s, context);
    assert_true(fabs(t.s.out_bits[0][0] - 0.21194156 * 3.0) < 1e-6);
    assert_true(((float *)t.s.ptrs.max)[0] == 2.5f && fabs((double)((float *)t.s.ptrs.sum)[0] - 1.73575888) < 1e-6);

    t.sink = 91.5f; /* exp(90) overflows fp32 */
    sample_run(&t.s, context);
    const double tail = 3.0 * exp(-90.0);
    assert_true(fabs(t.s.out_bits[0][0] - tail) <= 1e-5 * tail && t.s.out_bits[0][0] > 0.0);
    assert_true(((float *)t.s.ptrs.max)[0] == 91.5f && ((float *)t.s.ptrs.sum)[0] == 1.0f);
    t.sink = -INFINITY;
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 1.5 && fabs((double)((float *)t.s.ptrs.sum)[0] - 2.0) < 1e-6);
    sample_free(&t.s);
    fattn_context_destroy(context);
}

/* q.k = 2049 is no fp16 number: strict rounds it to 2048 before the scale. One head takes the dot
 * family, sixteen heads on one kv head the tile family. */
static void check_strict(fattn_context *context, int64_t heads)
{
    tiny t;
    tiny_make(&t, 2);
    fattn_problem *p = &t.s.p;
    float q[16], out[16];
    double bits[16], *kept = t.s.out_bits[0];
    for (int h = 0; h < 16; h++) q[h] = 1.0f;
    t.k[0] = 2049.0f;
    t.k[1] = 1000.0f;
    t.v[0] = 1.0f;
    p->scale = 0.001;
    p->round_scores_f16 = true;
    p->n_heads = p->group = heads;
    p->want_max_sum = p->want_lse = false;
    p->q.part[0] = p->out.part[0] =
        (fattn_part){.d = 1, .head_stride = 1, .row_stride = heads, .col_stride = 1};
    t.s.ptrs.q[0] = q;
    t.s.ptrs.out = out;
    t.s.out_bits[0] = bits;
    sample_run(&t.s, context);
    t.s.out_bits[0] = kept;
    const double want = 1.0 / (1.0 + exp(1.0 - 2.048)), exact = 1.0 / (1.0 + exp(1.0 - 2.049));
    for (int64_t h = 0; h < heads; h++)
        assert_true(fabs(bits[h] - want) < 2e-7 && fabs(bits[h] - exact) > 1e-4);
    sample_free(&t.s);
}

static void strict_rounding(fattn_context *context)
{
    check_strict(context, 1);
    check_strict(context, 16);
}

static void strict_scores(void **state)
{
    (void)state;
    for_isas(strict_rounding);
}

/* Scores of +-88..90, +-1e4, FLT_MAX-sized biases, growing scores (a rescale at every tile). */
static void extremes(fattn_context *context)
{
    static const double steps[] = {0.0, 0.5, 88.0, -90.0, 1e4, -1e4, 12.0, -12.0};
    for (size_t n = 0; n < sizeof steps / sizeof *steps; n++) {
        tiny t;
        tiny_make(&t, 64);
        double l = 0.0, o = 0.0, m = -INFINITY;
        for (int j = 0; j < 64; j++) {
            t.k[j] = (float)(steps[n] * j);
            t.v[j] = (float)(j % 7);
            m = fmax(m, (double)t.k[j]);
        }
        for (int j = 0; j < 64; j++) {
            l += exp((double)t.k[j] - m);
            o += exp((double)t.k[j] - m) * (double)t.v[j];
        }
        sample_run(&t.s, context);
        const double got = t.s.out_bits[0][0], lse = (double)t.s.ptrs.lse[0];
        assert_true(fabs(got - o / l) <= 1e-5 * (1.0 + fabs(m) * 0x1p-20));
        assert_true(fabs(lse - m - log(l)) <= 0x1p-20 * fmax(1.0, fabs(m)));
        sample_free(&t.s);
    }
}

static void extreme_scores(void **state)
{
    (void)state;
    for_isas(extremes);
}

/* -FLT_MAX as a bias is a number, -inf hides: of a row of nothing else, the first gives the mean.
 */
static void huge_bias(fattn_context *context)
{
    float bias[2] = {-FLT_MAX, -FLT_MAX};
    tiny t;
    tiny_make(&t, 2);
    t.s.p.bias = (fattn_bias){.kind = BIAS_TENSOR, .dtype = FATTN_F32, .col_stride = 1};
    t.s.ptrs.bias = bias;
    t.v[0] = 1.0f;
    t.v[1] = 2.0f;
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 1.5);
    assert_true(((float *)t.s.ptrs.max)[0] == -FLT_MAX && ((float *)t.s.ptrs.sum)[0] == 2.0f &&
                t.s.ptrs.lse[0] == -FLT_MAX);
    t.s.p.bias.before_scale = true;
    t.s.p.scale = -0.75; /* the bias becomes a large positive score */
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 1.5 && ((float *)t.s.ptrs.max)[0] == 0.75f * FLT_MAX);
    t.s.p.bias.before_scale = false;
    bias[0] = bias[1] = -INFINITY;
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 0.0 && ((float *)t.s.ptrs.max)[0] == t.s.p.empty_masked.max);
    bias[1] = 0.0f;
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 2.0);
    sample_free(&t.s);
}

static void huge_biases(void **state)
{
    (void)state;
    for_isas(huge_bias);
}

/* Slopes whose product with the distance leaves fp32: the nearest key wins, or the farthest. */
static void huge_slope(fattn_context *context)
{
    const float signs[] = {3e38f, -3e38f};
    for (int i = 0; i < 2; i++) {
        tiny t;
        tiny_make(&t, 3);
        t.s.p.bias = (fattn_bias){.kind = BIAS_SLOPE, .dtype = FATTN_F32};
        t.s.ptrs.bias = &signs[i];
        t.s.seqs[0].distance0 = i; /* distances 0 1 2, 1 2 3 */
        t.v[0] = 1.0f;
        t.v[1] = 2.0f;
        t.v[2] = 3.0f;
        sample_run(&t.s, context);
        assert_true(isfinite(t.s.out_bits[0][0]));
        if (i == 0) assert_true(t.s.out_bits[0][0] == 1.0);
        sample_free(&t.s);
    }
}

static void huge_slopes(void **state)
{
    (void)state;
    for_isas(huge_slope);
}

/* Rows of no sequence: as empty_pad says, sink or not. */
static void pad_rows(void **state)
{
    (void)state;
    fattn_context *context = sample_context("scalar", 1);
    tiny t;
    tiny_make(&t, 2);
    t.s.p.sink = t.s.p.sink_in_stats = true;
    t.s.p.sink_dtype = FATTN_F32;
    t.s.seqs[0].kv_len = 0;
    t.s.seqs[0].band_lo = t.s.seqs[0].band_hi = 0;
    t.s.seqs[0].pad = true;
    sample_run(&t.s, context);
    assert_true(t.s.out_bits[0][0] == 0.0 && ((float *)t.s.ptrs.max)[0] == t.s.p.empty_pad.max);
    assert_true(t.s.ptrs.lse[0] == t.s.p.empty_pad.lse);
    t.s.seqs[0].pad = false;
    sample_run(&t.s, context);
    assert_true(((float *)t.s.ptrs.max)[0] == 0.0f && ((float *)t.s.ptrs.sum)[0] == 1.0f);
    assert_true(t.s.ptrs.lse[0] == t.s.p.empty_no_keys.lse);
    sample_free(&t.s);
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(non_finite_keys),    cmocka_unit_test(non_finite_queries),
        cmocka_unit_test(mean_of_empty_rows), cmocka_unit_test(sinks_by_hand),
        cmocka_unit_test(strict_scores),      cmocka_unit_test(extreme_scores),
        cmocka_unit_test(huge_biases),        cmocka_unit_test(huge_slopes),
        cmocka_unit_test(pad_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
