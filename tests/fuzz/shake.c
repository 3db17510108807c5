/* SPDX-License-Identifier: Apache-2.0 */
/* shake.c — samples and what can happen to them. */
#include "fuzz/shake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/room.h"

enum { SLOT = 4096, MOST_ELEMENTS = 256, CANARY = 0xa5 };

static void *field_at(const void *args, const fattn_field *f)
{
    return (char *)(uintptr_t)args + f->offset;
}

static bool is_tensor(const fattn_field *f) { return f->kind <= FATTN_FIELD_TENSOR_INOUT; }

/* ---- samples ---- */

static void add_tensor(sample *b, const fattn_field *f, const fattn_tensor *t)
{
    int64_t low, high;
    if (b->n_tensors == SHAKE_TENSORS) failed("%s: too many tensors", b->text);
    sample_tensor *own = &b->tensors[b->n_tensors++];
    claim_span(t, &low, &high);
    const size_t size = fattn_dtype_size(t->dtype), legal = (size_t)(high - low + 1) * size;
    *own = (sample_tensor){.field = f, .t = *t, .bytes = legal > SLOT ? legal : SLOT};
    own->slot = aligned_alloc(64, (own->bytes + 63) / 64 * 64);
    own->content = malloc(own->bytes);
    if (!own->slot || !own->content) failed("out of memory");
    memset(own->content, 0, own->bytes);
    const unsigned char *first = t->data;
    if (legal > 0) first += low * (int64_t)size;
    for (size_t left = own->bytes;
         left > 0 && legal > 0;) { /* again and again, one flush at the end */
        const size_t n = left < legal ? left : legal;
        left -= n;
        memcpy(own->content + left, first + (legal - n), n);
    }
    memcpy(own->slot, own->content, own->bytes);
}

bool sample_open(sample *b, const char *text, fattn_context *context)
{
    line_error error = {.text = ""};
    problem_line *line = line_open(text, &error);
    *b = (sample){.text = text, .line = line};
    if (!line || line_outputs(line, context) != FATTN_OK) {
        fprintf(stderr, "%s\n  %s%s\n", text, error.text, line ? fattn_error_message() : "");
        return false;
    }
    b->op = line->op;
    b->args = line->args;
    for (int i = 0; i < b->op->n_fields; i++) {
        const fattn_field *f = &b->op->fields[i];
        const void *at = field_at(b->args, f);
        if (is_tensor(f) && *(const fattn_tensor *const *)at)
            add_tensor(b, f, *(const fattn_tensor *const *)at);
        const fattn_tensor_array *list = at;
        for (int64_t t = 0; f->kind == FATTN_FIELD_TENSORS_IN && t < list->count; t++)
            add_tensor(b, f, list->data[t]);
    }
    return b->op->args_size <= SHAKE_ARGS / 2;
}

/* ---- a fresh copy ---- */

static void copy_list(shaken *k, const fattn_field *f)
{
    fattn_int_array *list = field_at(k->args, f);
    int64_t *own = k->lists[k->n_lists++];
    if (list->data && list->count > 0 && list->count <= SHAKE_ENTRIES)
        memcpy(own, list->data, (size_t)list->count * sizeof *own);
    for (int64_t i = list->data ? list->count : 0; i < SHAKE_ENTRIES; i++) own[i] = i;
    if (list->data) list->data = own;
}

static void copy_vector(shaken *k, const fattn_field *f)
{
    fattn_tensor_array *list = field_at(k->args, f);
    const fattn_tensor **own = k->vectors[k->n_vectors++];
    int64_t n = 0;
    for (int i = 0; i < k->base->n_tensors; i++)
        if (k->base->tensors[i].field == f) own[n++] = &k->tensors[i];
    for (int64_t i = n; i < SHAKE_TENSORS; i++) own[i] = n ? own[i % n] : &k->tensors[0];
    if (list->data) *list = (fattn_tensor_array){own, n};
}

static void copy_sample(shaken *k, const sample *b)
{
    k->base = b;
    k->n_lists = k->n_vectors = k->n_cells = 0;
    memcpy(k->args, b->args, b->op->args_size);
    memset(k->args + b->op->args_size, 0, 64);
    for (int i = 0; i < b->n_tensors; i++) k->tensors[i] = b->tensors[i].t;
    k->tensors[b->n_tensors] = b->tensors[0].t;
    for (int i = 0; i < b->op->n_fields; i++) {
        const fattn_field *f = &b->op->fields[i];
        if (f->kind == FATTN_FIELD_INTS) copy_list(k, f);
        if (f->kind == FATTN_FIELD_TENSORS_IN) copy_vector(k, f);
        if (f->kind == FATTN_FIELD_INT_OUT)
            *(int64_t **)field_at(k->args, f) = &k->cells[k->n_cells++];
    }
    for (int i = 0; i < b->n_tensors; i++)
        if (is_tensor(b->tensors[i].field))
            *(const fattn_tensor **)field_at(k->args, b->tensors[i].field) = &k->tensors[i];
}

/* ---- changes ---- */

static void make_contiguous(fattn_tensor *t)
{
    int64_t stride = 1;
    if (t->rank < 0 || t->rank > FATTN_MAX_RANK) return;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->strides[i] = stride;
        if (t->shape[i] <= 0 || stride > INT64_MAX / t->shape[i]) return;
        stride *= t->shape[i];
    }
}

static int some_axis(const fattn_tensor *t, source *s)
{
    return source_pick(s, t->rank >= 1 && t->rank <= FATTN_MAX_RANK ? t->rank : FATTN_MAX_RANK);
}

static void change_tensor(fattn_tensor *t, source *s)
{
    const int a = some_axis(t, s), b = some_axis(t, s);
    switch (source_pick(s, 12)) {
    case 0:
        t->dtype = (fattn_dtype)(source_pick(s, FATTN_DTYPE_COUNT + 2) - 1);
        return;
    case 1:
        t->dtype = (fattn_dtype)source_int(s);
        return;
    case 2:
        t->rank = source_pick(s, FATTN_MAX_RANK + 1);
        make_contiguous(t);
        return;
    case 3:
        t->rank = (int32_t)source_int(s);
        return;
    case 4:
    case 5:
        t->shape[a] = source_extent(s);
        make_contiguous(t);
        return;
    case 6:
        t->shape[a] = source_extent(s);
        return;
    case 7:
        t->strides[a] = source_extent(s);
        return;
    case 8:
        t->strides[a] *= t->strides[a] > INT64_MIN ? -1 : 0;
        return;
    case 9:
        t->strides[a] = 0;
        return;
    case 10: {
        const int64_t shape = t->shape[a], stride = t->strides[a];
        t->shape[a] = t->shape[b], t->strides[a] = t->strides[b];
        t->shape[b] = shape, t->strides[b] = stride;
        return;
    }
    default:
        t->shape[a] += source_pick(s, 2) ? t->shape[a] < INT64_MAX : -(t->shape[a] > INT64_MIN);
    }
}

static void change_list(fattn_int_array *list, int64_t *own, source *s)
{
    switch (source_pick(s, 6)) {
    case 0:
        *list = (fattn_int_array){NULL, source_pick(s, 2) ? 0 : source_nasty(s)};
        return;
    case 1:
        *list = (fattn_int_array){own, source_pick(s, SHAKE_ENTRIES + 1)};
        return;
    case 2: { /* a claim that no list can be true to */
        const int64_t count = source_nasty(s);
        *list = (fattn_int_array){own, count >= 0 && count <= INT64_C(1) << 24 ? -1 : count};
        return;
    }
    default:
        own[source_pick(s, list->count > 0 && list->count < SHAKE_ENTRIES ? (int)list->count
                                                                          : SHAKE_ENTRIES)] =
            source_extent(s);
    }
}

static void change_vector(fattn_tensor_array *list, const fattn_tensor **own, source *s)
{
    switch (source_pick(s, 5)) {
    case 0:
        *list = (fattn_tensor_array){NULL, source_pick(s, 2) ? 0 : source_nasty(s)};
        return;
    case 1:
        *list = (fattn_tensor_array){own, source_pick(s, SHAKE_TENSORS + 1)};
        return;
    case 2: {
        const int64_t count = source_nasty(s);
        *list = (fattn_tensor_array){own, count >= 0 && count <= INT64_C(1) << 24 ? -1 : count};
        return;
    }
    case 3:
        own[source_pick(s, 8)] = NULL;
        return;
    default: {
        const int i = source_pick(s, 8), j = source_pick(s, 8);
        own[i] = own[j];
    }
    }
}

static double some_float(source *s)
{
    static const double values[] = {0.0,    -0.0,  1.0,   -1.0,   0.125,
                                    1e-300, 1e300, -1e38, 5e-324, 1e-45};
    const int pick = source_pick(s, 16);
    if (pick < 10) return values[pick];
    const uint64_t bits = source_bits(s, 4) << 32 | source_bits(s, 4);
    double x;
    memcpy(&x, &bits, sizeof x); /* NaN and Inf, too */
    return x;
}

static const char *some_text(source *s)
{
    static const char *const texts[] = {
        "BSH",       "SBH",
        "BSND",      "BNSD",
        "TND",       "NTD",
        "NSD",       "SH",
        "BSH_BNSD",  "BSND_BNSD",
        "BNSD_BSND", "NTD_TND",
        "TND_NTD",   "BNSD_NBSD",
        "BSND_NBSD", "BSH_NBSD",
        "BSNH",      "",
        "T",         "bsnd",
        "BNSD ",     "%s%n%n",
        "TND_",      "0123456789012345678901234567890123456789012345678901234567890123456789",
        NULL};
    return texts[source_pick(s, sizeof texts / sizeof texts[0])];
}

static void change_field(shaken *k, const fattn_field *f, source *s)
{
    void *at = field_at(k->args, f);
    int list = 0, vector = 0;
    for (const fattn_field *g = k->base->op->fields; g < f; g++) {
        list += g->kind == FATTN_FIELD_INTS;
        vector += g->kind == FATTN_FIELD_TENSORS_IN;
    }
    switch (f->kind) {
    case FATTN_FIELD_INT:
        *(int64_t *)at = source_extent(s);
        return;
    case FATTN_FIELD_FLOAT:
        *(double *)at = some_float(s);
        return;
    case FATTN_FIELD_BOOL:
        *(bool *)at = !*(bool *)at;
        return;
    case FATTN_FIELD_STRING:
        *(const char **)at = some_text(s);
        return;
    case FATTN_FIELD_INTS:
        change_list(at, k->lists[list], s);
        return;
    case FATTN_FIELD_TENSORS_IN:
        change_vector(at, k->vectors[vector], s);
        return;
    case FATTN_FIELD_INT_OUT:
        *(int64_t **)at = NULL;
        return;
    default:
        break;
    }
    const fattn_tensor **tensor = at;
    if (*tensor && source_pick(s, 4) == 0) {
        *tensor = NULL;
    } else if (!*tensor) { /* a tensor that the sample does not have: one like another */
        fattn_tensor *spare = &k->tensors[k->base->n_tensors];
        *spare = k->tensors[source_pick(s, k->base->n_tensors)];
        *tensor = spare;
        if (source_pick(s, 2)) change_tensor(spare, s);
    }
}

/* One extent becomes another wherever it stands, so that a call stays legal and becomes big. */
static void change_extent_everywhere(shaken *k, source *s)
{
    const fattn_operator *op = k->base->op;
    fattn_tensor *from = &k->tensors[source_pick(s, k->base->n_tensors)];
    const int64_t was = from->shape[some_axis(from, s)], is = source_extent(s);
    for (int i = 0; i < k->base->n_tensors; i++) {
        fattn_tensor *t = &k->tensors[i];
        bool changed = false;
        for (int a = 0; a < t->rank && a < FATTN_MAX_RANK; a++)
            if (t->shape[a] == was) t->shape[a] = is, changed = true;
        if (changed) make_contiguous(t);
    }
    for (int i = 0; i < op->n_fields; i++) {
        int64_t *number = field_at(k->args, &op->fields[i]);
        if (op->fields[i].kind == FATTN_FIELD_INT && *number == was) *number = is;
    }
    for (int l = 0; l < k->n_lists; l++)
        for (int i = 0; i < SHAKE_ENTRIES; i++)
            if (k->lists[l][i] == was) k->lists[l][i] = is;
}

static void change_dtype_everywhere(shaken *k, source *s)
{
    const fattn_dtype was = k->tensors[0].dtype,
                      is = (fattn_dtype)source_pick(s, FATTN_DTYPE_COUNT);
    for (int i = 0; i < k->base->n_tensors; i++)
        if (k->tensors[i].dtype == was) k->tensors[i].dtype = is;
}

static void change_size(shaken *k, source *s)
{
    const size_t own = k->base->op->args_size;
    const size_t sizes[] = {0,       1,          8,        own - 1,        own + 1,
                            own + 8, own + 4096, SIZE_MAX, (size_t)1 << 40};
    const size_t size = sizes[source_pick(s, 9)];
    memcpy(k->args, &size, sizeof size);
    memset(k->args + own, 0, SHAKE_ARGS - own);
    if (source_pick(s, 2)) k->args[own + (size_t)source_pick(s, 64)] = 1;
}

void shake_more(shaken *k, source *s, int changes)
{
    const sample *b = k->base;
    for (; changes > 0; changes--) {
        const int how = source_pick(s, 32);
        if (how == 0)
            change_size(k, s);
        else if (how == 1)
            change_dtype_everywhere(k, s);
        else if (how < 8)
            change_extent_everywhere(k, s);
        else if (how < 18)
            change_tensor(&k->tensors[source_pick(s, b->n_tensors)], s);
        else
            change_field(k, &b->op->fields[source_pick(s, b->op->n_fields)], s);
    }
}

int shake(shaken *k, const sample *b, source *s)
{
    const int changes = source_pick(s, 6);
    copy_sample(k, b);
    shake_more(k, s, changes);
    return changes;
}

/* ---- memory ---- */

static const sample_tensor *home(const shaken *k, int i)
{
    return &k->base->tensors[i < k->base->n_tensors ? i : 0];
}

void shake_place(shaken *k, source *s)
{
    for (int i = 0; i <= k->base->n_tensors; i++) {
        fattn_tensor *t = &k->tensors[i];
        const sample_tensor *own = home(k, i);
        const int64_t size = (int64_t)fattn_dtype_size(t->dtype),
                      room = size ? (int64_t)own->bytes / size : 0;
        int64_t low, high, legal = 1;
        for (int a = 0; a < own->t.rank; a++) legal *= own->t.shape[a];
        t->data = NULL;
        if (!claim_fits(t, room, room, legal > MOST_ELEMENTS ? legal : MOST_ELEMENTS)) continue;
        claim_span(t, &low, &high);
        if (high - low >= room) continue;
        t->data = own->slot + own->bytes - (high + 1) * size;
    }
    if (source_pick(s, 16) == 15) k->tensors[source_pick(s, k->base->n_tensors)].data = NULL;
}

static bool written(const shaken *k, int i)
{
    return k->tensors[i].data && home(k, i)->field->kind != FATTN_FIELD_TENSOR_IN &&
           home(k, i)->field->kind != FATTN_FIELD_TENSORS_IN;
}

/* The bytes from the first to the last element. */
static unsigned char *span(const fattn_tensor *t, size_t *bytes)
{
    const int64_t size = (int64_t)fattn_dtype_size(t->dtype);
    int64_t low, high;
    claim_span(t, &low, &high);
    *bytes = (size_t)((high - low + 1) * size);
    return (unsigned char *)t->data + low * size;
}

void shake_arm(shaken *k)
{
    for (int i = 0; i < k->base->n_tensors; i++) {
        size_t bytes;
        if (!written(k, i)) continue;
        const sample_tensor *own = home(k, i);
        unsigned char *at = span(&k->tensors[i], &bytes);
        if (own->field->kind == FATTN_FIELD_TENSOR_OUT)
            memset(at, CANARY, bytes);
        else
            memcpy(at, own->content + (at - own->slot), bytes);
    }
}

bool shake_untouched(const shaken *k)
{
    for (int i = 0; i < k->base->n_tensors; i++) {
        size_t bytes;
        if (!written(k, i)) continue;
        const sample_tensor *own = home(k, i);
        const unsigned char *at = span(&k->tensors[i], &bytes);
        if (own->field->kind == FATTN_FIELD_TENSOR_INOUT) {
            if (memcmp(at, own->content + (at - own->slot), bytes) != 0) return false;
        } else if (bytes > 0 && (*at != CANARY || memcmp(at, at + 1, bytes - 1) != 0)) {
            return false;
        }
    }
    return true;
}
