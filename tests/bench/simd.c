/* SPDX-License-Identifier: Apache-2.0 */
/* simd.c — the opponent's loops on every instruction set of this machine: softmax against double,
 * widening against the library's conversions over all finite patterns, and the probes' bookkeeping.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/half.h"
#include "bench_pool.h"
#include "bench_probe.h"
#include "bench_simd.h"
#include "fattn/fattn.h"

/* Calls check() for every instruction set that the build and the machine have. */
static void for_each_isa(void (*check)(const bench_simd *simd))
{
    fattn_capability_set set = {.size = sizeof set};
    assert_int_equal(fattn_capabilities(NULL, &set), FATTN_OK);
    for (const char *const *isa = set.isas; *isa != NULL; isa++) {
        const bench_simd *simd = bench_simd_find(*isa);
        assert_non_null(simd);
        assert_string_equal(simd->isa, *isa);
        check(simd);
    }
}

static void check_softmax(const bench_simd *simd)
{
    enum { MOST = 160 };
    static _Alignas(64) float row[MOST];
    float input[MOST];
    for (int visible = 0; visible <= 145; visible++) {
        const int padded = (visible + 15) / 16 * 16;
        double max = -INFINITY, sum = 0;
        for (int j = 0; j < MOST; j++) {
            input[j] = row[j] = (float)((j * 37 + visible * 11) % 101 - 50);
            if (j < visible) max = fmax(max, 0.75 * input[j]);
        }
        for (int j = 0; j < visible; j++) sum += exp(0.75 * input[j] - max);
        simd->softmax(row, visible, padded, 0.75f);
        for (int j = 0; j < padded; j++) {
            const double want = j < visible ? exp(0.75 * input[j] - max) / sum : 0;
            /* some units in the last place, one more for each unit of distance from the maximum
             * (the argument is fp32), and e^-87 where fp32 has almost nothing left */
            const double units = fabs(0.75 * input[j] - max) + 8;
            if (fabs((double)row[j] - want) <= units * 0x1p-23 * want + 2e-38) continue;
            print_error("%s softmax visible=%d j=%d: %.9g, exact %.9g\n", simd->isa, visible, j,
                        (double)row[j], want);
            fail();
        }
        for (int j = padded; j < MOST; j++) assert_true(row[j] == input[j]);
    }
}

static void check_widen(const bench_simd *simd)
{
    enum { ALL = 1 << 16 };
    static uint16_t bits[ALL];
    static float wide[ALL];
    for (int i = 0; i < ALL; i++) bits[i] = (uint16_t)i;
    simd->widen_f16(wide, bits, ALL);
    for (int i = 0; i < ALL; i++) {
        if ((i & 0x7c00) == 0x7c00) continue; /* infinities and NaN are not promised */
        const float want = half_from_f16(bits[i]);
        if (memcmp(&wide[i], &want, sizeof want) == 0) continue;
        print_error("%s widen_f16(0x%04x): %.9g, exact %.9g\n", simd->isa, (unsigned)i,
                    (double)wide[i], (double)want);
        fail();
    }
    simd->widen_bf16(wide, bits, ALL);
    for (int i = 0; i < ALL; i++) {
        const float want = half_from_bf16(bits[i]);
        if (isfinite(want)) assert_memory_equal(&wide[i], &want, sizeof want);
    }
}

static void check_read(const bench_simd *simd)
{
    enum { BYTES = 1 << 16, PLACES = 3 };
    static const size_t places[PLACES] = {0, BYTES / 2 + 4, BYTES - 4};
    uint32_t *memory = aligned_alloc(64, BYTES);
    assert_non_null(memory);
    /* Whatever is read shows in the result: no part is left out. */
    for (int kind = 0; kind < BENCH_READ_KINDS; kind++)
        for (int p = 0; p < PLACES; p++) {
            memset(memory, 0, BYTES);
            memory[places[p] / 4] = 0x1234u;
            assert_int_equal(simd->read(memory, BYTES, kind), 0x1234u);
        }
    free(memory);
    assert_true(simd->flops_per_round >= 2);
    assert_true(isfinite(simd->fma(100, 1.0f)));
}

static void test_softmax(void **state)
{
    (void)state;
    for_each_isa(check_softmax);
}

static void test_widen(void **state)
{
    (void)state;
    for_each_isa(check_widen);
}

static void test_read(void **state)
{
    (void)state;
    for_each_isa(check_read);
}

static void count_item(void *arg, int64_t item, int worker)
{
    (void)worker;
    ((unsigned char *)arg)[item]++;
}

/* Every item once, whatever the number of threads and items. */
static void test_pool(void **state)
{
    (void)state;
    static unsigned char seen[1000];
    for (int threads = 1; threads <= 4; threads++) {
        bench_pool *pool = bench_pool_create(threads);
        assert_non_null(pool);
        assert_int_equal(bench_pool_threads(pool), threads);
        for (int n = 0; n <= 1000; n = n * 3 + 1) {
            memset(seen, 0, sizeof seen);
            bench_pool_run(pool, count_item, seen, n);
            for (int i = 0; i < 1000; i++) assert_int_equal(seen[i], i < n);
        }
        bench_pool_destroy(pool);
    }
}

static void test_probe(void **state)
{
    (void)state;
    bench_pool *pool = bench_pool_create(2);
    bench_probe probe = bench_probe_open(pool, bench_simd_find("scalar"));
    assert_true(probe.peak_gflops == 0);
    bench_probe_fma(&probe);
    assert_true(probe.peak_gflops > 0);
    assert_true(bench_cache_bytes() > 0);
    bench_probe_close(&probe);
    bench_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax), cmocka_unit_test(test_widen), cmocka_unit_test(test_read),
        cmocka_unit_test(test_pool),    cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
