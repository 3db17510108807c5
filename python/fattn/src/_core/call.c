/* SPDX-License-Identifier: Apache-2.0 */
/* call.c — an operator by name: convert, let go of the GIL, call, say the warnings. */
#include "call.h"

#include "context.h"
#include "errors.h"
#include "frame.h"

/* The arguments of call(), shapes() and run(). */
typedef struct request {
    int number;
    PyObject *fields, *allocate, *context;
} request;

/* Positional and named arguments by hand: this is on the path of every call. `names` of what the function
 * takes; all but the last, the context, are required. */
static int read_arguments(const char *function, const char *const *known, int n_known, PyObject **given,
                          PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    const Py_ssize_t n_names = names ? PyTuple_Size(names) : 0;
    if (n > n_known) {
        errors_at(ERRORS_FIELD(function), KIND_ERROR, "%zd arguments; it takes at most %d", n, n_known);
        return -1;
    }
    for (Py_ssize_t i = 0; i < n; i++) given[i] = args[i];
    for (Py_ssize_t i = 0; i < n_names; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        int which = n_known - 1;
        while (which >= 0 && PyUnicode_CompareWithASCIIString(name, known[which]) != 0) which--;
        if (which < 0 || given[which]) {
            errors_at(ERRORS_FIELD(function), KIND_ERROR, "argument %R is %s", name,
                      which < 0 ? "none that it takes" : "given twice");
            return -1;
        }
        given[which] = args[n + i];
    }
    for (int i = 0; i < n_known - 1; i++)
        if (!given[i]) {
            errors_at(ERRORS_FIELD(function), KIND_ERROR, "%s is required", known[i]);
            return -1;
        }
    return 0;
}

static int read_request(request *r, const char *function, bool allocates, PyObject *const *args, Py_ssize_t n,
                        PyObject *names)
{
    static const char *const plain[] = {"operator", "fields", "context"};
    static const char *const allocating[] = {"operator", "fields", "allocate", "context"};
    PyObject *given[4] = {NULL, NULL, NULL, NULL};
    if (read_arguments(function, allocates ? allocating : plain, allocates ? 4 : 3, given, args, n, names)) return -1;
    r->number = table_operator(given[0]);
    r->fields = given[1];
    r->allocate = allocates ? given[2] : NULL;
    r->context = given[allocates ? 3 : 2];
    return r->number < 0 ? -1 : 0;
}

static int compute(frame *f, context_object *context)
{
    fattn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = f->op->call(context->context, f->args);
    Py_END_ALLOW_THREADS
    return context_settle(context, status);
}

static PyObject *call(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    request r;
    if (read_request(&r, "call", false, args, n, names)) return NULL;
    context_object *context = context_for(r.context);
    if (!context) return NULL;
    frame f;
    frame_init(&f, r.number);
    PyObject *result = NULL;
    if (frame_fill(&f, r.fields) == 0 && compute(&f, context) == 0) result = frame_int_out(&f);
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
    if (read_request(&r, "shapes", false, args, n, names)) return NULL;
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

static PyObject *run(PyObject *module, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    (void)module;
    request r;
    if (read_request(&r, "run", true, args, n, names)) return NULL;
    context_object *context = context_for(r.context);
    if (!context) return NULL;
    frame f;
    frame_init(&f, r.number);
    PyObject *result = NULL;
    if (frame_fill(&f, r.fields) == 0) {
        fattn_tensor outputs[OUTPUTS_MAX] = {{0}};
        const fattn_status status = f.op->shapes(context->context, f.args, outputs);
        if (context_settle(context, status) == 0 && frame_allocate(&f, outputs, r.allocate) == 0 &&
            compute(&f, context) == 0)
            result = frame_results(&f);
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
        {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL | METH_KEYWORDS,
         "run(operator, fields, allocate, context=None)\n--\n\n"
         "The same as call(), but outputs that are not among the fields are made by allocate(dtype, shape). Returns\n"
         "all outputs (None for one that this call does not have), then the numbers that come back."},
        {NULL, NULL, 0, NULL}};
    return PyModule_AddFunctions(module, functions);
}
