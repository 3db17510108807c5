/* SPDX-License-Identifier: Apache-2.0 */
/* options.c — from an option table to argp and back to a list of (name, value).
 *
 * argv is rewritten once before argp sees it: names are looked up (so that an unknown one gets its
 * nearest spelling), '_' counts as '-', and a switch takes "true" or "0" after a space, too. */
#include "options.h"

#include "json.h"
#include "option_list.h"
#include "spell.h"

#include <argp.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_KEY = 256 }; /* argp's key of the list's option i is FIRST_KEY + i */

/* What was last said on stderr, for main() to say it once more in JSON. */
static struct {
    const char *status;
    char sentence[2048];
} last = {"failed", ""};

const char *cli_mark(void)
{
    const char *log = getenv("FATTN_LOG");
    return log && (strstr(log, "call") || strstr(log, "plan")) ? "# " : "";
}

int cli_error(const char *verb, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(last.sentence, sizeof last.sentence, format, list);
    va_end(list);
    va_start(list, format); /* not last.sentence, which may have been cut */
    fprintf(stderr, "%sfattn %s: ", cli_mark(), verb);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    last.status = code == CLI_USAGE ? "usage" : code == CLI_DATA ? "data" : "failed";
    return code;
}

int cli_refused(const char *verb, fattn_status status, const char *sentence)
{
    fprintf(stderr, "%sfattn %s: %s: %s\n", cli_mark(), verb, fattn_status_name(status), sentence);
    snprintf(last.sentence, sizeof last.sentence, "%s", sentence);
    last.status = fattn_status_name(status);
    return CLI_FAIL;
}

const char *cli_last_status(void) { return last.status; }
const char *cli_last_sentence(void) { return last.sentence; }

bool cli_wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--json") == 0) return true;
    const char *twin = getenv("FATTN_JSON");
    return twin && *twin && strcmp(twin, "0") != 0;
}

static bool same_name(const char *a, size_t n, const char *b)
{
    for (size_t i = 0; i < n; i++)
        if ((a[i] == '_' ? '-' : a[i]) != b[i] || b[i] == '\0') return false;
    return b[n] == '\0';
}

static const list_option *find(const option_list *list, const char *name, size_t n)
{
    for (int i = 0; i < list->n; i++)
        if (same_name(name, n, list->options[i].name)) return &list->options[i];
    return NULL;
}

static bool is_truth(const char *word)
{
    static const char *const words[] = {"true", "false", "True", "False", "0", "1"};
    for (size_t i = 0; word && i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

/* The words of a name in any order, a plural 's' aside: "num-heads" says "head-num". */
static bool has_words_of(const char *name, const char *other)
{
    while (*name) {
        const size_t n = strcspn(name, "-_"), stem = n > 1 && name[n - 1] == 's' ? n - 1 : n;
        const char *at = other;
        for (size_t length; *at; at += length + (at[length] != '\0')) {
            length = strcspn(at, "-_");
            const size_t end = length > 1 && at[length - 1] == 's' ? length - 1 : length;
            if (end == stem && strncmp(at, name, stem) == 0) break;
        }
        if (!*at) return false;
        name += n + (name[n] != '\0');
    }
    return true;
}

static const char *nearest_option(const option_list *list, const char *word)
{
    spell nearest = spell_start(word);
    for (int i = 0; i < list->n; i++) {
        const char *name = list->options[i].name;
        if (has_words_of(word, name) && has_words_of(name, word)) return name;
        spell_offer(&nearest, name);
    }
    return nearest.best;
}

static int unknown(const cli_verb *verb, const option_list *list, const char *name, size_t n)
{
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)(n < 60 ? n : 60), name);
    const char *best = nearest_option(list, word);
    if (best)
        return cli_error(verb->name, CLI_USAGE, "there is no option --%s; nearest: --%s", word,
                         best);
    return cli_error(verb->name, CLI_USAGE, "there is no option --%s; see fattn %s --help", word,
                     verb->name);
}

static char *join(const char *name, const char *value)
{
    char *text;
    const int n = value ? asprintf(&text, "--%s=%s", name, value) : asprintf(&text, "--%s", name);
    return n < 0 ? NULL : text;
}

/* Words that argp answers itself. */
static bool is_argp_word(const char *name, size_t n)
{
    return same_name(name, n, "help") || same_name(name, n, "usage") ||
           same_name(name, n, "version");
}

/* Rewrites one word, and the next with it if it is the value; *i is the last word used. */
static int rewrite_word(const cli_values *values, int argc, char **argv, int *i, char **out)
{
    const cli_verb *verb = values->verb;
    const char *word = argv[*i], *name = word + 2;
    *out = NULL;
    if (strcmp(word, "-h") == 0) word = "--help", name = word + 2;
    if (word[0] == '-' && word[1] != '-' && word[1] != '\0' && strcmp(word, "-?") != 0)
        return cli_error(verb->name, CLI_USAGE, "there is no option %s; see fattn %s --help", word,
                         verb->name);
    if (strncmp(word, "--", 2) != 0 || name[0] == '\0' || is_argp_word(name, strcspn(name, "="))) {
        *out = strdup(word);
        return CLI_GO;
    }
    const size_t n = strcspn(name, "=");
    const list_option *o = find(values->list, name, n);
    if (!o) return unknown(verb, values->list, name, n);
    const char *value = name[n] == '=' ? name + n + 1 : NULL;
    if (value && !o->arg) return cli_error(verb->name, CLI_USAGE, "--%s takes no value", o->name);
    if (!value && o->arg && (!o->optional || is_truth(argv[*i + 1]))) {
        if (*i + 1 == argc)
            return cli_error(verb->name, CLI_USAGE, "--%s needs a value (%s)", o->name, o->arg);
        value = argv[++*i];
    }
    *out = join(o->name, value);
    return CLI_GO;
}

static int rewrite(cli_values *values, int argc, char **argv, int *n)
{
    const char *verb = values->verb->name;
    values->owned = calloc((size_t)argc + 1, sizeof *values->owned);
    values->items = calloc((size_t)argc + 1, sizeof *values->items);
    values->args = calloc((size_t)argc + 1, sizeof *values->args);
    if (!values->owned || !values->items || !values->args)
        return cli_error(verb, CLI_FAIL, "out of memory");
    bool only_words = false;
    *n = 0;
    for (int i = 0; i < argc; i++) {
        char **out = &values->owned[*n];
        int code = CLI_GO;
        if (only_words || i == 0)
            *out = strdup(argv[i]);
        else
            code = rewrite_word(values, argc, argv, &i, out);
        if (code != CLI_GO) return code;
        if (!*out) return cli_error(verb, CLI_FAIL, "out of memory");
        only_words = only_words || (i > 0 && strcmp(*out, "--") == 0);
        ++*n;
    }
    return CLI_GO;
}

static error_t take(int key, char *arg, struct argp_state *state)
{
    cli_values *values = state->input;
    if (key == ARGP_KEY_ARG) {
        values->args[values->n_args++] = arg;
        return 0;
    }
    if (key < FIRST_KEY || key >= FIRST_KEY + values->list->n) return ARGP_ERR_UNKNOWN;
    const list_option *o = &values->list->options[key - FIRST_KEY];
    values->items[values->n_items++] =
        (struct cli_item){o->name, arg ? arg : "", o->field, o->role, o->alias};
    return 0;
}

/* The list in argp's words: the verb's options, a heading, the operator's. For free(). */
static struct argp_option *argp_table(const cli_values *values, const char *heading)
{
    const option_list *list = values->list;
    struct argp_option *table = calloc((size_t)list->n + 2, sizeof *table);
    if (!table) return NULL;
    for (int i = 0; i < list->n; i++) {
        const list_option *o = &list->options[i];
        table[i] = (struct argp_option){
            .name = o->name,
            .key = FIRST_KEY + i,
            .arg = o->arg,
            .flags = (o->alias ? OPTION_HIDDEN : 0) | (o->optional ? OPTION_ARG_OPTIONAL : 0),
            .doc = o->help,
            .group = o->field ? 2 : 1,
        };
    }
    if (values->op) table[list->n] = (struct argp_option){.doc = heading, .group = 2};
    return table;
}

/* The word behind --op, NULL when it is not given. */
static const char *op_word(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--op=", 5) == 0) return argv[i] + 5;
        if (strcmp(argv[i], "--op") == 0) return i + 1 < argc ? argv[i + 1] : NULL;
    }
    return NULL;
}

/* The operator is what --op says, else the first word that names one, else FATTN_OP. */
static const fattn_operator *find_operator(const cli_verb *verb, int argc, char **argv)
{
    if (!verb->operator_fields) return NULL;
    const char *said = op_word(argc, argv);
    if (said) return fattn_operator_find(said);
    for (int i = 1; i < argc; i++) {
        const fattn_operator *op = fattn_operator_find(argv[i]);
        if (op) return op;
    }
    return fattn_operator_find(getenv("FATTN_OP"));
}

static char *usage_text(const cli_verb *verb)
{
    char *text;
    const int n = asprintf(&text,
                           "%s.%s%s\vExit status: 0 fine, 1 illegal or outside the contract, 64 "
                           "usage, 65 bad data.",
                           verb->help, verb->more ? "\n" : "", verb->more ? verb->more : "");
    return n < 0 ? NULL : text;
}

static int run_argp(int n, cli_values *values)
{
    const cli_verb *verb = values->verb;
    char *doc = usage_text(verb), *name = NULL, *heading = NULL;
    if (asprintf(&name, "fattn %s", verb->name) < 0) name = NULL;
    if (asprintf(&heading, "Parameters of %s:", values->op ? values->op->name : "") < 0)
        heading = NULL;
    struct argp_option *table = argp_table(values, heading);
    const bool good = doc && name && heading && table;
    if (good) {
        const struct argp argp = {
            .options = table, .parser = take, .args_doc = verb->args, .doc = doc};
        char *saved = values->owned[0];
        values->owned[0] = name; /* argp prints argv[0] in its texts */
        argp_err_exit_status = CLI_USAGE;
        argp_parse(&argp, n, values->owned, 0, NULL, values);
        values->owned[0] = saved;
    }
    free(table);
    free(heading);
    free(name);
    free(doc);
    return good ? CLI_GO : cli_error(verb->name, CLI_FAIL, "out of memory");
}

/* A first word that should have been an operator. */
static int check_operator(const cli_values *values, int argc, char **argv)
{
    const char *said = op_word(argc, argv), *word = said ? said : argc > 1 ? argv[1] : "-";
    if (!values->verb->operator_fields || values->op || strpbrk(word, "=@ \t\n") || word[0] == '-')
        return CLI_GO;
    int count;
    const fattn_operator *all = fattn_operators(&count);
    spell nearest = spell_start(word);
    for (int i = 0; i < count; i++) spell_offer(&nearest, all[i].name);
    return cli_error(values->verb->name, CLI_USAGE,
                     "'%s' is not an operator%s%s (fattn info lists them)", word,
                     nearest.best ? "; nearest: " : "", nearest.best ? nearest.best : "");
}

int cli_parse(const cli_verb *verb, int argc, char **argv, cli_values *values)
{
    *values = (cli_values){.verb = verb, .op = find_operator(verb, argc, argv)};
    values->list = option_list_make(verb, values->op);
    if (!values->list) return cli_error(verb->name, CLI_FAIL, "out of memory");
    int n = 0;
    int code = check_operator(values, argc, argv);
    if (code == CLI_GO) code = rewrite(values, argc, argv, &n);
    if (code == CLI_GO) code = run_argp(n, values);
    if (code == CLI_GO && cli_flag(values, "json") && !json_available())
        code = cli_error(verb->name, CLI_USAGE,
                         "--json needs jansson, and this fattn was built without");
    if (code != CLI_GO) cli_values_free(values);
    return code;
}

void cli_values_free(cli_values *values)
{
    for (char **word = values->owned; word && *word; word++) free(*word);
    free(values->owned);
    free(values->items);
    free(values->args);
    option_list_free(values->list);
    *values = (cli_values){.verb = NULL};
}

static const cli_option *option_of(const cli_verb *verb, const char *name)
{
    for (const cli_option *o = verb->options; o->name; o++)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

const char *cli_given(const cli_values *values, const char *name)
{
    for (int i = values->n_items - 1; i >= 0; i--)
        if (strcmp(values->items[i].name, name) == 0) return values->items[i].value;
    return NULL;
}

const char *cli_get(const cli_values *values, const char *name)
{
    const char *said = cli_given(values, name);
    if (said) return said;
    const cli_option *o = option_of(values->verb, name);
    const char *twin = o && o->env ? getenv(o->env) : NULL;
    return twin && *twin ? twin : NULL;
}

const char *cli_result_env(const fattn_field *output, char *out, size_t room)
{
    snprintf(out, room, "FATTN_RESULT_%s", output->name);
    for (char *c = out; *c; c++) *c = (char)toupper((unsigned char)*c);
    return out;
}

bool cli_flag(const cli_values *values, const char *name)
{
    if (cli_given(values, name)) return true;
    const char *twin = cli_get(values, name);
    return twin && strcmp(twin, "0") != 0;
}

int cli_word_index(const char *list, const char *word)
{
    int index = 0;
    const size_t length = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, " "), at += *at == ' ', index++)
        if (strcspn(at, " ") == length && strncmp(at, word, length) == 0) return index;
    return -1;
}

int cli_check_choices(const char *verb, const cli_option *options, const cli_values *values)
{
    for (const cli_option *o = options; o->name; o++) {
        const char *word = o->choices ? cli_get(values, o->name) : NULL;
        if (word && cli_word_index(o->choices, word) < 0)
            return cli_error(verb, CLI_USAGE, "--%s: '%s' is none of %s", o->name, word, o->choices);
    }
    return CLI_GO;
}

int cli_get_int(const cli_values *values, const char *name, int64_t low, int64_t high, int64_t *out)
{
    const char *text = cli_get(values, name);
    if (!text) return CLI_GO;
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < low || value > high)
        return cli_error(values->verb->name, CLI_USAGE,
                         "--%s: '%s' is not an integer from %lld to %lld", name, text,
                         (long long)low, (long long)high);
    *out = value;
    return CLI_GO;
}
