/* SPDX-License-Identifier: Apache-2.0 */
/* call.h — what run, check and verify share: a call from options and files or from problem lines,
 * and the context that it runs in. */
#ifndef FATTN_TOOLS_CALL_H
#define FATTN_TOOLS_CALL_H

#include "json.h"
#include "options.h"
#include "problem_line.h"

/* The warnings of one call, in order; printed to stderr as they come. */
typedef struct call_warnings {
    const char *verb;
    char *texts[32];
    int n;
} call_warnings;

void call_warnings_free(call_warnings *warnings);
json_node *call_warnings_json(const call_warnings *warnings);

/* What the command line says of threads, isa, backend, compute and strict. It is stronger than what a
 * line says (NULL: there is none), and that is stronger than the environment. CLI_GO or CLI_USAGE. */
int call_options(const cli_values *values, const problem_line *line,
                 fattn_context_options *options);

/* A context from the line's keys (line may be NULL) and, stronger, the options. CLI_GO, or an exit
 * status after a sentence. `warnings` must live as long as the context. */
int call_context(const cli_values *values, const problem_line *line, call_warnings *warnings,
                 fattn_context **context);

/* A call from the operator's options; input files are read, outputs are left alone. */
int call_from_options(const cli_values *values, problem_line **line);

/* A problem line, whose spelling is judged as strictly as call_context() will be. */
problem_line *call_parse(const cli_values *values, const char *text, line_error *error);

/* The arguments name problem lines (or @FILE) and not only an operator. */
bool call_has_lines(const cli_values *values);

/* The arguments joined by blanks, for free(): a line need not be quoted. */
char *call_line_text(const cli_values *values);

/* A problem line and where it stood. */
typedef struct call_source {
    const char *text; /* NULL: the call came from options */
    const char *file; /* NULL: on the command line */
    int number;       /* in the file, from 1 */
} call_source;

/* What a verb does with a line. Returns an exit status. */
typedef int (*call_line_fn)(void *self, const call_source *source);

/* "FILE:N: " before a verdict on a line of a file, and the line itself behind it. */
void call_print_place(const call_source *source);
void call_print_line(const call_source *source);

/* Calls fn with each line of the arguments. The worst status: the first that is neither 0 nor 1,
 * else 1 if any was 1. *many tells whether the lines came from a file. */
int call_each_line(const cli_values *values, call_line_fn fn, void *self, bool *many);

/* Adds {KEY: false, status, message, line} of the last cli_error() or cli_refused(). */
void call_add_error(json_node *results, const char *key, const call_source *source);

/* Prints where a bad line is bad, and adds {KEY: false, status, message, line} to results (which
 * may be NULL); returns CLI_USAGE, CLI_DATA for a line in a file, CLI_FAIL when only the memory is
 * missing. */
int call_bad_line(const char *verb, const call_source *source, const line_error *error,
                  json_node *results, const char *key);

/* "f16[2,3]" into out; returns out. */
const char *call_shape_text(const fattn_tensor *t, char *out, size_t room);
json_node *call_shape_json(const fattn_tensor *t);

/* Prints and frees the results of a verb: the object itself, or for many lines {KEY: all good,
 * results}. Nothing when there are none because of an error: that is main()'s to print. */
void call_print_results(json_node *results, bool many, const char *key, int code);

/* The sentence of a failed call, never empty. */
const char *call_sentence(fattn_status status);

#endif
