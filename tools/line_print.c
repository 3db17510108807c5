/* SPDX-License-Identifier: Apache-2.0 */
/* line_print.c — a problem_line as text again: what differs from the defaults, in the table's
 * order. */
#include "line_internal.h"

#include "io/io.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A growing string; text NULL after a failed allocation. */
typedef struct out {
    char *text;
    size_t used, room;
} out;

__attribute__((format(printf, 2, 3))) static void put(out *o, const char *format, ...)
{
    va_list list;
    for (int round = 0; o->text && round < 2; round++) {
        va_start(list, format);
        const int n = vsnprintf(o->text + o->used, o->room - o->used, format, list);
        va_end(list);
        if (n >= 0 && (size_t)n < o->room - o->used) {
            o->used += (size_t)n;
            return;
        }
        o->room = (o->room + (n > 0 ? (size_t)n : 0)) * 2;
        char *longer = realloc(o->text, o->room);
        if (!longer) free(o->text);
        o->text = longer;
    }
}

static void put_ints(out *o, const int64_t *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) put(o, "%s%lld", i ? "," : "", (long long)values[i]);
}

/* The shortest decimal that reads back as the same double. */
static void put_double(out *o, double value)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    put(o, "%s", text);
}

/* A parameter whose name is a key of the line is written with a dot before it. */
static const char *dot_of(const char *name) { return line_key_find(name) >= 0 ? "." : ""; }

static bool same_text(const char *a, const char *b) { return strcmp(a ? a : "", b ? b : "") == 0; }

static void put_parameter(out *o, const fattn_field *field, const void *at)
{
    const char *dot = dot_of(field->name), *name = field->name;
    switch (field->kind) {
    case FATTN_FIELD_INT:
        if (*(const int64_t *)at != field->default_int)
            put(o, " %s%s=%lld", dot, name, (long long)*(const int64_t *)at);
        break;
    case FATTN_FIELD_FLOAT:
        if (*(const double *)at == field->default_float) break;
        put(o, " %s%s=", dot, name);
        put_double(o, *(const double *)at);
        break;
    case FATTN_FIELD_BOOL:
        if (*(const bool *)at != (field->default_int != 0))
            put(o, " %s%s=%s", dot, name, *(const bool *)at ? "true" : "false");
        break;
    case FATTN_FIELD_STRING: {
        const char *text = *(const char *const *)at;
        if (!same_text(text, field->default_text)) put(o, " %s%s=%s", dot, name, text ? text : "");
        break;
    }
    case FATTN_FIELD_INTS: {
        const fattn_int_array *list = at;
        if (!list->data) break;
        put(o, " %s%s=", dot, name);
        put_ints(o, list->data, list->count);
        break;
    }
    default:
        break;
    }
}

static void put_spec(out *o, const line_tensor *tensor)
{
    put(o, "%s[", fattn_dtype_name(tensor->t.dtype));
    put_ints(o, tensor->t.shape, tensor->t.rank);
    put(o, "]");
    if (tensor->values) put(o, "{%s}", tensor->values);
}

static void put_details(out *o, const line_tensor *tensor)
{
    const char *name = tensor->field->name;
    if (tensor->strided) {
        put(o, " %s.strides=", name);
        put_ints(o, tensor->t.strides, tensor->t.rank);
    }
    if (tensor->fill) put(o, " %s.fill=%s", name, tensor->fill);
    if (tensor->density >= 0) {
        put(o, " %s.density=", name);
        put_double(o, tensor->density);
    }
}

/* All tensors of a field; a list is separated by commas and shares its details. */
static void put_tensors(out *o, const problem_line *line, const fattn_field *field)
{
    const line_tensor *first = NULL;
    for (const line_tensor *t = line->tensors; t; t = t->next) {
        if (t->field != field || t->derived) continue;
        if (first)
            put(o, ",");
        else
            put(o, " %s=", field->name);
        put_spec(o, t);
        if (!first) first = t;
    }
    if (first) put_details(o, first);
    if (line->unwanted >> line_field_index(line->op, field) & 1) put(o, " %s=none", field->name);
}

static void put_keys(out *o, const problem_line *line)
{
    if (strcmp(line->fill, "normal") != 0) put(o, " fill=%s", line->fill);
    if (line->seed) put(o, " seed=%llu", (unsigned long long)line->seed);
    if (line->density != 0.25) {
        put(o, " density=");
        put_double(o, line->density);
    }
    if (line->page) {
        put(o, " page=%lld", (long long)line->page);
        if (strcmp(line->page_layout, "BnBsH") != 0) put(o, " page_layout=%s", line->page_layout);
        if (strcmp(line->page_order, "shuffled") != 0) put(o, " page_order=%s", line->page_order);
    }
    if (line->threads) put(o, " threads=%d", line->threads);
    if (line->strict >= 0) put(o, " strict=%d", line->strict);
    if (line->isa) put(o, " isa=%s", line->isa);
    if (line->backend) put(o, " backend=%s", line->backend);
    if (line->compute >= 0)
        put(o, " compute=%s", fattn_compute_name((fattn_compute)line->compute));
}

/* Head counts that the layout supplies (0 by line_default_heads) are left to the layout again. */
static bool implied_heads(const problem_line *line, const fattn_field *field, const void *at)
{
    return (field->flags & FATTN_FIELD_HEADS) && *(const int64_t *)at == 0 &&
           strpbrk(line_string(line, "input_layout"), "Nn") != NULL;
}

char *line_print(const problem_line *line)
{
    out o = {.text = malloc(512), .room = 512};
    put(&o, "%s", line->op->name);
    for (int i = 0; i < line->op->n_fields; i++) {
        const fattn_field *field = &line->op->fields[i];
        const void *at = line_at(line->printed, field);
        if (field->kind <= FATTN_FIELD_TENSORS_IN)
            put_tensors(&o, line, field);
        else if (!implied_heads(line, field, at))
            put_parameter(&o, field, at);
    }
    put_keys(&o, line);
    return o.text;
}
