/* SPDX-License-Identifier: Apache-2.0 */
/* What the library prints of a call is a problem line of the same call: the reader of the command
 * line gives the same args for it, for random calls of every operator and for the odd corners of
 * the grammar. */
#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/context.h"
#include "exec/line.h"
#include "record_cases.h"
#include "tests/lines/generate.h"
#include "tools/line_internal.h"

enum { LINES = 300 };

/* ---- args compared field by field ---- */

static bool same_tensor(const fattn_tensor *a, const fattn_tensor *b)
{
    if (!a || !b) return a == b;
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    int64_t elements = 1;
    for (int i = 0; i < a->rank; i++) elements *= a->shape[i];
    for (int i = 0; i < a->rank; i++) {
        if (a->shape[i] != b->shape[i]) return false;
        if (elements != 0 && a->shape[i] > 1 && a->strides[i] != b->strides[i]) return false;
    }
    return true;
}

static bool same_list(const fattn_tensor_array *a, const fattn_tensor_array *b)
{
    bool same = a->count == b->count;
    for (int64_t i = 0; same && i < a->count; i++) same = same_tensor(a->data[i], b->data[i]);
    return same;
}

static bool same_ints(const fattn_int_array *a, const fattn_int_array *b)
{
    return a->count == b->count && !a->data == !b->data &&
           (a->count == 0 || memcmp(a->data, b->data, (size_t)a->count * sizeof *a->data) == 0);
}

static bool same_value(const fattn_field *f, const void *a, const void *b)
{
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT:
        return same_tensor(*(const fattn_tensor *const *)a, *(const fattn_tensor *const *)b);
    case FATTN_FIELD_TENSORS_IN:
        return same_list(a, b);
    case FATTN_FIELD_INT:
        return *(const int64_t *)a == *(const int64_t *)b;
    case FATTN_FIELD_FLOAT:
        return *(const double *)a == *(const double *)b;
    case FATTN_FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FATTN_FIELD_STRING: {
        const char *x = *(const char *const *)a, *y = *(const char *const *)b;
        return x && y ? strcmp(x, y) == 0 : x == y;
    }
    case FATTN_FIELD_INTS:
        return same_ints(a, b);
    case FATTN_FIELD_INT_OUT:
        return true;
    }
    return false;
}

static char *printed(const fattn_context *context, const problem_line *line)
{
    fattn_text count = {.size = 0};
    line_add(&count, context, line->op, line->args);
    char *text = malloc(count.length + 1);
    fattn_text whole = {.buffer = text, .size = count.length + 1};
    line_add(&whole, context, line->op, line->args);
    assert_int_equal(strlen(text), count.length);
    return text;
}

static fattn_context *context_of(const problem_line *line)
{
    fattn_context *context = NULL;
    fattn_context_options options;
    fattn_context_options_init(&options);
    line_options(line, &options);
    options.threads = 2;
    if (fattn_context_create(&context, &options) != FATTN_OK) fail_msg("%s", fattn_error_message());
    context->log = false;
    context->record = 0;
    return context;
}

/* The text with a comment behind it, as a log has it. */
static void round_trip(const char *text)
{
    line_error error;
    problem_line *line = line_open(text, &error);
    if (!line) fail_msg("%s\n  %s", text, error.text);
    fattn_context *context = context_of(line);
    line_outputs(line, context); /* of an illegal call there are none */
    char *told = printed(context, line), *logged = malloc(strlen(told) + 40);
    sprintf(logged, "%s # FATTN_OK 1.0 us, key=x", told);
    problem_line *again = line_parse(logged, &error);
    if (!again) fail_msg("%s\n  printed as\n  %s\n  %s", text, logged, error.text);
    assert_ptr_equal(again->op, line->op);
    assert_int_equal(again->strict == 1, context->strict);
    for (int i = 0; i < line->op->n_fields; i++) {
        const fattn_field *f = &line->op->fields[i];
        if (!same_value(f, line_at(line->args, f), line_at(again->args, f)))
            fail_msg("%s\n  printed as\n  %s\n  reads another %s", text, logged, f->name);
    }
    line_destroy(again);
    free(logged);
    free(told);
    fattn_context_destroy(context);
    line_destroy(line);
}

static void random_lines_come_back(void **state)
{
    (void)state;
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    static random_line line;
    for (int i = 0; i < count; i++) {
        if (!fattn_field_find(&ops[i], "attention_out")) continue;
        for (uint64_t n = 0; n < LINES; n++) {
            generate_line(&line, ops[i].name, 77, n);
            round_trip(line.text);
        }
    }
}

static void corners_come_back(void **state)
{
    (void)state;
    for (int i = 0; i < CORNERS; i++) round_trip(corners[i]);
}

/* Every operator has a corner. */
static void no_operator_is_forgotten(void **state)
{
    (void)state;
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    for (int i = 0; i < count; i++) {
        const size_t n = strlen(ops[i].name);
        int found = 0;
        for (int c = 0; c < CORNERS; c++)
            found += strncmp(corners[c], ops[i].name, n) == 0 && corners[c][n] == ' ';
        if (!found) fail_msg("no corner for %s", ops[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lines_come_back),
        cmocka_unit_test(corners_come_back),
        cmocka_unit_test(no_operator_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
