/* SPDX-License-Identifier: Apache-2.0 */
/* info.c — the library's reports as dicts, under the names that the structs have in C. */
#include "info.h"

#include "context.h"
#include "errors.h"
#include "frame.h"

/* A NULL-terminated list of words as a tuple. */
static PyObject *words(const char *const *list)
{
    Py_ssize_t n = 0;
    while (list && list[n]) n++;
    PyObject *tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple && i < n; i++) {
        PyObject *word = PyUnicode_FromString(list[i]);
        if (!word || PyTuple_SetItem(tuple, i, word)) Py_CLEAR(tuple);
    }
    return tuple;
}

/* The numbers of the bits that are set. */
static PyObject *bits(int64_t set)
{
    int64_t numbers[64];
    int n = 0;
    for (int i = 0; i < 63; i++)
        if (set >> i & 1) numbers[n++] = i;
    return tensor_tuple(numbers, n);
}

/* capabilities(context=None) */
static PyObject *capabilities(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *given = Py_None;
    if (!PyArg_ParseTuple(args, "|O", &given)) return NULL;
    context_object *context = context_for(given);
    if (!context) return NULL;
    fattn_capability_set set = {.size = sizeof set};
    const fattn_status status = fattn_capabilities(context->context, &set);
    const int bad = context_settle(context, status);
    Py_DECREF((PyObject *)context);
    if (bad) return NULL;
    PyObject *operators = PyDict_New();
    for (int i = 0; operators && i < set.n_operators; i++) {
        PyObject *one = Py_BuildValue("{sN sN}", "layouts", words(set.operators[i].layouts), "sparse_modes",
                                      bits(set.operators[i].sparse_modes));
        if (!one || PyDict_SetItemString(operators, set.operators[i].name, one)) Py_CLEAR(operators);
        Py_XDECREF(one);
    }
    return Py_BuildValue("{ss ss sN sN sN sN sN si sN}", "version", set.version, "isa", set.isa, "isas",
                         words(set.isas), "backends", words(set.backends), "dtypes", words(set.dtypes),
                         "cache_layouts", words(set.cache_layouts), "quantisation", words(set.quantisation),
                         "threads", set.threads, "operators", operators);
}

/* What estimate_memory(), explain() and verify() share: operator, fields, context=None. */
typedef struct question {
    frame f;
    context_object *context;
} question;

static int question_read(question *q, PyObject *args)
{
    PyObject *op, *fields, *given = Py_None;
    if (!PyArg_ParseTuple(args, "OO|O", &op, &fields, &given)) return -1;
    const int number = table_operator(op);
    q->context = number < 0 ? NULL : context_for(given);
    if (!q->context) return -1;
    frame_init(&q->f, number);
    if (frame_fill(&q->f, fields) == 0) return 0;
    frame_drop(&q->f);
    Py_DECREF((PyObject *)q->context);
    return -1;
}

/* 0 when the answer is there. */
static int question_settle(question *q, fattn_status status)
{
    const int bad = context_settle(q->context, status);
    frame_drop(&q->f);
    Py_DECREF((PyObject *)q->context);
    return bad;
}

static PyObject *estimate_memory(PyObject *module, PyObject *args)
{
    (void)module;
    question q;
    if (question_read(&q, args)) return NULL;
    fattn_memory_estimate e = {.size = sizeof e};
    if (question_settle(&q, fattn_estimate_memory(q.context->context, q.f.op, q.f.args, &e))) return NULL;
    return Py_BuildValue("{sK sK sK sK}", "input_bytes", (unsigned long long)e.input_bytes, "output_bytes",
                         (unsigned long long)e.output_bytes, "workspace_bytes",
                         (unsigned long long)e.workspace_bytes, "standard_bytes",
                         (unsigned long long)e.standard_bytes);
}

static PyObject *backends_of(const fattn_explanation *e)
{
    PyObject *tuple = PyTuple_New(e->n_backends);
    for (int i = 0; tuple && i < e->n_backends; i++) {
        const fattn_backend_answer *b = &e->backends[i];
        PyObject *one = Py_BuildValue("{ss sN sN sN ss}", "name", b->name, "allowed", PyBool_FromLong(b->allowed),
                                      "accepts", PyBool_FromLong(b->accepts), "chosen", PyBool_FromLong(b->chosen),
                                      "why_not", b->why_not);
        if (!one || PyTuple_SetItem(tuple, i, one)) Py_CLEAR(tuple);
    }
    return tuple;
}

static PyObject *reading_of(const fattn_reading *r)
{
    return Py_BuildValue("{ss ss}", "keys", r->keys, "values", r->values);
}

/* Sets dict[name] to a new reference, which is taken over; false with an exception. */
static bool put(PyObject *dict, const char *name, PyObject *value)
{
    const bool good = dict && value && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return good;
}

/* Numbers of a struct by their names in C. */
typedef struct number {
    const char *name;
    enum { WHOLE_NUMBER, REAL } kind;
    int64_t whole;
    double real;
} number;

#define COUNT(s, field) {.name = #field, .kind = WHOLE_NUMBER, .whole = (int64_t)(s)->field}
#define FIGURE(s, field) {.name = #field, .kind = REAL, .real = (s)->field}

static bool put_numbers(PyObject *dict, const number *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!put(dict, numbers[i].name,
                 numbers[i].kind == REAL ? PyFloat_FromDouble(numbers[i].real)
                                         : PyLong_FromLongLong(numbers[i].whole)))
            return false;
    return true;
}

static PyObject *explain(PyObject *module, PyObject *args)
{
    (void)module;
    question q;
    if (question_read(&q, args)) return NULL;
    fattn_explanation answer = {.size = sizeof answer}, *e = &answer;
    if (question_settle(&q, fattn_explain(q.context->context, q.f.op, q.f.args, e))) return NULL;
    const number numbers[] = {
        COUNT(e, threads), COUNT(e, sequences), COUNT(e, query_rows), FIGURE(e, visible_pairs), FIGURE(e, flops),
        FIGURE(e, query_bytes), FIGURE(e, kv_bytes), FIGURE(e, mask_bytes), FIGURE(e, output_bytes),
        COUNT(e, items), COUNT(e, tile_items), COUNT(e, dot_items), COUNT(e, split_items), COUNT(e, merges),
        COUNT(e, tile_rows), COUNT(e, tile_keys), COUNT(e, item_rows), FIGURE(e, kv_read_bytes),
        COUNT(e, workspace_bytes), COUNT(e, dot_below), COUNT(e, dot_sequences), COUNT(e, tile_sequences),
        COUNT(e, split_keys), COUNT(e, split_q_len), COUNT(e, split_sequences), COUNT(e, many_rows),
        COUNT(e, one_split)};
    PyObject *dict = Py_BuildValue("{ss ss ss ss sN sN}", "problem", e->problem, "backend", e->backend, "isa", e->isa,
                                   "compute", e->compute, "backends", backends_of(e), "dense_mask", PyBool_FromLong(e->dense_mask));
    if (dict && put_numbers(dict, numbers, sizeof numbers / sizeof numbers[0]) &&
        put(dict, "tile_reads", reading_of(&e->tile_reads)) && put(dict, "dot_reads", reading_of(&e->dot_reads)))
        return dict;
    Py_XDECREF(dict);
    return NULL;
}

static PyObject *verified_output(const fattn_verify_output *o)
{
    const number numbers[] = {COUNT(o, elements),      COUNT(o, outside),     COUNT(o, nans),
                              COUNT(o, infinite),      FIGURE(o, worst),      FIGURE(o, worst_got),
                              FIGURE(o, worst_exact),  FIGURE(o, worst_bound), FIGURE(o, max_abs),
                              FIGURE(o, rms),          FIGURE(o, max_rel),    FIGURE(o, mean_rel),
                              FIGURE(o, cosine),       FIGURE(o, correctly_rounded)};
    PyObject *dict = PyDict_New();
    if (dict && put(dict, "name", PyUnicode_FromString(o->name)) &&
        put_numbers(dict, numbers, sizeof numbers / sizeof numbers[0]) &&
        put(dict, "worst_at", tensor_tuple(o->worst_at, o->worst_rank)))
        return dict;
    Py_XDECREF(dict);
    return NULL;
}

static PyObject *verify(PyObject *module, PyObject *args)
{
    (void)module;
    question q;
    if (question_read(&q, args)) return NULL;
    fattn_verify_report r = {.size = sizeof r};
    fattn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = fattn_verify(q.context->context, q.f.op, q.f.args, &r);
    Py_END_ALLOW_THREADS
    if (question_settle(&q, status)) return NULL;
    PyObject *outputs = PyTuple_New(r.n_outputs);
    for (int i = 0; outputs && i < r.n_outputs; i++) {
        PyObject *one = verified_output(&r.outputs[i]);
        if (!one || PyTuple_SetItem(outputs, i, one)) Py_CLEAR(outputs);
    }
    return Py_BuildValue("{sN sL sL sd ss sN}", "passed", PyBool_FromLong(r.passed), "elements",
                         (long long)r.elements, "outside", (long long)r.outside, "worst", r.worst, "worst_output",
                         r.worst_output ? r.worst_output : "", "outputs", outputs);
}

/* How the library reads an array. */
static PyObject *describe(PyObject *module, PyObject *array)
{
    (void)module;
    held_tensor held;
    if (tensor_take(&held, array, false, ERRORS_FIELD("array"))) return NULL;
    const fattn_tensor *t = &held.tensor;
    PyObject *result = Py_BuildValue("(sNN)", fattn_dtype_name(t->dtype), tensor_tuple(t->shape, t->rank),
                                     tensor_tuple(t->strides, t->rank));
    tensor_drop(&held);
    return result;
}

int info_init(PyObject *module)
{
    static PyMethodDef functions[] = {
        {"capabilities", capabilities, METH_VARARGS, "What this build and machine can do."},
        {"estimate_memory", estimate_memory, METH_VARARGS, "What a call will need, without computing it."},
        {"explain", explain, METH_VARARGS, "What a call would do, in figures."},
        {"describe", describe, METH_O, "(dtype, shape, strides) of an array, as the library reads it."},
        {"verify", verify, METH_VARARGS, "How far the outputs among the fields are from the exact answer."},
        {NULL, NULL, 0, NULL}};
    return PyModule_AddFunctions(module, functions);
}
