/* SPDX-License-Identifier: Apache-2.0 */
/* kv_blocks.c — reference counts and a bitmap of free blocks; a word at a time, so the lowest free
 * one is found quickly in a pool of any size. */
#include "api/kv_blocks.h"

#include <assert.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

enum { WORD_BITS = 64 };

static uint64_t bit_of(int32_t block) { return UINT64_C(1) << (block % WORD_BITS); }

bool kv_blocks_init(kv_blocks *blocks, const fattn_context *context, int64_t n)
{
    const int64_t words = i64_div_up(n, WORD_BITS);
    *blocks = (kv_blocks){.n = n, .n_free = n};
    blocks->holders = context_alloc(context, (size_t)n * sizeof *blocks->holders);
    blocks->free_bits = context_alloc(context, (size_t)words * sizeof *blocks->free_bits);
    if (!blocks->holders || !blocks->free_bits) {
        kv_blocks_free(blocks, context);
        return false;
    }
    memset(blocks->holders, 0, (size_t)n * sizeof *blocks->holders);
    memset(blocks->free_bits, 0xff, (size_t)words * sizeof *blocks->free_bits);
    return true;
}

void kv_blocks_free(kv_blocks *blocks, const fattn_context *context)
{
    context_free(context, blocks->holders);
    context_free(context, blocks->free_bits);
    *blocks = (kv_blocks){0};
}

int32_t kv_blocks_take(kv_blocks *blocks)
{
    assert(blocks->n_free > 0); /* bits beyond n are set too, but lie behind every real free one */
    while (blocks->free_bits[blocks->first_word] == 0) blocks->first_word++;
    const int bit = __builtin_ctzll(blocks->free_bits[blocks->first_word]);
    const int32_t block = (int32_t)(blocks->first_word * WORD_BITS + bit);
    blocks->free_bits[blocks->first_word] &= ~bit_of(block);
    blocks->holders[block] = 1;
    blocks->n_free--;
    return block;
}

void kv_blocks_hold(kv_blocks *blocks, int32_t block)
{
    if (blocks->holders[block]++ == 1) blocks->n_shared++;
}

void kv_blocks_release(kv_blocks *blocks, int32_t block)
{
    const int32_t left = blocks->holders[block] -= MUTANT(85, 1, 0);
    assert(left >= 0);
    if (left == 1) blocks->n_shared--;
    if (left > 0) return;
    blocks->free_bits[block / WORD_BITS] |= bit_of(block);
    blocks->first_word = i64_min(blocks->first_word, MUTANT(86, block / WORD_BITS, INT32_MAX));
    blocks->n_free++;
}
