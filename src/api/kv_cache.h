/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.h — what the files of the paged cache share (public face: fattn/kv_cache.h):
 * kv_cache.c sequences and blocks, kv_rows.c the rows inside the blocks, kv_tables.c what operators
 * read. */
#ifndef FATTN_API_KV_CACHE_H
#define FATTN_API_KV_CACHE_H

#include "api/kv_blocks.h"
#include "base/error.h"
#include "core/element.h"
#include "fattn/kv_cache.h"

typedef struct kv_sequence {
    bool used;
    int64_t length;   /* tokens */
    int64_t n_blocks; /* ceil(length / block_size) */
    int64_t capacity; /* entries of `blocks` */
    int32_t *blocks;  /* the context's allocator; NULL while capacity is 0 */
} kv_sequence;

enum { KV_KEY, KV_VALUE, KV_SIDES };

struct fattn_kv_cache {
    const fattn_context *context;
    fattn_kv_cache_options options; /* value_head_dim settled */
    kv_blocks blocks;
    kv_sequence *sequences; /* [max_sequences] */
    void **data;            /* [n_layers][KV_SIDES] */
    size_t bytes[KV_SIDES]; /* of one layer */
    int64_t head_dim[KV_SIDES];
    void **scales; /* [n_layers][KV_SIDES], all layers' the same where they are given; NULL: floats */
    fattn_tensor scale[KV_SIDES]; /* of one layer, data NULL */
    size_t scale_bytes[KV_SIDES];
};

static inline bool kv_quantised(const fattn_kv_cache *cache)
{
    return element_is_quantised(cache->options.dtype);
}

/* Per token: a scale for each row of a block. */
static inline bool kv_scales_by_row(const fattn_kv_cache *cache)
{
    return cache->options.granularity == FATTN_PER_TOKEN ||
           cache->options.granularity == FATTN_PER_TOKEN_HEAD;
}

/* kv_scales.c: checks what the options say of scales; memory of all layers' scales, false when there is none;
 * gives it back. */
fattn_status kv_scales_settle(fattn_kv_cache *cache);
bool kv_scales_allocate(fattn_kv_cache *cache);
void kv_scales_free(fattn_kv_cache *cache);
/* E_ARG when a row holds a number that is none. */
fattn_status kv_scales_check_finite(const fattn_tensor *rows, const char *name);
/* One token into a block: codes of all heads and, by row, their scales. */
void kv_scales_store(fattn_kv_cache *cache, int64_t layer, int side, int32_t block, int64_t slot,
                     const fattn_tensor *rows, int64_t token);
/* The scales of the first `rows` rows of a block. */
void kv_scales_copy(fattn_kv_cache *cache, int64_t layer, int side, int32_t from, int32_t to,
                    int64_t rows);
/* Where row `slot` of head `head` in `block` starts. */
char *kv_row_at(const fattn_kv_cache *cache, int64_t layer, int side, int32_t block, int64_t slot,
                int64_t head);

/* The sequence with this id, E_ARG when there is none. */
fattn_status kv_find(const fattn_kv_cache *cache, int64_t id, kv_sequence **sequence);

/* One layer's tensor of keys or values. */
fattn_tensor kv_tensor(const fattn_kv_cache *cache, int64_t layer, int side);

/* Copies the first `rows` rows of a block, in every layer. */
void kv_copy_rows(fattn_kv_cache *cache, int32_t from, int32_t to, int64_t rows);

#endif
