/* SPDX-License-Identifier: Apache-2.0 */
/* caches.c — key, value and key_rope as block caches (spec inference 3.1). Rank 3 is [blocks, rows,
 * Nkv*D], rank 4 [blocks, Nkv, rows, D], rank 5 the chunked NZ form; all three caches of a call
 * have the same rank. */
#include <string.h>

#include "api/inputs.h"
#include "base/error.h"
#include "base/mutant.h"

enum { NZ_RANK = 5 };

/* Which way round a rank-4 cache lies: [blocks, Nkv, rows, D] unless only [blocks, rows, Nkv, D]
 * fits. */
static const char *rank4_letters(const fattn_inputs *in, int64_t block_size)
{
    const fattn_tensor *k = in->key;
    const int64_t heads = keys_heads(in, k->shape[1], 0);
    const bool bnsd = k->shape[1] == heads && (block_size == 0 || k->shape[2] == block_size);
    const bool bsnd = k->shape[2] == heads && (block_size == 0 || k->shape[1] == block_size);
    return MUTANT(133, !bnsd && bsnd, false) ? "BSND" : "BNSD";
}

static const char *cache_letters(fattn_context *context, const fattn_inputs *in, int64_t block_size)
{
    char shape[TEXT_SIZE];
    if (in->key->rank == NZ_RANK) return NULL;
    if (in->key->rank == 3) return "BSH";
    const char *letters = rank4_letters(in, block_size);
    if (strcmp(letters, "BSND") == 0)
        context_warn(
            context, WARN_CACHE_READ_AS_BNBSND,
            "key: %s fits [blocks, rows, Nkv, D] only and is read so; the device reads a rank-4 "
            "cache as [blocks, Nkv, rows, D]",
            tensor_print(in->key, shape, sizeof shape));
    return letters;
}

static fattn_status read_heads(fattn_inputs *in, const char *letters)
{
    const fattn_tensor *k = in->key;
    char key[TEXT_SIZE];
    const int64_t h = letters && strcmp(letters, "BSH") == 0 ? keys_columns(in, k->shape[2]) : 0;
    const int n_axis = letters && strcmp(letters, "BSND") == 0 ? 2 : 1;
    tensor_print(k, key, sizeof key);
    in->n_kv_heads = keys_heads(in, h ? 0 : k->shape[n_axis], h);
    REQUIRE(!letters || strcmp(letters, "BSH") != 0 || h > 0, FATTN_E_SHAPE,
            "key: %s has no columns; H must be Nkv * %lld", key, LL(in->q.d));
    return keys_groups(in);
}

static fattn_status read_rope_cache(fattn_inputs *in, const char *letters)
{
    char shape[TEXT_SIZE];
    if (!in->query_rope) return FATTN_OK;
    REQUIRE(in->key_rope->rank == in->key->rank, FATTN_E_SHAPE,
            "key_rope: %s; with block_table it is a cache of the same rank as key, %d",
            tensor_print(in->key_rope, shape, sizeof shape), (int)in->key->rank);
    TRY(letters ? layout_read(&in->k_rope, letters, in->key_rope, in->n_kv_heads, "key_rope")
                : layout_read_nz(&in->k_rope, in->key_rope, "key_rope"));
    return rope_check(in);
}

static fattn_status check_block_size(const fattn_inputs *in, int64_t block_size)
{
    char shape[TEXT_SIZE];
    tensor_print(in->key, shape, sizeof shape);
    REQUIRE(in->k.s > 0, FATTN_E_SHAPE, "key: %s: a block must hold at least one row", shape);
    REQUIRE(block_size == 0 || block_size == in->k.s, FATTN_E_SHAPE,
            "block_size: %lld, but the blocks of key %s have %lld rows; give block_size %lld",
            LL(block_size), shape, LL(in->k.s), LL(in->k.s));
    return FATTN_OK;
}

fattn_status cache_read(fattn_context *context, fattn_inputs *in, int64_t block_size)
{
    const fattn_tensor *k = in->key;
    char shape[TEXT_SIZE];
    tensor_print(k, shape, sizeof shape);
    REQUIRE(block_size >= 0, FATTN_E_ARG,
            "block_size: %lld is negative; give the rows of a cache block", LL(block_size));
    REQUIRE(k->rank >= 3 && k->rank <= NZ_RANK && in->value->rank == k->rank, FATTN_E_SHAPE,
            "key: %s with block_table: the caches must both be [blocks, rows, Nkv*D], both "
            "[blocks, Nkv, rows, D] or both [blocks, Nkv, D/c, rows, c]",
            shape);
    const char *letters = cache_letters(context, in, block_size);
    TRY(read_heads(in, letters));
    TRY(keys_axes(in, &in->k, letters, k, "key"));
    TRY(keys_axes(in, &in->v, letters, in->value, "value"));
    TRY(keys_check(in));
    TRY(read_rope_cache(in, letters));
    TRY(check_block_size(in, block_size));
    return in->key_shared || in->value_shared ? shared_read(in) : FATTN_OK;
}
