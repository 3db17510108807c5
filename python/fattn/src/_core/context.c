/* SPDX-License-Identifier: Apache-2.0 */
/* context.c — see context.h. */
#include "context.h"

#include <string.h>

#include "errors.h"

PyTypeObject *context_type;

static PyObject *current;      /* contextvars.ContextVar: what `with` has set, or None */
static PyObject *current_get;  /* its method */
static PyObject *process_wide; /* the default Context; made late */

/* -1 with an exception. */
static int read_compute(const char *name, fattn_compute *compute)
{
    *compute = name && strcmp(name, "f16") == 0 ? FATTN_COMPUTE_F16 : FATTN_COMPUTE_F32;
    if (!name || *compute == FATTN_COMPUTE_F16 || strcmp(name, "f32") == 0) return 0;
    errors_at(ERRORS_FIELD("compute"), KIND_ERROR, "'%s' is neither f32 nor f16", name);
    return -1;
}

static PyObject *context_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"threads", "isa", "strict", "pin_threads", "backend", "warn", "compute", NULL};
    fattn_context_options options;
    fattn_context_options_init(&options);
    PyObject *strict = Py_None, *pin = Py_None, *warn = Py_None, *threads = Py_None;
    const char *compute = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OzOOzOz", names, &threads, &options.isa, &strict, &pin,
                                     &options.backend, &warn, &compute) ||
        read_compute(compute, &options.compute))
        return NULL;
    if (threads != Py_None) options.threads = (int)PyLong_AsLong(threads);
    if (strict != Py_None) options.strict = PyObject_IsTrue(strict);
    if (pin != Py_None) options.pin_threads = PyObject_IsTrue(pin);
    if (PyErr_Occurred()) return NULL;
    if (warn != Py_None && !PyCallable_Check(warn))
        return errors_at(ERRORS_FIELD("warn"), KIND_ERROR, "%R cannot be called with (place, sentence)", warn);
    options.warn = warnings_collect;
    context_object *self = (context_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) return NULL;
    const fattn_status status = fattn_context_create(&self->context, &options);
    if (status != FATTN_OK) {
        self->context = NULL;
        Py_DECREF((PyObject *)self);
        return errors_raise(status);
    }
    self->warn = warn == Py_None ? NULL : Py_NewRef(warn);
    return (PyObject *)self;
}

static int context_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((context_object *)self)->warn);
    return 0;
}

static int context_clear(PyObject *self)
{
    Py_CLEAR(((context_object *)self)->warn);
    return 0;
}

static void context_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    context_clear(self);
    PyTypeObject *type = Py_TYPE(self);
    fattn_context *context = ((context_object *)self)->context;
    Py_BEGIN_ALLOW_THREADS /* joins threads */
    fattn_context_destroy(context);
    Py_END_ALLOW_THREADS
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

context_object *context_for(PyObject *given)
{
    if (given && given != Py_None) {
        if (Py_TYPE(given) == context_type || PyObject_IsInstance(given, (PyObject *)context_type) == 1)
            return (context_object *)Py_NewRef(given);
        return (context_object *)errors_at(ERRORS_FIELD("context"), KIND_ERROR, "%R is no fattn.Context", given);
    }
    PyObject *set = PyObject_CallNoArgs(current_get);
    if (set != Py_None) return (context_object *)set; /* NULL, too: with its exception */
    Py_DECREF(set);
    if (!process_wide) {
        PyObject *made = PyObject_CallNoArgs((PyObject *)context_type);
        if (!made) return NULL;
        if (process_wide) /* another thread was faster */
            Py_DECREF(made);
        else
            process_wide = made;
    }
    return (context_object *)Py_NewRef(process_wide);
}

int context_settle(context_object *context, fattn_status status)
{
    if (status != FATTN_OK) errors_raise(status); /* before another call changes the sentence */
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    const int bad = warnings_end(context->warn);
    if (type) {
        PyErr_Restore(type, value, trace);
        return -1;
    }
    return bad;
}

/* ---- Python's methods ------------------------------------------------------------------------- */

static PyObject *get_threads(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromLong(fattn_context_threads(((context_object *)self)->context));
}

static PyObject *get_isa(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_context_isa(((context_object *)self)->context));
}

static PyObject *get_strict(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(fattn_context_strict(((context_object *)self)->context));
}

static PyObject *get_compute(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_compute_name(fattn_context_compute(((context_object *)self)->context)));
}

/* Seed and offset are unsigned 64-bit numbers, little-endian in the state. */
static PyObject *get_generator_state(PyObject *self, void *nothing)
{
    (void)nothing;
    uint8_t state[FATTN_GENERATOR_STATE];
    const fattn_status status = fattn_generator_get_state(((context_object *)self)->context, state);
    if (status != FATTN_OK) return errors_raise(status);
    return PyBytes_FromStringAndSize((const char *)state, sizeof state);
}

static int set_generator_state(PyObject *self, PyObject *value, void *nothing)
{
    (void)nothing;
    if (!value || !PyBytes_Check(value) || PyBytes_Size(value) != FATTN_GENERATOR_STATE) {
        errors_at(ERRORS_FIELD("generator_state"), KIND_ERROR, "%d bytes, as generator_state gave them", FATTN_GENERATOR_STATE);
        return -1;
    }
    uint8_t state[FATTN_GENERATOR_STATE];
    memcpy(state, PyBytes_AsString(value), sizeof state);
    const fattn_status status = fattn_generator_set_state(((context_object *)self)->context, state);
    if (status != FATTN_OK) errors_raise(status);
    return status == FATTN_OK ? 0 : -1;
}

static PyObject *context_seed(PyObject *self, PyObject *number)
{
    PyObject *index = PyNumber_Index(number);
    const uint64_t seed = index ? PyLong_AsUnsignedLongLongMask(index) : 0;
    Py_XDECREF(index);
    if (PyErr_Occurred()) return NULL;
    const fattn_status status = fattn_generator_seed(((context_object *)self)->context, seed);
    return status == FATTN_OK ? Py_NewRef(Py_None) : errors_raise(status);
}

static PyObject *context_repr(PyObject *self)
{
    fattn_context *c = ((context_object *)self)->context;
    return PyUnicode_FromFormat("<fattn.Context threads=%d isa=%s%s%s>", fattn_context_threads(c),
                                fattn_context_isa(c), fattn_context_strict(c) ? " strict" : "",
                                fattn_context_compute(c) == FATTN_COMPUTE_F16 ? " compute=f16" : "");
}

/* `_core.default_context()`: what a call without a context uses here and now. */
static PyObject *default_context(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    return (PyObject *)context_for(NULL);
}

/* `_core.set_default_context(context)`: the process's from now on; None = made from the environment anew. */
static PyObject *set_default_context(PyObject *module, PyObject *context)
{
    (void)module;
    if (context != Py_None && PyObject_IsInstance(context, (PyObject *)context_type) != 1)
        return errors_at(ERRORS_FIELD("context"), KIND_ERROR, "%R is no fattn.Context", context);
    PyObject *before = process_wide;
    process_wide = context == Py_None ? NULL : Py_NewRef(context);
    Py_XDECREF(before);
    return Py_NewRef(Py_None);
}

static int make_variable(PyObject *module)
{
    PyObject *contextvars = PyImport_ImportModule("_contextvars");
    PyObject *type = contextvars ? PyObject_GetAttrString(contextvars, "ContextVar") : NULL;
    PyObject *args = Py_BuildValue("(s)", "fattn.context"), *named = Py_BuildValue("{sO}", "default", Py_None);
    current = type && args && named ? PyObject_Call(type, args, named) : NULL;
    current_get = current ? PyObject_GetAttrString(current, "get") : NULL;
    Py_XDECREF(contextvars);
    Py_XDECREF(type);
    Py_XDECREF(args);
    Py_XDECREF(named);
    return current_get ? PyModule_AddObjectRef(module, "current_context", current) : -1;
}

int context_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"seed", context_seed, METH_O,
         "seed(number)\n--\n\nStarts the generator of dropout at (number, offset 0)."},
        {NULL, NULL, 0, NULL}};
    static PyGetSetDef attributes[] = {
        {"threads", get_threads, NULL, "threads a call may use", NULL},
        {"isa", get_isa, NULL, "instruction set of the kernels", NULL},
        {"strict", get_strict, NULL, "whether it computes and refuses as the device does", NULL},
        {"compute", get_compute, NULL, "'f32', or 'f16' where calls that can have it are computed in fp16 arithmetic", NULL},
        {"generator_state", get_generator_state, set_generator_state,
         "16 bytes: seed, then offset, of the generator of dropout", NULL},
        {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_new, context_make},
                                  {Py_tp_dealloc, context_dealloc},
                                  {Py_tp_traverse, context_traverse},
                                  {Py_tp_clear, context_clear},
                                  {Py_tp_repr, context_repr},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, attributes},
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "fattn._core.Context",
                               .basicsize = sizeof(context_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                               .slots = slots};
    static PyMethodDef functions[] = {
        {"default_context", default_context, METH_NOARGS, "The context of a call that is given none."},
        {"set_default_context", set_default_context, METH_O, "Sets the process's context; None = anew."},
        {NULL, NULL, 0, NULL}};
    context_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (!context_type || PyModule_AddObjectRef(module, "Context", (PyObject *)context_type)) return -1;
    return PyModule_AddFunctions(module, functions) || make_variable(module) ? -1 : 0;
}
