/* SPDX-License-Identifier: Apache-2.0 */
/* line_parse.c — from text to a problem_line: OPERATOR KEY=VALUE ..., see docs/problem-line.md.
 *
 * Two passes over the words, so that their order is free: parameters first, then what is said about
 * them (query.fill=ones). */
#include "line_internal.h"

#include "spell.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct parser {
    problem_line *line;
    const char *text;
    uint64_t given; /* bit per field of the table */
    line_strictness strict;
    line_error *error;
} parser;

/* ---- tensors ---- */

/* Integers separated by commas up to `stop`; *at moves behind it. */
static bool take_ints(const char **at, char stop, int64_t *out, int *n)
{
    *n = 0;
    if (**at == stop) {
        ++*at;
        return true;
    }
    for (;;) {
        char *end;
        errno = 0;
        if (*n == FATTN_MAX_RANK) return false;
        out[*n] = strtoll(*at, &end, 10);
        if (end == *at || errno != 0) return false;
        ++*n;
        *at = end;
        if (*end != stop && *end != ',') return false;
        ++*at;
        if (*end == stop) return true;
    }
}

static bool take_dtype(const char **at, fattn_dtype *dtype)
{
    char name[8];
    const size_t n = strcspn(*at, "[");
    if (n == 0 || n >= sizeof name || (*at)[n] != '[') return false;
    memcpy(name, *at, n);
    name[n] = '\0';
    *dtype = fattn_dtype_from_name(name);
    if (*dtype == FATTN_DTYPE_NONE) return false;
    *at += n + 1;
    return true;
}

/* "{1,2,3}" -> "1,2,3" kept in the line. The numbers are checked when they are stored. */
static bool take_values(parser *p, const char **at, const char **values)
{
    if (**at != '{') return true;
    const size_t n = strcspn(++*at, "}");
    if ((*at)[n] != '}') return false;
    *values = line_text(p->line, *at, n);
    *at += n + 1;
    return *values != NULL;
}

/* One "f16[2,3]*4{...}"; *at moves behind it. */
static bool take_tensor(parser *p, const fattn_field *field, const char **at)
{
    fattn_dtype dtype;
    int64_t shape[FATTN_MAX_RANK];
    int rank, copies = 1;
    const char *values = NULL;
    if (!take_dtype(at, &dtype) || !take_ints(at, ']', shape, &rank)) return false;
    if (**at == '*') {
        char *end;
        const long n = strtol(*at + 1, &end, 10);
        if (field->kind != FATTN_FIELD_TENSORS_IN || n < 1 || n > 4096) return false;
        copies = (int)n;
        *at = end;
    }
    if (!take_values(p, at, &values)) return false;
    for (int i = 0; i < copies; i++) {
        const fattn_tensor t = fattn_tensor_contiguous(NULL, dtype, rank, shape);
        line_tensor *tensor = line_add_tensor(p->line, field, &t);
        if (!tensor) return false;
        tensor->values = values;
    }
    return true;
}

static bool take_tensors(parser *p, const fattn_field *field, const line_word *w)
{
    if (strcmp(w->value, "none") == 0) {
        if (field->kind == FATTN_FIELD_TENSOR_OUT)
            p->line->unwanted |= UINT64_C(1) << line_field_index(p->line->op, field);
        return true;
    }
    const char *at = w->value;
    for (;;) {
        if (!take_tensor(p, field, &at)) break;
        if (*at == '\0') return true;
        if (*at++ != ',' || field->kind != FATTN_FIELD_TENSORS_IN) break;
    }
    return line_fail(
        p->error, w->value_position + (int)(at - w->value),
        "%s: '%s' is not a tensor like f16[2,128] or i32[3]{5,6,7}%s", w->key, w->value,
        field->kind == FATTN_FIELD_TENSORS_IN ? ", nor a list like f32[4],f32[4]" : "");
}

static bool set_strides(parser *p, line_tensor *tensor, const line_word *w)
{
    int64_t strides[FATTN_MAX_RANK];
    int n = 0;
    const char *at = w->value;
    if (!take_ints(&at, '\0', strides, &n) || n != tensor->t.rank)
        return line_fail(p->error, w->value_position, "%s.strides: needs %d integers, one per axis",
                         w->key, tensor->t.rank);
    memcpy(tensor->t.strides, strides, (size_t)n * sizeof *strides);
    tensor->strided = true;
    return true;
}

/* query.fill=, query.density=, query.strides= */
static bool set_detail(parser *p, line_tensor *tensor, const line_word *w)
{
    if (strcmp(w->sub, "strides") == 0) return set_strides(p, tensor, w);
    if (strcmp(w->sub, "density") == 0) {
        if (line_number(w->value, 0, 1, &tensor->density)) return true;
        return line_fail(p->error, w->value_position, "%s.density: '%s' is not a share from 0 to 1",
                         w->key, w->value);
    }
    if (strcmp(w->sub, "fill") != 0)
        return line_fail(p->error, w->position,
                         "%s.%s: only fill, density and strides can follow a dot", w->key, w->sub);
    tensor->fill = w->value;
    if (line_fill_index(w->value) >= 0) return true;
    return line_fail(p->error, w->value_position, "%s.fill: '%s' is not one of %s", w->key,
                     w->value, line_fills);
}

/* ---- words ---- */

static bool unknown_key(parser *p, const line_word *w)
{
    spell nearest = spell_start(w->key);
    for (int i = 0; i < p->line->op->n_fields; i++)
        spell_offer(&nearest, p->line->op->fields[i].name);
    for (int i = 0; line_key_name(i); i++) spell_offer(&nearest, line_key_name(i));
    return line_fail(p->error, w->position, "'%s' is not a parameter of %s%s%s", w->key,
                     p->line->op->name, nearest.best ? "; nearest: " : "",
                     nearest.best ? nearest.best : "");
}

/* First pass. */
static bool take_parameter(parser *p, const line_word *w)
{
    const int key = w->own ? -1 : line_key_find(w->key);
    if (key >= 0) return line_key_take(key, p->line, w, p->error);
    const fattn_field *field = fattn_field_find(p->line->op, w->key);
    if (!field) return unknown_key(p, w);
    const uint64_t bit = UINT64_C(1) << line_field_index(p->line->op, field);
    if (p->given & bit) return line_fail(p->error, w->position, "%s is given twice", field->name);
    p->given |= bit;
    if (field->kind <= FATTN_FIELD_TENSORS_IN) return take_tensors(p, field, w);
    if (line_set(p->line, field, w->value, p->error)) return true;
    p->error->position = w->value_position;
    return false;
}

/* Second pass. */
static bool take_detail(parser *p, const line_word *w)
{
    const fattn_field *field = fattn_field_find(p->line->op, w->key);
    if (!field) return unknown_key(p, w);
    bool found = false;
    for (line_tensor *t = p->line->tensors; t; t = t->next) {
        if (t->field != field) continue;
        found = true;
        if (!set_detail(p, t, w)) return false;
    }
    if (found) return true;
    return line_fail(p->error, w->position, "%s.%s: there is no tensor %s in this line", w->key,
                     w->sub, w->key);
}

/* strict= decides whether the aliases count, so this comes last. */
static bool check_spelling(parser *p, const line_word *w)
{
    const bool said = p->line->strict >= 0 && p->strict != LINE_MUST_OBEY;
    const bool strict = said ? p->line->strict : p->strict != LINE_ASKS;
    if (!strict || (!w->own && line_key_find(w->key) >= 0)) return true;
    const fattn_field *field = fattn_field_find(p->line->op, w->key);
    if (strcmp(field->name, w->key) == 0) return true;
    return line_fail(p->error, w->position, "'%s' is not the official spelling; strict wants %s",
                     w->key, field->name);
}

static const char *skip_blanks(const char *at)
{
    while (isspace((unsigned char)*at)) at++;
    return at;
}

static const char *skip_word(const char *at)
{
    while (*at && !isspace((unsigned char)*at)) at++;
    return at;
}

/* "" in quotes is the empty value: softmax_layout="" */
static bool split_word(parser *p, const char *begin, const char *end, line_word *w)
{
    *w = (line_word){.position = (int)(begin - p->text) + 1, .sub = ""};
    w->own = *begin == '.';
    const char *key = begin + w->own;
    const char *equals = memchr(key, '=', (size_t)(end - key));
    if (!equals || equals == key)
        return line_fail(p->error, w->position, "'%.*s' is not KEY=VALUE", (int)(end - begin),
                         begin);
    const char *dot = memchr(key, '.', (size_t)(equals - key));
    const char *value = equals + 1;
    w->value_position = (int)(value - p->text) + 1;
    if (end - value >= 2 && *value == '"' && end[-1] == '"') value++, end--;
    w->key = line_text(p->line, key, (size_t)((dot ? dot : equals) - key));
    if (dot) w->sub = line_text(p->line, dot + 1, (size_t)(equals - dot - 1));
    w->value = line_text(p->line, value, (size_t)(end - value));
    if (w->key && w->sub && w->value) return true;
    return line_fail(p->error, 0, "out of memory for the line");
}

static bool for_each_word(parser *p, const char *at, bool (*take)(parser *, const line_word *),
                          bool details)
{
    for (at = skip_blanks(at); *at && *at != '#';) { /* from # on: a comment */
        line_word w;
        const char *end = skip_word(at);
        if (!split_word(p, at, end, &w)) return false;
        if ((w.sub[0] != '\0') == details && !take(p, &w)) return false;
        at = skip_blanks(end);
    }
    return true;
}

static const fattn_operator *find_operator(const char *begin, size_t length, line_error *error,
                                           int position)
{
    char name[64];
    const size_t n = length < sizeof name - 1 ? length : sizeof name - 1;
    memcpy(name, begin, n);
    name[n] = '\0';
    const fattn_operator *op = fattn_operator_find(name);
    if (op) return op;
    int count;
    const fattn_operator *all = fattn_operators(&count);
    spell nearest = spell_start(name);
    for (int i = 0; i < count; i++) spell_offer(&nearest, all[i].name);
    line_fail(error, position, n ? "'%s' is not an operator%s%s" : "the line%s is empty%s%s", name,
              nearest.best ? "; nearest: " : "", nearest.best ? nearest.best : "");
    return NULL;
}

problem_line *line_parse(const char *text, line_error *error)
{
    return line_parse_for(text, LINE_ASKS, error);
}

problem_line *line_parse_for(const char *text, line_strictness strict, line_error *error)
{
    const char *begin = skip_blanks(text), *end = skip_word(begin);
    const fattn_operator *op =
        find_operator(begin, (size_t)(end - begin), error, (int)(begin - text) + 1);
    if (!op) return NULL;
    parser p = {.line = line_new(op), .text = text, .strict = strict, .error = error};
    if (!p.line) {
        line_fail(error, 0, "out of memory for the line");
        return NULL;
    }
    if (for_each_word(&p, end, take_parameter, false) &&
        for_each_word(&p, end, take_detail, true) &&
        for_each_word(&p, end, check_spelling, false)) {
        line_default_heads(p.line, p.given);
        if ((p.line->page == 0 || line_page(p.line, error)) && line_forward(p.line, error))
            return p.line;
    }
    line_destroy(p.line);
    return NULL;
}
