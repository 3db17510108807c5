/* SPDX-License-Identifier: Apache-2.0 */
/* cpuinfo.c — names there and back; what is available agrees with the compiler's own probe. */
#include "cm.h"

#include <string.h>

#include "base/cpuinfo.h"

static void test_names(void **state)
{
    (void)state;
    fattn_isa isa = ISA_COUNT;
    for (int i = 0; i < ISA_COUNT; i++) {
        assert_true(isa_from_name(isa_name((fattn_isa)i), &isa));
        assert_int_equal(isa, i);
    }
    isa = ISA_SCALAR;
    assert_false(isa_from_name("sse", &isa));
    assert_false(isa_from_name("", &isa));
    assert_false(isa_from_name(NULL, &isa));
    assert_int_equal(isa, ISA_SCALAR);
    assert_non_null(isa_name((fattn_isa)42));
}

static void test_available(void **state)
{
    (void)state;
    const char *const *names = isa_available_names();
    int count = 0, expected = 0;
    for (int i = 0; i < ISA_COUNT; i++) expected += isa_available((fattn_isa)i);
    for (; names[count]; count++) {
        fattn_isa isa;
        assert_true(isa_from_name(names[count], &isa));
        assert_true(isa_available(isa));
    }
    assert_int_equal(count, expected);
    assert_true(isa_available(ISA_SCALAR));
    assert_string_equal(names[0], isa_name(isa_best()));
    assert_string_equal(names[count - 1], "scalar");
    assert_false(isa_available((fattn_isa)42));
}

#if defined(__x86_64__)
static void test_against_compiler(void **state)
{
    (void)state;
    __builtin_cpu_init();
    assert_false(isa_available(ISA_NEON));
    if (isa_available(ISA_AVX2))
        assert_true(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
    if (isa_available(ISA_AVX512))
        assert_true(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"));
}
#else
static void test_against_compiler(void **state)
{
    (void)state;
    assert_false(isa_available(ISA_AVX2));
    assert_false(isa_available(ISA_AVX512));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_available),
        cmocka_unit_test(test_against_compiler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
