/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.h — .safetensors files: u64 header length, a JSON header, the data of all tensors.
 * Needs jansson; without it (safetensors_none.c) every call answers IO_E_MISSING. */
#ifndef FATTN_IO_SAFETENSORS_H
#define FATTN_IO_SAFETENSORS_H

#include "io.h"

bool safetensors_available(void);

/* One tensor; only its own bytes are read. `as` as in io_tensor_read(). */
io_code safetensors_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                         io_error *error);

/* The names in the file's own order, each `name` once, for free() one by one and the list itself.
 */
io_code safetensors_names(const char *path, char ***names, int *n_names, io_error *error);

/* One text of __metadata__, for free(); IO_E_NAME when there is none of that name. */
io_code safetensors_text(const char *path, const char *name, char **text, io_error *error);

/* Writes n tensors, C order. The file is removed again on failure. */
io_code safetensors_write(const char *path, int n, const char *const *names,
                          const fattn_tensor *const *tensors, io_error *error);

#endif
