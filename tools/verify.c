/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c — `fattn verify`: a result against the exact answer (float64), element by element. */
#include "verbs.h"

#include "call.h"

#include <stdio.h>
#include <stdlib.h>

const cli_option verify_options[] = {
    CLI_CALL_OPTIONS,
    {NULL, NULL, NULL, NULL, NULL},
};

typedef struct verify_state {
    const cli_values *values;
    json_node *results; /* one per line, NULL without --json */
} verify_state;

static json_node *report_json(const fattn_verify_report *r, fattn_status status, const char *text)
{
    json_node *object = json_node_object();
    json_put_bool(object, "passed", status == FATTN_OK && r->passed);
    json_put_text(object, "status", fattn_status_name(status));
    json_put_text(object, "message", status == FATTN_OK ? NULL : call_sentence(status));
    json_put_text(object, "line", text);
    if (status != FATTN_OK) return object;
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"worst", r->worst},
        {"worst_got", r->worst_got},
        {"worst_exact", r->worst_exact},
        {"worst_bound", r->worst_bound},
        {"max_abs", r->max_abs},
        {"rms", r->rms},
        {"max_rel", r->max_rel},
        {"mean_rel", r->mean_rel},
        {"cosine", r->cosine},
        {"correctly_rounded", r->correctly_rounded},
    };
    json_put_int(object, "elements", r->elements);
    json_put_int(object, "outside", r->outside);
    json_put_text(object, "worst_output", r->worst_output);
    json_put_int(object, "worst_index", r->worst_index);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_put_real(object, figures[i].key, figures[i].value);
    return object;
}

static void print_text(const fattn_verify_report *r, fattn_status status,
                       const call_source *source)
{
    if (status != FATTN_OK || !r->passed) call_print_place(source);
    if (status != FATTN_OK) {
        printf("not verified: %s: %s\n", fattn_status_name(status), call_sentence(status));
        call_print_line(source);
        return;
    }
    printf("%s: %lld elements, %lld outside, worst error %.3g of its bound",
           r->passed ? "passed" : "FAILED", (long long)r->elements, (long long)r->outside,
           r->worst);
    if (r->worst_output)
        printf(" (%s[%lld]: got %.9g, exact %.9g, bound %.3g)", r->worst_output,
               (long long)r->worst_index, r->worst_got, r->worst_exact, r->worst_bound);
    printf(
        "\n  max abs %.3g, rms %.3g, max rel %.3g, mean rel %.3g, cosine %.9g, correctly rounded "
        "%.2f %%\n",
        r->max_abs, r->rms, r->max_rel, r->mean_rel, r->cosine, 100 * r->correctly_rounded);
    if (!r->passed && source->text) printf("  %s\n", source->text);
}

/* A call to be compared; its outputs came from files unless there is a line to compute. */
typedef struct subject {
    problem_line *line;
    call_source source; /* the line, for the report */
    bool compute;
} subject;

/* The operator judges the shapes before memory is taken for them. CLI_GO, or an exit status when
 * the line cannot be filled. */
static int compute(const verify_state *s, const subject *c, fattn_context *context,
                   fattn_status *status)
{
    line_error error;
    *status = line_shapes(c->line, context);
    if (*status != FATTN_OK) return CLI_GO;
    if (!line_fill(c->line, &error))
        return call_bad_line("verify", &c->source, &error, s->results, "passed");
    *status = line_call(c->line, context);
    return CLI_GO;
}

static int verify_in(verify_state *s, const subject *c, fattn_context *context)
{
    fattn_verify_report report = {.size = sizeof report};
    fattn_status status = FATTN_OK;
    const int code = c->compute ? compute(s, c, context, &status) : CLI_GO;
    if (code != CLI_GO) return code;
    if (status == FATTN_OK) status = fattn_verify(context, c->line->op, c->line->args, &report);
    if (s->results)
        json_add(s->results, report_json(&report, status, c->source.text));
    else
        print_text(&report, status, &c->source);
    return status == FATTN_OK && report.passed ? CLI_OK : CLI_FAIL;
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
        .line = line_parse(source->text, &error), .source = *source, .compute = true};
    if (!c.line) return call_bad_line("verify", source, &error, s->results, "passed");
    const int code = verify_call(s, &c);
    line_destroy(c.line);
    return code;
}

static bool has_output(const problem_line *line)
{
    for (const line_tensor *t = line->tensors; t; t = t->next)
        if (t->field->kind == FATTN_FIELD_TENSOR_OUT) return true;
    return false;
}

static int verify_files(verify_state *s)
{
    problem_line *line;
    int code = call_from_options(s->values, true, &line);
    if (code == CLI_GO && !has_output(line))
        code =
            cli_error("verify", CLI_USAGE, "which result? --out FILE, or another output's option");
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
    code = call_has_lines(&values) ? call_each_line(&values, verify_line, &s, &many)
                                   : verify_files(&s);
    if (s.results) call_print_results(s.results, many, "passed", code);
    cli_values_free(&values);
    return code;
}
