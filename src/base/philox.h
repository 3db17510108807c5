/* SPDX-License-Identifier: Apache-2.0 */
/* philox.h — Philox4x32-10, the counter-based random bits of dropout (Salmon et al. 2011, "Parallel
 * random numbers: as easy as 1, 2, 3"; spec fusion-attention 8.6). */
#ifndef FATTN_BASE_PHILOX_H
#define FATTN_BASE_PHILOX_H

#include <stdint.h>

enum { PHILOX_ROUNDS = 10, PHILOX_WORDS = 4 };

#define PHILOX_M0 UINT32_C(0xD2511F53)
#define PHILOX_M1 UINT32_C(0xCD9E8D57)
#define PHILOX_W0 UINT32_C(0x9E3779B9)
#define PHILOX_W1 UINT32_C(0xBB67AE85)

/* Block `index` of the stream (seed, offset): words 4 * index .. 4 * index + 3. The counter is
 * (0, 0, offset low, offset high) as one little-endian 128-bit number, plus index. */
void philox_block(uint64_t seed, uint64_t offset, uint64_t index, uint32_t words[PHILOX_WORDS]);

/* The keys of the rounds, 32 bits each. */
void philox_keys(uint64_t seed, uint64_t keys[PHILOX_ROUNDS][2]);

#endif
