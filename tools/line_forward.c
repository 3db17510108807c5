/* SPDX-License-Identifier: Apache-2.0 */
/* line_forward.c — what a backward call takes from the forward, for a line that does not give it: dy by
 * fill, and softmax_max, softmax_sum, attention_in from the forward of the same arguments. */
#include "line_internal.h"

#include <string.h>

static const char *const results[] = {"attention_in", "softmax_max", "softmax_sum"};
static const char *const sources[] = {"attention_out", "softmax_max", "softmax_sum"};
enum { RESULTS = 3 };

static bool given(const problem_line *line, const char *name)
{
    return line_tensor_of(line, name, 0) != NULL;
}

static size_t size_of(const fattn_field *field)
{
    switch (field->kind) {
    case FATTN_FIELD_INT:
        return sizeof(int64_t);
    case FATTN_FIELD_FLOAT:
        return sizeof(double);
    case FATTN_FIELD_BOOL:
        return sizeof(bool);
    case FATTN_FIELD_INTS:
        return sizeof(fattn_int_array);
    case FATTN_FIELD_TENSORS_IN:
        return sizeof(fattn_tensor_array);
    default:
        return sizeof(void *);
    }
}

/* Every parameter that both have. */
static void copy_args(const problem_line *line, const fattn_operator *forward, void *args)
{
    forward->args_init(args);
    for (int i = 0; i < forward->n_fields; i++) {
        const fattn_field *to = &forward->fields[i];
        const fattn_field *from = fattn_field_find(line->op, to->name);
        if (!from || to->kind == FATTN_FIELD_TENSOR_OUT || to->kind == FATTN_FIELD_INT_OUT ||
            from->kind != to->kind)
            continue;
        memcpy((char *)args + to->offset, (const char *)line->args + from->offset, size_of(to));
    }
}

static bool is_backward(const problem_line *line)
{
    return strcmp(line->op->name, "fusion_attention_grad") == 0;
}

static bool derive(problem_line *line, const char *name, const fattn_tensor *shape,
                   line_error *error)
{
    if (given(line, name)) return true;
    line_tensor *tensor = line_add_tensor(line, fattn_field_find(line->op, name), shape);
    if (!tensor) return line_fail(error, 0, "out of memory: %s", name);
    tensor->derived = true;
    return true;
}

bool line_forward(problem_line *line, line_error *error)
{
    fattn_fusion_attention_args args;
    fattn_tensor outputs[RESULTS];
    if (!is_backward(line)) return true;
    copy_args(line, fattn_operator_find("fusion_attention"), &args);
    /* what is wrong with the arguments is said by the call itself, in its own words */
    if (fattn_fusion_attention_shapes(NULL, &args, outputs) != FATTN_OK) return true;
    bool any = false; /* then all: parts of two calls would not fit each other */
    for (int i = 0; i < RESULTS; i++) any = any || given(line, results[i]);
    for (int i = 0; i < RESULTS && !any; i++)
        if (!derive(line, results[i], &outputs[i], error)) return false;
    return derive(line, "dy", &outputs[0], error);
}

/* The data of derived tensors; false when nothing is to be computed. */
static bool fill_derived(problem_line *line, bool *compute, line_error *error)
{
    *compute = false;
    for (line_tensor *t = line->tensors; t; t = t->next) {
        if (!t->derived || t->field->kind == FATTN_FIELD_TENSOR_OUT) continue;
        if (!line_allocate(line, t, error)) return false;
        if (strcmp(t->field->name, "dy") == 0)
            line_fill_plain(line, t);
        else
            *compute = true;
    }
    return true;
}

static bool call_forward(problem_line *line, line_error *error)
{
    const fattn_operator *forward = fattn_operator_find("fusion_attention");
    fattn_fusion_attention_args args;
    fattn_context_options options;
    fattn_context *context = NULL;
    copy_args(line, forward, &args);
    for (int i = 0; i < RESULTS; i++) {
        const fattn_field *to = fattn_field_find(forward, sources[i]);
        *(const fattn_tensor **)((char *)&args + to->offset) = line_tensor_of(line, results[i], 0);
    }
    fattn_context_options_init(&options);
    line_options(line, &options);
    /* a context of its own: its generator begins at 0, 0, which is what seed and offset 0 mean */
    fattn_status status = fattn_context_create(&context, &options);
    if (status == FATTN_OK) status = fattn_fusion_attention(context, &args);
    fattn_context_destroy(context);
    return status == FATTN_OK || line_fail(error, 0, "%s", fattn_error_message());
}

bool line_forward_data(problem_line *line, line_error *error)
{
    bool compute = false;
    if (!is_backward(line)) return true;
    return fill_derived(line, &compute, error) && (!compute || call_forward(line, error));
}
