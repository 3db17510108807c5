/* SPDX-License-Identifier: Apache-2.0 */
/* The contract only tightens: tests/cases/accuracy.list holds, per line and ISA, the worst error /
 * bound that was measured, and for 16-bit results the per cent of elements that were not correctly
 * rounded (their worst error is that of their own rounding); more than a quarter above it is a
 * failure, although still inside the bound.
 *
 * usage: test_accuracy [--record]    prints the list anew, with today's figures */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sets.h"
#include "tools/problem_line.h"

enum { LINE_MAX_BYTES = 1024 };
static const char *const isas[] = {"scalar", "avx2", "avx512", "neon"};
enum { ISAS = sizeof isas / sizeof isas[0] };
static const double slack = 1.25;

static fattn_context *context_of(const char *isa)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.isa = isa;
    fattn_context *context = NULL;
    return fattn_context_create(&context, &options) == FATTN_OK ? context : NULL;
}

typedef struct figure {
    double worst; /* error / bound; above 1 when the line cannot be run at all; < 0: not measured */
    double misrounded; /* per cent; < 0: the result has more than 16 bits */
} figure;

static figure measure(const char *text, fattn_context *context)
{
    line_error error;
    fattn_verify_report report = {.size = sizeof report, .worst = 2};
    problem_line *line = line_open(text, &error);
    if (!line)
        printf("FAILED: %s\n", error.text);
    else if (line_call(line, context) != FATTN_OK ||
             fattn_verify(context, line->op, line->args, &report) != FATTN_OK)
        printf("FAILED: %s\n", fattn_error_message());
    line_destroy(line);
    const bool wide = strstr(text, "query=f32") || strstr(text, "query=f64");
    return (figure){report.passed ? report.worst : 2,
                    wide ? -1 : 100 * (1 - report.correctly_rounded)};
}

/* "worst", "worst/misrounded" or "-"; up to the comma. */
static figure read_figure(const char *at)
{
    figure known = {-1, -1};
    char *end;
    if (*at == '-' || *at == '\0' || *at == ',') return known;
    known.worst = strtod(at, &end);
    if (*end == '/') known.misrounded = strtod(end + 1, NULL);
    return known;
}

static const char *print_figure(figure f, char text[32])
{
    if (f.worst < 0)
        snprintf(text, 32, "-");
    else if (f.misrounded < 0)
        snprintf(text, 32, "%.3f", f.worst);
    else
        snprintf(text, 32, "%.3f/%.3f", f.worst, f.misrounded);
    return text;
}

/* At most a quarter above what the list, which keeps three digits, has; below 0: neither counts it.
 */
static bool held(double today, double known)
{
    const double digit = 0.0005;
    return today < 0 || (known >= 0 && today <= known * slack + digit);
}

/* Does today's figure of one set fail? One that runs here must be in the list. */
static bool too_bad(figure known, figure today, const char *isa, const char *text)
{
    char was[32], is[32];
    const bool good = today.worst <= 1 && held(today.worst, known.worst) &&
                      held(today.misrounded, known.misrounded);
    if (today.worst < 0 || good) return false;
    printf("FAILED: %s: worst error / bound (/ per cent misrounded) %s, the list has %s\n  %s\n",
           isa, print_figure(today, is), print_figure(known, was), text);
    return true;
}

/* "figure,figure,figure,figure line": one per ISA, - where none was measured. */
static bool entry_passes(char *entry, fattn_context *const *contexts, bool record)
{
    char *text = strchr(entry, ' '), shown[32];
    if (!text) return false;
    *text++ = '\0';
    int failed = 0;
    const char *at = entry;
    for (int i = 0; i < ISAS; i++, at += strcspn(at, ","), at += *at == ',') {
        const figure known = read_figure(at),
                     today = contexts[i] ? measure(text, contexts[i]) : (figure){-1, -1};
        if (record)
            printf("%s%s", print_figure(contexts[i] ? today : known, shown),
                   i + 1 < ISAS ? "," : " ");
        else
            failed += too_bad(known, today, isas[i], text);
    }
    if (record) printf("%s\n", text);
    return failed == 0;
}

int main(int argc, char **argv)
{
    const bool record = argc > 1 && strcmp(argv[1], "--record") == 0;
    fattn_context *contexts[ISAS];
    for (int i = 0; i < ISAS; i++) contexts[i] = context_of(isas[i]);
    FILE *list = fopen(FATTN_SOURCE_DIR "/tests/cases/accuracy.list", "r");
    if (!list) return 1;
    char entry[LINE_MAX_BYTES];
    int passed = 0, failed = 0;
    while (fgets(entry, sizeof entry, list)) {
        entry[strcspn(entry, "\n")] = '\0';
        const bool comment = entry[0] == '#' || entry[0] == '\0';
        if (comment && record) printf("%s\n", entry);
        if (comment) continue;
        if (entry_passes(entry, contexts, record))
            passed++;
        else
            failed++;
    }
    fclose(list);
    for (int i = 0; i < ISAS; i++) fattn_context_destroy(contexts[i]);
    if (record) return failed;
    printf("%d passed, %d failed\n", passed, failed);
    return report_sets(failed != 0 || passed == 0);
}
