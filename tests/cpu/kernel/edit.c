/* SPDX-License-Identifier: Apache-2.0 */
/* edit.c — bias, hidden keys and the new maximum, against a plain loop. */
#include "check.h"

enum { ST, BIAS, HIDE, TMAX, OPERANDS };

static void run(const fattn_kernels *k, int keys, int vectors, int with_bias, int with_hide,
                guard_side side, guard g[OPERANDS])
{
    uint64_t seed = (uint64_t)(keys * 100 + vectors);
    const int lanes = vectors * k->lanes;
    const size_t n = (size_t)(keys - 1) * TILE_ROWS + (size_t)lanes;
    float *st = guard_place(&g[ST], n * 4, 0, side), *bias = guard_place(&g[BIAS], n * 4, 0, side);
    uint64_t *hide = guard_place(&g[HIDE], (size_t)keys * 8, 0, side);
    float *tmax = guard_place(&g[TMAX], (size_t)lanes * 4, 0, side), *old = scratch(n);
    random_fill(st, n, &seed);
    random_fill(bias, n, &seed);
    for (int key = 0; key < keys; key++)
        hide[key] = (uint64_t)random_bits(&seed) << 32 | random_bits(&seed);
    for (int key = 0; key < keys; key++) { /* lane 0: NaN; a hidden key: NaN in score and bias */
        st[key * TILE_ROWS] = NAN;
        if (hide[key] & 2 && lanes > 1) st[key * TILE_ROWS + 1] = bias[key * TILE_ROWS + 1] = NAN;
    }
    hide[keys / 2] = ~(uint64_t)0;
    memcpy(old, st, n * 4);

    k->edit(st, keys, vectors, with_bias ? bias : NULL, with_hide ? hide : NULL, tmax);

    for (int lane = 0; lane < lanes; lane++) {
        float top = -INFINITY;
        for (int key = 0; key < keys; key++) {
            const int at = key * TILE_ROWS + lane;
            float want = old[at];
            if (with_bias) want += bias[at];
            if (with_hide && hide[key] >> lane & 1) want = -INFINITY;
            if (!same(st[at], want))
                fail_msg("%s: keys=%d vectors=%d bias=%d hide=%d key %d lane %d: %g, want %g",
                         k->name, keys, vectors, with_bias, with_hide, key, lane, (double)st[at],
                         (double)want);
            if (want > top) top = want;
        }
        if (tmax[lane] != top)
            fail_msg("%s: keys=%d vectors=%d lane %d: maximum %g, want %g", k->name, keys, vectors,
                     lane, (double)tmax[lane], (double)top);
    }
    for (int i = 0; i < OPERANDS; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", k->name, i);
    for (int key = 0; key + 1 < keys; key++)
        for (int lane = lanes; lane < TILE_ROWS; lane++)
            assert_true(same(st[key * TILE_ROWS + lane], old[key * TILE_ROWS + lane]));
    free(old);
}

static void shapes(const fattn_kernels *k)
{
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc(64 * 64 * 4);
    static const int key_counts[] = {1, 2, 7, 33, 64};
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (int vectors = 1; vectors * k->lanes <= TILE_ROWS; vectors += k->lanes == 1 ? 7 : 1)
            for (int form = 0; form < 8; form++)
                run(k, key_counts[i], vectors, form & 1, form & 2,
                    form & 4 ? GUARD_BEFORE : GUARD_AFTER, g);
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

static void test_shapes(void **state)
{
    (void)state;
    each_isa(shapes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
