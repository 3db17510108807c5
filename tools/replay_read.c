/* SPDX-License-Identifier: Apache-2.0 */
/* replay_read.c — reads a record. What the file says is checked against its problem line: the line
 * gives dtypes, shapes and strides, the file the elements. */
#include "replay_read.h"

#include "io/element.h"
#include "io/safetensors.h"
#include "line_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *record_text(const call_record *record, const char *name)
{
    char *text;
    io_error ignored;
    return safetensors_text(record->path, name, &text, &ignored) == IO_OK ? text : NULL;
}

/* "1024,128,1", one per axis, in place of the line's. */
static bool take_strides(const char *text, fattn_tensor *t)
{
    const char *at = text;
    for (int i = 0; i < t->rank; i++) {
        char *end;
        errno = 0;
        t->strides[i] = strtoll(at, &end, 10);
        if (end == at || errno != 0 || *end != (i + 1 < t->rank ? ',' : '\0')) return false;
        at = end + 1;
    }
    return t->rank > 0;
}

/* An axis that repeats one place stands once in the file; an empty tensor stands as it is. */
static fattn_tensor stored(const fattn_tensor *t)
{
    fattn_tensor once = *t;
    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] == 0) return once;
    for (int i = 0; i < t->rank; i++)
        if (t->strides[i] == 0 && t->shape[i] > 1) once.shape[i] = 1;
    return once;
}

static bool same_shape(const fattn_tensor *a, const fattn_tensor *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

/* The tensor `name` of the file, which must be what the line says. */
static int read_tensor(const char *verb, const call_record *r, const char *name,
                       const fattn_tensor *wanted, io_tensor *file)
{
    io_error error;
    const fattn_dtype as =
        wanted->dtype == FATTN_I4 ? FATTN_I4 : FATTN_DTYPE_NONE; /* is I32 in files */
    if (safetensors_read(r->path, name, as, file, &error) != IO_OK)
        return cli_error(verb, error.code == IO_E_NOMEM ? CLI_FAIL : CLI_DATA, "%s", error.message);
    if (same_shape(&file->t, wanted)) return CLI_GO;
    io_tensor_free(file);
    return cli_error(verb, CLI_DATA, "%s: tensor '%s' is not what the problem line says", r->path,
                     name);
}

/* Puts the elements where the tensor's strides say. */
static void scatter(const fattn_tensor *from, const fattn_tensor *to)
{
    const size_t size = fattn_dtype_size(to->dtype);
    int64_t count = 0;
    io_count(from->rank, from->shape, &count);
    for (int64_t i = 0; i < count; i++)
        memcpy((char *)to->data + io_offset(to, i) * (int64_t)size,
               (const char *)from->data + (size_t)i * size, size);
}

/* Memory that the file's own elements fit into has run out here; memory that only strides ask for,
 * nobody had. */
static int no_room(const char *verb, const call_record *r, const line_tensor *tensor,
                   const line_error *error)
{
    return cli_error(verb, tensor->strided ? CLI_DATA : CLI_FAIL, "%s: %s", r->path, error->text);
}

static int read_input(const char *verb, call_record *r, line_tensor *tensor, const char *name)
{
    char key[128];
    io_tensor file;
    line_error error;
    snprintf(key, sizeof key, "%s.strides", name);
    char *strides = record_text(r, key);
    const bool bad = strides && !take_strides(strides, &tensor->t);
    tensor->strided = tensor->strided || strides;
    free(strides);
    if (bad) return cli_error(verb, CLI_DATA, "%s: '%s' is no list of strides", r->path, key);
    fattn_tensor once = stored(&tensor->t);
    const int code = read_tensor(verb, r, name, &once, &file);
    if (code != CLI_GO) return code;
    const bool room = line_allocate(r->line, tensor, &error);
    if (room) {
        once.data = tensor->t.data;
        scatter(&file.t, &once);
    }
    io_tensor_free(&file);
    return room ? CLI_GO : no_room(verb, r, tensor, &error);
}

/* "query", or "lse.1" of a list. */
static void name_of(const call_record *r, const line_tensor *tensor, char *name, size_t size)
{
    int index = 0;
    for (const line_tensor *t = r->line->tensors; t != tensor; t = t->next)
        index += t->field == tensor->field;
    if (tensor->field->kind == FATTN_FIELD_TENSORS_IN)
        snprintf(name, size, "%s.%d", tensor->field->name, index);
    else
        snprintf(name, size, "%s", tensor->field->name);
}

static int read_inputs(const char *verb, call_record *r)
{
    char name[96];
    for (line_tensor *t = r->line->tensors; t; t = t->next) {
        if (t->field->kind == FATTN_FIELD_TENSOR_OUT) continue;
        name_of(r, t, name, sizeof name);
        const int code = read_input(verb, r, t, name);
        if (code != CLI_GO) return code;
    }
    return CLI_GO;
}

static int read_output(const char *verb, call_record *r, line_tensor *tensor)
{
    char name[96];
    if (r->n_outputs == RECORD_OUTPUTS)
        return cli_error(verb, CLI_DATA, "%s: too many outputs", r->path);
    snprintf(name, sizeof name, "out.%s", tensor->field->name);
    recorded_output *output = &r->outputs[r->n_outputs];
    const int code = read_tensor(verb, r, name, &tensor->t, &output->was);
    if (code != CLI_GO) return code;
    output->tensor = tensor;
    r->n_outputs++;
    return CLI_GO;
}

static int read_outputs(const char *verb, call_record *r)
{
    for (line_tensor *t = r->line->tensors; t; t = t->next) {
        const fattn_field_kind kind = t->field->kind;
        if (kind != FATTN_FIELD_TENSOR_OUT && kind != FATTN_FIELD_TENSOR_INOUT) continue;
        const int code = r->tensors ? read_output(verb, r, t) : CLI_GO;
        if (code != CLI_GO) return code;
        line_error error;
        if (kind == FATTN_FIELD_TENSOR_OUT && !line_allocate(r->line, t, &error) && r->tensors)
            return no_room(verb, r, t, &error);
    }
    return CLI_GO;
}

/* How many tensors the file has: none when the call was refused before its data was read. */
static int count_tensors(const char *verb, call_record *r)
{
    char **names;
    int n = 0;
    io_error error;
    const io_code code = safetensors_names(r->path, &names, &n, &error);
    for (int i = 0; i < n; i++) free(names[i]);
    free(names);
    r->tensors = n > 0;
    return code == IO_OK ? CLI_GO : cli_error(verb, CLI_DATA, "%s", error.message);
}

static int read_line(const char *verb, call_record *r)
{
    line_error error;
    io_error why;
    if (safetensors_text(r->path, "line", &r->text, &why) != IO_OK)
        return cli_error(verb, CLI_DATA, "%s", why.message);
    r->isa = record_text(r, "isa");
    r->status = record_text(r, "status");
    if (!r->isa || !r->status)
        return cli_error(verb, CLI_DATA,
                         "%s: no record of a call: its metadata lacks isa or status", r->path);
    r->line = line_parse(r->text, &error);
    if (r->line) return CLI_GO;
    return cli_error(verb, error.memory ? CLI_FAIL : CLI_DATA, "%s: its problem line: %s", r->path,
                     error.text);
}

int record_open(const char *verb, const char *path, call_record *r)
{
    line_error ignored;
    *r = (call_record){.path = path};
    int code = read_line(verb, r);
    if (code == CLI_GO) code = count_tensors(verb, r);
    if (code == CLI_GO && !r->tensors && strcmp(r->status, "FATTN_OK") == 0)
        code = cli_error(verb, CLI_DATA,
                         "%s: the record of a call that was made has tensors, this has none", path);
    if (code == CLI_GO && r->tensors) code = read_inputs(verb, r);
    if (code == CLI_GO && !r->tensors)
        line_fill(r->line, &ignored); /* what cannot be held was refused, too */
    return code == CLI_GO ? read_outputs(verb, r) : code;
}

void record_close(call_record *r)
{
    for (int i = 0; i < r->n_outputs; i++) io_tensor_free(&r->outputs[i].was);
    line_destroy(r->line);
    free(r->text);
    free(r->isa);
    free(r->status);
    *r = (call_record){.path = NULL};
}
