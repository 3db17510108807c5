/* SPDX-License-Identifier: Apache-2.0 */
/* qk.c — the transposed score tile against a sum in double, with every input and output between
 * inaccessible pages; one score alone has the bits it has among 64 x 64. --bench prints speed. */
#include "check.h"

static const int key_counts[] = {1, 2, 3, 5, 6, 7, 8, 11, 13, 31, 63, 64};
static const int dims[] = {1, 2, 3, 5, 8, 16, 17, 33, 64, 72, 128};

typedef struct tile {
    int keys, d, vectors, lanes; /* lanes = vectors * k->lanes */
    ptrdiff_t ldk;
} tile;

static size_t tile_floats(int rows, int lanes) /* the last row ends with its last lane */
{
    return (size_t)(rows - 1) * TILE_ROWS + (size_t)lanes;
}

static void check_tile(const char *isa, const tile *t, const float *st, const float *qt,
                       const float *k, const float *tmax)
{
    for (int lane = 0; lane < t->lanes; lane++) {
        float top = -INFINITY;
        for (int key = 0; key < t->keys; key++) {
            double want = 0, size = 0;
            for (int c = 0; c < t->d; c++) {
                const double product =
                    (double)k[key * t->ldk + c] * (double)qt[c * TILE_ROWS + lane];
                want += product, size += fabs(product);
            }
            const float got = st[key * TILE_ROWS + lane];
            if (!(fabs((double)got - want) <= (t->d + 1) * unit * size))
                fail_msg("%s: keys=%d d=%d vectors=%d key %d lane %d: %.9g, want %.9g", isa,
                         t->keys, t->d, t->vectors, key, lane, (double)got, want);
            if (got > top) top = got;
        }
        if (!same(top, tmax[lane]))
            fail_msg("%s: keys=%d d=%d vectors=%d: maximum of lane %d is %.9g, not %.9g", isa,
                     t->keys, t->d, t->vectors, lane, (double)top, (double)tmax[lane]);
    }
}

/* k lies `offset` bytes from its fence; the others, which are aligned scratch, end or begin at
 * theirs. */
static void run_guarded(const fattn_kernels *kernels, tile t, size_t offset, guard_side side,
                        guard g[4])
{
    uint64_t seed = (uint64_t)(t.keys * 1000 + t.d);
    const size_t nk = (size_t)(t.keys - 1) * (size_t)t.ldk + (size_t)t.d;
    const size_t nq = tile_floats(t.d, t.lanes), ns = tile_floats(t.keys, t.lanes);
    float *k = guard_place(&g[0], nk * 4, offset, side), *qt = guard_place(&g[1], nq * 4, 0, side);
    float *st = guard_place(&g[2], ns * 4, 0, side);
    float *tmax = guard_place(&g[3], (size_t)t.lanes * 4, 0, side);
    random_fill(k, nk, &seed);
    random_fill(qt, nq, &seed);

    kernels->qk(st, qt, k, t.ldk, t.keys, t.d, t.vectors, tmax);

    check_tile(kernels->name, &t, st, qt, k, tmax);
    for (int i = 0; i < 4; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", kernels->name, i);
    for (int key = 0; key + 1 < t.keys; key++)
        for (int lane = t.lanes; lane < TILE_ROWS; lane++)
            if (float_bits(st[key * TILE_ROWS + lane]) != GUARD_PATTERN * 0x01010101u)
                fail_msg("%s: wrote lane %d of %d", kernels->name, lane, t.lanes);
}

static void shapes(const fattn_kernels *kernels)
{
    guard g[4];
    for (int i = 0; i < 4; i++) g[i] = guard_alloc(64 * 256 * 4);
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (size_t j = 0; j < sizeof dims / sizeof *dims; j++) {
            const int most = TILE_ROWS / kernels->lanes, turn = (int)(i * 11 + j);
            tile t = {.keys = key_counts[i], .d = dims[j], .ldk = dims[j] + turn % 3};
            t.vectors = turn % 4 == 3 ? most : 1 + turn % (most < 8 ? most : 8);
            t.lanes = t.vectors * kernels->lanes;
            run_guarded(kernels, t, 0, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
        }
    for (size_t offset = 0; offset < 64; offset += 4)
        for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++) {
            tile t = {.keys = 7, .d = 19, .ldk = 19, .vectors = 1, .lanes = kernels->lanes};
            run_guarded(kernels, t, offset, (guard_side)side, g);
            t = (tile){
                .keys = 64, .d = 20, .ldk = 20, .vectors = TILE_ROWS / kernels->lanes, .lanes = 64};
            run_guarded(kernels, t, offset, (guard_side)side, g);
        }
    for (int i = 0; i < 4; i++) guard_free(&g[i]);
}

static void test_shapes(void **state)
{
    (void)state;
    each_isa(shapes);
}

static void same_bits(const fattn_kernels *kernels)
{
    enum { D = 37 };
    uint64_t seed = 5;
    const int vectors = TILE_ROWS / kernels->lanes;
    float *k = scratch(64 * D), *qt = scratch(64 * D), *st = scratch(64 * 64),
          *part = scratch(64 * 64);
    float tmax[TILE_ROWS];
    random_fill(k, 64 * D, &seed);
    random_fill(qt, 64 * D, &seed);
    kernels->qk(st, qt, k, D, TILE_KEYS, D, vectors, tmax);
    for (int keys = 1; keys <= TILE_KEYS; keys++)
        for (int n = 1; n <= vectors; n = n < 4 ? n + 1 : n * 2) {
            const int first = TILE_KEYS - keys, from = (vectors - n) * kernels->lanes;
            kernels->qk(part, qt + from, k + first * D, D, keys, D, n, tmax);
            for (int key = 0; key < keys; key++)
                if (memcmp(part + key * 64, st + (first + key) * 64 + from,
                           (size_t)(n * kernels->lanes) * 4))
                    fail_msg("%s: %d keys, %d vectors change the bits of key %d", kernels->name,
                             keys, n, key);
        }
    free(k), free(qt), free(st), free(part);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(same_bits);
}

/* NaN, inf and huge values stay in their own lane and key; the maximum passes over NaN. */
static void specials(const fattn_kernels *kernels)
{
    enum { D = 9, KEYS = 64, BAD_LANE = 3, BAD_KEY = 17, HUGE_KEY = 18, INF_KEY = 40 };
    uint64_t seed = 6;
    float *k = scratch(KEYS * D), *qt = scratch(64 * D), *st = scratch(64 * KEYS), tmax[64];
    random_fill(k, KEYS * D, &seed);
    random_fill(qt, 64 * D, &seed);
    k[BAD_KEY * D + 4] = NAN;
    k[INF_KEY * D] = -INFINITY;
    for (int lane = 0; lane < 64; lane++) qt[lane] = 0.5f + (float)lane;
    k[HUGE_KEY * D] = 3e38f;
    k[HUGE_KEY * D + 1] = 1e-42f;
    qt[5 * 64 + BAD_LANE] = NAN;
    kernels->qk(st, qt, k, D, KEYS, D, TILE_ROWS / kernels->lanes, tmax);
    for (int key = 0; key < KEYS; key++)
        for (int lane = 0; lane < 64; lane++) {
            const float x = st[key * 64 + lane];
            const int bad = key == BAD_KEY || lane == BAD_LANE;
            if ((isnan(x) != 0) != bad)
                fail_msg("%s: key %d lane %d is %g", kernels->name, key, lane, (double)x);
            if (!bad && key == INF_KEY) assert_true(x == -INFINITY);
            if (!bad && key == HUGE_KEY && lane > 2) assert_true(x == INFINITY);
        }
    for (int lane = 0; lane < 64; lane++) {
        float top = -INFINITY;
        for (int key = 0; key < KEYS; key++)
            if (st[key * 64 + lane] > top) top = st[key * 64 + lane];
        if (tmax[lane] != top)
            fail_msg("%s: maximum of lane %d is %g", kernels->name, lane, (double)tmax[lane]);
    }
    free(k), free(qt), free(st);
}

static void test_specials(void **state)
{
    (void)state;
    each_isa(specials);
}

typedef struct bench_tile {
    const fattn_kernels *kernels;
    float *st, *qt, *k, tmax[64];
    int d, vectors;
} bench_tile;

static void bench_call(void *arg)
{
    bench_tile *b = arg;
    b->kernels->qk(b->st, b->qt, b->k, b->d, TILE_KEYS, b->d, b->vectors, b->tmax);
}

static void bench(const fattn_kernels *kernels)
{
    for (int d = 64; d <= 256; d *= 2)
        for (int vectors = TILE_ROWS / kernels->lanes; vectors >= 1; vectors /= 2) {
            bench_tile b = {.kernels = kernels, .d = d, .vectors = vectors};
            b.st = scratch(64 * 64), b.qt = scratch(64 * 256), b.k = scratch(64 * 256);
            const double flops = 2.0 * TILE_KEYS * d * vectors * kernels->lanes;
            double peak = probe_peak(kernels, 20);
            const double rate = flops / best_time(bench_call, &b, 50);
            peak = fmax(peak, probe_peak(kernels, 20));
            printf("qk %-7s d %3d vectors %2d  %7.1f GFLOP/s  %5.1f %% of %.1f\n", kernels->name, d,
                   vectors, rate * 1e-9, 100 * rate / peak, peak * 1e-9);
            free(b.st), free(b.qt), free(b.k);
        }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_specials),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
