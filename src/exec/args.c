/* SPDX-License-Identifier: Apache-2.0 */
/* args.c — what follows from the operator tables alone: defaults, and the checks every call begins
 * with. */
#include "exec/args.h"

#include <string.h>

#include "base/error.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/layout.h"

/* The address of a field inside an args struct. */
static const void *at(const void *args, const fattn_field *field)
{
    return (const char *)args + field->offset;
}

void operator_args_init(const fattn_operator *op, void *args)
{
    if (!args) return;
    memset(args, 0, op->args_size);
    memcpy(args, &op->args_size,
           sizeof(size_t)); /* `size` is the first field of every args struct */
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *f = &op->fields[i];
        void *value = (char *)args + f->offset;
        switch (f->kind) {
        case FATTN_FIELD_INT:
            *(int64_t *)value = f->default_int;
            break;
        case FATTN_FIELD_BOOL:
            *(bool *)value = f->default_int != 0;
            break;
        case FATTN_FIELD_FLOAT:
            *(double *)value = f->default_float;
            break;
        case FATTN_FIELD_STRING:
            *(const char **)value = f->default_text;
            break;
        default:
            break; /* pointers and lists start absent */
        }
    }
}

/* true when the field holds what args_init() put there; for pointers and lists: absent. */
static bool is_default(const void *args, const fattn_field *f)
{
    const void *value = at(args, f);
    switch (f->kind) {
    case FATTN_FIELD_INT:
        return *(const int64_t *)value == f->default_int;
    case FATTN_FIELD_BOOL:
        return *(const bool *)value == (f->default_int != 0);
    case FATTN_FIELD_FLOAT:
        return *(const double *)value == f->default_float;
    case FATTN_FIELD_STRING: {
        const char *text = *(const char *const *)value, *usual = f->default_text;
        return text == usual || (text && usual && strcmp(text, usual) == 0);
    }
    case FATTN_FIELD_INTS: {
        const fattn_int_array *list = value;
        return !list->data || list->count == 0;
    }
    case FATTN_FIELD_TENSORS_IN: {
        const fattn_tensor_array *list = value;
        return !list->data || list->count == 0;
    }
    default:
        return *(const void *const *)value == NULL;
    }
}

enum { LIST_MAX = 1 << 24, TEXT_MAX = 64 }; /* sanity bounds on what comes by pointer */

static fattn_status check_list(const fattn_operator *op, const fattn_field *f, const void *data,
                               int64_t count)
{
    REQUIRE(count >= 0 && count <= LIST_MAX, FATTN_E_ARG,
            "%s: %s: a list of %lld entries; 0..%d fit", op->name, f->name, (long long)count,
            LIST_MAX);
    REQUIRE(data || count == 0, FATTN_E_ARG, "%s: %s: the list has %lld entries but no data",
            op->name, f->name, (long long)count);
    return FATTN_OK;
}

static fattn_status check_tensors(const fattn_operator *op, const fattn_field *f,
                                  const fattn_tensor_array *list, bool need_data)
{
    TRY(check_list(op, f, list->data, list->count));
    for (int64_t i = 0; i < list->count; i++) {
        REQUIRE(list->data[i], FATTN_E_ARG, "%s: %s: entry %lld is NULL", op->name, f->name,
                (long long)i);
        TRY(tensor_check(list->data[i], f->name, need_data));
    }
    return FATTN_OK;
}

static fattn_status check_tensor(const fattn_field *f, const fattn_tensor *tensor,
                                 fattn_args_need need)
{
    const bool host = f->flags & FATTN_FIELD_HOST; /* its value belongs to a plan */
    TRY(tensor_check(tensor, f->name, need == ARGS_DATA || (host && need == ARGS_PLAN)));
    if (f->kind == FATTN_FIELD_TENSOR_IN || f->flags & FATTN_FIELD_BY_FLAG) return FATTN_OK;
    return tensor_check_output(tensor, f->name);
}

static fattn_status check_field(const fattn_operator *op, const fattn_field *f, const void *args,
                                fattn_args_need need)
{
    const void *value = at(args, f);
    const bool output = f->kind == FATTN_FIELD_TENSOR_OUT;
    const bool missing = f->kind != FATTN_FIELD_INT && is_default(args, f);

    REQUIRE(!(f->flags & FATTN_FIELD_REQUIRED) || !missing || (output && need == ARGS_SHAPES),
            FATTN_E_ARG, "%s: %s is required: %s", op->name, f->name, message_say(f->help));
    switch (f->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT:
        return missing ? FATTN_OK : check_tensor(f, *(const fattn_tensor *const *)value, need);
    case FATTN_FIELD_TENSORS_IN:
        return check_tensors(op, f, value, need == ARGS_DATA);
    case FATTN_FIELD_INTS:
        return check_list(op, f, ((const fattn_int_array *)value)->data,
                          ((const fattn_int_array *)value)->count);
    case FATTN_FIELD_FLOAT: {
        const double x = *(const double *)value;
        REQUIRE(x - x == 0, FATTN_E_ARG, "%s: %s is %g; it must be finite", op->name, f->name, x);
        return FATTN_OK;
    }
    case FATTN_FIELD_STRING: {
        const char *text = *(const char *const *)value;
        REQUIRE(!text || strnlen(text, TEXT_MAX) < TEXT_MAX, FATTN_E_ARG,
                "%s: %s is longer than any name it could be", op->name, f->name);
        return FATTN_OK;
    }
    default:
        return FATTN_OK;
    }
}

fattn_status operator_args_check(const fattn_operator *op, const void *args, fattn_args_need need)
{
    REQUIRE(args, FATTN_E_ARG, "%s: args is NULL; pass a struct set up by fattn_%s_args_init()",
            op->name, op->name);
    const size_t size = *(const size_t *)args;
    REQUIRE(size >= op->args_size && size <= op->args_size + 4096, FATTN_E_ARG,
            "%s: args->size is %zu, this version knows %zu; call fattn_%s_args_init() first",
            op->name, size, op->args_size, op->name);
    for (size_t i = op->args_size; i < size; i++)
        REQUIRE(
            MUTANT(61, ((const char *)args)[i] == 0, true), FATTN_E_ARG,
            "%s: args->size is %zu and bytes beyond %zu are set: a newer caller asks for something "
            "this version does not know",
            op->name, size, op->args_size);
    for (int i = 0; i < op->n_fields; i++) TRY(check_field(op, &op->fields[i], args, need));
    return FATTN_OK;
}
