/* SPDX-License-Identifier: Apache-2.0 */
/* main.c — `fattn VERB ...`: finds the verb; everything else is in the verbs' own files. */
#include "spell.h"
#include "verbs.h"

#include <stdio.h>
#include <string.h>

static bool is(const char *word, const char *a, const char *b)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static int unknown_verb(const char *word)
{
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
    if (argc != 2 || strcmp(argv[1], "bash") != 0)
        return cli_error("completions", CLI_USAGE, "for which shell? fattn completions bash");
    help_bash();
    return CLI_OK;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fputs("fattn: which verb? see fattn --help\n", stderr);
        return CLI_USAGE;
    }
    const char *word = argv[1];
    const cli_verb *verb = cli_verb_find(word);
    if (verb) return verb->run(argc - 1, argv + 1);
    if (is(word, "--help", "help") || is(word, "-?", "-h")) return help_overview(), CLI_OK;
    if (is(word, "--version", "-V")) return printf("fattn %s\n", fattn_version()), CLI_OK;
    if (is(word, "help-man", "--help-man")) return help_man(), CLI_OK;
    if (is(word, "completions", "--completions")) return completions(argc - 1, argv + 1);
    return unknown_verb(word);
}

int main(int argc, char **argv)
{
    const int code = dispatch(argc, argv);
    /* A result that did not reach its reader is no result. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("fattn: stdout");
        return code == CLI_OK ? CLI_DATA : code;
    }
    return code;
}
