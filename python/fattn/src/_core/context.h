/* SPDX-License-Identifier: Apache-2.0 */
/* context.h — the Context object, and which one a call without one uses. */
#ifndef FATTN_CORE_CONTEXT_H
#define FATTN_CORE_CONTEXT_H

#include "core.h"

typedef struct context_object {
    PyObject_HEAD
    fattn_context *context;
    PyObject *warn; /* callable (place, sentence), or NULL = Python's warnings */
} context_object;

extern PyTypeObject *context_type;
int context_init(PyObject *module);

/* `given`, or where that is None: the one that a `with` statement of this thread or task has set, else the
 * process's, made from the environment at the first call. A strong reference; NULL with an exception. */
context_object *context_for(PyObject *given);

/* Behind a call that ended with `status`: says its warnings; raises what there is to raise. 0 when the
 * call was fine and nothing was raised. */
int context_settle(context_object *context, fattn_status status);

#endif
