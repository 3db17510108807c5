/* SPDX-License-Identifier: Apache-2.0 */
/* errors.h — from a status to an exception, from the library's warnings to Python's. */
#ifndef FATTN_CORE_ERRORS_H
#define FATTN_CORE_ERRORS_H

#include "core.h"

/* Looks up the classes in fattn.errors. 0, or -1 with an exception. */
int errors_init(void);

/* Sets the exception that goes with `status`, with the library's last sentence. Returns NULL. */
PyObject *errors_raise(fattn_status status);

/* What a sentence begins with: "fusion_attention: key: ", "attention_update: lse[3]: ", "dtype: ". Put into
 * words only when something is wrong. */
typedef struct place {
    const char *operator, *field; /* operator NULL = the field alone */
    int index;                    /* in a list; -1 = it is none */
} place;

enum { KIND_ERROR = -1 }; /* in place of a status: an argument of the wrong Python type, E_ARG and TypeError */

/* Raises the exception of `status` (or KIND_ERROR) with a sentence of ours, as PyErr_Format() understands
 * it, behind the place, unless that is NULL. Returns NULL. */
PyObject *errors_at(const place *where, int status, const char *format, ...);

/* The same for a field outside any operator. */
#define ERRORS_FIELD(name) (&(const place){.operator = NULL, .field = (name), .index = -1})

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
void warnings_collect(void *self, const char *id, const char *sentence);

/* Behind a call, with the GIL held: says what was collected through `warn`, a
 * callable (place, sentence), or Python's warnings when it is NULL. -1 when that raised. */
int warnings_end(PyObject *warn);

#endif
