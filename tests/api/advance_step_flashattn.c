/* SPDX-License-Identifier: Apache-2.0 */
/* advance_step_flashattn.c — the hand vectors of the spec (inference 18), the vendor's cases
 * against goldens transcribed here from 12.2, 12.3 and 12.4, int32, strides, and errors that touch
 * nothing. */
#include "cm.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "fattn/fattn.h"

enum { ROWS = 128, TABLE = 4096 };

/* One call's integers, contiguous int64, and the tensors over them. */
typedef struct step {
    int64_t tokens[ROWS], positions[ROWS], lens[ROWS], slots[ROWS];  /* in/out */
    int64_t sampled[ROWS], table[TABLE], spec[ROWS], accepted[ROWS]; /* in */
    fattn_tensor t_tokens, t_positions, t_lens, t_slots, t_sampled, t_table, t_spec, t_accepted;
    fattn_advance_step_flashattn_args args;
} step;

static fattn_tensor vector(int64_t *data, int64_t n)
{
    return fattn_tensor_contiguous(data, FATTN_I64, 1, &n);
}

static fattn_tensor matrix(int64_t *data, int64_t rows, int64_t columns)
{
    return fattn_tensor_contiguous(data, FATTN_I64, 2, (const int64_t[]){rows, columns});
}

/* k 0: plain. The tensors point into *s, which must not move afterwards. */
static void bind(step *s, int64_t num_seqs, int64_t num_queries, int64_t block_size, int64_t m,
                 int64_t k)
{
    const int64_t rows = k ? num_seqs * k : num_seqs;
    s->t_tokens = vector(s->tokens, rows);
    s->t_positions = vector(s->positions, rows);
    s->t_lens = vector(s->lens, rows);
    s->t_slots = vector(s->slots, rows);
    s->t_sampled = k ? matrix(s->sampled, num_seqs, k) : matrix(s->sampled, num_queries, 1);
    s->t_table = matrix(s->table, num_seqs, m);
    fattn_advance_step_flashattn_args_init(&s->args);
    s->args.input_tokens = &s->t_tokens;
    s->args.input_positions = &s->t_positions;
    s->args.seq_lens = &s->t_lens;
    s->args.slot_mapping = &s->t_slots;
    s->args.sampled_token_ids = &s->t_sampled;
    s->args.block_tables = &s->t_table;
    s->args.num_seqs = num_seqs;
    s->args.num_queries = num_queries;
    s->args.block_size = block_size;
    if (k == 0) return;
    s->t_spec = matrix(s->spec, num_seqs, k - 1);
    s->t_accepted = vector(s->accepted, num_seqs);
    s->args.spec_token = &s->t_spec;
    s->args.accepted_num = &s->t_accepted;
}

static void fill(step *s, rng *r)
{
    int64_t *const lists[] = {s->tokens,  s->positions, s->lens,    s->slots,
                              s->sampled, s->spec,      s->accepted};
    for (size_t l = 0; l < sizeof lists / sizeof lists[0]; l++)
        for (int i = 0; i < ROWS; i++) lists[l][i] = rng_between(r, 5, 49);
    for (int i = 0; i < TABLE; i++) s->table[i] = rng_between(r, 5, 49);
}

static fattn_context *strict_context;

static int set_up(void **state)
{
    (void)state;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.strict = 1;
    return fattn_context_create(&strict_context, &options) == FATTN_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    fattn_context_destroy(strict_context);
    return 0;
}

static void check_ok(fattn_status status)
{
    if (status != FATTN_OK) fail_msg("%s: %s", fattn_status_name(status), fattn_error_message());
}

static void check_list(const char *what, const int64_t *got, const int64_t *want, int64_t n,
                       uint64_t seed)
{
    for (int64_t i = 0; i < n; i++)
        if (got[i] != want[i])
            fail_msg("seed %llu: %s[%lld] is %lld, want %lld", (unsigned long long)seed, what,
                     (long long)i, (long long)got[i], (long long)want[i]);
}

static void check_same(const step *got, const step *want, uint64_t seed)
{
    check_list("input_tokens", got->tokens, want->tokens, ROWS, seed);
    check_list("input_positions", got->positions, want->positions, ROWS, seed);
    check_list("seq_lens", got->lens, want->lens, ROWS, seed);
    check_list("slot_mapping", got->slots, want->slots, ROWS, seed);
    check_list("sampled_token_ids", got->sampled, want->sampled, ROWS, seed);
    check_list("block_tables", got->table, want->table, TABLE, seed);
    check_list("spec_token", got->spec, want->spec, ROWS, seed);
    check_list("accepted_num", got->accepted, want->accepted, ROWS, seed);
}

static void set_plain_hand(step *s)
{
    static const int64_t table[] = {10, 11, 12, 20, 21, 22, 30, 31, 32};
    memset(s, 0, sizeof *s);
    bind(s, 3, 2, 4, 3, 0);
    memcpy(s->table, table, sizeof table);
    s->lens[0] = 5, s->lens[1] = 8, s->lens[2] = 7;
    s->sampled[0] = 100, s->sampled[1] = 200;
    for (int i = 0; i < 3; i++) s->tokens[i] = s->positions[i] = s->slots[i] = -77;
}

static void test_plain_by_hand(void **state)
{
    (void)state;
    static step s;
    set_plain_hand(&s);
    check_ok(fattn_advance_step_flashattn(NULL, &s.args));
    check_list("tokens", s.tokens, (const int64_t[]){100, 200, 0}, 3, 0);
    check_list("positions", s.positions, (const int64_t[]){5, 8, 0}, 3, 0);
    check_list("seq_lens", s.lens, (const int64_t[]){6, 9, 7}, 3, 0);
    check_list("slots", s.slots, (const int64_t[]){45, 88, -1}, 3, 0);
}

static void test_strict_by_hand(void **state)
{
    (void)state;
    static step s;
    set_plain_hand(&s);
    check_ok(fattn_advance_step_flashattn(strict_context, &s.args));
    check_list("positions", s.positions, (const int64_t[]){5, 8, 0}, 3, 0);
    check_list("seq_lens", s.lens, (const int64_t[]){6, 9, 7}, 3, 0);
    check_list("slots", s.slots, (const int64_t[]){45, 60, -1}, 3, 0);
}

static void test_speculative_by_hand(void **state)
{
    (void)state;
    static step s;
    static const int64_t table[] = {20, 21, 22, 23};
    for (int strict = 0; strict < 2; strict++) {
        memset(&s, 0, sizeof s);
        bind(&s, 1, 1, 4, 4, 3);
        memcpy(s.table, table, sizeof table);
        s.sampled[0] = 7, s.sampled[1] = 9, s.sampled[2] = -1;
        s.accepted[0] = 1;
        s.positions[0] = 10, s.positions[1] = 11, s.positions[2] = 12;
        s.spec[0] = 501, s.spec[1] = 502;
        check_ok(fattn_advance_step_flashattn(strict ? strict_context : NULL, &s.args));
        check_list("tokens", s.tokens, (const int64_t[]){9, 501, 502}, 3, 0);
        check_list("positions", s.positions, (const int64_t[]){12, 13, 14}, 3, 0);
        check_list("seq_lens", s.lens, (const int64_t[]){13, 14, 15}, 3, 0);
        check_list("slots", s.slots, (const int64_t[]){92, 93, 94}, 3, 0);
    }
}

/* 12.2 */
static void golden_default(step *s, int64_t m)
{
    const int64_t bs = s->args.block_size;
    for (int64_t i = 0; i < s->args.num_queries; i++) {
        const int64_t pos = s->lens[i];
        s->tokens[i] = s->sampled[i];
        s->positions[i] = pos;
        s->lens[i] = pos + 1;
        s->slots[i] = s->table[i * m + pos / bs] * bs + pos % bs;
    }
    for (int64_t i = s->args.num_queries; i < s->args.num_seqs; i++)
        s->tokens[i] = 0, s->positions[i] = 0, s->slots[i] = -1;
}

/* 12.3: the device with C vector cores */
static void golden_device(step *s, int64_t m, int64_t cores)
{
    const int64_t bs = s->args.block_size;
    for (int64_t core = 0; core < cores; core++) {
        if (core >= s->args.num_queries) continue;
        const int64_t pos = s->lens[core];
        s->tokens[core] = s->sampled[core];
        s->positions[core] = pos;
        s->lens[core] = pos + 1;
        s->slots[core] = (s->table[pos / bs] + m * core) * bs + pos % bs;
    }
    for (int64_t i = s->args.num_queries; i < s->args.num_seqs; i += cores)
        s->tokens[i] = 0, s->positions[i] = 0, s->slots[i] = -1;
}

static int64_t largest(const int64_t *x, int64_t n)
{
    int64_t top = x[0];
    for (int64_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

/* The vendor's own plain cases (14.4), under both rules, and with few cores. */
static void test_plain_goldens(void **state)
{
    (void)state;
    static step s, want;
    for (uint64_t seed = 1; seed <= 70; seed++) {
        const int64_t i = (int64_t)(seed - 1) % 7, num_seqs = 2 * i + 2, bs = i + 1;
        rng r = rng_new(seed);
        fill(&s, &r);
        const int64_t m = largest(s.lens, num_seqs) / bs + 1;
        const int64_t cores = seed <= 7 ? 40 : rng_between(&r, 1, 9);
        const bool strict = seed % 2 || seed <= 7;
        bind(&s, num_seqs, i + 1, bs, m, 0);
        s.args.core_count = cores;
        want = s;
        if (strict)
            golden_device(&want, m, cores);
        else
            golden_default(&want, m);
        check_ok(fattn_advance_step_flashattn(strict ? strict_context : NULL, &s.args));
        check_same(&s, &want, seed);
    }
}

/* 12.4, as its golden would be written with lists */
static void golden_speculative(step *s, int64_t m, int64_t k)
{
    const int64_t bs = s->args.block_size;
    for (int64_t r = 0; r < s->args.num_seqs; r++) {
        int64_t row[ROWS + 1], q = 0;
        for (int64_t t = 0; t < k; t++) row[t] = s->sampled[r * k + t];
        row[k] = -1;
        for (int64_t t = 1; t <= k; t++)
            if (row[t] < row[q]) q = t;
        const int64_t last = s->sampled[r * k + (q - 1 + k) % k]; /* -1 wraps */
        for (int64_t t = 0; t < k; t++) {
            const int64_t e = r * k + t;
            s->positions[e] += s->accepted[r] + 1;
            s->lens[e] = s->positions[e] + 1;
            s->tokens[e] = t == 0 ? last : s->spec[r * (k - 1) + t - 1];
            s->slots[e] = s->table[r * m + s->positions[e] / bs] * bs + s->positions[e] % bs;
        }
    }
}

static void test_speculative_goldens(void **state)
{
    (void)state;
    static step s, want;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        const int64_t num_seqs = 2 * ((int64_t)seed % 7) + 2,
                      k = seed <= 7 ? 4 : 2 + (int64_t)seed % 4;
        const int64_t m = 20;
        rng r = rng_new(seed);
        fill(&s, &r);
        for (int64_t i = 0; seed > 7 && i < num_seqs; i++) { /* rows that end early, even at once */
            const int64_t from = rng_between(&r, 0, k);
            const int64_t to = seed % 3 ? k : from + 1; /* or only one -1, others behind it */
            for (int64_t t = from; t < to && t < k; t++) s.sampled[i * k + t] = -1;
        }
        bind(&s, num_seqs, num_seqs, 8, m, k);
        want = s;
        golden_speculative(&want, m, k);
        check_ok(fattn_advance_step_flashattn(seed % 2 ? strict_context : NULL, &s.args));
        check_same(&s, &want, seed);
    }
}

/* seq_lens, slot_mapping and block_tables as int32, everything with strides, one of them negative.
 */
static void test_int32_and_strides(void **state)
{
    (void)state;
    static step s, want;
    static int64_t tokens[3 * ROWS], positions[2 * ROWS];
    static int32_t lens[2 * ROWS], slots[ROWS], table[2 * TABLE];
    const int64_t n = 6, queries = 4, bs = 3, m = 17;
    rng r = rng_new(11);
    fill(&s, &r);
    bind(&s, n, queries, bs, m, 0);
    want = s;
    golden_default(&want, m);

    for (int64_t i = 0; i < n; i++) {
        lens[2 * i] = (int32_t)s.lens[i];
        lens[2 * i + 1] = -9;
        for (int64_t c = 0; c < m; c++)
            table[c * n + i] = (int32_t)s.table[i * m + c]; /* transposed */
    }
    s.t_tokens.data = tokens, s.t_tokens.strides[0] = 3;
    s.t_positions.data = positions + 2 * (n - 1), s.t_positions.strides[0] = -2;
    s.t_lens.data = lens, s.t_lens.dtype = FATTN_I32, s.t_lens.strides[0] = 2;
    s.t_slots.data = slots, s.t_slots.dtype = FATTN_I32;
    s.t_table.data = table, s.t_table.dtype = FATTN_I32;
    s.t_table.strides[0] = 1, s.t_table.strides[1] = n;
    check_ok(fattn_advance_step_flashattn(NULL, &s.args));
    for (int64_t i = 0; i < n; i++) {
        assert_int_equal(tokens[3 * i], want.tokens[i]);
        assert_int_equal(positions[2 * (n - 1 - i)], want.positions[i]);
        assert_int_equal(lens[2 * i], want.lens[i]);
        assert_int_equal(lens[2 * i + 1], -9);
        assert_int_equal(slots[i], want.slots[i]);
        assert_int_equal(tokens[3 * i + 1], 0);
    }
}

static void test_all_rows_carry_requests(void **state)
{
    (void)state;
    static step s;
    set_plain_hand(&s);
    s.args.num_seqs = 2;
    bind(&s, 2, 2, 4, 3, 0);
    const step before = s;
    assert_int_equal(fattn_advance_step_flashattn(strict_context, &s.args), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "num_queries"));
    check_same(&s, &before, 0);
    check_ok(fattn_advance_step_flashattn(NULL, &s.args));
    check_list("slots", s.slots, (const int64_t[]){45, 88}, 2, 0);
}

static step *broken; /* what the cases below put a fault into */

static void table_entry_negative(void) { broken->table[5] = -1; } /* row 1, position 8 */
static void beyond_the_table(void) { broken->lens[1] = 12; }
static void negative_length(void) { broken->lens[1] = -1; }
static void length_at_the_end(void) { broken->lens[0] = INT64_MAX; }
static void slot_overflows(void) { broken->table[5] = INT64_MAX / 2; }
static void no_sequences(void) { broken->args.num_seqs = 0; }
static void too_many_sequences(void) { broken->args.num_seqs = 200000000; }
static void no_queries(void) { broken->args.num_queries = 0; }
static void too_many_queries(void) { broken->args.num_queries = 4; }
static void no_block_size(void) { broken->args.block_size = 0; }
static void negative_block_size(void) { broken->args.block_size = INT64_MIN; }
static void no_cores(void) { broken->args.core_count = 0; }
static void spec_alone(void)
{
    broken->t_spec = matrix(broken->spec, 3, 2);
    broken->args.spec_token = &broken->t_spec;
}
static void accepted_alone(void)
{
    broken->t_accepted = vector(broken->accepted, 3);
    broken->args.accepted_num = &broken->t_accepted;
}
static void tokens_missing(void) { broken->args.input_tokens = NULL; }
static void table_missing(void) { broken->args.block_tables = NULL; }
static void not_initialised(void) { broken->args.size = 0; }
static void lens_too_short(void) { broken->t_lens.shape[0] = 2; }
static void tokens_of_rank_2(void) { broken->t_tokens = matrix(broken->tokens, 3, 1); }
static void table_of_rank_1(void) { broken->t_table = vector(broken->table, 9); }
static void table_rows_missing(void) { broken->t_table.shape[0] = 2; }
static void sampled_of_rank_1(void) { broken->t_sampled = vector(broken->sampled, 2); }
static void tokens_int32(void) { broken->t_tokens.dtype = FATTN_I32; }
static void lens_float(void) { broken->t_lens.dtype = FATTN_F32; }
static void slots_on_one_place(void) { broken->t_slots.strides[0] = 0; }

static void test_errors_touch_nothing(void **state)
{
    (void)state;
    static const struct {
        void (*damage)(void);
        fattn_status status;
        const char *word;
    } cases[] = {
        {table_entry_negative, FATTN_E_ARG, "block_tables"},
        {beyond_the_table, FATTN_E_ARG, "block_tables"},
        {negative_length, FATTN_E_ARG, "seq_lens: entry 1 is -1; lengths are in 0.."},
        {length_at_the_end, FATTN_E_ARG, "seq_lens"},
        {slot_overflows, FATTN_E_ARG, "slot_mapping"},
        {no_sequences, FATTN_E_ARG, "num_seqs"},
        {too_many_sequences, FATTN_E_ARG, "num_seqs"},
        {no_queries, FATTN_E_ARG, "num_queries"},
        {too_many_queries, FATTN_E_ARG, "num_queries"},
        {no_block_size, FATTN_E_ARG, "block_size"},
        {negative_block_size, FATTN_E_ARG, "block_size"},
        {no_cores, FATTN_E_ARG, "core_count"},
        {spec_alone, FATTN_E_ARG, "accepted_num"},
        {accepted_alone, FATTN_E_ARG, "spec_token"},
        {tokens_missing, FATTN_E_ARG, "input_tokens"},
        {table_missing, FATTN_E_ARG, "block_tables"},
        {not_initialised, FATTN_E_ARG, "args_init"},
        {lens_too_short, FATTN_E_SHAPE, "seq_lens"},
        {tokens_of_rank_2, FATTN_E_SHAPE, "input_tokens"},
        {table_of_rank_1, FATTN_E_SHAPE, "block_tables"},
        {table_rows_missing, FATTN_E_SHAPE, "block_tables"},
        {sampled_of_rank_1, FATTN_E_SHAPE, "sampled_token_ids"},
        {tokens_int32, FATTN_E_DTYPE, "input_tokens"},
        {lens_float, FATTN_E_DTYPE, "seq_lens"},
        {slots_on_one_place, FATTN_E_SHAPE, "slot_mapping"},
    };
    static step s, before;
    broken = &s;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_plain_hand(&s);
        cases[i].damage();
        before = s;
        const fattn_status status = fattn_advance_step_flashattn(NULL, &s.args);
        if (status != cases[i].status || !strstr(fattn_error_message(), cases[i].word))
            fail_msg("case %zu: %s: %s", i, fattn_status_name(status), fattn_error_message());
        check_same(&s, &before, i);
    }
    assert_int_equal(fattn_advance_step_flashattn(NULL, NULL), FATTN_E_ARG);
}

/* A fault in the last row must not leave the first ones advanced; int32 results have int32 limits.
 */
static void test_limits_of_int32(void **state)
{
    (void)state;
    static step s;
    int32_t lens[] = {5, INT32_MAX, 7}, slots[] = {-3, -3, -3};
    set_plain_hand(&s);
    s.t_lens.data = lens, s.t_lens.dtype = FATTN_I32;
    s.t_slots.data = slots, s.t_slots.dtype = FATTN_I32;
    assert_int_equal(fattn_advance_step_flashattn(NULL, &s.args), FATTN_E_ARG);
    assert_int_equal(lens[0], 5);
    lens[1] = 8;
    s.table[5] = INT32_MAX / 4 + 1; /* times block_size 4 */
    assert_int_equal(fattn_advance_step_flashattn(NULL, &s.args), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "slot_mapping"));
    assert_int_equal(slots[0], -3);
    assert_int_equal(s.tokens[0], -77);
}

static void test_speculative_errors(void **state)
{
    (void)state;
    static step s, before;
    for (int fault = 0; fault < 5; fault++) {
        rng r = rng_new(3);
        fill(&s, &r);
        bind(&s, 2, 2, 8, 20, 3);
        if (fault == 0) s.positions[5] = INT64_MAX - 3;
        if (fault == 1) s.positions[5] = -100;
        if (fault == 2) s.positions[5] = 400;
        if (fault == 3) s.t_spec.shape[0] = 1;
        if (fault == 4)
            s.t_spec.shape[1] = INT64_MAX, s.t_spec.strides[1] = 0, s.t_spec.shape[0] = 1;
        before = s;
        assert_int_not_equal(fattn_advance_step_flashattn(NULL, &s.args), FATTN_OK);
        check_same(&s, &before, (uint64_t)fault);
    }
}

/* Tensors without elements count as absent. */
static void test_empty_spec_is_plain(void **state)
{
    (void)state;
    static step s;
    set_plain_hand(&s);
    s.t_spec = matrix(s.spec, 3, 0);
    s.t_accepted = vector(s.accepted, 0);
    s.args.spec_token = &s.t_spec;
    s.args.accepted_num = &s.t_accepted;
    check_ok(fattn_advance_step_flashattn(NULL, &s.args));
    check_list("slots", s.slots, (const int64_t[]){45, 88, -1}, 3, 0);
}

static void test_plan_and_workspace(void **state)
{
    (void)state;
    static step s;
    fattn_plan *plan = NULL;
    size_t bytes = 99;
    set_plain_hand(&s);
    check_ok(fattn_advance_step_flashattn_workspace(NULL, &s.args, &bytes));
    assert_int_equal(bytes, 0);
    check_ok(fattn_advance_step_flashattn_shapes(NULL, &s.args, NULL));
    check_ok(fattn_advance_step_flashattn_plan(NULL, &s.args, &plan));
    check_ok(fattn_plan_run(plan, &s.args, NULL, 0));
    check_list("seq_lens", s.lens, (const int64_t[]){6, 9, 7}, 3, 0);
    check_ok(fattn_plan_run(plan, &s.args, NULL, 0));
    check_list("seq_lens", s.lens, (const int64_t[]){7, 10, 7}, 3, 0);
    fattn_plan_destroy(plan);

    s.args.block_size = 0;
    assert_int_equal(fattn_advance_step_flashattn_workspace(NULL, &s.args, &bytes), FATTN_E_ARG);
    assert_int_equal(fattn_advance_step_flashattn_plan(NULL, &s.args, &plan), FATTN_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_by_hand),           cmocka_unit_test(test_strict_by_hand),
        cmocka_unit_test(test_speculative_by_hand),     cmocka_unit_test(test_plain_goldens),
        cmocka_unit_test(test_speculative_goldens),     cmocka_unit_test(test_int32_and_strides),
        cmocka_unit_test(test_all_rows_carry_requests), cmocka_unit_test(test_errors_touch_nothing),
        cmocka_unit_test(test_limits_of_int32),         cmocka_unit_test(test_speculative_errors),
        cmocka_unit_test(test_empty_spec_is_plain),     cmocka_unit_test(test_plan_and_workspace),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
