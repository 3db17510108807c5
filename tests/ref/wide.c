/* SPDX-License-Identifier: Apache-2.0 */
/* wide.c — the reference against the same formula in 113 bits (__float128; where long double has as
 * many, that), with an exp() of our own. If the two agree to 1e-13 the double computation has no
 * step that loses digits, and any error of the formula would have to be made twice. */
#include "ref/ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "random_small.h"

#if defined(__x86_64__)
__extension__ typedef __float128 wide;
#else
typedef long double wide;
#endif

static wide wide_abs(wide x) { return x < 0 ? -x : x; }

/* ln 2 = sum 1 / (k 2^k). */
static wide wide_ln2(void)
{
    wide sum = 0, power = 1;
    for (int k = 1; k < 130; k++) {
        power /= 2;
        sum += power / k;
    }
    return sum;
}

/* e^x = 2^n e^r, |r| <= ln2 / 2, by the Taylor series. x <= 0 and above -700 here. */
static wide wide_exp(wide x)
{
    const wide ln2 = wide_ln2();
    const int n = (int)lrint((double)(x / ln2));
    const wide r = x - n * ln2;
    wide sum = 1, term = 1;
    for (int k = 1; k < 40; k++) {
        term *= r / k;
        sum += term;
    }
    return sum * (wide)ldexp(1.0, n);
}

typedef struct wide_row {
    wide out[RANDOM_DIM];
    wide max, sum; /* with the sink if there is one */
    wide key_sum;  /* relative to max, keys alone */
} wide_row;

static wide wide_score(const random_small *x, int64_t head, int64_t i, int64_t j)
{
    const small_shape *n = &x->shape;
    const float *q = x->q + (head * n->q_len + i) * n->d_qk;
    const float *k = x->k + (head / x->s.p.group * n->kv_len + j) * n->d_qk;
    const wide scale = (wide)x->s.p.scale;
    wide dot = 0;
    for (int64_t c = 0; c < n->d_qk; c++) dot += (wide)q[c] * (wide)k[c];
    if (x->s.p.bias.kind == BIAS_NONE) return dot * scale;
    const wide bias = (wide)x->bias[(head * n->q_len + i) * n->kv_len + j];
    return x->s.p.bias.before_scale ? (dot + bias) * scale : dot * scale + bias;
}

/* false when the row sees no key. */
static bool wide_attend(const random_small *x, int64_t head, int64_t i, wide_row *row)
{
    const small_shape *n = &x->shape;
    bool any = false;
    *row = (wide_row){.max = 0};
    for (int64_t j = 0; j < n->kv_len; j++) {
        if (!random_visible(x, i, j)) continue;
        const wide score = wide_score(x, head, i, j);
        if (!any || score > row->max) row->max = score;
        any = true;
    }
    if (!any) return false;
    const wide sink = (wide)x->sink[head];
    if (x->s.p.sink && sink > row->max) row->max = sink;
    for (int64_t j = 0; j < n->kv_len; j++) {
        if (!random_visible(x, i, j)) continue;
        const wide weight = wide_exp(wide_score(x, head, i, j) - row->max);
        const float *v = x->v + (head / x->s.p.group * n->kv_len + j) * n->d_v;
        row->key_sum += weight;
        for (int64_t c = 0; c < n->d_v; c++) row->out[c] += weight * (wide)v[c];
    }
    row->sum = row->key_sum + (x->s.p.sink ? wide_exp(sink - row->max) : 0);
    for (int64_t c = 0; c < n->d_v; c++) row->out[c] /= row->sum;
    return true;
}

static const double AGREE = 1e-13;

static void check(const random_small *x, const char *what, double got, wide want)
{
    const double off = (double)wide_abs((wide)got - want), size = fmax(1.0, fabs(got));
    if (!(off <= AGREE * size))
        fail_msg("%s: %s = %.17g is off by %.3g", random_describe(x), what, got, off);
}

static void same_as_quadruple(void **state)
{
    (void)state;
    static random_small x;
    int rows = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        random_init(&x, seed, FILL_NORMAL);
        for (int64_t head = 0; head < x.shape.n_heads; head++)
            for (int64_t i = 0; i < x.shape.q_len; i++) {
                double out[RANDOM_DIM];
                const fattn_ref_row row = small_row(&x.s, head, i, out, NULL);
                wide_row want;
                if (!wide_attend(&x, head, i, &want)) {
                    assert_true(row.empty);
                    continue;
                }
                assert_false(row.empty);
                for (int64_t c = 0; c < x.shape.d_v; c++) check(&x, "out", out[c], want.out[c]);
                check(&x, "max", row.max, want.max);
                check(&x, "sum", row.sum, want.sum);
                check(&x, "e^(lse - max) / sum",
                      exp(row.lse - row.max) * row.sum / (double)want.key_sum, want.sum);
                rows++;
            }
    }
    assert_true(rows > 200);
}

/* The exp above against values known to every digit of a double. */
static void own_exp(void **state)
{
    (void)state;
    for (double x = -600.0; x <= 0.0; x += 0.37)
        assert_true(fabs((double)wide_exp((wide)x) / exp(x) - 1.0) < 4e-16);
    assert_true((double)wide_exp(-1) == 0x1.78b56362cef38p-2);
    assert_true((double)(wide_exp(-1) - (wide)0x1.78b56362cef38p-2) != 0.0); /* has more digits */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_exp),
        cmocka_unit_test(same_as_quadruple),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
