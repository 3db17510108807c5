/* SPDX-License-Identifier: Apache-2.0 */
/* main.c — `fattn VERB ...`: finds the verb; everything else is in the verbs' own files. */
#include "json.h"
#include "spell.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static int unknown_verb(const char *word)
{
    const fattn_operator *op = fattn_operator_find(word);
    if (op) {
        fprintf(stderr, "fattn: '%s' is an operator, not a verb; did you mean: fattn run %s\n",
                word, op->name);
        return CLI_USAGE;
    }
    spell nearest = spell_start(word);
    for (int i = 0; cli_verbs[i]; i++) spell_offer(&nearest, cli_verbs[i]->name);
    if (nearest.best)
        fprintf(stderr, "fattn: there is no verb '%s'; nearest: %s\n", word, nearest.best);
    else
        fprintf(stderr, "fattn: there is no verb '%s'; see fattn --help\n", word);
    return CLI_USAGE;
}

static int completions(int argc, char **argv)
{
    static const char bash[] = "fattn completions bash";
    if (argc == 1) return cli_error("completions", CLI_USAGE, "for which shell? %s", bash);
    if (strcmp(argv[1], "--json") == 0)
        return cli_error("completions", CLI_USAGE, "prints a shell script and has no --json");
    if (strcmp(argv[1], "bash") != 0)
        return cli_error("completions", CLI_USAGE, "there is none for '%s', only for bash: %s",
                         argv[1], bash);
    if (argc > 2 && strcmp(argv[2], "--json") == 0)
        return cli_error("completions", CLI_USAGE, "prints a shell script and has no --json");
    if (argc > 2) return cli_error("completions", CLI_USAGE, "'%s' is one too many", argv[2]);
    help_bash();
    return CLI_OK;
}

static int man_page(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--json") == 0)
        return cli_error("help-man", CLI_USAGE, "prints a man page and has no --json");
    if (argc > 1) return cli_error("help-man", CLI_USAGE, "takes no argument, not '%s'", argv[1]);
    help_man();
    return CLI_OK;
}

/* One JSON object for every verb that was asked for JSON and could print none of its own. */
static int run_verb(const cli_verb *verb, int argc, char **argv)
{
    const int code = verb->run(argc, argv);
    if (code == CLI_OK || !json_available() || json_printed() || !cli_wants_json(argc, argv))
        return code;
    json_node *object = json_node_object();
    json_put_text(object, "status", cli_last_status());
    json_put_text(object, "message", cli_last_sentence());
    json_print_free(object);
    return code;
}

/* `fattn help run fusion_attention` is `fattn run fusion_attention --help`. */
static int help(int argc, char **argv)
{
    char *words[] = {argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL, NULL, NULL};
    if (argc < 2) return help_overview(), CLI_OK;
    if (argc > 3) return cli_error("help", CLI_USAGE, "'%s' is one too many", argv[3]);
    const cli_verb *verb = cli_verb_find(argv[1]);
    if (!verb) return unknown_verb(argv[1]);
    words[argc - 1] = (char[]){"--help"};
    return verb->run(argc, words);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fputs("fattn: which verb? see fattn --help\n", stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    const cli_verb *verb = cli_verb_find(word);
    if (verb) return run_verb(verb, argc - 1, argv + 1);
    if (is(word, "--help", "help")) return help(argc - 1, argv + 1);
    if (is(word, "-?", "-h")) return help_overview(), CLI_OK;
    if (is(word, "--version", "-V")) return printf("fattn %s\n", fattn_version()), CLI_OK;
    if (is(word, "help-man", "--help-man")) return man_page(argc - 1, argv + 1);
    if (is(word, "completions", "--completions")) return completions(argc - 1, argv + 1);
    return unknown_verb(word);
}

/* A result that did not reach its reader is no result. */
static bool stdout_failed(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return false;
    perror("fattn: stdout");
    return true;
}

/* argp exits by itself where it has printed the help. */
static void at_exit(void)
{
    if (stdout_failed()) _exit(CLI_DATA);
}

int main(int argc, char **argv)
{
    atexit(at_exit);
    const int code = dispatch(argc, argv);
    if (code != CLI_OK && stdout_failed()) _exit(code);
    return code;
}
