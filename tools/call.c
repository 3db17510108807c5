/* SPDX-License-Identifier: Apache-2.0 */
/* call.c — from options and files, or from problem lines, to a call. */
#include "call.h"

#include "io/element.h"
#include "io/io.h"
#include "line_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- context and warnings ---- */

static void warn(void *self, const char *place, const char *sentence)
{
    call_warnings *warnings = self;
    const int room = (int)(sizeof warnings->texts / sizeof *warnings->texts);
    fprintf(stderr, "%sfattn %s: warning: %s (%s)\n", cli_mark(), warnings->verb, sentence, place);
    if (warnings->n < room && (warnings->texts[warnings->n] = strdup(sentence))) warnings->n++;
}

void call_warnings_free(call_warnings *warnings)
{
    for (int i = 0; i < warnings->n; i++) free(warnings->texts[i]);
    warnings->n = 0;
}

json_node *call_warnings_json(const call_warnings *warnings)
{
    json_node *array = json_node_array();
    for (int i = 0; i < warnings->n; i++) json_add_text(array, warnings->texts[i]);
    return array;
}

/* The option, else the line, else the environment, which the library does not read for this. */
static int set_compute(const cli_values *values, const problem_line *line,
                       fattn_context_options *options)
{
    const bool said = line && line->compute >= 0;
    const char *compute = said ? cli_given(values, "compute") : cli_get(values, "compute");
    if (!compute) return CLI_GO;
    options->compute = strcmp(compute, "f16") == 0 ? FATTN_COMPUTE_F16 : FATTN_COMPUTE_F32;
    if (options->compute == FATTN_COMPUTE_F16 || strcmp(compute, "f32") == 0) return CLI_GO;
    return cli_error(values->verb->name, CLI_USAGE, "--compute: '%s' is neither f32 nor f16",
                     compute);
}

int call_options(const cli_values *values, const problem_line *line, fattn_context_options *options)
{
    if (line) line_options(line, options);
    int64_t threads = options->threads;
    if (options->threads == 0 || cli_given(values, "threads")) {
        const int code = cli_get_int(values, "threads", 1, 4096, &threads);
        if (code != CLI_GO) return code;
    }
    options->threads = (int)threads;
    if (cli_given(values, "isa")) options->isa = cli_given(values, "isa");
    if (cli_given(values, "backend")) options->backend = cli_given(values, "backend");
    if (cli_given(values, "strict")) options->strict = 1;
    return set_compute(values, line, options);
}

int call_context(const cli_values *values, const problem_line *line, call_warnings *warnings,
                 fattn_context **context)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    int code = call_options(values, line, &options);
    if (code != CLI_GO) return code;
    options.warn = warn;
    options.warn_self = warnings;
    const fattn_status status = fattn_context_create(context, &options);
    if (status == FATTN_OK) return CLI_GO;
    if (status != FATTN_E_ARG)
        return cli_refused(values->verb->name, status, call_sentence(status));
    return cli_error(values->verb->name, CLI_USAGE, "%s", call_sentence(status));
}

const char *call_sentence(fattn_status status)
{
    const char *sentence = fattn_error_message();
    return sentence[0] ? sentence : fattn_status_name(status);
}

/* ---- options and files ---- */

/* --query-dtype for a field; FATTN_DTYPE_NONE = the file's own. */
static int wanted_dtype(const cli_values *values, const fattn_field *field, fattn_dtype *dtype)
{
    *dtype = FATTN_DTYPE_NONE;
    for (int i = 0; i < values->n_items; i++) {
        const struct cli_item *item = &values->items[i];
        if (item->role != CLI_DTYPE || item->field != field) continue;
        *dtype = fattn_dtype_from_name(item->value);
        if (*dtype == FATTN_DTYPE_NONE)
            return cli_error(values->verb->name, CLI_USAGE, "--%s: '%s' is not a dtype", item->name,
                             item->value);
    }
    return CLI_GO;
}

static int read_tensor(const cli_values *values, problem_line *line, const struct cli_item *item)
{
    fattn_dtype dtype;
    io_tensor file;
    io_error error;
    const int code = wanted_dtype(values, item->field, &dtype);
    if (code != CLI_GO) return code;
    if (io_tensor_read(item->value, dtype, &file, &error) != IO_OK)
        return cli_error(values->verb->name, CLI_DATA, "--%s: %s", item->name, error.message);
    line_tensor *tensor =
        line_adopt(line, file.memory) ? line_add_tensor(line, item->field, &file.t) : NULL;
    if (!tensor) return cli_error(values->verb->name, CLI_FAIL, "out of memory");
    tensor->memory = file.memory;
    tensor->strided = !io_is_contiguous(&file.t);
    return CLI_GO;
}

static int take_item(const cli_values *values, problem_line *line, const struct cli_item *item,
                     uint64_t *given)
{
    const char *verb = values->verb->name;
    if (item->role == CLI_OF_VERB || item->role == CLI_DTYPE || item->role == CLI_RESULT)
        return CLI_GO;
    if (item->alias && cli_flag(values, "strict"))
        return cli_error(verb, CLI_USAGE, "--%s is not the official spelling; strict wants %s",
                         item->name, item->field->name);
    const uint64_t bit = UINT64_C(1) << line_field_index(line->op, item->field);
    const bool again = *given & bit;
    *given |= bit;
    if (again && item->role == CLI_OUTPUT)
        return cli_error(verb, CLI_USAGE, "--%s: the output %s is given twice", item->name,
                         item->field->name);
    if (item->role == CLI_OUTPUT) return CLI_GO;
    if (item->field->kind > FATTN_FIELD_TENSORS_IN) {
        line_error error;
        if (line_set(line, item->field, item->value, &error)) return CLI_GO;
        return cli_error(verb, CLI_USAGE, "--%s: %s", item->name, error.text);
    }
    if (again && item->field->kind != FATTN_FIELD_TENSORS_IN)
        return cli_error(verb, CLI_USAGE, "--%s is given twice", item->name);
    return read_tensor(values, line, item);
}

int call_from_options(const cli_values *values, problem_line **line)
{
    *line = NULL;
    if (!values->op)
        return cli_error(values->verb->name, CLI_USAGE, "which operator? fattn info lists them");
    const bool twice = values->n_args == 1 && fattn_operator_find(values->args[0]) != values->op;
    if (values->n_args > 1 || twice)
        return cli_error(values->verb->name, CLI_USAGE,
                         "'%s': only the operator's name stands alone, all "
                         "else is an option",
                         values->args[values->n_args - 1]);
    *line = line_new(values->op);
    if (!*line) return cli_error(values->verb->name, CLI_FAIL, "out of memory");
    uint64_t given = 0;
    int code = CLI_GO;
    for (int i = 0; i < values->n_items && code == CLI_GO; i++)
        code = take_item(values, *line, &values->items[i], &given);
    if (code == CLI_GO) {
        line_default_heads(*line, given);
        return CLI_GO;
    }
    line_destroy(*line);
    *line = NULL;
    return code;
}

/* ---- problem lines ---- */

problem_line *call_parse(const cli_values *values, const char *text, line_error *error)
{
    const line_strictness strict = cli_given(values, "strict")  ? LINE_MUST_OBEY
                                   : cli_flag(values, "strict") ? LINE_MAY_OBJECT
                                                                : LINE_ASKS;
    return line_parse_for(text, strict, error);
}

bool call_has_lines(const cli_values *values)
{
    for (int i = 0; i < values->n_args; i++)
        if (strpbrk(values->args[i], "=@ \t\n")) return true;
    return false;
}

char *call_line_text(const cli_values *values)
{
    size_t room = 1;
    for (int i = 0; i < values->n_args; i++) room += strlen(values->args[i]) + 1;
    char *text = calloc(1, room), *at = text;
    for (int i = 0; text && i < values->n_args; i++) {
        if (i) *at++ = ' ';
        at = stpcpy(at, values->args[i]);
    }
    return text;
}

static int worse(int a, int b) { return a > CLI_FAIL ? a : b > a ? b : a; }

static bool is_comment(const char *line)
{
    while (isspace((unsigned char)*line)) line++;
    return *line == '\0' || *line == '#';
}

static int each_in_file(const cli_values *values, const char *path, call_line_fn fn, void *self)
{
    void *bytes;
    size_t n;
    io_error error;
    if (io_read_file(strcmp(path, "-") == 0 ? "/dev/stdin" : path, &bytes, &n, &error) != IO_OK)
        return cli_error(values->verb->name, CLI_DATA, "%s", error.message);
    int code = CLI_OK;
    char *text = strndup(bytes, n), *rest = text, *line;
    free(bytes);
    if (!text) return cli_error(values->verb->name, CLI_FAIL, "out of memory");
    for (int number = 1; (line = strsep(&rest, "\n")); number++) {
        const call_source source = {.text = line, .file = path, .number = number};
        if (!is_comment(line)) code = worse(code, fn(self, &source));
    }
    free(text);
    return code;
}

int call_each_line(const cli_values *values, call_line_fn fn, void *self, bool *many)
{
    *many = values->args[0][0] == '@';
    int code = CLI_OK;
    if (!*many) {
        char *text = call_line_text(values);
        code = text ? fn(self, &(call_source){.text = text})
                    : cli_error(values->verb->name, CLI_FAIL, "out of memory");
        free(text);
        return code;
    }
    for (int i = 0; i < values->n_args; i++) {
        if (values->args[i][0] != '@')
            return cli_error(values->verb->name, CLI_USAGE, "'%s': a line and a @FILE do not mix",
                             values->args[i]);
        code = worse(code, each_in_file(values, values->args[i] + 1, fn, self));
    }
    return code;
}

void call_print_place(const call_source *source)
{
    if (source->file) printf("%s:%d: ", source->file, source->number);
}

void call_print_line(const call_source *source)
{
    if (source->file) printf("  %s\n", source->text);
}

void call_add_error(json_node *results, const char *key, const call_source *source)
{
    json_node *object = json_node_object();
    json_put_bool(object, key, false);
    json_put_text(object, "status", cli_last_status());
    json_put_text(object, "message", cli_last_sentence());
    json_put_text(object, "line", source->text);
    json_add(results, object);
}

int call_bad_line(const char *verb, const call_source *source, const line_error *error,
                  json_node *results, const char *key)
{
    const int code = error->memory ? CLI_FAIL : source->file ? CLI_DATA : CLI_USAGE;
    char place[512] = "";
    if (source->file) snprintf(place, sizeof place, "%s:%d: ", source->file, source->number);
    if (error->position == 0)
        cli_error(verb, code, "%s%s", place, error->text);
    else
        cli_error(verb, code, "%sposition %d: %s", place, error->position, error->text);
    fprintf(stderr, "%s  in: %s\n", cli_mark(), source->text);
    if (error->position > 0) fprintf(stderr, "%s  %*s^\n", cli_mark(), error->position + 3, "");
    if (results) call_add_error(results, key, source);
    return code;
}

/* ---- shapes ---- */

const char *call_shape_text(const fattn_tensor *t, char *out, size_t room)
{
    size_t used = (size_t)snprintf(out, room, "%s[", fattn_dtype_name(t->dtype));
    for (int i = 0; i < t->rank && used < room; i++)
        used += (size_t)snprintf(out + used, room - used, "%s%lld", i ? "," : "",
                                 (long long)t->shape[i]);
    if (used < room) snprintf(out + used, room - used, "]");
    return out;
}

json_node *call_shape_json(const fattn_tensor *t)
{
    json_node *shape = json_node_array();
    for (int i = 0; i < t->rank; i++) json_add_int(shape, t->shape[i]);
    return shape;
}

void call_print_results(json_node *results, bool many, const char *key, int code)
{
    const int count = json_count(results);
    if ((count == 1 && !many) || (count == 0 && code != CLI_OK)) {
        json_print_free(json_take(results)); /* of none: frees the array and prints nothing */
        return;
    }
    json_node *object = json_node_object();
    json_put_bool(object, key, code == CLI_OK);
    json_put(object, "results", results);
    json_print_free(object);
}
