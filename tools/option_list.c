/* SPDX-License-Identifier: Apache-2.0 */
/* option_list.c — the two tables as one list. */
#include "option_list.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char dtype_names[] = "f64 f32 f16 bf16 i64 i32 i8 u8 bool i4 e4m3 e5m2";

/* A text that the list owns; NULL when there is no memory, which makes the whole list fail at the
 * end. */
__attribute__((format(printf, 2, 3))) static const char *text(option_list *list, const char *format,
                                                              ...)
{
    va_list arguments;
    char *made = NULL;
    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0) made = NULL;
    va_end(arguments);
    if (list->n_texts == list->texts_room) {
        const int room = list->texts_room * 2 + 64;
        char **longer = realloc(list->texts, (size_t)room * sizeof *longer);
        if (!longer) {
            free(made);
            return NULL;
        }
        list->texts = longer;
        list->texts_room = room;
    }
    if (made) list->texts[list->n_texts++] = made;
    return made;
}

static bool add(option_list *list, list_option option)
{
    if (!option.name || !option.help) return false;
    if (list->n == list->room) {
        const int room = list->room * 2 + 64;
        list_option *longer = realloc(list->options, (size_t)room * sizeof *longer);
        if (!longer) return false;
        list->options = longer;
        list->room = room;
    }
    list->options[list->n++] = option;
    return true;
}

/* "actual_seq_qlen" -> "actual-seq-qlen" */
static const char *dashed(option_list *list, const char *name, size_t length, const char *suffix)
{
    char *made = (char *)(uintptr_t)text(list, "%.*s%s", (int)length, name, suffix);
    for (char *c = made; c && *c; c++)
        if (*c == '_') *c = '-';
    return made;
}

static bool add_verb(option_list *list, const cli_verb *verb)
{
    for (const cli_option *o = verb->options; o->name; o++) {
        const char *help = o->env ? text(list, "%s [%s]", o->help, o->env) : o->help;
        if (!add(list, (list_option){.name = o->name,
                                     .arg = o->arg,
                                     .help = help,
                                     .choices = o->choices,
                                     .role = CLI_OF_VERB}))
            return false;
    }
    return true;
}

/* What a parameter's value looks like. */
static const char *placeholder(const fattn_field *field)
{
    switch (field->kind) {
    case FATTN_FIELD_INT:
        return "N";
    case FATTN_FIELD_FLOAT:
        return "X";
    case FATTN_FIELD_BOOL:
        return "BOOL";
    case FATTN_FIELD_STRING:
        return "TEXT";
    case FATTN_FIELD_INTS:
        return "N,N,...";
    default:
        return "FILE";
    }
}

/* " (default 1)", "" where it is zero, empty or up to the layout. */
static const char *default_of(option_list *list, const fattn_field *field)
{
    if (field->flags & (FATTN_FIELD_HEADS | FATTN_FIELD_IGNORED)) return "";
    if (field->kind == FATTN_FIELD_INT && field->default_int)
        return text(list, " (default %lld)", (long long)field->default_int);
    if (field->kind == FATTN_FIELD_FLOAT) return text(list, " (default %g)", field->default_float);
    if (field->kind == FATTN_FIELD_STRING && field->default_text && field->default_text[0])
        return text(list, " (default %s)", field->default_text);
    return "";
}

static const char *help_of(option_list *list, const fattn_field *field)
{
    const char *standard = default_of(list, field), *note = "";
    if (field->flags & FATTN_FIELD_REQUIRED) note = " (required)";
    if (field->flags & FATTN_FIELD_IGNORED) note = " (ignored)";
    return standard ? text(list, "%s%s%s", field->help, standard, note) : NULL;
}

static bool add_aliases(option_list *list, const fattn_field *field, list_option option)
{
    const char *at = field->aliases ? field->aliases : "";
    for (at += strspn(at, " "); *at; at += strspn(at, " ")) {
        const size_t n = strcspn(at, " ");
        option.name = dashed(list, at, n, "");
        option.alias = true;
        if (!add(list, option)) return false;
        at += n;
    }
    return true;
}

static bool add_field(option_list *list, const fattn_field *field)
{
    const size_t n = strlen(field->name);
    const bool tensor = field->kind <= FATTN_FIELD_TENSORS_IN;
    const bool output = field->kind == FATTN_FIELD_TENSOR_OUT;
    if (field->kind == FATTN_FIELD_INT_OUT) return true; /* in the --json object */
    const list_option option = {
        .name = dashed(list, field->name, n, ""),
        .arg = placeholder(field),
        .help = help_of(list, field),
        .choices = field->kind == FATTN_FIELD_BOOL ? "true false" : NULL,
        .field = field,
        .role = output ? CLI_OUTPUT : CLI_PARAMETER,
        .optional = field->kind == FATTN_FIELD_BOOL,
    };
    if (!add(list, option) || !add_aliases(list, field, option)) return false;
    if (!tensor || output) return true;
    return add(list, (list_option){.name = dashed(list, field->name, n, "-dtype"),
                                   .arg = "DTYPE",
                                   .help = text(list, "what the elements of %s are", field->name),
                                   .choices = dtype_names,
                                   .field = field,
                                   .role = CLI_DTYPE});
}

static bool add_first_output(option_list *list, const fattn_operator *op)
{
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *field = &op->fields[i];
        if (field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        if (strcmp(field->name, "out") == 0) return true;
        return add(list, (list_option){.name = "out",
                                       .arg = "FILE",
                                       .field = field,
                                       .role = CLI_OUTPUT,
                                       .help = text(list, "the first output, %s", field->name)});
    }
    return true;
}

static bool in_list(const option_list *list, const char *name)
{
    for (int i = 0; i < list->n; i++)
        if (strcmp(list->options[i].name, name) == 0) return true;
    return false;
}

/* --result-softmax-lse, and --result-lse for short. */
static bool add_result(option_list *list, const fattn_field *field)
{
    static const char prefix[] = "softmax_";
    const bool statistic = strncmp(field->name, prefix, sizeof prefix - 1) == 0;
    const char *whole = text(list, "result-%s", field->name);
    const char *brief = text(list, "result-%s", field->name + (statistic ? sizeof prefix - 1 : 0));
    char env[80];
    cli_result_env(field, env, sizeof env);
    if (!whole || !brief) return false;
    list_option option = {.name = dashed(list, whole, strlen(whole), ""),
                          .arg = "FILE",
                          .help =
                              text(list, "%s as it was computed elsewhere [%s]", field->name, env),
                          .role = CLI_RESULT};
    if (!option.name || in_list(list, option.name)) return option.name != NULL;
    if (!add(list, option) || !statistic) return !statistic;
    option.name = dashed(list, brief, strlen(brief), "");
    option.alias = true;
    return add(list, option);
}

/* Of all attention operators: a problem line is not read before its options are. */
static bool add_results(option_list *list)
{
    int count;
    const fattn_operator *ops = fattn_operators(&count);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < ops[i].n_fields && fattn_field_find(&ops[i], "attention_out"); k++)
            if (ops[i].fields[k].kind == FATTN_FIELD_TENSOR_OUT &&
                !add_result(list, &ops[i].fields[k]))
                return false;
    return true;
}

static bool add_operator(option_list *list, const fattn_operator *op)
{
    for (int i = 0; i < op->n_fields; i++)
        if (!add_field(list, &op->fields[i])) return false;
    return add_first_output(list, op);
}

option_list *option_list_make(const cli_verb *verb, const fattn_operator *op)
{
    option_list *list = calloc(1, sizeof *list);
    if (list && add_verb(list, verb) && (!verb->results || add_results(list)) &&
        (!op || add_operator(list, op)))
        return list;
    option_list_free(list);
    return NULL;
}

void option_list_free(option_list *list)
{
    if (!list) return;
    for (int i = 0; i < list->n_texts; i++) free(list->texts[i]);
    free(list->texts);
    free(list->options);
    free(list);
}
