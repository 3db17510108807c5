/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.h — a paged key/value cache: a pool of blocks, reference counts, copy on write; floats, or
 * quantised as rows are written.
 *
 * One cache holds one layer's (or, with n_layers, a model's) keys and values of many sequences.
 * Blocks are numbered 0..n_blocks-1 and freed ids are reused lowest first. A forked sequence shares
 * its parent's blocks; the first append into a shared, partly filled block copies it. One writer at
 * a time, many readers. */
#ifndef FATTN_KV_CACHE_H
#define FATTN_KV_CACHE_H

#include "context.h"
#include "quantize.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fattn_kv_cache fattn_kv_cache;

typedef enum fattn_cache_layout {
    FATTN_CACHE_BNBSH = 0, /* [blocks, block_size, Nkv*D] */
    FATTN_CACHE_BNNBSD = 1 /* [blocks, Nkv, block_size, D] */
} fattn_cache_layout;

typedef struct fattn_kv_cache_options {
    size_t size;
    fattn_cache_layout layout; /* FATTN_CACHE_BNBSH */
    fattn_dtype dtype;         /* f32, f16, bf16 (f64); quantised: i8, i4, e4m3, e5m2 */
    int64_t n_layers; /* 1; every layer has its own key and value tensor, one block table */
    int64_t n_blocks;
    int64_t block_size; /* 64 rows */
    int64_t n_kv_heads;
    int64_t head_dim;       /* of keys */
    int64_t value_head_dim; /* 0 = head_dim */
    int64_t max_sequences;  /* 256 */
    /* Quantised dtypes: rows come in f32, f16 or bf16 and become codes when they are written. Per token (and
     * head) the cache makes the scales itself, f32; per tensor, channel or head it is given them, of the
     * shape and any dtype that fattn_quantize_kv_shapes() says, and keeps a copy (fattn_calibration). */
    fattn_granularity granularity; /* FATTN_PER_TOKEN */
    const fattn_tensor *key_scale, *value_scale;
} fattn_kv_cache_options;

typedef struct fattn_kv_cache_usage {
    size_t size;
    int64_t n_blocks, used_blocks, shared_blocks, free_blocks;
    int64_t sequences, tokens; /* tokens: sum of lengths, shared ones counted per sequence */
    uint64_t bytes;            /* allocated for keys and values */
} fattn_kv_cache_usage;

FATTN_API void fattn_kv_cache_options_init(fattn_kv_cache_options *options);

/* Allocates the pool. context NULL = the process default; it must outlive the cache. */
FATTN_API fattn_status fattn_kv_cache_create(fattn_context *context,
                                             const fattn_kv_cache_options *options,
                                             fattn_kv_cache **cache);
FATTN_API void fattn_kv_cache_destroy(fattn_kv_cache *cache);

/* A new empty sequence; *sequence receives its id (lowest free first). E_NOMEM beyond
 * max_sequences. */
FATTN_API fattn_status fattn_kv_cache_add(fattn_kv_cache *cache, int64_t *sequence);

/* A new sequence that shares all blocks of `parent`. */
FATTN_API fattn_status fattn_kv_cache_fork(fattn_kv_cache *cache, int64_t parent,
                                           int64_t *sequence);

/* Gives the sequence's blocks back (those nobody else holds become free) and forgets the id. */
FATTN_API fattn_status fattn_kv_cache_free(fattn_kv_cache *cache, int64_t sequence);

/* Reserves room for `n_tokens` more tokens, copying a shared last block. All or nothing: a full
 * pool answers E_NOMEM with counts and keeps its state. The sequence's length grows by n_tokens;
 * rows are then written by fattn_kv_cache_write(), by slot mapping, or by the caller. */
FATTN_API fattn_status fattn_kv_cache_extend(fattn_kv_cache *cache, int64_t sequence,
                                             int64_t n_tokens);

/* extend + write in one step; with several layers all get the same rows:
 * key [n_tokens, Nkv, D] and value [n_tokens, Nkv, Dv] in the cache's dtype, any strides; quantised caches
 * take f32, f16 and bf16, and answer E_ARG to NaN and infinity. */
FATTN_API fattn_status fattn_kv_cache_append(fattn_kv_cache *cache, int64_t sequence,
                                             const fattn_tensor *key, const fattn_tensor *value);

/* Writes rows of tokens [first, first + key->shape[0]) of a sequence, in layer `layer` (-1 = the
 * same rows in every layer); they must be inside its length and not in a shared block. */
FATTN_API fattn_status fattn_kv_cache_write(fattn_kv_cache *cache, int64_t layer, int64_t sequence,
                                            int64_t first, const fattn_tensor *key,
                                            const fattn_tensor *value);

/* Drops tokens from the end until `length` remain. */
FATTN_API fattn_status fattn_kv_cache_truncate(fattn_kv_cache *cache, int64_t sequence,
                                               int64_t length);

/* Length in tokens; -1 for an unknown sequence. */
FATTN_API int64_t fattn_kv_cache_length(const fattn_kv_cache *cache, int64_t sequence);

/* The cache's tensors, to pass as key and value; borrowed, valid as long as the cache. */
FATTN_API fattn_status fattn_kv_cache_tensors(const fattn_kv_cache *cache, int64_t layer,
                                              fattn_tensor *key, fattn_tensor *value);

/* The scales that belong to those tensors, and the antiquant mode to pass with them (4 or 5: per row of a
 * block). E_ARG when the cache holds floats. Any of the three may be NULL. */
FATTN_API fattn_status fattn_kv_cache_scales(const fattn_kv_cache *cache, int64_t layer,
                                             fattn_tensor *key_scale, fattn_tensor *value_scale,
                                             int *mode);

/* Fills row r of `table` (i32 or i64, [n_sequences, M]) with the block ids of sequences[r]; entries
 * beyond its blocks become -1. E_SHAPE when M is too small. */
FATTN_API fattn_status fattn_kv_cache_block_table(const fattn_kv_cache *cache,
                                                  const int64_t *sequences, int64_t n_sequences,
                                                  const fattn_tensor *table);

/* slots[t] = block * block_size + offset of token first + t (i32 or i64, [n_tokens]). */
FATTN_API fattn_status fattn_kv_cache_slot_mapping(const fattn_kv_cache *cache, int64_t sequence,
                                                   int64_t first, int64_t n_tokens,
                                                   const fattn_tensor *slots);

/* Set usage->size before; a larger struct of a newer caller gets 0 in what this version does not
 * know. */
FATTN_API fattn_status fattn_kv_cache_get_usage(const fattn_kv_cache *cache,
                                                fattn_kv_cache_usage *usage);

#ifdef __cplusplus
}
#endif
#endif
