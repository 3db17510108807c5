/* SPDX-License-Identifier: Apache-2.0 */
/* seen.c — a tile is cut into blocks of keys (scores, gradients of keys) or rows (values); a block is
 * multiplied from the first row (key) that sees any of it to the last. */
#include "cpu/seen.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

enum {
    SCORE_KEYS = 16, /* the widest vector: then every block loses one more */
    SUM_LINES = 12   /* rows or keys of a sum: two register tiles */
};

typedef struct range {
    int first, end; /* empty: 0, 0 */
} range;

/* From the first bit below `n` that is not set in all of `count` words to behind the last. */
static range seen_by_any(const uint64_t *hidden, int count, int n)
{
    uint64_t seen = 0;
    for (int i = 0; i < count; i++) seen |= ~hidden[i];
    if (n < 64) seen &= (UINT64_C(1) << n) - 1;
    if (seen == 0) return (range){0, 0};
    return (range){__builtin_ctzll(seen), 64 - __builtin_clzll(seen)};
}

/* Lanes outside [first, end). */
static void clear_unseen(float *st, int keys, range lanes, int all)
{
    for (int key = 0; key < keys; key++, st += TILE_ROWS) {
        memset(st, 0, (size_t)lanes.first * sizeof *st);
        memset(st + lanes.end, 0, (size_t)(all - lanes.end) * sizeof *st);
    }
}

/* `vectors` vectors of lanes from `lane` on. */
static void scores(const fattn_item *it, float *st, fattn_queries q, fattn_tile k, int keys,
                   int lane, int vectors)
{
    float *tmax = it->scratch->tmax;
    if (q.half)
        it->half->qk(st + lane, q.half + lane, k.pairs, k.at, k.ld, keys, (int)q.d, vectors,
                     q.factor, tmax);
    else
        it->kernels->qk(st + lane, q.at + lane, k.at, k.ld, keys, (int)q.d, vectors, tmax);
}

void seen_scores(const fattn_item *it, float *st, fattn_queries q, fattn_tile k, int keys, int rows,
                 const uint64_t *hidden_by_key)
{
    const int width = q.half ? it->half->lanes : it->kernels->lanes;
    const int vectors = (rows + width - 1) / width;
    if (!hidden_by_key) {
        scores(it, st, q, k, keys, 0, vectors);
        return;
    }
    for (int key = 0; key < keys; key += SCORE_KEYS) {
        const int n = (int)i64_min(keys - key, SCORE_KEYS);
        range lanes = seen_by_any(hidden_by_key + key, MUTANT(215, n, 1), rows);
        lanes.first = lanes.first / width * width;
        lanes.end = (lanes.end + width - 1) / width * width;
        clear_unseen(st + key * TILE_ROWS, n, lanes, vectors * width);
        if (lanes.end > lanes.first)
            scores(it, st + key * TILE_ROWS, q, tile_from(k, key), n, lanes.first,
                   (lanes.end - lanes.first) / width);
    }
}

/* One block: what w and x begin with. */
static void add_to_rows(const fattn_item *it, float *o, int64_t ldo, const float *w, fattn_tile x,
                        int rows, int keys, const float *alpha)
{
    const fattn_scratch *s = it->scratch;
    if (x.half)
        it->half->pv(o, (ptrdiff_t)ldo, s->half.weights + (w - s->scores), w, x.half, x.half_ld,
                     rows, keys, (int)ldo, alpha, (int)(MUTANT(221, x.key, 0) % HALF_CHAIN));
    else
        it->kernels->pv(o, (ptrdiff_t)ldo, w, x.at, x.ld, rows, keys, (int)ldo, alpha);
}

void seen_add_to_rows(const fattn_item *it, float *o, int64_t ldo, const float *w, fattn_tile x,
                      int rows, int keys, const float *alpha, const uint64_t *hidden_by_row)
{
    const int step = hidden_by_row ? SUM_LINES : TILE_ROWS;
    for (int row = 0; row < rows; row += step) {
        const int n = (int)i64_min(rows - row, step);
        range seen = {0, keys};
        if (hidden_by_row) seen = seen_by_any(hidden_by_row + row, MUTANT(216, n, 1), keys);
        if (seen.end == 0 && !alpha) continue;
        seen.end = (int)i64_max(seen.end, 1); /* alpha is due: a key of weight 0 */
        add_to_rows(it, o + row * ldo, ldo, w + seen.first * TILE_ROWS + row,
                    tile_from(x, seen.first), n, seen.end - seen.first, alpha ? alpha + row : NULL);
    }
}

void seen_add_to_keys(const fattn_item *it, float *o, int64_t ldo, const float *w, fattn_tile x,
                      int keys, int rows, const uint64_t *hidden_by_key)
{
    const int step = hidden_by_key ? SUM_LINES : TILE_KEYS;
    for (int key = 0; key < keys; key += step) {
        const int n = (int)i64_min(keys - key, step);
        range seen = {0, rows};
        if (hidden_by_key) seen = seen_by_any(hidden_by_key + key, MUTANT(217, n, 1), rows);
        if (seen.end > 0)
            it->kernels->kv_grad(o + key * ldo, (ptrdiff_t)ldo, w + key * TILE_ROWS + seen.first,
                                 x.at + seen.first * x.ld, x.ld, n, seen.end - seen.first,
                                 (int)ldo);
    }
}
