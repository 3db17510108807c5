/* SPDX-License-Identifier: Apache-2.0 */
/* generator.h — where calls with dropout take seed and offset from when they are given neither.
 *
 * Every context has one generator, with seed 0 and offset 0 at the start. A call uses the current pair
 * and leaves the offset larger by 12, as on the device (spec fusion-attention 8.4); the pair comes back
 * in seed_out and offset_out, which the backward call needs. A plan draws at each run. A call that is
 * refused draws nothing. All functions may be called from any thread at any time; context NULL = the
 * process default. E_ARG: state is NULL. */
#ifndef FATTN_GENERATOR_H
#define FATTN_GENERATOR_H

#include "context.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FATTN_GENERATOR_STATE = 16 }; /* bytes: seed, then offset, little-endian */

/* Sets the seed, and the offset to 0. */
FATTN_API fattn_status fattn_generator_seed(fattn_context *context, uint64_t seed);

FATTN_API fattn_status fattn_generator_get_state(fattn_context *context,
                                                 uint8_t state[FATTN_GENERATOR_STATE]);
FATTN_API fattn_status fattn_generator_set_state(fattn_context *context,
                                                 const uint8_t state[FATTN_GENERATOR_STATE]);

#ifdef __cplusplus
}
#endif
#endif
