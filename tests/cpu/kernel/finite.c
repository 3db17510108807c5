/* SPDX-License-Identifier: Apache-2.0 */
/* finite.c — one inf or NaN anywhere is found, one beside the block is not; between inaccessible
 * pages. */
#include "check.h"

static void everywhere(const fattn_kernels *k)
{
    enum { ROWS = 3, LD = 45 };
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffffffff};
    guard g = guard_alloc(ROWS * LD * 4);
    for (int cols = 1; cols <= LD; cols++)
        for (size_t offset = 0; offset < 64; offset += 4) {
            const size_t n = (ROWS - 1) * LD + (size_t)cols;
            float *x = guard_place(&g, n * 4, offset, offset % 8 ? GUARD_BEFORE : GUARD_AFTER);
            for (size_t i = 0; i < n; i++) /* huge, tiny, subnormal, zero; NaN beside the block */
                x[i] = i % LD >= (size_t)cols ? NAN
                       : i % 4 == 0           ? FLT_MAX
                       : i % 4 == 1           ? -1e-44f
                                              : -FLT_MAX;
            if (!k->finite(x, LD, ROWS, cols))
                fail_msg("%s: cols=%d: finite not seen", k->name, cols);
            for (size_t at = offset / 4 % n; at < n; at += 13) {
                if (at % LD >= (size_t)cols) continue;
                const float old = x[at];
                x[at] = bits_float(bad[at % 5]);
                if (k->finite(x, LD, ROWS, cols))
                    fail_msg("%s: cols=%d at %zu not found", k->name, cols, at);
                x[at] = old;
            }
        }
    guard_free(&g);
}

static void test_everywhere(void **state)
{
    (void)state;
    each_isa(everywhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everywhere)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
