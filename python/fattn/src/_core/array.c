/* SPDX-License-Identifier: Apache-2.0 */
/* array.c — see array.h. Buffers of types that struct's letters do not have (bf16, fp8, packed 4-bit
 * types) are those of integers of the same size; __dlpack__ names them truly. */
#include "array.h"

#include <stdlib.h>
#include <string.h>

#include "dlpack.h"
#include "errors.h"
#include "tensor.h"

typedef struct array_object {
    PyObject_HEAD
    fattn_tensor tensor;
    void *memory;    /* own; or NULL */
    PyObject *owner; /* of borrowed memory; or NULL */
    Py_ssize_t shape[FATTN_MAX_RANK], strides[FATTN_MAX_RANK]; /* strides in bytes */
} array_object;

PyTypeObject *array_type;

const fattn_tensor *array_tensor(PyObject *array) { return &((array_object *)array)->tensor; }

static int64_t count_elements(const fattn_tensor *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= t->shape[i];
    return count;
}

static array_object *make(const fattn_tensor *tensor)
{
    allocfunc alloc = PyType_GetSlot(array_type, Py_tp_alloc);
    array_object *a = (array_object *)alloc(array_type, 0);
    if (!a) return NULL;
    a->tensor = *tensor;
    a->memory = NULL;
    a->owner = NULL;
    const Py_ssize_t size = (Py_ssize_t)fattn_dtype_size(tensor->dtype);
    for (int i = 0; i < tensor->rank; i++) {
        a->shape[i] = (Py_ssize_t)tensor->shape[i];
        a->strides[i] = (Py_ssize_t)tensor->strides[i] * size;
    }
    return a;
}

PyObject *array_new(fattn_dtype dtype, int rank, const int64_t *shape)
{
    fattn_tensor tensor = fattn_tensor_contiguous(NULL, dtype, rank, shape);
    const int64_t size = (int64_t)fattn_dtype_size(dtype);
    int64_t bytes = size;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0 || (shape[i] > 0 && bytes > INT64_MAX / 2 / shape[i]))
            return errors_at(ERRORS_FIELD("shape"), FATTN_E_SHAPE, "extent %d is %lld", i, (long long)shape[i]);
        else if (shape[i] > 0)
            bytes *= shape[i];
    array_object *a = make(&tensor);
    if (!a) return NULL;
    const size_t room = ((size_t)bytes + 63) / 64 * 64;
    a->memory = aligned_alloc(64, room);
    a->tensor.data = a->memory;
    if (a->memory) return (PyObject *)a;
    Py_DECREF((PyObject *)a);
    return errors_at(NULL, FATTN_E_NOMEM, "out of memory: an array of %lld bytes", (long long)bytes);
}

PyObject *array_borrow(const fattn_tensor *tensor, PyObject *owner)
{
    array_object *a = make(tensor);
    if (a) a->owner = Py_NewRef(owner);
    return (PyObject *)a;
}

static void array_dealloc(PyObject *self)
{
    array_object *a = (array_object *)self;
    PyTypeObject *type = Py_TYPE(self);
    free(a->memory);
    Py_XDECREF(a->owner);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF((PyObject *)type);
}

/* ---- buffer ----------------------------------------------------------------------------------- */

static const char *format_of(fattn_dtype dtype)
{
    static const char *const formats[FATTN_DTYPE_COUNT] = {
        [FATTN_F64] = "d", [FATTN_F32] = "f",  [FATTN_F16] = "e", [FATTN_BF16] = "H", [FATTN_I64] = "l",
        [FATTN_I32] = "i", [FATTN_I8] = "b",   [FATTN_U8] = "B",  [FATTN_BOOL] = "?", [FATTN_I4] = "i",
    };
    return formats[dtype] ? formats[dtype] : "B";
}

static bool is_contiguous(const fattn_tensor *t)
{
    int64_t dense = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] > 1 && t->strides[i] != dense) return false;
        dense *= t->shape[i];
    }
    return true;
}

static int array_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    array_object *a = (array_object *)self;
    view->obj = NULL;
    if ((flags & PyBUF_STRIDES) != PyBUF_STRIDES && !is_contiguous(&a->tensor)) {
        PyErr_SetString(PyExc_BufferError, "the array is not contiguous");
        return -1;
    }
    const Py_ssize_t size = (Py_ssize_t)fattn_dtype_size(a->tensor.dtype);
    *view = (Py_buffer){
        .buf = a->tensor.data,
        .len = (Py_ssize_t)count_elements(&a->tensor) * size,
        .itemsize = size,
        .ndim = (flags & PyBUF_ND) ? a->tensor.rank : 1,
        .format = (flags & PyBUF_FORMAT) ? (char *)format_of(a->tensor.dtype) : NULL,
        .shape = (flags & PyBUF_ND) ? a->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? a->strides : NULL,
        .obj = Py_NewRef(self),
    };
    return 0;
}

/* ---- DLPack ----------------------------------------------------------------------------------- */

/* What a capsule carries: both forms, and the arrays that the description points at. */
typedef struct export {
    dlpack_managed_versioned versioned;
    dlpack_managed plain;
    int64_t shape[FATTN_MAX_RANK], strides[FATTN_MAX_RANK];
    PyObject *array;
} export;

static void export_free(export *e)
{
    const PyGILState_STATE gil = PyGILState_Ensure(); /* called from anywhere */
    Py_DECREF(e->array);
    PyGILState_Release(gil);
    free(e);
}

static void delete_plain(dlpack_managed *managed) { export_free(managed->self); }
static void delete_versioned(dlpack_managed_versioned *managed) { export_free(managed->self); }

static dlpack_dtype dlpack_dtype_of(fattn_dtype dtype)
{
    static const dlpack_dtype dtypes[FATTN_DTYPE_COUNT] = {
        [FATTN_F64] = {DLPACK_FLOAT, 64, 1},  [FATTN_F32] = {DLPACK_FLOAT, 32, 1},
        [FATTN_F16] = {DLPACK_FLOAT, 16, 1},  [FATTN_BF16] = {DLPACK_BFLOAT, 16, 1},
        [FATTN_I64] = {DLPACK_INT, 64, 1},    [FATTN_I32] = {DLPACK_INT, 32, 1},
        [FATTN_I8] = {DLPACK_INT, 8, 1},      [FATTN_U8] = {DLPACK_UINT, 8, 1},
        [FATTN_BOOL] = {DLPACK_BOOL, 8, 1},   [FATTN_I4] = {DLPACK_INT, 32, 1},
        [FATTN_E4M3] = {DLPACK_E4M3FN, 8, 1}, [FATTN_E5M2] = {DLPACK_E5M2, 8, 1},
        [FATTN_E8M0] = {DLPACK_E8M0FNU, 8, 1}, [FATTN_E2M1] = {DLPACK_E2M1FN, 4, 2},
        [FATTN_E1M2] = {DLPACK_UINT, 8, 1},   [FATTN_HIF8] = {DLPACK_UINT, 8, 1},
    };
    return dtypes[dtype];
}

/* A capsule that nobody took over. */
static void capsule_dropped(PyObject *capsule)
{
    if (PyCapsule_IsValid(capsule, "dltensor")) {
        dlpack_managed *m = PyCapsule_GetPointer(capsule, "dltensor");
        m->deleter(m);
    } else if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        dlpack_managed_versioned *m = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        m->deleter(m);
    }
}

/* The first number of a version such as (1, 0); 0 when it is None. -1 with an exception. */
static long major_of(PyObject *max_version)
{
    if (!max_version || max_version == Py_None) return 0;
    PyObject *first = PySequence_GetItem(max_version, 0);
    const long major = first ? PyLong_AsLong(first) : -1;
    Py_XDECREF(first);
    return PyErr_Occurred() ? -1 : major;
}

static PyObject *array_dlpack(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"stream", "max_version", "dl_device", "copy", NULL};
    PyObject *stream = NULL, *max_version = NULL, *device = NULL, *copy = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOOO", names, &stream, &max_version, &device, &copy))
        return NULL;
    if (copy && copy == Py_True) {
        PyErr_SetString(PyExc_BufferError, "copy: this array shares its memory and makes no copies");
        return NULL;
    }
    const long major = major_of(max_version);
    if (major < 0) return NULL;
    const array_object *a = (array_object *)self;
    export *e = calloc(1, sizeof *e);
    if (!e) return PyErr_NoMemory();
    memcpy(e->shape, a->tensor.shape, sizeof e->shape);
    memcpy(e->strides, a->tensor.strides, sizeof e->strides);
    const dlpack_tensor tensor = {.data = a->tensor.data,
                                  .device = {DLPACK_CPU, 0},
                                  .rank = a->tensor.rank,
                                  .dtype = dlpack_dtype_of(a->tensor.dtype),
                                  .shape = e->shape,
                                  .strides = e->strides};
    e->array = Py_NewRef(self);
    e->plain = (dlpack_managed){.tensor = tensor, .self = e, .deleter = delete_plain};
    e->versioned = (dlpack_managed_versioned){.version = {DLPACK_MAJOR, DLPACK_MINOR},
                                              .self = e,
                                              .deleter = delete_versioned,
                                              .tensor = tensor};
    PyObject *capsule = major >= DLPACK_MAJOR
                            ? PyCapsule_New(&e->versioned, "dltensor_versioned", capsule_dropped)
                            : PyCapsule_New(&e->plain, "dltensor", capsule_dropped);
    if (!capsule) export_free(e);
    return capsule;
}

static PyObject *array_dlpack_device(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    return Py_BuildValue("(ii)", DLPACK_CPU, 0);
}

/* ---- attributes ------------------------------------------------------------------------------- */

static PyObject *array_shape(PyObject *self, void *nothing)
{
    (void)nothing;
    return tensor_tuple(array_tensor(self)->shape, array_tensor(self)->rank);
}

static PyObject *array_strides(PyObject *self, void *nothing)
{
    (void)nothing;
    return tensor_tuple(array_tensor(self)->strides, array_tensor(self)->rank);
}

static PyObject *array_dtype(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyUnicode_FromString(fattn_dtype_name(array_tensor(self)->dtype));
}

static PyObject *array_repr(PyObject *self)
{
    PyObject *shape = array_shape(self, NULL);
    PyObject *text = shape ? PyUnicode_FromFormat("<fattn.Array %s %S>",
                                                  fattn_dtype_name(array_tensor(self)->dtype), shape)
                           : NULL;
    Py_XDECREF(shape);
    return text;
}

static PyObject *array_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)type;
    static char *names[] = {"dtype", "shape", NULL};
    PyObject *dtype, *shape;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO", names, &dtype, &shape)) return NULL;
    fattn_tensor t = {.dtype = tensor_dtype_from(dtype)};
    if (t.dtype == FATTN_DTYPE_NONE || tensor_shape_from(&t, shape)) return NULL;
    return array_new(t.dtype, t.rank, t.shape);
}

int array_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"__dlpack__", (PyCFunction)(void (*)(void))array_dlpack, METH_VARARGS | METH_KEYWORDS,
         "A DLPack capsule of the memory, which the array keeps alive."},
        {"__dlpack_device__", array_dlpack_device, METH_NOARGS, "(1, 0): the host's memory."},
        {NULL, NULL, 0, NULL}};
    static PyGetSetDef attributes[] = {{"shape", array_shape, NULL, "extents, in elements", NULL},
                                       {"strides", array_strides, NULL, "in elements", NULL},
                                       {"dtype", array_dtype, NULL, "name of the element type", NULL},
                                       {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {
        {Py_tp_new, array_make},
        {Py_tp_dealloc, array_dealloc},
        {Py_tp_repr, array_repr},
        {Py_tp_methods, methods},
        {Py_tp_getset, attributes},
        {Py_bf_getbuffer, array_getbuffer},
        {Py_tp_doc, "Array(dtype, shape)\n--\n\nNew memory, not filled, that other array libraries take over "
                    "through the buffer protocol or __dlpack__ without a copy."},
        {0, NULL}};
    static PyType_Spec spec = {.name = "fattn.Array",
                               .basicsize = sizeof(array_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
                               .slots = slots};
    array_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return array_type ? PyModule_AddObjectRef(module, "Array", (PyObject *)array_type) : -1;
}
