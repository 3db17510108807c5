/* SPDX-License-Identifier: Apache-2.0 */
/* element.c — elements as double: every small float, the roundings at their edges, saturation,
 * offsets. */
#include "cm.h"

#include "base/half.h"
#include "io/element.h"
#include "io/io.h"

#include <math.h>
#include <string.h>

/* Every bit pattern survives decode and encode; NaN stays NaN. */
static void every_pattern(void **state)
{
    (void)state;
    static const fattn_dtype dtypes[] = {FATTN_F16, FATTN_BF16, FATTN_E4M3, FATTN_E5M2};
    for (int d = 0; d < 4; d++) {
        const unsigned n = fattn_dtype_size(dtypes[d]) == 2 ? 65536 : 256;
        for (unsigned bits = 0; bits < n; bits++) {
            uint16_t in[1] = {0}, out[1] = {0};
            memcpy(in, &bits, 2);
            const double value = io_get(in, dtypes[d], 0);
            io_set(out, dtypes[d], 0, value);
            if (isnan(value))
                assert_true(isnan(io_get(out, dtypes[d], 0)));
            else if (in[0] != out[0])
                fail_msg("%s: %04x became %04x", fattn_dtype_name(dtypes[d]), in[0], out[0]);
        }
    }
}

static const struct {
    fattn_dtype dtype;
    double value;
    unsigned bits;
} known[] = {
    {FATTN_F16, 1.0, 0x3c00},         {FATTN_F16, -2.0, 0xc000},
    {FATTN_F16, 65504.0, 0x7bff},     {FATTN_F16, 65519.0, 0x7bff},
    {FATTN_F16, 65520.0, 0x7c00},     {FATTN_F16, 1e300, 0x7c00},
    {FATTN_F16, 0x1p-24, 0x0001},     {FATTN_F16, 0x1p-25, 0x0000}, /* tie to even */
    {FATTN_F16, 0x1.8p-24, 0x0002},   {FATTN_F16, 1 + 0x1p-11, 0x3c00},
    {FATTN_F16, 1 + 0x3p-11, 0x3c02}, {FATTN_F16, -0.0, 0x8000},
    {FATTN_F16, 0x1.ffdp-1, 0x3bff}, /* needs one rounding, not two */
    {FATTN_BF16, 1.0, 0x3f80},        {FATTN_BF16, 1 + 0x1p-8, 0x3f80},
    {FATTN_BF16, 1 + 0x3p-8, 0x3f82}, {FATTN_BF16, 1 + 0x1p-8 + 0x1p-40, 0x3f81},
    {FATTN_BF16, 3.4e38, 0x7f80},     {FATTN_BF16, 0x1p-133, 0x0001},
    {FATTN_E4M3, 448.0, 0x7e},        {FATTN_E4M3, 464.0, 0x7e},
    {FATTN_E4M3, 465.0, 0x7f},        {FATTN_E4M3, 0x1p-9, 0x01},
    {FATTN_E5M2, 57344.0, 0x7b},      {FATTN_E5M2, 61440.0, 0x7c}, /* tie to even: inf */
};

static void known_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint16_t out = 0;
        io_set(&out, known[i].dtype, 0, known[i].value);
        if (out != known[i].bits)
            fail_msg("%s of %a: %04x instead of %04x", fattn_dtype_name(known[i].dtype),
                     known[i].value, out, known[i].bits);
    }
}

/* Another implementation of the same rounding: base/half.h. */
static void agrees_with_the_library(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int i = 0; i < 200000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        const double value = ldexp((double)(int64_t)seed, -63 + (int)(seed >> 33) % 60 - 30);
        uint16_t half, brain;
        io_set(&half, FATTN_F16, 0, value);
        io_set(&brain, FATTN_BF16, 0, value);
        if (half != half_to_f16_from_double(value) || brain != half_to_bf16_from_double(value))
            fail_msg("%a: f16 %04x, bf16 %04x", value, half, brain);
    }
}

static void integers_saturate(void **state)
{
    (void)state;
    int8_t small;
    uint8_t byte;
    int64_t large;
    io_set(&small, FATTN_I8, 0, 200.0);
    assert_int_equal(small, 127);
    io_set(&small, FATTN_I8, 0, -1e30);
    assert_int_equal(small, -128);
    io_set(&byte, FATTN_U8, 0, -3.0);
    assert_int_equal(byte, 0);
    io_set(&byte, FATTN_U8, 0, 2.5); /* ties to even */
    assert_int_equal(byte, 2);
    io_set(&byte, FATTN_BOOL, 0, 0.25);
    assert_int_equal(byte, 1);
    io_set(&large, FATTN_I64, 0, 1e30);
    assert_true(large == INT64_MAX);
    io_set(&large, FATTN_I64, 0, NAN);
    assert_true(large == 0);
    io_set_int(&large, FATTN_I64, 0, INT64_MAX - 1); /* not through a double */
    assert_true(io_get_int(&large, FATTN_I64, 0) == INT64_MAX - 1);
}

static void offsets_and_counts(void **state)
{
    (void)state;
    fattn_tensor t = io_contiguous(NULL, FATTN_F32, 3, (const int64_t[]){2, 3, 4});
    assert_int_equal(io_offset(&t, 23), 23);
    assert_true(io_is_contiguous(&t));
    t.strides[0] = -12;
    assert_int_equal(io_offset(&t, 23), -12 + 2 * 4 + 3);
    assert_false(io_is_contiguous(&t));
    int64_t count;
    assert_true(io_count(0, NULL, &count));
    assert_int_equal(count, 1);
    assert_true(io_count(3, (const int64_t[]){INT64_MAX, 0, INT64_MAX}, &count));
    assert_int_equal(count, 0);
    assert_false(io_count(2, (const int64_t[]){INT64_C(1) << 32, INT64_C(1) << 32}, &count));
    assert_false(io_count(2, (const int64_t[]){0, -1}, &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pattern),           cmocka_unit_test(known_values),
        cmocka_unit_test(agrees_with_the_library), cmocka_unit_test(integers_saturate),
        cmocka_unit_test(offsets_and_counts),
    };
    return cmocka_run_group_tests_name("io_element", tests, NULL, NULL);
}
