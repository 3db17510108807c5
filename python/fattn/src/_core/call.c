/* SPDX-License-Identifier: Apache-2.0 */
/* call.c — an operator by name: convert, let go of the GIL, call, say the warnings. */
#include "call.h"

#include "context.h"
#include "errors.h"
#include "frame.h"

/* The arguments that call(), shapes() and plan() share: operator, fields, context=None. */
typedef struct request {
    int number;
    PyObject *fields, *context;
} request;

static int read_request(request *r, const char *function, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    const Py_ssize_t n_names = names ? PyTuple_Size(names) : 0;
    PyObject *given[3] = {NULL, NULL, NULL};
    static const char *const known[3] = {"operator", "fields", "context"};
    if (n > 3) return errors_kind("%s: %zd arguments; it takes operator, fields, context", function, n), -1;
    for (Py_ssize_t i = 0; i < n; i++) given[i] = args[i];
    for (Py_ssize_t i = 0; i < n_names; i++) {
        int which = 2;
        while (which >= 0 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, i), known[which]) != 0)
            which--;
        if (which < 0 || given[which])
            return errors_kind("%s: argument %R; it takes operator, fields, context", function,
                               PyTuple_GetItem(names, i)), -1;
        given[which] = args[n + i];
    }
    if (!given[0] || !given[1]) return errors_kind("%s: operator and fields are required", function), -1;
    r->number = table_operator(given[0]);
    r->fields = given[1];
    r->context = given[2];
    return r->number < 0 ? -1 : 0;
}

static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    request r;
    if (read_request(&r, "call", args, n, names)) return NULL;
    context_object *context = context_for(r.context);
    if (!context) return NULL;
    frame f;
    frame_init(&f, r.number);
    PyObject *result = NULL;
    if (frame_fill(&f, r.fields) == 0) {
        fattn_status status;
        Py_BEGIN_ALLOW_THREADS
        status = f.op->call(context->context, f.args);
        Py_END_ALLOW_THREADS
        if (context_settle(context, status) == 0) result = frame_int_out(&f);
    }
    frame_drop(&f);
    Py_DECREF((PyObject *)context);
    return result;
}

/* (dtype, shape) of each output; None for one that this call does not have. */
static PyObject *shapes_tuple(const fattn_tensor *outputs, int n)
{
    PyObject *tuple = PyTuple_New(n);
    for (int i = 0; tuple && i < n; i++) {
        const fattn_tensor *t = &outputs[i];
        PyObject *one = t->dtype == FATTN_DTYPE_NONE
                            ? Py_NewRef(Py_None)
                            : Py_BuildValue("(sN)", fattn_dtype_name(t->dtype), tensor_tuple(t->shape, t->rank));
        if (!one || PyTuple_SetItem(tuple, i, one)) Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *shapes(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    request r;
    if (read_request(&r, "shapes", args, n, names)) return NULL;
    context_object *context = context_for(r.context);
    if (!context) return NULL;
    frame f;
    frame_init(&f, r.number);
    PyObject *result = NULL;
    if (frame_fill(&f, r.fields) == 0) {
        fattn_tensor outputs[OUTPUTS_MAX] = {{0}};
        const fattn_status status = f.op->shapes(context->context, f.args, outputs);
        if (context_settle(context, status) == 0) result = shapes_tuple(outputs, f.op->n_outputs);
    }
    frame_drop(&f);
    Py_DECREF((PyObject *)context);
    return result;
}

int call_init(PyObject *module)
{
    static PyMethodDef functions[] = {
        {"call", (PyCFunction)(void (*)(void))call, METH_FASTCALL | METH_KEYWORDS,
         "call(operator, fields, context=None)\n--\n\n"
         "Calls an operator of the library. `fields` maps names (or aliases) of its table to values, outputs\n"
         "included; None = absent. Returns the tuple of the numbers that come back, in the table's order."},
        {"shapes", (PyCFunction)(void (*)(void))shapes, METH_FASTCALL | METH_KEYWORDS,
         "shapes(operator, fields, context=None)\n--\n\n"
         "(dtype, shape) of every output, in the table's order; None for one that this call does not have."},
        {NULL, NULL, 0, NULL}};
    return PyModule_AddFunctions(module, functions);
}
