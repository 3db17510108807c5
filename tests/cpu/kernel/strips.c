/* SPDX-License-Identifier: Apache-2.0 */
/* strips.c — the dot family on rows in strips gives the bits of the same rows laid side by side:
 * every element type, row and key count, chunk and tail, at every offset from a fence. All three
 * operands lie between fences, so a read too far is seen, and a write too far too. */
#include "check.h"

enum { D_MAX = 192 };
enum { OUT, IN, KV, OPERANDS }; /* s, q, k of dot; o, p, v of axpy */

static const int chunks[] = {16, 32, 48}, dims[] = {1, 15, 16, 17, 32, 40, 64, 100, 128, 192};

typedef struct block {
    int dtype, rows, keys, d, chunk;
    int gap; /* elements between two strips */
} block;

typedef struct place {
    size_t offset; /* of K or V from the fence */
    guard_side side;
} place;

static unsigned char plain[TILE_KEYS * D_MAX * 4]; /* the same keys side by side */

static int padded(int cols) { return (cols + LANES_MAX - 1) / LANES_MAX * LANES_MAX; }

static int columns_of(const block *b, int strip)
{
    return b->d - strip * b->chunk < b->chunk ? b->d - strip * b->chunk : b->chunk;
}

/* The last strip is as narrow as d leaves it: the kernels may not read what is not there. What
 * belongs to no key is NaN. */
static void place_keys(const block *b, const place *at, guard *g, fattn_strips *x, uint64_t *seed)
{
    const int n = (b->d + b->chunk - 1) / b->chunk;
    x->ld = b->chunk;
    x->chunk = b->chunk;
    x->stride = (ptrdiff_t)b->keys * b->chunk + b->gap;
    const size_t elements =
        (size_t)((n - 1) * x->stride + (b->keys - 1) * x->ld + columns_of(b, n - 1));
    void *kv = guard_place(g, elements * dtype_size(b->dtype), at->offset, at->side);
    for (size_t i = 0; i < elements; i++) put(kv, i, b->dtype, NAN);
    for (int key = 0; key < b->keys; key++)
        for (int c = 0; c < b->d; c++) {
            const float value = random_float(seed);
            put(plain, (size_t)(key * b->d + c), b->dtype, value);
            put(kv, (size_t)(c / b->chunk * x->stride + key * x->ld + c % b->chunk), b->dtype,
                value);
        }
    x->at = kv;
}

static void other_bits(const fattn_kernels *k, const char *slot, const block *b, const place *at)
{
    fail_msg("%s %s %s: rows=%d keys=%d d=%d chunk=%d gap=%d offset=%zu side=%d: other bits",
             k->name, slot, dtype_names[b->dtype], b->rows, b->keys, b->d, b->chunk, b->gap,
             at->offset, (int)at->side);
}

static void intact(const fattn_kernels *k, const char *slot, const block *b,
                   const guard g[OPERANDS])
{
    for (int i = 0; i < OPERANDS; i++)
        if (!guard_intact(&g[i]))
            fail_msg("%s %s %s: rows=%d keys=%d d=%d: wrote beside operand %d", k->name, slot,
                     dtype_names[b->dtype], b->rows, b->keys, b->d, i);
}

static void dot_one(const fattn_kernels *k, const block *b, const place *at, guard g[OPERANDS])
{
    static float want[DOT_ROWS * TILE_KEYS];
    uint64_t seed = (uint64_t)(b->d * 100 + b->keys);
    const int ldq = padded(b->d);
    float *q = guard_place(&g[IN], (size_t)(b->rows * ldq) * 4, 0, at->side);
    const size_t bytes = (size_t)((b->rows - 1) * TILE_KEYS + b->keys) * 4;
    float *s = guard_place(&g[OUT], bytes, 0, at->side);
    fattn_strips x;
    place_keys(b, at, &g[KV], &x, &seed);
    for (int r = 0; r < b->rows; r++)
        for (int c = 0; c < ldq; c++) q[r * ldq + c] = c < b->d ? random_float(&seed) : 0;

    memset(want, GUARD_PATTERN, sizeof want);
    k->dot[b->dtype](want, q, ldq, plain, b->d, b->rows, b->keys, b->d, NULL);
    k->dot_strips[b->dtype](s, q, ldq, &x, b->rows, b->keys, b->d, b->gap ? x.at : NULL);
    if (memcmp(want, s, bytes)) other_bits(k, "dot", b, at);
    intact(k, "dot", b, g);
}

static void axpy_one(const fattn_kernels *k, const block *b, const place *at, guard g[OPERANDS])
{
    static float want[DOT_ROWS * D_MAX];
    uint64_t seed = (uint64_t)(b->d * 100 + b->keys);
    const int ldo = padded(b->d);
    const size_t weights = (size_t)((b->rows - 1) * TILE_KEYS + b->keys),
                 cells = (size_t)(b->rows * ldo);
    float *p = guard_place(&g[IN], weights * 4, 0, at->side);
    float *o = guard_place(&g[OUT], cells * 4, 0, at->side);
    fattn_strips x;
    place_keys(b, at, &g[KV], &x, &seed);
    random_fill(p, weights, &seed);
    random_fill(o, cells, &seed);
    memcpy(want, o, cells * 4);

    k->axpy[b->dtype](want, ldo, p, plain, b->d, b->rows, b->keys, b->d, NULL);
    k->axpy_strips[b->dtype](o, ldo, p, &x, b->rows, b->keys, b->d, b->gap ? x.at : NULL);
    for (int r = 0; r < b->rows; r++)
        if (memcmp(want + r * ldo, o + r * ldo, (size_t)b->d * 4)) other_bits(k, "axpy", b, at);
    intact(k, "axpy", b, g);
}

static void both(const fattn_kernels *k, const block *b, size_t offset, guard_side side,
                 guard g[OPERANDS])
{
    const place at = {offset, side};
    dot_one(k, b, &at, g);
    axpy_one(k, b, &at, g);
}

static void all_shapes(const fattn_kernels *k)
{
    static const int key_counts[] = {1, 2, 3, 8, 13, 64};
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc((TILE_KEYS * D_MAX * 2) * 4);
    int turn = 0;
    for (int dtype = 0; dtype < KERNEL_I4; dtype++)
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
            for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
                for (size_t j = 0; j < sizeof key_counts / sizeof *key_counts; j++, turn++) {
                    const block b = {dtype,   1 + turn % DOT_ROWS, key_counts[j],
                                     dims[i], chunks[c],           turn % 3 * 7};
                    both(k, &b, 0, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
                }
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

/* Elements lie where their size allows: every multiple of it below 64, from either end. */
static void all_offsets(const fattn_kernels *k)
{
    guard g[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) g[i] = guard_alloc(4032);
    for (int dtype = 0; dtype < KERNEL_I4; dtype++)
        for (size_t offset = 0; offset < 64; offset += dtype_size(dtype))
            for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++)
                for (int d = 1; d <= 35; d += 1 + (int)offset % 3) {
                    const block b = {dtype, 1 + d % DOT_ROWS, 1 + d % 6,
                                     d,     chunks[d % 2],    d % 3 * 5};
                    both(k, &b, offset, (guard_side)side, g);
                }
    for (int i = 0; i < OPERANDS; i++) guard_free(&g[i]);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_isa(all_shapes);
}

static void test_offsets(void **state)
{
    (void)state;
    each_isa(all_offsets);
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
    static float q[DOT_ROWS * BENCH_D], scores[DOT_ROWS * TILE_KEYS], o[DOT_ROWS * BENCH_D];
    const fattn_kernels *kernels = b->kernels;
    const ptrdiff_t size = (ptrdiff_t)dtype_size(b->dtype);
    for (int key = 0; key < b->total; key += TILE_KEYS) {
        const ptrdiff_t at =
            b->strips ? ((ptrdiff_t)(key / PAGE) * PAGE * BENCH_D + key % PAGE * 16) * size
                      : (ptrdiff_t)key * BENCH_D * size;
        const ptrdiff_t next = key % PAGE == 0 && b->strips ? TILE_KEYS * 16 * size
                               : b->strips ? ((ptrdiff_t)PAGE * BENCH_D - TILE_KEYS * 16) * size
                                           : TILE_KEYS * BENCH_D * size;
        const char *k = b->k + at, *v = b->v + at,
                   *ahead = key + TILE_KEYS < b->total ? k + next : NULL;
        if (b->strips) {
            const fattn_strips x = {k, 16, PAGE * 16, 16}, y = {v, 16, PAGE * 16, 16};
            kernels->dot_strips[b->dtype](scores, q, BENCH_D, &x, b->rows, TILE_KEYS, BENCH_D, v);
            kernels->axpy_strips[b->dtype](o, BENCH_D, scores, &y, b->rows, TILE_KEYS, BENCH_D,
                                           ahead);
        } else {
            kernels->dot[b->dtype](scores, q, BENCH_D, k, BENCH_D, b->rows, TILE_KEYS, BENCH_D, v);
            kernels->axpy[b->dtype](o, BENCH_D, scores, v, BENCH_D, b->rows, TILE_KEYS, BENCH_D,
                                    ahead);
        }
    }
}

static void bench(const fattn_kernels *k)
{
    static const int totals[] = {512, 65536}, row_counts[] = {1, 2, 4, 7};
    for (int t = 0; t < 2; t++)
        for (int dtype = 0; dtype < KERNEL_I4; dtype++)
            for (int i = 0; i < 4; i++) {
                bench_cache b = {
                    .kernels = k, .dtype = dtype, .rows = row_counts[i], .total = totals[t]};
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
                printf("dot + axpy %-7s %-4s rows %d keys %5d  plain %6.1f GB/s  strips %6.1f  "
                       "%4.2fx\n",
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits),
                                       cmocka_unit_test(test_offsets)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
