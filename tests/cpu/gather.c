/* SPDX-License-Identifier: Apache-2.0 */
/* gather.c — tiles, runs and packed queries of random layouts, pages, parts and strides, against
 * the values they were stored from. */
#include "cpu/gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/half.h"
#include "base/ints.h"
#include "cpu/isa.h"
#include "sample.h"

enum { ROUNDS = 300 };

static const fattn_dtype dtypes[] = {FATTN_F32, FATTN_F16, FATTN_BF16};
static const sample_limits limits = {
    .q_len = 70, .kv_len = 200, .group = 3, .n_kv_heads = 3, .d = 70};

static storage random_storage(rng *r)
{
    static const int64_t pages[] = {0, 0, 1, 3, 16, 64, 128}, chunks[] = {0, 0, 0, 16, 32, 5};
    return (storage){.packed = rng_between(r, 0, 1),
                     .heads_first = rng_between(r, 0, 1),
                     .gap = rng_between(r, 0, 2) ? 0 : rng_between(r, 1, 5),
                     .col_stride = rng_between(r, 0, 3) ? 1 : 2,
                     .page_rows = pages[rng_between(r, 0, 6)],
                     .wide_table = rng_between(r, 0, 1),
                     .chunk = chunks[rng_between(r, 0, 5)],
                     .shared = rng_between(r, 0, 2) == 0,
                     .list = rng_between(r, 0, 3) == 0};
}

static float widen(const char *at, fattn_dtype dtype)
{
    float value;
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    if (dtype == FATTN_F16) return half_from_f16(bits);
    if (dtype == FATTN_BF16) return half_from_bf16(bits);
    memcpy(&value, at, sizeof value);
    return value;
}

/* An item over the first rows of a sequence, with scratch of its own. */
typedef struct bench {
    sample s;
    fattn_work work;
    fattn_scratch scratch;
    fattn_item item;
    void *memory;
    int seq;
} bench;

static void bench_make_with(bench *b, const fattn_kernels *kernels, uint64_t seed,
                            fattn_dtype dtype, const storage *how)
{
    rng r = rng_new(seed ^ 76);
    sample_make(&b->s, seed, dtype, &limits, how);
    b->seq = (int)rng_between(&r, 0, b->s.p.n_seqs - 1);
    const fattn_scratch_layout layout = {
        .rows = TILE_ROWS, .d_qk = b->s.p.d_qk, .d_v = b->s.p.d_v, .bias = true};
    const size_t bytes = scratch_bind(&b->scratch, &layout, NULL);
    b->memory = aligned_alloc(64, bytes);
    memset(b->memory, 0xff, bytes); /* NaN: padding that is not written shows */
    assert_int_equal(scratch_bind(&b->scratch, &layout, b->memory), bytes);
    b->work = (fattn_work){.seq = b->seq, .kv_head = (int32_t)rng_between(&r, 0, b->s.p.n_kv_heads - 1)};
    b->item = (fattn_item){.p = &b->s.p,
                           .ptrs = &b->s.ptrs,
                           .kernels = kernels,
                           .seq = &b->s.seqs[b->seq],
                           .work = &b->work,
                           .scratch = &b->scratch};
}

static void bench_make(bench *b, const fattn_kernels *kernels, uint64_t seed)
{
    rng r = rng_new(seed ^ 77);
    const storage how = random_storage(&r);
    bench_make_with(b, kernels, seed, dtypes[seed % 3], &how);
}

static void bench_free(bench *b)
{
    free(b->memory);
    sample_free(&b->s);
}

static void check(const bench *b, float got, float want, const char *what, int64_t row, int64_t c)
{
    if (got != want)
        fail_msg("%s row %lld column %lld: %g, not %g; %s %s", what, (long long)row, (long long)c,
                 (double)got, (double)want, b->item.kernels->name, sample_print(&b->s));
}

static float key_value(const bench *b, int64_t j, int64_t c)
{
    return b->s.k[b->seq][(b->work.kv_head * b->item.seq->kv_len + j) * b->s.p.d_qk + c];
}

static float value_value(const bench *b, int64_t j, int64_t c)
{
    return b->s.v[b->seq][(b->work.kv_head * b->item.seq->kv_len + j) * b->s.p.d_v + c];
}

static void check_tiles(const bench *b, int64_t j, int n)
{
    const fattn_source keys = gather_keys(&b->item), values = gather_values(&b->item);
    const fattn_scratch *s = &b->scratch;
    const fattn_tile k = gather_tile(&keys, b->item.kernels, j, n, false, s->k, s->ldk);
    const fattn_tile v = gather_tile(&values, b->item.kernels, j, n, true, s->v, s->ldo);
    for (int row = 0; row < n; row++) {
        for (int64_t c = 0; c < b->s.p.d_qk; c++)
            check(b, k.at[row * k.ld + c], key_value(b, j + row, c), "k tile", j + row, c);
        for (int64_t c = 0; c < s->ldo; c++)
            check(b, v.at[row * v.ld + c], c < b->s.p.d_v ? value_value(b, j + row, c) : 0.0f,
                  "v tile", j + row, c);
    }
}

static void check_runs(const bench *b, const fattn_source *source, int64_t j, int n, bool keys)
{
    const int64_t d = keys ? b->s.p.d_qk : b->s.p.d_v;
    const fattn_scratch *scratch = &b->scratch;
    fattn_runs runs;
    gather_runs(source, b->item.kernels, j, n, keys ? scratch->k : scratch->v,
                keys ? scratch->ldk : scratch->ldo, &runs);
    const fattn_dtype dtype = runs.kernel == KERNEL_F32 ? FATTN_F32 : source->view->dtype;
    int seen = 0;
    for (int i = 0; i < runs.count; i++) {
        const fattn_run *run = &runs.run[i];
        assert_int_equal(run->first, seen);
        assert_true(run->chunk % LANES_MAX == 0);
        for (int row = 0; row < run->n; row++, seen++)
            for (int64_t c = 0; c < d; c++) {
                const int64_t column =
                    run->chunk ? c / run->chunk * run->stride + c % run->chunk : c;
                const char *at =
                    run->at + (row * run->ld + column) * (int64_t)fattn_dtype_size(dtype);
                check(b, widen(at, dtype),
                      keys ? key_value(b, j + seen, c) : value_value(b, j + seen, c), "run",
                      j + seen, c);
            }
    }
    assert_int_equal(seen, n);
}

static void check_queries(const bench *b, int64_t r0, int n)
{
    const fattn_scratch *s = &b->scratch;
    const int64_t d = b->s.p.d_qk, group = b->s.p.group;
    const int lanes = b->item.kernels->lanes;
    float *qt = aligned_alloc(64, (size_t)(s->ldk * TILE_ROWS) * sizeof(float));
    const fattn_rows queries = gather_queries(&b->item);
    gather_panel(&b->item, &queries, r0, n, 0.5f, qt);
    if (n <= DOT_ROWS) gather_rows(&b->item, &queries, r0, n, s->q, s->ldk);
    for (int row = 0; row < n; row++) {
        const int64_t head = b->work.kv_head * group + (r0 + row) % group;
        const float *want = b->s.q[b->seq] + (head * b->item.seq->q_len + (r0 + row) / group) * d;
        for (int64_t c = 0; c < d; c++)
            check(b, qt[c * TILE_ROWS + row], 0.5f * want[c], "qt", r0 + row, c);
        for (int64_t c = 0; c < s->ldk && n <= DOT_ROWS; c++)
            check(b, s->q[row * s->ldk + c], c < d ? want[c] : 0.0f, "q", r0 + row, c);
    }
    for (int lane = n; lane < (n + lanes - 1) / lanes * lanes; lane++)
        for (int64_t c = 0; c < d; c++) check(b, qt[c * TILE_ROWS + lane], 0.0f, "qt pad", lane, c);
    free(qt);
}

static void random_views(void **state)
{
    (void)state;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        if (!isa_available((fattn_isa)isa) || !kernels_for((fattn_isa)isa)) continue;
        for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
            bench b;
            bench_make(&b, kernels_for((fattn_isa)isa), seed);
            rng r = rng_new(seed ^ 5);
            const fattn_source keys = gather_keys(&b.item), values = gather_values(&b.item);
            const int64_t j = rng_between(&r, 0, b.item.seq->kv_len - 1);
            const int n = (int)rng_between(&r, 1, i64_min(TILE_KEYS, b.item.seq->kv_len - j));
            check_tiles(&b, j, n);
            check_runs(&b, &keys, j, n, true);
            check_runs(&b, &values, j, n, false);
            const int64_t rows = b.item.seq->q_len * b.s.p.group;
            const int64_t r0 = rng_between(&r, 0, rows - 1);
            check_queries(&b, r0, (int)rng_between(&r, 1, i64_min(TILE_ROWS, rows - r0)));
            bench_free(&b);
        }
    }
}

static int copied(const storage *how, fattn_dtype dtype, uint64_t seed)
{
    bench b;
    bench_make_with(&b, kernels_for(ISA_SCALAR), seed, dtype, how);
    const fattn_source keys = gather_keys(&b.item), values = gather_values(&b.item);
    const int n = (int)i64_min(TILE_KEYS, b.item.seq->kv_len);
    int copies = 0;
    fattn_runs runs;
    gather_runs(&keys, b.item.kernels, 0, n, b.scratch.k, b.scratch.ldk, &runs);
    copies += b.s.p.k.n_parts == 1 && runs.run[0].at == (const char *)b.scratch.k;
    gather_runs(&values, b.item.kernels, 0, n, b.scratch.v, b.scratch.ldo, &runs);
    copies += runs.run[0].at == (const char *)b.scratch.v;
    bench_free(&b);
    return copies;
}

/* Decode reads rows where they lie, whatever ends a span, and strips of whole vectors; it copies
 * nothing. */
static void never_copied(void **state)
{
    (void)state;
    static const storage readable[] = {
        {.col_stride = 1},
        {.col_stride = 1, .gap = 3, .page_rows = 7},
        {.col_stride = 1, .page_rows = 16, .chunk = 16},
        {.col_stride = 1, .chunk = 32},
        {.col_stride = 1, .shared = true},
        {.col_stride = 1, .shared = true, .page_rows = 3, .chunk = 16},
        {.col_stride = 1, .list = true, .shared = true}};
    static const storage others[] = {{.col_stride = 2}, {.col_stride = 1, .chunk = 5}};
    int copies = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        const fattn_dtype dtype = dtypes[seed % 3];
        for (size_t n = 0; n < sizeof readable / sizeof *readable; n++)
            if (copied(&readable[n], dtype, seed)) fail_msg("storage %zu seed %d", n, (int)seed);
        for (size_t n = 0; n < sizeof others / sizeof *others; n++)
            copies += copied(&others[n], dtype, seed);
    }
    assert_true(copies > 60); /* the question has two answers */
}

/* Contiguous fp32 is used where it lies. */
static void in_place(void **state)
{
    (void)state;
    const storage plain = {.heads_first = true, .col_stride = 1};
    const fattn_kernels *kernels = kernels_for(ISA_SCALAR);
    int found = 0;
    for (uint64_t seed = 3; seed < 300; seed += 3) { /* seed % 3 == 0: fp32 */
        sample s;
        sample_make(&s, seed, FATTN_F32, &limits, &plain);
        if (s.p.k.n_parts == 1) {
            fattn_work work = {0};
            fattn_scratch scratch = {0};
            const fattn_item item = {.p = &s.p,
                                     .ptrs = &s.ptrs,
                                     .kernels = kernels,
                                     .seq = &s.seqs[0],
                                     .work = &work,
                                     .scratch = &scratch};
            const fattn_source keys = gather_keys(&item);
            const fattn_tile k = gather_tile(&keys, kernels, 0, 1, false, NULL, 0);
            assert_ptr_equal(k.at, sample_k_at(&s, 0, 0, 0, 0));
            assert_int_equal(k.ld, s.p.d_qk);
            found++;
        }
        sample_free(&s);
    }
    assert_true(found > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_views),
        cmocka_unit_test(never_copied),
        cmocka_unit_test(in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
