/* SPDX-License-Identifier: Apache-2.0 */
/* The contract only tightens: tests/cases/accuracy.list holds, per line and ISA, the worst error / bound that
 * was measured; more than a quarter above it is a failure, although still inside the bound.
 *
 * usage: test_accuracy [--record]    prints the list anew, with today's figures */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Worst error / bound of the line; above 1 when it cannot be run at all. */
static double measure(const char *text, fattn_context *context)
{
    line_error error;
    fattn_verify_report report = {.size = sizeof report, .worst = 2};
    problem_line *line = line_open(text, &error);
    if (!line) printf("FAILED: %s\n", error.text);
    else if (line_call(line, context) != FATTN_OK ||
             fattn_verify(context, line->op, line->args, &report) != FATTN_OK)
        printf("FAILED: %s\n", fattn_error_message());
    line_destroy(line);
    return report.worst;
}

/* "worst,worst,worst,worst line": one figure per ISA, - where none was measured. */
static int check_line(char *entry, fattn_context *const *contexts, bool record)
{
    char *text = strchr(entry, ' ');
    if (!text) return 1;
    *text++ = '\0';
    int failed = 0;
    char *at = entry;
    for (int i = 0; i < ISAS; i++, at += strcspn(at, ","), at += *at == ',') {
        const double known = *at == '-' ? -1 : strtod(at, NULL);
        const double worst = contexts[i] ? measure(text, contexts[i]) : -1;
        if (record && contexts[i]) printf("%.3f%s", worst, i + 1 < ISAS ? "," : " ");
        else if (record) printf("%.*s%s", (int)strcspn(at, ","), at, i + 1 < ISAS ? "," : " ");
        else if (worst >= 0 && (worst > 1 || (known >= 0 && worst > known * slack))) {
            printf("FAILED: %s: worst error / bound %.3f, %.3f is known\n  %s\n", isas[i], worst, known,
                   text);
            failed++;
        }
    }
    if (record) printf("%s\n", text);
    return failed;
}

int main(int argc, char **argv)
{
    const bool record = argc > 1 && strcmp(argv[1], "--record") == 0;
    fattn_context *contexts[ISAS];
    for (int i = 0; i < ISAS; i++) {
        contexts[i] = context_of(isas[i]);
        if (!contexts[i] && !record) printf("not run here: %s\n", isas[i]);
    }
    FILE *list = fopen(FATTN_SOURCE_DIR "/tests/cases/accuracy.list", "r");
    if (!list) return 1;
    char entry[LINE_MAX_BYTES];
    int lines = 0, failed = 0;
    while (fgets(entry, sizeof entry, list)) {
        entry[strcspn(entry, "\n")] = '\0';
        if (entry[0] == '#' || entry[0] == '\0') {
            if (record) printf("%s\n", entry);
            continue;
        }
        lines++;
        failed += check_line(entry, contexts, record);
    }
    fclose(list);
    for (int i = 0; i < ISAS; i++) fattn_context_destroy(contexts[i]);
    if (!record) printf("%d passed, %d failed\n", lines - (failed > 0), failed);
    return failed != 0 || lines == 0;
}
