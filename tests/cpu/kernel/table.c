/* SPDX-License-Identifier: Apache-2.0 */
/* table.c — every set that the machine offers has a complete row whose numbers keep the rules of
 * cpu/kernels.h; sets that are not built have none; the probe counts what it does. */
#include "check.h"

static void complete(const fattn_kernels *k)
{
    assert_non_null(k);
    assert_true(k->lanes >= 1 && LANES_MAX % k->lanes == 0 && TILE_ROWS % k->lanes == 0);
    assert_true(k->dot_rows >= 1 && k->dot_rows <= DOT_ROWS + 1);
    assert_true(k->split_keys > 0 && k->split_keys % TILE_KEYS == 0);
    assert_true(k->panels >= 1);
    for (int dtype = 0; dtype < KERNEL_FLOATS; dtype++)
        assert_true(k->pack[dtype] && k->store[dtype]);
    for (int dtype = 0; dtype < KERNEL_DTYPES; dtype++) {
        const bool direct = dtype != KERNEL_I4 || k->lanes > 1;
        assert_non_null(k->load[dtype]);
        assert_true((k->dot[dtype] && k->axpy[dtype]) == direct);
        assert_true((k->dot_strips[dtype] && k->axpy_strips[dtype]) == direct);
    }
    assert_non_null(k->affine);
    assert_true(k->qk && k->edit && k->softmax && k->pv && k->softmax_rows && k->exp2 && k->finite);
    assert_true(k->fma_probe(1000) > 0);
    assert_true(k->fma_probe(2000) == 2 * k->fma_probe(1000));
}

static void test_rows(void **state)
{
    (void)state;
    each_isa(complete);
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        const fattn_kernels *k = kernels_for((fattn_isa)isa);
        if (isa_available((fattn_isa)isa)) assert_string_equal(k->name, isa_name((fattn_isa)isa));
    }
    assert_non_null(kernels_for(ISA_SCALAR));
    assert_null(kernels_for(ISA_COUNT));
    assert_true(!kernels_for(ISA_NEON) || !kernels_for(ISA_AVX2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
