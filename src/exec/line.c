/* SPDX-License-Identifier: Apache-2.0 */
/* line.c — the printing half of the problem line; the command line has the reading half. Everything
 * is a loop over the field table. Outputs are named, too: what was given in its own shape, "none"
 * what was not. */
#include "exec/line.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

/* Sanity bounds of args.c: how much longer a caller's args may be, the longest name, the longest
 * list. */
enum { EXTRA_MAX = 4096, TEXT_MAX = 64, LIST_MAX = 1 << 24 };

/* Keys of the line itself; an operator's parameter of the same name is written with a dot before
 * it. */
static const char *const keys[] = {"fill", "seed",    "density", "threads", "strict",
                                   "isa",  "backend", "compute", "page",    "page_layout",
                                   "page_order"};

static const char *dot_of(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], name) == 0) return MUTANT(115, ".", "");
    return "";
}

static const void *at(const void *args, const fattn_field *f)
{
    return (const char *)args + f->offset;
}

bool line_is_contiguous(const fattn_tensor *t)
{
    uint64_t step = 1;
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] == 0) return true;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] > 1 && (uint64_t)t->strides[i] != step) return false;
        step *= (uint64_t)t->shape[i];
    }
    return true;
}

/* A value that blanks and quotes cannot break. */
static void add_word(fattn_text *text, const char *word)
{
    for (int i = 0; word[i] && i < TEXT_MAX; i++)
        text_add(text, "%c", word[i] > ' ' && word[i] < 0x7f && word[i] != '"' ? word[i] : '?');
}

/* The number of a HOST tensor: a plan depends on it. */
static void add_number(fattn_text *text, const fattn_tensor *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] != 1) return;
    int64_t wide;
    int32_t narrow;
    if (t->dtype == FATTN_I64) {
        memcpy(&wide, t->data, sizeof wide);
    } else if (t->dtype == FATTN_I32) {
        memcpy(&narrow, t->data, sizeof narrow);
        wide = narrow;
    } else {
        return;
    }
    text_add(text, "{%lld}", (long long)wide);
}

static void add_shape(fattn_text *text, const fattn_field *f, const fattn_tensor *t)
{
    const int rank = t->rank < 0 ? 0 : t->rank > FATTN_MAX_RANK ? FATTN_MAX_RANK : t->rank;
    text_add(text, "%s[", fattn_dtype_name(t->dtype));
    text_add_ints(text, t->shape, rank);
    text_add(text, "]");
    if ((f->flags & FATTN_FIELD_HOST) && t->data && rank == t->rank) add_number(text, t);
}

static void add_strides(fattn_text *text, const fattn_field *f, const fattn_tensor *t)
{
    if (t->rank < 1 || t->rank > FATTN_MAX_RANK || line_is_contiguous(t)) return;
    text_add(text, " %s.strides=", f->name);
    text_add_ints(text, t->strides, t->rank);
}

static void add_tensor(fattn_text *text, const fattn_field *f, const fattn_tensor *t)
{
    if (t) {
        text_add(text, " %s=", f->name);
        add_shape(text, f, t);
        add_strides(text, f, t);
    } else if (f->kind == FATTN_FIELD_TENSOR_OUT) {
        text_add(text, " %s=none", f->name);
    }
}

/* The grammar gives a list one detail for all: strides are told where all have the same. */
static void add_tensors(fattn_text *text, const fattn_field *f, const fattn_tensor_array *list)
{
    bool alike = true;
    if (!list->data || list->count <= 0 || list->count > LIST_MAX) return;
    const fattn_tensor *first = list->data[0];
    for (int64_t i = 0; i < list->count; i++) {
        const fattn_tensor *t = list->data[i];
        if (!t) return;
        alike = alike && t->rank == first->rank && t->rank <= FATTN_MAX_RANK && t->rank >= 0 &&
                memcmp(t->strides, first->strides, (size_t)t->rank * sizeof t->strides[0]) == 0;
        text_add(text, i ? "," : " %s=", f->name);
        add_shape(text, f, t);
    }
    if (alike) add_strides(text, f, first);
}

/* Where the layout has an N axis a head count that is not given comes from there (the reader sets
 * 0). */
static bool heads_from_layout(const fattn_operator *op, const void *args)
{
    const char *layout = NULL;
    for (int i = 0; i < op->n_fields; i++)
        if (strcmp(op->fields[i].name, "input_layout") == 0)
            layout = *(const char *const *)at(args, &op->fields[i]);
    return layout && strnlen(layout, TEXT_MAX) < TEXT_MAX &&
           strcspn(layout, "Nn") < strcspn(layout, "_");
}

static void add_int(fattn_text *text, const fattn_operator *op, const void *args,
                    const fattn_field *f)
{
    const int64_t value = *(const int64_t *)at(args, f);
    const bool implied = (f->flags & FATTN_FIELD_HEADS) && heads_from_layout(op, args);
    if (value != (implied ? 0 : f->default_int))
        text_add(text, " %s%s=%lld", dot_of(f->name), f->name, (long long)value);
}

static void add_string(fattn_text *text, const fattn_field *f, const char *value)
{
    const char *usual = f->default_text ? f->default_text : "";
    if (strncmp(value ? value : "", usual, TEXT_MAX) == 0) return;
    text_add(text, " %s%s=", dot_of(f->name), f->name);
    if (value) add_word(text, value);
}

static void add_field(fattn_text *text, const fattn_operator *op, const void *args,
                      const fattn_field *f)
{
    const void *value = at(args, f);
    const char *dot = dot_of(f->name);
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT:
        add_tensor(text, f, *(const fattn_tensor *const *)value);
        break;
    case FATTN_FIELD_TENSORS_IN:
        add_tensors(text, f, value);
        break;
    case FATTN_FIELD_INT:
        add_int(text, op, args, f);
        break;
    case FATTN_FIELD_FLOAT:
        if (*(const double *)value == f->default_float) break;
        text_add(text, " %s%s=", dot, f->name);
        text_add_double(text, *(const double *)value);
        break;
    case FATTN_FIELD_BOOL:
        if (*(const bool *)value != (f->default_int != 0))
            text_add(text, " %s%s=%s", dot, f->name, *(const bool *)value ? "true" : "false");
        break;
    case FATTN_FIELD_STRING:
        add_string(text, f, *(const char *const *)value);
        break;
    case FATTN_FIELD_INTS: {
        const fattn_int_array *list = value;
        if (!list->data || list->count > LIST_MAX) break;
        text_add(text, " %s%s=", dot, f->name);
        text_add_ints(text, list->data, list->count);
        break;
    }
    case FATTN_FIELD_INT_OUT:
        break; /* an address */
    }
}

void line_add(fattn_text *text, const fattn_context *context, const fattn_operator *op,
              const void *args)
{
    text_add(text, "%s", op->name);
    const size_t size = args ? *(const size_t *)args : 0;
    if (size < op->args_size || size > op->args_size + EXTRA_MAX) return;
    for (int i = 0; i < op->n_fields; i++) add_field(text, op, args, &op->fields[i]);
    /* whatever the reader's environment says */
    text_add(text, " strict=%d backend=%s compute=%s", context->strict,
             context->backend ? context->backend : "any",
             fattn_compute_name(context->compute));
}
