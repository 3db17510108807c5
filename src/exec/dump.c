/* SPDX-License-Identifier: Apache-2.0 */
/* dump.c — one call, one file. A .safetensors file is 8 bytes little endian (length of the header),
 * the header in JSON, and the data of all tensors one after the other.
 *
 * The header is written twice: before the call with the status "unfinished", behind it with what
 * came out; blanks fill it to the same length. Nothing of an input is kept in memory. */
#include "exec/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mutant.h"
#include "base/text.h"
#include "core/layout.h"
#include "exec/line.h"

enum {
    PATH_BYTES = 4352,   /* FATTN_DUMP_DIR and a file name */
    BUFFER_BYTES = 8192, /* of elements that do not lie together */
    LATER_BYTES = 256,   /* what statuses and numbers may grow by until the end */
    TRIES = 1000
};

/* ---- the tensors of a call ---- */

/* index -1: not of a list. */
typedef void (*visit_fn)(void *self, const fattn_field *field, int64_t index,
                         const fattn_tensor *t);

static void visit_field(const fattn_field *f, const void *value, visit_fn visit, void *self)
{
    if (f->kind == FATTN_FIELD_TENSORS_IN) {
        const fattn_tensor_array *list = value;
        for (int64_t i = 0; i < list->count; i++) visit(self, f, i, list->data[i]);
        return;
    }
    const fattn_tensor *t = *(const fattn_tensor *const *)value;
    if (t) visit(self, f, -1, t);
}

/* Tensors that are changed in place are inputs and outputs. */
static void visit_tensors(const fattn_dump *d, bool outputs, visit_fn visit, void *self)
{
    for (int i = 0; i < d->op->n_fields && d->tensors; i++) {
        const fattn_field *f = &d->op->fields[i];
        const bool in = f->kind == FATTN_FIELD_TENSOR_IN || f->kind == FATTN_FIELD_TENSORS_IN;
        const bool out = f->kind == FATTN_FIELD_TENSOR_OUT,
                   both = f->kind == FATTN_FIELD_TENSOR_INOUT;
        if (both || (outputs ? out : in))
            visit_field(f, (const char *)d->args + f->offset, visit, self);
    }
}

/* The elements that are written: an axis that repeats one place (stride 0) stands once. Strides of
 * an empty tensor mean nothing. */
static fattn_tensor stored(const fattn_tensor *t)
{
    fattn_tensor once = *t;
    if (tensor_elements(t) == 0) return once;
    for (int i = 0; i < t->rank; i++)
        if (MUTANT(116, t->strides[i] == 0, false) && t->shape[i] > 1) once.shape[i] = 1;
    return once;
}

/* ---- the header ---- */

static const char *const type_names[FATTN_DTYPE_COUNT] = {
    [FATTN_DTYPE_NONE] = "U8", [FATTN_F64] = "F64",   [FATTN_F32] = "F32", [FATTN_F16] = "F16",
    [FATTN_BF16] = "BF16",     [FATTN_I64] = "I64",   [FATTN_I32] = "I32", [FATTN_I8] = "I8",
    [FATTN_U8] = "U8",         [FATTN_BOOL] = "BOOL", [FATTN_I4] = "I32",  [FATTN_E4M3] = "F8_E4M3",
    [FATTN_E5M2] = "F8_E5M2"};

typedef struct entries {
    fattn_text *text;
    const char *prefix;
    int64_t end; /* of the data so far */
} entries;

static void add_name(const entries *e, const fattn_field *f, int64_t index, const char *suffix)
{
    text_add(e->text, ",\"%s%s", e->prefix, f->name);
    if (index >= 0) text_add(e->text, ".%lld", (long long)index);
    text_add(e->text, "%s\":", suffix);
}

static void add_strides(void *self, const fattn_field *f, int64_t index, const fattn_tensor *t)
{
    const entries *e = self;
    if (line_is_contiguous(t)) return;
    add_name(e, f, index, ".strides");
    text_add(e->text, "\"");
    text_add_ints(e->text, t->strides, t->rank);
    text_add(e->text, "\"");
}

static void add_entry(void *self, const fattn_field *f, int64_t index, const fattn_tensor *t)
{
    entries *e = self;
    const fattn_tensor once = stored(t);
    const int64_t begin = e->end;
    e->end += tensor_elements(&once) * (int64_t)fattn_dtype_size(t->dtype);
    add_name(e, f, index, "");
    text_add(e->text, "{\"dtype\":\"%s\",\"shape\":[", type_names[t->dtype]);
    text_add_ints(e->text, once.shape, once.rank);
    text_add(e->text, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)e->end);
}

/* The line, escaped; twice its length is room enough, since it is printable. */
static bool add_line(fattn_text *text, const fattn_dump *d)
{
    fattn_text count = {0};
    line_add(&count, d->context, d->op, d->args);
    char *line = context_alloc(d->context, count.length + 1);
    if (!line) return false;
    fattn_text whole = {.buffer = line, .size = count.length + 1};
    line_add(&whole, d->context, d->op, d->args);
    text_add_json(text, line);
    context_free(d->context, line);
    return true;
}

/* Integers that came back. */
static void add_numbers(fattn_text *text, const fattn_dump *d, bool finished)
{
    for (int i = 0; i < d->op->n_fields && finished; i++) {
        const fattn_field *f = &d->op->fields[i];
        if (f->kind != FATTN_FIELD_INT_OUT) continue;
        const int64_t *number = *(int64_t *const *)((const char *)d->args + f->offset);
        if (number) text_add(text, ",\"out.%s\":\"%lld\"", f->name, (long long)*number);
    }
}

/* `*outputs` = where they begin in the data, `*end` = the data's length. */
static bool compose(const fattn_dump *d, fattn_text *text, bool finished, int64_t *outputs,
                    int64_t *end)
{
    entries e = {.text = text, .prefix = ""};
    text_add(text,
             "{\"__metadata__\":{\"fattn\":\"" FATTN_VERSION_STRING
             "\",\"operator\":\"%s\",\"line\":\"",
             d->op->name);
    if (!add_line(text, d)) return false;
    text_add(text, "\",\"isa\":\"%s\",\"threads\":\"%d\",\"compute\":\"%s\"",
             isa_name(d->context->isa), d->context->threads,
             fattn_compute_name(d->context->compute));
    text_add(text, ",\"generator\":\"%llu,%llu\"", (unsigned long long)d->seed,
             (unsigned long long)d->offset);
    text_add(text, ",\"status\":\"%s\"", d->status);
    text_add(text, ",\"us\":\"%lld.%lld\"", (long long)(d->ns / 1000),
             (long long)(d->ns / 100 % 10));
    add_numbers(text, d, finished);
    visit_tensors(d, false, add_strides, &e);
    text_add(text, "}");
    visit_tensors(d, false, add_entry, &e);
    *outputs = e.end;
    e.prefix = "out.";
    visit_tensors(d, true, add_entry, &e);
    *end = e.end;
    text_add(text, "}");
    return true;
}

/* ---- the file ---- */

static bool put(int file, const void *bytes, size_t n, int64_t at)
{
    const char *from = bytes;
    while (n > 0) {
        const ssize_t done = pwrite(file, from, n, (off_t)at);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        from += done;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static bool put_header(fattn_dump *d, fattn_text *text)
{
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)d->header_bytes >> (8 * i));
    if (text->length > d->header_bytes) return false;
    memset(d->header + text->length, ' ', d->header_bytes - text->length);
    return put(d->file, length, 8, 0) && put(d->file, d->header, d->header_bytes, 8);
}

typedef struct sink {
    int file;
    int64_t at;
    size_t used;
    bool good;
    char bytes[BUFFER_BYTES];
} sink;

static void flush(sink *s)
{
    s->good = s->good && put(s->file, s->bytes, s->used, s->at);
    s->at += (int64_t)s->used;
    s->used = 0;
}

static void put_run(sink *s, const char *from, size_t n)
{
    if (s->used + n > sizeof s->bytes) flush(s);
    if (n > sizeof s->bytes) {
        s->good = s->good && put(s->file, from, n, s->at);
        s->at += (int64_t)n;
        return;
    }
    memcpy(s->bytes + s->used, from, n);
    s->used += n;
}

/* Axes [axis, rank) of a tensor that is not empty, row-major; the last axes that lie together go at
 * once. */
static void put_axes(sink *s, const fattn_tensor *t, int axis, const char *from)
{
    const int64_t size = (int64_t)fattn_dtype_size(t->dtype);
    int64_t together = 1;
    int last = t->rank;
    while (last > axis && (t->shape[last - 1] == 1 || t->strides[last - 1] == together))
        together *= t->shape[--last];
    if (last == axis) {
        put_run(s, from, (size_t)(together * size));
        return;
    }
    for (int64_t i = 0; i < t->shape[axis]; i++)
        put_axes(s, t, axis + 1, from + i * t->strides[axis] * size);
}

static void put_tensor(void *self, const fattn_field *f, int64_t index, const fattn_tensor *t)
{
    const fattn_tensor once = stored(t);
    (void)f, (void)index;
    if (tensor_elements(&once) > 0) put_axes(self, &once, 0, once.data);
}

static bool put_tensors(const fattn_dump *d, bool outputs)
{
    const int64_t data_at = 8 + (int64_t)d->header_bytes;
    sink s = {.file = d->file, .at = data_at + (outputs ? d->outputs_at : 0), .good = true};
    visit_tensors(d, outputs, put_tensor, &s);
    flush(&s);
    return s.good;
}

/* A name that no other call has; the directory is made when it is missing. -1 and errno. */
static int create(const fattn_dump *d, char *path, size_t size)
{
    static atomic_uint counter;
    int file = -1;
    for (int i = 0; i < TRIES; i++) {
        const unsigned number = atomic_fetch_add(&counter, 1);
        const int n = snprintf(path, size, "%s/%s-%ld-%06u.safetensors", d->context->dump_dir,
                               d->op->name, (long)getpid(), number);
        errno = ENAMETOOLONG;
        if (n < 0 || (size_t)n >= size) break;
        file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file >= 0 || (errno != EEXIST && errno != ENOENT)) break;
        if (errno == ENOENT && mkdir(d->context->dump_dir, 0777) != 0 && errno != EEXIST) break;
    }
    return file;
}

/* ---- from begin to end ---- */

static void failed(const fattn_dump *d, const char *path)
{
    context_warn(d->context, WARN_DUMP_FAILED,
                 "FATTN_DUMP_DIR: %s: cannot be written: %s; calls go on without a record", path,
                 strerror(errno));
}

static bool begin(fattn_dump *d)
{
    fattn_text count = {0};
    int64_t end;
    if (!compose(d, &count, false, &d->outputs_at, &end)) return false;
    const size_t room = count.length + LATER_BYTES;
    d->header_bytes = (room + 7) / 8 * 8;
    d->header = context_alloc(d->context, d->header_bytes + 1);
    if (!d->header) return false;
    fattn_text text = {.buffer = d->header, .size = d->header_bytes + 1};
    return compose(d, &text, false, &d->outputs_at, &end) && put_header(d, &text) &&
           ftruncate(d->file, (off_t)(8 + (int64_t)d->header_bytes + end)) == 0 &&
           put_tensors(d, false);
}

void dump_begin(fattn_dump *d, fattn_context *context, const fattn_operator *op, const void *args,
                bool tensors)
{
    char path[PATH_BYTES];
    *d = (fattn_dump){.context = context,
                      .op = op,
                      .args = args,
                      .tensors = tensors,
                      .file = -1,
                      .status = "unfinished"};
    generator_peek(&context->generator, &d->seed, &d->offset);
    d->file = create(d, path, sizeof path);
    errno = d->file < 0 ? errno : 0;
    if (d->file >= 0 && begin(d)) return;
    if (errno == 0) errno = ENOMEM; /* the header found no room */
    failed(d, path);
    if (d->file >= 0) {
        close(d->file);
        unlink(path);
    }
    d->file = -1;
    context_free(context, d->header);
    d->header = NULL;
}

void dump_end(fattn_dump *d, fattn_status status, int64_t ns)
{
    if (d->file < 0) return;
    int64_t outputs, end;
    d->status = fattn_status_name(status);
    d->ns = ns;
    fattn_text text = {.buffer = d->header, .size = d->header_bytes + 1};
    errno = 0;
    const bool good = (status != FATTN_OK || put_tensors(d, true)) &&
                      compose(d, &text, status == FATTN_OK && d->tensors, &outputs, &end) &&
                      put_header(d, &text);
    const bool closed = close(d->file) == 0;
    d->file = -1;
    if (!good || !closed) failed(d, d->context->dump_dir);
    context_free(d->context, d->header);
    d->header = NULL;
}
