/* SPDX-License-Identifier: Apache-2.0 */
/* kv_scales.c — the scales of a quantised cache: made with each row, [blocks, rows] or [blocks, Nkv, rows]
 * beside the blocks, or given once for all of them. */
#include <math.h>
#include <string.h>

#include "api/kv_cache.h"
#include "api/quantize.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"

/* The scales that the options must bring, or the shape of those that the cache makes. */
static fattn_status settle_side(fattn_kv_cache *cache, int side, const fattn_tensor *given)
{
    const fattn_kv_cache_options *o = &cache->options;
    const char *name = side == KV_KEY ? "key_scale" : "value_scale";
    fattn_tensor *scale = &cache->scale[side];
    const int64_t d = cache->head_dim[side], heads = o->n_kv_heads;
    const int64_t by_row[] = {o->n_blocks, o->block_size}, by_column[] = {heads, d}, one[] = {1};
    const int64_t by_head[] = {o->n_blocks, heads, o->block_size};
    REQUIRE(d % element_pack(o->dtype) == 0, FATTN_E_ARG,
            "head_dim: %lld; eight int4 columns fill an int32, so it must be a multiple of 8", LL(d));
    REQUIRE(!given == kv_scales_by_row(cache), FATTN_E_ARG,
            "%s: a cache with a scale per token makes its own and is given none; others need both "
            "key_scale and value_scale",
            name);
    *scale = o->granularity == FATTN_PER_TOKEN ? fattn_tensor_contiguous(NULL, FATTN_F32, 2, by_row)
             : o->granularity == FATTN_PER_TOKEN_HEAD
                 ? fattn_tensor_contiguous(NULL, FATTN_F32, 3, by_head)
             : o->granularity == FATTN_PER_CHANNEL
                 ? fattn_tensor_contiguous(NULL, given->dtype, 2, by_column)
             : o->granularity == FATTN_PER_HEAD
                 ? fattn_tensor_contiguous(NULL, given->dtype, 1, &heads)
                 : fattn_tensor_contiguous(NULL, given->dtype, 1, one);
    TRY(tensor_check(scale, name, false));
    cache->scale_bytes[side] = (size_t)tensor_elements(scale) * fattn_dtype_size(scale->dtype);
    if (!given) return FATTN_OK;
    TRY(tensor_check(given, name, true));
    REQUIRE(quantize_scale_dtype(given->dtype), FATTN_E_DTYPE,
            "scale_dtype: is %s, must be f32, f16 or bf16", fattn_dtype_name(given->dtype));
    REQUIRE(tensor_contiguous(given) && tensor_elements(given) == tensor_elements(scale),
            FATTN_E_SHAPE, "%s: it must be contiguous with %lld numbers", name,
            LL(tensor_elements(scale)));
    return FATTN_OK;
}

fattn_status kv_scales_settle(fattn_kv_cache *cache)
{
    const fattn_kv_cache_options *o = &cache->options;
    REQUIRE((int)o->granularity >= FATTN_PER_TENSOR && (int)o->granularity <= FATTN_PER_TOKEN_HEAD,
            FATTN_E_ARG, "granularity: %d is not in 0..4", (int)o->granularity);
    TRY(settle_side(cache, KV_KEY, o->key_scale));
    return settle_side(cache, KV_VALUE, o->value_scale);
}

bool kv_scales_allocate(fattn_kv_cache *cache)
{
    const fattn_kv_cache_options *o = &cache->options;
    const size_t n = (size_t)o->n_layers * KV_SIDES;
    cache->scales = context_alloc(cache->context, n * sizeof *cache->scales);
    if (!cache->scales) return false;
    memset(cache->scales, 0, n * sizeof *cache->scales);
    for (size_t i = 0; i < n; i++) {
        const size_t bytes = cache->scale_bytes[i % KV_SIDES];
        const fattn_tensor *given = i % KV_SIDES == KV_KEY ? o->key_scale : o->value_scale;
        cache->scales[i] = context_alloc(cache->context, bytes);
        if (!cache->scales[i]) return false;
        if (given) memcpy(cache->scales[i], given->data, bytes);
    }
    cache->options.key_scale = cache->options.value_scale = NULL; /* borrowed for the creation only */
    return true;
}

void kv_scales_free(fattn_kv_cache *cache)
{
    for (int64_t i = 0; cache->scales && i < cache->options.n_layers * KV_SIDES; i++)
        context_free(cache->context, cache->scales[i]);
    context_free(cache->context, cache->scales);
}

static double value_at(const fattn_tensor *rows, int64_t token, int64_t head, int64_t d)
{
    const int64_t *stride = rows->strides;
    return element_load(rows->data, rows->dtype,
                        token * stride[0] + head * stride[1] + d * stride[2]);
}

fattn_status kv_scales_check_finite(const fattn_tensor *rows, const char *name)
{
    if (rows->rank != 3) return FATTN_OK; /* its shape is refused later */
    for (int64_t t = 0; t < rows->shape[0]; t++)
        for (int64_t h = 0; h < rows->shape[1]; h++)
            for (int64_t d = 0; d < rows->shape[2]; d++)
                REQUIRE(isfinite(value_at(rows, t, h, d)), FATTN_E_ARG,
                        "%s: token %lld, head %lld, column %lld is %g; it has no scale", name, LL(t),
                        LL(h), LL(d), value_at(rows, t, h, d));
    return FATTN_OK;
}

static double largest(const fattn_tensor *rows, int64_t token, int64_t head)
{
    double most = 0.0;
    for (int64_t d = 0; d < rows->shape[2]; d++)
        most = fmax(most, fabs(value_at(rows, token, head, d)));
    return most;
}

/* Element of the scales for column d of a row. */
static int64_t scale_at(const fattn_kv_cache *cache, int side, int32_t block, int64_t slot,
                        int64_t head, int64_t d)
{
    const fattn_kv_cache_options *o = &cache->options;
    switch (o->granularity) {
    case FATTN_PER_TOKEN:
        return block * o->block_size + slot;
    case FATTN_PER_TOKEN_HEAD:
        return (block * o->n_kv_heads + head) * o->block_size + slot;
    case FATTN_PER_CHANNEL:
        return head * cache->head_dim[side] + d;
    case FATTN_PER_HEAD:
        return head;
    default:
        return 0;
    }
}

/* A token's own scales. */
static void make_scales(fattn_kv_cache *cache, int side, void *scales, int32_t block, int64_t slot,
                        const fattn_tensor *rows, int64_t token)
{
    const fattn_kv_cache_options *o = &cache->options;
    double most = 0.0;
    for (int64_t h = 0; h < o->n_kv_heads; h++) {
        if (o->granularity == FATTN_PER_TOKEN_HEAD) most = 0.0;
        most = fmax(most, largest(rows, token, h));
        element_store(scales, FATTN_F32, scale_at(cache, side, block, slot, h, 0),
                      quantize_scale(o->dtype, most)); /* per token: the last head's is that of all */
    }
}

void kv_scales_store(fattn_kv_cache *cache, int64_t layer, int side, int32_t block, int64_t slot,
                     const fattn_tensor *rows, int64_t token)
{
    const fattn_kv_cache_options *o = &cache->options;
    const fattn_dtype dtype = cache->scale[side].dtype;
    void *scales = cache->scales[layer * KV_SIDES + side];
    if (kv_scales_by_row(cache)) make_scales(cache, side, scales, block, slot, rows, token);
    for (int64_t h = 0; h < o->n_kv_heads; h++) {
        char *row = kv_row_at(cache, layer, side, block, slot, h);
        for (int64_t d = 0; d < cache->head_dim[side]; d++)
            quantize_put(row, o->dtype, d, value_at(rows, token, h, d),
                         element_load(scales, dtype, scale_at(cache, side, block, slot, h, d)));
    }
}

void kv_scales_copy(fattn_kv_cache *cache, int64_t layer, int side, int32_t from, int32_t to,
                    int64_t rows)
{
    if (!kv_scales_by_row(cache)) return;
    const bool per_head = cache->options.granularity == FATTN_PER_TOKEN_HEAD;
    float *scales = cache->scales[layer * KV_SIDES + side];
    for (int64_t h = 0; h < (per_head ? cache->options.n_kv_heads : 1); h++)
        memcpy(scales + scale_at(cache, side, to, 0, h, 0),
               scales + scale_at(cache, side, from, 0, MUTANT(210, h, 0), 0),
               (size_t)rows * sizeof *scales);
}

fattn_status fattn_kv_cache_scales(const fattn_kv_cache *cache, int64_t layer,
                                   fattn_tensor *key_scale, fattn_tensor *value_scale, int *mode)
{
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(kv_quantised(cache), FATTN_E_ARG, "cache: holds %s, which have no scales",
            fattn_dtype_name(cache->options.dtype));
    REQUIRE(layer >= 0 && layer < cache->options.n_layers, FATTN_E_ARG,
            "layer: %lld is not in 0..%lld", LL(layer), LL(cache->options.n_layers) - 1);
    fattn_tensor *const wanted[KV_SIDES] = {key_scale, value_scale};
    for (int side = 0; side < KV_SIDES; side++) {
        if (!wanted[side]) continue;
        *wanted[side] = cache->scale[side];
        wanted[side]->data = cache->scales[layer * KV_SIDES + side];
    }
    if (mode) *mode = fattn_quantize_mode(cache->options.granularity, true);
    return FATTN_OK;
}
