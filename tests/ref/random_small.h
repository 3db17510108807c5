/* SPDX-License-Identifier: Apache-2.0 */
/* random_small.h — random problems for the tests of the reference: shape, mode, dense mask, bias
 * and sink by seed. Operands are f32, so that fp32 implementations and wider ones read the same
 * numbers. */
#ifndef FATTN_TESTS_REF_RANDOM_SMALL_H
#define FATTN_TESTS_REF_RANDOM_SMALL_H

#include <stdio.h>

#include "small.h"

enum {
    RANDOM_HEADS = 4,
    RANDOM_ROWS = 5,
    RANDOM_KEYS = 48,
    RANDOM_DIM = 70,
};

typedef struct random_small {
    small s;
    small_shape shape;
    uint64_t seed;
    int64_t mode;
    float q[RANDOM_HEADS * RANDOM_ROWS * RANDOM_DIM];
    float k[RANDOM_HEADS * RANDOM_KEYS * RANDOM_DIM];
    float v[RANDOM_HEADS * RANDOM_KEYS * RANDOM_DIM];
    float bias[RANDOM_HEADS * RANDOM_ROWS * RANDOM_KEYS];
    float sink[RANDOM_HEADS];
    uint8_t mask[RANDOM_ROWS * RANDOM_KEYS];
} random_small;

static inline const char *random_describe(const random_small *x)
{
    static char text[256];
    snprintf(
        text, sizeof text,
        "seed %llu: heads %lld/%lld q_len %lld kv_len %lld d %lld/%lld mode %lld mask %d bias %d "
        "before_scale %d sink %d",
        (unsigned long long)x->seed, (long long)x->shape.n_heads, (long long)x->shape.n_kv_heads,
        (long long)x->shape.q_len, (long long)x->shape.kv_len, (long long)x->shape.d_qk,
        (long long)x->shape.d_v, (long long)x->mode, x->s.p.mask.present,
        x->s.p.bias.kind != BIAS_NONE, x->s.p.bias.before_scale, x->s.p.sink);
    return text;
}

/* About normal: the sum of three uniform numbers. */
static inline float random_normal(rng *r)
{
    return (float)(rng_unit(r) + rng_unit(r) + rng_unit(r));
}

/* How the scores of one row are spread; the test fills of design/trust.md that fp32 can hold
 * exactly. */
typedef enum random_fill {
    FILL_NORMAL,
    FILL_WIDE, /* 88..90 of both signs: exp() near the ends of fp32 */
    FILL_HUGE, /* +-1e4 */
    FILL_EQUAL,
    FILL_ONE_HOT,
    FILL_RISING, /* the worst chain of rescales */
    FILL_FALLING,
    FILL_OFFSET, /* N(100, 25) */
    FILL_COUNT
} random_fill;

/* A number for key j whose score should be about it: the first column of k, with q = (1, small...).
 */
static inline float random_level(rng *r, random_fill fill, int64_t j, int64_t keys)
{
    switch (fill) {
    case FILL_WIDE:
        return (float)(rng_unit(r) < 0 ? -89 - rng_unit(r) : 89 + rng_unit(r));
    case FILL_HUGE:
        return rng_unit(r) < 0 ? -1e4f : 1e4f;
    case FILL_EQUAL:
        return 3.0f;
    case FILL_ONE_HOT:
        return j == keys / 2 ? 40.0f : 0.0f;
    case FILL_RISING:
        return (float)j;
    case FILL_FALLING:
        return (float)-j;
    case FILL_OFFSET:
        return 100.0f + 25.0f * random_normal(r);
    default:
        return random_normal(r);
    }
}

static inline void random_fill_data(random_small *x, rng *r, random_fill fill)
{
    const small_shape *n = &x->shape;
    const float tail = fill == FILL_NORMAL ? 1.0f : 0.01f;
    for (size_t e = 0; e < sizeof x->q / sizeof x->q[0]; e++) x->q[e] = random_normal(r) * tail;
    for (size_t e = 0; e < sizeof x->k / sizeof x->k[0]; e++) {
        x->k[e] = random_normal(r);
        x->v[e] = random_normal(r);
    }
    for (int64_t row = 0; fill != FILL_NORMAL && row < n->n_heads * n->q_len; row++)
        x->q[row * n->d_qk] = 1.0f;
    for (int64_t key = 0; fill != FILL_NORMAL && key < n->n_kv_heads * n->kv_len; key++)
        x->k[key * n->d_qk] = random_level(r, fill, key % n->kv_len, n->kv_len);
    for (size_t e = 0; e < sizeof x->bias / sizeof x->bias[0]; e++)
        x->bias[e] = 2.0f * random_normal(r);
    for (size_t e = 0; e < RANDOM_HEADS; e++) x->sink[e] = 3.0f * random_normal(r);
    for (size_t e = 0; e < sizeof x->mask; e++) x->mask[e] = rng_between(r, 0, 3) == 0;
}

static inline void random_init(random_small *x, uint64_t seed, random_fill fill)
{
    rng r = rng_new(seed);
    x->seed = seed;
    const int64_t n_kv_heads = rng_between(&r, 1, 2);
    x->shape = (small_shape){.n_kv_heads = n_kv_heads,
                             .n_heads = n_kv_heads * rng_between(&r, 1, 2),
                             .q_len = rng_between(&r, 1, RANDOM_ROWS),
                             .kv_len = rng_between(&r, 1, RANDOM_KEYS),
                             .d_qk = rng_between(&r, 1, RANDOM_DIM),
                             .d_v = rng_between(&r, 1, RANDOM_DIM)};
    random_fill_data(x, &r, fill);
    small_init(&x->s, &x->shape, FATTN_F32, x->q, x->k, x->v);
    fattn_problem *p = &x->s.p;
    p->scale = fill == FILL_NORMAL ? 0.5 + 0.4 * rng_unit(&r) : 1.0;
    x->mode = rng_between(&r, 0, 6);
    mask_translate(&x->s.seq, x->mode, rng_between(&r, 0, 1), rng_between(&r, -3, 20),
                   rng_between(&r, -3, 20), rng_between(&r, 0, x->shape.kv_len), false);
    if (rng_between(&r, 0, 1)) {
        p->mask = (fattn_mask){.present = true, .col_stride = 1};
        x->s.seq.mask_row_stride = x->shape.kv_len;
        x->s.ptrs.mask = x->mask;
    }
    if (rng_between(&r, 0, 1)) {
        p->bias = (fattn_bias){.kind = BIAS_TENSOR,
                               .dtype = FATTN_F32,
                               .before_scale = rng_between(&r, 0, 1),
                               .col_stride = 1};
        x->s.seq.bias_head_stride = x->shape.q_len * x->shape.kv_len;
        x->s.seq.bias_row_stride = x->shape.kv_len;
        x->s.ptrs.bias = x->bias;
    }
    p->sink = p->sink_in_stats = rng_between(&r, 0, 2) == 0;
    p->sink_dtype = FATTN_F32;
    p->sink_stride = 1;
    x->s.ptrs.sink = x->sink;
}

/* Whether the row may look at the key: interval and dense mask, both tested on their own. */
static inline bool random_visible(const random_small *x, int64_t i, int64_t j)
{
    const fattn_interval row = mask_interval(&x->s.seq, i);
    return row.lo <= j && j < row.hi && !mask_hides(&x->s.p, &x->s.ptrs, &x->s.seq, 0, i, j);
}

#endif
