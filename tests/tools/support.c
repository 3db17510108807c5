/* SPDX-License-Identifier: Apache-2.0 */
/* support.c — prints docs/support.md: for every attention operator and layout, which forms of a
 * call are legal, by default and in strict mode. Every cell is an answer of the checker to a small
 * problem line; nothing is typed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/context.h"
#include "base/error.h"
#include "support_line.h"
#include "tools/problem_line.h"

enum { MOST_REASONS = 400, REASON_TEXT = 600 };

/* Refusals alike: one sentence of the library, with other shapes and numbers. */
typedef struct reason {
    const char *format; /* the library's constant text */
    char text[REASON_TEXT], line[LINE_ROOM];
    char code[40]; /* of the device, when strict mode said it */
} reason;

typedef struct support {
    fattn_context *context[2]; /* default, strict */
    bool warned;
    reason reasons[MOST_REASONS];
    int n_reasons;
    bool failed;
} support;

static void warn(void *self, const char *place, const char *sentence)
{
    support *s = self;
    (void)place, (void)sentence;
    s->warned = true;
}

static bool open_contexts(support *s)
{
    for (int strict = 0; strict < 2; strict++) {
        fattn_context_options options;
        fattn_context_options_init(&options);
        options.threads = 1;
        options.isa = "scalar";
        options.strict = strict;
        options.warn = warn;
        options.warn_self = s;
        if (fattn_context_create(&s->context[strict], &options) != FATTN_OK) return false;
    }
    return true;
}

/* The number of the reason that the last error was. */
static int reason_of(support *s, const char *line)
{
    int i = 0;
    while (i < s->n_reasons && s->reasons[i].format != error_format()) i++;
    if (i == MOST_REASONS) abort();
    reason *r = &s->reasons[i];
    const char *text = fattn_error_message(), *code = strstr(text, " [device error ");
    const int length = code ? (int)(code - text) : (int)strlen(text);
    if (i == s->n_reasons) {
        s->n_reasons++;
        r->format = error_format();
        snprintf(r->text, sizeof r->text, "%.*s", length, text);
        snprintf(r->line, sizeof r->line, "%s", line);
    }
    if (code && !r->code[0]) snprintf(r->code, sizeof r->code, "%.39s", code);
    return i + 1;
}

/* "yes", "yes!" (with a warning) or the number of a reason. */
static void ask(support *s, fattn_context *context, const char *text, char *answer, size_t room)
{
    line_error error;
    size_t workspace;
    problem_line *line = line_parse(text, &error);
    if (line && strstr(text, "padding_size") && !line_fill(line, &error)) {
        line_destroy(line);
        line = NULL;
    }
    if (!line) {
        fprintf(stderr, "support: position %d: %s\n  %s\n", error.position, error.text, text);
        s->failed = true;
        return;
    }
    s->warned = false;
    warn_reset();
    fattn_status status = line_shapes(line, context);
    if (status == FATTN_OK) status = line->op->workspace(context, line->args, &workspace);
    if (status == FATTN_OK) {
        snprintf(answer, room, s->warned ? "yes!" : "yes");
    } else {
        const int number = reason_of(s, text);
        snprintf(answer, room, "[%d](#r%d)", number, number);
    }
    line_destroy(line);
}

static void print_cell(support *s, const char *op, const char *layout, const support_form *form)
{
    char text[LINE_ROOM], answers[2][40] = {"", ""};
    support_line(text, op, layout, form);
    for (int strict = 0; strict < 2; strict++)
        ask(s, s->context[strict], text, answers[strict], sizeof answers[strict]);
    const bool same = strcmp(answers[0], answers[1]) == 0;
    printf(" %s%s%s |", answers[0], same ? "" : " / ", same ? "" : answers[1]);
}

static void print_operator(support *s, const fattn_operator_capability *op)
{
    printf("\n## %s\n\n| |", op->name);
    for (const char *const *l = op->layouts; *l; l++) printf(" %s |", *l);
    printf("\n|---|");
    for (const char *const *l = op->layouts; *l; l++) printf("---|");
    putchar('\n');
    for (const support_form *form = support_forms; form->name; form++) {
        if (!support_has(form, op->name)) continue;
        printf("| %s |", form->name);
        for (const char *const *l = op->layouts; *l; l++) print_cell(s, op->name, *l, form);
        putchar('\n');
    }
}

/* Markdown takes < and | for something else. */
static void print_escaped(const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", stdout);
        else if (*text == '|')
            fputs("\\|", stdout);
        else
            putchar(*text);
    }
}

static void print_reasons(const support *s)
{
    puts("\n## Why not\n\nThe library's own sentence for the first cell with that number, and the "
         "line that\n"
         "was asked; `fattn check LINE` says it again, with `--strict` where only the device "
         "refuses.");
    for (int i = 0; i < s->n_reasons; i++) {
        printf("\n<a id=\"r%d\"></a>**%d** ", i + 1, i + 1);
        print_escaped(s->reasons[i].text);
        fputs(s->reasons[i].code, stdout);
        printf("\n\n    %s\n", s->reasons[i].line);
    }
}

int main(void)
{
    static support s;
    fattn_capability_set set = {.size = sizeof set};
    setenv("FATTN_LANG", "en", 1);
    if (fattn_capabilities(NULL, &set) != FATTN_OK || !open_contexts(&s)) return 1;
    puts("# What is supported\n\n"
         "Printed by `tests/tools/support.c`, which asks the checker; a test compares. After a "
         "change:\n"
         "`cmake --build build/release --target support_table`.\n\n"
         "`yes`: computed. `yes!`: computed, with a warning that the device does something else. A "
         "number:\n"
         "refused, for that reason. `a / b`: a by default, b in strict mode. Where the row does "
         "not say\n"
         "otherwise the sizes are " SUPPORT_SIZES ";\nmasks have the form that the mode wants.");
    for (int i = 0; i < set.n_operators && !s.failed; i++) print_operator(&s, &set.operators[i]);
    print_reasons(&s);
    for (int strict = 0; strict < 2; strict++) fattn_context_destroy(s.context[strict]);
    return s.failed;
}
