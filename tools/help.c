/* SPDX-License-Identifier: Apache-2.0 */
/* help.c — the overview, the man page and the bash completion, printed from the tables of verbs,
 * options and operators. Nothing about an option is written here. */
#include "verbs.h"

#include "option_list.h"

#include <stdio.h>
#include <string.h>

void help_overview(void)
{
    puts("Usage: fattn VERB [OPTION...] [ARGUMENT...]\n"
         "The Ascend NPU flash-attention operator family on any machine.\n");
    for (int i = 0; cli_verbs[i]; i++)
        printf("  %-12s %s\n", cli_verbs[i]->name, cli_verbs[i]->help);
    puts("  help         print this, or the help of a verb: fattn help run\n"
         "  help-man     print the man page\n"
         "  completions  print the completion of a shell: fattn completions bash\n\n"
         "fattn VERB --help explains a verb; fattn run OPERATOR --help an operator.\n"
         "Exit status: 0 fine, 1 illegal or outside the contract, 64 usage, 65 bad data.");
}

/* ---- man page ---- */

/* roff reads '-' as a hyphen, '\' as its own and a leading '.' or '\'' as a request. */
static void roff(const char *text)
{
    if (*text == '.' || *text == '\'') fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
    }
}

static void man_options(const option_list *list, bool of_operator)
{
    for (int i = 0; list && i < list->n; i++) {
        const list_option *o = &list->options[i];
        if (o->alias || (o->field != NULL) != of_operator) continue;
        fputs(".TP\n\\fB\\-\\-", stdout);
        roff(o->name);
        fputs("\\fR", stdout);
        if (o->arg) printf(o->optional ? "[=\\fI%s\\fR]" : "=\\fI%s\\fR", o->arg);
        putchar('\n');
        roff(o->help);
        putchar('\n');
    }
}

static void man_verb(const cli_verb *verb)
{
    printf(".SS \"fattn %s %s\"\n", verb->name, verb->args);
    roff(verb->help);
    puts(".");
    if (verb->more) {
        roff(verb->more);
        putchar('\n');
    }
    option_list *list = option_list_make(verb, NULL);
    man_options(list, false);
    option_list_free(list);
}

static void man_operators(void)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    puts(".SH OPERATORS\nTheir parameters are options of run, check, verify and explain. Tensors "
         "are "
         "FILE.npy, FILE.safetensors:NAME or torch's FILE.pt[:NAME].");
    for (int i = 0; i < count; i++) {
        option_list *list = option_list_make(cli_verb_find("run"), &ops[i]);
        printf(".SS %s\n", ops[i].name);
        roff(ops[i].help);
        puts(".");
        man_options(list, true);
        option_list_free(list);
    }
}

void help_man(void)
{
    printf(".TH FATTN 1 \"\" \"fattn %s\" \"User Commands\"\n", fattn_version());
    puts(".SH NAME\nfattn \\- the Ascend NPU flash\\-attention operator family on any machine\n"
         ".SH SYNOPSIS\n.B fattn\n.I VERB\n[\\fIOPTION\\fR...] [\\fIARGUMENT\\fR...]\n"
         ".SH DESCRIPTION\nResults go to stdout, everything else to stderr. A name in brackets "
         "after an "
         "option is the environment variable that is read when the option is absent.\n.SH VERBS");
    for (int i = 0; cli_verbs[i]; i++) man_verb(cli_verbs[i]);
    man_operators();
    puts(".SH EXIT STATUS\n0 fine, 1 illegal or outside the contract, 64 usage, 65 bad data.");
}

/* ---- bash ---- */

static void bash_words(const option_list *list)
{
    for (int i = 0; list && i < list->n; i++)
        if (!list->options[i].alias) printf(" --%s", list->options[i].name);
}

/* case rows: "VERB --OPTION") the words it takes. Options of operators are alike under every verb; `seen`
 * holds those that have a row. */
static void bash_choices(const option_list *list, const char *verb, char *seen, size_t room)
{
    for (int i = 0; list && i < list->n; i++) {
        const list_option *o = &list->options[i];
        char mark[80];
        snprintf(mark, sizeof mark, " %s ", o->name);
        if (!o->choices) continue;
        if (verb) {
            printf("    \"%s --%s\") words=\"%s\" ;;\n", verb, o->name, o->choices);
            continue;
        }
        if (strstr(seen, mark)) continue;
        const size_t used = strlen(seen);
        snprintf(seen + used, room - used, "%s", mark);
        printf("    *\\ --%s) words=\"%s\" ;;\n", o->name, o->choices);
    }
}

void help_bash(void)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    static char seen[16384] = " "; /* a few hundred names of at most 40 letters */
    puts("# bash completion of fattn, printed by: fattn completions bash\n"
         "_fattn()\n{\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= w\n"
         "  [[ $cur == = ]] && cur=\n"
         "  [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}\n"
         "  COMPREPLY=()\n"
         "  case \"${COMP_WORDS[1]} $prev\" in");
    for (int v = 0; cli_verbs[v]; v++) {
        option_list *own = option_list_make(cli_verbs[v], NULL);
        bash_choices(own, cli_verbs[v]->name, seen, sizeof seen);
        option_list_free(own);
    }
    for (int v = 0; cli_verbs[v]; v++)
        for (int i = 0; i < (cli_verbs[v]->operator_fields ? count : 0); i++) {
            option_list *list = option_list_make(cli_verbs[v], &ops[i]);
            bash_choices(list, NULL, seen, sizeof seen);
            option_list_free(list);
        }
    puts("  esac\n"
         "  if [[ -n $words ]]; then COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")); return; fi\n"
         "  if ((COMP_CWORD == 1)); then");
    fputs("    words=\"", stdout);
    for (int v = 0; cli_verbs[v]; v++) printf("%s ", cli_verbs[v]->name);
    puts("help help-man completions\"\n  else\n    case ${COMP_WORDS[1]} in");
    for (int v = 0; cli_verbs[v]; v++) {
        option_list *list = option_list_make(cli_verbs[v], NULL);
        printf("    %s) words=\"", cli_verbs[v]->name);
        bash_words(list);
        for (int i = 0; i < count && cli_verbs[v]->operator_fields; i++) printf(" %s", ops[i].name);
        puts("\" ;;");
        option_list_free(list);
    }
    fputs("    help) words=\"", stdout);
    for (int v = 0; cli_verbs[v]; v++) printf("%s ", cli_verbs[v]->name);
    puts("\" ;;\n    completions) words=\"bash\" ;;\n    esac\n"
         "    case ${COMP_WORDS[1]} in run|check|verify|explain) for w in \"${COMP_WORDS[@]:2}\"; "
         "do case "
         "$w in");
    for (int i = 0; i < count; i++) {
        option_list *list = option_list_make(cli_verb_find("run"), &ops[i]);
        printf("      %s) words+=\"", ops[i].name);
        bash_words(list);
        puts("\" ;;");
        option_list_free(list);
    }
    puts("    esac; done ;; esac\n  fi\n"
         "  if [[ $cur == -* ]] || ((COMP_CWORD <= 2)); then\n"
         "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "  fi\n"
         "  ((${#COMPREPLY[@]})) || COMPREPLY=($(compgen -f -- \"$cur\"))\n"
         "}\n"
         "complete -o filenames -F _fattn fattn");
}
