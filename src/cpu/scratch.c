/* SPDX-License-Identifier: Apache-2.0 */
/* scratch.c — one description of a worker's memory, walked for its size and for its pointers. */
#include "cpu/scratch.h"

#include <math.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

enum { ALIGN = 64 };

/* A cursor over memory that may not be there; `bytes` sticks at SIZE_MAX on overflow. */
typedef struct cursor {
    char *base;
    size_t bytes;
} cursor;

static void *take(cursor *at, int64_t count, int64_t columns, size_t size)
{
    size_t bytes = 0;
    const size_t begin = at->bytes;
    const bool fits = begin != SIZE_MAX && size_mul((size_t)count, (size_t)columns, &bytes) &&
                      size_mul(bytes, size, &bytes) && size_add(bytes, ALIGN - 1, &bytes) &&
                      size_add(begin, bytes / ALIGN * ALIGN, &at->bytes);
    if (!fits) at->bytes = SIZE_MAX;
    return fits && at->base ? at->base + begin : NULL;
}

size_t state_floats(int64_t rows, int64_t d_v)
{
    const int64_t lanes = i64_round_up(rows, LANES_MAX);
    int64_t floats;
    if (!i64_mul(rows, i64_round_up(d_v, LANES_MAX), &floats)) return SIZE_MAX;
    if (!i64_add(floats, 3 * lanes, &floats)) return SIZE_MAX;
    return (size_t)floats;
}

fattn_state state_bind(float *base, int64_t rows)
{
    const int64_t lanes = i64_round_up(rows, LANES_MAX);
    return (fattn_state){
        .m = base, .top = base + lanes, .l = base + 2 * lanes, .o = base + 3 * lanes};
}

void state_reset(const fattn_state *state, int64_t rows, int64_t ldo)
{
    const int64_t lanes = i64_round_up(rows, LANES_MAX);
    for (int64_t r = 0; r < lanes; r++) state->m[r] = state->top[r] = -INFINITY;
    memset(state->l, 0, (size_t)MUTANT(45, lanes, 0) * sizeof(float));
    memset(state->o, 0, (size_t)(rows * ldo) * sizeof(float));
}

static fattn_grad_scratch take_grad(cursor *at, const fattn_scratch_layout *layout, int64_t ldk,
                                    int64_t ldo)
{
    const int64_t rows = layout->rows;
    return (fattn_grad_scratch){
        .dyt = take(at, rows, ldo, sizeof(float)),
        .q_rows = take(at, rows, ldk, sizeof(float)),
        .dq = take(at, rows, ldk, sizeof(float)),
        .dy_rows = take(at, rows, ldo, sizeof(float)),
        .m = take(at, 1, rows, sizeof(float)),
        .inv = take(at, 1, rows, sizeof(float)),
        .delta = take(at, 1, rows, sizeof(float)),
        .dp = take(at, TILE_KEYS, TILE_ROWS, sizeof(float)),
        .by_row = take(at, TILE_ROWS, TILE_KEYS, sizeof(float)),
        .clean = take(at, TILE_ROWS, i64_max(ldk, ldo), sizeof(float)),
        .dk = take(at, layout->grad_keys, ldk, sizeof(float)),
        .dv = take(at, layout->grad_keys, MUTANT(177, ldo, 0), sizeof(float)),
        .pool = take(at, layout->pool_cols ? TILE_ROWS : 0, layout->pool_cols, sizeof(float)),
    };
}

static fattn_scales take_scales(cursor *at, int64_t columns, bool wanted)
{
    enum { KEYS = TILE_KEYS + LANES_MAX };
    const int64_t rows = wanted ? 1 : 0;
    return (fattn_scales){.mul = take(at, rows, columns, sizeof(float)),
                          .add = take(at, rows, columns, sizeof(float)),
                          .key_mul = take(at, rows, KEYS, sizeof(float)),
                          .key_add = take(at, rows, KEYS, sizeof(float))};
}

static fattn_half_scratch take_half(cursor *at, const fattn_scratch_layout *layout, int64_t ldk)
{
    const int64_t ldv = i64_round_up(layout->d_v, HALF_LANES_MAX);
    return (fattn_half_scratch){.ldv = ldv,
                                .q = take(at, layout->rows, ldk, sizeof(uint16_t)),
                                .k = take(at, TILE_KEYS, ldk, sizeof(uint32_t)),
                                .v = take(at, TILE_KEYS, ldv, sizeof(uint16_t)),
                                .v_clean = take(at, TILE_KEYS, ldv, sizeof(uint16_t)),
                                .weights = take(at, TILE_KEYS, TILE_ROWS, sizeof(uint32_t))};
}

size_t scratch_bind(fattn_scratch *scratch, const fattn_scratch_layout *layout, void *base)
{
    const int64_t ldk = i64_round_up(layout->d_qk, LANES_MAX);
    const int64_t ldo = i64_round_up(layout->d_v, MUTANT(46, LANES_MAX, 8));
    const int64_t bias = layout->bias ? TILE_ROWS : 0;
    const size_t state = layout->backward ? 0 : state_floats(layout->rows, layout->d_v);
    if (state > SIZE_MAX / sizeof(float)) return SIZE_MAX;

    cursor at = {.base = base};
    float *state_base = take(&at, 1, (int64_t)state, sizeof(float));
    *scratch = (fattn_scratch){
        .ldk = ldk,
        .ldo = ldo,
        .q = take(&at, layout->rows, ldk, sizeof(float)),
        .scores = take(&at, TILE_ROWS, TILE_KEYS, sizeof(float)),
        .bias = take(&at, bias, TILE_KEYS, sizeof(float)),
        .bias_rows = take(&at, bias, TILE_KEYS, sizeof(float)),
        .tmax = take(&at, 1, TILE_ROWS, sizeof(float)),
        .alpha = take(&at, 1, TILE_ROWS, sizeof(float)),
        .hidden = take(&at, 1, TILE_ROWS, sizeof(uint64_t)),
        .hidden_lanes = take(&at, 1, TILE_KEYS, sizeof(uint64_t)),
        .kept = take(&at, 1, TILE_ROWS, sizeof(uint64_t)),
        .kept_lanes = take(&at, 1, TILE_KEYS, sizeof(uint64_t)),
        .k = take(&at, TILE_KEYS, ldk, sizeof(float)),
        .v = take(&at, TILE_KEYS, ldo, sizeof(float)),
        .v_clean = take(&at, TILE_KEYS, ldo, sizeof(float)),
    };
    scratch->k_scales = take_scales(&at, ldk, layout->quantised);
    scratch->v_scales = take_scales(&at, ldo, layout->quantised);
    scratch->strided = ldk >= ldo ? scratch->k : scratch->v;
    if (layout->half) scratch->half = take_half(&at, layout, ldk);
    if (layout->backward) scratch->grad = take_grad(&at, layout, ldk, ldo);
    if (base && !layout->backward) scratch->state = state_bind(state_base, layout->rows);
    return at.bytes;
}
