/* SPDX-License-Identifier: Apache-2.0 */
/* origin.c — copies args structs by their field table and compares later ones with the copy. */
#include "exec/origin.h"

#include <string.h>

#include "base/error.h"
#include "base/mutant.h"
#include "core/layout.h"

/* Bytes of the number that a HOST tensor holds; 0 when it holds none. */
static size_t host_bytes(const fattn_field *f, const fattn_tensor *tensor)
{
    const bool host = (f->flags & FATTN_FIELD_HOST) && tensor->data && tensor_elements(tensor) == 1;
    return host ? fattn_dtype_size(tensor->dtype) : 0;
}

static fattn_tensor *copy_tensor(const fattn_field *f, const fattn_tensor *tensor,
                                 fattn_arena *arena)
{
    fattn_tensor *copy = arena_alloc(arena, 1, sizeof *copy);
    if (!copy) return NULL;
    *copy = *tensor;
    copy->data = NULL;
    const size_t bytes = host_bytes(f, tensor);
    if (bytes == 0) return copy;
    copy->data = arena_alloc(arena, bytes, 1);
    if (!copy->data) return NULL;
    memcpy(copy->data, tensor->data, bytes);
    return copy;
}

static bool copy_ints(fattn_int_array *list, fattn_arena *arena)
{
    if (!list->data) return true;
    const size_t count = (size_t)list->count;
    int64_t *data = arena_alloc(arena, count, sizeof *data);
    if (!data) return false;
    if (count > 0) memcpy(data, list->data, count * sizeof *data);
    list->data = data;
    return true;
}

static bool copy_tensors(const fattn_field *f, fattn_tensor_array *list, fattn_arena *arena)
{
    if (!list->data) return true;
    const fattn_tensor **data = arena_alloc(arena, (size_t)list->count, sizeof *data);
    if (!data) return false;
    for (int64_t i = 0; i < list->count; i++) {
        data[i] = copy_tensor(f, list->data[i], arena);
        if (!data[i]) return false;
    }
    list->data = data;
    return true;
}

static bool copy_text(const char **text, fattn_arena *arena)
{
    if (!*text) return true;
    const size_t length = strlen(*text) + 1;
    char *copy = arena_alloc(arena, length, 1);
    if (!copy) return false;
    memcpy(copy, *text, length);
    *text = copy;
    return true;
}

static bool copy_field(const fattn_field *f, void *value, fattn_arena *arena)
{
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT: {
        const fattn_tensor **tensor = value;
        if (*tensor) *tensor = copy_tensor(f, *tensor, arena);
        return true;
    }
    case FATTN_FIELD_TENSORS_IN:
        return copy_tensors(f, value, arena);
    case FATTN_FIELD_INTS:
        return copy_ints(value, arena);
    case FATTN_FIELD_STRING:
        return copy_text(value, arena);
    default:
        return true;
    }
}

void *origin_copy(const fattn_operator *op, const void *args, fattn_arena *arena)
{
    char *copy = arena_alloc(arena, op->args_size, 1);
    if (!copy) return NULL;
    memcpy(copy, args, op->args_size);
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        const void *given = (const char *)args + f->offset;
        if (!copy_field(f, copy + f->offset, arena)) return NULL;
        /* a tensor that was given and could not be copied */
        if (f->kind <= FATTN_FIELD_TENSOR_INOUT && *(const void *const *)given &&
            !*(const void *const *)(copy + f->offset))
            return NULL;
    }
    return copy;
}

static bool same_tensor(const fattn_tensor *a, const fattn_tensor *b)
{
    if (!a || !b) return a == b;
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    const size_t bytes = (size_t)a->rank * sizeof a->shape[0];
    return memcmp(a->shape, b->shape, bytes) == 0 &&
           MUTANT(63, memcmp(a->strides, b->strides, bytes) == 0, true);
}

static bool has_data(const fattn_tensor *tensor)
{
    if (!tensor || tensor->data) return true;
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] == 0) return true;
    return false;
}

static bool same_tensors(const fattn_tensor_array *a, const fattn_tensor_array *b)
{
    if (a->count != b->count || !a->data != !b->data) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (!b->data[i] || !same_tensor(a->data[i], b->data[i]) || !has_data(b->data[i]))
            return false;
    return true;
}

static bool same_ints(const fattn_int_array *a, const fattn_int_array *b)
{
    if (a->count != b->count || !a->data != !b->data) return false;
    return a->count == 0 || memcmp(a->data, b->data, (size_t)a->count * sizeof *a->data) == 0;
}

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

/* A HOST tensor: the value, too. */
static bool same_number(const fattn_field *f, const fattn_tensor *first, const fattn_tensor *later)
{
    const size_t bytes = first ? host_bytes(f, first) : 0;
    return bytes == 0 || MUTANT(105, memcmp(first->data, later->data, bytes) == 0, true);
}

static bool same_field(const fattn_field *f, const void *a, const void *b)
{
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT: {
        const fattn_tensor *first = *(const fattn_tensor *const *)a;
        const fattn_tensor *later = *(const fattn_tensor *const *)b;
        return same_tensor(first, later) && has_data(later) && same_number(f, first, later);
    }
    case FATTN_FIELD_TENSORS_IN:
        return same_tensors(a, b);
    case FATTN_FIELD_INT:
        return f->flags & FATTN_FIELD_PER_RUN || *(const int64_t *)a == *(const int64_t *)b;
    case FATTN_FIELD_FLOAT:
        return *(const double *)a == *(const double *)b;
    case FATTN_FIELD_BOOL:
        return *(const bool *)a == *(const bool *)b;
    case FATTN_FIELD_STRING:
        return same_text(*(const char *const *)a, *(const char *const *)b);
    case FATTN_FIELD_INTS:
        return same_ints(a, b);
    case FATTN_FIELD_INT_OUT:
        return true; /* an address */
    }
    return false;
}

fattn_status origin_match(const fattn_operator *op, const void *origin, const void *args)
{
    REQUIRE(args && *(const size_t *)args >= op->args_size, FATTN_E_ARG,
            "plan of %s: args is NULL or not set up by fattn_%s_args_init()", op->name, op->name);
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        REQUIRE(same_field(f, (const char *)origin + f->offset, (const char *)args + f->offset),
                FATTN_E_ARG,
                "plan of %s: %s differs from the planned one in more than its address (or has no "
                "data); "
                "make a new plan",
                op->name, f->name);
    }
    return FATTN_OK;
}
