/* SPDX-License-Identifier: Apache-2.0 */
/* call.c — moves a problem line's call between fences and restores it. */
#include "garbage/call.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SLOT = 8192, TAME_ELEMENTS = 1 << 16 };

void call_note(call *c, const char *format, ...)
{
    const size_t used = strlen(c->log);
    va_list list;
    va_start(list, format);
    vsnprintf(c->log + used, sizeof c->log - used, format, list);
    va_end(list);
}

/* ---- what tensors claim -----------------------------------------------------------------------
 */

bool tensor_empty(const fattn_tensor *t)
{
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] == 0) return true;
    return false;
}

int64_t tensor_count(const fattn_tensor *t)
{
    int64_t count = 1;
    if (tensor_empty(t)) return 0;
    for (int i = 0; i < t->rank; i++) count *= t->shape[i];
    return count;
}

/* Saturates far beyond 63 bits, so that sums of products stay comparable. */
static __int128 product(__int128 a, __int128 b)
{
    const __int128 limit = (__int128)1 << 100;
    if (a == 0 || b == 0) return 0;
    const __int128 size = a < 0 ? -a : a, other = b < 0 ? -b : b;
    const bool negative = (a < 0) != (b < 0);
    if (size > limit / other) return negative ? -limit : limit;
    return a * b;
}

bool tensor_span(const fattn_tensor *t, int64_t *low, int64_t *high)
{
    const __int128 size = (__int128)fattn_dtype_size(t->dtype);
    __int128 count = size, down = 0, up = 0;
    *low = 0, *high = -1;
    if (t->rank < 0 || t->rank > FATTN_MAX_RANK || size == 0) return false;
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] < 0) return false;
    if (tensor_empty(t)) return true;
    for (int i = 0; i < t->rank; i++) {
        const __int128 reach = product(t->shape[i] - 1, t->strides[i]);
        count = product(count, t->shape[i]);
        *(reach < 0 ? &down : &up) += reach;
    }
    if (count > INT64_MAX || product(up - down + 1, size) > INT64_MAX) return false;
    *low = (int64_t)down, *high = (int64_t)up;
    return true;
}

int64_t tensor_byte(const fattn_tensor *t, int64_t i)
{
    int64_t offset = 0;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        offset += i % t->shape[axis] * t->strides[axis];
        i /= t->shape[axis];
    }
    return offset * (int64_t)fattn_dtype_size(t->dtype);
}

tensor_state call_state(const call_tensor *t)
{
    int64_t low, high;
    if (!tensor_span(&t->t, &low, &high)) return TENSOR_MALFORMED;
    if (tensor_empty(&t->t)) return TENSOR_TAME;
    const int64_t size = (int64_t)fattn_dtype_size(t->t.dtype), reach = wild_reach() / size;
    if (high - low + 1 <= (int64_t)t->slot.capacity / size && tensor_count(&t->t) <= TAME_ELEMENTS)
        return TENSOR_TAME;
    return high < reach && low >= -reach ? TENSOR_WILD : TENSOR_FAR;
}

static void place(call_tensor *t)
{
    int64_t low, high;
    t->t.data = wild_middle();
    if (call_state(t) == TENSOR_TAME && !tensor_empty(&t->t)) {
        tensor_span(&t->t, &low, &high);
        t->t.data = fenced_end(&t->slot) - (size_t)(high + 1) * fattn_dtype_size(t->t.dtype);
    }
    if (t->no_data) t->t.data = NULL;
}

void call_place(call *c)
{
    for (int i = 0; i < c->n_tensors; i++) place(&c->tensors[i]);
}

bool call_uses(const call *c, const call_tensor *t)
{
    const void *at = call_at(c, t->field);
    if (t->field->kind != FATTN_FIELD_TENSORS_IN) return *(const fattn_tensor *const *)at == &t->t;
    const fattn_tensor_array *list = at;
    for (int64_t i = 0; list->data && i < list->count && i < CALL_TENSORS; i++)
        if (list->data[i] == &t->t) return true;
    return false;
}

/* ---- making -----------------------------------------------------------------------------------
 */

/* The slot full of the content again and again, the last copy flush against the end. */
static void tile(const call_tensor *t, unsigned char *slot)
{
    const size_t size = fattn_dtype_size(t->legal.dtype);
    size_t left = t->slot.capacity;
    while (t->bytes > 0 && left > 0) {
        const size_t n = t->bytes < left ? t->bytes : left;
        memcpy(slot + left - n, t->content + t->bytes - n, n);
        left -= n;
    }
    if (!t->patched) return;
    unsigned char *at = slot + t->slot.capacity - (t->patch_at + 1) * size;
    const int32_t narrow = (int32_t)t->patch;
    memcpy(at, size == 4 ? (const void *)&narrow : (const void *)&t->patch, size);
}

static void protect(const fenced *slot, bool writable)
{
    const int rights = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    if (mprotect(slot->base, slot->capacity, rights)) abort();
}

static void refill(const call_tensor *t)
{
    if (is_input(t)) protect(&t->slot, true);
    tile(t, t->slot.base);
    if (is_input(t)) protect(&t->slot, false);
}

void call_patch(call_tensor *t, size_t at, int64_t value)
{
    t->patched = true;
    t->patch_at = at;
    t->patch = value;
    refill(t);
}

static void add_tensor(call *c, const fattn_field *field, const fattn_tensor *t)
{
    if (c->n_tensors == CALL_TENSORS) abort();
    call_tensor *own = &c->tensors[c->n_tensors++];
    int64_t low, high;
    if (!tensor_span(t, &low, &high)) abort();
    const size_t size = fattn_dtype_size(t->dtype);
    *own = (call_tensor){
        .field = field, .legal = *t, .t = *t, .bytes = (size_t)(high - low + 1) * size};
    own->content = (const unsigned char *)t->data + low * (int64_t)size;
    own->slot = fenced_new(own->bytes > SLOT ? own->bytes : SLOT);
    if (field->kind != FATTN_FIELD_TENSOR_OUT) refill(own);
}

static void add_field(call *c, const fattn_field *f)
{
    const void *at = (const char *)c->line->args + f->offset;
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT: {
        const fattn_tensor *t = *(const fattn_tensor *const *)at;
        if (t) add_tensor(c, f, t);
        return;
    }
    case FATTN_FIELD_TENSORS_IN: {
        const fattn_tensor_array *list = at;
        for (int64_t i = 0; i < list->count; i++) add_tensor(c, f, list->data[i]);
        return;
    }
    case FATTN_FIELD_INTS: {
        const fattn_int_array *list = at;
        c->lists[c->n_lists++] = (call_list){f, fenced_new(SLOT), list->data, list->count};
        return;
    }
    case FATTN_FIELD_STRING:
        c->texts[c->n_texts++] = (call_text){f, fenced_new(2 * SLOT), *(const char *const *)at};
        return;
    default:
        return;
    }
}

call *call_new(const char *text, fattn_context *context)
{
    line_error error = {.text = ""};
    call *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->text = text;
    c->line = line_open(text, &error);
    if (!c->line || line_outputs(c->line, context) != FATTN_OK) {
        fprintf(stderr, "%s\n  %s%s\n", text, error.text, c->line ? fattn_error_message() : "");
        line_destroy(c->line);
        free(c);
        return NULL;
    }
    c->op = c->line->op;
    c->args_slot = fenced_new(SLOT);
    for (int i = 0; i < c->op->n_fields; i++) add_field(c, &c->op->fields[i]);
    call_restore(c);
    return c;
}

void call_free(call *c)
{
    if (!c) return;
    for (int i = 0; i < c->n_tensors; i++) fenced_free(&c->tensors[i].slot);
    for (int i = 0; i < c->n_lists; i++) fenced_free(&c->lists[i].slot);
    for (int i = 0; i < c->n_texts; i++) fenced_free(&c->texts[i].slot);
    fenced_free(&c->args_slot);
    line_destroy(c->line);
    free(c);
}

/* ---- restoring --------------------------------------------------------------------------------
 */

static void hook_tensors(call *c)
{
    c->n_vectors = 0;
    for (int i = 0; i < c->n_tensors; i++) {
        call_tensor *own = &c->tensors[i];
        if (own->field->kind != FATTN_FIELD_TENSORS_IN) {
            *(const fattn_tensor **)call_at(c, own->field) = &own->t;
            continue;
        }
        fattn_tensor_array *list = call_at(c, own->field);
        if (i == 0 || c->tensors[i - 1].field != own->field)
            *list = (fattn_tensor_array){c->vectors[c->n_vectors++], 0};
        c->vectors[c->n_vectors - 1][list->count++] = &own->t;
    }
}

static void hook_lists(call *c)
{
    for (int i = 0; i < c->n_lists; i++) {
        const call_list *own = &c->lists[i];
        fattn_int_array *list = call_at(c, own->field);
        *list = (fattn_int_array){NULL, own->count};
        if (!own->content) continue;
        int64_t *data = (int64_t *)(void *)fenced_end(&own->slot) - own->count;
        if (own->count) memcpy(data, own->content, (size_t)own->count * sizeof *data);
        list->data = data;
    }
}

static void hook_texts(call *c)
{
    for (int i = 0; i < c->n_texts; i++) {
        const call_text *own = &c->texts[i];
        const char **text = call_at(c, own->field);
        *text = NULL;
        if (!own->content) continue;
        const size_t room = strlen(own->content) + 1;
        *text = memcpy(fenced_end(&own->slot) - room, own->content, room);
    }
}

static void hook_cells(call *c)
{
    c->n_cells = 0;
    for (int i = 0; i < c->op->n_fields; i++)
        if (c->op->fields[i].kind == FATTN_FIELD_INT_OUT)
            *(int64_t **)call_at(c, &c->op->fields[i]) = &c->cells[c->n_cells++];
}

void call_restore(call *c)
{
    c->log[0] = '\0';
    c->strides_changed = c->extreme = false;
    c->wild_lists.n = 0;
    c->args = fenced_end(&c->args_slot) - c->op->args_size;
    memcpy(c->args, c->line->args, c->op->args_size);
    for (int i = 0; i < c->n_tensors; i++) {
        call_tensor *t = &c->tensors[i];
        t->t = t->legal;
        t->no_data = t->silent = false;
        if (!t->patched) continue;
        t->patched = false;
        refill(t);
    }
    hook_tensors(c);
    hook_lists(c);
    hook_texts(c);
    hook_cells(c);
    call_place(c);
}

/* ---- canaries ---------------------------------------------------------------------------------
 */

void call_arm(call *c, unsigned char canary)
{
    memset(c->cells, canary, sizeof c->cells);
    for (int i = 0; i < c->n_tensors; i++) {
        const call_tensor *t = &c->tensors[i];
        if (t->field->kind == FATTN_FIELD_TENSOR_OUT)
            memset(t->slot.base, canary, t->slot.capacity);
        else if (t->field->kind == FATTN_FIELD_TENSOR_INOUT)
            tile(t, t->slot.base);
    }
}

static bool all_bytes(const void *memory, size_t n, unsigned char byte)
{
    const unsigned char *bytes = memory;
    return n == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, n - 1) == 0);
}

/* The slot as it was armed. */
static void armed_slot(const call_tensor *t, unsigned char canary, unsigned char *out)
{
    if (t->field->kind == FATTN_FIELD_TENSOR_OUT)
        memset(out, canary, t->slot.capacity);
    else
        tile(t, out);
}

static bool slot_untouched(const call_tensor *t, unsigned char canary)
{
    if (is_input(t)) return true; /* read-only */
    if (t->field->kind == FATTN_FIELD_TENSOR_OUT)
        return all_bytes(t->slot.base, t->slot.capacity, canary);
    unsigned char armed[SLOT];
    if (t->slot.capacity > sizeof armed) abort();
    armed_slot(t, canary, armed);
    return memcmp(armed, t->slot.base, t->slot.capacity) == 0;
}

bool call_untouched(const call *c, unsigned char canary)
{
    for (int i = 0; i < c->n_tensors; i++)
        if (!slot_untouched(&c->tensors[i], canary)) return false;
    return all_bytes(c->cells, sizeof c->cells, canary);
}

/* Puts what may be written back to the armed state, in a copy, and compares. */
static bool only_elements(const call_tensor *t, unsigned char canary)
{
    if (is_input(t)) return true;
    const size_t size = fattn_dtype_size(t->t.dtype);
    unsigned char *armed = malloc(t->slot.capacity);
    if (!armed) abort();
    armed_slot(t, canary, armed);
    const int64_t origin = (const unsigned char *)t->t.data - t->slot.base;
    for (int64_t i = 0; t->t.data && i < tensor_count(&t->t); i++) {
        const int64_t at = tensor_byte(&t->t, i) + origin;
        memcpy(armed + at, t->slot.base + at, size);
    }
    const bool same = memcmp(armed, t->slot.base, t->slot.capacity) == 0;
    free(armed);
    return same;
}

bool call_only_elements(const call *c, unsigned char canary)
{
    for (int i = 0; i < c->n_tensors; i++) {
        const call_tensor *t = &c->tensors[i];
        const bool written = call_writes(c, t) && call_state(t) == TENSOR_TAME;
        if (!(written ? only_elements(t, canary) : slot_untouched(t, canary))) return false;
    }
    return true;
}
