/* SPDX-License-Identifier: Apache-2.0 */
/* caches.c — garbage for the paged cache. One lives through random steps, most of them nonsense; a
 * step that fails leaves it as it was. */
#include "garbage/nonsense.h"

#include <stdio.h>

enum { CACHES = 60, STEPS = 400, SEQUENCES = 6, BLOCKS = 9, OPTIONS = 20000, LARGEST = 256 << 20 };

static meter memory;

static void test_garbage_cache_options(void **state)
{
    (void)state;
    fattn_context_options c;
    fattn_context_options_init(&c);
    meter_init(&memory, LARGEST / 64, true);
    memory.most = 500;
    c.allocator = meter_allocator(&memory);
    c.threads = 1;
    fattn_context *context;
    assert_int_equal(fattn_context_create(&context, &c), FATTN_OK);
    const long live = atomic_load(&memory.live);
    fenced slot = fenced_new(4096);
    fattn_kv_cache_options *o = (void *)(fenced_end(&slot) - sizeof *o);
    long good = 0;
    for (uint64_t n = 0; n < OPTIONS; n++) {
        source s = source_seeded(n);
        fattn_kv_cache_options_init(o);
        o->dtype = FATTN_F16;
        o->n_blocks = 4, o->n_kv_heads = 2, o->head_dim = 8, o->max_sequences = 3;
        int64_t *fields[] = {&o->n_layers, &o->n_blocks,       &o->block_size,   &o->n_kv_heads,
                             &o->head_dim, &o->value_head_dim, &o->max_sequences};
        const int how = source_pick(&s, 10);
        if (how < 7) *fields[how] = source_nasty(&s);
        if (how < 7 && source_pick(&s, 2)) *fields[source_pick(&s, 7)] = source_nasty(&s);
        if (how == 7) o->dtype = (fattn_dtype)nasty_int(&s);
        if (how == 8) o->layout = (fattn_cache_layout)nasty_int(&s);
        if (how == 9)
            o->size = (size_t[]){0, 1, sizeof *o - 8, SIZE_MAX, 1 << 20}[source_pick(&s, 5)];
        fattn_kv_cache *cache;
        memset(&cache, CANARY, sizeof cache);
        forget_message();
        const fattn_status status = fattn_kv_cache_create(context, o, &cache);
        check_status(status, "kv_cache_create");
        if (status != FATTN_OK && !is_canary(&cache, sizeof cache))
            fail_msg("%llu: handle touched", (unsigned long long)n);
        if (status == FATTN_OK) fattn_kv_cache_destroy(cache), good++;
        if (atomic_load(&memory.live) != live) fail_msg("%llu: leak", (unsigned long long)n);
    }
    assert_true(good > 500 && good < 19500);
    assert_int_equal(fattn_kv_cache_create(context, NULL, NULL), FATTN_E_ARG);
    fenced_free(&slot);
    fattn_context_destroy(context);
}

/* A cache with all that it shows of itself, to compare before and after. */
typedef struct view {
    fattn_kv_cache_usage usage;
    int64_t lengths[SEQUENCES], table[SEQUENCES][BLOCKS];
} view;

static void look(const fattn_kv_cache *cache, view *v)
{
    memset(v, 0, sizeof *v);
    v->usage.size = sizeof v->usage;
    assert_int_equal(fattn_kv_cache_get_usage(cache, &v->usage), FATTN_OK);
    for (int64_t i = 0; i < SEQUENCES; i++) {
        const fattn_tensor row =
            fattn_tensor_contiguous(v->table[i], FATTN_I64, 2, (const int64_t[]){1, BLOCKS});
        v->lengths[i] = fattn_kv_cache_length(cache, i);
        if (v->lengths[i] >= 0)
            assert_int_equal(fattn_kv_cache_block_table(cache, &i, 1, &row), FATTN_OK);
    }
}

typedef struct life {
    fattn_kv_cache *cache;
    source s;
    fenced rows, out; /* rows: read-only data of new tokens */
    char log[160];
} life;

static int64_t some_sequence(life *l)
{
    return source_pick(&l->s, 6) ? source_pick(&l->s, SEQUENCES) : source_nasty(&l->s);
}

static int64_t some_count(life *l)
{
    return source_pick(&l->s, 5) ? source_pick(&l->s, 12) : source_nasty(&l->s);
}

/* [n, 2, 4] f32 in the middle of the rows, damaged half of the time. Every claim beyond that memory
 * is one that must be refused before it is believed. */
static fattn_tensor some_rows(life *l, int64_t n)
{
    fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F32, 3, (const int64_t[]){n, 2, 4});
    t.data = l->rows.base + l->rows.capacity / 2;
    if (n < 0 || n > 64) t.data = wild_middle();
    switch (source_pick(&l->s, 14)) {
    case 0:
        t.data = NULL;
        break;
    case 1:
        t.rank = nasty_int(&l->s);
        break;
    case 2:
        t.dtype = (fattn_dtype)nasty_int(&l->s);
        break;
    case 3:
        t.shape[source_pick(&l->s, 3)] = source_nasty(&l->s);
        t.data = wild_middle();
        if (t.shape[1] == 2 && t.shape[2] == 4 && t.shape[0] >= 0 && t.shape[0] <= 64)
            t.data = l->rows.base + l->rows.capacity / 2;
        break;
    case 4:
        t.strides[source_pick(&l->s, 3)] *= -1;
        break;
    case 5:
        t.strides[source_pick(&l->s, 3)] = 0;
        break;
    case 6:
        if (n > 1) t.strides[0] = INT64_MAX - source_pick(&l->s, 3); /* spans more than memory */
        break;
    default:
        break;
    }
    return t;
}

/* A tensor for block tables or slots; NULL now and then. */
static const fattn_tensor *some_output(life *l, fattn_tensor *t, int rank, int64_t rows,
                                       int64_t cols)
{
    *t = fattn_tensor_contiguous(NULL, source_pick(&l->s, 2) ? FATTN_I32 : FATTN_I64, rank,
                                 (const int64_t[]){rows, cols});
    t->data = wild_middle();
    if (rows >= 0 && rows <= 64 && cols >= 0 && cols <= 64)
        t->data = fenced_end(&l->out) -
                  (size_t)(rows * (rank == 2 ? cols : 1)) * fattn_dtype_size(t->dtype);
    switch (source_pick(&l->s, 12)) {
    case 0:
        return NULL;
    case 1:
        t->data = NULL;
        break;
    case 2:
        t->rank = nasty_int(&l->s);
        break;
    case 3:
        t->dtype = (fattn_dtype)nasty_int(&l->s);
        break;
    case 4:
        t->strides[0] = 0;
        break;
    case 5: /* another number of rows than was asked for */
        t->shape[0] = source_nasty(&l->s);
        if (t->shape[0] != rows) t->data = wild_middle();
        break;
    default:
        break;
    }
    return t;
}

static fattn_status read_step(life *l, bool *empty)
{
    int64_t ids[4];
    fattn_tensor t, u;
    const int n = source_pick(&l->s, 4);
    const int64_t first = some_count(l), many = some_count(l);
    *empty = false;
    switch (source_pick(&l->s, 3)) {
    case 0:
        for (int i = 0; i < n; i++) ids[i] = some_sequence(l);
        snprintf(l->log, sizeof l->log, "block_table of %d", n);
        return fattn_kv_cache_block_table(l->cache, source_pick(&l->s, 10) ? ids : NULL,
                                          source_pick(&l->s, 10) ? n : -1 - n,
                                          some_output(l, &t, 2, n, source_pick(&l->s, 10)));
    case 1:
        snprintf(l->log, sizeof l->log, "slot_mapping of %lld from %lld", (long long)many,
                 (long long)first);
        return fattn_kv_cache_slot_mapping(l->cache, some_sequence(l), first, many,
                                           some_output(l, &t, 1, many, 0));
    default:
        snprintf(l->log, sizeof l->log, "tensors of layer %lld", (long long)first);
        return fattn_kv_cache_tensors(l->cache, first, &t, source_pick(&l->s, 2) ? &u : NULL);
    }
}

static fattn_status write_step(life *l, int64_t *id)
{
    const int64_t sequence = some_sequence(l), n = some_count(l), first = some_count(l);
    const fattn_tensor key = some_rows(l, n), value = some_rows(l, n);
    const int what = source_pick(&l->s, 8);
    static const char *const names[] = {"add",    "fork",  "free",     "extend",
                                        "append", "write", "truncate", "append NULL"};
    snprintf(l->log, sizeof l->log, "%s sequence %lld, %lld, %lld", names[what],
             (long long)sequence, (long long)n, (long long)first);
    switch (what) {
    case 0:
        return fattn_kv_cache_add(l->cache, id);
    case 1:
        return fattn_kv_cache_fork(l->cache, sequence, id);
    case 2:
        return source_pick(&l->s, 3) ? FATTN_OK : fattn_kv_cache_free(l->cache, sequence);
    case 3:
        return fattn_kv_cache_extend(l->cache, sequence, n);
    case 4:
        return fattn_kv_cache_append(l->cache, sequence, &key, &value);
    case 5:
        return fattn_kv_cache_write(l->cache, source_pick(&l->s, 5) - 1, sequence, first, &key,
                                    &value);
    case 6:
        return fattn_kv_cache_truncate(l->cache, sequence, n);
    default:
        return fattn_kv_cache_append(l->cache, sequence, source_pick(&l->s, 2) ? &key : NULL, NULL);
    }
}

static long good_steps, bad_steps;

static void one_step(life *l)
{
    view before, after;
    int64_t id;
    bool empty;
    look(l->cache, &before);
    memset(&id, CANARY, sizeof id);
    memset(l->out.base, CANARY, l->out.capacity);
    forget_message();
    const bool reads = source_pick(&l->s, 4) == 0;
    const fattn_status status = reads ? read_step(l, &empty) : write_step(l, &id);
    check_status(status, l->log);
    look(l->cache, &after);
    if (status == FATTN_OK) {
        good_steps++;
        if (reads) assert_memory_equal(&before, &after, sizeof before);
        return;
    }
    bad_steps++;
    if (memcmp(&before, &after, sizeof before) != 0) fail_msg("%s: the cache changed", l->log);
    if (!is_canary(&id, sizeof id) || !is_canary(l->out.base, l->out.capacity))
        fail_msg("%s: output touched on error", l->log);
}

static void one_life(life *l, fattn_context *context, uint64_t seed)
{
    fattn_kv_cache_options o;
    l->s = source_seeded(seed);
    fattn_kv_cache_options_init(&o);
    o.layout = seed % 2 ? FATTN_CACHE_BNBSH : FATTN_CACHE_BNNBSD;
    o.dtype = FATTN_F32;
    o.n_layers = 1 + (int64_t)(seed % 3);
    o.n_blocks = BLOCKS, o.block_size = 1 + (int64_t)(seed % 5), o.n_kv_heads = 2, o.head_dim = 4;
    o.max_sequences = SEQUENCES;
    assert_int_equal(fattn_kv_cache_create(context, &o, &l->cache), FATTN_OK);
    for (int i = 0; i < STEPS; i++) one_step(l);
    for (int64_t i = 0; i < SEQUENCES; i++) fattn_kv_cache_free(l->cache, i);
    view end;
    look(l->cache, &end);
    assert_int_equal(end.usage.free_blocks, BLOCKS);
    assert_int_equal(end.usage.sequences + end.usage.tokens + end.usage.shared_blocks, 0);
    fattn_kv_cache_destroy(l->cache);
}

static void test_garbage_cache_steps(void **state)
{
    (void)state;
    fattn_context_options o;
    fattn_context_options_init(&o);
    meter_init(&memory, LARGEST, true);
    o.allocator = meter_allocator(&memory);
    o.threads = 1;
    fattn_context *context;
    assert_int_equal(fattn_context_create(&context, &o), FATTN_OK);
    const long live = atomic_load(&memory.live);
    life l = {.rows = fenced_new(64 * 1024), .out = fenced_new(40 * 1024)};
    for (uint64_t seed = 0; seed < CACHES; seed++) one_life(&l, context, seed);
    printf("%ld good steps, %ld bad ones\n", good_steps, bad_steps);
    assert_true(good_steps > 2000 && bad_steps > 2000);
    assert_int_equal(atomic_load(&memory.live), live);
    fattn_context_destroy(context);
    fenced_free(&l.rows);
    fenced_free(&l.out);
}

static void test_cache_without_a_cache(void **state)
{
    (void)state;
    int64_t id = 0;
    fattn_tensor t = fattn_tensor_contiguous(NULL, FATTN_F32, 0, NULL);
    fattn_kv_cache_usage usage = {.size = sizeof usage};
    const fattn_status all[] = {
        fattn_kv_cache_add(NULL, &id),
        fattn_kv_cache_fork(NULL, 0, &id),
        fattn_kv_cache_free(NULL, 0),
        fattn_kv_cache_extend(NULL, 0, 1),
        fattn_kv_cache_append(NULL, 0, &t, &t),
        fattn_kv_cache_write(NULL, 0, 0, 0, &t, &t),
        fattn_kv_cache_truncate(NULL, 0, 0),
        fattn_kv_cache_tensors(NULL, 0, &t, &t),
        fattn_kv_cache_block_table(NULL, &id, 1, &t),
        fattn_kv_cache_slot_mapping(NULL, 0, 0, 0, &t),
        fattn_kv_cache_get_usage(NULL, &usage),
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) assert_int_equal(all[i], FATTN_E_ARG);
    assert_int_equal(fattn_kv_cache_length(NULL, 0), -1);
    fattn_kv_cache_destroy(NULL);
    fattn_kv_cache_options_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_garbage_cache_options),
        cmocka_unit_test(test_garbage_cache_steps),
        cmocka_unit_test(test_cache_without_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
