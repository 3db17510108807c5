/* SPDX-License-Identifier: Apache-2.0 */
/* array.h — Array: memory of ours (or a borrowed tensor of the library) that other array libraries
 * take over through the buffer protocol or __dlpack__. */
#ifndef FATTN_CORE_ARRAY_H
#define FATTN_CORE_ARRAY_H

#include "core.h"

extern PyTypeObject *array_type;
int array_init(PyObject *module);

/* A contiguous array of new memory, not filled; or NULL with an exception. */
PyObject *array_new(fattn_dtype dtype, int rank, const int64_t *shape);

/* An array over memory that `owner` keeps. */
PyObject *array_borrow(const fattn_tensor *tensor, PyObject *owner);

const fattn_tensor *array_tensor(PyObject *array);

#endif
