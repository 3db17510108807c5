/* SPDX-License-Identifier: Apache-2.0 */
/* fpenv.c — a caller with another rounding mode, flush modes and sticky flags: our arithmetic does
 * not notice, and nothing of the caller's changes. */
#include "cm.h"

#include <fenv.h>
#include <float.h>

#include "base/fpenv.h"

#if defined(__x86_64__)
static void flush_to_zero(void) { __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040); }
#elif defined(__aarch64__)
static void flush_to_zero(void)
{
    uint64_t control;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control | UINT64_C(1) << 24));
}
#else
static void flush_to_zero(void) {}
#endif

static volatile float one = 1.0f, three = 3.0f, least = FLT_MIN, huge = FLT_MAX;

/* Sensitive to the rounding mode and to flushing; raises inexact, underflow and overflow. */
static void compute(volatile float out[4])
{
    out[0] = one / three;
    out[1] = -(one / three);
    out[2] = least / three;
    out[3] = huge * three;
}

static void test_caller_is_not_noticed(void **state)
{
    (void)state;
    volatile float plain[4], inside[4], outside[4];
    fenv_t before;
    fegetenv(&before);
    compute(plain);
    const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    for (int i = 0; i < 3; i++) {
        feclearexcept(FE_ALL_EXCEPT);
        fesetround(modes[i]);
        flush_to_zero();
        const fattn_fpenv saved = fpenv_enter();
        compute(inside);
        fpenv_leave(saved);
        compute(outside);
        fesetenv(&before);
        int differ = 0;
        for (int x = 0; x < 4; x++) {
            assert_true(inside[x] == plain[x]);
            differ += outside[x] != plain[x];
        }
        assert_true(differ > 0); /* the caller's mode was really another one, and came back */
    }
}

static void test_flags_stay(void **state)
{
    (void)state;
    volatile float out[4];
    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept(FE_DIVBYZERO);
    const fattn_fpenv saved = fpenv_enter();
    assert_int_equal(fetestexcept(FE_DIVBYZERO), 0);
    compute(out);
    assert_int_not_equal(fetestexcept(FE_INEXACT), 0);
    fpenv_leave(saved);
    assert_int_equal(fetestexcept(FE_ALL_EXCEPT), FE_DIVBYZERO);
    feclearexcept(FE_ALL_EXCEPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caller_is_not_noticed),
        cmocka_unit_test(test_flags_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
