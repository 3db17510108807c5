/* SPDX-License-Identifier: Apache-2.0 */
/* half.c — all 65536 patterns of both formats; narrowing against an oracle that knows only the list
 * of representable values and their midpoints, at every midpoint and its neighbours, and on stripes
 * through all floats; against the compiler's _Float16 where there is one. */
#include "cm.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/half.h"

typedef struct format {
    const char *name;
    int exponent_bits, fraction_bits;
    float (*widen)(uint16_t);
    uint16_t (*from_float)(float);
    uint16_t (*from_double)(double);
} format;

static const format f16 = {"f16", 5, 10, half_from_f16, half_to_f16, half_to_f16_from_double};
static const format bf16 = {"bf16", 8, 7, half_from_bf16, half_to_bf16, half_to_bf16_from_double};

static uint16_t infinity(const format *f)
{
    return (uint16_t)(((1 << f->exponent_bits) - 1) << f->fraction_bits);
}

/* The value of a finite, non-negative pattern, from its definition. */
static double value_of(const format *f, int bits)
{
    const int bias = (1 << (f->exponent_bits - 1)) - 1;
    const int exponent = bits >> f->fraction_bits, fraction = bits & ((1 << f->fraction_bits) - 1);
    if (exponent == 0) return ldexp(fraction, 1 - bias - f->fraction_bits);
    return ldexp((1 << f->fraction_bits) + fraction, exponent - bias - f->fraction_bits);
}

/* Nearest pattern of |x|, ties to even: the first one above is found by bisection. */
static uint16_t oracle(const format *f, double x)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    int low = 0,
        high = infinity(f); /* value(low) <= |x| < value(high); infinity as the next step up */
    x = fabs(x);
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (value_of(f, middle) <= x)
            low = middle;
        else
            high = middle;
    }
    const double border = (value_of(f, low) + value_of(f, high)) / 2;
    const bool up = x > border || (x == border && low % 2 == 1);
    return (uint16_t)(sign | (up ? high : low));
}

static void check_double(const format *f, double x)
{
    const uint16_t want = oracle(f, x), got = f->from_double(x);
    if (got != want) {
        printf("%s of double %a: got %04x, want %04x\n", f->name, x, got, want);
        fail();
    }
}

static void check_float(const format *f, float x)
{
    const uint16_t want = oracle(f, (double)x), got = f->from_float(x);
    if (got != want) {
        printf("%s of float %a: got %04x, want %04x\n", f->name, (double)x, got, want);
        fail();
    }
}

static void check_patterns(const format *f)
{
    const uint16_t top = infinity(f);
    for (int bits = 0; bits < 0x10000; bits++) {
        const float wide = f->widen((uint16_t)bits);
        const int magnitude = bits & 0x7fff;
        if (magnitude > top) {
            assert_true(isnan(wide));
            const uint16_t back = f->from_float(wide);
            assert_true((back & 0x7fff) > top && (back & 0x8000) == (bits & 0x8000));
            continue;
        }
        const double want = magnitude == top ? (double)INFINITY : value_of(f, magnitude);
        assert_true((double)fabsf(wide) == want);
        assert_int_equal(!!signbit(wide), bits >> 15);
        assert_int_equal(f->from_float(wide), bits);
        assert_int_equal(f->from_double((double)wide), bits);
    }
}

static void check_midpoints(const format *f)
{
    for (int bits = 0; bits < infinity(f); bits++) {
        const double border = (value_of(f, bits) + value_of(f, bits + 1)) / 2; /* exact */
        const double around[] = {border, nextafter(border, 0), nextafter(border, INFINITY)};
        for (int i = 0; i < 3; i++) {
            check_double(f, around[i]);
            check_double(f, -around[i]);
        }
        const float single = (float)border;
        check_float(f, single);
        check_float(f, nextafterf(single, 0));
        check_float(f, nextafterf(single, INFINITY));
    }
}

static void check_stripe(const format *f)
{
    for (uint64_t bits = 12345; bits <= UINT32_MAX; bits += 65521) {
        const uint32_t pattern = (uint32_t)bits;
        float x;
        memcpy(&x, &pattern, sizeof x);
        if (isnan(x))
            assert_true((f->from_float(x) & 0x7fff) > infinity(f));
        else if (isinf(x))
            assert_int_equal(f->from_float(x) & 0x7fff, infinity(f));
        else
            check_float(f, x);
    }
}

static void check_extremes(const format *f)
{
    const double tiny = ldexp(1, -1074);
    assert_int_equal(f->from_double(tiny), 0);
    assert_int_equal(f->from_double(-tiny), 0x8000);
    assert_int_equal(f->from_double(DBL_MAX), infinity(f));
    assert_int_equal(f->from_double(-(double)INFINITY), 0x8000 | infinity(f));
    assert_true((f->from_double((double)NAN) & 0x7fff) > infinity(f));
    assert_true((f->from_float(NAN) & 0x7fff) > infinity(f));
}

static void test_f16(void **state)
{
    (void)state;
    check_patterns(&f16);
    check_midpoints(&f16);
    check_stripe(&f16);
    check_extremes(&f16);
    assert_int_equal(half_to_f16(65504.0f), 0x7bff);
    assert_int_equal(half_to_f16(65519.996f), 0x7bff);
    assert_int_equal(half_to_f16(65520.0f), 0x7c00);
    assert_int_equal(half_to_f16(1.0f), 0x3c00);
}

static void test_bf16(void **state)
{
    (void)state;
    check_patterns(&bf16);
    check_midpoints(&bf16);
    check_stripe(&bf16);
    check_extremes(&bf16);
    assert_int_equal(half_to_bf16(1.0f), 0x3f80);
    /* float first would round twice: 1 + 2^-8 - 2^-40 is below the border, its float is the border
     */
    assert_int_equal(half_to_bf16_from_double(1 + 3 * ldexp(1, -8) - ldexp(1, -40)), 0x3f81);
}

#if defined(__FLT16_MAX__) && defined(__GNUC__) && !defined(__clang__)
static void test_f16_against_compiler(void **state)
{
    (void)state;
    for (uint64_t bits = 777; bits <= UINT32_MAX; bits += 16411) {
        const uint32_t pattern = (uint32_t)bits;
        float x;
        memcpy(&x, &pattern, sizeof x);
        if (isnan(x)) continue;
        const _Float16 theirs = (_Float16)x;
        uint16_t want;
        memcpy(&want, &theirs, sizeof want);
        assert_int_equal(half_to_f16(x), want);
    }
}
#else
static void test_f16_against_compiler(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_f16_against_compiler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
