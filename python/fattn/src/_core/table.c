/* SPDX-License-Identifier: Apache-2.0 */
/* table.c — one dict per operator: name or alias to the field's number. */
#include "table.h"

#include <string.h>

#include "errors.h"

static const fattn_operator *operators;
static int n_operators;
static PyObject *operator_numbers; /* name: number, both spellings */
static PyObject **field_numbers;   /* per operator */

const fattn_operator *table_at(int op) { return &operators[op]; }

static int put_number(PyObject *dict, const char *name, Py_ssize_t length, int number)
{
    PyObject *key = PyUnicode_FromStringAndSize(name, length), *value = PyLong_FromLong(number);
    if (key) PyUnicode_InternInPlace(&key);
    const int bad = !key || !value || PyDict_SetItem(dict, key, value);
    Py_XDECREF(key);
    Py_XDECREF(value);
    return bad ? -1 : 0;
}

/* Every spelling of a field; aliases stand in one string with spaces between them. */
static int put_field(PyObject *dict, const fattn_field *field, int number)
{
    if (put_number(dict, field->name, (Py_ssize_t)strlen(field->name), number)) return -1;
    for (const char *at = field->aliases; at && *at;) {
        const size_t length = strcspn(at, " ");
        if (put_number(dict, at, (Py_ssize_t)length, number)) return -1;
        at += length + strspn(at + length, " ");
    }
    return 0;
}

static bool frame_holds(const fattn_operator *op)
{
    int lists = 0, outputs = 0, ints = 0;
    for (int i = 0; i < op->n_fields; i++) {
        lists += op->fields[i].kind == FATTN_FIELD_TENSORS_IN;
        outputs += op->fields[i].kind == FATTN_FIELD_TENSOR_OUT;
        ints += op->fields[i].kind == FATTN_FIELD_INT_OUT;
    }
    return op->n_fields <= FIELDS_MAX && op->args_size <= ARGS_MAX && lists <= LISTS_MAX &&
           outputs <= OUTPUTS_MAX && outputs == op->n_outputs && ints <= INT_OUT_MAX;
}

static int put_operator(int number)
{
    const fattn_operator *op = &operators[number];
    if (!frame_holds(op)) {
        PyErr_Format(PyExc_ImportError, "%s has more fields than the extension was built for", op->name);
        return -1;
    }
    char prefixed[80];
    PyOS_snprintf(prefixed, sizeof prefixed, "npu_%s", op->name);
    if (put_number(operator_numbers, op->name, (Py_ssize_t)strlen(op->name), number) ||
        put_number(operator_numbers, prefixed, (Py_ssize_t)strlen(prefixed), number))
        return -1;
    PyObject *fields = field_numbers[number] = PyDict_New();
    for (int i = 0; fields && i < op->n_fields; i++)
        if (put_field(fields, &op->fields[i], i)) return -1;
    return fields ? 0 : -1;
}

int table_init(void)
{
    operators = fattn_operators(&n_operators);
    operator_numbers = PyDict_New();
    field_numbers = PyMem_Calloc((size_t)n_operators, sizeof *field_numbers);
    if (!operator_numbers || !field_numbers) return -1;
    for (int i = 0; i < n_operators; i++)
        if (put_operator(i)) return -1;
    return 0;
}

static int number_of(PyObject *dict, PyObject *name)
{
    PyObject *number = PyUnicode_Check(name) ? PyDict_GetItemWithError(dict, name) : NULL;
    return number ? (int)PyLong_AsLong(number) : -1;
}

int table_operator(PyObject *name)
{
    const int number = number_of(operator_numbers, name);
    if (number < 0 && !PyErr_Occurred()) errors_unknown_operator(name, operator_numbers);
    return number;
}

int table_field(int op, PyObject *name)
{
    const int number = number_of(field_numbers[op], name);
    if (number < 0 && !PyErr_Occurred()) errors_unknown_field(operators[op].name, name, field_numbers[op]);
    return number;
}

/* ---- as data ---------------------------------------------------------------------------------- */

static const char *const kind_names[] = {
    [FATTN_FIELD_TENSOR_IN] = "tensor_in",       [FATTN_FIELD_TENSOR_OUT] = "tensor_out",
    [FATTN_FIELD_TENSOR_INOUT] = "tensor_inout", [FATTN_FIELD_TENSORS_IN] = "tensors_in",
    [FATTN_FIELD_INT] = "int",                   [FATTN_FIELD_FLOAT] = "float",
    [FATTN_FIELD_BOOL] = "bool",                 [FATTN_FIELD_STRING] = "string",
    [FATTN_FIELD_INTS] = "ints",                 [FATTN_FIELD_INT_OUT] = "int_out",
};

static PyObject *default_of(const fattn_field *f)
{
    switch (f->kind) {
    case FATTN_FIELD_INT: return PyLong_FromLongLong(f->default_int);
    case FATTN_FIELD_BOOL: return PyBool_FromLong(f->default_int != 0);
    case FATTN_FIELD_FLOAT: return PyFloat_FromDouble(f->default_float);
    case FATTN_FIELD_STRING:
        if (f->default_text) return PyUnicode_FromString(f->default_text);
        break;
    default: break;
    }
    return Py_NewRef(Py_None);
}

static PyObject *aliases_of(const fattn_field *f)
{
    PyObject *text = PyUnicode_FromString(f->aliases ? f->aliases : "");
    PyObject *words = text ? PyObject_CallMethod(text, "split", NULL) : NULL;
    PyObject *tuple = words ? PySequence_Tuple(words) : NULL;
    Py_XDECREF(text);
    Py_XDECREF(words);
    return tuple;
}

static PyObject *flags_of(const fattn_field *f)
{
    static const struct {
        unsigned flag;
        const char *name;
    } rows[] = {{FATTN_FIELD_REQUIRED, "required"}, {FATTN_FIELD_IGNORED, "ignored"},
                {FATTN_FIELD_HEADS, "heads"},       {FATTN_FIELD_HOST, "host"},
                {FATTN_FIELD_BY_FLAG, "by_flag"},   {FATTN_FIELD_PER_RUN, "per_run"}};
    PyObject *flags = PyList_New(0);
    for (size_t i = 0; flags && i < sizeof rows / sizeof rows[0]; i++) {
        if (!(f->flags & rows[i].flag)) continue;
        PyObject *name = PyUnicode_FromString(rows[i].name);
        if (!name || PyList_Append(flags, name)) Py_CLEAR(flags);
        Py_XDECREF(name);
    }
    PyObject *tuple = flags ? PySequence_Tuple(flags) : NULL;
    Py_XDECREF(flags);
    return tuple;
}

/* Py_BuildValue's N takes each over, and fails as a whole when one is NULL. */
static PyObject *describe_field(const fattn_field *f)
{
    return Py_BuildValue("{ss ss sN sN sN ss}", "name", f->name, "kind", kind_names[f->kind], "flags",
                         flags_of(f), "default", default_of(f), "aliases", aliases_of(f), "help", f->help);
}

static PyObject *describe_operator(const fattn_operator *op)
{
    PyObject *fields = PyTuple_New(op->n_fields);
    for (int i = 0; fields && i < op->n_fields; i++) {
        PyObject *field = describe_field(&op->fields[i]);
        if (!field || PyTuple_SetItem(fields, i, field)) Py_CLEAR(fields);
    }
    return Py_BuildValue("{ss ss sN}", "name", op->name, "help", op->help, "fields", fields);
}

PyObject *table_describe(PyObject *module, PyObject *nothing)
{
    (void)module, (void)nothing;
    PyObject *all = PyTuple_New(n_operators);
    for (int i = 0; all && i < n_operators; i++) {
        PyObject *op = describe_operator(&operators[i]);
        if (!op || PyTuple_SetItem(all, i, op)) Py_CLEAR(all);
    }
    return all;
}
