/* SPDX-License-Identifier: Apache-2.0 */
/* kv_tables.c — the cache as the operators read it: tensors, block tables, slots. Outputs are
 * checked completely before the first entry is written. */
#include "api/arrays.h"
#include "api/kv_cache.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"

fattn_status fattn_kv_cache_tensors(const fattn_kv_cache *cache, int64_t layer, fattn_tensor *key,
                                    fattn_tensor *value)
{
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(layer >= 0 && layer < cache->options.n_layers, FATTN_E_ARG,
            "layer: %lld is not in 0..%lld", LL(layer), LL(cache->options.n_layers) - 1);
    if (key) *key = kv_tensor(cache, layer, KV_KEY);
    if (value) *value = kv_tensor(cache, layer, KV_VALUE);
    return FATTN_OK;
}

static fattn_status check_output(const fattn_tensor *tensor, const char *name, int rank)
{
    REQUIRE(tensor, FATTN_E_ARG, "%s: is NULL", name);
    TRY(tensor_check(tensor, name, true));
    REQUIRE(array_is_int(tensor->dtype), FATTN_E_DTYPE, "%s: is %s, must be i32 or i64", name,
            fattn_dtype_name(tensor->dtype));
    REQUIRE(tensor->rank == rank, FATTN_E_SHAPE, "%s: rank %d, must be %d", name, (int)tensor->rank,
            rank);
    return tensor_check_output(tensor, name);
}

fattn_status fattn_kv_cache_block_table(const fattn_kv_cache *cache, const int64_t *sequences,
                                        int64_t n_sequences, const fattn_tensor *table)
{
    kv_sequence *s;
    REQUIRE(cache, FATTN_E_ARG, "cache: is NULL");
    REQUIRE(n_sequences >= 0 && (sequences || n_sequences == 0), FATTN_E_ARG,
            "sequences: a list of %lld ids is expected", LL(n_sequences));
    TRY(check_output(table, "table", 2));
    REQUIRE(table->shape[0] == n_sequences, FATTN_E_SHAPE,
            "table: has %lld rows for %lld sequences", LL(table->shape[0]), LL(n_sequences));
    const int64_t columns = table->shape[1];
    for (int64_t r = 0; r < n_sequences; r++) {
        TRY(kv_find(cache, sequences[r], &s));
        REQUIRE(s->n_blocks <= columns, FATTN_E_SHAPE,
                "table: has %lld columns, sequence %lld holds %lld blocks", LL(columns),
                LL(sequences[r]), LL(s->n_blocks));
    }
    for (int64_t r = 0; r < n_sequences; r++) {
        s = &cache->sequences[sequences[r]];
        for (int64_t c = 0; c < columns; c++)
            array_put_int(table, r * table->strides[0] + c * table->strides[1],
                          c < s->n_blocks ? s->blocks[c] : -1);
    }
    return FATTN_OK;
}

static int64_t slot_of(const fattn_kv_cache *cache, const kv_sequence *s, int64_t token)
{
    const int64_t rows = cache->options.block_size;
    return MUTANT(89, s->blocks[token / rows], token / rows) * rows + token % rows;
}

fattn_status fattn_kv_cache_slot_mapping(const fattn_kv_cache *cache, int64_t sequence,
                                         int64_t first, int64_t n_tokens, const fattn_tensor *slots)
{
    kv_sequence *s;
    TRY(kv_find(cache, sequence, &s));
    REQUIRE(first >= 0 && n_tokens >= 0 && first <= s->length && n_tokens <= s->length - first,
            FATTN_E_ARG,
            "first: %lld tokens from %lld on are not all inside sequence %lld of length %lld",
            LL(n_tokens), LL(first), LL(sequence), LL(s->length));
    TRY(check_output(slots, "slots", 1));
    TRY(array_check_shape(slots, "slots", 1, &n_tokens));
    for (int64_t t = 0; t < n_tokens; t++)
        REQUIRE(array_holds(slots->dtype, slot_of(cache, s, first + t)), FATTN_E_DTYPE,
                "slots: slot %lld does not fit into %s; use i64", LL(slot_of(cache, s, first + t)),
                fattn_dtype_name(slots->dtype));
    for (int64_t t = 0; t < n_tokens; t++)
        array_put_int(slots, t * slots->strides[0], slot_of(cache, s, first + t));
    return FATTN_OK;
}
