/* SPDX-License-Identifier: Apache-2.0 */
/* rng.h — a small generator for tests (xorshift64*): the seed is the whole state, failures print
 * it. */
#ifndef FATTN_TESTS_CORE_RNG_H
#define FATTN_TESTS_CORE_RNG_H

#include <stdint.h>

typedef struct rng {
    uint64_t state;
} rng;

static inline rng rng_new(uint64_t seed) { return (rng){seed * 0x9e3779b97f4a7c15u + 1}; }

static inline uint64_t rng_bits(rng *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * 0x2545f4914f6cdd1du;
}

/* Uniform in [lo, hi]. */
static inline int64_t rng_between(rng *r, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(rng_bits(r) % (uint64_t)(hi - lo + 1));
}

/* Uniform in [-1, 1). */
static inline double rng_unit(rng *r) { return (double)(rng_bits(r) >> 11) * 0x1p-52 - 1.0; }

/* Any int64, the nasty ones often. */
static inline int64_t rng_nasty(rng *r)
{
    static const int64_t favourites[] = {0,         1,         -1,           2,
                                         INT64_MAX, INT64_MIN, INT32_MAX,    INT32_MIN,
                                         1ll << 62, 1ll << 32, -(1ll << 62), INT64_MAX - 1};
    const uint64_t pick = rng_bits(r) % 24;
    if (pick < sizeof favourites / sizeof favourites[0]) return favourites[pick];
    if (pick < 20) return rng_between(r, -9, 9);
    return (int64_t)rng_bits(r);
}

#endif
