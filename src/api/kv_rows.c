/* SPDX-License-Identifier: Apache-2.0 */
/* kv_rows.c — the rows inside the blocks: copying them on write, and storing new tokens. A row of
 * one head is contiguous in both layouts; only where it starts differs. Quantised ones are written by
 * kv_scales.c. */
#include <string.h>

#include "api/arrays.h"
#include "api/kv_cache.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"

fattn_tensor kv_tensor(const fattn_kv_cache *cache, int64_t layer, int side)
{
    const fattn_kv_cache_options *o = &cache->options;
    void *data = cache->data[layer * KV_SIDES + side];
    const int64_t d = cache->head_dim[side] / element_pack(o->dtype);
    if (o->layout == FATTN_CACHE_BNBSH)
        return fattn_tensor_contiguous(
            data, o->dtype, 3, (const int64_t[]){o->n_blocks, o->block_size, o->n_kv_heads * d});
    return fattn_tensor_contiguous(data, o->dtype, 4,
                                   (const int64_t[]){o->n_blocks, o->n_kv_heads, o->block_size, d});
}

static size_t row_bytes(const fattn_kv_cache *cache, int side)
{
    const fattn_dtype dtype = cache->options.dtype;
    return (size_t)(cache->head_dim[side] / element_pack(dtype)) * fattn_dtype_size(dtype);
}

char *kv_row_at(const fattn_kv_cache *cache, int64_t layer, int side, int32_t block, int64_t slot,
                int64_t head)
{
    const fattn_kv_cache_options *o = &cache->options;
    const int64_t row = o->layout == FATTN_CACHE_BNBSH
                            ? ((int64_t)block * o->block_size + slot) * o->n_kv_heads + head
                            : ((int64_t)block * o->n_kv_heads + head) * o->block_size + slot;
    return (char *)cache->data[layer * KV_SIDES + side] + (size_t)row * row_bytes(cache, side);
}

static void copy_side(fattn_kv_cache *cache, int64_t layer, int side, int32_t from, int32_t to,
                      int64_t rows)
{
    const fattn_kv_cache_options *o = &cache->options;
    const bool heads_together = o->layout == FATTN_CACHE_BNBSH;
    const int64_t runs = heads_together ? 1 : o->n_kv_heads; /* contiguous pieces */
    const size_t run_bytes =
        (size_t)rows * row_bytes(cache, side) * (size_t)(heads_together ? o->n_kv_heads : 1);
    for (int64_t head = 0; head < runs; head++)
        memcpy(kv_row_at(cache, layer, side, to, 0, head),
               kv_row_at(cache, layer, side, from, 0, head), run_bytes);
    if (kv_quantised(cache)) kv_scales_copy(cache, layer, side, from, to, rows);
}

void kv_copy_rows(fattn_kv_cache *cache, int32_t from, int32_t to, int64_t rows)
{
    for (int64_t layer = 0; layer < cache->options.n_layers; layer++)
        for (int side = 0; side < KV_SIDES; side++) copy_side(cache, layer, side, from, to, rows);
}

static fattn_status check_rows(const fattn_kv_cache *cache, const fattn_tensor *rows, int side,
                               int64_t n_tokens)
{
    const char *name = side == KV_KEY ? "key" : "value";
    TRY(tensor_check(rows, name, true));
    REQUIRE(kv_quantised(cache) || rows->dtype == cache->options.dtype, FATTN_E_DTYPE,
            "%s: is %s, the cache holds %s", name, fattn_dtype_name(rows->dtype),
            fattn_dtype_name(cache->options.dtype));
    REQUIRE(element_is_float(rows->dtype) && rows->dtype != (kv_quantised(cache) ? FATTN_F64 : 0),
            FATTN_E_DTYPE, "%s: is %s; this cache quantises f32, f16 and bf16 rows", name,
            fattn_dtype_name(rows->dtype));
    if (kv_quantised(cache)) TRY(kv_scales_check_finite(rows, name));
    return array_check_shape(
        rows, name, 3,
        (const int64_t[]){n_tokens, cache->options.n_kv_heads, cache->head_dim[side]});
}

/* Both tensors, and the number of tokens they bring. */
static fattn_status check_pair(const fattn_kv_cache *cache, const fattn_tensor *key,
                               const fattn_tensor *value, int64_t *n_tokens)
{
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(key && value, FATTN_E_ARG, "%s: is NULL", key ? "value" : "key");
    *n_tokens = key->rank == 3 ? key->shape[0] : 0;
    TRY(check_rows(cache, key, KV_KEY, *n_tokens));
    return check_rows(cache, value, KV_VALUE, *n_tokens);
}

static void copy_row(char *to, const fattn_tensor *rows, int64_t token, int64_t head)
{
    const size_t size = fattn_dtype_size(rows->dtype);
    const int64_t *stride = rows->strides, columns = rows->shape[2];
    const int64_t start = token * stride[0] + head * stride[1];
    const char *from = rows->data;
    if (stride[2] == 1) {
        memcpy(to, from + start * (int64_t)size, (size_t)columns * size);
        return;
    }
    for (int64_t d = 0; d < columns; d++)
        memcpy(to + (size_t)d * size, from + (start + d * stride[2]) * (int64_t)size, size);
}

static void store_rows(fattn_kv_cache *cache, int64_t layer, int side, const kv_sequence *s,
                       int64_t first, const fattn_tensor *rows)
{
    const int64_t block_rows = cache->options.block_size;
    for (int64_t t = 0; t < rows->shape[0]; t++) {
        const int32_t block = s->blocks[(first + t) / block_rows];
        const int64_t slot = (MUTANT(88, first, 0) + t) % block_rows;
        if (kv_quantised(cache)) {
            kv_scales_store(cache, layer, side, block, slot, rows, t);
            continue;
        }
        for (int64_t head = 0; head < cache->options.n_kv_heads; head++)
            copy_row(kv_row_at(cache, layer, side, block, slot, head), rows, t, head);
    }
}

static void store(fattn_kv_cache *cache, int64_t layer, const kv_sequence *s, int64_t first,
                  const fattn_tensor *key, const fattn_tensor *value)
{
    const int64_t from = layer < 0 ? 0 : layer,
                  end = layer < 0 ? cache->options.n_layers : layer + 1;
    for (int64_t i = from; i < end; i++) {
        store_rows(cache, i, KV_KEY, s, first, key);
        store_rows(cache, i, KV_VALUE, s, first, value);
    }
}

static fattn_status check_own(const fattn_kv_cache *cache, int64_t id, const kv_sequence *s,
                              int64_t first, int64_t n_tokens)
{
    const int64_t rows = cache->options.block_size;
    REQUIRE(
        first >= 0 && first <= s->length && n_tokens <= s->length - first, FATTN_E_ARG,
        "first: tokens %lld..%lld are not all inside sequence %lld of length %lld; extend it first",
        LL(first), LL(i64_add_sat(first, n_tokens - 1)), LL(id), LL(s->length));
    for (int64_t i = first / rows; n_tokens > 0 && i <= (first + n_tokens - 1) / rows; i++)
        REQUIRE(cache->blocks.holders[s->blocks[i]] == 1, FATTN_E_ARG,
                "first: token %lld of sequence %lld is in block %d, which another sequence shares",
                LL(i64_max(first, i * rows)), LL(id), (int)s->blocks[i]);
    return FATTN_OK;
}

fattn_status fattn_kv_cache_write(fattn_kv_cache *cache, int64_t layer, int64_t sequence,
                                  int64_t first, const fattn_tensor *key, const fattn_tensor *value)
{
    kv_sequence *s;
    int64_t n_tokens;
    TRY(kv_find(cache, sequence, &s));
    REQUIRE(layer >= -1 && layer < cache->options.n_layers, FATTN_E_ARG,
            "layer: %lld is not in 0..%lld, or -1 for all of them", LL(layer),
            LL(cache->options.n_layers) - 1);
    TRY(check_pair(cache, key, value, &n_tokens));
    TRY(check_own(cache, sequence, s, first, n_tokens));
    store(cache, layer, s, first, key, value);
    return FATTN_OK;
}

fattn_status fattn_kv_cache_append(fattn_kv_cache *cache, int64_t sequence, const fattn_tensor *key,
                                   const fattn_tensor *value)
{
    kv_sequence *s;
    int64_t n_tokens;
    TRY(kv_find(cache, sequence, &s));
    TRY(check_pair(cache, key, value, &n_tokens));
    const int64_t first = s->length;
    TRY(fattn_kv_cache_extend(cache, sequence, n_tokens));
    store(cache, -1, s, first, key, value);
    return FATTN_OK;
}
