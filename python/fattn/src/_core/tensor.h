/* SPDX-License-Identifier: Apache-2.0 */
/* tensor.h — any array object as a fattn_tensor, without a copy.
 *
 * Understood: objects of this extension (View, Array, Spec); classes with a DLPack exchange table
 * (torch.Tensor: no allocation, no Python call); the buffer protocol (NumPy, memoryview, ctypes);
 * NumPy arrays of ml_dtypes, which have no buffer; and any object with __dlpack__. Memory must be
 * the host's (DLPack's cpu, pinned, or "ext", which an emulated npu says). */
#ifndef FATTN_CORE_TENSOR_H
#define FATTN_CORE_TENSOR_H

#include "core.h"
#include "errors.h"

typedef struct held_tensor {
    fattn_tensor tensor;
    PyObject *owner;  /* strong, keeps the memory; or NULL */
    Py_buffer buffer; /* likewise; its obj is NULL where there is none */
} held_tensor;

/* Fills *held. 0, or -1 with an exception; then there is nothing to drop. */
int tensor_take(held_tensor *held, PyObject *object, bool writable, const place *where);
void tensor_drop(held_tensor *held);

/* Does the object's type look like an array's? Numbers, strings and lists do not. */
bool tensor_is(PyObject *object);

/* A dtype by its fattn, NumPy or torch name ("bf16", "bfloat16", "torch.bfloat16"), or an object
 * with such a name. FATTN_DTYPE_NONE with an exception when it is none. */
fattn_dtype tensor_dtype_from(PyObject *object);

/* Rank and shape from a sequence of ints; strides row-major. 0, or -1 with an exception. */
int tensor_shape_from(fattn_tensor *tensor, PyObject *shape);

/* Extents or strides as a tuple. */
PyObject *tensor_tuple(const int64_t *numbers, int n);

#endif
