/* SPDX-License-Identifier: Apache-2.0 */
/* line_memory.c — memory for the tensors of a line, its outputs, and the call itself. */
#include "line_internal.h"

#include "io/io.h"

#include <string.h>
#include <unistd.h>

/* The lowest and highest offset of a tensor's elements; false when they leave the int64 range. */
static bool find_span(const fattn_tensor *t, int64_t *low, int64_t *high)
{
    *low = *high = 0;
    for (int i = 0; i < t->rank; i++) {
        int64_t reach;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->strides[i], &reach)) return false;
        int64_t *side = reach < 0 ? low : high;
        if (__builtin_add_overflow(*side, reach, side)) return false;
    }
    return true;
}

static size_t physical_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    return pages > 0 && page > 0 ? (size_t)pages * (size_t)page : SIZE_MAX;
}

bool line_allocate(problem_line *line, line_tensor *tensor, line_error *error)
{
    fattn_tensor *t = &tensor->t;
    const size_t size = fattn_dtype_size(t->dtype);
    int64_t count, low = 0, high = -1, span;
    size_t bytes, total;
    if (!io_count(t->rank, t->shape, &count))
        return line_fail(error, 0, "%s: the shape is negative or has more elements than memory",
                         tensor->field->name);
    if (count > 0 && !find_span(t, &low, &high))
        return line_fail(error, 0, "%s: the strides leave the address space", tensor->field->name);
    if (__builtin_sub_overflow(high, low, &span) || span == INT64_MAX ||
        __builtin_mul_overflow((size_t)span + 1, size, &bytes) ||
        __builtin_add_overflow(line->bytes, bytes, &total) || total > physical_bytes())
        return line_fail(error, 0, "%s: out of memory, the tensor is larger than this machine",
                         tensor->field->name);
    tensor->memory = line_memory(line, bytes);
    if (!tensor->memory)
        return line_fail(error, 0, "%s: out of memory for %zu bytes", tensor->field->name, bytes);
    line->bytes = total;
    t->data = (char *)tensor->memory + (size_t)-low * size;
    return true;
}

/* Allocates one output, every byte 0xFF (a NaN in every float dtype): an element that the operator
 * does not write is seen. */
static bool allocate_output(problem_line *line, line_tensor *tensor)
{
    line_error ignored;
    const size_t before = line->bytes;
    if (!line_allocate(line, tensor, &ignored)) return false;
    memset(tensor->memory, 0xff, line->bytes - before);
    return true;
}

static line_tensor *declared_output(const problem_line *line, const fattn_field *field)
{
    line_tensor *tensor = line->tensors;
    while (tensor && tensor->field != field) tensor = tensor->next;
    return tensor;
}

/* Output number i of the table: declared by the line, wanted in its own shape, or left out. */
static line_tensor *place_output(problem_line *line, int i, const fattn_tensor *shape, bool *good)
{
    const fattn_field *field = &line->op->fields[i];
    line_tensor *tensor = declared_output(line, field);
    const bool absent = shape->rank < 0 || shape->dtype == FATTN_DTYPE_NONE;
    if (tensor || absent || (line->unwanted >> i & 1)) return tensor;
    tensor = line_add_tensor(line, field, shape);
    *good = tensor != NULL;
    if (tensor) tensor->derived = true;
    return tensor;
}

static fattn_status outputs(problem_line *line, fattn_context *context, bool memory)
{
    enum { MAX_OUTPUTS = 8 };
    fattn_tensor shapes[MAX_OUTPUTS] = {{.data = NULL}};
    if (line->op->n_outputs > MAX_OUTPUTS) return FATTN_E_UNSUPPORTED;
    if (line->op->n_outputs > 0) {
        const fattn_status status = line->op->shapes(context, line->args, shapes);
        if (status != FATTN_OK) return status;
    }
    bool good = true;
    for (int i = 0, output = 0; i < line->op->n_fields && good; i++) {
        if (line->op->fields[i].kind != FATTN_FIELD_TENSOR_OUT) continue;
        line_tensor *tensor = place_output(line, i, &shapes[output++], &good);
        if (tensor && memory && !tensor->t.data) good = allocate_output(line, tensor);
    }
    return good ? FATTN_OK : FATTN_E_NOMEM;
}

fattn_status line_outputs(problem_line *line, fattn_context *context)
{
    return outputs(line, context, true);
}

fattn_status line_shapes(problem_line *line, fattn_context *context)
{
    return outputs(line, context, false);
}

fattn_status line_call(problem_line *line, fattn_context *context)
{
    const fattn_status status = line_outputs(line, context);
    return status == FATTN_OK ? line->op->call(context, line->args) : status;
}
