/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c — the plan as a property: every row is finished once and every visible (row, key) pair is
 * computed exactly once, by brute force over random problems; splits sit at fixed keys; sizes are
 * exact. */
#include "cpu/plan.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../core/rng.h"
#include "base/ints.h"
#include "cpu/isa.h"
#include "sample.h"

static const sample_limits limits = {
    .q_len = 90, .kv_len = 700, .group = 5, .n_kv_heads = 2, .d = 5, .empty_rows = true};
static const storage plain = {.col_stride = 1};

/* The scalar row with short splits, so that small problems have many. */
static fattn_kernels short_splits(uint64_t seed)
{
    fattn_kernels kernels = *kernels_for(ISA_SCALAR);
    kernels.split_keys = seed % 2 ? TILE_KEYS : 2 * TILE_KEYS;
    return kernels;
}

typedef struct planned {
    sample s;
    fattn_kernels kernels;
    fattn_arena arena;
    fattn_cpu_plan plan;
    fattn_context *context;
} planned;

static void planned_make(planned *x, uint64_t seed, int threads)
{
    sample_make(&x->s, seed, FATTN_F32, &limits, &plain);
    /* decode-like lengths often: that is where splits are */
    for (int b = 0; b < x->s.p.n_seqs && seed % 3; b++)
        x->s.seqs[b].q_len = i64_min(x->s.seqs[b].q_len, (int64_t)(seed % 19));
    x->kernels = short_splits(seed);
    x->context = sample_context("scalar", 1);
    x->arena = (fattn_arena){.allocator = &x->context->allocator};
    assert_int_equal(plan_make(&x->plan, &x->s.p, &x->kernels, NULL, threads, &x->arena), FATTN_OK);
}

static void planned_free(planned *x)
{
    arena_free(&x->arena);
    fattn_context_destroy(x->context);
    sample_free(&x->s);
}

/* Counts of one (sequence, query head): pairs[i][j] and how often row i is finished. */
typedef struct tally {
    int *pairs, *finished;
} tally;

static void count_work(const planned *x, const fattn_work *w, tally *counts)
{
    const fattn_seq *seq = &x->s.seqs[w->seq];
    for (int32_t r = 0; r < w->rows; r++) {
        const int64_t packed = w->row0 + r, i = packed / x->s.p.group;
        const int64_t head = w->kv_head * x->s.p.group + packed % x->s.p.group;
        tally *t = &counts[w->seq * x->s.p.n_heads + head];
        const bool first_split = w->merge < 0 || w->partial == x->plan.merges[w->merge].partial;
        t->finished[i] += first_split;
        for (int64_t j = w->k0; j < w->k1; j++) t->pairs[i * seq->kv_len + j]++;
    }
}

static void check_tally(const planned *x, int b, int64_t head, const tally *t)
{
    const fattn_seq *seq = &x->s.seqs[b];
    for (int64_t i = 0; i < seq->q_len; i++) {
        if (t->finished[i] != 1)
            fail_msg("seq %d head %lld row %lld finished %d times: %s", b, (long long)head,
                     (long long)i, t->finished[i], sample_print(&x->s));
        for (int64_t j = 0; j < seq->kv_len; j++) {
            const int n = t->pairs[i * seq->kv_len + j];
            if (n > 1 || (n == 0 && sample_sees(&x->s, b, head, i, j)))
                fail_msg("seq %d head %lld pair (%lld, %lld) computed %d times: %s", b,
                         (long long)head, (long long)i, (long long)j, n, sample_print(&x->s));
        }
    }
}

static void every_pair_once(void **state)
{
    (void)state;
    int64_t splits = 0, pairs = 0;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        planned x;
        planned_make(&x, seed, (int)(seed % 7) + 1);
        const int64_t n_heads = x.s.p.n_heads;
        tally *counts = calloc((size_t)(x.s.p.n_seqs * n_heads), sizeof *counts);
        for (int64_t t = 0; t < x.s.p.n_seqs * n_heads; t++) {
            const fattn_seq *seq = &x.s.seqs[t / n_heads];
            counts[t].finished = calloc((size_t)seq->q_len + 1, sizeof(int));
            counts[t].pairs = calloc((size_t)(seq->q_len * seq->kv_len) + 1, sizeof(int));
            pairs += seq->q_len * seq->kv_len;
        }
        int64_t dots = 0;
        for (int64_t w = 0; w < x.plan.n_works; w++) {
            count_work(&x, &x.plan.works[w], counts);
            dots += x.plan.works[w].dot;
        }
        assert_int_equal(x.plan.n_dots, dots);
        for (int64_t t = 0; t < x.s.p.n_seqs * n_heads; t++) {
            check_tally(&x, (int)(t / n_heads), t % n_heads, &counts[t]);
            free(counts[t].finished);
            free(counts[t].pairs);
        }
        splits += x.plan.n_merges;
        free(counts);
        planned_free(&x);
    }
    assert_true(splits > 100 && pairs > 1000000); /* the property was put to the test */
}

/* Borders at multiples of split_keys, and only where the sequence's own lengths ask for them; an item
 * knows how many splits it reaches over, and only dot items reach over several. */
static void fixed_borders(void **state)
{
    (void)state;
    int64_t several = 0;
    for (uint64_t seed = 1; seed <= 250; seed++) {
        planned x;
        planned_make(&x, seed, 1);
        const int64_t split = x.kernels.split_keys;
        for (int64_t n = 0; n < x.plan.n_works; n++) {
            const fattn_work *w = &x.plan.works[n];
            const fattn_seq *seq = &x.s.seqs[w->seq];
            const bool whole = w->merge < 0;
            if (!whole && seq->q_len > SPLIT_Q_LEN)
                fail_msg("prefill is split: %s", sample_print(&x.s));
            const int64_t last = w->k1 > w->k0 ? w->k1 - 1 : w->k0;
            const int64_t splits = last / split - w->k0 / split + 1;
            if (seq->q_len <= SPLIT_Q_LEN && (splits != w->splits || (splits > 1 && whole)))
                fail_msg("keys %lld..%lld are not %d splits of %lld: %s", (long long)w->k0,
                         (long long)w->k1, w->splits, (long long)split, sample_print(&x.s));
            if (whole || !w->dot) assert_int_equal(w->splits, 1);
            if (!whole && w->partial != x.plan.merges[w->merge].partial)
                assert_int_equal(w->k0 % split, 0);
            several += splits > 1 && !whole;
            if (w->dot != (seq->q_len * x.s.p.group < x.kernels.dot_rows))
                fail_msg("wrong kernel family: %s", sample_print(&x.s));
            if (w->row0 % TILE_ROWS != 0 || w->rows > TILE_ROWS * x.kernels.panels)
                fail_msg("panels are cut: %s", sample_print(&x.s));
        }
        planned_free(&x);
    }
    assert_true(several > 20);
}

/* Partial states do not overlap, lie in key order and fill the workspace's share exactly. */
static void partial_slots(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        planned x;
        planned_make(&x, seed, 2);
        int64_t end = 0;
        for (int64_t m = 0; m < x.plan.n_merges; m++) {
            const fattn_merge *merge = &x.plan.merges[m];
            assert_int_equal(merge->partial, end);
            assert_true(merge->parts >= 2);
            int64_t found = 0;
            for (int64_t n = 0; n < x.plan.n_works; n++) {
                const fattn_work *w = &x.plan.works[n];
                if (w->merge != m) continue;
                const int64_t slot = (w->partial - merge->partial) / merge->stride;
                const int64_t first = x.plan.works[n].k0 / x.kernels.split_keys;
                assert_int_equal(merge->partial + slot * merge->stride, w->partial);
                assert_in_range(slot, 0, merge->parts - w->splits);
                assert_true(slot == 0 || first >= slot); /* key order: one split further per slot */
                assert_true((size_t)merge->stride >= state_floats(w->rows, x.s.p.d_v));
                found += w->splits;
            }
            assert_int_equal(found, merge->parts);
            end = merge->partial + merge->parts * merge->stride;
        }
        assert_true(x.plan.partials_at == 2 * x.plan.scratch_bytes);
        assert_true(x.plan.countdowns_at >= x.plan.partials_at + (size_t)end * sizeof(float));
        assert_true(x.plan.countdowns_at < x.plan.partials_at + (size_t)end * sizeof(float) + 64);
        planned_free(&x);
    }
}

/* Biggest first, up to the width of a cost class. */
static void biggest_first(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        planned x;
        planned_make(&x, seed, 3);
        for (int64_t n = 1; n < x.plan.n_works; n++) {
            const fattn_work *a = &x.plan.works[n - 1], *b = &x.plan.works[n];
            const double before = 1.0 + (double)a->rows * (double)(a->k1 - a->k0);
            const double after = 1.0 + (double)b->rows * (double)(b->k1 - b->k0);
            if (after > 1.26 * before) fail_msg("item %lld: %s", (long long)n, sample_print(&x.s));
        }
        planned_free(&x);
    }
}

/* Lengths nobody can have: a status, no loop over them. */
static void absurd_lengths(void **state)
{
    (void)state;
    static const int64_t lengths[][2] = {{INT64_C(1) << 62, INT64_C(1) << 62},
                                         {1, INT64_C(1) << 62},
                                         {INT64_C(1) << 40, 1},
                                         {INT64_MAX, 0}};
    fattn_context *context = sample_context("scalar", 1);
    for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) {
        fattn_arena arena = {.allocator = &context->allocator};
        fattn_seq seq = {.q_len = lengths[n][0], .kv_len = lengths[n][1], .band_hi = INT64_MAX};
        const fattn_problem p = {.n_heads = 4,
                                 .n_kv_heads = 2,
                                 .group = 2,
                                 .d_qk = 8,
                                 .d_v = 8,
                                 .seqs = &seq,
                                 .n_seqs = 1};
        fattn_cpu_plan plan;
        assert_int_equal(plan_make(&plan, &p, kernels_for(ISA_SCALAR), NULL, 2, &arena), FATTN_E_NOMEM);
        assert_non_null(strstr(fattn_error_message(), "out of memory"));
        arena_free(&arena);
    }
    fattn_context_destroy(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_once), cmocka_unit_test(fixed_borders),
        cmocka_unit_test(partial_slots),   cmocka_unit_test(biggest_first),
        cmocka_unit_test(absurd_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
