/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.c — the paged cache by hand, and thousands of random operations against a naive model
 * that keeps every token's rows by value and every block's holders by counting; a full pool,
 * failing memory, garbage. */
#include "cm.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "fattn/fattn.h"

/* The sanitizers ask this: a request that is too big gets NULL, as from the C library. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

enum { HEADS = 2, DIM = 3, VALUE_DIM = 2, MAX_TOKENS = 64, MAX_SEQS = 6, MAX_BLOCKS = 24 };

static void check_ok(fattn_status status)
{
    if (status != FATTN_OK) fail_msg("%s: %s", fattn_status_name(status), fattn_error_message());
}

static fattn_kv_cache_options small(int64_t n_blocks, int64_t block_size, int64_t max_sequences)
{
    fattn_kv_cache_options o;
    fattn_kv_cache_options_init(&o);
    o.dtype = FATTN_F32;
    o.n_blocks = n_blocks;
    o.block_size = block_size;
    o.n_kv_heads = HEADS;
    o.head_dim = DIM;
    o.value_head_dim = VALUE_DIM;
    o.max_sequences = max_sequences;
    return o;
}

static fattn_kv_cache *new_cache(const fattn_kv_cache_options *o)
{
    fattn_kv_cache *cache = NULL;
    check_ok(fattn_kv_cache_create(NULL, o, &cache));
    return cache;
}

/* What token `id` stores at (layer, head, channel). */
static float key_of(int id, int64_t head, int64_t d) { return (float)(id * 100 + head * 10 + d); }
static float value_of(int id, int64_t head, int64_t d) { return -key_of(id, head, d) - 0.5f; }

typedef struct rows {
    float key[MAX_TOKENS * HEADS * DIM], value[MAX_TOKENS * HEADS * VALUE_DIM];
    fattn_tensor t_key, t_value;
} rows;

static void set_rows(rows *r, const int *ids, int64_t n)
{
    for (int64_t t = 0; t < n; t++)
        for (int64_t h = 0; h < HEADS; h++) {
            for (int64_t d = 0; d < DIM; d++)
                r->key[(t * HEADS + h) * DIM + d] = key_of(ids[t], h, d);
            for (int64_t d = 0; d < VALUE_DIM; d++)
                r->value[(t * HEADS + h) * VALUE_DIM + d] = value_of(ids[t], h, d);
        }
    r->t_key = fattn_tensor_contiguous(r->key, FATTN_F32, 3, (const int64_t[]){n, HEADS, DIM});
    r->t_value =
        fattn_tensor_contiguous(r->value, FATTN_F32, 3, (const int64_t[]){n, HEADS, VALUE_DIM});
}

/* ---- the model ---- */

typedef struct model_seq {
    bool used;
    int64_t length;
    int ids[MAX_BLOCKS * 8]; /* of the tokens */
    int64_t blocks[MAX_BLOCKS], n_blocks;
} model_seq;

typedef struct model {
    int64_t n_blocks, block_size, max_seqs;
    model_seq seqs[MAX_SEQS];
    int next_id;
} model;

static int64_t holders(const model *m, int64_t block)
{
    int64_t count = 0;
    for (int64_t s = 0; s < m->max_seqs; s++)
        for (int64_t i = 0; i < m->seqs[s].n_blocks; i++) count += m->seqs[s].blocks[i] == block;
    return count;
}

static int64_t lowest_free(const model *m)
{
    for (int64_t block = 0; block < m->n_blocks; block++)
        if (holders(m, block) == 0) return block;
    return -1;
}

static int64_t count_free(const model *m)
{
    int64_t count = 0;
    for (int64_t block = 0; block < m->n_blocks; block++) count += holders(m, block) == 0;
    return count;
}

static int64_t unused_seq(const model *m)
{
    for (int64_t s = 0; s < m->max_seqs; s++)
        if (!m->seqs[s].used) return s;
    return -1;
}

/* Appends tokens; false, and nothing changed, when the blocks do not suffice. */
static bool model_append(model *m, int64_t seq, int64_t n, int *ids)
{
    model *undo = malloc(sizeof *undo);
    assert_non_null(undo);
    *undo = *m;
    model_seq *s = &m->seqs[seq];
    bool fits = true;
    for (int64_t t = 0; fits && t < n; t++) {
        const int64_t slot = s->length % m->block_size;
        if (slot == 0) {
            const int64_t block = lowest_free(m);
            fits = block >= 0;
            if (fits) s->blocks[s->n_blocks++] = block;
        } else if (holders(m, s->blocks[s->n_blocks - 1]) > 1) {
            const int64_t block = lowest_free(m);
            fits = block >= 0;
            if (fits) s->blocks[s->n_blocks - 1] = block;
        }
        if (!fits) break;
        ids[t] = m->next_id++;
        s->ids[s->length++] = ids[t];
    }
    if (!fits) *m = *undo;
    free(undo);
    return fits;
}

static float cell(const fattn_kv_cache_options *o, const fattn_tensor *t, int64_t block,
                  int64_t slot, int64_t head, int64_t d, int64_t dim)
{
    const float *data = t->data;
    if (o->layout == FATTN_CACHE_BNBSH)
        return data[(block * o->block_size + slot) * HEADS * dim + head * dim + d];
    return data[((block * HEADS + head) * o->block_size + slot) * dim + d];
}

static void check_seq(const fattn_kv_cache *cache, const fattn_kv_cache_options *o, const model *m,
                      int64_t id, uint64_t seed)
{
    const model_seq *s = &m->seqs[id];
    int64_t row[MAX_BLOCKS + 1], slots[MAX_BLOCKS * 8];
    const fattn_tensor table =
        fattn_tensor_contiguous(row, FATTN_I64, 2, (const int64_t[]){1, MAX_BLOCKS + 1});
    const fattn_tensor t_slots = fattn_tensor_contiguous(slots, FATTN_I64, 1, &s->length);
    check_ok(fattn_kv_cache_block_table(cache, &id, 1, &table));
    for (int64_t i = 0; i <= MAX_BLOCKS; i++)
        if (row[i] != (i < s->n_blocks ? s->blocks[i] : -1))
            fail_msg("seed %llu: sequence %d: block %d is %d, want %d", (unsigned long long)seed,
                     (int)id, (int)i, (int)row[i], (int)(i < s->n_blocks ? s->blocks[i] : -1));
    check_ok(fattn_kv_cache_slot_mapping(cache, id, 0, s->length, &t_slots));
    for (int64_t layer = 0; layer < o->n_layers; layer++) {
        fattn_tensor key, value;
        check_ok(fattn_kv_cache_tensors(cache, layer, &key, &value));
        for (int64_t t = 0; t < s->length; t++) {
            const int64_t block = s->blocks[t / m->block_size], slot = t % m->block_size;
            assert_int_equal(slots[t], block * m->block_size + slot);
            for (int64_t h = 0; h < HEADS; h++)
                if (cell(o, &key, block, slot, h, DIM - 1, DIM) != key_of(s->ids[t], h, DIM - 1) ||
                    cell(o, &value, block, slot, h, 0, VALUE_DIM) != value_of(s->ids[t], h, 0))
                    fail_msg("seed %llu: sequence %d: token %d was overwritten",
                             (unsigned long long)seed, (int)id, (int)t);
        }
    }
}

static void check_all(const fattn_kv_cache *cache, const fattn_kv_cache_options *o, const model *m,
                      uint64_t seed)
{
    fattn_kv_cache_usage usage = {.size = sizeof usage};
    int64_t tokens = 0, seqs = 0, shared = 0;
    for (int64_t s = 0; s < m->max_seqs; s++) {
        assert_int_equal(fattn_kv_cache_length(cache, s), m->seqs[s].used ? m->seqs[s].length : -1);
        if (!m->seqs[s].used) continue;
        check_seq(cache, o, m, s, seed);
        tokens += m->seqs[s].length;
        seqs++;
    }
    for (int64_t b = 0; b < m->n_blocks; b++) shared += holders(m, b) > 1;
    check_ok(fattn_kv_cache_get_usage(cache, &usage));
    assert_int_equal(usage.tokens, tokens);
    assert_int_equal(usage.sequences, seqs);
    assert_int_equal(usage.n_blocks, m->n_blocks);
    assert_int_equal(usage.free_blocks, count_free(m));
    assert_int_equal(usage.used_blocks, m->n_blocks - count_free(m));
    assert_int_equal(usage.shared_blocks, shared);
}

typedef struct seen {
    int added, no_room, no_sequence, forked, freed, cut, copied;
} seen;

static void do_append(fattn_kv_cache *cache, model *m, int64_t seq, rng *r, seen *count)
{
    static rows data;
    int ids[MAX_TOKENS] = {0};
    const int64_t n = rng_between(r, 0, 5) ? rng_between(r, 0, 5) : rng_between(r, 0, 40);
    const model_seq *s = &m->seqs[seq];
    const bool partial = n > 0 && s->length % m->block_size != 0;
    const bool copies = partial && holders(m, s->blocks[s->n_blocks - 1]) > 1;
    const bool fits = model_append(m, seq, n, ids);
    set_rows(&data, ids, n);
    const fattn_status status = fattn_kv_cache_append(cache, seq, &data.t_key, &data.t_value);
    assert_int_equal(status, fits ? FATTN_OK : FATTN_E_NOMEM);
    if (!fits) assert_non_null(strstr(fattn_error_message(), "out of memory"));
    count->no_room += !fits;
    count->added += fits;
    count->copied += fits && copies;
}

static void do_fork(fattn_kv_cache *cache, model *m, int64_t seq, seen *count)
{
    int64_t id = -7;
    const int64_t want = unused_seq(m);
    const fattn_status status = fattn_kv_cache_fork(cache, seq, &id);
    assert_int_equal(status, want >= 0 ? FATTN_OK : FATTN_E_NOMEM);
    assert_int_equal(id, want >= 0 ? want : -7);
    if (want >= 0) m->seqs[want] = m->seqs[seq];
    count->forked += want >= 0;
    count->no_sequence += want < 0;
}

static void do_add(fattn_kv_cache *cache, model *m)
{
    int64_t id = -7;
    const int64_t want = unused_seq(m);
    const fattn_status status = fattn_kv_cache_add(cache, &id);
    assert_int_equal(status, want >= 0 ? FATTN_OK : FATTN_E_NOMEM);
    assert_int_equal(id, want >= 0 ? want : -7);
    if (want >= 0) m->seqs[want] = (model_seq){.used = true};
}

static void do_truncate(fattn_kv_cache *cache, model *m, int64_t seq, rng *r, seen *count)
{
    model_seq *s = &m->seqs[seq];
    s->length = rng_between(r, 0, s->length);
    s->n_blocks = (s->length + m->block_size - 1) / m->block_size;
    check_ok(fattn_kv_cache_truncate(cache, seq, s->length));
    count->cut++;
}

static void random_run(uint64_t seed, seen *count)
{
    rng r = rng_new(seed);
    static model m;
    memset(&m, 0, sizeof m);
    m.n_blocks = rng_between(&r, 1, MAX_BLOCKS);
    m.block_size = rng_between(&r, 1, 8);
    m.max_seqs = rng_between(&r, 1, MAX_SEQS);
    fattn_kv_cache_options o = small(m.n_blocks, m.block_size, m.max_seqs);
    o.layout = seed % 2 ? FATTN_CACHE_BNBSH : FATTN_CACHE_BNNBSD;
    o.n_layers = 1 + (int64_t)(seed % 3);
    fattn_kv_cache *cache = new_cache(&o);
    for (int step = 0; step < 120; step++) {
        const int64_t seq = rng_between(&r, 0, m.max_seqs - 1), dice = rng_between(&r, 0, 99);
        if (!m.seqs[seq].used)
            do_add(cache, &m);
        else if (dice < 55)
            do_append(cache, &m, seq, &r, count);
        else if (dice < 68)
            do_fork(cache, &m, seq, count);
        else if (dice < 76)
            do_truncate(cache, &m, seq, &r, count);
        else {
            check_ok(fattn_kv_cache_free(cache, seq));
            m.seqs[seq] = (model_seq){0};
            count->freed++;
        }
        check_all(cache, &o, &m, seed);
    }
    fattn_kv_cache_destroy(cache);
}

static void test_against_model(void **state)
{
    (void)state;
    seen count = {0};
    for (uint64_t seed = 1; seed <= 200; seed++) random_run(seed, &count); /* 24,000 operations */
    assert_true(count.added > 1000 && count.no_room > 300 && count.forked > 100);
    assert_true(count.freed > 100 && count.cut > 100 && count.copied > 50 &&
                count.no_sequence > 50);
}

/* Spec inference 18: block size 4, blocks 10, 11, 12: token 9 is in block 12, slot 1. */
static void test_by_hand(void **state)
{
    (void)state;
    fattn_kv_cache_options o = small(20, 4, 4);
    fattn_kv_cache *cache = new_cache(&o);
    int64_t filler, a, b;
    check_ok(fattn_kv_cache_add(cache, &filler));
    check_ok(fattn_kv_cache_extend(cache, filler, 40)); /* blocks 0..9 */
    check_ok(fattn_kv_cache_add(cache, &a));
    check_ok(fattn_kv_cache_extend(cache, a, 10));
    assert_int_equal(a, 1);
    int32_t slot = 0, table[2][4];
    int64_t one = 1;
    fattn_tensor t_slot = fattn_tensor_contiguous(&slot, FATTN_I32, 1, &one);
    fattn_tensor t_table = fattn_tensor_contiguous(table, FATTN_I32, 2, (const int64_t[]){2, 4});
    check_ok(fattn_kv_cache_slot_mapping(cache, a, 9, 1, &t_slot));
    assert_int_equal(slot, 12 * 4 + 1);

    check_ok(fattn_kv_cache_fork(cache, a, &b));
    check_ok(fattn_kv_cache_extend(cache, b, 1)); /* copies block 12 into 13 */
    check_ok(fattn_kv_cache_block_table(cache, (const int64_t[]){a, b}, 2, &t_table));
    const int32_t want[2][4] = {{10, 11, 12, -1}, {10, 11, 13, -1}};
    assert_memory_equal(table, want, sizeof want);
    check_ok(fattn_kv_cache_extend(cache, a, 1)); /* alone in block 12 again: no copy */
    check_ok(fattn_kv_cache_block_table(cache, (const int64_t[]){a, b}, 2, &t_table));
    assert_memory_equal(table, want, sizeof want);

    fattn_kv_cache_usage usage = {.size = sizeof usage};
    check_ok(fattn_kv_cache_get_usage(cache, &usage));
    assert_int_equal(usage.shared_blocks, 2);
    assert_int_equal(usage.used_blocks, 14);
    assert_int_equal(usage.tokens, 40 + 11 + 11);
    assert_int_equal(usage.bytes, 20 * 4 * HEADS * (DIM + VALUE_DIM) * sizeof(float));

    struct { /* of a caller that knows two figures more */
        fattn_kv_cache_usage known;
        int64_t later[2], behind;
    } newer = {.known.size = sizeof usage + sizeof newer.later, .later = {7, 7}, .behind = 7};
    check_ok(fattn_kv_cache_get_usage(cache, &newer.known));
    assert_int_equal(newer.known.size, sizeof usage + sizeof newer.later);
    assert_int_equal(newer.known.tokens, usage.tokens);
    assert_true(newer.later[0] == 0 && newer.later[1] == 0 && newer.behind == 7);
    usage.size--;
    assert_int_equal(fattn_kv_cache_get_usage(cache, &usage), FATTN_E_ARG);

    check_ok(fattn_kv_cache_free(cache, filler)); /* freed ids come back, lowest first */
    check_ok(fattn_kv_cache_add(cache, &filler));
    assert_int_equal(filler, 0);
    check_ok(fattn_kv_cache_extend(cache, filler, 1));
    check_ok(fattn_kv_cache_slot_mapping(cache, filler, 0, 1, &t_slot));
    assert_int_equal(slot, 0);
    fattn_kv_cache_destroy(cache);
}

/* Hundreds of blocks: the lowest free one, wherever it was given back. */
static void test_lowest_first_in_a_large_pool(void **state)
{
    (void)state;
    enum { N = 300 };
    const fattn_kv_cache_options o = small(N, 1, N);
    fattn_kv_cache *cache = new_cache(&o);
    const int64_t one = 1, freed[] = {290, 70, 71, 5, 128, 63, 64},
                  sorted[] = {5, 63, 64, 70, 71, 128, 290};
    int64_t id, slot;
    const fattn_tensor t_slot = fattn_tensor_contiguous(&slot, FATTN_I64, 1, &one);
    for (int64_t i = 0; i < N; i++) {
        check_ok(fattn_kv_cache_add(cache, &id));
        check_ok(fattn_kv_cache_extend(cache, id, 1));
        check_ok(fattn_kv_cache_slot_mapping(cache, id, 0, 1, &t_slot));
        assert_int_equal(slot, i);
    }
    for (int i = 0; i < 7; i++) check_ok(fattn_kv_cache_free(cache, freed[i]));
    for (int i = 0; i < 7; i++) {
        check_ok(fattn_kv_cache_add(cache, &id));
        assert_int_equal(id, sorted[i]);
        check_ok(fattn_kv_cache_extend(cache, id, 1));
        check_ok(fattn_kv_cache_slot_mapping(cache, id, 0, 1, &t_slot));
        assert_int_equal(slot, sorted[i]);
    }
    assert_int_equal(fattn_kv_cache_extend(cache, 0, 1), FATTN_E_NOMEM);
    fattn_kv_cache_destroy(cache);
}

static void test_full_pool(void **state)
{
    (void)state;
    fattn_kv_cache_options o = small(5, 4, 8);
    fattn_kv_cache *cache = new_cache(&o);
    int64_t a, b;
    check_ok(fattn_kv_cache_add(cache, &a));
    check_ok(fattn_kv_cache_extend(cache, a, 14));
    assert_int_equal(fattn_kv_cache_extend(cache, a, 7), FATTN_E_NOMEM);
    static const char *const words[] = {"out of memory", "14 tokens", "7 more", "1 of 5", "6 more"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(fattn_error_message(), words[i]))
            fail_msg("no \"%s\" in: %s", words[i], fattn_error_message());
    assert_int_equal(fattn_kv_cache_length(cache, a), 14);
    check_ok(fattn_kv_cache_fork(cache, a, &b));
    assert_int_equal(fattn_kv_cache_extend(cache, b, 3),
                     FATTN_E_NOMEM); /* the copy takes the last block */
    assert_non_null(strstr(fattn_error_message(), "2 more tokens would fit"));
    assert_int_equal(fattn_kv_cache_extend(cache, a, INT64_MAX), FATTN_E_NOMEM);
    check_ok(fattn_kv_cache_extend(cache, b, 2));
    assert_int_equal(fattn_kv_cache_extend(cache, b, 1), FATTN_E_NOMEM);
    check_ok(fattn_kv_cache_extend(cache, a, 2));
    assert_int_equal(fattn_kv_cache_length(cache, a), 16);
    fattn_kv_cache_destroy(cache);
}

static void test_write(void **state)
{
    (void)state;
    static rows data;
    fattn_kv_cache_options o = small(8, 4, 4);
    o.n_layers = 2;
    fattn_kv_cache *cache = new_cache(&o);
    fattn_tensor key, value;
    int64_t a, b;
    check_ok(fattn_kv_cache_add(cache, &a));
    check_ok(fattn_kv_cache_extend(cache, a, 6));
    set_rows(&data, (const int[]){1, 2, 3, 4, 5, 6}, 6);
    check_ok(fattn_kv_cache_write(cache, -1, a, 0, &data.t_key, &data.t_value));
    set_rows(&data, (const int[]){7, 8}, 2);
    check_ok(fattn_kv_cache_write(cache, 1, a, 3, &data.t_key, &data.t_value));
    const int want[2][6] = {{1, 2, 3, 4, 5, 6}, {1, 2, 3, 7, 8, 6}};
    for (int64_t layer = 0; layer < 2; layer++) {
        check_ok(fattn_kv_cache_tensors(cache, layer, &key, &value));
        assert_int_equal(key.rank, 3);
        assert_int_equal(key.shape[2], HEADS * DIM);
        assert_int_equal(value.shape[2], HEADS * VALUE_DIM);
        for (int64_t t = 0; t < 6; t++)
            assert_true(cell(&o, &key, t / 4, t % 4, 1, 1, DIM) == key_of(want[layer][t], 1, 1));
    }
    check_ok(fattn_kv_cache_fork(cache, a, &b));
    set_rows(&data, (const int[]){9}, 1);
    assert_int_equal(fattn_kv_cache_write(cache, 0, b, 5, &data.t_key, &data.t_value), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "shares"));
    check_ok(fattn_kv_cache_extend(cache, b, 1)); /* the last block is b's own now */
    check_ok(fattn_kv_cache_write(cache, 0, b, 5, &data.t_key, &data.t_value));
    assert_int_equal(fattn_kv_cache_write(cache, 0, b, 2, &data.t_key, &data.t_value), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_write(cache, 0, b, 7, &data.t_key, &data.t_value), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_write(cache, 0, b, -1, &data.t_key, &data.t_value),
                     FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_write(cache, 2, b, 6, &data.t_key, &data.t_value), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_write(cache, -2, b, 6, &data.t_key, &data.t_value),
                     FATTN_E_ARG);
    check_ok(fattn_kv_cache_tensors(cache, 0, &key, NULL));
    assert_true(cell(&o, &key, 1, 1, 0, 0, DIM) == key_of(6, 0, 0)); /* a's row is a's */
    fattn_kv_cache_destroy(cache);
}

/* Rows that come transposed ([H, T, D] in memory) and reversed. */
static void test_strided_rows(void **state)
{
    (void)state;
    static rows data;
    fattn_kv_cache_options o = small(4, 4, 2);
    o.layout = FATTN_CACHE_BNNBSD;
    fattn_kv_cache *cache = new_cache(&o);
    float key[HEADS * 3 * DIM], value[HEADS * 3 * VALUE_DIM];
    int64_t a;
    set_rows(&data, (const int[]){1, 2, 3}, 3);
    for (int64_t t = 0; t < 3; t++)
        for (int64_t h = 0; h < HEADS; h++) {
            for (int64_t d = 0; d < DIM; d++)
                key[(h * 3 + t) * DIM + DIM - 1 - d] = key_of((int)t + 1, h, d);
            for (int64_t d = 0; d < VALUE_DIM; d++)
                value[(h * 3 + t) * VALUE_DIM + d] = value_of((int)t + 1, h, d);
        }
    data.t_key.data = key + DIM - 1;
    data.t_key.strides[0] = DIM, data.t_key.strides[1] = 3 * DIM, data.t_key.strides[2] = -1;
    data.t_value.data = value;
    data.t_value.strides[0] = VALUE_DIM, data.t_value.strides[1] = 3 * VALUE_DIM;
    check_ok(fattn_kv_cache_add(cache, &a));
    check_ok(fattn_kv_cache_append(cache, a, &data.t_key, &data.t_value));
    fattn_tensor t_key, t_value;
    check_ok(fattn_kv_cache_tensors(cache, 0, &t_key, &t_value));
    assert_int_equal(t_key.rank, 4);
    for (int64_t t = 0; t < 3; t++)
        for (int64_t h = 0; h < HEADS; h++) {
            for (int64_t d = 0; d < DIM; d++)
                assert_true(cell(&o, &t_key, 0, t, h, d, DIM) == key_of((int)t + 1, h, d));
            for (int64_t d = 0; d < VALUE_DIM; d++)
                assert_true(cell(&o, &t_value, 0, t, h, d, VALUE_DIM) ==
                            value_of((int)t + 1, h, d));
        }
    fattn_kv_cache_destroy(cache);
}

static void expect_create(const fattn_kv_cache_options *o, fattn_status status, const char *word)
{
    fattn_kv_cache *cache = NULL;
    const fattn_status got = fattn_kv_cache_create(NULL, o, &cache);
    if (got != status || !strstr(fattn_error_message(), word))
        fail_msg("wanted \"%s\", got %s: %s", word, fattn_status_name(got), fattn_error_message());
    assert_null(cache);
}

static void test_bad_options(void **state)
{
    (void)state;
    const fattn_kv_cache_options good = small(4, 4, 4);
    fattn_kv_cache_options o = good;
    assert_int_equal(fattn_kv_cache_create(NULL, NULL, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_create(NULL, &good, NULL), FATTN_E_ARG);
    o.size = 0, expect_create(&o, FATTN_E_ARG, "options_init"), o = good;
    o.dtype = FATTN_I32, expect_create(&o, FATTN_E_DTYPE, "dtype"), o = good;
    o.layout = (fattn_cache_layout)2, expect_create(&o, FATTN_E_ARG, "layout"), o = good;
    const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX};
    for (int i = 0; i < 4; i++) {
        o.n_blocks = bad[i], expect_create(&o, FATTN_E_ARG, "n_blocks"), o = good;
        o.block_size = bad[i], expect_create(&o, FATTN_E_ARG, "block_size"), o = good;
        o.n_kv_heads = bad[i], expect_create(&o, FATTN_E_ARG, "n_kv_heads"), o = good;
        o.head_dim = bad[i], expect_create(&o, FATTN_E_ARG, "head_dim"), o = good;
        o.n_layers = bad[i], expect_create(&o, FATTN_E_ARG, "n_layers"), o = good;
        o.max_sequences = bad[i], expect_create(&o, FATTN_E_ARG, "max_sequences"), o = good;
    }
    o.value_head_dim = -1, expect_create(&o, FATTN_E_ARG, "value_head_dim"), o = good;
    o.n_blocks = o.block_size = o.head_dim = INT32_MAX; /* overflows */
    expect_create(&o, FATTN_E_NOMEM, "out of memory");
    o = good;
    o.n_blocks = INT32_MAX, o.block_size = 1 << 20,
    o.n_layers = 2; /* fits 63 bits, not the machine */
    expect_create(&o, FATTN_E_NOMEM, "out of memory");
}

static void test_bad_calls(void **state)
{
    (void)state;
    static rows data;
    fattn_kv_cache_options o = small(4, 4, 4);
    fattn_kv_cache *cache = new_cache(&o);
    int64_t a, slots[8], table[8];
    const int64_t two = 2;
    fattn_tensor t_slots = fattn_tensor_contiguous(slots, FATTN_I64, 1, &two);
    fattn_tensor t_table = fattn_tensor_contiguous(table, FATTN_I64, 2, (const int64_t[]){1, 1});
    fattn_kv_cache_usage usage = {0};
    check_ok(fattn_kv_cache_add(cache, &a));
    check_ok(fattn_kv_cache_extend(cache, a, 6));

    const int64_t unknown[] = {-1, 1, 4, INT64_MAX, INT64_MIN};
    for (int i = 0; i < 5; i++) {
        int64_t id;
        assert_int_equal(fattn_kv_cache_free(cache, unknown[i]), FATTN_E_ARG);
        assert_int_equal(fattn_kv_cache_fork(cache, unknown[i], &id), FATTN_E_ARG);
        assert_int_equal(fattn_kv_cache_extend(cache, unknown[i], 1), FATTN_E_ARG);
        assert_int_equal(fattn_kv_cache_truncate(cache, unknown[i], 0), FATTN_E_ARG);
        assert_int_equal(fattn_kv_cache_length(cache, unknown[i]), -1);
    }
    assert_int_equal(fattn_kv_cache_add(NULL, &a), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_add(cache, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_fork(cache, a, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_extend(NULL, a, 1), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_extend(cache, a, -1), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_truncate(cache, a, 7), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_truncate(cache, a, -1), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_length(NULL, a), -1);
    assert_int_equal(fattn_kv_cache_tensors(cache, 1, NULL, NULL), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_get_usage(cache, &usage), FATTN_E_ARG); /* size not set */
    assert_int_equal(fattn_kv_cache_get_usage(cache, NULL), FATTN_E_ARG);

    slots[0] = table[0] = 77;
    assert_int_equal(fattn_kv_cache_slot_mapping(cache, a, 5, 2, &t_slots), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_slot_mapping(cache, a, 0, 3, &t_slots), FATTN_E_SHAPE);
    assert_int_equal(fattn_kv_cache_slot_mapping(cache, a, INT64_MAX, INT64_MAX, &t_slots),
                     FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_slot_mapping(cache, a, 0, 2, NULL), FATTN_E_ARG);
    t_slots.dtype = FATTN_F32;
    assert_int_equal(fattn_kv_cache_slot_mapping(cache, a, 0, 2, &t_slots), FATTN_E_DTYPE);
    assert_int_equal(fattn_kv_cache_block_table(cache, &a, 1, &t_table),
                     FATTN_E_SHAPE); /* needs 2 */
    assert_int_equal(fattn_kv_cache_block_table(cache, &a, 2, &t_table), FATTN_E_SHAPE);
    assert_int_equal(fattn_kv_cache_block_table(cache, NULL, 1, &t_table), FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_block_table(cache, unknown, 1, &t_table), FATTN_E_ARG);
    assert_int_equal(slots[0], 77);
    assert_int_equal(table[0], 77);

    set_rows(&data, (const int[]){1}, 1);
    data.t_key.dtype = FATTN_F16;
    assert_int_equal(fattn_kv_cache_append(cache, a, &data.t_key, &data.t_value), FATTN_E_DTYPE);
    set_rows(&data, (const int[]){1}, 1);
    data.t_value.shape[2] = DIM;
    assert_int_equal(fattn_kv_cache_append(cache, a, &data.t_key, &data.t_value), FATTN_E_SHAPE);
    set_rows(&data, (const int[]){1}, 1);
    data.t_key.shape[0] = 2;
    assert_int_equal(fattn_kv_cache_append(cache, a, &data.t_key, &data.t_value), FATTN_E_SHAPE);
    assert_int_equal(fattn_kv_cache_append(cache, a, NULL, &data.t_value), FATTN_E_ARG);
    set_rows(&data, (const int[]){1}, 1);
    data.t_key.data = NULL;
    assert_int_not_equal(fattn_kv_cache_append(cache, a, &data.t_key, &data.t_value), FATTN_OK);
    assert_int_equal(fattn_kv_cache_length(cache, a), 6);
    fattn_kv_cache_destroy(cache);
    fattn_kv_cache_destroy(NULL);
}

typedef struct counter {
    int live, calls, fail_at;
} counter;

static void *count_alloc(void *self, size_t bytes)
{
    counter *c = self;
    if (++c->calls == c->fail_at) return NULL;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    c->live += memory != NULL;
    return memory;
}

static void count_free_call(void *self, void *memory)
{
    ((counter *)self)->live--;
    free(memory);
}

/* A life of a cache; every step is tried again once after a failure, which must then work. */
static bool live(fattn_context *context, counter *c)
{
    const fattn_kv_cache_options o = small(40, 2, 4);
    fattn_kv_cache *cache = NULL;
    int64_t a = -1, b = -1;
    fattn_status status = fattn_kv_cache_create(context, &o, &cache);
    if (status != FATTN_OK) {
        assert_int_equal(status, FATTN_E_NOMEM);
        assert_null(cache);
        return false;
    }
    check_ok(fattn_kv_cache_add(cache, &a));
    for (int64_t tokens = 1; tokens <= 33; tokens += 4) {
        const int64_t before = fattn_kv_cache_length(cache, a);
        if (fattn_kv_cache_extend(cache, a, 4) == FATTN_OK) continue;
        assert_int_equal(fattn_kv_cache_length(cache, a), before);
        check_ok(fattn_kv_cache_extend(cache, a, 4));
    }
    if (fattn_kv_cache_fork(cache, a, &b) != FATTN_OK) {
        assert_int_equal(b, -1);
        check_ok(fattn_kv_cache_fork(cache, a, &b));
    }
    assert_int_equal(fattn_kv_cache_length(cache, b), 36);
    fattn_kv_cache_usage usage = {.size = sizeof usage};
    check_ok(fattn_kv_cache_get_usage(cache, &usage));
    assert_int_equal(usage.shared_blocks, 18);
    fattn_kv_cache_destroy(cache);
    return c->fail_at == 0 || c->calls < c->fail_at;
}

static void test_every_allocation_fails_once(void **state)
{
    (void)state;
    counter c = {0};
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 1;
    options.allocator = (fattn_allocator){&c, count_alloc, count_free_call};
    check_ok(fattn_context_create(&context, &options));
    const int at_rest = c.live;
    int n = 0;
    bool whole = false;
    while (!whole) {
        c.calls = 0;
        c.fail_at = ++n;
        whole = live(context, &c);
        assert_int_equal(c.live, at_rest);
    }
    assert_true(n > 8);
    fattn_context_destroy(context);
    assert_int_equal(c.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_full_pool),
        cmocka_unit_test(test_lowest_first_in_a_large_pool),
        cmocka_unit_test(test_write),
        cmocka_unit_test(test_strided_rows),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_bad_calls),
        cmocka_unit_test(test_every_allocation_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
