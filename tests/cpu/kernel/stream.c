/* SPDX-License-Identifier: Apache-2.0 */
/* stream.c — the dot family in every element type against sums in double, at every offset from a
 * fence, with or without rows ahead; a row and a key alone have the same bits. --bench prints
 * GB/s. */
#include "check.h"

static const int dims[] = {1, 3, 4, 7, 8, 15, 16, 17, 40, 64, 72, 100, 128, 192};

enum { OUT, IN, KV, OPERANDS }; /* s, q, k of dot; o, p, v of axpy */

static float kv_values[64 * 200];

typedef struct block {
    int dtype, rows, keys, d;
    ptrdiff_t ld; /* of K or V */
} block;

static int padded(int cols) { return (cols + LANES_MAX - 1) / LANES_MAX * LANES_MAX; }

/* Random rows of K or V; `wide` (may be NULL) gets their values. */
static void fill_kv(void *kv, float *wide, const block *b, uint64_t *seed)
{
    const size_t n = (size_t)((b->keys - 1) * b->ld + b->d);
    for (size_t i = 0; i < n; i++) {
        put(kv, i, b->dtype, random_float(seed));
        if (wide) wide[i] = get(kv, i, b->dtype);
    }
}

static void describe(char text[120], const char *isa, const char *slot, const block *b)
{
    snprintf(text, 120, "%s %s %s: rows=%d keys=%d d=%d ld=%td", isa, slot, dtype_names[b->dtype],
             b->rows, b->keys, b->d, b->ld);
}

static void dot_one(const fattn_kernels *k, const block *b, size_t offset, guard_side side,
                    int ahead, guard g[OPERANDS])
{
    char what[120];
    uint64_t seed = (uint64_t)(b->d * 100 + b->keys);
    const int ldq = padded(b->d);
    float *q = guard_place(&g[IN], (size_t)(b->rows * ldq) * 4, 0, side);
    float *s = guard_place(&g[OUT], (size_t)((b->rows - 1) * TILE_KEYS + b->keys) * 4, 0, side);
    const size_t bytes = (size_t)((b->keys - 1) * b->ld + b->d) * dtype_size(b->dtype);
    void *kv = guard_place(&g[KV], bytes, offset, side);
    fill_kv(kv, kv_values, b, &seed);
    for (int r = 0; r < b->rows; r++)
        for (int c = 0; c < ldq; c++) q[r * ldq + c] = c < b->d ? random_float(&seed) : 0;

    k->dot[b->dtype](s, q, ldq, kv, b->ld, b->rows, b->keys, b->d, ahead ? kv : NULL);

    describe(what, k->name, "dot", b);
    for (int r = 0; r < b->rows; r++)
        for (int key = 0; key < TILE_KEYS; key++) {
            if (key >= b->keys) {
                if (r + 1 < b->rows)
                    assert_int_equal(float_bits(s[r * TILE_KEYS + key]), 0xa5a5a5a5);
                continue;
            }
            double want = 0, size = 0;
            for (int c = 0; c < b->d; c++) {
                const double x = (double)kv_values[key * b->ld + c];
                want += x * (double)q[r * ldq + c], size += fabs(x * (double)q[r * ldq + c]);
            }
            const float got = s[r * TILE_KEYS + key];
            if (!(fabs((double)got - want) <= (b->d + 1) * unit * size))
                fail_msg("%s (%d, %d): %.9g, want %.9g", what, r, key, (double)got, want);
        }
    for (int i = 0; i < OPERANDS; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", what, i);
}

static void axpy_one(const fattn_kernels *k, const block *b, size_t offset, guard_side side,
                     int ahead, guard g[OPERANDS])
{
    char what[120];
    uint64_t seed = (uint64_t)(b->d * 100 + b->keys);
    const int ldo = padded(b->d);
    float *o = guard_place(&g[OUT], (size_t)(b->rows * ldo) * 4, 0, side);
    float *p = guard_place(&g[IN], (size_t)((b->rows - 1) * TILE_KEYS + b->keys) * 4, 0, side);
    const size_t bytes = (size_t)((b->keys - 1) * b->ld + b->d) * dtype_size(b->dtype);
    void *v = guard_place(&g[KV], bytes, offset, side);
    float *old = scratch((size_t)(b->rows * ldo));
    fill_kv(v, kv_values, b, &seed);
    random_fill(p, (size_t)((b->rows - 1) * TILE_KEYS + b->keys), &seed);
    random_fill(o, (size_t)(b->rows * ldo), &seed);
    memcpy(old, o, (size_t)(b->rows * ldo) * 4);

    k->axpy[b->dtype](o, ldo, p, v, b->ld, b->rows, b->keys, b->d, ahead ? v : NULL);

    describe(what, k->name, "axpy", b);
    for (int r = 0; r < b->rows; r++)
        for (int c = 0; c < b->d; c++) {
            double want = (double)old[r * ldo + c], size = fabs(want);
            for (int key = 0; key < b->keys; key++) {
                const double x = (double)kv_values[key * b->ld + c];
                const double weight = (double)p[r * TILE_KEYS + key];
                want += x * weight, size += fabs(x * weight);
            }
            const float got = o[r * ldo + c];
            if (!(fabs((double)got - want) <= (b->keys + 1) * unit * size))
                fail_msg("%s (%d, %d): %.9g, want %.9g", what, r, c, (double)got, want);
        }
    for (int i = 0; i < OPERANDS; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: wrote beside operand %d", what, i);
    free(old);
}

typedef void (*run_fn)(const fattn_kernels *k, const block *b, size_t offset, guard_side side,
                       int ahead, guard g[OPERANDS]);

static void shapes(const fattn_kernels *k, run_fn run)
{
    static const int key_counts[] = {1, 3, 4, 7, 8, 21, 64};
    guard g[OPERANDS], small[OPERANDS];
    for (int i = 0; i < OPERANDS; i++)
        g[i] = guard_alloc(64 * 200 * 4), small[i] = guard_alloc(4032);
    for (int dtype = 0; dtype < KERNEL_I4; dtype++) {
        int turn = 0;
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
            for (size_t j = 0; j < sizeof key_counts / sizeof *key_counts; j++, turn++) {
                const block b = {dtype, 1 + turn % DOT_ROWS, key_counts[j], dims[i],
                                 dims[i] + turn % 3};
                run(k, &b, 0, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, turn % 5 < 3, g);
            }
        for (size_t offset = 0; offset < 64; offset += dtype_size(dtype))
            for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++)
                for (int d = 1; d <= 35; d += 1 + (int)offset % 3) {
                    const block b = {dtype, 1 + d % DOT_ROWS, 1 + d % 6, d, d};
                    run(k, &b, offset, (guard_side)side, d % 2, small);
                }
    }
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]), guard_free(&small[i]);
}

static void dot_shapes(const fattn_kernels *k) { shapes(k, dot_one); }
static void axpy_shapes(const fattn_kernels *k) { shapes(k, axpy_one); }

static void test_dot(void **state)
{
    (void)state;
    each_isa(dot_shapes);
}

static void test_axpy(void **state)
{
    (void)state;
    each_isa(axpy_shapes);
}

static void same_bits(const fattn_kernels *k)
{
    enum { LD = 208 };
    uint64_t seed = 21;
    float *q = scratch(DOT_ROWS * LD), *s = scratch(DOT_ROWS * 64), *part = scratch(DOT_ROWS * 64);
    float *old = scratch(DOT_ROWS * LD), *o = scratch(DOT_ROWS * LD),
          *alone = scratch(DOT_ROWS * LD);
    void *kv = scratch(64 * LD);
    random_fill(old, DOT_ROWS * LD, &seed);
    for (int dtype = 0; dtype < KERNEL_I4; dtype++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
            const int d = dims[i];
            const block b = {dtype, DOT_ROWS, TILE_KEYS, d, d + 1};
            fill_kv(kv, NULL, &b, &seed);
            for (int r = 0; r < DOT_ROWS; r++)
                for (int c = 0; c < LD; c++) q[r * LD + c] = c < d ? random_float(&seed) : 0;
            k->dot[dtype](s, q, LD, kv, d + 1, DOT_ROWS, TILE_KEYS, d, NULL);
            memcpy(o, old, DOT_ROWS * LD * 4);
            k->axpy[dtype](o, LD, s, kv, d + 1, DOT_ROWS, TILE_KEYS, d, NULL);
            for (int rows = 1; rows <= DOT_ROWS; rows++) {
                const int r = DOT_ROWS - rows, keys = 1 + (rows * 5 + (int)i) % TILE_KEYS;
                const int first = TILE_KEYS - keys;
                const void *from = (const char *)kv + (size_t)(first * (d + 1)) * dtype_size(dtype);
                k->dot[dtype](part, q + r * LD, LD, from, d + 1, rows, keys, d, from);
                for (int x = 0; x < rows; x++)
                    if (memcmp(part + x * 64, s + (r + x) * 64 + first, (size_t)keys * 4))
                        fail_msg("%s dot %s: d=%d %d rows, %d keys: other bits", k->name,
                                 dtype_names[dtype], d, rows, keys);
                memcpy(alone, old + r * LD, (size_t)(rows * LD) * 4);
                k->axpy[dtype](alone, LD, s + r * 64, kv, d + 1, rows, TILE_KEYS, d, kv);
                for (int x = 0; x < rows; x++)
                    if (memcmp(alone + x * LD, o + (r + x) * LD, (size_t)d * 4))
                        fail_msg("%s axpy %s: d=%d %d rows: other bits", k->name,
                                 dtype_names[dtype], d, rows);
            }
        }
    free(q), free(s), free(part), free(old), free(o), free(alone), free(kv);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(same_bits);
}

/* NaN and inf stay in their key (dot), their column (axpy). */
static void specials(const fattn_kernels *k)
{
    enum { D = 37, BAD_KEY = 6, BAD_COL = 34 };
    uint64_t seed = 22;
    float *q = scratch(DOT_ROWS * 48), *s = scratch(DOT_ROWS * 64), *o = scratch(DOT_ROWS * 48);
    void *kv = scratch(64 * D);
    for (int r = 0; r < DOT_ROWS; r++) random_fill(q + r * 48, D, &seed);
    for (int dtype = 0; dtype < KERNEL_FLOATS; dtype++) {
        const block b = {dtype, DOT_ROWS, TILE_KEYS, D, D};
        fill_kv(kv, NULL, &b, &seed);
        put(kv, BAD_KEY * D + BAD_COL, dtype, dtype == KERNEL_F32 ? INFINITY : NAN);
        k->dot[dtype](s, q, 48, kv, D, DOT_ROWS, TILE_KEYS, D, NULL);
        for (int i = 0; i < DOT_ROWS * TILE_KEYS; i++)
            if ((isfinite(s[i]) == 0) != (i % TILE_KEYS == BAD_KEY))
                fail_msg("%s %s: score %d is %g", k->name, dtype_names[dtype], i, (double)s[i]);
        random_fill(s, DOT_ROWS * 64, &seed);
        memset(o, 0, DOT_ROWS * 48 * 4);
        k->axpy[dtype](o, 48, s, kv, D, DOT_ROWS, TILE_KEYS, D, NULL);
        for (int i = 0; i < DOT_ROWS * 48; i++)
            if (i % 48 < D && (isfinite(o[i]) == 0) != (i % 48 == BAD_COL))
                fail_msg("%s %s: output %d is %g", k->name, dtype_names[dtype], i, (double)o[i]);
    }
    free(q), free(s), free(o), free(kv);
}

static void test_specials(void **state)
{
    (void)state;
    each_isa(specials);
}

/* A decode step over a cache of `total` keys: dot and axpy in turn, each fetching for the other. */
typedef struct bench_cache {
    const fattn_kernels *kernels;
    int dtype, rows, d, total;
    float *q, *s, *o;
    char *k, *v;
} bench_cache;

static void bench_call(void *arg)
{
    bench_cache *b = arg;
    const size_t tile = (size_t)(TILE_KEYS * b->d) * dtype_size(b->dtype);
    for (int key = 0; key < b->total; key += TILE_KEYS) {
        const char *k = b->k + (size_t)(key / TILE_KEYS) * tile,
                   *v = b->v + (size_t)(key / TILE_KEYS) * tile;
        b->kernels->dot[b->dtype](b->s, b->q, b->d, k, b->d, b->rows, TILE_KEYS, b->d, v);
        b->kernels->axpy[b->dtype](b->o, b->d, b->s, v, b->d, b->rows, TILE_KEYS, b->d,
                                   key + TILE_KEYS < b->total ? k + tile : NULL);
    }
}

static double read_sum;

static void bench_read(void *arg) /* the plain way to read the same bytes */
{
    const bench_cache *b = arg;
    const size_t n = (size_t)b->total * (size_t)b->d * dtype_size(b->dtype) / 8;
    const uint64_t *k = (const void *)b->k, *v = (const void *)b->v;
    uint64_t sum[8] = {0};
    for (size_t i = 0; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) sum[j] += k[i + j] + v[i + j];
    for (int j = 0; j < 8; j++) read_sum += (double)sum[j];
}

static void bench(const fattn_kernels *k)
{
    enum { D = 128 };
    static const int totals[] = {512, 65536};
    static const int row_counts[] = {1, 2, 4, 7};
    for (int t = 0; t < 2; t++)
        for (int dtype = 0; dtype < KERNEL_I4; dtype++)
            for (int i = 0; i < 4; i++) {
                bench_cache b = {.kernels = k,
                                 .dtype = dtype,
                                 .rows = row_counts[i],
                                 .d = D,
                                 .total = totals[t]};
                const size_t n = (size_t)b.total * D;
                b.q = scratch(DOT_ROWS * D), b.s = scratch(DOT_ROWS * 64),
                b.o = scratch(DOT_ROWS * D);
                b.k = (char *)scratch(n), b.v = (char *)scratch(n);
                const double bytes = 2.0 * (double)n * (double)dtype_size(dtype);
                const double time = best_time(bench_call, &b, 7),
                             read = best_time(bench_read, &b, 7);
                printf("dot + axpy %-7s %-4s rows %d keys %5d  %6.1f GB/s (plain read %6.1f)  "
                       "%6.1f GFLOP/s\n",
                       k->name, dtype_names[dtype], b.rows, b.total, bytes / time * 1e-9,
                       bytes / read * 1e-9, 4.0 * (double)n * b.rows / time * 1e-9);
                free(b.q), free(b.s), free(b.o), free(b.k), free(b.v);
            }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dot),
        cmocka_unit_test(test_axpy),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_specials),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
