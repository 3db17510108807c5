/* SPDX-License-Identifier: Apache-2.0 */
/* fp8.c — every pattern of the floats of 8 and 4 bits against its definition; narrowing at every midpoint
 * of two neighbours and on both sides of it. */
#include "cm.h"

#include <math.h>

#include "base/fp8.h"

typedef struct format {
    int exponent_bits, fraction_bits, largest; /* pattern of the largest finite number */
    float (*widen)(uint8_t);
    uint8_t (*narrow)(double);
} format;

static const format e4m3 = {4, 3, 0x7e, fp8_from_e4m3, fp8_to_e4m3};
static const format e5m2 = {5, 2, 0x7b, fp8_from_e5m2, fp8_to_e5m2};

/* Of a finite, non-negative pattern. */
static double value_of(const format *f, int bits)
{
    const int bias = (1 << (f->exponent_bits - 1)) - 1, one = 1 << f->fraction_bits;
    const int exponent = bits / one, fraction = bits % one;
    if (exponent == 0) return ldexp(fraction, 1 - bias - f->fraction_bits);
    return ldexp(one + fraction, exponent - bias - f->fraction_bits);
}

static void check_format(const format *f)
{
    for (int bits = 0; bits <= f->largest; bits++) {
        const double x = value_of(f, bits);
        assert_true(f->widen((uint8_t)bits) == x && f->widen((uint8_t)(bits | 128)) == -x);
        assert_true(signbit(f->widen((uint8_t)(bits | 128))));
        assert_int_equal(f->narrow(x), bits);
        assert_int_equal(f->narrow(-x), bits | 128);
        if (bits == f->largest) break;
        const double above = value_of(f, bits + 1), middle = (x + above) / 2;
        assert_int_equal(f->narrow(middle), bits + bits % 2);
        assert_int_equal(f->narrow(nextafter(middle, 0)), bits);
        assert_int_equal(f->narrow(nextafter(middle, 1e9)), bits + 1);
    }
    assert_int_equal(f->narrow(1e9), f->largest);
    assert_int_equal(f->narrow(-INFINITY), f->largest | 128);
    assert_true(isnan(f->widen(f->narrow((double)NAN))));
}

static void finite_patterns(void **state)
{
    (void)state;
    check_format(&e4m3);
    check_format(&e5m2);
    assert_true(value_of(&e4m3, 0x7e) == 448 && value_of(&e5m2, 0x7b) == 57344);
}

static void special_patterns(void **state)
{
    (void)state;
    assert_true(isnan(fp8_from_e4m3(0x7f)) && isnan(fp8_from_e4m3(0xff)));
    assert_true(fp8_from_e5m2(0x7c) == INFINITY && fp8_from_e5m2(0xfc) == -INFINITY);
    for (int bits = 0x7d; bits <= 0x7f; bits++)
        assert_true(isnan(fp8_from_e5m2((uint8_t)bits)) &&
                    isnan(fp8_from_e5m2((uint8_t)(bits | 128))));
    for (int bits = 0; bits < 255; bits++)
        assert_true(fp8_from_e8m0((uint8_t)bits) == ldexp(1, bits - 127));
    assert_true(isnan(fp8_from_e8m0(255)));
}

static void nibbles(void **state)
{
    (void)state;
    static const float e2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
    for (unsigned n = 0; n < 8; n++) {
        assert_true(fp4_from_e2m1(n) == e2m1[n] && fp4_from_e2m1(n | 8) == -e2m1[n]);
        assert_true(fp4_from_e1m2(n) == 0.25f * (float)n && fp4_from_e1m2(n | 8) == -0.25f * (float)n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finite_patterns),
        cmocka_unit_test(special_patterns),
        cmocka_unit_test(nibbles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
