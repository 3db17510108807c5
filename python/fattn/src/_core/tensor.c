/* SPDX-License-Identifier: Apache-2.0 */
/* tensor.c — see tensor.h. What a type offers is looked up once and remembered by type. */
#include "tensor.h"

#include <string.h>

#include "array.h"
#include "dlpack.h"
#include "view.h"

/* How the memory of objects of a type is found. */
typedef enum producer {
    PRODUCER_NONE,
    PRODUCER_VIEW,
    PRODUCER_SPEC,
    PRODUCER_ARRAY,
    PRODUCER_EXCHANGE,
    PRODUCER_BUFFER,
    PRODUCER_DLPACK
} producer;

typedef struct known_type {
    PyTypeObject *type; /* strong */
    producer producer;
    const dlpack_exchange *exchange;
} known_type;

/* A container as its producer describes it, before it has one of our names. */
typedef struct container {
    fattn_dtype dtype; /* FATTN_DTYPE_NONE: none of ours, such as uint16 */
    int64_t size;      /* bytes */
    char text[40];     /* for sentences */
} container;

/* ---- element types ---------------------------------------------------------------------------- */

static container from_dlpack_dtype(dlpack_dtype dtype)
{
    static const struct {
        uint8_t code, bits;
        fattn_dtype dtype;
        const char *text;
    } rows[] = {
        {DLPACK_FLOAT, 32, FATTN_F32, "float32"},  {DLPACK_FLOAT, 16, FATTN_F16, "float16"},
        {DLPACK_BFLOAT, 16, FATTN_BF16, "bfloat16"}, {DLPACK_FLOAT, 64, FATTN_F64, "float64"},
        {DLPACK_INT, 64, FATTN_I64, "int64"},      {DLPACK_INT, 32, FATTN_I32, "int32"},
        {DLPACK_INT, 8, FATTN_I8, "int8"},         {DLPACK_UINT, 8, FATTN_U8, "uint8"},
        {DLPACK_BOOL, 8, FATTN_BOOL, "bool"},      {DLPACK_E4M3FN, 8, FATTN_E4M3, "float8_e4m3fn"},
        {DLPACK_E5M2, 8, FATTN_E5M2, "float8_e5m2"},
        {DLPACK_E8M0FNU, 8, FATTN_E8M0, "float8_e8m0fnu"},
        {DLPACK_INT, 16, FATTN_DTYPE_NONE, "int16"}, {DLPACK_UINT, 16, FATTN_DTYPE_NONE, "uint16"},
        {DLPACK_UINT, 32, FATTN_DTYPE_NONE, "uint32"}, {DLPACK_UINT, 64, FATTN_DTYPE_NONE, "uint64"},
    };
    const int bits = dtype.bits * dtype.lanes;
    container c = {.size = (bits + 7) / 8};
    if (dtype.code == DLPACK_E2M1FN && bits == 8) c.dtype = FATTN_E2M1; /* two lanes in a byte */
    for (size_t i = 0; dtype.lanes == 1 && i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == dtype.code && rows[i].bits == dtype.bits) {
            c.dtype = rows[i].dtype;
            strcpy(c.text, rows[i].text);
            return c;
        }
    PyOS_snprintf(c.text, sizeof c.text, "DLPack code %d with %d bits", dtype.code, bits);
    return c;
}

/* Of the buffer protocol's format: struct's letters, in native or little-endian order. */
static container from_format(const char *format, Py_ssize_t size)
{
    container c = {.size = size};
    PyOS_snprintf(c.text, sizeof c.text, "buffer format '%s'", format ? format : "B");
    if (!format) format = "B";
    if (*format == '@' || *format == '=' || *format == '<') format++;
    if (!*format || format[1]) return c;
    switch (*format) {
    case '?': c.dtype = FATTN_BOOL; break;
    case 'e': c.dtype = FATTN_F16; break;
    case 'f': c.dtype = FATTN_F32; break;
    case 'd': c.dtype = FATTN_F64; break;
    case 'b': c.dtype = FATTN_I8; break;
    case 'B': c.dtype = FATTN_U8; break;
    case 'i':
    case 'l':
    case 'q': c.dtype = size == 8 ? FATTN_I64 : size == 4 ? FATTN_I32 : FATTN_DTYPE_NONE; break;
    case 'h': strcpy(c.text, "int16"); break;
    case 'H': strcpy(c.text, "uint16"); break;
    case 'I':
    case 'L':
    case 'Q': strcpy(c.text, size == 8 ? "uint64" : "uint32"); break;
    default: break;
    }
    return c;
}

/* Longer spellings of what fattn_dtype_from_name() knows. */
static fattn_dtype from_long_name(const char *name)
{
    static const struct {
        const char *name;
        fattn_dtype dtype;
    } rows[] = {
        {"float64", FATTN_F64},          {"float32", FATTN_F32},   {"float16", FATTN_F16},
        {"bfloat16", FATTN_BF16},        {"int64", FATTN_I64},     {"int32", FATTN_I32},
        {"int8", FATTN_I8},              {"uint8", FATTN_U8},      {"bool_", FATTN_BOOL},
        {"double", FATTN_F64},           {"float", FATTN_F32},     {"half", FATTN_F16},
        {"int4", FATTN_I4},              {"float8_e4m3fn", FATTN_E4M3},
        {"float8_e5m2", FATTN_E5M2},     {"float8_e8m0fnu", FATTN_E8M0},
        {"float4_e2m1fn_x2", FATTN_E2M1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0) return rows[i].dtype;
    return fattn_dtype_from_name(name);
}

static fattn_dtype from_text(PyObject *text)
{
    const char *name = PyUnicode_AsUTF8AndSize(text, NULL);
    if (!name) {
        PyErr_Clear();
        return FATTN_DTYPE_NONE;
    }
    const char *dot = strrchr(name, '.'); /* torch.float16 */
    return from_long_name(dot ? dot + 1 : name);
}

fattn_dtype tensor_dtype_from(PyObject *object)
{
    fattn_dtype dtype = FATTN_DTYPE_NONE;
    if (PyUnicode_Check(object)) {
        dtype = from_text(object);
    } else {
        static const char *const attributes[] = {"name", "__name__"}; /* NumPy's dtypes, its types */
        for (int i = 0; i < 2 && dtype == FATTN_DTYPE_NONE; i++) {
            PyObject *name = PyObject_GetAttrString(object, attributes[i]);
            if (!name) PyErr_Clear();
            if (name && PyUnicode_Check(name)) dtype = from_text(name);
            Py_XDECREF(name);
        }
        PyObject *text = dtype == FATTN_DTYPE_NONE ? PyObject_Str(object) : NULL; /* torch's */
        if (text) dtype = from_text(text);
        Py_XDECREF(text);
        PyErr_Clear();
    }
    if (dtype == FATTN_DTYPE_NONE)
        errors_at(ERRORS_FIELD("dtype"), FATTN_E_DTYPE,
                  "%R is not an element type; there are f64 f32 f16 bf16 i64 i32 i8 u8 bool "
                  "i4 e4m3 e5m2 e2m1 e1m2 e8m0",
                  object);
    return dtype;
}

/* Gives the tensor its element type: the container's own, or `as` where its size fits. */
static int name_elements(fattn_tensor *tensor, const container *c, fattn_dtype as, const place *where)
{
    if (as != FATTN_DTYPE_NONE && (int64_t)fattn_dtype_size(as) != c->size) {
        errors_at(where, FATTN_E_DTYPE, "%s cannot be seen as %s, whose containers have %d bytes",
                      c->text, fattn_dtype_name(as), (int)fattn_dtype_size(as));
        return -1;
    }
    tensor->dtype = as != FATTN_DTYPE_NONE ? as : c->dtype;
    if (tensor->dtype != FATTN_DTYPE_NONE) return 0;
    errors_at(where, FATTN_E_DTYPE, "%s is no element type of fattn%s", c->text,
                  c->size == 2 ? "; bfloat16 in 16-bit integers is passed as fattn.bf16(array)"
                               : "; fattn.view(array, dtype) names what the containers hold");
    return -1;
}

static int check_alignment(const fattn_tensor *tensor, const place *where)
{
    const size_t size = fattn_dtype_size(tensor->dtype);
    if ((uintptr_t)tensor->data % size == 0) return 0;
    errors_at(where, FATTN_E_ARG,
                  "its memory is not aligned to the %d bytes of an element; "
                  "numpy.require(array, requirements='A') makes a copy that is",
                  (int)size);
    return -1;
}

static int too_many_axes(long rank, const place *where)
{
    errors_at(where, FATTN_E_SHAPE, "%ld axes; an array has at most %d", rank, FATTN_MAX_RANK);
    return -1;
}

/* ---- producers -------------------------------------------------------------------------------- */

static int read_dlpack(held_tensor *held, const dlpack_tensor *t, fattn_dtype as, const place *where)
{
    const int device = t->device.type;
    if (device != DLPACK_CPU && device != DLPACK_EXT && device != DLPACK_CUDA_HOST &&
        device != DLPACK_ROCM_HOST) {
        errors_at(where, FATTN_E_ARG, "it lies on a device (DLPack device type %d); move it to the host",
                      device);
        return -1;
    }
    if (t->rank < 0 || t->rank > FATTN_MAX_RANK) return too_many_axes(t->rank, where);
    fattn_tensor *tensor = &held->tensor;
    tensor->data = t->data ? (char *)t->data + t->byte_offset : NULL;
    tensor->rank = t->rank;
    int64_t dense = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        tensor->shape[i] = t->shape[i];
        tensor->strides[i] = t->strides ? t->strides[i] : dense;
        dense *= t->shape[i];
    }
    const container c = from_dlpack_dtype(t->dtype);
    if (name_elements(tensor, &c, as, where)) return -1;
    return check_alignment(tensor, where);
}

/* torch may keep the sign of a tensor as a bit beside memory that lacks it, and its description does not say so. */
static int check_sign(PyObject *object, const place *where)
{
    static PyObject *name;
    if (!name && !(name = PyUnicode_InternFromString("is_neg"))) return -1;
    PyObject *method = PyObject_GetAttr(object, name), *negated = method ? PyObject_CallNoArgs(method) : NULL;
    const int bad = negated == Py_True;
    Py_XDECREF(method);
    Py_XDECREF(negated);
    PyErr_Clear(); /* other libraries have no such bit */
    if (bad) errors_at(where, KIND_ERROR, "torch keeps its sign as a bit beside the memory; give it as .resolve_neg()");
    return bad ? -1 : 0;
}

static int take_exchange(held_tensor *held, PyObject *object, const known_type *known, fattn_dtype as,
                         const place *where)
{
    dlpack_tensor t;
    if (check_sign(object, where) || known->exchange->describe(object, &t)) return -1;
    if (read_dlpack(held, &t, as, where)) return -1;
    held->owner = Py_NewRef(object);
    return 0;
}

static int read_buffer(held_tensor *held, fattn_dtype as, const place *where)
{
    const Py_buffer *b = &held->buffer;
    if (b->ndim > FATTN_MAX_RANK) return too_many_axes(b->ndim, where);
    const container c = from_format(b->format, b->itemsize);
    fattn_tensor *tensor = &held->tensor;
    if (name_elements(tensor, &c, as, where)) return -1;
    tensor->data = b->buf;
    tensor->rank = b->ndim;
    int64_t dense = 1;
    for (int i = b->ndim - 1; i >= 0; i--) { /* ctypes tells no strides though asked for them */
        tensor->shape[i] = b->shape ? b->shape[i] : b->len / b->itemsize;
        tensor->strides[i] = b->strides ? b->strides[i] / b->itemsize : dense;
        dense *= tensor->shape[i];
        if (b->strides && b->strides[i] % b->itemsize != 0 && b->shape[i] > 1) {
            errors_at(where, FATTN_E_SHAPE,
                          "axis %d has a stride of %zd bytes, no multiple of the element's %zd; "
                          "make a contiguous copy",
                          i, b->strides[i], b->itemsize);
            return -1;
        }
    }
    return check_alignment(tensor, where);
}

/* NumPy refuses a buffer of dtypes that it does not know, such as those of ml_dtypes: seen as integers of
 * the same size it has one, and the dtype's name says what they hold. */
static int take_named_dtype(held_tensor *held, PyObject *object, int flags, fattn_dtype as, const place *where)
{
    PyObject *dtype = PyObject_GetAttrString(object, "dtype");
    PyObject *text = dtype ? PyObject_GetAttrString(dtype, "name") : NULL;
    fattn_dtype named = text && PyUnicode_Check(text) ? from_text(text) : FATTN_DTYPE_NONE;
    PyErr_Clear();
    int bad = -1;
    if (named == FATTN_I4 || named == FATTN_E2M1) named = FATTN_DTYPE_NONE; /* theirs are not packed */
    if (named == FATTN_DTYPE_NONE) {
        if (dtype)
            errors_at(where, FATTN_E_DTYPE,
                          "dtype %S is no element type of fattn; 4-bit types are passed packed: "
                          "fattn.view(array, 'i4') of int32, 'e2m1' of uint8",
                          dtype);
        else
            errors_at(where, KIND_ERROR, "%R has no buffer to read", (PyObject *)Py_TYPE(object));
    } else {
        PyObject *plain = PyObject_CallMethod(object, "view", "s", fattn_dtype_size(named) == 2 ? "u2" : "u1");
        if (plain && PyObject_GetBuffer(plain, &held->buffer, flags) == 0) {
            bad = read_buffer(held, as != FATTN_DTYPE_NONE ? as : named, where);
            if (bad) PyBuffer_Release(&held->buffer);
        }
        Py_XDECREF(plain);
    }
    Py_XDECREF(text);
    Py_XDECREF(dtype);
    return bad;
}

static int take_buffer(held_tensor *held, PyObject *object, bool writable, fattn_dtype as, const place *where)
{
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object, &held->buffer, flags) == 0) {
        if (read_buffer(held, as, where) == 0) return 0;
        PyBuffer_Release(&held->buffer);
        return -1;
    }
    PyErr_Clear();
    if (writable) { /* tell the two reasons apart */
        Py_buffer probe;
        if (PyObject_GetBuffer(object, &probe, flags & ~PyBUF_WRITABLE) == 0) {
            PyBuffer_Release(&probe);
            errors_at(where, FATTN_E_ARG, "the array is read-only, and this is an output");
            return -1;
        }
        PyErr_Clear();
    }
    return take_named_dtype(held, object, flags, as, where);
}

/* object.__dlpack__(), in the newest form that it knows. */
static PyObject *dlpack_capsule(PyObject *object)
{
    PyObject *method = PyObject_GetAttrString(object, "__dlpack__");
    if (!method) return NULL;
    PyObject *none = PyTuple_New(0), *named = Py_BuildValue("{s(ii)}", "max_version", DLPACK_MAJOR, DLPACK_MINOR);
    PyObject *capsule = none && named ? PyObject_Call(method, none, named) : NULL;
    if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {
        PyErr_Clear();
        capsule = PyObject_CallNoArgs(method);
    }
    Py_XDECREF(none);
    Py_XDECREF(named);
    Py_DECREF(method);
    return capsule;
}

/* The capsule stays unconsumed and is held for the call: its own destructor gives the memory back. */
static int take_dlpack(held_tensor *held, PyObject *object, bool writable, fattn_dtype as, const place *where)
{
    PyObject *capsule = dlpack_capsule(object);
    if (!capsule) return -1;
    const dlpack_tensor *t = NULL;
    bool read_only = false;
    if (PyCapsule_IsValid(capsule, "dltensor_versioned")) {
        const dlpack_managed_versioned *m = PyCapsule_GetPointer(capsule, "dltensor_versioned");
        if (m->version.major == DLPACK_MAJOR) {
            t = &m->tensor;
            read_only = m->flags & DLPACK_READ_ONLY;
        }
    } else if (PyCapsule_IsValid(capsule, "dltensor")) {
        const dlpack_managed *m = PyCapsule_GetPointer(capsule, "dltensor");
        t = &m->tensor;
    }
    int bad = -1;
    if (!t)
        errors_at(where, KIND_ERROR, "%R gives no DLPack capsule of version %d", (PyObject *)Py_TYPE(object),
                    DLPACK_MAJOR);
    else if (writable && read_only)
        errors_at(where, FATTN_E_ARG, "the array is read-only, and this is an output");
    else
        bad = read_dlpack(held, t, as, where);
    if (bad)
        Py_DECREF(capsule);
    else
        held->owner = capsule;
    return bad;
}

int tensor_shape_from(fattn_tensor *tensor, PyObject *shape)
{
    PyObject *tuple = PySequence_Tuple(shape);
    if (!tuple) return -1;
    const Py_ssize_t rank = PyTuple_Size(tuple);
    int bad = rank > FATTN_MAX_RANK ? too_many_axes((long)rank, ERRORS_FIELD("shape")) : 0;
    int64_t extents[FATTN_MAX_RANK] = {0};
    for (Py_ssize_t i = 0; i < rank && !bad; i++) {
        PyObject *number = PyNumber_Index(PyTuple_GetItem(tuple, i));
        extents[i] = number ? PyLong_AsLongLong(number) : -1;
        Py_XDECREF(number);
        bad = PyErr_Occurred() ? -1 : 0;
    }
    Py_DECREF(tuple);
    if (!bad) *tensor = fattn_tensor_contiguous(NULL, tensor->dtype, (int)rank, extents);
    return bad;
}

PyObject *tensor_tuple(const int64_t *numbers, int n)
{
    PyObject *tuple = PyTuple_New(n);
    for (int i = 0; tuple && i < n; i++) {
        PyObject *number = PyLong_FromLongLong(numbers[i]);
        if (!number || PyTuple_SetItem(tuple, i, number)) Py_CLEAR(tuple);
    }
    return tuple;
}

/* ---- types ------------------------------------------------------------------------------------ */

enum { KNOWN_TYPES = 16 };
static known_type known_types[KNOWN_TYPES];
static int n_known;

static const dlpack_exchange *exchange_of(PyTypeObject *type)
{
    PyObject *capsule = PyObject_GetAttrString((PyObject *)type, "__dlpack_c_exchange_api__");
    const dlpack_exchange *api = NULL;
    if (capsule && PyCapsule_IsValid(capsule, "dlpack_exchange_api"))
        api = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
    while (api && api->version.major != DLPACK_MAJOR) api = api->older;
    PyErr_Clear();
    Py_XDECREF(capsule); /* the table is static */
    return api && api->describe ? api : NULL;
}

static known_type look_at(PyObject *object)
{
    known_type known = {.type = Py_TYPE(object)};
    if (known.type == view_type) known.producer = PRODUCER_VIEW;
    else if (known.type == spec_type) known.producer = PRODUCER_SPEC;
    else if (known.type == array_type) known.producer = PRODUCER_ARRAY;
    else if ((known.exchange = exchange_of(known.type))) known.producer = PRODUCER_EXCHANGE;
    else if (PyObject_CheckBuffer(object)) known.producer = PRODUCER_BUFFER;
    else if (PyObject_HasAttrString((PyObject *)known.type, "__dlpack__")) known.producer = PRODUCER_DLPACK;
    return known;
}

/* Under the GIL. Types without memory are not remembered: their place is for those that have some. */
static known_type know(PyObject *object)
{
    const PyTypeObject *type = Py_TYPE(object);
    for (int i = 0; i < n_known; i++)
        if (known_types[i].type == type) return known_types[i];
    const known_type known = look_at(object);
    if (known.producer != PRODUCER_NONE && n_known < KNOWN_TYPES) {
        Py_INCREF((PyObject *)known.type);
        known_types[n_known++] = known;
    }
    return known;
}

bool tensor_is(PyObject *object) { return know(object).producer != PRODUCER_NONE; }

static int take_as(held_tensor *held, PyObject *object, bool writable, fattn_dtype as, const place *where)
{
    const known_type known = know(object);
    switch (known.producer) {
    case PRODUCER_EXCHANGE: return take_exchange(held, object, &known, as, where);
    case PRODUCER_BUFFER: return take_buffer(held, object, writable, as, where);
    case PRODUCER_DLPACK: return take_dlpack(held, object, writable, as, where);
    case PRODUCER_VIEW: {
        const view_object *view = (const view_object *)object;
        return take_as(held, view->array, writable, as != FATTN_DTYPE_NONE ? as : view->dtype, where);
    }
    case PRODUCER_SPEC:
        held->tensor = ((const spec_object *)object)->tensor;
        held->owner = Py_NewRef(object);
        return 0;
    case PRODUCER_ARRAY:
        held->tensor = *array_tensor(object);
        held->owner = Py_NewRef(object);
        return 0;
    default:
        errors_at(where, KIND_ERROR, "%R is no array: neither a buffer nor __dlpack__", (PyObject *)Py_TYPE(object));
        return -1;
    }
}

int tensor_take(held_tensor *held, PyObject *object, bool writable, const place *where)
{
    held->owner = NULL;
    held->buffer.obj = NULL;
    return take_as(held, object, writable, FATTN_DTYPE_NONE, where);
}

void tensor_drop(held_tensor *held)
{
    Py_CLEAR(held->owner);
    if (held->buffer.obj) PyBuffer_Release(&held->buffer);
}
