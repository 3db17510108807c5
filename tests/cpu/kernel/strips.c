/* SPDX-License-Identifier: Apache-2.0 */
/* strips.c — the dot family on rows in strips gives the bits of the same rows laid side by side: every
 * element type, row and key count, chunk and tail; each strip ends at a fence, so a read too far is seen. */
#include "check.h"

enum { D_MAX = 192, LDQ = D_MAX };

static const int chunks[] = {16, 32, 48}, dims[] = {1, 15, 16, 17, 32, 40, 64, 100, 128, 192};

typedef struct block {
    int dtype, rows, keys, d, chunk;
    int gap; /* elements between two strips */
} block;

static float q[DOT_ROWS * LDQ], p[DOT_ROWS * TILE_KEYS], old[DOT_ROWS * LDQ];
static unsigned char plain[TILE_KEYS * D_MAX * 4];

static int columns_of(const block *b, int strip)
{
    return b->d - strip * b->chunk < b->chunk ? b->d - strip * b->chunk : b->chunk;
}

/* The last strip is as narrow as d leaves it: the kernels may not read what is not there. */
static void *place(const block *b, guard *g, fattn_strips *x, guard_side side, uint64_t *seed)
{
    const int n = (b->d + b->chunk - 1) / b->chunk;
    x->ld = b->chunk;
    x->chunk = b->chunk;
    x->stride = (ptrdiff_t)b->keys * b->chunk + b->gap;
    const size_t elements = (size_t)((n - 1) * x->stride + (b->keys - 1) * x->ld + columns_of(b, n - 1));
    void *kv = guard_place(g, elements * dtype_size(b->dtype), 0, side);
    for (size_t i = 0; i < elements; i++) put(kv, i, b->dtype, NAN);
    for (int key = 0; key < b->keys; key++)
        for (int c = 0; c < b->d; c++) {
            const float value = random_float(seed);
            put(plain, (size_t)(key * b->d + c), b->dtype, value);
            put(kv, (size_t)(c / b->chunk * x->stride + key * x->ld + c % b->chunk), b->dtype, value);
        }
    x->at = kv;
    return kv;
}

static void other_bits(const fattn_kernels *k, const char *slot, const block *b)
{
    fail_msg("%s %s %s: rows=%d keys=%d d=%d chunk=%d gap=%d: other bits", k->name, slot,
             dtype_names[b->dtype], b->rows, b->keys, b->d, b->chunk, b->gap);
}

static void check_block(const fattn_kernels *k, const block *b, guard_side side, guard *g)
{
    uint64_t seed = (uint64_t)(b->d * 100 + b->keys);
    float want[DOT_ROWS * LDQ], got[DOT_ROWS * LDQ];
    fattn_strips x;
    const void *kv = place(b, g, &x, side, &seed);
    memset(q, 0, sizeof q);
    for (int r = 0; r < b->rows; r++) random_fill(q + r * LDQ, (size_t)b->d, &seed);
    random_fill(p, sizeof p / sizeof *p, &seed);
    random_fill(old, sizeof old / sizeof *old, &seed);

    memset(want, 0xa5, sizeof want), memset(got, 0xa5, sizeof got);
    k->dot[b->dtype](want, q, LDQ, plain, b->d, b->rows, b->keys, b->d, NULL);
    k->dot_strips[b->dtype](got, q, LDQ, &x, b->rows, b->keys, b->d, b->gap ? kv : NULL);
    if (memcmp(want, got, sizeof got)) other_bits(k, "dot", b);

    memcpy(want, old, sizeof want), memcpy(got, old, sizeof got);
    k->axpy[b->dtype](want, LDQ, p, plain, b->d, b->rows, b->keys, b->d, NULL);
    k->axpy_strips[b->dtype](got, LDQ, p, &x, b->rows, b->keys, b->d, b->gap ? kv : NULL);
    for (int r = 0; r < b->rows; r++)
        if (memcmp(want + r * LDQ, got + r * LDQ, (size_t)b->d * 4)) other_bits(k, "axpy", b);
    if (!guard_intact(g)) other_bits(k, "writes", b);
}

static void all_blocks(const fattn_kernels *k)
{
    static const int key_counts[] = {1, 2, 3, 8, 13, 64};
    guard g = guard_alloc((TILE_KEYS * D_MAX * 2) * 4);
    int turn = 0;
    for (int dtype = 0; dtype < KERNEL_DTYPES; dtype++)
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
            for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
                for (size_t j = 0; j < sizeof key_counts / sizeof *key_counts; j++, turn++) {
                    const block b = {dtype,   1 + turn % DOT_ROWS, key_counts[j],
                                     dims[i], chunks[c],           turn % 3 * 7};
                    check_block(k, &b, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, &g);
                }
    guard_free(&g);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(all_blocks);
}

/* A decode step over a cache of pages of 128 keys: per head and page, strips of 16 columns. */
typedef struct bench_cache {
    const fattn_kernels *kernels;
    int dtype, rows, total;
    bool strips;
    char *k, *v;
} bench_cache;

enum { BENCH_D = 128, PAGE = 128 };

static void bench_call(void *arg)
{
    bench_cache *b = arg;
    static float scores[DOT_ROWS * TILE_KEYS], o[DOT_ROWS * BENCH_D];
    const fattn_kernels *kernels = b->kernels;
    const ptrdiff_t size = (ptrdiff_t)dtype_size(b->dtype);
    for (int key = 0; key < b->total; key += TILE_KEYS) {
        const ptrdiff_t at = b->strips ? ((ptrdiff_t)(key / PAGE) * PAGE * BENCH_D + key % PAGE * 16) * size
                                       : (ptrdiff_t)key * BENCH_D * size;
        const ptrdiff_t next = key % PAGE == 0 && b->strips ? TILE_KEYS * 16 * size
                               : b->strips ? ((ptrdiff_t)PAGE * BENCH_D - TILE_KEYS * 16) * size
                                           : TILE_KEYS * BENCH_D * size;
        const char *k = b->k + at, *v = b->v + at, *ahead = key + TILE_KEYS < b->total ? k + next : NULL;
        if (b->strips) {
            const fattn_strips x = {k, 16, PAGE * 16, 16}, y = {v, 16, PAGE * 16, 16};
            kernels->dot_strips[b->dtype](scores, q, BENCH_D, &x, b->rows, TILE_KEYS, BENCH_D, v);
            kernels->axpy_strips[b->dtype](o, BENCH_D, scores, &y, b->rows, TILE_KEYS, BENCH_D, ahead);
        } else {
            kernels->dot[b->dtype](scores, q, BENCH_D, k, BENCH_D, b->rows, TILE_KEYS, BENCH_D, v);
            kernels->axpy[b->dtype](o, BENCH_D, scores, v, BENCH_D, b->rows, TILE_KEYS, BENCH_D, ahead);
        }
    }
}

static void bench(const fattn_kernels *k)
{
    static const int totals[] = {512, 65536}, row_counts[] = {1, 2, 4, 7};
    for (int t = 0; t < 2; t++)
        for (int dtype = 0; dtype < KERNEL_DTYPES; dtype++)
            for (int i = 0; i < 4; i++) {
                bench_cache b = {.kernels = k, .dtype = dtype, .rows = row_counts[i], .total = totals[t]};
                const size_t n = (size_t)b.total * BENCH_D;
                b.k = (char *)scratch(n), b.v = (char *)scratch(n);
                memset(b.k, 0, n * 4), memset(b.v, 0, n * 4);
                double time[2] = {1, 1};
                for (int round = 0; round < 3; round++)
                    for (int strips = 0; strips < 2; strips++) {
                        b.strips = strips;
                        const double now = best_time(bench_call, &b, 5);
                        if (now < time[strips]) time[strips] = now;
                    }
                const double bytes = 2.0 * (double)n * (double)dtype_size(dtype);
                printf("dot + axpy %-7s %-4s rows %d keys %5d  plain %6.1f GB/s  strips %6.1f  %4.2fx\n",
                       k->name, dtype_names[dtype], b.rows, b.total, bytes / time[0] * 1e-9,
                       bytes / time[1] * 1e-9, time[0] / time[1]);
                free(b.k), free(b.v);
            }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
