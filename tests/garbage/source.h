/* SPDX-License-Identifier: Apache-2.0 */
/* source.h — where the choices of a garbage call come from: a seeded generator, or a fuzzer's
 * bytes. The same source makes the same call, so a failure is repeated by its number or its bytes.
 */
#ifndef FATTN_TESTS_GARBAGE_SOURCE_H
#define FATTN_TESTS_GARBAGE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rng.h"

typedef struct source {
    rng r;
    const uint8_t *bytes; /* NULL = the generator */
    size_t left;          /* bytes that are not used up; beyond them every choice is 0 */
} source;

static inline source source_seeded(uint64_t seed) { return (source){.r = rng_new(seed)}; }
static inline source source_of_bytes(const uint8_t *bytes, size_t n)
{
    static const uint8_t none[1];
    return (source){.bytes = bytes ? bytes : none, .left = n};
}

static inline uint64_t source_bits(source *s, int n_bytes)
{
    uint64_t bits = 0;
    if (!s->bytes)
        return rng_bits(&s->r) >> 8 & (n_bytes < 7 ? (UINT64_C(1) << 8 * n_bytes) - 1 : ~0u);
    for (int i = 0; i < n_bytes && s->left > 0; i++, s->left--) bits = bits << 8 | *s->bytes++;
    return bits;
}

/* Uniform in [0, n), 0 < n <= 65536. */
static inline int source_pick(source *s, int n)
{
    return (int)(source_bits(s, n <= 256 ? 1 : 2) % (uint64_t)n);
}

/* Any int64, the nasty ones and the small ones often. */
static inline int64_t source_nasty(source *s)
{
    static const int64_t favourites[] = {0,
                                         -1,
                                         1,
                                         INT64_MAX,
                                         INT64_MIN,
                                         INT64_MAX - 1,
                                         INT64_MIN + 1,
                                         INT32_MAX,
                                         INT32_MIN,
                                         UINT32_MAX,
                                         INT64_C(1) << 31,
                                         INT64_C(1) << 32,
                                         INT64_C(1) << 62,
                                         -2,
                                         -2147483649,
                                         65536,
                                         2048,
                                         INT64_C(1) << 53,
                                         INT64_C(1) << 40};
    const int n = (int)(sizeof favourites / sizeof favourites[0]), pick = source_pick(s, n + 16);
    if (pick < n) return favourites[pick];
    if (pick < n + 12) return source_pick(s, 24) - 4;
    const uint64_t bits = source_bits(s, 4) << 32 | source_bits(s, 4);
    return (int64_t)(bits >> source_pick(s, 64));
}

#endif
