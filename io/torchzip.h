/* SPDX-License-Identifier: Apache-2.0 */
/* torchzip.h — what torch.save() writes since version 1.6: a zip archive of a pickle (pickle.h) and
 * the storages that it names. Needs libzip; without it (torchzip_none.c) every call answers
 * IO_E_MISSING.
 *
 * Nothing is executed. Entries must be stored without compression, as torch does, so that a file
 * cannot ask for more memory than its own size. Strides and offsets of views are kept. */
#ifndef FATTN_IO_TORCHZIP_H
#define FATTN_IO_TORCHZIP_H

#include "io.h"

bool torchzip_available(void);

/* One tensor: `name` is its path of keys, NULL when the file is a tensor; only its storage is read.
 * `as` as in io_tensor_read(). */
io_code torchzip_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                      io_error *error);

#endif
