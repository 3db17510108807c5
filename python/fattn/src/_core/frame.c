/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c — from Python's values to an args struct: a loop over the given fields, one function per kind. */
#include "frame.h"

#include <string.h>

#include "errors.h"

/* Where a sentence about a field, or about entry i of a list, begins. */
#define AT(f, field_, i) (&(const place){.operator = (f)->op->name, .field = (field_)->name, .index = (i)})
enum { WHOLE = -1 };

void frame_init(frame *f, int number)
{
    f->number = number;
    f->op = table_at(number);
    f->given = f->held = 0;
    memset(f->outputs, 0, sizeof f->outputs);
    f->n_lists = f->n_ints = f->n_long_ints = f->n_texts = f->n_int_out = 0;
    f->first_output = -1;
    f->op->args_init(f->args);
    for (int i = 0; i < f->op->n_fields; i++) {
        if (f->op->fields[i].kind == FATTN_FIELD_TENSOR_OUT && f->first_output < 0) f->first_output = i;
        if (f->op->fields[i].kind != FATTN_FIELD_INT_OUT) continue;
        int64_t *out = &f->int_out[f->n_int_out++];
        *out = 0;
        memcpy(f->args + f->op->fields[i].offset, &out, sizeof out);
    }
}

static int set_tensor(frame *f, int number, const fattn_field *field, PyObject *value)
{
    held_tensor *held = &f->tensors[number];
    if (tensor_take(held, value, field->kind != FATTN_FIELD_TENSOR_IN, AT(f, field, WHOLE))) return -1;
    f->held |= (uint64_t)1 << number;
    if (field->kind == FATTN_FIELD_TENSOR_OUT) f->outputs[number - f->first_output] = Py_NewRef(value);
    const fattn_tensor *pointer = &held->tensor;
    memcpy(f->args + field->offset, &pointer, sizeof pointer);
    return 0;
}

static int set_tensors(frame *f, const fattn_field *field, PyObject *value)
{
    PyObject *items = tensor_is(value) || PyUnicode_Check(value) ? NULL : PySequence_Tuple(value);
    if (!items) {
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
        PyErr_Clear();
        errors_at(AT(f, field, WHOLE), KIND_ERROR, "a list of arrays, not %R", (PyObject *)Py_TYPE(value));
        return -1;
    }
    const Py_ssize_t n = PyTuple_Size(items);
    held_tensor *tensors = PyMem_Malloc((size_t)n * sizeof *tensors + 1);
    const fattn_tensor **pointers = PyMem_Malloc((size_t)n * sizeof *pointers + 1);
    int bad = tensors && pointers ? 0 : -1;
    if (bad) PyErr_NoMemory();
    Py_ssize_t taken = 0;
    while (taken < n && !bad) {
        bad = tensor_take(&tensors[taken], PyTuple_GetItem(items, taken), false,
                          AT(f, field, (int)taken));
        if (bad) break;
        pointers[taken] = &tensors[taken].tensor;
        taken++;
    }
    Py_DECREF(items);
    if (bad) {
        while (taken > 0) tensor_drop(&tensors[--taken]);
        PyMem_Free(tensors);
        PyMem_Free(pointers);
        return -1;
    }
    f->lists[f->n_lists].tensors = tensors;
    f->lists[f->n_lists].pointers = pointers;
    f->lists[f->n_lists++].count = n;
    const fattn_tensor_array array = {.data = pointers, .count = n};
    memcpy(f->args + field->offset, &array, sizeof array);
    return 0;
}

/* An int, or whatever has __index__: NumPy's scalars, arrays and tensors of one integer. */
static int read_int(PyObject *value, int64_t *number, const place *where)
{
    PyObject *index = PyLong_Check(value) ? Py_NewRef(value) : PyNumber_Index(value);
    if (!index) {
        PyErr_Clear();
        errors_at(where, KIND_ERROR, "an integer, not %R", value);
        return -1;
    }
    *number = PyLong_AsLongLong(index);
    Py_DECREF(index);
    if (*number == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        errors_at(where, FATTN_E_ARG, "%R does not fit into 64 bits", value);
        return -1;
    }
    return 0;
}

static int set_int(frame *f, const fattn_field *field, PyObject *value)
{
    int64_t number;
    if (read_int(value, &number, AT(f, field, WHOLE))) return -1;
    memcpy(f->args + field->offset, &number, sizeof number);
    return 0;
}

static int set_float(frame *f, const fattn_field *field, PyObject *value)
{
    const double number = PyFloat_AsDouble(value);
    if (number == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        errors_at(AT(f, field, WHOLE), KIND_ERROR, "a number, not %R", value);
        return -1;
    }
    memcpy(f->args + field->offset, &number, sizeof number);
    return 0;
}

/* True, False, 0, 1, and NumPy's; not "false", which is true. */
static int set_bool(frame *f, const fattn_field *field, PyObject *value)
{
    int truth = -1;
    if (value == Py_True || value == Py_False) {
        truth = value == Py_True;
    } else if (PyLong_Check(value)) {
        const long number = PyLong_AsLong(value);
        if (number == 0 || number == 1) truth = (int)number;
    } else if (!PyUnicode_Check(value) && tensor_is(value)) {
        held_tensor held;
        if (tensor_take(&held, value, false, AT(f, field, WHOLE)) == 0) {
            if (held.tensor.rank == 0 && held.tensor.dtype == FATTN_BOOL)
                truth = *(const uint8_t *)held.tensor.data != 0;
            tensor_drop(&held);
        }
    }
    PyErr_Clear();
    if (truth < 0) {
        errors_at(AT(f, field, WHOLE), KIND_ERROR, "True or False, not %R", value);
        return -1;
    }
    const bool as_bool = truth;
    memcpy(f->args + field->offset, &as_bool, sizeof as_bool);
    return 0;
}

static int set_string(frame *f, const fattn_field *field, PyObject *value)
{
    Py_ssize_t length = 0;
    const char *text = PyUnicode_Check(value) ? PyUnicode_AsUTF8AndSize(value, &length) : NULL;
    if (!text || strlen(text) != (size_t)length) {
        PyErr_Clear();
        errors_at(AT(f, field, WHOLE), KIND_ERROR, "a string, not %R", value);
        return -1;
    }
    f->texts[f->n_texts++] = Py_NewRef(value);
    memcpy(f->args + field->offset, &text, sizeof text);
    return 0;
}

/* ---- lists of integers ------------------------------------------------------------------------ */

/* Room for n numbers that lives as long as the frame. */
static int64_t *ints_room(frame *f, int64_t n)
{
    if (f->n_ints + n <= INTS_MAX) {
        int64_t *room = f->ints + f->n_ints;
        f->n_ints += (int)n;
        return room;
    }
    int64_t *room = PyMem_Calloc((size_t)n, sizeof *room);
    if (room)
        f->long_ints[f->n_long_ints++] = room;
    else
        PyErr_NoMemory();
    return room;
}

static int put_ints(frame *f, const fattn_field *field, const int64_t *data, int64_t count)
{
    const fattn_int_array array = {.data = data, .count = count};
    memcpy(f->args + field->offset, &array, sizeof array);
    return 0;
}

/* A list or tuple. */
static int set_items(frame *f, const fattn_field *field, PyObject *value)
{
    const bool list = PyList_Check(value);
    const Py_ssize_t n = list ? PyList_Size(value) : PyTuple_Size(value);
    int64_t *room = ints_room(f, n);
    if (!room) return -1;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = list ? PyList_GetItem(value, i) : PyTuple_GetItem(value, i);
        if (!item) return -1; /* the list became shorter */
        if (PyLong_CheckExact(item)) {
            room[i] = PyLong_AsLongLong(item);
            if (room[i] != -1 || !PyErr_Occurred()) continue;
            PyErr_Clear();
        }
        Py_INCREF(item);
        const int bad = read_int(item, &room[i], AT(f, field, (int)i));
        Py_DECREF(item);
        if (bad) return -1;
    }
    return put_ints(f, field, room, n);
}

/* The numbers of an array with one axis, or of one number. */
static int copy_ints(const fattn_tensor *t, int64_t *room, int64_t n)
{
    const int64_t stride = t->rank ? t->strides[0] : 0;
    for (int64_t i = 0; i < n; i++) {
        const char *at = (const char *)t->data + i * stride * (int64_t)fattn_dtype_size(t->dtype);
        switch (t->dtype) {
        case FATTN_I64: memcpy(&room[i], at, sizeof room[i]); break;
        case FATTN_I32: {
            int32_t narrow;
            memcpy(&narrow, at, sizeof narrow);
            room[i] = narrow;
            break;
        }
        case FATTN_I8: room[i] = *(const int8_t *)at; break;
        case FATTN_U8: room[i] = *(const uint8_t *)at; break;
        default: return -1;
        }
    }
    return 0;
}

/* Arrays whose elements are no type of ours, such as int16, are read item by item. */
static int set_from_array(frame *f, const fattn_field *field, PyObject *value)
{
    held_tensor held;
    const place *where = AT(f, field, WHOLE);
    if (tensor_take(&held, value, false, where)) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
        PyErr_Clear();
        PyObject *items = PySequence_Tuple(value);
        const int bad = !items || set_items(f, field, items);
        Py_XDECREF(items);
        return bad ? -1 : 0;
    }
    const fattn_tensor *t = &held.tensor;
    const int64_t n = t->rank ? t->shape[0] : 1;
    int64_t *room = t->rank > 1 || (!t->data && n > 0) ? NULL : ints_room(f, n);
    const int bad = !room || copy_ints(t, room, n) ? -1 : 0;
    if (bad && !PyErr_Occurred())
        errors_at(where, KIND_ERROR, "integers in one axis, not %s with %d axes", fattn_dtype_name(t->dtype),
                  (int)t->rank);
    tensor_drop(&held);
    return bad ? bad : put_ints(f, field, room, n);
}

static int set_ints(frame *f, const fattn_field *field, PyObject *value)
{
    if (PyList_Check(value) || PyTuple_Check(value)) return set_items(f, field, value);
    if (PyLong_Check(value)) { /* one number is a list of one */
        int64_t *room = ints_room(f, 1);
        if (!room || read_int(value, room, AT(f, field, WHOLE))) return -1;
        return put_ints(f, field, room, 1);
    }
    const bool text = PyUnicode_Check(value) || PyBytes_Check(value); /* a buffer and a sequence, but no list */
    if (!text && tensor_is(value)) return set_from_array(f, field, value);
    PyObject *items = text ? NULL : PySequence_Tuple(value);
    if (!items) {
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_TypeError)) return -1;
        PyErr_Clear();
        errors_at(AT(f, field, WHOLE), KIND_ERROR, "a list of integers, not %R", value);
        return -1;
    }
    const int bad = set_items(f, field, items);
    Py_DECREF(items); /* the numbers were copied */
    return bad;
}

/* ---- the call --------------------------------------------------------------------------------- */

static int set_field(frame *f, int number, PyObject *value)
{
    const fattn_field *field = &f->op->fields[number];
    f->given |= (uint64_t)1 << number;
    switch (field->kind) {
    case FATTN_FIELD_TENSOR_IN:
    case FATTN_FIELD_TENSOR_OUT:
    case FATTN_FIELD_TENSOR_INOUT: return set_tensor(f, number, field, value);
    case FATTN_FIELD_TENSORS_IN: return set_tensors(f, field, value);
    case FATTN_FIELD_INT: return set_int(f, field, value);
    case FATTN_FIELD_FLOAT: return set_float(f, field, value);
    case FATTN_FIELD_BOOL: return set_bool(f, field, value);
    case FATTN_FIELD_STRING: return set_string(f, field, value);
    case FATTN_FIELD_INTS: return set_ints(f, field, value);
    default: break;
    }
    errors_at(AT(f, field, WHOLE), FATTN_E_ARG, "a result; it comes back from the call");
    return -1;
}

static int fill(frame *f, PyObject *fields, bool missing_only)
{
    if (!PyDict_Check(fields)) {
        errors_at(ERRORS_FIELD("fields"), KIND_ERROR, "a dict of arguments by name, not %R",
                  (PyObject *)Py_TYPE(fields));
        return -1;
    }
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(fields, &at, &name, &value)) {
        const int number = table_field(f->number, name);
        if (number < 0) return -1;
        if (value == Py_None) continue;
        if (f->given >> number & 1) {
            if (missing_only) continue;
            errors_at(AT(f, &f->op->fields[number], WHOLE), FATTN_E_ARG, "given twice, under two of its names");
            return -1;
        }
        Py_INCREF(value); /* looking at it may run code that changes the dict */
        const int bad = set_field(f, number, value);
        Py_DECREF(value);
        if (bad) return -1;
    }
    return 0;
}

int frame_fill(frame *f, PyObject *fields) { return fill(f, fields, false); }
int frame_fill_missing(frame *f, PyObject *fields) { return fill(f, fields, true); }

int frame_allocate(frame *f, const fattn_tensor *shapes, PyObject *allocate)
{
    for (int i = 0; i < f->op->n_outputs; i++) {
        if (f->outputs[i] || shapes[i].dtype == FATTN_DTYPE_NONE) continue;
        PyObject *made = PyObject_CallFunction(allocate, "sN", fattn_dtype_name(shapes[i].dtype),
                                               tensor_tuple(shapes[i].shape, shapes[i].rank));
        const int bad = !made || set_field(f, f->first_output + i, made);
        Py_XDECREF(made);
        if (bad) return -1;
    }
    return 0;
}

void frame_fill_outputs(frame *f, const fattn_tensor *shapes)
{
    for (int i = 0; i < f->op->n_outputs; i++)
        if (f->outputs[i]) return;
    for (int i = 0; i < f->op->n_outputs; i++) {
        if (shapes[i].dtype == FATTN_DTYPE_NONE) continue;
        held_tensor *held = &f->tensors[f->first_output + i]; /* keeps nothing: not in `held` */
        held->tensor = shapes[i];
        const fattn_tensor *pointer = &held->tensor;
        memcpy(f->args + f->op->fields[f->first_output + i].offset, &pointer, sizeof pointer);
    }
}

bool frame_has_output(const frame *f, int i)
{
    return *(const fattn_tensor *const *)(f->args + f->op->fields[f->first_output + i].offset) != NULL;
}

/* A new reference; NULL without an exception for fields that are tensors. */
static PyObject *value_of(const frame *f, const fattn_field *field)
{
    const void *at = f->args + field->offset;
    switch (field->kind) {
    case FATTN_FIELD_INT: return PyLong_FromLongLong(*(const int64_t *)at);
    case FATTN_FIELD_FLOAT: return PyFloat_FromDouble(*(const double *)at);
    case FATTN_FIELD_BOOL: return PyBool_FromLong(*(const bool *)at);
    case FATTN_FIELD_STRING: {
        const char *text = *(const char *const *)at;
        return text ? PyUnicode_FromString(text) : Py_NewRef(Py_None);
    }
    case FATTN_FIELD_INTS: {
        const fattn_int_array *list = at;
        return list->data ? tensor_tuple(list->data, (int)list->count) : Py_NewRef(Py_None);
    }
    default: return NULL;
    }
}

PyObject *frame_values(const frame *f)
{
    PyObject *values = PyDict_New();
    for (int i = 0; values && i < f->op->n_fields; i++) {
        PyObject *value = value_of(f, &f->op->fields[i]);
        if (value ? PyDict_SetItemString(values, f->op->fields[i].name, value) : !!PyErr_Occurred())
            Py_CLEAR(values);
        Py_XDECREF(value);
    }
    return values;
}

void frame_drop(frame *f)
{
    for (int i = 0; f->held; i++, f->held >>= 1)
        if (f->held & 1) tensor_drop(&f->tensors[i]);
    for (int i = 0; i < f->n_lists; i++) {
        for (int64_t j = 0; j < f->lists[i].count; j++) tensor_drop(&f->lists[i].tensors[j]);
        PyMem_Free(f->lists[i].tensors);
        PyMem_Free(f->lists[i].pointers);
    }
    for (int i = 0; i < f->n_long_ints; i++) PyMem_Free(f->long_ints[i]);
    for (int i = 0; i < f->n_texts; i++) Py_DECREF(f->texts[i]);
    for (int i = 0; i < OUTPUTS_MAX; i++) Py_XDECREF(f->outputs[i]);
}

PyObject *frame_int_out(const frame *f) { return tensor_tuple(f->int_out, f->n_int_out); }

PyObject *frame_results(const frame *f)
{
    const int n = f->op->n_outputs;
    PyObject *results = PyTuple_New(n + f->n_int_out);
    for (int i = 0; results && i < n + f->n_int_out; i++) {
        PyObject *one = i >= n          ? PyLong_FromLongLong(f->int_out[i - n])
                        : f->outputs[i] ? Py_NewRef(f->outputs[i])
                                        : Py_NewRef(Py_None);
        if (!one || PyTuple_SetItem(results, i, one)) Py_CLEAR(results);
    }
    return results;
}
