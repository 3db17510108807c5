/* SPDX-License-Identifier: Apache-2.0 */
/* line_args.c — an args struct and everything it points at, owned in one place. */
#include "line_internal.h"

#include "io/io.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct line_block {
    struct line_block *next;
    void *memory;
} line_block;

bool line_fail(line_error *error, int position, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(error->text, sizeof error->text, format, list);
    va_end(list);
    error->position = position;
    error->memory = strstr(error->text, "out of memory") != NULL;
    return false;
}

bool line_adopt(problem_line *line, void *memory)
{
    line_block *block = malloc(sizeof *block);
    if (!block) {
        free(memory);
        return false;
    }
    *block = (line_block){line->blocks, memory};
    line->blocks = block;
    return true;
}

void *line_memory(problem_line *line, size_t bytes)
{
    enum { ALIGNMENT = 64 };
    size_t room;
    if (__builtin_add_overflow(bytes, (size_t)ALIGNMENT, &room) || room > PTRDIFF_MAX) return NULL;
    char *memory =
        calloc(1, room); /* pages that nobody touches cost nothing: strides may leave wide gaps */
    if (!memory || !line_adopt(line, memory)) return NULL;
    return memory + (ALIGNMENT - (uintptr_t)memory % ALIGNMENT) % ALIGNMENT;
}

char *line_text(problem_line *line, const char *begin, size_t length)
{
    char *text = line_memory(line, length + 1);
    if (text) memcpy(text, begin, length);
    return text;
}

/* Integers that come back always have a place to come back to. */
static bool add_cells(problem_line *line)
{
    for (int i = 0; i < line->op->n_fields; i++) {
        const fattn_field *field = &line->op->fields[i];
        if (field->kind != FATTN_FIELD_INT_OUT) continue;
        int64_t *cell = line_memory(line, sizeof *cell);
        if (!cell) return false;
        *(int64_t **)line_at(line->args, field) = cell;
    }
    return true;
}

problem_line *line_new(const fattn_operator *op)
{
    problem_line *line = calloc(1, sizeof *line);
    if (!line) return NULL;
    line->op = op;
    line->fill = "normal";
    line->density = 0.25;
    line->strict = line->compute = -1;
    line->page_layout = "BnBsH";
    line->page_order = "shuffled";
    line->args = line_memory(line, op->args_size);
    if (!line->args) {
        line_destroy(line);
        return NULL;
    }
    op->args_init(line->args);
    line->printed = line->args;
    if (add_cells(line)) return line;
    line_destroy(line);
    return NULL;
}

void line_destroy(problem_line *line)
{
    if (!line) return;
    while (line->blocks) {
        line_block *next = line->blocks->next;
        free(line->blocks->memory);
        free(line->blocks);
        line->blocks = next;
    }
    free(line);
}

/* Hooks a tensor into a list field: a longer vector takes the place of the old one. */
static bool append(problem_line *line, fattn_tensor_array *list, const fattn_tensor *t)
{
    const size_t n = (size_t)list->count;
    const fattn_tensor **longer = line_memory(line, (n + 1) * sizeof *longer);
    if (!longer) return false;
    if (n) memcpy(longer, list->data, n * sizeof *longer);
    longer[n] = t;
    *list = (fattn_tensor_array){longer, list->count + 1};
    return true;
}

line_tensor *line_add_tensor(problem_line *line, const fattn_field *field, const fattn_tensor *t)
{
    line_tensor *tensor = line_memory(line, sizeof *tensor);
    if (!tensor) return NULL;
    *tensor = (line_tensor){.field = field, .t = *t, .density = -1};
    void *at = line_at(line->args, field);
    if (field->kind != FATTN_FIELD_TENSORS_IN)
        *(const fattn_tensor **)at = &tensor->t;
    else if (!append(line, at, &tensor->t))
        return NULL;
    line_tensor **last = &line->tensors;
    while (*last) last = &(*last)->next;
    *last = tensor;
    return tensor;
}

static bool parse_int(const char *text, const char **end, int64_t *value)
{
    char *stop;
    errno = 0;
    *value = strtoll(text, &stop, 10);
    *end = stop;
    return stop != text && errno == 0;
}

/* A few integers have names in the family's documents. */
static bool named_int(const fattn_field *field, const char *text, int64_t *value)
{
    if (strcmp(field->name, "inner_precise") != 0) return false;
    if (strcmp(text, "high_precise") != 0 && strcmp(text, "high_performance") != 0) return false;
    *value = strcmp(text, "high_performance") == 0;
    return true;
}

static bool set_int(const fattn_field *field, int64_t *out, const char *text, line_error *error)
{
    const char *end;
    if (named_int(field, text, out)) return true;
    if (parse_int(text, &end, out) && *end == '\0') return true;
    return line_fail(error, 0, "%s: '%s' is not an integer", field->name, text);
}

static bool set_float(const fattn_field *field, double *out, const char *text, line_error *error)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && *end == '\0') return true;
    return line_fail(error, 0, "%s: '%s' is not a number", field->name, text);
}

static bool set_bool(const fattn_field *field, bool *out, const char *text, line_error *error)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"", true},     {"true", true},   {"1", true},   {"false", false}, {"0", false},
                 {"True", true}, {"False", false}, {"yes", true}, {"no", false}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i].word) != 0) continue;
        *out = words[i].value;
        return true;
    }
    return line_fail(error, 0, "%s: '%s' is neither true nor false", field->name, text);
}

/* "1,3,6"; "" is the empty list. */
static bool set_ints(problem_line *line, const fattn_field *field, fattn_int_array *out,
                     const char *text, line_error *error)
{
    size_t room = 1;
    for (const char *c = text; *c; c++) room += *c == ',';
    int64_t *data = line_memory(line, room * sizeof *data);
    if (!data) return line_fail(error, 0, "%s: out of memory for a list", field->name);
    *out = (fattn_int_array){data, 0};
    for (const char *at = text; *at;) {
        const char *end;
        if (!parse_int(at, &end, &data[out->count]) || (*end != ',' && *end != '\0') ||
            (*end == ',' && end[1] == '\0'))
            return line_fail(error, 0, "%s: '%s' is not a list of integers like 1,3,6", field->name,
                             text);
        out->count++;
        at = *end ? end + 1 : end;
    }
    return true;
}

bool line_set(problem_line *line, const fattn_field *field, const char *text, line_error *error)
{
    void *at = line_at(line->args, field);
    switch (field->kind) {
    case FATTN_FIELD_INT:
        return set_int(field, at, text, error);
    case FATTN_FIELD_FLOAT:
        return set_float(field, at, text, error);
    case FATTN_FIELD_BOOL:
        return set_bool(field, at, text, error);
    case FATTN_FIELD_INTS:
        return set_ints(line, field, at, text, error);
    case FATTN_FIELD_STRING: {
        char *copy = line_text(line, text, strlen(text));
        if (!copy) return line_fail(error, 0, "%s: out of memory", field->name);
        *(const char **)at = copy;
        return true;
    }
    case FATTN_FIELD_INT_OUT:
        return line_fail(error, 0, "%s is a result and cannot be given", field->name);
    default:
        return line_fail(error, 0, "%s is a tensor", field->name);
    }
}

int64_t line_int(const problem_line *line, const char *name, int64_t otherwise)
{
    const fattn_field *field = fattn_field_find(line->op, name);
    if (!field || field->kind != FATTN_FIELD_INT) return otherwise;
    return *(const int64_t *)line_at(line->args, field);
}

const char *line_string(const problem_line *line, const char *name)
{
    const fattn_field *field = fattn_field_find(line->op, name);
    if (!field || field->kind != FATTN_FIELD_STRING) return "";
    const char *text = *(const char *const *)line_at(line->args, field);
    return text ? text : "";
}

fattn_int_array line_ints(const problem_line *line, const char *name)
{
    const fattn_field *field = fattn_field_find(line->op, name);
    if (!field || field->kind != FATTN_FIELD_INTS) return (fattn_int_array){NULL, 0};
    return *(const fattn_int_array *)line_at(line->args, field);
}

const fattn_tensor *line_tensor_of(const problem_line *line, const char *name, int item)
{
    const fattn_field *field = fattn_field_find(line->op, name);
    if (!field || field->kind > FATTN_FIELD_TENSORS_IN) return NULL;
    const void *at = line_at(line->args, field);
    if (field->kind != FATTN_FIELD_TENSORS_IN) return *(const fattn_tensor *const *)at;
    const fattn_tensor_array *list = at;
    return item < list->count ? list->data[item] : NULL;
}

void line_default_heads(problem_line *line, uint64_t given)
{
    const char *layout = line_string(line, "input_layout");
    if (strcspn(layout, "Nn") >= strcspn(layout, "_")) return; /* X_Y: the inputs lie in X */
    for (int i = 0; i < line->op->n_fields; i++) {
        const fattn_field *field = &line->op->fields[i];
        if ((field->flags & FATTN_FIELD_HEADS) && !(given >> i & 1))
            *(int64_t *)line_at(line->args, field) = 0;
    }
}

void line_options(const problem_line *line, fattn_context_options *options)
{
    if (line->threads > 0) options->threads = line->threads;
    if (line->strict >= 0) options->strict = line->strict;
    if (line->isa) options->isa = line->isa;
    if (line->backend) options->backend = line->backend;
    if (line->compute >= 0) options->compute = (fattn_compute)line->compute;
}
