/* SPDX-License-Identifier: Apache-2.0 */
/* npy.h — NumPy's .npy files, versions 1 to 3, little endian.
 *
 * Read: f2 f4 f8 i1 i4 i8 u1 b1, in C or Fortran order (strides). u2, i2, V2 hold fp16 or bf16 and
 * u1, V1 fp8 when the caller says so; u4, V4 packed int4. Written: bf16 as u2, fp8 as u1, packed
 * int4 as i4. */
#ifndef FATTN_IO_NPY_H
#define FATTN_IO_NPY_H

#include "io.h"

/* `as` as in io_tensor_read(). */
io_code npy_read(const char *path, fattn_dtype as, io_tensor *tensor, io_error *error);

/* The same from `n` bytes of memory, which `tensor` takes over: `bytes` is from io_memory() and
 * freed here on failure. */
io_code npy_parse(void *bytes, size_t n, fattn_dtype as, io_tensor *tensor, io_error *error);

/* Writes version 1.0, C order, whatever the strides. The file is removed again on failure. */
io_code npy_write(const char *path, const fattn_tensor *tensor, io_error *error);

#endif
