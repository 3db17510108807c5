/* SPDX-License-Identifier: Apache-2.0 */
/* verify_result.c — --result FILE, --result-OUTPUT FILE: found, read, and made what the call's
 * output is.
 *
 * A dump in a wider dtype is rounded to the output's (nothing changes where it was only widened for
 * the file); a narrower one has lost what would be judged and is refused, and so is another shape.
 */
#include "verify_result.h"

#include "io/element.h"
#include "io/io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const fattn_field *first_output(const fattn_operator *op)
{
    for (int i = 0; i < op->n_fields; i++)
        if (op->fields[i].kind == FATTN_FIELD_TENSOR_OUT) return &op->fields[i];
    return NULL;
}

/* "result-softmax-lse" and "result-lse" -> softmax_lse; NULL when the operator has no such output.
 */
static const fattn_field *field_of(const fattn_operator *op, const char *option)
{
    const char *name = option + strlen("result-");
    for (int i = 0; i < op->n_fields; i++) {
        const fattn_field *field = &op->fields[i];
        if (field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        for (int brief = 0; brief < 2; brief++) {
            const char *at = field->name;
            if (brief && strncmp(at, "softmax_", 8) == 0) at += 8;
            const char *c = name;
            while (*at && (*at == *c || (*at == '_' && *c == '-'))) at++, c++;
            if (*at == '\0' && *c == '\0') return field;
        }
    }
    return NULL;
}

static int add_file(result_files *files, const fattn_operator *op, const fattn_field *field,
                    const char *option, const char *where)
{
    if (!field)
        return cli_error("verify", CLI_USAGE, "--%s: %s has no such output", option, op->name);
    for (int i = 0; i < files->n; i++)
        if (files->file[i].field == field)
            return cli_error("verify", CLI_USAGE, "--%s and --%s are both %s",
                             files->file[i].option, option, field->name);
    if (files->n == MOST_RESULTS)
        return cli_error("verify", CLI_USAGE, "more than %d results", (int)MOST_RESULTS);
    files->file[files->n++] = (result_file){.field = field, .option = option, .where = where};
    return CLI_GO;
}

/* FATTN_RESULT and its like, for outputs that the command line does not name. */
static int add_twins(result_files *files, const fattn_operator *op)
{
    int code = CLI_GO;
    for (int i = 0; i < op->n_fields && code == CLI_GO; i++) {
        char env[80];
        const fattn_field *field = &op->fields[i];
        if (field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        bool named = false;
        for (int k = 0; k < files->n; k++) named = named || files->file[k].field == field;
        const char *twin = getenv(cli_result_env(field, env, sizeof env));
        if (!twin && field == first_output(op)) twin = getenv("FATTN_RESULT");
        if (!named && twin && *twin) code = add_file(files, op, field, "result", twin);
    }
    return code;
}

int results_find(const cli_values *values, const fattn_operator *op, result_files *files)
{
    int code = CLI_GO;
    files->n = 0;
    for (int i = 0; i < values->n_items && code == CLI_GO; i++)
        if (strcmp(values->items[i].name, "result") == 0)
            code = add_file(files, op, first_output(op), "result", values->items[i].value);
    for (int i = 0; i < values->n_items && code == CLI_GO; i++) {
        const struct cli_item *item = &values->items[i];
        if (item->role == CLI_RESULT)
            code = add_file(files, op, field_of(op, item->name), item->name, item->value);
        if (item->role == CLI_OUTPUT)
            code = add_file(files, op, item->field, item->name, item->value);
    }
    return code == CLI_GO ? add_twins(files, op) : code;
}

/* --result-dtype is about the first output; raw elements of a file are what the call would have
 * written. */
static int read_file(const cli_values *values, const result_file *file, const fattn_tensor *wanted,
                     io_tensor *tensor)
{
    io_error error;
    const bool first =
        strcmp(file->option, "result") == 0 || strcmp(file->field->name, "attention_out") == 0;
    const char *said = first ? cli_get(values, "result-dtype") : NULL;
    const fattn_dtype dtype = said ? fattn_dtype_from_name(said) : FATTN_DTYPE_NONE;
    if (said && dtype == FATTN_DTYPE_NONE)
        return cli_error("verify", CLI_USAGE, "--result-dtype: '%s' is not a dtype", said);
    const fattn_dtype as = said ? dtype : IO_RAW_AS(wanted->dtype);
    if (io_tensor_read(file->where, as, tensor, &error) == IO_OK) return CLI_GO;
    return cli_error("verify", CLI_DATA, "--%s: %s", file->option, error.message);
}

/* Every value of `to` is one of `from`, too. */
static bool is_wider(fattn_dtype from, fattn_dtype to)
{
    if (from == to || from == FATTN_F64) return io_dtype_is_float(to);
    return from == FATTN_F32 && (to == FATTN_F16 || to == FATTN_BF16);
}

static bool same_shape(const fattn_tensor *a, const fattn_tensor *b)
{
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->shape[i] != b->shape[i]) return false;
    return true;
}

static bool is_query_dtype(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

static int check(const result_file *file, const fattn_tensor *got, const fattn_tensor *wanted)
{
    char a[256], b[256];
    int64_t n = 0, m = 0;
    call_shape_text(got, a, sizeof a);
    call_shape_text(wanted, b, sizeof b);
    io_count(got->rank, got->shape, &n);
    io_count(wanted->rank, wanted->shape, &m);
    if (!same_shape(got, wanted))
        return cli_error("verify", CLI_DATA, "--%s: %s is %s, but %s of this call is %s%s",
                         file->option, file->where, a, file->field->name, b,
                         n == m ? "; as many elements in another shape are not taken for it" : "");
    if (is_wider(got->dtype, wanted->dtype)) return CLI_GO;
    char hint[120] = "";
    if (is_query_dtype(got->dtype))
        snprintf(hint, sizeof hint,
                 ": give the inputs their dtype on the device (--query-dtype %s ...)",
                 fattn_dtype_name(got->dtype));
    return cli_error(
        "verify", CLI_DATA,
        "--%s: %s is %s, but %s of this call is %s; a wider dump is rounded, another dtype is "
        "not judged%s",
        file->option, file->where, a, file->field->name, b, hint);
}

/* Element by element into row-major memory, counting what a narrower dtype changes. */
static void copy(result_file *file, const fattn_tensor *from, fattn_tensor *to)
{
    int64_t count = 0;
    io_count(from->rank, from->shape, &count);
    for (int64_t i = 0; i < count; i++) {
        const double value = io_get(from->data, from->dtype, io_offset(from, i));
        io_set(to->data, to->dtype, i, value);
        file->rounded += !isnan(value) && io_get(to->data, to->dtype, i) != value;
    }
}

int results_read(const cli_values *values, problem_line *line, result_file *file,
                 const fattn_tensor *wanted, fattn_tensor *tensor)
{
    io_tensor read;
    int64_t count = 0;
    int code = read_file(values, file, wanted, &read);
    if (code != CLI_GO) return code;
    code = check(file, &read.t, wanted);
    if (code == CLI_GO) {
        io_count(wanted->rank, wanted->shape, &count);
        void *memory = line_memory(line, (size_t)count * fattn_dtype_size(wanted->dtype));
        *tensor = io_contiguous(memory, wanted->dtype, wanted->rank, wanted->shape);
        file->stored = read.t.dtype;
        if (memory)
            copy(file, &read.t, tensor);
        else
            code = cli_error("verify", CLI_FAIL, "out of memory for %s", file->where);
    }
    io_tensor_free(&read);
    return code;
}
