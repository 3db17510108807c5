/* SPDX-License-Identifier: Apache-2.0 */
/* table.h — the library's tables of operators and fields, found by Python's strings. */
#ifndef FATTN_CORE_TABLE_H
#define FATTN_CORE_TABLE_H

#include "core.h"

/* What a call's frame has room for; checked against the tables when the module is loaded. */
enum { FIELDS_MAX = 64, ARGS_MAX = 1024, LISTS_MAX = 4, OUTPUTS_MAX = 8, INT_OUT_MAX = 4 };

/* 0, or -1 with an exception. */
int table_init(void);

/* The operator's number in fattn_operators(), from its name with or without "npu_"; -1 with an exception. */
int table_operator(PyObject *name);

const fattn_operator *table_at(int op);

/* The field's number, from a name or alias; -1 with an exception. */
int table_field(int op, PyObject *name);

/* `_core.operators()`: everything the tables say, as a tuple of dicts. */
PyObject *table_describe(PyObject *module, PyObject *nothing);

#endif
