/* SPDX-License-Identifier: Apache-2.0 */
/* check.c — `fattn check`: is a call legal, and why not; what it would return and need. */
#include "verbs.h"

#include "call.h"

#include <stdio.h>
#include <stdlib.h>

const cli_option check_options[] = {
    CLI_CALL_OPTIONS,
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct check_state {
    const cli_values *values;
    json_node *results; /* one per line, NULL without --json */
} check_state;

/* One question and its answer. */
typedef struct answer {
    problem_line *line;
    fattn_status status;
    size_t workspace;
    fattn_memory_estimate estimate; /* size 0 when there is none (not an attention operator) */
    call_warnings warnings;
} answer;

static void ask(answer *a, fattn_context *context)
{
    a->status = line_shapes(a->line, context);
    if (a->status == FATTN_OK)
        a->status = a->line->op->workspace(context, a->line->args, &a->workspace);
    if (a->status != FATTN_OK) return;
    a->estimate.size = sizeof a->estimate;
    if (fattn_estimate_memory(context, a->line->op, a->line->args, &a->estimate) != FATTN_OK)
        a->estimate.size = 0;
}

static json_node *answer_json(const answer *a, const char *text)
{
    json_node *object = json_node_object();
    json_put_bool(object, "legal", a->status == FATTN_OK);
    json_put_text(object, "status", fattn_status_name(a->status));
    json_put_text(object, "message", a->status == FATTN_OK ? NULL : call_sentence(a->status));
    json_put_text(object, "line", text);
    json_put(object, "warnings", call_warnings_json(&a->warnings));
    if (a->status != FATTN_OK) return object;
    json_node *outputs = json_node_object();
    for (const line_tensor *t = a->line->tensors; t; t = t->next) {
        if (t->field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        json_node *one = json_node_object();
        json_put_text(one, "dtype", fattn_dtype_name(t->t.dtype));
        json_put(one, "shape", call_shape_json(&t->t));
        json_put(outputs, t->field->name, one);
    }
    json_put(object, "outputs", outputs);
    json_put_int(object, "workspace_bytes", (int64_t)a->workspace);
    if (a->estimate.size) {
        json_put_int(object, "input_bytes", (int64_t)a->estimate.input_bytes);
        json_put_int(object, "output_bytes", (int64_t)a->estimate.output_bytes);
        json_put_int(object, "standard_bytes", (int64_t)a->estimate.standard_bytes);
    }
    return object;
}

static void print_text(const answer *a, const call_source *source)
{
    if (a->status != FATTN_OK) {
        call_print_place(source);
        printf("illegal: %s: %s\n", fattn_status_name(a->status), call_sentence(a->status));
        call_print_line(source);
        return;
    }
    char shape[256];
    printf("legal: workspace %zu bytes", a->workspace);
    for (const line_tensor *t = a->line->tensors; t; t = t->next)
        if (t->field->kind == FATTN_FIELD_TENSOR_OUT)
            printf(", %s %s", t->field->name, call_shape_text(&t->t, shape, sizeof shape));
    putchar('\n');
}

/* The context that the options ask for cannot be had: no call is legal in it. */
static void print_refused(check_state *s, const call_source *source)
{
    if (s->results) {
        call_add_error(s->results, "legal", source);
        return;
    }
    call_print_place(source);
    printf("illegal: %s: %s\n", cli_last_status(), cli_last_sentence());
    call_print_line(source);
}

static int answer_line(check_state *s, problem_line *line, const call_source *source)
{
    answer a = {.line = line, .warnings = {.verb = "check"}};
    fattn_context *context = NULL;
    int code = call_context(s->values, line, &a.warnings, &context);
    if (code == CLI_FAIL) print_refused(s, source);
    if (code == CLI_GO) {
        ask(&a, context);
        code = a.status == FATTN_OK ? CLI_OK : CLI_FAIL;
        char *printed = source->text ? NULL : line_print(line);
        if (s->results)
            json_add(s->results, answer_json(&a, printed ? printed : source->text));
        else
            print_text(&a, source);
        free(printed);
    }
    fattn_context_destroy(context);
    call_warnings_free(&a.warnings);
    return code;
}

static int check_line(void *self, const call_source *source)
{
    check_state *s = self;
    line_error error;
    problem_line *line = call_parse(s->values, source->text, &error);
    if (!line) return call_bad_line("check", source, &error, s->results, "legal");
    const int code = answer_line(s, line, source);
    line_destroy(line);
    return code;
}

static int check_options_call(check_state *s)
{
    problem_line *line;
    int code = call_from_options(s->values, &line);
    if (code == CLI_GO) code = answer_line(s, line, &(call_source){.text = NULL});
    line_destroy(line);
    return code;
}

int verb_check(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    check_state s = {.values = &values};
    bool many = false;
    if (cli_flag(&values, "json")) s.results = json_node_array();
    code = call_has_lines(&values) ? call_each_line(&values, check_line, &s, &many)
                                   : check_options_call(&s);
    if (s.results) call_print_results(s.results, many, "legal", code);
    cli_values_free(&values);
    return code;
}
