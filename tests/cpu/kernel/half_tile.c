/* SPDX-License-Identifier: Apache-2.0 */
/* half_tile.c — qk and pv in fp16 arithmetic, bit for bit against the sums that kernels.h defines, in chains of
 * halves; what overflows, against a sum in double. Every operand between inaccessible pages. */
#include "check.h"

static const int key_counts[] = {1, 3, 4, 5, 6, 7, 11, 15, 16, 17, 33, 64};
static const int dims[] = {1, 3, 15, 16, 17, 33, 64, 65, 72, 128, 200};
static const int row_counts[] = {1, 2, 4, 5, 6, 9, 13, 33, 64};
enum { MOST = TILE_ROWS * 256 };

typedef void (*half_test)(const char *isa, const fattn_half_kernels *half);

static void each_half(half_test test)
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        const fattn_half_kernels *half = half_kernels_for((fattn_isa)isa);
        if (half) test(isa_name((fattn_isa)isa), half);
    }
}

static float rounded(double x) { return half_from_f16(half_to_f16_from_double(x)); }

/* Term i of a sum: a[i] * b[i] * scale, exactly exact[i]. */
typedef struct series {
    double a[256], b[256], exact[256];
    float scale;
    int n;
} series;

/* Of terms from `from` on, at most HALF_TERMS; the first chain has `first` of them. */
static float half_sum(const series *s, int from, int first)
{
    const int end = from + HALF_TERMS < s->n ? from + HALF_TERMS : s->n;
    float sum = 0, chain = 0;
    for (int i = from, left = first; i < end; i++) {
        chain = rounded(s->a[i] * s->b[i] + (double)chain);
        if (--left > 0 && i + 1 < end) continue;
        sum = rounded((double)sum + (double)chain);
        chain = 0, left = HALF_CHAIN;
    }
    return sum;
}

/* `old` and the series: bits where all sums are finite, else a bound. Scales are powers of two. */
static void expect(const char *isa, const char *what, float got, const series *s, int first,
                   float old, int place)
{
    float want = old;
    double exact = (double)old, size = fabs((double)old);
    int finite = 1;
    for (int from = 0; from < s->n; from += HALF_TERMS) {
        const float sum = half_sum(s, from, first);
        finite = finite && isfinite(sum);
        want = sum * s->scale + want;
    }
    for (int i = 0; i < s->n; i++) exact += s->exact[i], size += fabs(s->exact[i]);
    if (finite ? !same(got, want) : !(fabs((double)got - exact) <= 0x1p-10 * size))
        fail_msg("%s: %s, place %d, %d terms: %.9g, want %.9g (%s, exactly %.9g)", isa, what, place,
                 s->n, (double)got, (double)want, finite ? "finite" : "overflows", exact);
}

/* Halves; every 97th is so big that its products overflow. */
static void fill(uint16_t *x, size_t n, uint64_t *seed)
{
    for (size_t i = 0; i < n; i++) {
        const float big = random_bits(seed) % 97 ? 1.0f : 20000.0f;
        x[i] = half_to_f16(random_float(seed) * 3 * big);
    }
}

/* The other forms of halves: floats, pairs of `factor` times as much, a power of two. */
static void widen(float *exact, uint32_t *pairs, const uint16_t *x, size_t n, float factor)
{
    for (size_t i = 0; i < n; i++) {
        exact[i] = half_from_f16(x[i]);
        pairs[i] = half_to_f16(exact[i] * factor) * UINT32_C(0x10001);
    }
}

/* ---- scores ---- */

typedef struct score_call {
    int keys, d, vectors, lanes;
    ptrdiff_t ldk;
    float factor;
} score_call;

static void check_scores(const char *isa, const score_call *t, const float *st, const uint16_t *qt,
                         const float *k, const float *tmax)
{
    for (int lane = 0; lane < t->lanes; lane++) {
        float top = -INFINITY;
        for (int key = 0; key < t->keys; key++) {
            series s = {.n = t->d, .scale = t->factor};
            for (int c = 0; c < t->d; c++) {
                s.a[c] = (double)k[key * t->ldk + c];
                s.b[c] = (double)half_from_f16(qt[c * TILE_ROWS + lane]);
                s.exact[c] = s.a[c] * s.b[c] * (double)t->factor;
            }
            const float got = st[key * TILE_ROWS + lane];
            expect(isa, "qk", got, &s, HALF_CHAIN, 0, key * TILE_ROWS + lane);
            if (got > top) top = got;
        }
        if (!same(top, tmax[lane])) fail_msg("%s: maximum of lane %d", isa, lane);
    }
}

static void run_scores(const char *isa, const fattn_half_kernels *half, score_call t,
                       guard_side side, guard *g)
{
    uint64_t seed = (uint64_t)(t.keys * 1000 + t.d);
    const size_t nk = (size_t)(t.keys - 1) * (size_t)t.ldk + (size_t)t.d;
    const size_t nq = (size_t)(t.d - 1) * TILE_ROWS + (size_t)t.lanes;
    const size_t ns = (size_t)(t.keys - 1) * TILE_ROWS + (size_t)t.lanes;
    float *k = guard_place(&g[0], nk * 4, 0, side);
    uint32_t *pairs = guard_place(&g[1], nk * 4, 0, side);
    uint16_t *qt = guard_place(&g[2], nq * 2, 0, side), *kh = malloc(nk * 2);
    float *st = guard_place(&g[3], ns * 4, 0, side);
    float *tmax = guard_place(&g[4], (size_t)t.lanes * 4, 0, side);
    fill(kh, nk, &seed), fill(qt, nq, &seed);
    widen(k, pairs, kh, nk, 1);

    half->qk(st, qt, pairs, k, t.ldk, t.keys, t.d, t.vectors, t.factor, tmax);

    check_scores(isa, &t, st, qt, k, tmax);
    for (int i = 0; i < 5; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: qk wrote beside operand %d", isa, i);
    free(kh);
}

static void scores(const char *isa, const fattn_half_kernels *half)
{
    guard g[5];
    const int most = TILE_ROWS / half->lanes;
    for (int i = 0; i < 5; i++) g[i] = guard_alloc(MOST * 4);
    for (size_t i = 0; i < sizeof key_counts / sizeof *key_counts; i++)
        for (size_t j = 0; j < sizeof dims / sizeof *dims; j++) {
            const int turn = (int)(i * 11 + j);
            score_call t = {.keys = key_counts[i],
                            .d = dims[j],
                            .ldk = dims[j] + turn % 3,
                            .vectors = 1 + turn % (most < 5 ? most : 5),
                            .factor = turn % 2 ? 0.5f : 1.0f};
            if (turn % 7 == 0) t.vectors = most;
            t.lanes = t.vectors * half->lanes;
            run_scores(isa, half, t, turn % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
        }
    for (int i = 0; i < 5; i++) guard_free(&g[i]);
}

static void test_scores(void **state)
{
    (void)state;
    each_half(scores);
}

/* ---- values ---- */

typedef struct value_call {
    int rows, keys, cols, key;
    ptrdiff_t ldo, ldv;
    const float *alpha; /* may be NULL */
} value_call;

static void check_values(const char *isa, const value_call *t, const float *o, const float *old,
                         const float *pt, const uint16_t *v)
{
    for (int r = 0; r < t->rows; r++)
        for (int c = 0; c < t->cols; c++) {
            series s = {.n = t->keys, .scale = 1.0f / HALF_WEIGHT};
            for (int key = 0; key < t->keys; key++) {
                const float weight = pt[key * TILE_ROWS + r];
                s.a[key] = (double)rounded((double)weight * HALF_WEIGHT);
                s.b[key] = (double)half_from_f16(v[key * t->ldv + c]);
                s.exact[key] = (double)weight * s.b[key];
            }
            const float before = old[r * t->ldo + c] * (t->alpha ? t->alpha[r] : 1.0f);
            expect(isa, "pv", o[r * t->ldo + c], &s, HALF_CHAIN - t->key % HALF_CHAIN, before,
                   r * 1000 + c);
        }
}

static void run_values(const char *isa, const fattn_half_kernels *half, value_call t,
                       int with_alpha, guard_side side, guard *g)
{
    uint64_t seed = (uint64_t)(t.rows * 100 + t.keys);
    const int whole = (t.cols + half->lanes - 1) / half->lanes * half->lanes;
    const size_t no = (size_t)(t.rows - 1) * (size_t)t.ldo + (size_t)t.cols;
    const size_t np = (size_t)(t.keys - 1) * TILE_ROWS + (size_t)t.rows;
    const size_t nv = (size_t)(t.keys - 1) * (size_t)t.ldv + (size_t)whole;
    float *o = guard_place(&g[0], no * 4, 0, side), *pt = guard_place(&g[1], np * 4, 0, side);
    uint32_t *pairs = guard_place(&g[2], np * 4, 0, side);
    uint16_t *v = guard_place(&g[3], nv * 2, 0, side), *ph = malloc(np * 2);
    float *alpha = guard_place(&g[4], (size_t)t.rows * 4, 0, side), *old = scratch(no);
    fill(ph, np, &seed), fill(v, nv, &seed);
    widen(pt, pairs, ph, np, HALF_WEIGHT);
    random_fill(o, no, &seed);
    memcpy(old, o, no * 4);
    for (int r = 0; r < t.rows; r++) alpha[r] = r % 3 ? 0.25f : 1.0f;
    t.alpha = with_alpha ? alpha : NULL;

    half->pv(o, t.ldo, pairs, pt, v, t.ldv, t.rows, t.keys, t.cols, t.alpha, t.key);

    check_values(isa, &t, o, old, pt, v);
    for (int i = 0; i < 5; i++)
        if (!guard_intact(&g[i])) fail_msg("%s: pv wrote beside operand %d", isa, i);
    for (int r = 0; r + 1 < t.rows; r++)
        if (memcmp(o + r * t.ldo + t.cols, old + r * t.ldo + t.cols, (size_t)(t.ldo - t.cols) * 4))
            fail_msg("%s: pv wrote between rows %d and %d", isa, r, r + 1);
    free(old), free(ph);
}

static void values(const char *isa, const fattn_half_kernels *half)
{
    guard g[5];
    for (int i = 0; i < 5; i++) g[i] = guard_alloc(MOST * 4);
    for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++)
        for (size_t j = 0; j < sizeof key_counts / sizeof *key_counts; j++) {
            const int turn = (int)(i * 7 + j), cols = (1 + turn % 9) * LANES_MAX;
            value_call t = {
                .rows = row_counts[i], .keys = key_counts[j], .cols = cols, .key = turn * 5 % 16};
            t.ldo = cols + turn % 2 * LANES_MAX;
            t.ldv = (cols + HALF_LANES_MAX - 1) / HALF_LANES_MAX * HALF_LANES_MAX + turn % 3;
            run_values(isa, half, t, turn % 2, turn / 2 % 2 ? GUARD_BEFORE : GUARD_AFTER, g);
        }
    for (int i = 0; i < 5; i++) guard_free(&g[i]);
}

static void test_values(void **state)
{
    (void)state;
    each_half(values);
}

/* Keys of weight 0 in front, and what lies beside an element, do not change its bits. */
static void same_bits(const char *isa, const fattn_half_kernels *half)
{
    enum { COLS = 96, KEYS = 40 };
    uint64_t seed = 9;
    uint16_t ph[KEYS * TILE_ROWS], v[KEYS * COLS];
    uint32_t pairs[KEYS * TILE_ROWS];
    float pt[KEYS * TILE_ROWS], *whole = scratch(TILE_ROWS * COLS),
                                *part = scratch(TILE_ROWS * COLS);
    fill(ph, KEYS * TILE_ROWS, &seed), fill(v, KEYS * COLS, &seed);
    for (int hidden = 0; hidden < KEYS; hidden += 3) {
        memset(ph, 0, (size_t)hidden * TILE_ROWS * sizeof *ph);
        widen(pt, pairs, ph, KEYS * TILE_ROWS, HALF_WEIGHT);
        memset(whole, 0, TILE_ROWS * COLS * 4);
        half->pv(whole, COLS, pairs, pt, v, COLS, TILE_ROWS, KEYS, COLS, NULL, 5);
        for (int r = 0; r < TILE_ROWS; r += 7) {
            memset(part, 0, TILE_ROWS * COLS * 4);
            const int at = hidden * TILE_ROWS + r, rows = TILE_ROWS - r;
            half->pv(part + r * COLS, COLS, pairs + at, pt + at, v + hidden * COLS, COLS, rows,
                     KEYS - hidden, COLS, NULL, (5 + hidden) % HALF_CHAIN);
            if (memcmp(part + r * COLS, whole + r * COLS, (size_t)rows * COLS * 4))
                fail_msg("%s: %d keys less in front, %d rows: other bits", isa, hidden, rows);
        }
    }
    free(whole), free(part);
}

static void test_same_bits(void **state)
{
    (void)state;
    each_half(same_bits);
}

/* Every half there is, and what lies between two of them. */
static void conversions(const char *isa, const fattn_half_kernels *half)
{
    enum { STEP = LANES_MAX };
    for (uint32_t bits = 0; bits < 0x10000; bits += STEP) {
        float x[STEP];
        uint16_t narrow[STEP];
        uint32_t pairs[STEP];
        for (uint32_t shift = 0; shift < 3; shift++) {
            for (uint32_t i = 0; i < STEP; i++) {
                const float exact = half_from_f16((uint16_t)(bits + i));
                x[i] = isfinite(exact) ? bits_float(float_bits(exact) + shift * 0xfff) : exact;
            }
            half->narrow(narrow, x, STEP);
            half->pairs(pairs, x, STEP, 1);
            for (int i = 0; i < STEP; i++) {
                const uint16_t want = half_to_f16(x[i]);
                if (narrow[i] != want || pairs[i] != want * UINT32_C(0x10001))
                    fail_msg("%s: %.9g becomes %x and %x, not %x", isa, (double)x[i], narrow[i],
                             pairs[i], want);
            }
        }
    }
}

static void test_conversions(void **state)
{
    (void)state;
    each_half(conversions);
}

/* NaN and inf stay in their element. */
static void specials(const char *isa, const fattn_half_kernels *half)
{
    enum { D = 20, BAD_KEY = 3, INF_KEY = 8, KEYS = 13 };
    uint16_t kh[KEYS * D], qt[D * TILE_ROWS];
    uint32_t pairs[KEYS * D];
    float k[KEYS * D], st[KEYS * TILE_ROWS], tmax[TILE_ROWS];
    for (int i = 0; i < KEYS * D; i++) kh[i] = half_to_f16((float)(i % 5) * 0.25f);
    for (int i = 0; i < D * TILE_ROWS; i++) qt[i] = half_to_f16(0.5f + (float)(i % 3));
    kh[BAD_KEY * D + 7] = 0x7e00, kh[INF_KEY * D + 1] = 0xfc00;
    qt[5 * TILE_ROWS + 9] = 0x7e00;
    widen(k, pairs, kh, KEYS * D, 1);
    half->qk(st, qt, pairs, k, D, KEYS, D, TILE_ROWS / half->lanes, 1, tmax);
    for (int key = 0; key < KEYS; key++)
        for (int lane = 0; lane < TILE_ROWS; lane++) {
            const float x = st[key * TILE_ROWS + lane];
            const int bad = key == BAD_KEY || lane == 9;
            if ((isnan(x) != 0) != bad)
                fail_msg("%s: key %d lane %d: %g", isa, key, lane, (double)x);
            if (!bad && key == INF_KEY) assert_true(x == -INFINITY);
        }
}

static void test_specials(void **state)
{
    (void)state;
    each_half(specials);
}

/* ---- speed ---- */

typedef struct bench {
    const fattn_half_kernels *half;
    uint16_t *qt;
    uint32_t *pairs;
    float *exact, *st;
    int values;
} bench;

static void call(void *arg)
{
    enum { D = 128 };
    const bench *b = arg;
    float tmax[TILE_ROWS];
    if (b->values)
        b->half->pv(b->st, D, b->pairs, b->exact, b->qt, D, TILE_ROWS, TILE_KEYS, D, NULL, 0);
    else
        b->half->qk(b->st, b->qt, b->pairs, b->exact, D, TILE_KEYS, D, TILE_ROWS / b->half->lanes,
                    1, tmax);
}

static void speed(const char *isa, const fattn_half_kernels *half)
{
    enum { N = 128 * TILE_ROWS };
    uint64_t seed = 1;
    bench b = {half, malloc(N * 2), malloc(N * 4), scratch(N), scratch(N), 0};
    for (int i = 0; i < N; i++) b.qt[i] = half_to_f16(random_float(&seed));
    widen(b.exact, b.pairs, b.qt, N, 1);
    for (b.values = 0; b.values < 2; b.values++)
        printf("%-7s %s 64x64x128: %6.1f GFLOP/s\n", isa, b.values ? "half_pv" : "half_qk",
               2.0 * 64 * 64 * 128 / best_time(call, &b, 20) * 1e-9);
    free(b.qt), free(b.pairs), free(b.exact), free(b.st);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0) return each_half(speed), 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores),    cmocka_unit_test(test_values),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_specials),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int isa = 0; isa < ISA_COUNT; isa++)
        if (isa_available((fattn_isa)isa) && !half_kernels_for((fattn_isa)isa))
            printf("no fp16 arithmetic here: %s\n", isa_name((fattn_isa)isa));
    return report_sets(failed);
}
