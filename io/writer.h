/* SPDX-License-Identifier: Apache-2.0 */
/* writer.h — a file being written: it is complete or it is not there. */
#ifndef FATTN_IO_WRITER_H
#define FATTN_IO_WRITER_H

#include "io.h"

#include <stdio.h>

typedef struct io_writer {
    FILE *file;
    const char *path; /* borrowed */
} io_writer;

io_code io_writer_open(io_writer *writer, const char *path, io_error *error);
io_code io_writer_put(io_writer *writer, const void *bytes, size_t n, io_error *error);

/* The elements in row-major order, whatever the strides. */
io_code io_writer_tensor(io_writer *writer, const fattn_tensor *tensor, io_error *error);

/* `so_far` is the code of the calls before; on failure, ours included, a regular file is removed.
 */
io_code io_writer_close(io_writer *writer, io_code so_far, io_error *error);

#endif
