/* SPDX-License-Identifier: Apache-2.0 */
/* io.h — tensors in files: what the readers and writers share.
 *
 * A file is data from outside: every size is checked before it is believed, nothing is read beyond
 * the end, and a failure is a code and a sentence that names the file and what is wrong with it. */
#ifndef FATTN_IO_IO_H
#define FATTN_IO_IO_H

#include "fattn/types.h"

#include <stdio.h>

typedef enum io_code {
    IO_OK = 0,
    IO_E_FILE,   /* cannot be opened, read or written */
    IO_E_FORMAT, /* not what the format says, or truncated */
    IO_E_DTYPE,  /* an element type that fattn has not, or that cannot be taken as the wanted one */
    IO_E_NAME,   /* no tensor of that name */
    IO_E_NOMEM,
    IO_E_MISSING /* this build cannot read the format */
} io_code;

typedef struct io_error {
    io_code code;
    char message[400];
} io_error;

/* A tensor and the memory that it lies in. */
typedef struct io_tensor {
    fattn_tensor t;
    void *memory; /* from malloc, 64-byte aligned; freed by io_tensor_free() */
} io_tensor;

void io_tensor_free(io_tensor *tensor);

/* Zeroed memory of `bytes` (at least one), 64-byte aligned, for free(); NULL when there is none. */
void *io_memory(size_t bytes);

/* Elements of a shape; false when an extent is negative or the product does not fit. */
bool io_count(int rank, const int64_t *shape, int64_t *count);

/* A row-major tensor; an empty one may have any extents (its strides are 0). */
fattn_tensor io_contiguous(void *data, fattn_dtype dtype, int rank, const int64_t *shape);

/* Fills *error; returns `code`, so that a reader can `return io_fail(...)`. */
io_code io_fail(io_error *error, io_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* At most `limit` (at least 1) of the bytes that are left in an open file: *bytes from io_memory(),
 * *n how many. `path` is for the sentences only. */
io_code io_read_stream(FILE *file, size_t limit, const char *path, void **bytes, size_t *n,
                       io_error *error);

/* A whole file in memory; one of more than 64 MiB is refused, for it may have no end. */
io_code io_read_file(const char *path, void **bytes, size_t *n, io_error *error);

/* `as` of io_tensor_read(): the file's own dtype, and `dtype` where its elements are raw. One read:
 * `where` may be a pipe. */
#define IO_RAW_AS(dtype) ((fattn_dtype)(IO_RAW + (dtype)))
enum { IO_RAW = 64 };

/* "FILE.npy", "FILE.safetensors:NAME", or torch's "FILE.pt" and "FILE.pt:NAME" (.pth and .bin,
 * too). `as` is the wanted dtype, FATTN_DTYPE_NONE = the file's own: raw containers (unsigned,
 * void) are reinterpreted, numbers are converted (element.h). */
io_code io_tensor_read(const char *where, fattn_dtype as, io_tensor *tensor, io_error *error);

/* "FILE.safetensors:NAME" -> the length of FILE.safetensors, else 0: a plain file. */
size_t io_split(const char *where);

#endif
