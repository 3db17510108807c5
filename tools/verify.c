/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c — `fattn verify`: a result against the exact answer (float64), element by element.
 *
 * The call is computed here in any case: it is what is judged when no result is given, and what a
 * given result is set in relation to. */
#include "verbs.h"

#include "verify_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cli_option verify_options[] = {
    {"result", "FILE", "FATTN_RESULT", "the first output as it was computed elsewhere", NULL},
    {"result-dtype", "DTYPE", "FATTN_RESULT_DTYPE", "what the elements of --result are", NULL},
    CLI_CALL_OPTIONS,
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct verify_state {
    const cli_values *values;
    json_node *results; /* one per line, NULL without --json */
} verify_state;

/* A call, and where it came from. */
typedef struct subject {
    problem_line *line;
    call_source source; /* the line, for the report */
    bool fill;          /* its inputs are fills of a problem line */
} subject;

static void **output_place(const problem_line *line, const fattn_field *field)
{
    return (void **)((char *)line->args + field->offset);
}

/* Of the outputs only those that are compared are computed, the first in any case: a call needs it.
 */
static void choose_outputs(problem_line *line, const result_files *files)
{
    for (int i = 0, first = 1; i < line->op->n_fields && files->n > 0; i++) {
        const fattn_field *field = &line->op->fields[i];
        if (field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        bool wanted = first;
        for (int k = 0; k < files->n; k++) wanted = wanted || files->file[k].field == field;
        if (!wanted) line->unwanted |= UINT64_C(1) << i;
        first = 0;
    }
}

/* The operator judges the shapes before memory is taken for them. CLI_GO, or an exit status when
 * the line cannot be filled. */
static int compute(const verify_state *s, const subject *c, fattn_context *context, verified *v,
                   fattn_verify_report *report)
{
    line_error error;
    v->status = line_shapes(c->line, context);
    if (v->status != FATTN_OK) return CLI_GO;
    if (c->fill && !line_fill(c->line, &error))
        return call_bad_line("verify", &c->source, &error, s->results, "passed");
    v->status = line_call(c->line, context);
    if (v->status == FATTN_OK)
        v->status = fattn_verify(context, c->line->op, c->line->args, report);
    return CLI_GO;
}

static const fattn_verify_output *find_output(const fattn_verify_report *report, const char *name)
{
    for (int i = 0; i < report->n_outputs; i++)
        if (strcmp(report->outputs[i].name, name) == 0) return &report->outputs[i];
    return NULL;
}

/* The switch that asks for the statistics, in the operator's spelling. */
static const char *switch_hint(const fattn_operator *op, const fattn_field *output)
{
    if (strcmp(output->name, "softmax_lse") != 0) return "";
    const fattn_field *field = fattn_field_find(op, "softmax_lse_flag"); /* an alias counts */
    if (!field) return "";
    return strcmp(field->name, "softmax_lse_flag") == 0 ? "; --softmax-lse-flag asks for it"
                                                        : "; --return-softmax-lse asks for it";
}

/* An output of [1] that an operator fills with nothing is no result of the call; one without
 * elements is. */
static int check_returned(const problem_line *line, const verified *v, const result_file *file)
{
    const fattn_tensor *own = *output_place(line, file->field);
    bool empty = false;
    for (int i = 0; own && i < own->rank; i++) empty = empty || own->shape[i] == 0;
    if (own && (empty || find_output(&v->own, file->field->name))) return CLI_GO;
    return cli_error("verify", CLI_USAGE, "--%s: this call does not return %s%s", file->option,
                     file->field->name, switch_hint(line->op, file->field));
}

/* The results take the places of what was computed here. */
static int take_results(const verify_state *s, const subject *c, verified *v, fattn_tensor *tensors)
{
    for (int i = 0; i < v->files.n; i++) {
        result_file *file = &v->files.file[i];
        int code = check_returned(c->line, v, file);
        const fattn_tensor *own = *output_place(c->line, file->field);
        if (code == CLI_GO) code = results_read(s->values, c->line, file, own, &tensors[i]);
        if (code != CLI_GO) return code;
    }
    for (int i = 0; i < v->files.n; i++)
        *output_place(c->line, v->files.file[i].field) = &tensors[i];
    return CLI_GO;
}

/* The first output is part of the verdict only when it was given. */
static bool all_passed(const verified *v)
{
    bool passed = true;
    for (int i = 0; i < v->files.n; i++) {
        const fattn_verify_output *o = find_output(&v->report, v->files.file[i].field->name);
        passed = passed && (!o || o->outside == 0);
        if (strcmp(v->files.file[i].field->name, "attention_out") == 0)
            passed = passed && v->report.passed;
    }
    return passed && (v->files.n > 0 || v->report.passed);
}

static int compare(const verify_state *s, const subject *c, fattn_context *context, verified *v)
{
    fattn_tensor tensors[MOST_RESULTS];
    const bool given = v->files.n > 0;
    choose_outputs(c->line, &v->files);
    int code = compute(s, c, context, v, given ? &v->own : &v->report);
    if (code == CLI_GO && v->status == FATTN_OK && given) {
        code = take_results(s, c, v, tensors);
        if (code == CLI_GO)
            v->status = fattn_verify(context, c->line->op, c->line->args, &v->report);
    }
    v->passed = v->status == FATTN_OK && all_passed(v);
    return code;
}

static int verify_in(verify_state *s, const subject *c, fattn_context *context)
{
    verified v = {.report = {.size = sizeof v.report}, .own = {.size = sizeof v.own}};
    int code = results_find(s->values, c->line->op, &v.files);
    if (code == CLI_GO) code = compare(s, c, context, &v);
    if (code != CLI_GO) return code;
    if (s->results)
        json_add(s->results, verified_json(&v, c->source.text));
    else
        verified_print(&v, &c->source);
    return v.passed ? CLI_OK : CLI_FAIL;
}

static int verify_call(verify_state *s, const subject *c)
{
    call_warnings warnings = {.verb = "verify"};
    fattn_context *context = NULL;
    int code = call_context(s->values, c->line, &warnings, &context);
    if (code == CLI_GO) code = verify_in(s, c, context);
    fattn_context_destroy(context);
    call_warnings_free(&warnings);
    return code;
}

static int verify_line(void *self, const call_source *source)
{
    verify_state *s = self;
    line_error error;
    subject c = {
        .line = call_parse(s->values, source->text, &error), .source = *source, .fill = true};
    if (!c.line) return call_bad_line("verify", source, &error, s->results, "passed");
    const int code = verify_call(s, &c);
    line_destroy(c.line);
    return code;
}

static bool names_results(const cli_values *values)
{
    for (int i = 0; i < values->n_items; i++) {
        const cli_role role = values->items[i].role;
        if (role == CLI_RESULT || role == CLI_OUTPUT) return true;
    }
    return cli_get(values, "result") != NULL;
}

static int verify_lines(verify_state *s, bool *many)
{
    if (s->values->args[0][0] == '@' && names_results(s->values))
        return cli_error("verify", CLI_USAGE,
                         "a result is compared with one call, not with the lines of %s",
                         s->values->args[0]);
    return call_each_line(s->values, verify_line, s, many);
}

static int verify_files(verify_state *s)
{
    problem_line *line;
    result_files files;
    int code = call_from_options(s->values, &line);
    if (code == CLI_GO) code = results_find(s->values, line->op, &files);
    if (code == CLI_GO && files.n == 0)
        code = cli_error("verify", CLI_USAGE,
                         "which result? --result FILE, or --result-OUTPUT FILE of another output");
    if (code == CLI_GO) {
        char *text = line_print(line);
        code = verify_call(s, &(subject){.line = line, .source.text = text});
        free(text);
    }
    line_destroy(line);
    return code;
}

int verb_verify(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    verify_state s = {.values = &values};
    bool many = false;
    if (cli_flag(&values, "json")) s.results = json_node_array();
    code = call_has_lines(&values) ? verify_lines(&s, &many) : verify_files(&s);
    if (s.results) call_print_results(s.results, many, "passed", code);
    cli_values_free(&values);
    return code;
}
