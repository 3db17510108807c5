/* SPDX-License-Identifier: Apache-2.0 */
/* philox.c — one block at a time; the kernels have the same in vectors. */
#include "base/philox.h"

#include "base/mutant.h"

void philox_keys(uint64_t seed, uint64_t keys[PHILOX_ROUNDS][2])
{
    for (uint32_t i = 0; i < PHILOX_ROUNDS; i++) {
        keys[i][0] = (uint32_t)seed + i * PHILOX_W0;
        keys[i][1] = (uint32_t)(seed >> 32) + i * PHILOX_W1;
    }
}

void philox_block(uint64_t seed, uint64_t offset, uint64_t index, uint32_t words[PHILOX_WORDS])
{
    uint64_t keys[PHILOX_ROUNDS][2];
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
    uint32_t c2 = (uint32_t)offset, c3 = (uint32_t)(offset >> 32);
    philox_keys(seed, keys);
    for (int i = 0; i < MUTANT(150, PHILOX_ROUNDS, 7); i++) {
        const uint64_t a = (uint64_t)PHILOX_M0 * c0, b = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ (uint32_t)keys[i][0];
        c2 = (uint32_t)(a >> 32) ^ c3 ^ (uint32_t)keys[i][1];
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
    }
    words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}
