/* SPDX-License-Identifier: Apache-2.0 */
/* options.h — the option tables of the command line and what parsing one gives.
 *
 * Every verb has ONE table of cli_option. Parsing (argp), --help, the environment twins, the man
 * page and the shell completion all come from it; a verb that takes an operator's parameters adds
 * the operator's field table to it. */
#ifndef FATTN_TOOLS_OPTIONS_H
#define FATTN_TOOLS_OPTIONS_H

#include "fattn/fattn.h"

/* What `fattn` exits with. */
enum {
    CLI_OK = 0,
    CLI_FAIL = 1, /* illegal, or outside the contract */
    CLI_USAGE = 64,
    CLI_DATA = 65, /* bad data in a file */
    CLI_GO = -1    /* cli_parse(): nothing to exit for, go on */
};

typedef struct cli_option {
    const char *name;    /* long option without the dashes; NULL ends a table */
    const char *arg;     /* placeholder ("N"); NULL = a switch */
    const char *env;     /* "FATTN_THREADS": read when the option is absent; NULL = none */
    const char *help;    /* one line */
    const char *choices; /* the words it takes, space separated, or NULL */
} cli_option;

typedef struct cli_verb {
    const char *name;
    const char *args; /* placeholder of the positional arguments, "" = none */
    const char *help; /* one line */
    const char *more; /* a paragraph for --help and the man page, or NULL */
    const cli_option *options;
    bool operator_fields; /* the first argument names an operator and its fields are options, too */
    bool results;         /* so is --result-<output> for every output of an attention operator */
    int (*run)(int argc, char **argv); /* argv[0] is the verb; returns the exit status */
} cli_verb;

/* What an option is to its verb. */
typedef enum cli_role {
    CLI_OF_VERB,   /* of the verb's own table */
    CLI_PARAMETER, /* a value or an input file of the operator */
    CLI_DTYPE,     /* --<tensor>-dtype */
    CLI_OUTPUT,    /* an output file of the operator */
    CLI_RESULT     /* --result-<output>: a file to be compared with that output */
} cli_role;

/* The options and arguments of one command line, in order. Strings are borrowed from argv and the
 * environment, `owned` excepted. */
typedef struct cli_values {
    const cli_verb *verb;
    const fattn_operator *op; /* the operator whose fields are options, or NULL */
    struct cli_item {
        const char *name;         /* as the table spells it */
        const char *value;        /* "" for a switch */
        const fattn_field *field; /* NULL for CLI_OF_VERB */
        cli_role role;
        bool alias; /* an accepted spelling, not the official one */
    } * items;
    int n_items;
    const char **args;
    int n_args;
    char **owned;             /* rewritten argv, ends with NULL */
    struct option_list *list; /* owns the names */
} cli_values;

/* Parses argv[1..]. --help prints and exits 0. CLI_GO, or CLI_USAGE after a sentence on stderr. */
int cli_parse(const cli_verb *verb, int argc, char **argv, cli_values *values);
void cli_values_free(cli_values *values);

/* The last value of an option on the command line; NULL when it is not there. */
const char *cli_given(const cli_values *values, const char *name);

/* The last value of an option, else its environment twin, else NULL. */
const char *cli_get(const cli_values *values, const char *name);

/* "FATTN_RESULT_SOFTMAX_LSE": the twin of --result-softmax-lse; returns out. */
const char *cli_result_env(const fattn_field *output, char *out, size_t room);

/* A switch: given, or its twin set to something else than "" and "0". */
bool cli_flag(const cli_values *values, const char *name);

/* Index of a word in a list of words that are separated by blanks; -1 = none of them. */
int cli_word_index(const char *list, const char *word);

/* The words of options with choices are among them: CLI_GO or CLI_USAGE. */
int cli_check_choices(const char *verb, const cli_option *options, const cli_values *values);

/* An integer in [low, high]; *out is left alone when the option is absent. CLI_GO or CLI_USAGE. */
int cli_get_int(const cli_values *values, const char *name, int64_t low, int64_t high,
                int64_t *out);

/* "fattn VERB: sentence" to stderr; returns `code`. */
int cli_error(const char *verb, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a call that the library refused: "fattn VERB: STATUS: sentence"; returns CLI_FAIL.
 */
int cli_refused(const char *verb, fattn_status status, const char *sentence);

/* "# " where FATTN_LOG asks for a log of calls on stderr, else "": what else is said there is a
 * comment of it. */
const char *cli_mark(void);

/* What the last of the two said, for --json: "usage", "data", "failed" or the library's status. */
const char *cli_last_status(void);
const char *cli_last_sentence(void);

/* --json is on the command line, whether or not the rest can be parsed, or FATTN_JSON is set. */
bool cli_wants_json(int argc, char **argv);

/* The options that choose a context (--threads, --isa, --backend, --strict), and the arithmetic of verbs
 * whose tensors may be f16: for the verbs' tables. */
#define CLI_COMPUTE_OPTION                                                                         \
    {                                                                                              \
        "compute", "NAME", "FATTN_COMPUTE", "arithmetic: f32, or f16 on request", "f32 f16"        \
    }
#define CLI_CONTEXT_OPTIONS                                                                        \
    {"threads", "N", "FATTN_THREADS", "threads to compute with", NULL},                            \
        {"isa", "NAME", "FATTN_ISA", "instruction set to use", "scalar avx2 avx512 neon"},         \
        {"backend", "NAME", "FATTN_BACKEND", "cpu, ref (double precision), or any",                \
         "cpu ref any"},                                                                           \
    {                                                                                              \
        "strict", NULL, "FATTN_STRICT", "the vendor's behaviour and rejections", NULL              \
    }
/* run, check and verify take the same options, so that one command line serves all three. */
#define CLI_CALL_OPTIONS                                                                           \
    {"op", "OPERATOR", "FATTN_OP", "the operator, instead of as the first argument", NULL},        \
        {"out-dir", "DIR", "FATTN_OUT_DIR",                                                        \
         "in-place operators: run writes one NAME.npy per changed tensor", NULL},                  \
        CLI_COMPUTE_OPTION, CLI_CONTEXT_OPTIONS, CLI_JSON_OPTION
#define CLI_JSON_OPTION                                                                            \
    {                                                                                              \
        "json", NULL, "FATTN_JSON", "print one JSON object instead of text", NULL                  \
    }

#endif
