/* SPDX-License-Identifier: Apache-2.0 */
/* errors.h — from a status to an exception, from the library's warnings to Python's. */
#ifndef FATTN_CORE_ERRORS_H
#define FATTN_CORE_ERRORS_H

#include "core.h"

/* Looks up the classes in fattn.errors. 0, or -1 with an exception. */
int errors_init(void);

/* Sets the exception that goes with `status`, with the library's last sentence. Returns NULL. */
PyObject *errors_raise(fattn_status status);

/* The same with a sentence of our own, as PyErr_Format() understands it. */
PyObject *errors_format(fattn_status status, const char *format, ...);

/* An argument of the wrong Python type (E_ARG; also a TypeError). */
PyObject *errors_kind(const char *format, ...);

/* Raise for a name that is not among `names`, with the nearest ones. */
PyObject *errors_unknown_operator(PyObject *name, PyObject *names);
PyObject *errors_unknown_field(const char *op, PyObject *name, PyObject *names);

/* Warnings of the call that this thread is in, collected without the GIL and said behind it. */
enum { WARNINGS_MAX = 8, WARNING_PLACE = 48, WARNING_SENTENCE = 1024 };

typedef struct warning_list {
    int count;
    struct {
        char place[WARNING_PLACE], sentence[WARNING_SENTENCE];
    } at[WARNINGS_MAX];
} warning_list;

/* A context's warn function. */
void warnings_collect(void *self, const char *place, const char *sentence);

/* Behind a call, with the GIL held: says what was collected through `warn`, a
 * callable (place, sentence), or Python's warnings when it is NULL. -1 when that raised. */
int warnings_end(PyObject *warn);

#endif
