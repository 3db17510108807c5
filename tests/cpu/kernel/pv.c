/* SPDX-License-Identifier: Apache-2.0 */
/* pv.c — the weighted sum of values against a sum in double, between inaccessible pages; one
 * element has the same bits whatever rows and columns stand beside it. --bench prints the speed. */
#include "check.h"

static const int row_counts[] = {1, 2, 3, 4, 5, 6, 7, 9, 10, 15, 33, 64};
static const int key_counts[] = {1, 2, 7, 33, 64};

typedef struct tile {
    int rows, keys, cols;
    ptrdiff_t ldo, ldv;
    const float *alpha; /* may be NULL */
} tile;

static void check_tile(const char *isa, const tile *t, const float *o, const float *old,
                       const float *pt, const float *v)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++) {
            double want = (double)old[r * t->ldo + c] * (t->alpha ? (double)t->alpha[r] : 1.0);
            double size = fabs(want);
            for (int key = 0; key < t->keys; key++) {
                const double product =
                    (double)pt[key * TILE_ROWS + r] * (double)v[key * t->ldv + c];
                want += product, size += fabs(product);
            }
            const float got = o[r * t->ldo + c];
            if (!(fabs((double)got - want) <= (t->keys + 2) * unit * size))
                fail_msg("%s: rows=%d keys=%d cols=%d alpha=%d row %d col %d: %.9g, want %.9g", isa,
                         t->rows, t->keys, t->cols, t->alpha != NULL, r, c, (double)got, want);
        }
}

enum { O, PT, V, ALPHA, OPERANDS };

static void run_guarded(const fattn_kernels *kernels, tile t, int with_alpha, size_t offset,
                        guard_side side, guard g[OPERANDS])
{
    uint64_t seed = (uint64_t)(t.rows * 100 + t.keys);
    const size_t no = (size_t)(t.rows - 1) * (size_t)t.ldo + (size_t)t.cols;
    const size_t np = (size_t)(t.keys - 1) * TILE_ROWS + (size_t)t.rows;
    const size_t nv = (size_t)(t.keys - 1) * (size_t)t.ldv + (size_t)t.cols;
    float *o = guard_place(&g[O], no * 4, 0, side), *pt = guard_place(&g[PT], np * 4, 0, side);
    float *v = guard_place(&g[V], nv * 4, offset, side);
    float *alpha = guard_place(&g[ALPHA], (size_t)t.rows * 4, 0, side), *old = scratch(no);
    random_fill(o, no, &seed);
    random_fill(pt, np, &seed);
    random_fill(v, nv, &seed);
    random_fill(alpha, (size_t)t.rows, &seed);
    memcpy(old, o, no * 4);
    t.alpha = with_alpha ? alpha : NULL;

    kernels->pv(o, t.ldo, pt, v, t.ldv, t.rows, t.keys, t.cols, t.alpha);

    check_tile(kernels->name, &t, o, old, pt, v);
    for (int i = 0; i < OPERANDS; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", kernels->name, i);
    for (int r = 0; r + 1 < t.rows; r++)
        if (memcmp(o + r * t.ldo + t.cols, old + r * t.ldo + t.cols, (size_t)(t.ldo - t.cols) * 4))
            fail_msg("%s: wrote between rows %d and %d", kernels->name, r, r + 1);
    free(old);
}

static void shapes(const fattn_kernels *kernels)
{
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc(64 * 256 * 4);
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
        for (size_t j = 0; j < sizeof key_counts / sizeof *key_counts; j++)
            for (int n = 1; n <= 9; n++) {
                const int turn = (int)(i + j) + n, cols = n * kernels->lanes;
                tile t = {.rows = row_counts[i], .keys = key_counts[j], .cols = cols};
                t.ldo = (cols + LANES_MAX - 1) / LANES_MAX * LANES_MAX + turn % 2 * LANES_MAX;
                t.ldv = cols + turn % 3;
                run_guarded(kernels, t, turn / 2 % 2, 0, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
            }
    for (size_t offset = 0; offset < 64; offset += 4)
        for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++) {
            tile t = {.rows = 13, .keys = 5, .cols = 7 * kernels->lanes, .ldo = 112};
            t.ldv = t.cols;
            run_guarded(kernels, t, 1, offset, (guard_side)side, g);
        }
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

static void test_shapes(void **state)
{
    (void)state;
    each_isa(shapes);
}

static void same_bits(const fattn_kernels *kernels)
{
    enum { COLS = 144, KEYS = 19 };
    uint64_t seed = 8;
    float *old = scratch(64 * COLS), *whole = scratch(64 * COLS), *part = scratch(64 * COLS);
    float *pt = scratch(64 * 64), *v = scratch(64 * COLS), alpha[64];
    random_fill(old, 64 * COLS, &seed);
    random_fill(pt, 64 * 64, &seed);
    random_fill(v, 64 * COLS, &seed);
    random_fill(alpha, 64, &seed);
    memcpy(whole, old, 64 * COLS * 4);
    kernels->pv(whole, COLS, pt, v, COLS, 64, KEYS, COLS, alpha);
    for (int rows = 1; rows <= 64; rows++)
        for (int cols = kernels->lanes; cols <= COLS;
             cols += rows % 5 ? 5 * kernels->lanes : kernels->lanes) {
            const int r = 64 - rows, c = COLS - cols;
            memcpy(part, old, 64 * COLS * 4);
            kernels->pv(part + r * COLS + c, COLS, pt + r, v + c, COLS, rows, KEYS, cols,
                        alpha + r);
            for (int i = r; i < 64; i++)
                if (memcmp(part + i * COLS + c, whole + i * COLS + c, (size_t)cols * 4))
                    fail_msg("%s: %d rows, %d columns change the bits of row %d", kernels->name,
                             rows, cols, i);
        }
    for (int i = 0; i < 64; i++) alpha[i] = 1;
    memcpy(whole, old, 64 * COLS * 4);
    kernels->pv(whole, COLS, pt, v, COLS, 64, KEYS, COLS, alpha);
    memcpy(part, old, 64 * COLS * 4);
    kernels->pv(part, COLS, pt, v, COLS, 64, KEYS, COLS, NULL);
    assert_memory_equal(whole, part, 64 * COLS * 4); /* alpha 1 is no alpha */
    free(old), free(whole), free(part), free(pt), free(v);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(same_bits);
}

/* NaN in one weight, one value, one old element: its row, its column, itself. */
static void specials(const fattn_kernels *kernels)
{
    enum { COLS = 80, KEYS = 11 };
    uint64_t seed = 9;
    float *o = scratch(64 * COLS), *pt = scratch(64 * 64), *v = scratch(64 * COLS);
    random_fill(o, 64 * COLS, &seed);
    random_fill(pt, 64 * 64, &seed);
    random_fill(v, 64 * COLS, &seed);
    pt[3 * 64 + 20] = NAN;
    v[7 * COLS + 33] = NAN;
    o[50 * COLS + 70] = NAN;
    v[8 * COLS + 40] = 1e-41f;
    kernels->pv(o, COLS, pt, v, COLS, 64, KEYS, COLS, NULL);
    for (int r = 0; r < 64; r++)
        for (int c = 0; c < COLS; c++) {
            const int bad = r == 20 || c == 33 || (r == 50 && c == 70);
            if ((isnan(o[r * COLS + c]) != 0) != bad)
                fail_msg("%s: row %d column %d", kernels->name, r, c);
        }
    free(o), free(pt), free(v);
}

static void test_specials(void **state)
{
    (void)state;
    each_isa(specials);
}

typedef struct bench_tile {
    const fattn_kernels *kernels;
    float *o, *pt, *v;
    int rows, cols;
} bench_tile;

static void bench_call(void *arg)
{
    bench_tile *b = arg;
    b->kernels->pv(b->o, b->cols, b->pt, b->v, b->cols, b->rows, TILE_KEYS, b->cols, NULL);
}

static void bench(const fattn_kernels *kernels)
{
    for (int cols = 64; cols <= 256; cols *= 2)
        for (int rows = 64; rows >= 8; rows /= 2) {
            bench_tile b = {.kernels = kernels, .rows = rows, .cols = cols};
            b.o = scratch(64 * 256), b.pt = scratch(64 * 64), b.v = scratch(64 * 256);
            const double flops = 2.0 * TILE_KEYS * rows * cols;
            double peak = probe_peak(kernels, 20);
            const double rate = flops / best_time(bench_call, &b, 50);
            peak = fmax(peak, probe_peak(kernels, 20));
            printf("pv %-7s cols %3d rows %2d  %7.1f GFLOP/s  %5.1f %% of %.1f\n", kernels->name,
                   cols, rows, rate * 1e-9, 100 * rate / peak, peak * 1e-9);
            free(b.o), free(b.pt), free(b.v);
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
