/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.c — block ids are data from outside: a bad one that a row needs is an error and nothing is
 * written; one that nobody needs may be anything. For calls, plans made before, and verify. */
#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/call.h"

enum { CANARY = 0xa5 };

/* Sequence lengths per row of the table, and which entries they use: ceil(length / block_size). */
typedef struct table_case {
    const char *line, *table;
    int rows, cols, block_size, lengths[4];
} table_case;

static const table_case cases[] = {
    {"incre_flash_attention input_layout=BSND num_heads=2 num_key_value_heads=1 query=bf16[3,1,2,8]"
     " key=bf16[8,4,8] value=bf16[8,4,8] block_table=i32[3,3] block_size=4 "
     "actual_seq_lengths=9,0,5",
     "block_table",
     3,
     3,
     4,
     {9, 0, 5}},
    {"incre_flash_attention input_layout=BNSD num_heads=2 num_key_value_heads=2 query=f32[2,2,1,8]"
     " key=f32[6,2,4,8] value=f32[6,2,4,8] block_table=i64[2,3] block_size=4 "
     "actual_seq_lengths=4,5",
     "block_table",
     2,
     3,
     4,
     {4, 5}},
    {"fused_infer_attention_score input_layout=TND num_heads=2 query=f16[6,2,8] key=f16[6,4,16]"
     " value=f16[6,4,16] actual_seq_lengths=2,6 actual_seq_lengths_kv=5,8 block_table=i32[2,3]"
     " block_size=4 sparse_mode=3",
     "block_table",
     2,
     3,
     4,
     {5, 8}},
    {"fused_infer_attention_score input_layout=BNSD num_heads=4 num_key_value_heads=2"
     " query=f32[2,4,3,8] key=f32[7,2,4,8] value=f32[7,2,4,8] actual_seq_lengths_kv=6,9"
     " block_table=i64[2,4] block_size=4 softmax_lse_flag=true",
     "block_table",
     2,
     4,
     4,
     {6, 9}},
};

static const int64_t bad[] = {-1,      -2,        INT32_MIN, INT32_MAX,       8,
                              1000000, INT64_MIN, INT64_MAX, INT64_C(1) << 32};
enum { BAD = sizeof bad / sizeof bad[0] };

static call_tensor *table_of(call *c, const char *name)
{
    for (int i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensors[i].field->name, name) == 0) return &c->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static bool used(const table_case *k, int row, int col)
{
    return col * k->block_size < k->lengths[row];
}

/* A snapshot of all output slots. */
static unsigned char *outputs_of(const call *c, size_t *n)
{
    *n = 0;
    for (int i = 0; i < c->n_tensors; i++)
        if (!is_input(&c->tensors[i])) *n += c->tensors[i].slot.capacity;
    unsigned char *all = malloc(*n), *at = all;
    assert_non_null(all);
    for (int i = 0; i < c->n_tensors; i++) {
        if (is_input(&c->tensors[i])) continue;
        memcpy(at, c->tensors[i].slot.base, c->tensors[i].slot.capacity);
        at += c->tensors[i].slot.capacity;
    }
    return all;
}

static void refused(call *c, fattn_plan *plan, const table_case *k)
{
    fattn_verify_report report = {.size = sizeof report};
    for (int how = 0; how < 3; how++) {
        call_arm(c, CANARY);
        const fattn_status status = how == 0   ? c->op->call(NULL, c->args)
                                    : how == 1 ? fattn_plan_run(plan, c->args, NULL, 0)
                                               : fattn_verify(NULL, c->op, c->args, &report);
        if (status != FATTN_E_ARG || !strstr(fattn_error_message(), k->table))
            fail_msg("how %d: status %d, %s\n%s\n%s", how, (int)status, fattn_error_message(),
                     c->text, c->log);
        if (!call_untouched(c, CANARY))
            fail_msg("how %d: output touched\n%s\n%s", how, c->text, c->log);
    }
}

static void harmless(call *c, fattn_plan *plan, const unsigned char *right, size_t n)
{
    for (int how = 0; how < 2; how++) {
        size_t n_now;
        call_arm(c, CANARY);
        const fattn_status status =
            how == 0 ? c->op->call(NULL, c->args) : fattn_plan_run(plan, c->args, NULL, 0);
        if (status != FATTN_OK) fail_msg("%s\n%s\n%s", fattn_error_message(), c->text, c->log);
        unsigned char *now = outputs_of(c, &n_now);
        if (n_now != n || memcmp(now, right, n) != 0)
            fail_msg("other bits\n%s\n%s", c->text, c->log);
        free(now);
    }
}

static void every_entry(const table_case *k)
{
    call *c = call_new(k->line, NULL);
    fattn_plan *plan = NULL;
    size_t n;
    assert_non_null(c);
    assert_int_equal(c->op->plan(NULL, c->args, &plan), FATTN_OK);
    call_arm(c, CANARY);
    assert_int_equal(c->op->call(NULL, c->args), FATTN_OK);
    unsigned char *right = outputs_of(c, &n);
    call_tensor *table = table_of(c, k->table);
    const int64_t blocks = table_of(c, "key")->legal.shape[0];
    for (int row = 0; row < k->rows; row++)
        for (int col = 0; col < k->cols; col++)
            for (int i = 0; i < BAD; i++) {
                const int64_t id = bad[i] == 8 ? blocks : bad[i]; /* the first that is too large */
                const int64_t read = table->legal.dtype == FATTN_I32 ? (int32_t)id : id;
                if (read >= 0 && read < blocks) continue; /* narrowed to a good one */
                call_restore(c);
                call_patch(table, (size_t)(k->rows * k->cols - 1 - row * k->cols - col), id);
                call_note(c, "%s[%d,%d] = %lld", k->table, row, col, (long long)read);
                if (used(k, row, col))
                    refused(c, plan, k);
                else
                    harmless(c, plan, right, n);
            }
    free(right);
    fattn_plan_destroy(plan);
    call_free(c);
}

static void test_every_entry_of_every_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) every_entry(&cases[i]);
}

/* The lengths decide what is used: one more key needs one more entry, and the sentence says where.
 */
static void test_the_sentence_names_the_place(void **state)
{
    (void)state;
    call *c = call_new(cases[1].line, NULL);
    assert_non_null(c);
    call_patch(table_of(c, "block_table"), 1, 77); /* row 1, column 1 */
    assert_int_equal(c->op->call(NULL, c->args), FATTN_E_ARG);
    assert_non_null(strstr(fattn_error_message(), "77"));
    assert_non_null(strstr(fattn_error_message(), "block_table"));
    call_free(c);
}

/* advance_step: entries that a row needs must not be negative, others may hold anything. */
static void test_advance_step(void **state)
{
    (void)state;
    const char *line = "advance_step_flashattn num_seqs=3 num_queries=2 block_size=4"
                       " input_tokens=i64[3] sampled_token_ids=i64[2,1] input_positions=i64[3]"
                       " seq_lens=i64[3]{5,9,1} slot_mapping=i64[3] block_tables=i32[3,4]"
                       "{3,4,5,6,7,8,9,10,11,12,13,14}";
    const int needed[] = {1, 2}; /* column of position 5, 9 */
    call *c = call_new(line, NULL);
    assert_non_null(c);
    for (int row = 0; row < 3; row++)
        for (int col = 0; col < 4; col++) {
            call_restore(c);
            call_patch(table_of(c, "block_tables"), (size_t)(11 - 4 * row - col), -7);
            call_arm(c, CANARY);
            const fattn_status status = c->op->call(NULL, c->args);
            const bool must_fail = row < 2 && col == needed[row];
            assert_int_equal(status, must_fail ? FATTN_E_ARG : FATTN_OK);
            if (must_fail) assert_true(call_untouched(c, CANARY));
            if (must_fail) assert_non_null(strstr(fattn_error_message(), "block_tables"));
        }
    call_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_entry_of_every_table),
        cmocka_unit_test(test_the_sentence_names_the_place),
        cmocka_unit_test(test_advance_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
