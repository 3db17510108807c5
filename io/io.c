/* SPDX-License-Identifier: Apache-2.0 */
/* io.c — memory, errors, whole files, and "FILE:NAME". */
#include "io.h"

#include "npy.h"
#include "safetensors.h"
#include "torchzip.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ALIGNMENT = 64 };

void io_tensor_free(io_tensor *tensor)
{
    free(tensor->memory);
    *tensor = (io_tensor){.memory = NULL};
}

void *io_memory(size_t bytes)
{
    if (bytes == 0) bytes = 1;
    if (bytes > PTRDIFF_MAX - ALIGNMENT) return NULL;
    const size_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, whole);
    if (memory) memset(memory, 0, whole);
    return memory;
}

bool io_count(int rank, const int64_t *shape, int64_t *count)
{
    int64_t product = 1;
    bool empty = false, fits = true;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0) return false;
        empty = empty || shape[i] == 0;
        if (__builtin_mul_overflow(product, shape[i], &product)) {
            fits = false;
            product = 1;
        }
    }
    *count = empty ? 0 : product;
    return empty || fits;
}

fattn_tensor io_contiguous(void *data, fattn_dtype dtype, int rank, const int64_t *shape)
{
    fattn_tensor t = {.data = data, .dtype = dtype, .rank = rank};
    int64_t count, stride = 1;
    const bool elements = io_count(rank, shape, &count) && count > 0;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.strides[i] = elements ? stride : 0;
        if (elements) stride *= shape[i];
    }
    return t;
}

io_code io_fail(io_error *error, io_code code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(error->message, sizeof error->message, format, list);
    va_end(list);
    error->code = code;
    return code;
}

/* What is left of the file: it saves the growing; a pipe has no length. */
static size_t length_left(FILE *file)
{
    struct stat about;
    const off_t at = ftello(file);
    if (fstat(fileno(file), &about) != 0 || !S_ISREG(about.st_mode) || at < 0) return 4095;
    return about.st_size > at ? (size_t)(about.st_size - at) : 0;
}

io_code io_read_stream(FILE *file, size_t limit, const char *path, void **bytes, size_t *n,
                       io_error *error)
{
    const size_t left = length_left(file);
    size_t room = (left < limit ? left + 1 : limit), used = 0; /* + 1: the end is seen at once */
    char *data = io_memory(room);
    while (data) {
        used += fread(data + used, 1, room - used, file);
        if (used < room || room == limit) break;
        const size_t wider = room > limit / 2 ? limit : room * 2;
        char *more = io_memory(wider);
        if (more) memcpy(more, data, used);
        free(data);
        data = more;
        room = wider;
    }
    if (!data) return io_fail(error, IO_E_NOMEM, "%s: out of memory for its %zu bytes", path, room);
    if (ferror(file)) {
        free(data);
        return io_fail(error, IO_E_FILE, "%s: cannot be read: %s", path, strerror(errno));
    }
    *bytes = data;
    *n = used;
    return IO_OK;
}

io_code io_read_file(const char *path, void **bytes, size_t *n, io_error *error)
{
    enum { LONGEST = 1 << 26 };
    FILE *file = fopen(path, "rb");
    if (!file) return io_fail(error, IO_E_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    io_code code = io_read_stream(file, LONGEST + 1, path, bytes, n, error);
    fclose(file);
    if (code == IO_OK && *n > LONGEST) {
        free(*bytes);
        code = io_fail(error, IO_E_FORMAT, "%s: more than %d bytes, or without an end", path,
                       (int)LONGEST);
    }
    return code;
}

size_t io_split(const char *where)
{
    static const char ending[] = ".safetensors:";
    const char *found = strstr(where, ending);
    return found ? (size_t)(found - where) + sizeof ending - 2 : 0;
}

static bool ends_with(const char *text, const char *ending)
{
    const size_t n = strlen(text), m = strlen(ending);
    return n > m && strcmp(text + n - m, ending) == 0;
}

/* "FILE.pt" or "FILE.pt:NAME" -> the length of FILE.pt, else 0. A .bin is torch's when it is a zip.
 */
static size_t torch_split(const char *where)
{
    static const char *const endings[] = {".pt", ".pth", ".bin"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char inside[8];
        snprintf(inside, sizeof inside, "%s:", endings[i]);
        const char *found = strstr(where, inside);
        if (found && found > where) return (size_t)(found - where) + strlen(endings[i]);
        if (ends_with(where, endings[i])) return strlen(where);
    }
    return 0;
}

static bool is_zip(const char *path)
{
    char first[4] = {0};
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const size_t n = fread(first, 1, 4, file);
    fclose(file);
    return n == 4 && memcmp(first, "PK\3\4", 4) == 0;
}

static io_code read_torch(const char *where, size_t split, fattn_dtype as, io_tensor *tensor,
                          io_error *error)
{
    char *path = strndup(where, split);
    if (!path) return io_fail(error, IO_E_NOMEM, "out of memory for a file name");
    const char *name = where[split] == ':' ? where + split + 1 : NULL;
    const bool other = ends_with(path, ".bin") && !name && !is_zip(path);
    const io_code code =
        other ? npy_read(path, as, tensor, error) : torchzip_read(path, name, as, tensor, error);
    free(path);
    return code;
}

io_code io_tensor_read(const char *where, fattn_dtype as, io_tensor *tensor, io_error *error)
{
    const size_t split = io_split(where), torch = split == 0 ? torch_split(where) : 0;
    if (torch > 0) return read_torch(where, torch, as, tensor, error);
    if (split == 0) {
        if (ends_with(where, ".safetensors"))
            return io_fail(error, IO_E_NAME, "%s: say which tensor: %s:NAME", where, where);
        return npy_read(where, as, tensor, error);
    }
    char *path = strndup(where, split);
    if (!path) return io_fail(error, IO_E_NOMEM, "out of memory for a file name");
    const io_code code = safetensors_read(path, where + split + 1, as, tensor, error);
    free(path);
    return code;
}
