/* SPDX-License-Identifier: Apache-2.0 */
/* strict_case.c — see strict_case.h. */
#include "api/strict_case.h"

#include "base/messages.h"

static const strict_table *the_table;
static const strict_test *the_tests;
static int n_the_tests;

strict_case *strict_case_new(const char *op)
{
    strict_case *c = harness_alloc(sizeof *c);
    c->op = fattn_operator_find(op);
    assert_non_null(c->op);
    c->op->args_init(&c->a);
    return c;
}

/* ---- outputs
 * ------------------------------------------------------------------------------------- */

static const fattn_tensor **tensor_field(strict_case *c, int i)
{
    return (const fattn_tensor **)(void *)((char *)&c->a + c->op->fields[i].offset);
}

static bool is_written(const fattn_field *f)
{
    return f->kind == FATTN_FIELD_TENSOR_OUT || f->kind == FATTN_FIELD_TENSOR_INOUT;
}

/* Outputs of the call as it is; those it had stay when there is no such call. */
static fattn_status allocate(strict_case *c, fattn_context *context)
{
    strict_case bare = *c;
    fattn_tensor shapes[4];
    int n = 0;
    for (int i = 0; i < c->op->n_fields; i++)
        if (c->op->fields[i].kind == FATTN_FIELD_TENSOR_OUT) *tensor_field(&bare, i) = NULL;
    const fattn_status status = c->op->shapes(context, &bare.a, shapes);
    for (int i = 0; status == FATTN_OK && i < c->op->n_fields; i++)
        if (c->op->fields[i].kind == FATTN_FIELD_TENSOR_OUT)
            *tensor_field(c, i) = tensor_like(&shapes[n++]);
    return status;
}

static unsigned long checksum(strict_case *c)
{
    unsigned long sum = 0;
    for (int i = 0; i < c->op->n_fields; i++) {
        const fattn_tensor *t = is_written(&c->op->fields[i]) ? *tensor_field(c, i) : NULL;
        if (!t || !t->data) continue;
        for (size_t b = 0; b < tensor_bytes(t) && b < 4096; b++)
            sum = sum * 31 + ((const unsigned char *)t->data)[b];
    }
    return sum;
}

/* ---- one row
 * ------------------------------------------------------------------------------------- */

static const strict_row *row_of(const char *id)
{
    for (int i = 0; i < the_table->n_rows; i++)
        if (strcmp(the_table->rows[i].id, id) == 0) return &the_table->rows[i];
    fail_msg("%s: no such row in the table of %s", id, the_table->family);
    return NULL;
}

/* A call at the edge of the row that does not break it. */
static bool is_edge(const strict_test *t) { return strcmp(t->code, "legal") == 0; }

static bool is_code(const char *code) { return *code && (code[0] < 'a' || code[0] > 'z'); }

static void expect_code(const strict_test *t)
{
    char end[64];
    const char *sentence = fattn_error_message();
    const size_t n = (size_t)snprintf(end, sizeof end, " [device error %s]", t->code),
                 all = strlen(sentence);
    if (all < n || strcmp(sentence + all - n, end) != 0)
        fail_msg("%s (%s): the sentence does not end with%s: %s", t->id, t->change, end, sentence);
    if (strstr(sentence, "[device error ") != sentence + all - n + 1)
        fail_msg("%s (%s): two codes: %s", t->id, t->change, sentence);
    if (strcmp(strict_answered(), t->id) != 0)
        fail_msg("%s (%s): row \"%s\" answers: %s", t->id, t->change, strict_answered(), sentence);
}

static void in_strict(const strict_test *t)
{
    fattn_context *context = strict_context();
    strict_case *c = t->make();
    EXPECT_OK(allocate(c, context), "%s: the legal call", t->id);
    if (c->op->n_outputs > 0) EXPECT_OK(c->op->call(context, &c->a), "%s: the legal call", t->id);
    if (warnings() != 0) fail_msg("%s: the legal call warns", t->id);
    t->spoil(c);
    if (is_code(t->code)) {
        allocate(c, plain_context()); /* nothing else may be wrong */
        const unsigned long before = checksum(c);
        size_t bytes = 77;
        expect_refused(c->op->call(context, &c->a), t->status, t->argument, t->change);
        expect_code(t);
        if (checksum(c) != before) fail_msg("%s (%s): an output was touched", t->id, t->change);
        if (c->op->workspace(context, &c->a, &bytes) == t->status) expect_code(t);
        return;
    }
    EXPECT_OK(allocate(c, context), "%s (%s)", t->id, t->change);
    EXPECT_OK(c->op->call(context, &c->a), "%s (%s)", t->id, t->change);
    if (is_edge(t) && warnings() != 0) fail_msg("%s (%s): warns at the edge", t->id, t->change);
    if (*t->code && !is_edge(t) && !warned_of(t->code))
        fail_msg("%s (%s): no warning %s", t->id, t->change, t->code);
}

static void expect_right(strict_case *c, const strict_test *t)
{
    fattn_verify_report report = {.size = sizeof report};
    const fattn_status status = fattn_verify(plain_context(), c->op, &c->a, &report);
    if (status == FATTN_E_UNSUPPORTED) return; /* merges and steps have tests of their own */
    EXPECT_OK(status, "%s (%s): verify", t->id, t->change);
    if (!report.passed)
        fail_msg("%s (%s): %s[%lld] is %g, not %g", t->id, t->change, report.worst_output,
                 (long long)report.worst_index, report.worst_got, report.worst_exact);
}

static void by_default(const strict_test *t)
{
    fattn_context *context = plain_context();
    strict_case *c = t->make();
    EXPECT_OK(allocate(c, context), "%s: the legal call by default", t->id);
    t->spoil(c);
    if (strncmp(t->by_default, "refuses", 7) == 0) {
        const fattn_status status = c->op->call(context, &c->a);
        if (status == FATTN_OK) fail_msg("%s (%s): accepted by default", t->id, t->change);
        if (strstr(fattn_error_message(), "[device error"))
            fail_msg("%s (%s): a code by default: %s", t->id, t->change, fattn_error_message());
        return;
    }
    EXPECT_OK(allocate(c, context), "%s (%s) by default", t->id, t->change);
    EXPECT_OK(c->op->call(context, &c->a), "%s (%s) by default", t->id, t->change);
    expect_right(c, t);
    if (is_edge(t)) return;
    if (strcmp(t->by_default, "computes") != 0) {
        if (!warned_of(t->by_default))
            fail_msg("%s (%s): no warning %s", t->id, t->change, t->by_default);
    } else if (warnings() != 0) {
        fail_msg("%s (%s): warns by default", t->id, t->change);
    }
}

static void one_row(void **state)
{
    const strict_test *t = *state;
    row_of(t->id);
    harness_reset();
    in_strict(t);
    harness_reset();
    by_default(t);
    harness_reset();
}

/* ---- the whole table
 * ----------------------------------------------------------------------------- */

static const char *default_of(const strict_row *row)
{
    if (row->by_default == DEFAULT_WARNS) return row->warns;
    return row->by_default == DEFAULT_REFUSES ? "refuses" : "computes";
}

static void every_row_has_a_test(void **state)
{
    (void)state;
    for (int i = 0; i < the_table->n_rows; i++) {
        const strict_row *row = &the_table->rows[i];
        int found = 0;
        for (int k = 0; k < n_the_tests; k++)
            found += strcmp(the_tests[k].id, row->id) == 0 && !is_edge(&the_tests[k]);
        if (found == 0) fail_msg("%s: no test", row->id);
        for (int k = 0; k < i; k++)
            if (strcmp(the_table->rows[k].id, row->id) == 0)
                fail_msg("%s: twice in the table", row->id);
        if (!row->code && !row->does) fail_msg("%s: the device does nothing", row->id);
        if (row->by_default == DEFAULT_WARNS && !row->warns)
            fail_msg("%s: no place that warns", row->id);
    }
}

/* What the documents print is what the tests saw. */
static void table_and_tests_agree(void **state)
{
    (void)state;
    for (int k = 0; k < n_the_tests; k++) {
        const strict_row *row = row_of(the_tests[k].id);
        if (is_edge(&the_tests[k])) continue;
        const char *code = is_code(the_tests[k].code) ? the_tests[k].code : "";
        if (strcmp(row->code ? row->code : "", code) != 0)
            fail_msg("%s: the table says %s, the test %s", row->id, row->code, the_tests[k].code);
        if (strcmp(the_tests[k].by_default, "refuses too") == 0) continue;
        if (strcmp(default_of(row), the_tests[k].by_default) != 0)
            fail_msg("%s: by default the table says %s, the test %s", row->id, default_of(row),
                     the_tests[k].by_default);
    }
}

static bool is_said(const char *piece, size_t n)
{
    for (size_t i = 0; i < message_count; i++)
        for (const char *at = message_table[i].english; *at; at++)
            if (strncmp(at, piece, n) == 0) return true;
    return false;
}

/* Every piece that a row waits for is in a sentence. */
static void pieces_are_said(void **state)
{
    (void)state;
    for (int i = 0; i < the_table->n_rows; i++) {
        const char *said = the_table->rows[i].said;
        for (const char *p = said ? said : ""; *p;) {
            const size_t n = strcspn(p, "|");
            if (n == 0 || !is_said(p, n))
                fail_msg("%s: nobody says \"%.*s\"", the_table->rows[i].id, (int)n, p);
            p += p[n] ? n + 1 : n;
        }
    }
}

int strict_main(const strict_table *table, const strict_test *tests, int n_tests)
{
    struct CMUnitTest *all = calloc((size_t)n_tests + 3, sizeof *all);
    if (!all) return 1;
    the_table = table, the_tests = tests, n_the_tests = n_tests;
    for (int i = 0; i < n_tests; i++) {
        strict_test *copy = malloc(sizeof *copy);
        if (!copy) return 1;
        *copy = tests[i];
        all[i] =
            (struct CMUnitTest){.name = tests[i].id, .test_func = one_row, .initial_state = copy};
    }
    all[n_tests] = (struct CMUnitTest)cmocka_unit_test(every_row_has_a_test);
    all[n_tests + 1] = (struct CMUnitTest)cmocka_unit_test(table_and_tests_agree);
    all[n_tests + 2] = (struct CMUnitTest)cmocka_unit_test(pieces_are_said);
    const int failed = _cmocka_run_group_tests(table->id, all, (size_t)n_tests + 3, NULL, NULL);
    for (int i = 0; i < n_tests; i++) free(all[i].initial_state);
    free(all);
    return failed;
}
