/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c — shapes once, arrays at every run. A Plan remembers the numbers, lists and strings it was made
 * with, so that a run names its arrays only. */
#include "context.h"
#include "errors.h"
#include "frame.h"
#include "plan.h"

typedef struct plan_object {
    PyObject_HEAD
    fattn_plan *plan;
    context_object *context; /* strong: it outlives the plan */
    int number;
    PyObject *values;                  /* fields that are no arrays */
    fattn_tensor outputs[OUTPUTS_MAX]; /* as shapes() told */
} plan_object;

static PyTypeObject *plan_type;

/* Arrays whose value belongs to the plan (one number that is read with the shapes) are kept. */
static int keep_host_arrays(const frame *f, PyObject *fields, PyObject *values)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(fields, &at, &name, &value)) {
        const int number = table_field(f->number, name);
        if (number < 0) return -1;
        const fattn_field *field = &f->op->fields[number];
        if (field->flags & FATTN_FIELD_HOST && value != Py_None &&
            PyDict_SetItemString(values, field->name, value))
            return -1;
    }
    return 0;
}

static int make(plan_object *self, frame *f, PyObject *fields)
{
    if (frame_fill(f, fields)) return -1;
    fattn_status status = f->op->shapes(self->context->context, f->args, self->outputs);
    if (context_settle(self->context, status)) return -1;
    frame_fill_outputs(f, self->outputs);
    for (int i = 0; i < f->op->n_outputs; i++)
        if (!frame_has_output(f, i)) self->outputs[i].dtype = FATTN_DTYPE_NONE; /* of no run, then */
    Py_BEGIN_ALLOW_THREADS
    status = f->op->plan(self->context->context, f->args, &self->plan);
    Py_END_ALLOW_THREADS
    if (status != FATTN_OK) self->plan = NULL;
    if (context_settle(self->context, status)) return -1;
    self->values = frame_values(f);
    return self->values ? keep_host_arrays(f, fields, self->values) : -1;
}

static PyObject *plan_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"operator", "fields", "context", NULL};
    PyObject *op, *fields, *given = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O", names, &op, &fields, &given)) return NULL;
    const int number = table_operator(op);
    context_object *context = number < 0 ? NULL : context_for(given);
    if (!context) return NULL;
    plan_object *self = (plan_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) {
        Py_DECREF((PyObject *)context);
        return NULL;
    }
    self->context = context;
    self->number = number;
    frame f;
    frame_init(&f, number);
    if (make(self, &f, fields)) Py_CLEAR(self);
    frame_drop(&f);
    return (PyObject *)self;
}

static int plan_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT((PyObject *)((plan_object *)self)->context);
    Py_VISIT(((plan_object *)self)->values);
    return 0;
}

static int plan_clear(PyObject *self)
{
    Py_CLEAR(((plan_object *)self)->values); /* the context goes with the plan, after it */
    return 0;
}

static void plan_dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    plan_object *self = (plan_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    fattn_plan_destroy(self->plan);
    Py_XDECREF(self->values);
    Py_XDECREF((PyObject *)self->context);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF((PyObject *)type);
}

/* The caller's workspace, or the plan's own where it is None. */
typedef struct workspace {
    Py_buffer buffer; /* obj NULL = none */
} workspace;

static int workspace_take(workspace *w, PyObject *object)
{
    w->buffer = (Py_buffer){0};
    if (object == Py_None) return 0;
    if (PyObject_GetBuffer(object, &w->buffer, PyBUF_SIMPLE | PyBUF_WRITABLE) == 0) return 0;
    PyErr_Clear();
    errors_at(ERRORS_FIELD("workspace"), KIND_ERROR, "a writable contiguous buffer, such as fattn.Array('u8', [bytes])");
    return -1;
}

static PyObject *plan_run(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"fields", "workspace", "allocate", NULL};
    plan_object *self = (plan_object *)object;
    PyObject *fields, *room = Py_None, *allocate = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OO", names, &fields, &room, &allocate)) return NULL;
    workspace w;
    if (workspace_take(&w, room)) return NULL;
    frame f;
    frame_init(&f, self->number);
    PyObject *result = NULL;
    if (frame_fill(&f, fields) == 0 && frame_fill_missing(&f, self->values) == 0 &&
        (allocate == Py_None || frame_allocate(&f, self->outputs, allocate) == 0)) {
        fattn_status status;
        Py_BEGIN_ALLOW_THREADS
        status = fattn_plan_run(self->plan, f.args, w.buffer.obj ? w.buffer.buf : NULL, (size_t)w.buffer.len);
        Py_END_ALLOW_THREADS
        if (context_settle(self->context, status) == 0)
            result = allocate == Py_None ? frame_int_out(&f) : frame_results(&f);
    }
    frame_drop(&f);
    if (w.buffer.obj) PyBuffer_Release(&w.buffer);
    return result;
}

static PyObject *get_workspace(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromSize_t(fattn_plan_workspace(((plan_object *)self)->plan));
}

static PyObject *get_describe(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_plan_describe(((plan_object *)self)->plan));
}

static PyObject *get_operator(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(table_at(((plan_object *)self)->number)->name);
}

static PyObject *get_values(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyDict_Copy(((plan_object *)self)->values);
}

static PyObject *plan_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<fattn.Plan %s>", fattn_plan_describe(((plan_object *)self)->plan));
}

int plan_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"run", (PyCFunction)(void (*)(void))plan_run, METH_VARARGS | METH_KEYWORDS,
         "run(fields, workspace=None, allocate=None)\n--\n\n"
         "Computes with the arrays of `fields`; numbers, lists and strings are the plan's. workspace: a writable\n"
         "buffer of at least plan.workspace bytes, aligned to 64; None = the plan's own, which serves one run at a\n"
         "time. Without allocate every output is among the fields, and the numbers that come back are returned;\n"
         "with it missing outputs are made by allocate(dtype, shape), and all outputs and numbers are returned."},
        {NULL, NULL, 0, NULL}};
    static PyGetSetDef attributes[] = {
        {"workspace", get_workspace, NULL, "bytes that one run needs", NULL},
        {"describe", get_describe, NULL, "operator, shapes, backend, ISA, items in one line", NULL},
        {"operator", get_operator, NULL, "the operator's name", NULL},
        {"values", get_values, NULL, "the fields that are no arrays, by name", NULL},
        {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {
        {Py_tp_new, plan_make},
        {Py_tp_dealloc, plan_dealloc},
        {Py_tp_traverse, plan_traverse},
        {Py_tp_clear, plan_clear},
        {Py_tp_repr, plan_repr},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {Py_tp_doc, "plan(operator, fields, context=None)\n--\n\nShapes, lists and numbers of a call, checked and "
                    "laid out once, for any number of runs."},
        {0, NULL}};
    static PyType_Spec spec = {.name = "fattn._core.plan",
                               .basicsize = sizeof(plan_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                               .slots = slots};
    plan_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return plan_type ? PyModule_AddObjectRef(module, "plan", (PyObject *)plan_type) : -1;
}
