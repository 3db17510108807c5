/* SPDX-License-Identifier: Apache-2.0 */
/* shake_print.c — a shaken call for people: what a fuzzer's input means. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/shake.h"

static void print_tensor(const char *name, const fattn_tensor *t)
{
    fprintf(stderr, "  %s: %s(%d) rank %d data %s [", name, fattn_dtype_name(t->dtype),
            (int)t->dtype, t->rank, t->data ? "yes" : "NULL");
    for (int i = 0; i < t->rank && i < FATTN_MAX_RANK; i++)
        fprintf(stderr, " %" PRId64 ":%" PRId64, t->shape[i], t->strides[i]);
    fprintf(stderr, " ] (extent:stride)\n");
}

static void print_field(const shaken *k, const fattn_field *f)
{
    const void *at = k->args + f->offset;
    const fattn_int_array *list = at;
    const fattn_tensor_array *vector = at;
    switch (f->kind) {
    case FATTN_FIELD_INT:
        fprintf(stderr, "  %s: %" PRId64 "\n", f->name, *(const int64_t *)at);
        return;
    case FATTN_FIELD_FLOAT:
        fprintf(stderr, "  %s: %a\n", f->name, *(const double *)at);
        return;
    case FATTN_FIELD_BOOL:
        fprintf(stderr, "  %s: %d\n", f->name, *(const bool *)at);
        return;
    case FATTN_FIELD_STRING: {
        const char *text = *(const char *const *)at;
        fprintf(stderr, "  %s: %s\n", f->name, text ? text : "NULL");
        return;
    }
    case FATTN_FIELD_INTS:
        if (!list->data && !list->count) return;
        fprintf(stderr, "  %s: %s, count %" PRId64 ":", f->name, list->data ? "data" : "NULL",
                list->count);
        for (int64_t i = 0; list->data && i < list->count && i < SHAKE_ENTRIES; i++)
            fprintf(stderr, " %" PRId64, list->data[i]);
        fputc('\n', stderr);
        return;
    case FATTN_FIELD_TENSORS_IN:
        if (!vector->data && !vector->count) return;
        fprintf(stderr, "  %s: %s, count %" PRId64 "\n", f->name, vector->data ? "data" : "NULL",
                vector->count);
        for (int64_t i = 0; vector->data && i < vector->count && i < SHAKE_TENSORS; i++)
            if (vector->data[i]) print_tensor(f->name, vector->data[i]);
        return;
    default:
        if (f->kind != FATTN_FIELD_INT_OUT && *(const fattn_tensor *const *)at)
            print_tensor(f->name, *(const fattn_tensor *const *)at);
    }
}

void shake_print(const shaken *k)
{
    size_t size;
    memcpy(&size, k->args, sizeof size);
    fprintf(stderr, "%s\n  size: %zu of %zu\n", k->base->text, size, k->base->op->args_size);
    for (int i = 0; i < k->base->op->n_fields; i++) print_field(k, &k->base->op->fields[i]);
}
