/* SPDX-License-Identifier: Apache-2.0 */
/* kv_blocks.h — the block ids of a paged cache: who holds how many, and the lowest free one. */
#ifndef FATTN_API_KV_BLOCKS_H
#define FATTN_API_KV_BLOCKS_H

#include "base/context.h"

typedef struct kv_blocks {
    int64_t n, n_free, n_shared; /* blocks; held by nobody; held more than once */
    int32_t *holders;            /* [n] */
    uint64_t *free_bits;         /* bit of block i set = free */
    int64_t first_word;          /* no free block lies in an earlier word */
} kv_blocks;

/* All blocks free. false when out of memory. 1 <= n <= INT32_MAX. */
bool kv_blocks_init(kv_blocks *blocks, const fattn_context *context, int64_t n);
void kv_blocks_free(kv_blocks *blocks, const fattn_context *context);

/* The lowest free block, held once from now on; there must be one. */
int32_t kv_blocks_take(kv_blocks *blocks);
void kv_blocks_hold(kv_blocks *blocks, int32_t block);    /* once more */
void kv_blocks_release(kv_blocks *blocks, int32_t block); /* once less; free at 0 */

#endif
