/* SPDX-License-Identifier: Apache-2.0 */
/* generator.h — seed and offset that calls with dropout draw from (public face:
 * fattn/generator.h). */
#ifndef FATTN_BASE_GENERATOR_H
#define FATTN_BASE_GENERATOR_H

#include <stdatomic.h>
#include <stdint.h>

/* Zeroed = seed 0, offset 0. */
typedef struct fattn_generator {
    atomic_int owner; /* process that holds it for a few instructions, 0 = none */
    uint64_t seed, offset;
} fattn_generator;

/* The pair that a call uses; the next one gets an offset larger by 12 (spec fusion-attention 8.4). */
void generator_draw(fattn_generator *generator, uint64_t *seed, uint64_t *offset);
/* The pair that the next call will use. */
void generator_peek(fattn_generator *generator, uint64_t *seed, uint64_t *offset);

#endif
