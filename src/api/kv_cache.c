/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.c — the paged cache: sequences that hold blocks. A sequence is a list of block ids and a
 * length; fork shares the list, extend gives a shared, partly filled last block up for a copy of
 * its own. Every change is all or nothing: what can fail happens before the first count moves. */
#include "api/kv_cache.h"

#include <string.h>

#include "api/arrays.h"
#include "api/quantize.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

enum { LAYERS_MAX = 1 << 16, SEQUENCES_MAX = 1 << 20 }; /* their lists are made at once */

void fattn_kv_cache_options_init(fattn_kv_cache_options *options)
{
    if (!options) return;
    *options = (fattn_kv_cache_options){
        .size = sizeof *options,
        .n_layers = 1,
        .block_size = 64,
        .max_sequences = 256,
        .granularity = FATTN_PER_TOKEN};
}

static fattn_status check_size(const fattn_kv_cache_options *o)
{
    REQUIRE(
        o->size >= sizeof *o, FATTN_E_ARG,
        "options: size is %zu, this version knows %zu; call fattn_kv_cache_options_init() first",
        o->size, sizeof *o);
    REQUIRE(o->size <= sizeof *o + 4096, FATTN_E_ARG, "options: size %zu makes no sense", o->size);
    for (size_t i = sizeof *o; i < o->size; i++)
        REQUIRE(((const unsigned char *)o)[i] == 0, FATTN_E_ARG,
                "options: a field that this version of the library does not know is set");
    return FATTN_OK;
}

static fattn_status check_options(const fattn_kv_cache_options *o)
{
    TRY(check_size(o));
    REQUIRE(o->layout == FATTN_CACHE_BNBSH || o->layout == FATTN_CACHE_BNNBSD, FATTN_E_ARG,
            "layout: %d is not FATTN_CACHE_BNBSH or FATTN_CACHE_BNNBSD", (int)o->layout);
    REQUIRE(element_is_float(o->dtype) || quantize_dtype(o->dtype), FATTN_E_DTYPE,
            "dtype: is %s, must be f32, f16 or bf16 (f64), or quantised i8, i4, e4m3 or e5m2",
            fattn_dtype_name(o->dtype));

    const struct {
        const char *name;
        int64_t value, least, most;
    } numbers[] = {
        {"n_layers", o->n_layers, 1, LAYERS_MAX},
        {"n_blocks", o->n_blocks, 1, INT32_MAX},
        {"block_size", o->block_size, 1, INT32_MAX},
        {"n_kv_heads", o->n_kv_heads, 1, INT32_MAX},
        {"head_dim", o->head_dim, 1, INT32_MAX},
        {"value_head_dim", o->value_head_dim, 0, INT32_MAX},
        {"max_sequences", o->max_sequences, 1, SEQUENCES_MAX},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        REQUIRE(numbers[i].value >= numbers[i].least && numbers[i].value <= numbers[i].most,
                FATTN_E_ARG, "%s: %lld is not in %lld..%lld", numbers[i].name, LL(numbers[i].value),
                LL(numbers[i].least), LL(numbers[i].most));
    return FATTN_OK;
}

/* Bytes of one layer's keys or values; false when they do not fit into the address space. */
static bool layer_bytes(const fattn_kv_cache_options *o, int64_t head_dim, size_t *bytes)
{
    *bytes = fattn_dtype_size(o->dtype);
    const int64_t factors[] = {o->n_blocks, o->block_size, o->n_kv_heads,
                               head_dim / element_pack(o->dtype)};
    for (int i = 0; i < 4; i++)
        if (!size_mul(*bytes, (size_t)factors[i], bytes) || *bytes > PTRDIFF_MAX) return false;
    return true;
}

static fattn_status settle(fattn_kv_cache *cache, const fattn_context *context,
                           const fattn_kv_cache_options *options)
{
    *cache = (fattn_kv_cache){.context = context, .options = *options};
    cache->options.size = sizeof *options;
    if (cache->options.value_head_dim == 0) cache->options.value_head_dim = options->head_dim;
    cache->head_dim[KV_KEY] = options->head_dim;
    cache->head_dim[KV_VALUE] = cache->options.value_head_dim;
    if (kv_quantised(cache)) TRY(kv_scales_settle(cache));

    size_t total = 0;
    bool fits = true;
    for (int side = 0; fits && side < KV_SIDES; side++)
        fits = layer_bytes(options, cache->head_dim[side], &cache->bytes[side]) &&
               size_add(total, cache->bytes[side], &total) &&
               size_add(total, cache->scale_bytes[side], &total);
    REQUIRE(fits && size_mul(total, (size_t)options->n_layers, &total) && total <= PTRDIFF_MAX,
            FATTN_E_NOMEM,
            "kv_cache: out of memory: %lld blocks of %lld rows in %lld layers exceed the "
            "address space; ask for fewer blocks",
            LL(options->n_blocks), LL(options->block_size), LL(options->n_layers));
    return FATTN_OK;
}

/* The memory of all layers, largest first, before anything is cleared; then the lists. false when
 * out of memory; destroy() then frees what is there. */
static bool allocate(fattn_kv_cache *cache)
{
    const fattn_context *context = cache->context;
    const size_t n_sequences = (size_t)cache->options.max_sequences;
    const size_t n_data = (size_t)cache->options.n_layers * KV_SIDES;

    cache->data = context_alloc(context, n_data * sizeof *cache->data);
    if (!cache->data) return false;
    memset(cache->data, 0, n_data * sizeof *cache->data);
    for (size_t i = 0; i < n_data; i++) {
        cache->data[i] = context_alloc(context, cache->bytes[i % KV_SIDES]);
        if (!cache->data[i]) return false;
    }
    if (kv_quantised(cache) && !kv_scales_allocate(cache)) return false;
    cache->sequences = context_alloc(context, n_sequences * sizeof *cache->sequences);
    if (!cache->sequences) return false;
    memset(cache->sequences, 0, n_sequences * sizeof *cache->sequences);
    return kv_blocks_init(&cache->blocks, context, cache->options.n_blocks);
}

fattn_status fattn_kv_cache_create(fattn_context *context, const fattn_kv_cache_options *options,
                                   fattn_kv_cache **cache)
{
    fattn_kv_cache settled;
    REQUIRE(options, FATTN_E_ARG, "options: is NULL; a cache has no default size");
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL; pass where to store the handle");
    TRY(context_resolve(&context));
    TRY(check_options(options));
    TRY(settle(&settled, context, options));

    fattn_kv_cache *made = context_alloc(context, sizeof *made);
    if (made) *made = settled;
    if (!made || !allocate(made)) {
        const size_t block = (settled.bytes[KV_KEY] + settled.bytes[KV_VALUE]) /
                             (size_t)options->n_blocks * (size_t)options->n_layers;
        fattn_kv_cache_destroy(made);
        return error_set(
            FATTN_E_NOMEM,
            "kv_cache: out of memory: %lld blocks of %zu bytes were asked for; ask for fewer",
            LL(options->n_blocks), block);
    }
    *cache = made;
    return FATTN_OK;
}

void fattn_kv_cache_destroy(fattn_kv_cache *cache)
{
    if (!cache) return;
    const fattn_context *context = cache->context;
    for (int64_t i = 0; cache->data && i < cache->options.n_layers * KV_SIDES; i++)
        context_free(context, cache->data[i]);
    for (int64_t i = 0; cache->sequences && i < cache->options.max_sequences; i++)
        context_free(context, cache->sequences[i].blocks);
    context_free(context, cache->data);
    kv_scales_free(cache);
    context_free(context, cache->sequences);
    kv_blocks_free(&cache->blocks, context);
    context_free(context, cache);
}

fattn_status kv_find(const fattn_kv_cache *cache, int64_t id, kv_sequence **sequence)
{
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(id >= 0 && id < cache->options.max_sequences && cache->sequences[id].used, FATTN_E_ARG,
            "sequence: there is no sequence %lld", LL(id));
    *sequence = &cache->sequences[id];
    return FATTN_OK;
}

/* Room for n block ids; grows by doubling. false when out of memory. */
static bool reserve_list(const fattn_kv_cache *cache, kv_sequence *sequence, int64_t n)
{
    if (n <= sequence->capacity) return true;
    const int64_t capacity = i64_min(i64_max(n, 2 * sequence->capacity), cache->options.n_blocks);
    int32_t *blocks = context_alloc(cache->context, (size_t)capacity * sizeof *blocks);
    if (!blocks) return false;
    if (sequence->n_blocks)
        memcpy(blocks, sequence->blocks, (size_t)sequence->n_blocks * sizeof *blocks);
    context_free(cache->context, sequence->blocks);
    sequence->blocks = blocks;
    sequence->capacity = capacity;
    return true;
}

static fattn_status free_sequence_id(const fattn_kv_cache *cache, int64_t *id)
{
    for (*id = 0; *id < cache->options.max_sequences; ++*id)
        if (!cache->sequences[*id].used) return FATTN_OK;
    return error_set(
        FATTN_E_NOMEM,
        "kv_cache: out of memory: all %lld sequences are in use; free one or create the "
        "cache with more max_sequences",
        LL(cache->options.max_sequences));
}

fattn_status fattn_kv_cache_add(fattn_kv_cache *cache, int64_t *sequence)
{
    int64_t id;
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(sequence, FATTN_E_ARG, "sequence: is NULL; pass where to store the id");
    TRY(free_sequence_id(cache, &id));
    cache->sequences[id] = (kv_sequence){.used = true};
    *sequence = id;
    return FATTN_OK;
}

fattn_status fattn_kv_cache_fork(fattn_kv_cache *cache, int64_t parent, int64_t *sequence)
{
    kv_sequence *from;
    int64_t id;
    REQUIRE(sequence, FATTN_E_ARG, "sequence: is NULL; pass where to store the id");
    TRY(kv_find(cache, parent, &from));
    TRY(free_sequence_id(cache, &id));

    kv_sequence made = {.used = true};
    REQUIRE(reserve_list(cache, &made, from->n_blocks), FATTN_E_NOMEM,
            "kv_cache: out of memory: a list of %lld block ids", LL(from->n_blocks));
    made.length = from->length;
    made.n_blocks = from->n_blocks;
    for (int64_t i = 0; i < from->n_blocks; i++) {
        made.blocks[i] = from->blocks[i];
        kv_blocks_hold(&cache->blocks, from->blocks[i]);
    }
    cache->sequences[id] = made;
    *sequence = id;
    return FATTN_OK;
}

/* Gives back the blocks behind the first `keep`. */
static void drop_blocks(fattn_kv_cache *cache, kv_sequence *sequence, int64_t keep)
{
    while (sequence->n_blocks > keep)
        kv_blocks_release(&cache->blocks, sequence->blocks[--sequence->n_blocks]);
}

fattn_status fattn_kv_cache_free(fattn_kv_cache *cache, int64_t sequence)
{
    kv_sequence *s;
    TRY(kv_find(cache, sequence, &s));
    drop_blocks(cache, s, 0);
    context_free(cache->context, s->blocks);
    *s = (kv_sequence){0};
    return FATTN_OK;
}

fattn_status fattn_kv_cache_truncate(fattn_kv_cache *cache, int64_t sequence, int64_t length)
{
    kv_sequence *s;
    TRY(kv_find(cache, sequence, &s));
    REQUIRE(length >= 0 && length <= s->length, FATTN_E_ARG,
            "length: %lld is not in 0..%lld, the length of sequence %lld", LL(length),
            LL(s->length), LL(sequence));
    drop_blocks(cache, s, i64_div_up(length, cache->options.block_size));
    s->length = length;
    return FATTN_OK;
}

/* true when the next token lands in a block that another sequence holds too. */
static bool must_copy_last(const fattn_kv_cache *cache, const kv_sequence *s)
{
    return s->length % cache->options.block_size != 0 &&
           cache->blocks.holders[s->blocks[s->n_blocks - 1]] > 1;
}

/* How many tokens the free blocks still hold for this sequence. */
static int64_t tokens_that_fit(const fattn_kv_cache *cache, const kv_sequence *s)
{
    const int64_t rows = cache->options.block_size, room = s->n_blocks * rows - s->length;
    const bool copy = must_copy_last(cache, s);
    if (copy && cache->blocks.n_free == 0) return 0;
    return room + (cache->blocks.n_free - copy) * rows;
}

static fattn_status check_room(const fattn_kv_cache *cache, int64_t id, const kv_sequence *s,
                               int64_t n_tokens)
{
    const int64_t fit = tokens_that_fit(cache, s);
    REQUIRE(n_tokens <= fit, FATTN_E_NOMEM,
            "kv_cache: out of memory: sequence %lld has %lld tokens and asks for %lld more; %lld "
            "of %lld "
            "blocks are free, %lld more tokens would fit",
            LL(id), LL(s->length), LL(n_tokens), LL(cache->blocks.n_free), LL(cache->blocks.n),
            LL(fit));
    return FATTN_OK;
}

fattn_status fattn_kv_cache_extend(fattn_kv_cache *cache, int64_t sequence, int64_t n_tokens)
{
    kv_sequence *s;
    TRY(kv_find(cache, sequence, &s));
    REQUIRE(n_tokens >= 0, FATTN_E_ARG, "n_tokens: %lld is negative", LL(n_tokens));
    if (n_tokens == 0) return FATTN_OK;
    TRY(check_room(cache, sequence, s, n_tokens));
    const int64_t wanted = i64_div_up(s->length + n_tokens, cache->options.block_size);
    REQUIRE(reserve_list(cache, s, wanted), FATTN_E_NOMEM,
            "kv_cache: out of memory: a list of %lld block ids", LL(wanted));

    if (MUTANT(87, must_copy_last(cache, s), false)) {
        const int32_t shared = s->blocks[s->n_blocks - 1], own = kv_blocks_take(&cache->blocks);
        kv_copy_rows(cache, shared, own, s->length % cache->options.block_size);
        kv_blocks_release(&cache->blocks, shared);
        s->blocks[s->n_blocks - 1] = own;
    }
    while (s->n_blocks < wanted) s->blocks[s->n_blocks++] = kv_blocks_take(&cache->blocks);
    s->length += n_tokens;
    return FATTN_OK;
}

int64_t fattn_kv_cache_length(const fattn_kv_cache *cache, int64_t sequence)
{
    if (!cache || sequence < 0 || sequence >= cache->options.max_sequences) return -1;
    return cache->sequences[sequence].used ? cache->sequences[sequence].length : -1;
}

fattn_status fattn_kv_cache_get_usage(const fattn_kv_cache *cache, fattn_kv_cache_usage *usage)
{
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    enum { EXTRA_MAX = 4096 }; /* of a newer caller */
    REQUIRE(usage && usage->size >= sizeof *usage && usage->size <= sizeof *usage + EXTRA_MAX,
            FATTN_E_ARG, "usage: its size must be set to sizeof(fattn_kv_cache_usage) = %zu",
            sizeof *usage);
    const kv_blocks *blocks = &cache->blocks;
    memset(usage + 1, 0, usage->size - sizeof *usage); /* figures that this version does not know */
    *usage = (fattn_kv_cache_usage){
        .size = usage->size,
        .n_blocks = blocks->n,
        .used_blocks = blocks->n - blocks->n_free,
        .shared_blocks = blocks->n_shared,
        .free_blocks = blocks->n_free,
        .bytes =
            (cache->bytes[KV_KEY] + cache->bytes[KV_VALUE] + cache->scale_bytes[KV_KEY] +
             cache->scale_bytes[KV_VALUE]) *
            (uint64_t)cache->options.n_layers,
    };
    for (int64_t i = 0; i < cache->options.max_sequences; i++) {
        usage->sequences += cache->sequences[i].used;
        usage->tokens += cache->sequences[i].length;
    }
    return FATTN_OK;
}
