/* SPDX-License-Identifier: Apache-2.0 */
/* element.h — single elements of any dtype as double, for filling, converting and printing; not for
 * speed. Stores round to nearest, ties to even, once; integers saturate. */
#ifndef FATTN_IO_ELEMENT_H
#define FATTN_IO_ELEMENT_H

#include "fattn/types.h"

/* `at` counts elements from data. I4 counts containers and is read as their int32; E2M1, E1M2, E8M0 and HIF8
 * are read as bytes. */
double io_get(const void *data, fattn_dtype dtype, int64_t at);
void io_set(void *data, fattn_dtype dtype, int64_t at, double value);

/* The same for integer dtypes, exact over the whole int64 range. */
int64_t io_get_int(const void *data, fattn_dtype dtype, int64_t at);
void io_set_int(void *data, fattn_dtype dtype, int64_t at, int64_t value);

bool io_dtype_is_float(fattn_dtype dtype);

/* Offset in elements of the flat (row-major) index of a tensor. */
int64_t io_offset(const fattn_tensor *tensor, int64_t index);

/* row-major strides? (extents of 0 and 1 do not matter) */
bool io_is_contiguous(const fattn_tensor *tensor);

#endif
