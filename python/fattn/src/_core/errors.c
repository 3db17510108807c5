/* SPDX-License-Identifier: Apache-2.0 */
/* errors.c — the classes are Python's (fattn/errors.py); this file finds the right one. */
#include "errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_STATUS = FATTN_E_BACKEND + 1 };

static PyObject *classes[N_STATUS], *kind_error, *unknown_field, *unknown_operator, *say_warning;
static _Thread_local warning_list *collected;

/* fattn.errors.NAME, kept for as long as the process lives. */
static int keep(PyObject *module, const char *name, PyObject **where)
{
    *where = PyObject_GetAttrString(module, name);
    return *where ? 0 : -1;
}

int errors_init(void)
{
    static const char *const names[N_STATUS] = {
        [FATTN_OK] = "Error",
        [FATTN_E_ARG] = "ArgumentError",
        [FATTN_E_SHAPE] = "ShapeError",
        [FATTN_E_DTYPE] = "DtypeError",
        [FATTN_E_UNSUPPORTED] = "Unsupported",
        [FATTN_E_NOMEM] = "OutOfMemory",
        [FATTN_E_BUSY] = "Busy",
        [FATTN_E_BACKEND] = "BackendError",
    };
    PyObject *module = PyImport_ImportModule("fattn.errors");
    if (!module) return -1;
    int bad = keep(module, "KindError", &kind_error) | keep(module, "unknown_field", &unknown_field) |
              keep(module, "unknown_operator", &unknown_operator) | keep(module, "warn", &say_warning);
    for (int i = 0; i < N_STATUS && !bad; i++) bad = keep(module, names[i], &classes[i]);
    Py_DECREF(module);
    return bad ? -1 : 0;
}

PyObject *errors_raise(fattn_status status)
{
    const bool known = status > FATTN_OK && (int)status < N_STATUS;
    /* The sentence may quote what the caller wrote: anything that is not UTF-8 is replaced. */
    const char *sentence = fattn_error_message();
    PyObject *text = PyUnicode_DecodeUTF8(sentence, (Py_ssize_t)strlen(sentence), "replace");
    if (text) PyErr_SetObject(classes[known ? status : FATTN_OK], text);
    Py_XDECREF(text);
    return NULL;
}

static PyObject *place_text(const place *where)
{
    if (!where) return PyUnicode_FromString("");
    char index[16] = "";
    if (where->index >= 0) PyOS_snprintf(index, sizeof index, "[%d]", where->index);
    if (!where->operator) return PyUnicode_FromFormat("%s%s: ", where->field, index);
    return PyUnicode_FromFormat("%s: %s%s: ", where->operator, where->field, index);
}

PyObject *errors_at(const place *where, int status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyObject *sentence = PyUnicode_FromFormatV(format, args), *begin = place_text(where);
    va_end(args);
    PyObject *text = sentence && begin ? PyUnicode_Concat(begin, sentence) : NULL;
    if (text) PyErr_SetObject(status == KIND_ERROR ? kind_error : classes[status], text);
    Py_XDECREF(sentence);
    Py_XDECREF(begin);
    Py_XDECREF(text);
    return NULL;
}

PyObject *errors_unknown_operator(PyObject *name, PyObject *names)
{
    PyObject *nothing = PyObject_CallFunction(unknown_operator, "OO", name, names);
    Py_XDECREF(nothing); /* it raises */
    return NULL;
}

PyObject *errors_unknown_field(const char *op, PyObject *name, PyObject *names)
{
    PyObject *nothing = PyObject_CallFunction(unknown_field, "sOO", op, name, names);
    Py_XDECREF(nothing); /* likewise */
    return NULL;
}

static void put(char *to, size_t room, const char *text) { snprintf(to, room, "%s", text); }

void warnings_collect(void *self, const char *id, const char *sentence)
{
    (void)self;
    warning_list *list = collected;
    if (!list) { /* the first of this call; without memory it stays unsaid */
        list = collected = malloc(sizeof *list);
        if (!list) return;
        list->count = 0;
    }
    if (list->count == WARNINGS_MAX) return;
    put(list->at[list->count].place, WARNING_PLACE, id);
    put(list->at[list->count].sentence, WARNING_SENTENCE, sentence);
    list->count++;
}

int warnings_end(PyObject *warn)
{
    warning_list *list = collected;
    if (!list) return 0;
    collected = NULL; /* a callable may call the library again */
    int bad = 0;
    for (int i = 0; i < list->count && !bad; i++) {
        const char *sentence = list->at[i].sentence;
        PyObject *text = PyUnicode_DecodeUTF8(sentence, (Py_ssize_t)strlen(sentence), "replace");
        PyObject *nothing = text ? PyObject_CallFunction(warn ? warn : say_warning, "sO",
                                                         list->at[i].place, text)
                                 : NULL;
        bad = !nothing;
        Py_XDECREF(nothing);
        Py_XDECREF(text);
    }
    free(list);
    return bad ? -1 : 0;
}
