/* SPDX-License-Identifier: Apache-2.0 */
/* quantize.c — fattn_quantize_* and fattn_calibration_*. Codes and scales are given by the caller; what shape
 * they have, quantize_shapes() tells. */
#include "quantize.h"

#include "context.h"
#include "errors.h"
#include "tensor.h"

static const char *const granularity_names[] = {
    [FATTN_PER_TENSOR] = "tensor", [FATTN_PER_CHANNEL] = "channel",       [FATTN_PER_TOKEN] = "token",
    [FATTN_PER_HEAD] = "head",     [FATTN_PER_TOKEN_HEAD] = "token_head",
};

int quantize_granularity(const char *name, fattn_granularity *granularity)
{
    for (int i = 0; i <= FATTN_PER_TOKEN_HEAD; i++)
        if (PyOS_stricmp(name, granularity_names[i]) == 0) {
            *granularity = (fattn_granularity)i;
            return 0;
        }
    errors_at(ERRORS_FIELD("granularity"), FATTN_E_ARG, "'%s' is none of tensor, channel, token, head, token_head",
              name);
    return -1;
}

/* The options of a call: a dict with the names of fattn_quantize_options. */
static int read_options(PyObject *dict, fattn_quantize_options *o)
{
    fattn_quantize_options_init(o);
    static char *names[] = {"dtype", "granularity", "scale_dtype", "percentile", "input_layout", "num_heads", NULL};
    PyObject *dtype = NULL, *scale_dtype = NULL, *none = PyTuple_New(0);
    const char *granularity = NULL, *layout = NULL;
    long long heads = 0;
    int bad = !none || !PyDict_Check(dict) ||
              !PyArg_ParseTupleAndKeywords(none, dict, "|OsOdsL", names, &dtype, &granularity, &scale_dtype,
                                           &o->percentile, &layout, &heads);
    Py_XDECREF(none);
    if (!bad && dtype) bad = (o->dtype = tensor_dtype_from(dtype)) == FATTN_DTYPE_NONE;
    if (!bad && scale_dtype) bad = (o->scale_dtype = tensor_dtype_from(scale_dtype)) == FATTN_DTYPE_NONE;
    if (!bad && granularity) bad = quantize_granularity(granularity, &o->granularity);
    if (layout) o->input_layout = layout; /* the dict's string outlives the call */
    o->num_heads = heads;
    if (bad && !PyErr_Occurred()) errors_at(ERRORS_FIELD("options"), KIND_ERROR, "a dict");
    return bad ? -1 : 0;
}

/* quantize_shapes(options, input) */
static PyObject *quantize_shapes(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *options, *input;
    fattn_quantize_options o;
    held_tensor held;
    if (!PyArg_ParseTuple(args, "OO", &options, &input) || read_options(options, &o) ||
        tensor_take(&held, input, false, ERRORS_FIELD("input")))
        return NULL;
    fattn_tensor codes, scale;
    const fattn_status status = fattn_quantize_kv_shapes(&o, &held.tensor, &codes, &scale);
    tensor_drop(&held);
    if (status != FATTN_OK) return errors_raise(status);
    return Py_BuildValue("((sN)(sN))", fattn_dtype_name(codes.dtype), tensor_tuple(codes.shape, codes.rank),
                         fattn_dtype_name(scale.dtype), tensor_tuple(scale.shape, scale.rank));
}

/* quantize(options, input, codes, scale, given, context): given = by these scales instead of new ones */
static PyObject *quantize(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *options, *objects[3], *given_context = Py_None;
    int by;
    fattn_quantize_options o;
    if (!PyArg_ParseTuple(args, "OOOOp|O", &options, &objects[0], &objects[1], &objects[2], &by, &given_context) ||
        read_options(options, &o))
        return NULL;
    context_object *context = context_for(given_context);
    if (!context) return NULL;
    static const char *const names[3] = {"input", "codes", "scale"};
    const bool written[3] = {false, true, !by};
    held_tensor held[3];
    int taken = 0;
    while (taken < 3 && tensor_take(&held[taken], objects[taken], written[taken], ERRORS_FIELD(names[taken])) == 0)
        taken++;
    PyObject *result = NULL;
    if (taken == 3) {
        if (o.dtype == FATTN_I4 && held[1].tensor.dtype == FATTN_I32) held[1].tensor.dtype = FATTN_I4;
        fattn_status status;
        Py_BEGIN_ALLOW_THREADS
        status = by ? fattn_quantize_kv_by(context->context, &o, &held[0].tensor, &held[2].tensor, &held[1].tensor)
                    : fattn_quantize_kv(context->context, &o, &held[0].tensor, &held[1].tensor, &held[2].tensor);
        Py_END_ALLOW_THREADS
        if (context_settle(context, status) == 0) result = Py_NewRef(Py_None);
    }
    while (taken > 0) tensor_drop(&held[--taken]);
    Py_DECREF((PyObject *)context);
    return result;
}

/* quantize_mode(granularity, paged) */
static PyObject *quantize_mode(PyObject *module, PyObject *args)
{
    (void)module;
    const char *name;
    int paged = 0;
    fattn_granularity granularity;
    if (!PyArg_ParseTuple(args, "s|p", &name, &paged) || quantize_granularity(name, &granularity)) return NULL;
    return PyLong_FromLong(fattn_quantize_mode(granularity, paged));
}

/* ---- calibration ------------------------------------------------------------------------------ */

typedef struct calibration_object {
    PyObject_HEAD
    fattn_calibration *calibration;
    context_object *context; /* strong */
} calibration_object;

static PyTypeObject *calibration_type;

static PyObject *calibration_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"options", "context", NULL};
    PyObject *options, *given = Py_None;
    fattn_quantize_options o;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", names, &options, &given) || read_options(options, &o))
        return NULL;
    context_object *context = context_for(given);
    calibration_object *self =
        context ? (calibration_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0) : NULL;
    if (!self) {
        Py_XDECREF((PyObject *)context);
        return NULL;
    }
    self->context = context;
    const fattn_status status = fattn_calibration_create(context->context, &o, &self->calibration);
    if (status == FATTN_OK) return (PyObject *)self;
    self->calibration = NULL;
    Py_DECREF((PyObject *)self);
    return errors_raise(status);
}

static void calibration_dealloc(PyObject *object)
{
    calibration_object *self = (calibration_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    fattn_calibration_destroy(self->calibration);
    Py_XDECREF((PyObject *)self->context);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF((PyObject *)type);
}

static PyObject *with_tensor(PyObject *object, PyObject *array, bool scales)
{
    fattn_calibration *calibration = ((calibration_object *)object)->calibration;
    held_tensor held;
    if (tensor_take(&held, array, scales, ERRORS_FIELD(scales ? "scale" : "input"))) return NULL;
    /* One thread at a time, says the library: the GIL sees to it. */
    const fattn_status status = scales ? fattn_calibration_scales(calibration, &held.tensor)
                                       : fattn_calibration_observe(calibration, &held.tensor);
    tensor_drop(&held);
    return status == FATTN_OK ? Py_NewRef(Py_None) : errors_raise(status);
}

static PyObject *calibration_observe(PyObject *self, PyObject *input) { return with_tensor(self, input, false); }
static PyObject *calibration_scales(PyObject *self, PyObject *scale) { return with_tensor(self, scale, true); }

int quantize_init(PyObject *module)
{
    static PyMethodDef functions[] = {
        {"quantize_shapes", quantize_shapes, METH_VARARGS, "(dtype, shape) of codes and scales."},
        {"quantize", quantize, METH_VARARGS, "Fills codes and scales, or codes by given scales."},
        {"quantize_mode", quantize_mode, METH_VARARGS, "The antiquant mode of a granularity."},
        {NULL, NULL, 0, NULL}};
    static PyMethodDef methods[] = {
        {"observe", calibration_observe, METH_O, "observe(input)\n--\n\nOne more batch."},
        {"scales", calibration_scales, METH_O, "scales(scale)\n--\n\nFills the scales of what was seen so far."},
        {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {
        {Py_tp_new, calibration_make}, {Py_tp_dealloc, calibration_dealloc}, {Py_tp_methods, methods}, {0, NULL}};
    static PyType_Spec spec = {.name = "fattn._core.Calibration",
                               .basicsize = sizeof(calibration_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               .slots = slots};
    calibration_type = (PyTypeObject *)PyType_FromSpec(&spec);
    if (!calibration_type || PyModule_AddObjectRef(module, "Calibration", (PyObject *)calibration_type)) return -1;
    return PyModule_AddFunctions(module, functions);
}
