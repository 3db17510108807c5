/* SPDX-License-Identifier: Apache-2.0 */
/* seen.c — tiles with hidden cells: what somebody sees has the bits of the whole tile's product, whatever is
 * hidden around it (diagonals, bands, blocks, single cells, nothing at all), on every instruction set. */
#include "cm.h"

#include "../core/rng.h"
#include "cpu/isa.h"
#include "cpu/seen.h"
#include "kernel/check.h"

enum { D = 48 };

typedef struct tile {
    float st[TILE_KEYS * TILE_ROWS], w[TILE_KEYS * TILE_ROWS], qt[D * TILE_ROWS], x[TILE_KEYS * D];
    float o[TILE_ROWS * D], alpha[TILE_ROWS], tmax[TILE_ROWS];
    uint64_t by_row[TILE_ROWS], by_key[TILE_KEYS];
    int rows, keys;
} tile;

static void fill(float *x, int n, rng *r)
{
    for (int i = 0; i < n; i++) x[i] = (float)rng_between(r, -1000, 1000) / 256.0f;
}

/* Does row see key? */
static bool sees(int shape, int row, int key, int offset, rng *r)
{
    switch (shape) {
    case 0: /* causal, groups of rows */
        return key <= row / 2 + offset;
    case 1:
        return key <= row + offset - 20;
    case 2: /* band */
        return key <= row + offset && key > row + offset - 9;
    case 3: /* from the right */
        return key >= row;
    case 4: /* blocks */
        return (row / 20 + key / 20) % 2 == 0;
    case 5:
        return rng_between(r, 0, 9) == 0;
    default: /* almost nothing */
        return row == offset && key == 63 - offset;
    }
}

static tile *random_tile(rng *r)
{
    tile *t = malloc(sizeof *t);
    assert_non_null(t);
    t->rows = rng_between(r, 0, 1) ? TILE_ROWS : (int)rng_between(r, 1, TILE_ROWS);
    t->keys = rng_between(r, 0, 1) ? TILE_KEYS : (int)rng_between(r, 1, TILE_KEYS);
    fill(t->qt, D * TILE_ROWS, r);
    fill(t->x, TILE_KEYS * D, r);
    fill(t->o, TILE_ROWS * D, r);
    for (int i = 0; i < TILE_ROWS; i++) t->alpha[i] = (float)rng_between(r, 1, 256) / 256.0f;
    fill(t->w, TILE_KEYS * TILE_ROWS, r);
    memset(t->by_row, 0, sizeof t->by_row);
    memset(t->by_key, 0, sizeof t->by_key);
    const int shape = (int)rng_between(r, 0, 6), offset = (int)rng_between(r, 0, 63);
    for (int row = 0; row < t->rows; row++)
        for (int key = 0; key < t->keys; key++)
            if (!sees(shape, row, key, offset, r)) {
                t->by_row[row] |= UINT64_C(1) << key;
                t->by_key[key] |= UINT64_C(1) << row;
                t->w[key * TILE_ROWS + row] = 0;
            }
    return t;
}

static void scores(const fattn_kernels *kernels, const fattn_item *it, tile *t)
{
    const int vectors = (t->rows + kernels->lanes - 1) / kernels->lanes;
    float whole[TILE_KEYS * TILE_ROWS], tmax[TILE_ROWS];
    kernels->qk(whole, t->qt, t->x, D, t->keys, D, vectors, tmax);
    memset(t->st, 0xff, sizeof t->st); /* NaN: what is not written shows */
    const fattn_tile x = {.at = t->x, .ld = D};
    const fattn_queries q = {.at = t->qt, .d = D};
    seen_scores(it, t->st, q, x, t->keys, t->rows, t->by_key);
    for (int key = 0; key < t->keys; key++)
        for (int row = 0; row < t->rows; row++) {
            const float got = t->st[key * TILE_ROWS + row], want = whole[key * TILE_ROWS + row];
            const bool hidden = t->by_key[key] >> row & 1;
            if (hidden ? got != got : memcmp(&got, &want, sizeof got) != 0)
                fail_msg("%s: %d rows, %d keys: the score of row %d and key %d is %g, not %g",
                         kernels->name, t->rows, t->keys, row, key, (double)got, (double)want);
        }
    seen_scores(it, t->st, q, x, t->keys, t->rows, NULL);
    for (int key = 0; key < t->keys; key++)
        assert_memory_equal(t->st + key * TILE_ROWS, whole + key * TILE_ROWS,
                            (size_t)t->rows * sizeof *whole);
}

/* The same in fp16 arithmetic. The tile's first key has an odd number. */
enum { FIRST = 21, HALF_D = 64 /* D in whole vectors */ };

typedef struct halves {
    uint16_t q[D * TILE_ROWS], x[TILE_KEYS * HALF_D];
    uint32_t pairs[TILE_KEYS * D];
} halves;

static fattn_tile halve(const fattn_half_kernels *half, const fattn_item *it, const tile *t,
                        halves *h)
{
    half->narrow(h->q, t->qt, D * TILE_ROWS);
    memset(h->x, 0, sizeof h->x);
    for (int key = 0; key < TILE_KEYS; key++)
        half->narrow(h->x + key * HALF_D, t->x + key * D, D);
    half->pairs(h->pairs, t->x, TILE_KEYS * D, 1);
    half->pairs(it->scratch->half.weights, t->w, TILE_KEYS * TILE_ROWS, HALF_WEIGHT);
    return (fattn_tile){
        .at = t->x, .ld = D, .pairs = h->pairs, .half = h->x, .half_ld = HALF_D, .key = FIRST};
}

static void half_scores(const fattn_half_kernels *half, const fattn_item *it, tile *t, halves *h)
{
    const int vectors = (t->rows + half->lanes - 1) / half->lanes;
    float whole[TILE_KEYS * TILE_ROWS], tmax[TILE_ROWS];
    const fattn_tile x = halve(half, it, t, h);
    half->qk(whole, h->q, h->pairs, t->x, D, t->keys, D, vectors, 0.3f, tmax);
    const fattn_queries q = {.half = h->q, .factor = 0.3f, .d = D};
    seen_scores(it, t->st, q, x, t->keys, t->rows, t->by_key);
    for (int key = 0; key < t->keys; key++)
        for (int row = 0; row < t->rows; row++) {
            const int at = key * TILE_ROWS + row;
            if (!(t->by_key[key] >> row & 1))
                assert_memory_equal(&t->st[at], &whole[at], sizeof *whole);
        }
}

static void half_sums(const fattn_half_kernels *half, const fattn_item *it, const tile *t,
                      const float *alpha, halves *h)
{
    float whole[TILE_ROWS * D], part[TILE_ROWS * D];
    const fattn_tile x = halve(half, it, t, h);
    memcpy(whole, t->o, sizeof whole);
    memcpy(part, t->o, sizeof part);
    half->pv(whole, D, it->scratch->half.weights, t->w, h->x, HALF_D, t->rows, t->keys, D, alpha,
             FIRST % HALF_CHAIN);
    seen_add_to_rows(it, part, D, t->w, x, t->rows, t->keys, alpha, t->by_row);
    assert_memory_equal(whole, part, sizeof whole);
}

static void sums(const fattn_kernels *kernels, const fattn_item *it, const tile *t, const float *alpha)
{
    float whole[TILE_ROWS * D], part[TILE_ROWS * D];
    const fattn_tile x = {.at = t->x, .ld = D};
    memcpy(whole, t->o, sizeof whole);
    memcpy(part, t->o, sizeof part);
    kernels->pv(whole, D, t->w, t->x, D, t->rows, t->keys, D, alpha);
    seen_add_to_rows(it, part, D, t->w, x, t->rows, t->keys, alpha, t->by_row);
    assert_memory_equal(whole, part, sizeof whole);

    memcpy(whole, t->o, sizeof whole);
    memcpy(part, t->o, sizeof part);
    kernels->kv_grad(whole, D, t->w, t->x, D, t->keys, t->rows, D);
    seen_add_to_keys(it, part, D, t->w, x, t->keys, t->rows, t->by_key);
    assert_memory_equal(whole, part, sizeof whole);
}

static void tiles(const fattn_kernels *kernels)
{
    rng r = rng_new(31);
    for (int i = 0; i < 400; i++) {
        tile *t = random_tile(&r);
        fattn_scratch scratch = {.tmax = t->tmax};
        const fattn_item it = {.kernels = kernels, .scratch = &scratch};
        scores(kernels, &it, t);
        sums(kernels, &it, t, NULL);
        sums(kernels, &it, t, t->alpha);
        free(t);
    }
}

static void test_tiles(void **state)
{
    (void)state;
    each_isa(tiles);
}

static void half_tiles(const fattn_kernels *kernels, const fattn_half_kernels *half)
{
    rng r = rng_new(32);
    uint32_t *weights = malloc(TILE_KEYS * TILE_ROWS * sizeof *weights);
    halves *h = malloc(sizeof *h);
    assert_true(weights && h);
    for (int i = 0; i < 100; i++) {
        tile *t = random_tile(&r);
        fattn_scratch scratch = {.tmax = t->tmax, .scores = t->w, .half = {.weights = weights}};
        const fattn_item it = {.kernels = kernels, .half = half, .scratch = &scratch};
        half_scores(half, &it, t, h);
        half_sums(half, &it, t, NULL, h);
        half_sums(half, &it, t, t->alpha, h);
        free(t);
    }
    free(weights), free(h);
}

static void test_half_tiles(void **state)
{
    (void)state;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        const fattn_half_kernels *half = half_kernels_for((fattn_isa)isa);
        if (half) half_tiles(kernels_for((fattn_isa)isa), half);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiles),
                                       cmocka_unit_test(test_half_tiles)};
    return report_sets(cmocka_run_group_tests(tests, NULL, NULL));
}
