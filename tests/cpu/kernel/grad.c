/* SPDX-License-Identifier: Apache-2.0 */
/* grad.c — the backward kernels against their contract in double, between inaccessible pages; one lane,
 * one element has the same bits whatever stands beside it. --bench prints the speed. */
#include "check.h"

static const int key_counts[] = {1, 2, 3, 5, 6, 7, 10, 33, 64};
static const int row_counts[] = {1, 2, 7, 33, 64};

/* ---- lane_dot -----------------------------------------------------------------------------------
 */

static void lane_dots(const fattn_kernels *kernels)
{
    enum { D_MAX = 70 };
    uint64_t seed = 1;
    guard a = guard_alloc(D_MAX * TILE_ROWS * 4), b = guard_alloc(D_MAX * TILE_ROWS * 4);
    guard s = guard_alloc(TILE_ROWS * 4);
    for (int d = 1; d <= D_MAX; d += 23)
        for (int vectors = 1; vectors * kernels->lanes <= TILE_ROWS; vectors++) {
            const int lanes = vectors * kernels->lanes;
            const size_t n = (size_t)(d - 1) * TILE_ROWS + (size_t)lanes;
            float *x = guard_place(&a, n * 4, 0, GUARD_AFTER);
            float *y = guard_place(&b, n * 4, 0, GUARD_AFTER);
            float *sum = guard_place(&s, (size_t)lanes * 4, 0, GUARD_AFTER);
            random_fill(x, n, &seed);
            random_fill(y, n, &seed);
            kernels->lane_dot(sum, x, y, d, vectors);
            for (int lane = 0; lane < lanes; lane++) {
                double want = 0, size = 0;
                for (int c = 0; c < d; c++) {
                    const double product =
                        (double)x[c * TILE_ROWS + lane] * (double)y[c * TILE_ROWS + lane];
                    want += product, size += fabs(product);
                }
                if (!(fabs((double)sum[lane] - want) <= (d + 1) * unit * size))
                    fail_msg("%s: d=%d lane %d: %.9g, want %.9g", kernels->name, d, lane,
                             (double)sum[lane], want);
            }
            assert_true(guard_intact(&a) && guard_intact(&b) && guard_intact(&s));
        }
    guard_free(&a), guard_free(&b), guard_free(&s);
}

static void test_lane_dot(void **state)
{
    (void)state;
    each_isa(lane_dots);
}

/* ---- grad ---------------------------------------------------------------------------------------
 */

typedef struct tile {
    float st[TILE_KEYS * TILE_ROWS], dp[TILE_KEYS * TILE_ROWS];
    float m[TILE_ROWS], inv[TILE_ROWS], delta[TILE_ROWS];
    uint64_t hide[TILE_KEYS], keep[TILE_KEYS];
    fattn_grad_rows rows;
} tile;

static void fill_tile(tile *t, uint64_t seed)
{
    random_fill(t->st, TILE_KEYS * TILE_ROWS, &seed);
    random_fill(t->dp, TILE_KEYS * TILE_ROWS, &seed);
    random_fill(t->delta, TILE_ROWS, &seed);
    for (int i = 0; i < TILE_KEYS * TILE_ROWS; i++) t->st[i] *= 20;
    for (int i = 0; i < TILE_ROWS; i++) {
        t->m[i] = 5 * random_float(&seed);
        t->inv[i] = 0.1f + fabsf(random_float(&seed));
    }
    for (int i = 0; i < TILE_KEYS; i++) {
        t->hide[i] = (uint64_t)random_bits(&seed) << 32 | random_bits(&seed);
        t->keep[i] = (uint64_t)random_bits(&seed) << 32 | random_bits(&seed);
    }
    t->rows = (fattn_grad_rows){t->m, t->inv, t->delta, 1.25f};
}

/* The contract, with the roundings of exp2, four products and a difference. */
static void check_cell(const char *isa, const tile *old, const tile *now, int key, int lane,
                       int hidden, int dropout)
{
    const int at = key * TILE_ROWS + lane;
    const double p =
        exp2((double)old->st[at] - (double)old->m[lane]) * (double)old->inv[lane];
    const double factor = dropout ? (old->keep[key] >> lane & 1 ? 1.25 : 0) : 1;
    const double g = (double)old->dp[at] * factor, delta = (double)old->delta[lane];
    double weight = p * factor, ds = p * (g - delta), off = (8 + fabs((double)old->st[at]) +
                                                            fabs((double)old->m[lane])) * unit;
    if (hidden && old->hide[key] >> lane & 1) weight = ds = 0, off = 0;
    const double size = p * (fabs(g) + fabs(delta));
    if (!(fabs((double)now->st[at] - weight) <= off * fabs(weight) + 0x1p-126) ||
        !(fabs((double)now->dp[at] - ds) <= off * size + 0x1p-126))
        fail_msg("%s: key %d lane %d hidden %d dropout %d: %.9g %.9g, want %.9g %.9g", isa, key,
                 lane, hidden, dropout, (double)now->st[at], (double)now->dp[at], weight, ds);
}

static void grads(const fattn_kernels *kernels)
{
    tile *old = malloc(sizeof *old), *now = malloc(sizeof *now);
    if (!old || !now) abort();
    fill_tile(old, 3);
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (int vectors = 1; vectors * kernels->lanes <= TILE_ROWS; vectors++)
            for (int way = 0; way < 4; way++) {
                const int hidden = way & 1, dropout = way >> 1, keys = key_counts[i];
                const int lanes = vectors * kernels->lanes;
                memcpy(now, old, sizeof *now);
                kernels->grad(now->st, now->dp, keys, vectors, &old->rows,
                              hidden ? old->hide : NULL, dropout ? old->keep : NULL);
                for (int at = 0; at < TILE_KEYS * TILE_ROWS; at++) {
                    if (at / TILE_ROWS < keys && at % TILE_ROWS < lanes)
                        check_cell(kernels->name, old, now, at / TILE_ROWS, at % TILE_ROWS, hidden,
                                   dropout);
                    else if (!same(now->st[at], old->st[at]) || !same(now->dp[at], old->dp[at]))
                        fail_msg("%s: wrote beside the tile", kernels->name);
                }
            }
    free(old), free(now);
}

static void test_grad(void **state)
{
    (void)state;
    each_isa(grads);
}

/* What stands in a hidden or dropped cell is not looked at; NaN elsewhere stays in its cell. */
static void specials(const fattn_kernels *kernels)
{
    tile *t = malloc(sizeof *t);
    if (!t) abort();
    fill_tile(t, 4);
    memset(t->hide, 0, sizeof t->hide);
    memset(t->keep, 0xff, sizeof t->keep);
    t->hide[3] = UINT64_C(1) << 9;
    t->st[3 * TILE_ROWS + 9] = t->dp[3 * TILE_ROWS + 9] = NAN; /* hidden */
    t->keep[4] = ~(UINT64_C(1) << 10);
    t->dp[4 * TILE_ROWS + 10] = INFINITY; /* dropped: dy . v does not count */
    t->st[5 * TILE_ROWS + 11] = -INFINITY;
    t->st[6 * TILE_ROWS + 12] = NAN;
    kernels->grad(t->st, t->dp, TILE_KEYS, TILE_ROWS / kernels->lanes, &t->rows, t->hide, t->keep);
    for (int key = 0; key < TILE_KEYS; key++)
        for (int lane = 0; lane < TILE_ROWS; lane++) {
            const int bad = key == 6 && lane == 12, at = key * TILE_ROWS + lane;
            if ((isnan(t->st[at]) != 0) != bad || (isfinite(t->dp[at]) != 0) == bad)
                fail_msg("%s: key %d lane %d: %g %g", kernels->name, key, lane, (double)t->st[at],
                         (double)t->dp[at]);
        }
    assert_true(t->st[3 * TILE_ROWS + 9] == 0 && t->dp[3 * TILE_ROWS + 9] == 0);
    assert_true(t->st[4 * TILE_ROWS + 10] == 0);
    assert_true(t->st[5 * TILE_ROWS + 11] == 0 && t->dp[5 * TILE_ROWS + 11] == 0);
    free(t);
}

static void test_specials(void **state)
{
    (void)state;
    each_isa(specials);
}

/* ---- kv_grad ------------------------------------------------------------------------------------
 */

enum { O, W, X, OPERANDS };

static void check_sums(const fattn_kernels *kernels, int keys, int rows, int cols, size_t offset,
                       guard g[OPERANDS])
{
    uint64_t seed = (uint64_t)(keys * 100 + rows);
    const ptrdiff_t ldo = cols + LANES_MAX, ldx = cols + 3;
    const size_t no = (size_t)(keys - 1) * (size_t)ldo + (size_t)cols;
    const size_t nw = (size_t)(keys - 1) * TILE_ROWS + (size_t)rows;
    const size_t nx = (size_t)(rows - 1) * (size_t)ldx + (size_t)cols;
    float *o = guard_place(&g[O], no * 4, 0, GUARD_AFTER), *old = scratch(no);
    float *w = guard_place(&g[W], nw * 4, 0, GUARD_AFTER);
    float *x = guard_place(&g[X], nx * 4, offset, GUARD_AFTER);
    random_fill(o, no, &seed);
    random_fill(w, nw, &seed);
    random_fill(x, nx, &seed);
    memcpy(old, o, no * 4);
    kernels->kv_grad(o, ldo, w, x, ldx, keys, rows, cols);
    for (int key = 0; key < keys; key++)
        for (int c = 0; c < ldo && key * ldo + c < (ptrdiff_t)no; c++) {
            double want = (double)old[key * ldo + c], size = fabs(want);
            for (int row = 0; row < rows && c < cols; row++) {
                const double product =
                    (double)w[key * TILE_ROWS + row] * (double)x[row * ldx + c];
                want += product, size += fabs(product);
            }
            const double off = c < cols ? (rows + 1) * unit * size : 0;
            if (!(fabs((double)o[key * ldo + c] - want) <= off))
                fail_msg("%s: keys=%d rows=%d cols=%d key %d col %d: %.9g, want %.9g",
                         kernels->name, keys, rows, cols, key, c, (double)o[key * ldo + c], want);
        }
    for (int i = 0; i < OPERANDS; i++) assert_true(guard_intact(&g[i]));
    free(old);
}

static void sums(const fattn_kernels *kernels)
{
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc(64 * 256 * 4);
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (size_t j = 0; j < sizeof row_counts / sizeof *row_counts; j++)
            for (int n = 1; n <= 9; n++)
                check_sums(kernels, key_counts[i], row_counts[j], n * kernels->lanes, 0, g);
    for (size_t offset = 0; offset < 64; offset += 4)
        check_sums(kernels, 13, 5, 5 * kernels->lanes, offset, g);
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

static void test_sums(void **state)
{
    (void)state;
    each_isa(sums);
}

/* Whatever keys and columns stand beside it; and rows of weight 0 at either end may be left out. */
static void same_bits(const fattn_kernels *kernels)
{
    enum { COLS = 144, FIRST = 5, END = 61 };
    uint64_t seed = 8;
    float *old = scratch(64 * COLS), *whole = scratch(64 * COLS), *part = scratch(64 * COLS);
    float *w = scratch(64 * 64), *x = scratch(64 * COLS);
    random_fill(old, 64 * COLS, &seed);
    random_fill(w, 64 * 64, &seed);
    random_fill(x, 64 * COLS, &seed);
    for (int key = 0; key < 64; key++)
        for (int row = 0; row < 64; row++)
            if (row < FIRST || row >= END) w[key * 64 + row] = 0.0f;
    memcpy(whole, old, 64 * COLS * 4);
    kernels->kv_grad(whole, COLS, w, x, COLS, 64, 64, COLS);
    for (int keys = 1; keys <= 64; keys++) {
        const int key = 64 - keys, c = COLS - (keys % 9 + 1) * kernels->lanes;
        const int first = keys % (FIRST + 1), end = 64 - keys % (64 - END + 1);
        memcpy(part, old, 64 * COLS * 4);
        kernels->kv_grad(part + key * COLS + c, COLS, w + key * 64 + first, x + first * COLS + c, COLS,
                         keys, end - first, COLS - c);
        for (int i = key; i < 64; i++)
            if (memcmp(part + i * COLS + c, whole + i * COLS + c, (size_t)(COLS - c) * 4))
                fail_msg("%s: %d keys change the bits of key %d", kernels->name, keys, i);
    }
    free(old), free(whole), free(part), free(w), free(x);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(same_bits);
}

/* ---- speed --------------------------------------------------------------------------------------
 */

typedef struct bench_tile {
    const fattn_kernels *kernels;
    float *o, *w, *x;
    int cols;
    tile *t;
} bench_tile;

static void bench_sums(void *arg)
{
    bench_tile *b = arg;
    b->kernels->kv_grad(b->o, b->cols, b->w, b->x, b->cols, TILE_KEYS, TILE_ROWS, b->cols);
}

static void bench_grad(void *arg)
{
    bench_tile *b = arg;
    b->kernels->grad(b->t->st, b->t->dp, TILE_KEYS, TILE_ROWS / b->kernels->lanes, &b->t->rows,
                     NULL, NULL);
}

static void bench(const fattn_kernels *kernels)
{
    bench_tile b = {.kernels = kernels, .t = malloc(sizeof *b.t)};
    if (!b.t) abort();
    b.o = scratch(64 * 256), b.w = scratch(64 * 64), b.x = scratch(64 * 256);
    for (b.cols = 64; b.cols <= 256; b.cols *= 2) {
        const double flops = 2.0 * TILE_KEYS * TILE_ROWS * b.cols, peak = probe_peak(kernels, 40);
        const double rate = flops / best_time(bench_sums, &b, 50);
        printf("kv_grad %-7s cols %3d  %7.1f GFLOP/s  %5.1f %% of %.1f\n", kernels->name, b.cols,
               rate * 1e-9, 100 * rate / peak, peak * 1e-9);
    }
    fill_tile(b.t, 5);
    printf("grad    %-7s  %.2f cells/ns\n", kernels->name,
           TILE_KEYS * TILE_ROWS / best_time(bench_grad, &b, 50) * 1e-9);
    free(b.o), free(b.w), free(b.x), free(b.t);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lane_dot), cmocka_unit_test(test_grad),
        cmocka_unit_test(test_specials), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_same_bits),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
