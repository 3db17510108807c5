/* SPDX-License-Identifier: Apache-2.0 */
/* view.c — see view.h. */
#include "view.h"

#include "errors.h"
#include "tensor.h"

PyTypeObject *view_type, *spec_type;

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *new_object(PyTypeObject *type)
{
    return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

/* ---- View ------------------------------------------------------------------------------------- */

static PyObject *view_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"array", "dtype", NULL};
    PyObject *array, *named;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO", names, &array, &named)) return NULL;
    const fattn_dtype dtype = tensor_dtype_from(named);
    if (dtype == FATTN_DTYPE_NONE) return NULL;
    if (Py_TYPE(array) == view_type) array = ((view_object *)array)->array; /* the last name counts */
    if (!tensor_is(array)) return errors_at(ERRORS_FIELD("array"), KIND_ERROR, "%R is no array", (PyObject *)Py_TYPE(array));
    view_object *view = (view_object *)new_object(type);
    if (!view) return NULL;
    view->array = Py_NewRef(array);
    view->dtype = dtype;
    held_tensor held; /* does the size of the containers fit? */
    if (tensor_take(&held, (PyObject *)view, false, ERRORS_FIELD("view")))
        Py_CLEAR(view);
    else
        tensor_drop(&held);
    return (PyObject *)view;
}

static int view_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((view_object *)self)->array);
    return 0;
}

static int view_clear(PyObject *self)
{
    Py_CLEAR(((view_object *)self)->array);
    return 0;
}

static void view_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    view_clear(self);
    free_object(self);
}

static PyObject *view_array(PyObject *self, void *nothing)
{
    (void)nothing;
    return Py_NewRef(((view_object *)self)->array);
}

static PyObject *view_dtype(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_dtype_name(((view_object *)self)->dtype));
}

static PyObject *view_shape(PyObject *self, void *nothing)
{
    (void)nothing;
    held_tensor held;
    if (tensor_take(&held, self, false, ERRORS_FIELD("view"))) return NULL;
    PyObject *shape = tensor_tuple(held.tensor.shape, held.tensor.rank);
    tensor_drop(&held);
    return shape;
}

static PyObject *view_repr(PyObject *self)
{
    const view_object *view = (view_object *)self;
    return PyUnicode_FromFormat("fattn.view(%R, '%s')", view->array, fattn_dtype_name(view->dtype));
}

/* ---- Spec ------------------------------------------------------------------------------------- */

static PyObject *spec_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"dtype", "shape", "strides", NULL};
    PyObject *named, *shape, *strides = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O", names, &named, &shape, &strides)) return NULL;
    fattn_tensor tensor = {.dtype = tensor_dtype_from(named)}, steps = {.dtype = FATTN_I64};
    if (tensor.dtype == FATTN_DTYPE_NONE || tensor_shape_from(&tensor, shape)) return NULL;
    if (strides && strides != Py_None) {
        if (tensor_shape_from(&steps, strides)) return NULL;
        if (steps.rank != tensor.rank)
            return errors_at(ERRORS_FIELD("strides"), FATTN_E_SHAPE, "%d of them for %d axes", (int)steps.rank, (int)tensor.rank);
        for (int i = 0; i < tensor.rank; i++) tensor.strides[i] = steps.shape[i];
    }
    spec_object *spec = (spec_object *)new_object(type);
    if (spec) spec->tensor = tensor;
    return (PyObject *)spec;
}

static PyObject *spec_shape(PyObject *self, void *nothing)
{
    (void)nothing;
    const fattn_tensor *t = &((spec_object *)self)->tensor;
    return tensor_tuple(t->shape, t->rank);
}

static PyObject *spec_strides(PyObject *self, void *nothing)
{
    (void)nothing;
    const fattn_tensor *t = &((spec_object *)self)->tensor;
    return tensor_tuple(t->strides, t->rank);
}

static PyObject *spec_dtype(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_dtype_name(((spec_object *)self)->tensor.dtype));
}

static PyObject *spec_repr(PyObject *self)
{
    PyObject *shape = spec_shape(self, NULL);
    PyObject *text = shape ? PyUnicode_FromFormat("fattn.spec('%s', %S)",
                                                  fattn_dtype_name(((spec_object *)self)->tensor.dtype), shape)
                           : NULL;
    Py_XDECREF(shape);
    return text;
}

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, const char *name)
{
    PyObject *type = PyType_FromSpec(spec);
    if (type && PyModule_AddObjectRef(module, name, type)) Py_CLEAR(type);
    return (PyTypeObject *)type;
}

int view_init(PyObject *module)
{
    static PyGetSetDef view_attributes[] = {{"array", view_array, NULL, "the array that is viewed", NULL},
                                            {"dtype", view_dtype, NULL, "name of the element type", NULL},
                                            {"shape", view_shape, NULL, "extents, in containers", NULL},
                                            {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot view_slots[] = {
        {Py_tp_new, view_make},
        {Py_tp_dealloc, view_dealloc},
        {Py_tp_traverse, view_traverse},
        {Py_tp_clear, view_clear},
        {Py_tp_repr, view_repr},
        {Py_tp_getset, view_attributes},
        {Py_tp_doc, "View(array, dtype)\n--\n\nAn array whose containers hold elements of another type: uint16 "
                    "as bf16, int32 as i4, uint8 as e4m3 and so on. No copy."},
        {0, NULL}};
    static PyType_Spec view_spec = {.name = "fattn.View",
                                    .basicsize = sizeof(view_object),
                                    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                                    .slots = view_slots};
    static PyGetSetDef spec_attributes[] = {{"shape", spec_shape, NULL, "extents, in containers", NULL},
                                            {"strides", spec_strides, NULL, "in containers", NULL},
                                            {"dtype", spec_dtype, NULL, "name of the element type", NULL},
                                            {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot spec_slots[] = {
        {Py_tp_new, spec_make},
        {Py_tp_dealloc, free_object},
        {Py_tp_repr, spec_repr},
        {Py_tp_getset, spec_attributes},
        {Py_tp_doc, "Spec(dtype, shape, strides=None)\n--\n\nA tensor without memory, for plans, shapes, "
                    "explanations and estimates. Strides count elements; None = row-major."},
        {0, NULL}};
    static PyType_Spec spec_spec = {.name = "fattn.Spec",
                                    .basicsize = sizeof(spec_object),
                                    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                                    .slots = spec_slots};
    view_type = add_type(module, &view_spec, "View");
    spec_type = add_type(module, &spec_spec, "Spec");
    return view_type && spec_type ? 0 : -1;
}
