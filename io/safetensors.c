/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c — 8 bytes little endian: length of the header; the header, JSON:
 *   {"__metadata__": {...}, "name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]},
 * ...} and the data, which the offsets count from. Every number is checked against the file's real
 * size. */
#include "safetensors.h"

#include "stored.h"
#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 100000000 }; /* the format's own limit */

/* The first of a dtype is how it is written. */
static const io_stored types[] = {
    {"F64", FATTN_F64, 8, false},       {"F32", FATTN_F32, 4, false},
    {"F16", FATTN_F16, 2, false},       {"BF16", FATTN_BF16, 2, false},
    {"I64", FATTN_I64, 8, false},       {"I32", FATTN_I32, 4, false},
    {"I8", FATTN_I8, 1, false},         {"U8", FATTN_U8, 1, true},
    {"BOOL", FATTN_BOOL, 1, true},      {"F8_E4M3", FATTN_E4M3, 1, false},
    {"F8_E5M2", FATTN_E5M2, 1, false},  {"I32", FATTN_I4, 4, false},
    {"U16", FATTN_DTYPE_NONE, 2, true}, {"I16", FATTN_DTYPE_NONE, 2, true},
    {"U32", FATTN_DTYPE_NONE, 4, true}, {"U64", FATTN_DTYPE_NONE, 8, true},
};
enum { N_TYPES = sizeof types / sizeof *types };

/* An open file with its header read. */
typedef struct archive {
    const char *path;
    FILE *file;
    json_t *header;
    size_t data_at, data_bytes; /* the data section */
} archive;

bool safetensors_available(void) { return true; }

static io_code damaged(const archive *a, const char *what, io_error *error)
{
    return io_fail(error, IO_E_FORMAT, "%s: not a .safetensors file, or damaged: %s", a->path,
                   what);
}

static io_code read_header(archive *a, size_t file_bytes, io_error *error)
{
    unsigned char first[8];
    uint64_t length = 0;
    if (file_bytes < 8 || fread(first, 1, 8, a->file) != 8)
        return damaged(a, "shorter than 8 bytes", error);
    for (int i = 7; i >= 0; i--) length = length << 8 | first[i];
    if (length > MAX_HEADER || length > file_bytes - 8)
        return damaged(a, "the header is longer than the file", error);
    char *text = malloc((size_t)length + 1);
    if (!text) return io_fail(error, IO_E_NOMEM, "%s: out of memory for its header", a->path);
    const bool whole = fread(text, 1, (size_t)length, a->file) == length;
    json_error_t why = {.text = "it cannot be read"};
    if (whole) a->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!json_is_object(a->header)) return damaged(a, why.text, error);
    a->data_at = 8 + (size_t)length;
    a->data_bytes = file_bytes - a->data_at;
    return IO_OK;
}

static void archive_close(archive *a)
{
    json_decref(a->header);
    if (a->file) fclose(a->file);
}

static io_code archive_open(archive *a, const char *path, io_error *error)
{
    *a = (archive){.path = path, .file = fopen(path, "rb")};
    if (!a->file)
        return io_fail(error, IO_E_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    off_t end = -1;
    if (fseeko(a->file, 0, SEEK_END) == 0) end = ftello(a->file);
    if (end < 0 || fseeko(a->file, 0, SEEK_SET) != 0)
        return io_fail(error, IO_E_FILE, "%s: cannot be read: %s", path, strerror(errno));
    return read_header(a, (size_t)end, error);
}

/* The entry's type, shape and place. */
static bool read_entry(const archive *a, const json_t *entry, const io_stored *stored,
                       fattn_tensor *t, size_t *begin, size_t *bytes)
{
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(shape) || json_array_size(shape) > FATTN_MAX_RANK) return false;
    if (!json_is_array(offsets) || json_array_size(offsets) != 2) return false;
    int64_t extents[FATTN_MAX_RANK], count;
    const int rank = (int)json_array_size(shape);
    for (int i = 0; i < rank; i++) {
        const json_t *extent = json_array_get(shape, (size_t)i);
        if (!json_is_integer(extent)) return false;
        extents[i] = json_integer_value(extent);
    }
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    if (!json_is_integer(from) || !json_is_integer(to)) return false;
    const int64_t low = json_integer_value(from), high = json_integer_value(to);
    if (low < 0 || high < low || (uint64_t)high > a->data_bytes) return false;
    *begin = (size_t)low;
    *bytes = (size_t)(high - low);
    size_t need;
    if (!io_count(rank, extents, &count) ||
        __builtin_mul_overflow((size_t)count, stored->size, &need) || need != *bytes)
        return false;
    *t = io_contiguous(NULL, stored->dtype, rank, extents);
    return true;
}

static const io_stored *type_named(const char *name)
{
    for (int i = 0; name && i < N_TYPES; i++)
        if (strcmp(types[i].name, name) == 0) return &types[i];
    return NULL;
}

static io_code read_named(archive *a, const char *name, fattn_dtype as, io_tensor *tensor,
                          io_error *error)
{
    const json_t *entry = json_object_get(a->header, name);
    if (!entry || strcmp(name, "__metadata__") == 0)
        return io_fail(error, IO_E_NAME, "%s: holds no tensor '%s' (it holds %zu others)", a->path,
                       name, json_object_size(a->header));
    const char *type_name = json_string_value(json_object_get(entry, "dtype"));
    const io_stored *stored = type_named(type_name);
    if (!stored)
        return io_fail(error, IO_E_DTYPE, "%s: tensor '%s' has the unknown dtype '%s'", a->path,
                       name, type_name ? type_name : "?");
    size_t begin, bytes;
    if (!read_entry(a, entry, stored, &tensor->t, &begin, &bytes))
        return io_fail(
            error, IO_E_FORMAT,
            "%s: the shape and data_offsets of tensor '%s' do not fit each other or the file",
            a->path, name);
    tensor->memory = tensor->t.data = io_memory(bytes);
    if (!tensor->memory)
        return io_fail(error, IO_E_NOMEM, "%s: out of memory for %zu bytes", a->path, bytes);
    if (fseeko(a->file, (off_t)(a->data_at + begin), SEEK_SET) != 0 ||
        fread(tensor->memory, 1, bytes, a->file) != bytes)
        return io_fail(error, IO_E_FILE, "%s: cannot be read: %s", a->path, strerror(errno));
    return io_take(tensor, stored, as, a->path, error);
}

io_code safetensors_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                         io_error *error)
{
    archive a;
    *tensor = (io_tensor){.memory = NULL};
    io_code code = archive_open(&a, path, error);
    if (code == IO_OK) code = read_named(&a, name, as, tensor, error);
    if (code != IO_OK) io_tensor_free(tensor);
    archive_close(&a);
    return code;
}

io_code safetensors_names(const char *path, char ***names, int *n_names, io_error *error)
{
    archive a;
    *names = NULL;
    *n_names = 0;
    io_code code = archive_open(&a, path, error);
    if (code == IO_OK) {
        *names = calloc(json_object_size(a.header) + 1, sizeof **names);
        if (!*names) code = io_fail(error, IO_E_NOMEM, "%s: out of memory", path);
    }
    const char *key;
    json_t *value;
    if (code == IO_OK) json_object_foreach(a.header, key, value)
        {
            if (strcmp(key, "__metadata__") == 0) continue;
            if (((*names)[*n_names] = strdup(key))) ++*n_names;
        }
    archive_close(&a);
    return code;
}

io_code safetensors_text(const char *path, const char *name, char **text, io_error *error)
{
    archive a;
    *text = NULL;
    io_code code = archive_open(&a, path, error);
    if (code == IO_OK) {
        const char *found =
            json_string_value(json_object_get(json_object_get(a.header, "__metadata__"), name));
        if (!found)
            code = io_fail(error, IO_E_NAME, "%s: its __metadata__ has no '%s'", path, name);
        else if (!(*text = strdup(found)))
            code = io_fail(error, IO_E_NOMEM, "%s: out of memory", path);
    }
    archive_close(&a);
    return code;
}

static const char *name_of(fattn_dtype dtype)
{
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].dtype == dtype) return types[i].name;
    return NULL;
}

/* One header entry; *end moves behind its data. */
static json_t *make_entry(const fattn_tensor *t, size_t *end)
{
    int64_t count = 0;
    size_t bytes = 0;
    const char *dtype = name_of(t->dtype);
    if (!dtype || !io_count(t->rank, t->shape, &count) ||
        __builtin_mul_overflow((size_t)count, fattn_dtype_size(t->dtype), &bytes))
        return NULL;
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    const size_t begin = *end;
    *end += bytes;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)*end);
}

static char *make_header(int n, const char *const *names, const fattn_tensor *const *tensors)
{
    size_t end = 0;
    json_t *header = json_object();
    bool good = header != NULL;
    for (int i = 0; i < n && good; i++) {
        const bool again = json_object_get(header, names[i]) != NULL;
        json_t *entry = again ? NULL : make_entry(tensors[i], &end);
        good = entry && json_object_set_new(header, names[i], entry) == 0;
    }
    char *text = good ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    return text;
}

static io_code put_header(io_writer *writer, const char *text, io_error *error)
{
    const size_t length = strlen(text),
                 padded = (length + 7) / 8 * 8; /* so that the data is aligned */
    unsigned char first[8];
    for (int i = 0; i < 8; i++) first[i] = (unsigned char)((uint64_t)padded >> (8 * i));
    io_code code = io_writer_put(writer, first, 8, error);
    if (code == IO_OK) code = io_writer_put(writer, text, length, error);
    return code == IO_OK ? io_writer_put(writer, "       ", padded - length, error) : code;
}

io_code safetensors_write(const char *path, int n, const char *const *names,
                          const fattn_tensor *const *tensors, io_error *error)
{
    io_writer writer;
    char *header = make_header(n, names, tensors);
    if (!header)
        return io_fail(error, IO_E_FORMAT,
                       "%s: a tensor's name is taken or not UTF-8, or its dtype "
                       "has no place in a .safetensors file",
                       path);
    io_code code = io_writer_open(&writer, path, error);
    if (code == IO_OK) code = put_header(&writer, header, error);
    for (int i = 0; i < n && code == IO_OK; i++)
        code = io_writer_tensor(&writer, tensors[i], error);
    free(header);
    return io_writer_close(&writer, code, error);
}
