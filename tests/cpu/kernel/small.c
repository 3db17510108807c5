/* SPDX-License-Identifier: Apache-2.0 */
/* small.c — the types of quantised keys and values: every code widened exactly, and int4 against int8 with
 * the same numbers, bit for bit. */
#include "check.h"

/* The value of a code, from the definition of its format: sign, exponent, mantissa. */
static float value_of(int dtype, int code)
{
    if (dtype == KERNEL_I8) return (float)(code < 128 ? code : code - 256);
    const int bits = dtype == KERNEL_E4M3 ? 3 : 2, bias = dtype == KERNEL_E4M3 ? 7 : 15;
    const int size = code & 127, exponent = size >> bits, mantissa = size & ((1 << bits) - 1);
    const float sign = code & 128 ? -1.0f : 1.0f;
    if (dtype == KERNEL_E4M3 && size == 127) return NAN;
    if (dtype == KERNEL_E5M2 && exponent == 31) return mantissa ? NAN : sign * INFINITY;
    const float fraction = (float)mantissa / (float)(1 << bits);
    if (exponent == 0) return sign * ldexpf(fraction, 1 - bias);
    return sign * ldexpf(1.0f + fraction, exponent - bias);
}

/* Each code at every place of a vector and of its last, partial one. */
static void codes(const fattn_kernels *k)
{
    enum { N = 256 + 37 };
    static const int dtypes[] = {KERNEL_I8, KERNEL_E4M3, KERNEL_E5M2};
    uint8_t src[N];
    float *dst = scratch(N + LANES_MAX);
    for (int i = 0; i < 3; i++)
        for (int first = 0; first < 32; first++) {
            for (int c = 0; c < N; c++) src[c] = (uint8_t)(c + first);
            const int cols = N - first;
            k->load[dtypes[i]](dst, N + LANES_MAX - 5, src, N, 1, cols);
            for (int c = 0; c < cols; c++)
                if (!same(dst[c], value_of(dtypes[i], src[c])))
                    fail_msg("%s %s: code %#x is %a", k->name, dtype_names[dtypes[i]], src[c],
                             (double)dst[c]);
        }
    free(dst);
}

static void test_codes(void **state)
{
    (void)state;
    each_isa(codes);
}

enum { KEYS = 21, D_MAX = 200, LD = 208 };

/* The same numbers -8..7 as int8 rows and as rows of nibbles. */
typedef struct pair {
    int8_t wide[KEYS * LD];
    uint8_t packed[KEYS * LD / 2];
} pair;

static void fill(pair *x, uint64_t *seed)
{
    for (int i = 0; i < KEYS * LD; i++) {
        const int nibble = (int)(random_bits(seed) >> 28);
        x->wide[i] = (int8_t)(nibble < 8 ? nibble : nibble - 16);
        if (i % 2 == 0) x->packed[i / 2] = 0;
        x->packed[i / 2] |= (uint8_t)(nibble << 4 * (i % 2));
    }
}

static void expect_same(const fattn_kernels *k, const char *slot, const float *a, const float *b,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!same(a[i], b[i]))
            fail_msg("%s %s: element %zu is %a with i4, %a with i8", k->name, slot, i, (double)a[i],
                     (double)b[i]);
}

static void i4_like_i8(const fattn_kernels *k)
{
    static pair x;
    enum { ROWS = 3, CHUNK = 64 };
    uint64_t seed = 4;
    float *a = scratch(KEYS * LD), *b = scratch(KEYS * LD), *q = scratch(ROWS * LD);
    float *p = scratch(ROWS * TILE_KEYS);
    fill(&x, &seed);
    random_fill(q, ROWS * LD, &seed);
    random_fill(p, ROWS * TILE_KEYS, &seed);
    for (int d = 8; d <= D_MAX; d += 8) {
        k->load[KERNEL_I8](a, LD, x.wide, LD, KEYS, d);
        k->load[KERNEL_I4](b, LD, x.packed, LD, KEYS, d);
        expect_same(k, "load", b, a, KEYS * LD);
        if (!k->dot[KERNEL_I4]) continue;
        for (int c = 0; c < ROWS * LD; c++)
            if (c % LD >= d) q[c] = 0;
        memset(a, 0, KEYS * LD * 4), memset(b, 0, KEYS * LD * 4);
        k->dot[KERNEL_I8](a, q, LD, x.wide, LD, ROWS, KEYS, d, x.wide);
        k->dot[KERNEL_I4](b, q, LD, x.packed, LD, ROWS, KEYS, d, x.packed);
        expect_same(k, "dot", b, a, ROWS * TILE_KEYS);
        memset(a, 0, KEYS * LD * 4), memset(b, 0, KEYS * LD * 4);
        k->axpy[KERNEL_I8](a, LD, p, x.wide, LD, ROWS, KEYS, d, NULL);
        k->axpy[KERNEL_I4](b, LD, p, x.packed, LD, ROWS, KEYS, d, NULL);
        expect_same(k, "axpy", b, a, ROWS * LD);
        random_fill(q, ROWS * LD, &seed);
    }
    for (int d = CHUNK; d <= D_MAX - 8; d += CHUNK) { /* strips of 64 columns of 7 keys each */
        enum { STRIP_KEYS = 7 };
        const fattn_strips wide = {x.wide, CHUNK, STRIP_KEYS * CHUNK, CHUNK};
        const fattn_strips packed = {x.packed, CHUNK, STRIP_KEYS * CHUNK, CHUNK};
        if (!k->dot_strips[KERNEL_I4]) break;
        memset(a, 0, KEYS * LD * 4), memset(b, 0, KEYS * LD * 4);
        k->dot_strips[KERNEL_I8](a, q, LD, &wide, ROWS, STRIP_KEYS, d, NULL);
        k->dot_strips[KERNEL_I4](b, q, LD, &packed, ROWS, STRIP_KEYS, d, NULL);
        expect_same(k, "dot_strips", b, a, ROWS * TILE_KEYS);
        memset(a, 0, KEYS * LD * 4), memset(b, 0, KEYS * LD * 4);
        k->axpy_strips[KERNEL_I8](a, LD, p, &wide, ROWS, STRIP_KEYS, d, NULL);
        k->axpy_strips[KERNEL_I4](b, LD, p, &packed, ROWS, STRIP_KEYS, d, NULL);
        expect_same(k, "axpy_strips", b, a, ROWS * LD);
    }
    free(a), free(b), free(q), free(p);
}

static void test_i4(void **state)
{
    (void)state;
    each_isa(i4_like_i8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_i4)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
