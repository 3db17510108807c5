/* SPDX-License-Identifier: Apache-2.0 */
/* stored.h — what a file says its elements are, and how they become what the caller wants. */
#ifndef FATTN_IO_STORED_H
#define FATTN_IO_STORED_H

#include "io.h"

typedef struct io_stored {
    const char *name;  /* in the file's own spelling */
    fattn_dtype dtype; /* FATTN_DTYPE_NONE: only the caller can say */
    size_t size;       /* bytes of an element */
    bool raw;          /* bits that may be taken as any dtype of that size */
} io_stored;

/* tensor->t has shape, strides and data of `stored` elements; makes them `as` (NONE = the file's
 * own, IO_RAW_AS() too). Raw bits are reinterpreted; floats become floats and integers integers by
 * value, in new memory. The tensor is freed on failure. */
io_code io_take(io_tensor *tensor, const io_stored *stored, fattn_dtype as, const char *path,
                io_error *error);

#endif
