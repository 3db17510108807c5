/* SPDX-License-Identifier: Apache-2.0 */
/* view.h — an array under another element type (View), and a shape without an array (Spec). */
#ifndef FATTN_CORE_VIEW_H
#define FATTN_CORE_VIEW_H

#include "core.h"

/* An array whose containers hold elements of `dtype`: uint16 as bf16, int32 as i4, uint8 as fp8. */
typedef struct view_object {
    PyObject_HEAD
    PyObject *array;
    fattn_dtype dtype;
} view_object;

/* What a plan, shapes(), explain() and estimates need of a tensor: everything but its memory. */
typedef struct spec_object {
    PyObject_HEAD
    fattn_tensor tensor; /* data NULL */
} spec_object;

extern PyTypeObject *view_type, *spec_type;
int view_init(PyObject *module);

#endif
