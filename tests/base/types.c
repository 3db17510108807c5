/* SPDX-License-Identifier: Apache-2.0 */
/* types.c — element sizes and names there and back, contiguous tensors, garbage. */
#include "cm.h"

#include "fattn/types.h"

static void test_sizes(void **state)
{
    (void)state;
    const size_t sizes[FATTN_DTYPE_COUNT] = {0, 8, 4, 2, 2, 8, 4, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1};
    for (int i = 0; i < FATTN_DTYPE_COUNT; i++)
        assert_int_equal(fattn_dtype_size((fattn_dtype)i), sizes[i]);
    assert_int_equal(fattn_dtype_size((fattn_dtype)1000), 0);
    assert_int_equal(fattn_dtype_size((fattn_dtype)-1), 0);
}

static void test_names_there_and_back(void **state)
{
    (void)state;
    for (int i = 1; i < FATTN_DTYPE_COUNT; i++)
        assert_int_equal(fattn_dtype_from_name(fattn_dtype_name((fattn_dtype)i)), i);
    assert_string_equal(fattn_dtype_name(FATTN_BF16), "bf16");
    assert_string_equal(fattn_dtype_name((fattn_dtype)77), "?");
    assert_int_equal(fattn_dtype_from_name("?"), FATTN_DTYPE_NONE);
    assert_int_equal(fattn_dtype_from_name("f128"), FATTN_DTYPE_NONE);
    assert_int_equal(fattn_dtype_from_name(NULL), FATTN_DTYPE_NONE);
}

static void test_contiguous(void **state)
{
    (void)state;
    float data[24];
    const fattn_tensor t = fattn_tensor_contiguous(data, FATTN_F32, 3, (const int64_t[]){2, 3, 4});
    assert_ptr_equal(t.data, data);
    assert_int_equal(t.rank, 3);
    const int64_t shape[] = {2, 3, 4}, strides[] = {12, 4, 1};
    assert_memory_equal(t.shape, shape, sizeof shape);
    assert_memory_equal(t.strides, strides, sizeof strides);

    const fattn_tensor scalar = fattn_tensor_contiguous(data, FATTN_F32, 0, NULL);
    assert_int_equal(scalar.rank, 0);
}

static void test_bad_ranks(void **state)
{
    (void)state;
    const int64_t shape[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F32, 9, shape).rank, -1);
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F32, -2, shape).rank, -1);
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F32, 2, NULL).rank, -1);
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F32, 8, shape).rank, 8);
    const int64_t huge[] = {INT64_MAX, INT64_MAX, INT64_MIN}; /* defined, refused later */
    assert_int_equal(fattn_tensor_contiguous(NULL, FATTN_F32, 3, huge).rank, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_names_there_and_back),
        cmocka_unit_test(test_contiguous),
        cmocka_unit_test(test_bad_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
