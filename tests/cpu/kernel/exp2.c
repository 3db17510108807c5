/* SPDX-License-Identifier: Apache-2.0 */
/* exp2.c — 2^x over a stripe of all floats (FATTN_STRIPE picks which one), at the integers and at
 * the edges; any length, between inaccessible pages. */
#include "check.h"

static const double bound = 1.6858739404357614e-07; /* 2^-22.5 */

static double error(float x, float got)
{
    const double want = exp2((double)x);
    return fabs((double)got - want) / want;
}

static void stripe(const fattn_kernels *k)
{
    enum { STEP = 1021, BATCH = 4096 };
    const char *text = getenv("FATTN_STRIPE");
    const uint32_t first = text ? (uint32_t)strtoul(text, NULL, 10) % STEP : 0;
    float x[BATCH], y[BATCH];
    double worst = 0;
    for (int negative = 0; negative <= 1; negative++) {
        const uint32_t last = float_bits(negative ? 126.0f : 127.0f),
                       sign = (uint32_t)negative << 31;
        for (uint32_t bits = first; bits <= last;) {
            int n = 0;
            for (; n < BATCH && bits <= last; n++, bits += STEP) x[n] = bits_float(bits | sign);
            memcpy(y, x, sizeof y);
            k->exp2(y, n);
            for (int i = 0; i < n; i++) {
                if (!(error(x[i], y[i]) <= bound))
                    fail_msg("%s: 2^%a = %a, relative error %g", k->name, (double)x[i],
                             (double)y[i], error(x[i], y[i]));
                if (error(x[i], y[i]) > worst) worst = error(x[i], y[i]);
                if (negative && y[i] > 1.0f) fail_msg("%s: 2^%a > 1", k->name, (double)x[i]);
            }
        }
    }
    print_message("%s: worst relative error 2^%.2f (stripe %u of %d)\n", k->name, log2(worst),
                  first, STEP);
}

static void test_stripe(void **state)
{
    (void)state;
    each_isa(stripe);
}

static void edges(const fattn_kernels *k)
{
    for (int n = -126; n <= 127; n++) {
        float x = (float)n;
        k->exp2(&x, 1);
        if (x != ldexpf(1, n)) fail_msg("%s: 2^%d = %a", k->name, n, (double)x);
    }
    float x[] = {0.0f,    -0.0f,   -INFINITY, NAN,     -NAN,     -3e38f,
                 -200.0f, -150.5f, 1e-45f,    -1e-45f, INFINITY, 200.0f};
    float nans[] = {bits_float(0x7f800001), bits_float(0xff800001), bits_float(0x7fc00001),
                    bits_float(0xffffffff), bits_float(0x7fffff81), bits_float(0x7f8000ff)};
    k->exp2(x, sizeof x / sizeof *x);
    k->exp2(nans, sizeof nans / sizeof *nans);
    assert_true(x[0] == 1 && x[1] == 1);
    assert_true(x[2] == 0 && !signbit(x[2]));
    assert_true(isnan(x[3]) && isnan(x[4]));
    assert_true(x[5] == 0 && x[6] == 0 && x[7] == 0);
    assert_true(x[8] == 1 && x[9] == 1);
    assert_true(x[10] == INFINITY && x[11] == INFINITY);
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++)
        if (!isnan(nans[i])) fail_msg("%s: NaN %zu became %g", k->name, i, (double)nans[i]);
    for (float d = nextafterf(-126.0f, -INFINITY); d > -152.0f; d -= 0.37f) { /* no subnormal weights */
        float y = d;
        k->exp2(&y, 1);
        if (y != 0 || signbit(y)) fail_msg("%s: 2^%g = %a", k->name, (double)d, (double)y);
    }
}

static void test_edges(void **state)
{
    (void)state;
    each_isa(edges);
}

static void lengths(const fattn_kernels *k)
{
    uint64_t seed = 1;
    guard g = guard_alloc(4096);
    for (int n = 0; n <= 40; n++)
        for (size_t offset = 0; offset < 64; offset += 4)
            for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++) {
                float *x = guard_place(&g, (size_t)n * 4, offset, (guard_side)side), alone[40];
                for (int i = 0; i < n; i++) x[i] = alone[i] = 20 * random_float(&seed);
                k->exp2(x, n);
                for (int i = 0; i < n; i++) {
                    k->exp2(&alone[i], 1);
                    if (!same(x[i], alone[i])) fail_msg("%s: n=%d i=%d", k->name, n, i);
                }
                if (!guard_intact(&g)) fail_msg("%s: n=%d wrote beside", k->name, n);
            }
    guard_free(&g);
}

static void test_lengths(void **state)
{
    (void)state;
    each_isa(lengths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stripe),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_lengths),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
