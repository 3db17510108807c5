/* SPDX-License-Identifier: Apache-2.0 */
/* affine.c — (x + add) * mul by row and by column, one rounding each, absent ones left out, nothing beside
 * written. */
#include "check.h"

enum { ROWS = 5, MOST = 70 };

typedef struct numbers {
    float add[MOST + ROWS], mul[MOST + ROWS];
} numbers;

static float changed(float x, const float *add, const float *mul, int at)
{
    const float sum = add ? x + add[at] : x;
    return mul ? sum * mul[at] : sum;
}

static void one(const fattn_kernels *k, int cols, int by_row, int which, guard *g)
{
    uint64_t seed = (uint64_t)(cols * 8 + by_row * 4 + which);
    numbers n;
    float old[ROWS * (MOST + 3)];
    const int ld = cols + cols % 4;
    const size_t count = (size_t)((ROWS - 1) * ld + cols);
    random_fill(n.add, MOST + ROWS, &seed);
    random_fill(n.mul, MOST + ROWS, &seed);
    random_fill(old, count, &seed);
    float *x = guard_place(g, count * 4, 4, GUARD_AFTER);
    memcpy(x, old, count * 4);
    const float *add = which & 1 ? n.add : NULL, *mul = which & 2 ? n.mul : NULL;

    k->affine(x, ld, ROWS, cols, add, mul, by_row);

    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < ld && r * ld + c < (int)count; c++) {
            const float from = old[r * ld + c];
            const float want = c < cols ? changed(from, add, mul, by_row ? r : c) : from;
            if (!same(x[r * ld + c], want))
                fail_msg("%s: cols=%d by_row=%d which=%d (%d, %d): %a, want %a", k->name, cols,
                         by_row, which, r, c, (double)x[r * ld + c], (double)want);
        }
    if (!guard_intact(g)) fail_msg("%s: cols=%d wrote beside", k->name, cols);
}

static void shapes(const fattn_kernels *k)
{
    guard g = guard_alloc(4096);
    for (int cols = 1; cols <= MOST; cols++)
        for (int which = 0; which < 4; which++)
            for (int by_row = 0; by_row < 2; by_row++) one(k, cols, by_row, which, &g);
    guard_free(&g);
}

static void test_affine(void **state)
{
    (void)state;
    each_isa(shapes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_affine)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
