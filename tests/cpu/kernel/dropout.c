/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.c — the kernels' bits are those of core/dropout.h on every instruction set, from any element
 * on; weights are scaled or become 0. --bench prints the speed. */
#include "check.h"

#include "base/philox.h"
#include "core/dropout.h"

static fattn_philox stream(uint64_t seed, uint64_t offset, const fattn_dropout *rule)
{
    fattn_philox x = {.offset = offset, .word_bits = rule->word_bits, .threshold = rule->threshold};
    philox_keys(seed, x.keys);
    return x;
}

static void bits(const fattn_kernels *kernels)
{
    static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
    static const uint64_t starts[] = {0, 1, 2, 3, 4, 61, 1000003, (UINT64_C(1) << 34) - 30};
    enum { STARTS = 8 };
    uint64_t seed = 77;
    for (int round = 0; round < 30; round++) {
        fattn_dropout rule = {0};
        const uint64_t key = (uint64_t)random_bits(&seed) << 32 | random_bits(&seed);
        const uint64_t offset = round % 3 ? random_bits(&seed) : (uint64_t)key << 7;
        uint64_t kept[STARTS];
        dropout_translate(&rule, dtypes[round % 3], 0.05 + 0.9 * (double)(round % 10) / 10);
        const fattn_philox x = stream(key, offset, &rule);
        kernels->keep(kept, starts, STARTS, &x);
        for (int i = 0; i < STARTS; i++)
            if (kept[i] != dropout_word(&rule, key, offset, starts[i]))
                fail_msg("%s: round %d start %llu", kernels->name, round,
                         (unsigned long long)starts[i]);
    }
}

static void test_bits(void **state)
{
    (void)state;
    each_isa(bits);
}

static void weights(const fattn_kernels *kernels)
{
    uint64_t seed = 5, kept[TILE_ROWS];
    float *old = scratch(64 * 64), *now = scratch(64 * 64);
    random_fill(old, 64 * 64, &seed);
    for (int i = 0; i < TILE_ROWS; i++)
        kept[i] = (uint64_t)random_bits(&seed) << 32 | random_bits(&seed);
    old[3 * 64 + 5] = NAN; /* a dropped NaN is 0 */
    kept[3] &= ~(UINT64_C(1) << 5);
    for (int way = 0; way < 2; way++) {
        memcpy(now, old, 64 * 64 * 4);
        if (way)
            kernels->drop_rows(now, 8, kept, 1.25f);
        else
            kernels->drop(now, 8, 64 / kernels->lanes, kept, 1.25f);
        for (int i = 0; i < 64 * 64; i++) {
            const int there = i / 64 < 8, keep = (int)(kept[i / 64] >> i % 64 & 1);
            const float want = !there ? old[i] : keep ? old[i] * 1.25f : 0.0f;
            if (!same(now[i], want)) fail_msg("%s: way %d cell %d", kernels->name, way, i);
        }
    }
    free(old), free(now);
}

static void test_weights(void **state)
{
    (void)state;
    each_isa(weights);
}

typedef struct bench_keep {
    const fattn_kernels *kernels;
    fattn_philox x;
    uint64_t first[TILE_ROWS], kept[TILE_ROWS];
} bench_keep;

static void bench_call(void *arg)
{
    bench_keep *b = arg;
    b->kernels->keep(b->kept, b->first, TILE_ROWS, &b->x);
}

static void bench(const fattn_kernels *kernels)
{
    fattn_dropout rule = {0};
    dropout_translate(&rule, FATTN_F32, 0.9);
    bench_keep b = {.kernels = kernels, .x = stream(1, 2, &rule)};
    for (int odd = 0; odd < 2; odd++) {
        for (int i = 0; i < TILE_ROWS; i++) b.first[i] = (uint64_t)(i * 2048 + odd);
        printf("keep %-7s %s  %.2f cells/ns\n", kernels->name, odd ? "odd    " : "aligned",
               64 * 64 / best_time(bench_call, &b, 50) * 1e-9);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--bench")) {
        each_isa(bench);
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_weights)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
