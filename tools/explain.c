/* SPDX-License-Identifier: Apache-2.0 */
/* explain.c — `fattn explain`: how a call is computed, what it moves and multiplies, what time the
 * machine's ceilings allow, and why no other path is taken. Nothing is computed. */
#include "verbs.h"

#include "call.h"
#include "explain_print.h"

#include <stdio.h>
#include <stdlib.h>

const cli_option explain_options[] = {
    {"peak-gflops", "X", "FATTN_PEAK_GFLOPS",
     "fp32 multiply-adds per second in 10^9, instead of measuring them", NULL},
    {"peak-gbps", "X", "FATTN_PEAK_GBPS",
     "bytes read per second in 10^9, instead of measuring them", NULL},
    CLI_CALL_OPTIONS,
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct explain_state {
    const cli_values *values;
    json_node *results; /* one per line, NULL without --json */
    explain_peaks peaks;
} explain_state;

static json_node *answer_json(const explain_state *s, fattn_status status, const char *line,
                              const fattn_explanation *e, const call_warnings *warnings)
{
    json_node *object = json_node_object();
    json_put_bool(object, "legal", status == FATTN_OK);
    json_put_text(object, "status", fattn_status_name(status));
    json_put_text(object, "message", status == FATTN_OK ? NULL : call_sentence(status));
    json_put_text(object, "line", line);
    json_put(object, "warnings", call_warnings_json(warnings));
    if (status == FATTN_OK) explain_json(object, e, &s->peaks);
    return object;
}

static void print_text(const explain_state *s, fattn_status status, const call_source *source,
                       const fattn_explanation *e)
{
    call_print_place(source);
    if (status == FATTN_OK) {
        if (source->file) printf("%s\n", source->text);
        explain_print(e, &s->peaks);
        return;
    }
    printf("illegal: %s: %s\n", fattn_status_name(status), call_sentence(status));
    call_print_line(source);
}

static int explain_in(explain_state *s, problem_line *line, const call_source *source,
                      fattn_context *context, const call_warnings *warnings)
{
    fattn_explanation e = {.size = sizeof e};
    fattn_status status = line_shapes(line, context);
    if (status == FATTN_OK) status = fattn_explain(context, line->op, line->args, &e);
    if (status == FATTN_OK) explain_peaks_measure(context, &s->peaks);
    if (s->results) {
        char *printed = source->text ? NULL : line_print(line);
        json_add(s->results,
                 answer_json(s, status, printed ? printed : source->text, &e, warnings));
        free(printed);
    } else {
        print_text(s, status, source, &e);
    }
    return status == FATTN_OK ? CLI_OK : CLI_FAIL;
}

static int explain_call(explain_state *s, problem_line *line, const call_source *source)
{
    call_warnings warnings = {.verb = "explain"};
    fattn_context *context = NULL;
    int code = call_context(s->values, line, &warnings, &context);
    if (code == CLI_GO) code = explain_in(s, line, source, context, &warnings);
    fattn_context_destroy(context);
    call_warnings_free(&warnings);
    return code;
}

static int explain_line(void *self, const call_source *source)
{
    explain_state *s = self;
    line_error error;
    problem_line *line = call_parse(s->values, source->text, &error);
    if (!line) return call_bad_line("explain", source, &error, s->results, "legal");
    const int code = explain_call(s, line, source);
    line_destroy(line);
    return code;
}

static int explain_options_call(explain_state *s)
{
    problem_line *line;
    int code = call_from_options(s->values, &line);
    if (code == CLI_GO) code = explain_call(s, line, &(call_source){.text = NULL});
    line_destroy(line);
    return code;
}

static int explain_values(explain_state *s)
{
    bool many = false;
    int code = explain_peaks_given(s->values, &s->peaks);
    if (code != CLI_GO) return code;
    if (cli_flag(s->values, "json")) s->results = json_node_array();
    code = call_has_lines(s->values) ? call_each_line(s->values, explain_line, s, &many)
                                     : explain_options_call(s);
    if (s->results) call_print_results(s->results, many, "legal", code);
    return code;
}

int verb_explain(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    explain_state s = {.values = &values};
    code = explain_values(&s);
    cli_values_free(&values);
    return code;
}
