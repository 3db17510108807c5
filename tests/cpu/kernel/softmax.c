/* SPDX-License-Identifier: Apache-2.0 */
/* softmax.c — the online softmax, several steps in a row, against the contract in double: p, l, m,
 * top, alpha and the return value, in lanes (softmax) and in rows (softmax_rows). --bench prints
 * the speed. */
#include "check.h"

static const double exp2_bound = 1.6858739404357614e-07; /* 2^-22.5 */

/* One row of the online softmax as the contract words it. */
typedef struct row_state {
    float m, top;
    double l, slack; /* slack: what rounding may have done to l */
} row_state;

enum { STEPS = 7 };

/* Scores of a step: the kinds are chosen so that the reference stays, creeps and jumps. */
static float score(int kind, int step, int key, uint64_t *seed)
{
    const float noise = random_float(seed);
    switch (kind % 8) {
    case 0:
        return 3 * noise;
    case 1:
        return noise + 20 * (float)step; /* jumps every time */
    case 2:
        return noise - 20 * (float)step; /* never again */
    case 3:
        return noise + 3 * (float)step; /* creeps under the headroom */
    case 4:
        return step < 3 ? -INFINITY : noise; /* sees nothing for a while */
    case 5:
        return key == step ? 100 * noise : -INFINITY;
    case 6:
        return -INFINITY; /* sees nothing at all */
    default:
        return 1e4f * noise;
    }
}

static int near(double got, double want, double slack) { return fabs(got - want) <= slack; }

/* Applies one step to `row`; checks p[key * stride], the new state, alpha. Returns: did m move? */
static int check_row(const char *what, row_state *row, const float *s, const float *p,
                     ptrdiff_t stride, int keys, float m, float top, float l, float alpha)
{
    float max = -INFINITY;
    for (int key = 0; key < keys; key++)
        if (s[key * stride] > max) max = s[key * stride];

    const int moves = max > row->m + 8;
    const float m_old = row->m;
    if (moves) row->m = max;
    if (max > row->top) row->top = max;
    const double want_alpha = moves ? exp2((double)(m_old - row->m)) : 1;
    if (m != row->m) fail_msg("%s: m is %g, want %g", what, (double)m, (double)row->m);
    if (top != row->top) fail_msg("%s: top is %g, want %g", what, (double)top, (double)row->top);
    if (moves ? !near((double)alpha, want_alpha, exp2_bound * want_alpha + FLT_MIN) : alpha != 1)
        fail_msg("%s: alpha is %.9g, want %.9g", what, (double)alpha, want_alpha);

    double sum = 0;
    for (int key = 0; key < keys; key++) {
        const float x = row->m == -INFINITY ? -INFINITY : s[key * stride] - row->m;
        const double want = exp2((double)x);
        const float got = p[key * stride];
        if (!near((double)got, want, exp2_bound * want + FLT_MIN))
            fail_msg("%s: p of key %d is %.9g, want %.9g", what, key, (double)got, want);
        if (x == 0 && got != 1) fail_msg("%s: 2^0 is %.9g", what, (double)got);
        sum += want;
    }
    row->slack = row->slack * want_alpha + (exp2_bound + 2 * unit) * row->l * want_alpha +
                 (exp2_bound + (keys + 2) * unit) * sum + 70 * FLT_MIN;
    row->l = row->l * want_alpha + sum;
    if (!near((double)l, row->l, row->slack))
        fail_msg("%s: l is %.9g, want %.9g +- %g", what, (double)l, row->l, row->slack);
    return moves;
}

enum { ST, TMAX, M, TOP, L, ALPHA, OPERANDS };

static void lanes_run(const fattn_kernels *k, int keys, int vectors, guard_side side,
                      guard g[OPERANDS])
{
    uint64_t seed = (uint64_t)(keys * 64 + vectors);
    const int lanes = vectors * k->lanes;
    const size_t n = (size_t)(keys - 1) * TILE_ROWS + (size_t)lanes;
    float *st = guard_place(&g[ST], n * 4, 0, side), *v[OPERANDS], *old = scratch(n);
    for (int i = TMAX; i < OPERANDS; i++) v[i] = guard_place(&g[i], (size_t)lanes * 4, 0, side);
    row_state row[TILE_ROWS];
    for (int lane = 0; lane < lanes; lane++) {
        row[lane] = (row_state){.m = -INFINITY, .top = -INFINITY};
        v[M][lane] = v[TOP][lane] = -INFINITY, v[L][lane] = 0;
    }
    for (int step = 0; step < STEPS; step++) {
        for (int lane = 0; lane < lanes; lane++) {
            v[TMAX][lane] = -INFINITY;
            for (int key = 0; key < keys; key++) {
                const float s = score(lane + keys, step, key, &seed);
                st[key * TILE_ROWS + lane] = old[key * TILE_ROWS + lane] = s;
                if (s > v[TMAX][lane]) v[TMAX][lane] = s;
            }
        }
        const int moved = k->softmax(st, keys, vectors, v[TMAX], v[M], v[TOP], v[L], v[ALPHA]);
        int want_moved = 0;
        for (int lane = 0; lane < lanes; lane++) {
            char what[100];
            snprintf(what, sizeof what, "%s: keys=%d vectors=%d step %d lane %d", k->name, keys,
                     vectors, step, lane);
            want_moved |= check_row(what, &row[lane], old + lane, st + lane, TILE_ROWS, keys,
                                    v[M][lane], v[TOP][lane], v[L][lane], v[ALPHA][lane]);
        }
        assert_int_equal(moved != 0, want_moved);
        for (int i = 0; i < OPERANDS; i++)
            if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", k->name, i);
    }
    free(old);
}

static void lanes(const fattn_kernels *k)
{
    static const int key_counts[] = {1, 2, 5, 33, 64};
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc(64 * 64 * 4);
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (int n = 1; n * k->lanes <= TILE_ROWS; n += k->lanes == 1 ? 9 : 1)
            lanes_run(k, key_counts[i], n, (n + (int)i) % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

static void test_lanes(void **state)
{
    (void)state;
    each_isa(lanes);
}

enum { S, R_M, R_TOP, R_L, R_ALPHA, R_OPERANDS };

static void rows_run(const fattn_kernels *k, int rows, int keys, size_t offset, guard_side side,
                     guard g[R_OPERANDS])
{
    uint64_t seed = (uint64_t)(rows * 64 + keys);
    float *s = guard_place(&g[S], (size_t)(rows * TILE_KEYS) * 4, 0, side), *v[R_OPERANDS];
    float old[DOT_ROWS * TILE_KEYS];
    row_state row[DOT_ROWS];
    for (int i = R_M; i < R_OPERANDS; i++)
        v[i] = guard_place(&g[i], (size_t)rows * 4, offset, side);
    for (int r = 0; r < rows; r++) {
        row[r] = (row_state){.m = -INFINITY, .top = -INFINITY};
        v[R_M][r] = v[R_TOP][r] = -INFINITY, v[R_L][r] = 0;
    }
    for (int step = 0; step < STEPS; step++) {
        for (int r = 0; r < rows; r++)
            for (int key = 0; key < TILE_KEYS; key++)
                s[r * TILE_KEYS + key] = old[r * TILE_KEYS + key] =
                    key < keys ? score(r + keys, step, key, &seed) : -INFINITY;
        const int moved = k->softmax_rows(s, rows, v[R_M], v[R_TOP], v[R_L], v[R_ALPHA]);
        int want_moved = 0;
        for (int r = 0; r < rows; r++) {
            char what[100];
            snprintf(what, sizeof what, "%s: rows=%d keys=%d step %d row %d", k->name, rows, keys,
                     step, r);
            want_moved |= check_row(what, &row[r], old + r * TILE_KEYS, s + r * TILE_KEYS, 1,
                                    TILE_KEYS, v[R_M][r], v[R_TOP][r], v[R_L][r], v[R_ALPHA][r]);
            for (int key = keys; key < TILE_KEYS; key++) assert_true(s[r * TILE_KEYS + key] == 0);
        }
        assert_int_equal(moved != 0, want_moved);
        for (int i = 0; i < R_OPERANDS; i++)
            if (!guard_intact(&g[i])) fail_msg("%s: rows wrote beside operand %d", k->name, i);
    }
}

static void rows(const fattn_kernels *k)
{
    guard g[R_OPERANDS];
    for (int i = 0; i < R_OPERANDS; i++) g[i] = guard_alloc(DOT_ROWS * TILE_KEYS * 4);
    for (int n = 1; n <= DOT_ROWS; n++)
        for (int keys = 1; keys <= TILE_KEYS; keys += keys < 9 ? 1 : 11)
            rows_run(k, n, keys, (size_t)(keys % 16) * 4, keys % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
    for (int i = 0; i < R_OPERANDS; i++) guard_free(&g[i]);
}

static void test_rows(void **state)
{
    (void)state;
    each_isa(rows);
}

/* A lane, a row, alone: the same bits. NaN stays in its own. */
static void same_bits(const fattn_kernels *k)
{
    enum { KEYS = 23, BAD = 7 };
    uint64_t seed = 11;
    const int most = TILE_ROWS / k->lanes;
    float *st = scratch(64 * 64), *whole = scratch(64 * 64), *part = scratch(64 * 64);
    float tmax[64], init[3][64], w[4][64], p[4][64];
    for (int lane = 0; lane < 64; lane++) {
        tmax[lane] = -INFINITY;
        for (int key = 0; key < KEYS; key++) {
            const float x = 30 * random_float(&seed);
            st[key * 64 + lane] = x;
            if (x > tmax[lane]) tmax[lane] = x;
        }
        init[0][lane] = init[1][lane] = lane % 3 ? 20 * random_float(&seed) : -INFINITY;
        init[2][lane] = lane % 3 ? 1 + random_float(&seed) : 0;
    }
    st[3 * 64 + BAD] = NAN; /* one NaN among numbers; and a lane that has nothing else */
    for (int key = 0; key < KEYS; key++) st[key * 64 + BAD + 2] = NAN;
    tmax[BAD + 2] = -INFINITY, init[0][BAD + 2] = init[1][BAD + 2] = -INFINITY,
               init[2][BAD + 2] = 0;
    memcpy(whole, st, 64 * 64 * 4);
    memcpy(w, init, sizeof init);
    k->softmax(whole, KEYS, most, tmax, w[0], w[1], w[2], w[3]);
    for (int lane = 0; lane < 64; lane++) {
        const int bad = lane == BAD || lane == BAD + 2;
        if ((isnan(w[2][lane]) != 0) != bad)
            fail_msg("%s: l of lane %d is %g", k->name, lane, (double)w[2][lane]);
        assert_int_equal(isnan(whole[3 * 64 + lane]) != 0, bad);
        assert_int_equal(isnan(whole[4 * 64 + lane]) != 0, lane == BAD + 2);
    }
    for (int n = 1; n <= most; n++) {
        const int from = (most - n) * k->lanes;
        memcpy(part, st, 64 * 64 * 4);
        memcpy(p, init, sizeof init);
        k->softmax(part + from, KEYS, n, tmax + from, p[0] + from, p[1] + from, p[2] + from,
                   p[3] + from);
        for (int lane = from; lane < 64; lane++) {
            for (int key = 0; key < KEYS; key++)
                if (!same(part[key * 64 + lane], whole[key * 64 + lane]))
                    fail_msg("%s: %d vectors change p of lane %d", k->name, n, lane);
            for (int i = 0; i < 4; i++)
                if (!same(p[i][lane], w[i][lane]))
                    fail_msg("%s: %d vectors change lane %d", k->name, n, lane);
        }
    }
    memcpy(whole, st, 64 * 64 * 4); /* read as rows of 64 keys */
    memcpy(w, init, sizeof init);
    k->softmax_rows(whole, DOT_ROWS, w[0], w[1], w[2], w[3]);
    for (int r = 0; r < DOT_ROWS; r++) {
        memcpy(part, st, 64 * 64 * 4);
        memcpy(p, init, sizeof init);
        k->softmax_rows(part + r * 64, 1, p[0] + r, p[1] + r, p[2] + r, p[3] + r);
        for (int i = 0; i < 4; i++) assert_true(same(p[i][r], w[i][r]));
        for (int key = 0; key < 64; key++)
            assert_true(same(part[r * 64 + key], whole[r * 64 + key]));
        const int bad = isnan(st[r * 64 + BAD]) || isnan(st[r * 64 + BAD + 2]);
        assert_int_equal(isnan(w[2][r]) != 0, bad);
    }
    free(st), free(whole), free(part);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(same_bits);
}

/* Nothing but NaN in a row that has seen nothing: NaN, not 0. */
static void only_nan(const fattn_kernels *k)
{
    float s[TILE_KEYS], m = -INFINITY, top = -INFINITY, l = 0, alpha;
    for (int key = 0; key < TILE_KEYS; key++) s[key] = key < 5 ? NAN : -INFINITY;
    k->softmax_rows(s, 1, &m, &top, &l, &alpha);
    assert_true(isnan(s[0]) && isnan(s[4]) && s[5] == 0 && isnan(l));
}

static void test_only_nan(void **state)
{
    (void)state;
    each_isa(only_nan);
}

typedef struct bench_tile {
    const fattn_kernels *kernels;
    float *st, tmax[64], m[64], top[64], l[64], alpha[64];
} bench_tile;

static void bench_lanes(void *arg)
{
    bench_tile *b = arg;
    const fattn_kernels *k = b->kernels;
    k->softmax(b->st, TILE_KEYS, TILE_ROWS / k->lanes, b->tmax, b->m, b->top, b->l, b->alpha);
}

static void bench_rows(void *arg)
{
    bench_tile *b = arg;
    b->kernels->softmax_rows(b->st, DOT_ROWS, b->m, b->top, b->l, b->alpha);
}

static void bench(const fattn_kernels *k)
{
    bench_tile b = {.kernels = k, .st = scratch(64 * 64)}; /* p of p: a number between 0.5 and 2 */
    for (int i = 0; i < 64; i++) b.tmax[i] = b.m[i] = b.top[i] = 1;
    const double lanes_time = best_time(bench_lanes, &b, 50),
                 rows_time = best_time(bench_rows, &b, 50);
    const double peak = probe_peak(k, 20),
                 flops = 4.0 * 64 * 64 * 64; /* qk and pv of the tile at d 64 */
    printf(
        "softmax %-7s %5.2f scores/ns (%.1f %% of qk + pv at peak, d 64)   rows %5.2f scores/ns\n",
        k->name, 64 * 64 / lanes_time * 1e-9, 100 * lanes_time * peak / flops,
        DOT_ROWS * 64 / rows_time * 1e-9);
    free(b.st);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_only_nan),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
