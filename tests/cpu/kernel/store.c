/* SPDX-License-Identifier: Apache-2.0 */
/* store.c — rounding to 16 bits over a stripe of all floats (FATTN_STRIPE picks which one) against
 * base/half.h; division; rows of any length at every offset from a fence. */
#include "check.h"

static void stripe(const fattn_kernels *k)
{
    enum { STEP = 4099, BATCH = 4096 };
    const char *text = getenv("FATTN_STRIPE");
    uint64_t bits = text ? strtoul(text, NULL, 10) % STEP : 0;
    float src[BATCH];
    uint16_t dst[BATCH], want[BATCH];
    while (bits < (uint64_t)1 << 32) {
        int n = 0;
        for (; n < BATCH && bits < (uint64_t)1 << 32; n++, bits += STEP)
            src[n] = bits_float((uint32_t)bits);
        for (int dtype = KERNEL_F16; dtype <= KERNEL_BF16; dtype++) {
            k->store[dtype](dst, src, n, 1.0f);
            for (int i = 0; i < n; i++) {
                put(want, (size_t)i, dtype, src[i]);
                const int nan = isnan(src[i]) && isnan(get(dst, (size_t)i, dtype));
                if (dst[i] != want[i] && !nan)
                    fail_msg("%s %s: %#x became %#x, want %#x", k->name, dtype_names[dtype],
                             float_bits(src[i]), dst[i], want[i]);
            }
        }
    }
}

static void test_stripe(void **state)
{
    (void)state;
    each_isa(stripe);
}

/* Ties, the ends of the ranges, and the NaN whose top bits are zero. */
static void edges(const fattn_kernels *k)
{
    static const uint32_t bits[] = {
        0x00000000, 0x80000000, 0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fffffff,
        0xffffffff, 0x477fefff, 0x477ff000, 0x477ff001, 0x47800000, 0xc77ff000, 0x33000000,
        0x33000001, 0x33800000, 0x33c00000, 0x387fc000, 0x387fe000, 0x387fffff, 0x38800000,
        0x3f801000, 0x3f803000, 0x3f808000, 0x3f818000, 0x7f7fffff, 0x7f7f7fff, 0x7f7f8000,
        0x00000001, 0x00008000, 0x00018000, 0x80008001,
    };
    enum { N = sizeof bits / sizeof *bits };
    float src[N];
    uint16_t dst[N], want[N];
    for (int i = 0; i < N; i++) src[i] = bits_float(bits[i]);
    for (int dtype = KERNEL_F16; dtype <= KERNEL_BF16; dtype++) {
        k->store[dtype](dst, src, N, 1.0f);
        for (int i = 0; i < N; i++) {
            put(want, (size_t)i, dtype, src[i]);
            if (isnan(src[i]) ? !isnan(get(dst, (size_t)i, dtype)) : dst[i] != want[i])
                fail_msg("%s %s: %#x became %#x, want %#x", k->name, dtype_names[dtype], bits[i],
                         dst[i], want[i]);
        }
    }
}

static void test_edges(void **state)
{
    (void)state;
    each_isa(edges);
}

static void store_one(const fattn_kernels *k, int dtype, int cols, size_t offset, guard_side side,
                      guard g[2])
{
    uint64_t seed = (uint64_t)cols + offset;
    const size_t size = dtype_size(dtype);
    const float divisor = 3.7f;
    float *src = guard_place(&g[0], (size_t)cols * 4, 0, side);
    void *dst = guard_place(&g[1], (size_t)cols * size, offset, side);
    char want[4];
    random_fill(src, (size_t)cols, &seed);

    k->store[dtype](dst, src, cols, divisor);

    for (int c = 0; c < cols; c++) {
        put(want, 0, dtype, src[c] / divisor);
        if (memcmp((char *)dst + (size_t)c * size, want, size))
            fail_msg("%s %s: cols=%d offset=%zu column %d", k->name, dtype_names[dtype], cols,
                     offset, c);
    }
    if (!guard_intact(&g[0]) || !guard_intact(&g[1]))
        fail_msg("%s %s: cols=%d offset=%zu wrote beside", k->name, dtype_names[dtype], cols,
                 offset);
}

static void rows(const fattn_kernels *k)
{
    guard g[2] = {guard_alloc(4096), guard_alloc(4096)};
    for (int dtype = 0; dtype < KERNEL_FLOATS; dtype++)
        for (int cols = 1; cols <= 70; cols++)
            for (size_t offset = 0; offset < 64; offset += dtype_size(dtype))
                for (int side = GUARD_BEFORE; side <= GUARD_AFTER; side++)
                    store_one(k, dtype, cols, offset, (guard_side)side, g);
    guard_free(&g[0]), guard_free(&g[1]);
}

static void test_rows(void **state)
{
    (void)state;
    each_isa(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stripe),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_rows),
    };
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
