/* SPDX-License-Identifier: Apache-2.0 */
/* bound.c — is the error bound a fair one? A plain fp32 implementation must stay inside it on every
 * fill; 16-bit probabilities, a dropped key and a changed input must not. */
#include "ref/ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/half.h"
#include "random_small.h"

/* What a row of the implementation under test does differently from the plain one. */
typedef enum flaw_kind {
    FLAW_NONE,
    FLAW_BF16_WEIGHTS, /* probabilities cut to 8 bits, as low-precision kernels do */
    FLAW_DROPPED_KEY,  /* the first visible key is forgotten */
} flaw_kind;

typedef struct plain_row {
    float out[RANDOM_DIM];
    float max, sum, lse;
} plain_row;

static float plain_score(const random_small *x, int64_t head, int64_t i, int64_t j)
{
    const small_shape *n = &x->shape;
    const float *q = x->q + (head * n->q_len + i) * n->d_qk;
    const float *k = x->k + (head / x->s.p.group * n->kv_len + j) * n->d_qk;
    const float scale = (float)x->s.p.scale;
    float dot = 0.0f;
    for (int64_t c = 0; c < n->d_qk; c++) dot += q[c] * k[c];
    if (x->s.p.bias.kind == BIAS_NONE) return dot * scale;
    const float bias = x->bias[(head * n->q_len + i) * n->kv_len + j];
    return x->s.p.bias.before_scale ? (dot + bias) * scale : dot * scale + bias;
}

/* Straight fp32, every sum from left to right. */
static void plain_attend(const random_small *x, int64_t head, int64_t i, flaw_kind flaw,
                         plain_row *row)
{
    const small_shape *n = &x->shape;
    float key_max = -INFINITY, key_sum = 0.0f;
    bool skip = flaw == FLAW_DROPPED_KEY;
    *row = (plain_row){.max = 0};
    for (int64_t j = 0; j < n->kv_len; j++)
        if (random_visible(x, i, j)) key_max = fmaxf(key_max, plain_score(x, head, i, j));
    row->max = x->s.p.sink ? fmaxf(key_max, x->sink[head]) : key_max;
    for (int64_t j = 0; j < n->kv_len; j++) {
        if (!random_visible(x, i, j)) continue;
        if (skip) {
            skip = false;
            continue;
        }
        float weight = expf(plain_score(x, head, i, j) - row->max);
        row->sum += weight;
        key_sum += expf(plain_score(x, head, i, j) - key_max);
        if (flaw == FLAW_BF16_WEIGHTS) weight = half_from_bf16(half_to_bf16(weight));
        const float *v = x->v + (head / x->s.p.group * n->kv_len + j) * n->d_v;
        for (int64_t c = 0; c < n->d_v; c++) row->out[c] += weight * v[c];
    }
    if (x->s.p.sink) row->sum += expf(x->sink[head] - row->max);
    row->lse = key_max + logf(key_sum);
    for (int64_t c = 0; c < n->d_v; c++) row->out[c] /= row->sum;
}

/* The contract: half an fp32 ulp and twice E. */
static double ratio(double got, double exact, double bound)
{
    int exponent;
    frexp(exact, &exponent);
    const double half_ulp = ldexp(1.0, (exponent < -125 ? -125 : exponent) - 25);
    return fabs(got - exact) / (half_ulp + 2.0 * bound);
}

typedef struct judgement {
    double worst_out, worst_stats; /* largest error / allowed */
    int64_t rows;
} judgement;

static void judge_row(const random_small *x, int64_t head, int64_t i, flaw_kind flaw, judgement *j)
{
    double out[RANDOM_DIM], bound[RANDOM_DIM];
    const fattn_ref_row row = small_row(&x->s, head, i, out, bound);
    if (row.empty) return;
    plain_row got;
    plain_attend(x, head, i, flaw, &got);
    for (int64_t c = 0; c < x->shape.d_v; c++)
        j->worst_out = fmax(j->worst_out, ratio((double)got.out[c], out[c], bound[c]));
    const double stats[] = {
        fabs((double)got.max - row.max) / row.max_bound,
        fabs((double)got.lse - row.lse) / row.lse_bound,
        fabs(log((double)got.sum) - log(row.sum)) / (row.max_bound + row.lse_bound),
    };
    for (int s = 0; s < 3; s++) j->worst_stats = fmax(j->worst_stats, stats[s]);
    j->rows++;
}

static judgement judge(const random_small *x, flaw_kind flaw)
{
    judgement j = {0};
    for (int64_t head = 0; head < x->shape.n_heads; head++)
        for (int64_t i = 0; i < x->shape.q_len; i++) judge_row(x, head, i, flaw, &j);
    return j;
}

static void plain_fp32_is_inside(void **state)
{
    (void)state;
    static random_small x;
    double worst = 0.0;
    int64_t rows = 0;
    for (int fill = 0; fill < FILL_COUNT; fill++)
        for (uint64_t seed = 1; seed <= 100; seed++) {
            random_init(&x, seed, (random_fill)fill);
            const judgement j = judge(&x, FLAW_NONE);
            if (!(j.worst_out <= 1.0) || !(j.worst_stats <= 1.0))
                fail_msg("fill %d, %s: error / bound %.3g (out), %.3g (statistics)", fill,
                         random_describe(&x), j.worst_out, j.worst_stats);
            worst = fmax(worst, j.worst_out);
            rows += j.rows;
        }
    assert_true(rows > 2000);
    assert_true(worst > 0.1); /* not a bound that is never approached */
}

/* Counts the problems with several keys that a flaw carries out of the bound. */
static void flaw_is_outside(flaw_kind flaw, double share)
{
    static random_small x;
    int tried = 0, caught = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        random_init(&x, seed, FILL_NORMAL);
        if (judge(&x, FLAW_NONE).rows == 0 || x.shape.kv_len < 4 || x.shape.d_v < 4) continue;
        tried++;
        caught += judge(&x, flaw).worst_out > 1.0;
    }
    assert_true(tried > 30);
    if (caught < share * tried) fail_msg("flaw %d: %d of %d noticed", flaw, caught, tried);
}

static void low_precision_is_outside(void **state)
{
    (void)state;
    flaw_is_outside(FLAW_BF16_WEIGHTS, 0.9);
}

static void dropped_key_is_outside(void **state)
{
    (void)state;
    flaw_is_outside(FLAW_DROPPED_KEY, 0.9);
}

/* The key of row 0 whose weight w lies best between 0 and 1 (largest w (1 - w)); -1 when one key
 * has nearly everything: then hardly an input matters. */
static int64_t key_that_matters(const random_small *x)
{
    double out[RANDOM_DIM], best = 0.01;
    int64_t key = -1;
    const fattn_ref_row row = small_row(&x->s, 0, 0, out, NULL);
    for (int64_t j = 0; !row.empty && j < x->shape.kv_len; j++) {
        if (!random_visible(x, 0, j)) continue;
        const double weight = exp((double)plain_score(x, 0, 0, j) - row.max) / row.sum;
        if (weight * (1.0 - weight) <= best) continue;
        best = weight * (1.0 - weight);
        key = j;
    }
    return key;
}

/* Whether the exact row 0 leaves the bound around what it was when `input` moves by a tenth. */
static bool change_shows(random_small *x, float *input)
{
    double out[RANDOM_DIM], bound[RANDOM_DIM], moved[RANDOM_DIM], worst = 0.0;
    const float kept = *input;
    (void)small_row(&x->s, 0, 0, out, bound);
    *input = kept + (kept < 0 ? -0.1f : 0.1f);
    (void)small_row(&x->s, 0, 0, moved, NULL);
    *input = kept;
    for (int64_t c = 0; c < x->shape.d_v; c++)
        worst = fmax(worst, ratio(moved[c], out[c], bound[c]));
    return worst > 1.0;
}

/* One element of q, k, v or bias. */
static void changed_input_is_outside(void **state)
{
    (void)state;
    static random_small x;
    int tried[4] = {0}, caught[4] = {0};
    for (uint64_t seed = 1; seed <= 160; seed++) {
        random_init(&x, seed, FILL_NORMAL);
        const int64_t j = key_that_matters(&x);
        if (j < 0) continue;
        float *const inputs[] = {x.q, x.k + j * x.shape.d_qk, x.v + j * x.shape.d_v,
                                 x.s.p.bias.kind != BIAS_NONE ? x.bias + j : NULL};
        for (int input = 0; input < 4; input++) {
            if (!inputs[input]) continue;
            tried[input]++;
            caught[input] += change_shows(&x, inputs[input]);
        }
    }
    for (int input = 0; input < 4; input++) {
        assert_true(tried[input] > 20);
        if (caught[input] < 0.95 * tried[input])
            fail_msg("input %d: %d of %d changes noticed", input, caught[input], tried[input]);
    }
}

/* A scale that is off by 1e-4 shows in the statistics. */
static void changed_scale_shows_in_lse(void **state)
{
    (void)state;
    static random_small x;
    int tried = 0, caught = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        random_init(&x, seed, FILL_NORMAL);
        double out[RANDOM_DIM];
        const fattn_ref_row row = small_row(&x.s, 0, 0, out, NULL);
        if (row.empty || fabs(row.lse) < 1.0) continue;
        x.s.p.scale *= 1.0 + 1e-4;
        const fattn_ref_row moved = small_row(&x.s, 0, 0, out, NULL);
        tried++;
        caught += fabs(moved.lse - row.lse) > row.lse_bound;
    }
    assert_true(tried > 30);
    if (caught < 0.7 * tried) fail_msg("%d of %d noticed", caught, tried);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_fp32_is_inside),       cmocka_unit_test(low_precision_is_outside),
        cmocka_unit_test(dropped_key_is_outside),     cmocka_unit_test(changed_input_is_outside),
        cmocka_unit_test(changed_scale_shows_in_lse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
