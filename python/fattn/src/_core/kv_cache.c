/* SPDX-License-Identifier: Apache-2.0 */
/* kv_cache.c — fattn_kv_cache_* as an object. Its tensors are arrays that keep the cache alive. A cache has one
 * writer at a time: the GIL, which nothing here lets go of. */
#include "kv_cache.h"

#include "array.h"
#include "context.h"
#include "errors.h"
#include "quantize.h"
#include "tensor.h"

typedef struct cache_object {
    PyObject_HEAD
    fattn_kv_cache *cache;
    context_object *context; /* strong: it outlives the cache */
    int64_t n_layers;
    bool quantised;
} cache_object;

static PyTypeObject *cache_type;

static fattn_kv_cache *cache_of(PyObject *self) { return ((cache_object *)self)->cache; }

static PyObject *answer(fattn_status status)
{
    return status == FATTN_OK ? Py_NewRef(Py_None) : errors_raise(status);
}

static int read_layout(const char *name, fattn_cache_layout *layout)
{
    static const char *const names[] = {[FATTN_CACHE_BNBSH] = "BnBsH", [FATTN_CACHE_BNNBSD] = "BnNBsD"};
    for (int i = 0; i < 2; i++)
        if (PyOS_stricmp(name, names[i]) == 0) {
            *layout = (fattn_cache_layout)i;
            return 0;
        }
    errors_at(ERRORS_FIELD("layout"), FATTN_E_ARG, "'%s' is neither BnBsH nor BnNBsD", name);
    return -1;
}

/* The tensors of scales are copied by the library, so they are held for the creation only. */
static int create(cache_object *self, fattn_kv_cache_options *o, PyObject *key_scale, PyObject *value_scale)
{
    held_tensor scales[2];
    PyObject *const given[2] = {key_scale, value_scale};
    static const char *const names[2] = {"key_scale", "value_scale"};
    int taken = 0, bad = 0;
    for (int i = 0; i < 2 && !bad; i++) {
        if (given[i] == Py_None) continue;
        bad = tensor_take(&scales[taken], given[i], false, ERRORS_FIELD(names[i]));
        if (bad) break;
        *(i ? &o->value_scale : &o->key_scale) = &scales[taken++].tensor;
    }
    if (!bad) {
        fattn_status status;
        Py_BEGIN_ALLOW_THREADS
        status = fattn_kv_cache_create(self->context->context, o, &self->cache);
        Py_END_ALLOW_THREADS
        if (status != FATTN_OK) {
            self->cache = NULL;
            errors_raise(status);
            bad = -1;
        }
    }
    while (taken > 0) tensor_drop(&scales[--taken]);
    return bad;
}

static PyObject *cache_make(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"n_blocks", "n_kv_heads", "head_dim", "dtype", "block_size", "value_head_dim",
                            "n_layers", "max_sequences", "layout", "granularity", "key_scale", "value_scale",
                            "context", NULL};
    fattn_kv_cache_options o;
    fattn_kv_cache_options_init(&o);
    PyObject *dtype, *key_scale = Py_None, *value_scale = Py_None, *given = Py_None;
    const char *layout = NULL, *granularity = NULL;
    long long n_blocks, n_kv_heads, head_dim, block_size = o.block_size, value_head_dim = 0, n_layers = 1,
                                              max_sequences = o.max_sequences;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LLLO|$LLLLzzOOO", names, &n_blocks, &n_kv_heads, &head_dim,
                                     &dtype, &block_size, &value_head_dim, &n_layers, &max_sequences, &layout,
                                     &granularity, &key_scale, &value_scale, &given))
        return NULL;
    o.n_blocks = n_blocks, o.n_kv_heads = n_kv_heads, o.head_dim = head_dim, o.block_size = block_size;
    o.value_head_dim = value_head_dim, o.n_layers = n_layers, o.max_sequences = max_sequences;
    o.dtype = tensor_dtype_from(dtype);
    if (o.dtype == FATTN_DTYPE_NONE || (layout && read_layout(layout, &o.layout)) ||
        (granularity && quantize_granularity(granularity, &o.granularity)))
        return NULL;
    context_object *context = context_for(given);
    cache_object *self =
        context ? (cache_object *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0) : NULL;
    if (!self) {
        Py_XDECREF((PyObject *)context);
        return NULL;
    }
    self->context = context;
    self->n_layers = n_layers;
    self->quantised = o.dtype != FATTN_F64 && o.dtype != FATTN_F32 && o.dtype != FATTN_F16 && o.dtype != FATTN_BF16;
    if (create(self, &o, key_scale, value_scale)) Py_CLEAR(self);
    return (PyObject *)self;
}

static void cache_dealloc(PyObject *object)
{
    cache_object *self = (cache_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    fattn_kv_cache_destroy(self->cache);
    Py_XDECREF((PyObject *)self->context);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF((PyObject *)type);
}

/* ---- sequences -------------------------------------------------------------------------------- */

static PyObject *cache_add(PyObject *self, PyObject *nothing)
{
    (void)nothing;
    int64_t sequence;
    const fattn_status status = fattn_kv_cache_add(cache_of(self), &sequence);
    return status == FATTN_OK ? PyLong_FromLongLong(sequence) : errors_raise(status);
}

static PyObject *cache_fork(PyObject *self, PyObject *args)
{
    long long parent;
    if (!PyArg_ParseTuple(args, "L", &parent)) return NULL;
    int64_t sequence;
    const fattn_status status = fattn_kv_cache_fork(cache_of(self), parent, &sequence);
    return status == FATTN_OK ? PyLong_FromLongLong(sequence) : errors_raise(status);
}

static PyObject *cache_free(PyObject *self, PyObject *args)
{
    long long sequence;
    if (!PyArg_ParseTuple(args, "L", &sequence)) return NULL;
    return answer(fattn_kv_cache_free(cache_of(self), sequence));
}

static PyObject *cache_extend(PyObject *self, PyObject *args)
{
    long long sequence, n_tokens;
    if (!PyArg_ParseTuple(args, "LL", &sequence, &n_tokens)) return NULL;
    return answer(fattn_kv_cache_extend(cache_of(self), sequence, n_tokens));
}

static PyObject *cache_truncate(PyObject *self, PyObject *args)
{
    long long sequence, length;
    if (!PyArg_ParseTuple(args, "LL", &sequence, &length)) return NULL;
    return answer(fattn_kv_cache_truncate(cache_of(self), sequence, length));
}

static PyObject *cache_length(PyObject *self, PyObject *args)
{
    long long sequence;
    if (!PyArg_ParseTuple(args, "L", &sequence)) return NULL;
    const int64_t length = fattn_kv_cache_length(cache_of(self), sequence);
    if (length < 0) return errors_at(ERRORS_FIELD("sequence"), FATTN_E_ARG, "%lld is none of the cache", sequence);
    return PyLong_FromLongLong(length);
}

/* ---- rows ------------------------------------------------------------------------------------- */

/* The two tensors of new rows; 0, or -1 with an exception and nothing held. */
static int take_rows(held_tensor rows[2], PyObject *key, PyObject *value)
{
    if (tensor_take(&rows[0], key, false, ERRORS_FIELD("key"))) return -1;
    if (tensor_take(&rows[1], value, false, ERRORS_FIELD("value")) == 0) return 0;
    tensor_drop(&rows[0]);
    return -1;
}

static PyObject *cache_append(PyObject *self, PyObject *args)
{
    long long sequence;
    PyObject *key, *value;
    held_tensor rows[2];
    if (!PyArg_ParseTuple(args, "LOO", &sequence, &key, &value) || take_rows(rows, key, value)) return NULL;
    PyObject *result = answer(fattn_kv_cache_append(cache_of(self), sequence, &rows[0].tensor, &rows[1].tensor));
    tensor_drop(&rows[0]);
    tensor_drop(&rows[1]);
    return result;
}

static PyObject *cache_write(PyObject *self, PyObject *args)
{
    long long layer, sequence, first;
    PyObject *key, *value;
    held_tensor rows[2];
    if (!PyArg_ParseTuple(args, "LLLOO", &layer, &sequence, &first, &key, &value) || take_rows(rows, key, value))
        return NULL;
    PyObject *result = answer(fattn_kv_cache_write(cache_of(self), layer, sequence, first, &rows[0].tensor, &rows[1].tensor));
    tensor_drop(&rows[0]);
    tensor_drop(&rows[1]);
    return result;
}

/* ---- tensors and tables ----------------------------------------------------------------------- */

static PyObject *pair(PyObject *self, const fattn_tensor *key, const fattn_tensor *value)
{
    return Py_BuildValue("(NN)", array_borrow(key, self), array_borrow(value, self));
}

static PyObject *cache_tensors(PyObject *self, PyObject *args)
{
    long long layer = 0;
    if (!PyArg_ParseTuple(args, "|L", &layer)) return NULL;
    fattn_tensor key, value;
    const fattn_status status = fattn_kv_cache_tensors(cache_of(self), layer, &key, &value);
    return status == FATTN_OK ? pair(self, &key, &value) : errors_raise(status);
}

static PyObject *cache_scales(PyObject *self, PyObject *args)
{
    long long layer = 0;
    if (!PyArg_ParseTuple(args, "|L", &layer)) return NULL;
    fattn_tensor key, value;
    int mode;
    const fattn_status status = fattn_kv_cache_scales(cache_of(self), layer, &key, &value, &mode);
    if (status != FATTN_OK) return errors_raise(status);
    return Py_BuildValue("(NNi)", array_borrow(&key, self), array_borrow(&value, self), mode);
}

/* The ids as 64-bit integers; the caller frees them. NULL with an exception. */
static int64_t *read_ids(PyObject *sequences, Py_ssize_t *n)
{
    PyObject *tuple = PySequence_Tuple(sequences);
    if (!tuple) return NULL;
    *n = PyTuple_Size(tuple);
    int64_t *ids = PyMem_Calloc((size_t)*n + 1, sizeof *ids);
    for (Py_ssize_t i = 0; ids && i < *n; i++) {
        PyObject *number = PyNumber_Index(PyTuple_GetItem(tuple, i));
        ids[i] = number ? PyLong_AsLongLong(number) : -1;
        Py_XDECREF(number);
        if (!PyErr_Occurred()) continue;
        PyMem_Free(ids);
        ids = NULL;
    }
    Py_DECREF(tuple);
    return ids;
}

static PyObject *cache_block_table(PyObject *self, PyObject *args)
{
    PyObject *sequences, *table;
    if (!PyArg_ParseTuple(args, "OO", &sequences, &table)) return NULL;
    held_tensor held;
    Py_ssize_t n;
    int64_t *ids = read_ids(sequences, &n);
    if (!ids || tensor_take(&held, table, true, ERRORS_FIELD("table"))) {
        PyMem_Free(ids);
        return NULL;
    }
    PyObject *result = answer(fattn_kv_cache_block_table(cache_of(self), ids, n, &held.tensor));
    tensor_drop(&held);
    PyMem_Free(ids);
    return result;
}

static PyObject *cache_slot_mapping(PyObject *self, PyObject *args)
{
    long long sequence, first, n_tokens;
    PyObject *slots;
    held_tensor held;
    if (!PyArg_ParseTuple(args, "LLLO", &sequence, &first, &n_tokens, &slots) ||
        tensor_take(&held, slots, true, ERRORS_FIELD("slots")))
        return NULL;
    PyObject *result = answer(fattn_kv_cache_slot_mapping(cache_of(self), sequence, first, n_tokens, &held.tensor));
    tensor_drop(&held);
    return result;
}

static PyObject *cache_usage(PyObject *self, void *nothing)
{
    (void)nothing;
    fattn_kv_cache_usage u = {.size = sizeof u};
    const fattn_status status = fattn_kv_cache_get_usage(cache_of(self), &u);
    if (status != FATTN_OK) return errors_raise(status);
    return Py_BuildValue("{sL sL sL sL sL sL sK}", "n_blocks", (long long)u.n_blocks, "used_blocks",
                         (long long)u.used_blocks, "shared_blocks", (long long)u.shared_blocks, "free_blocks",
                         (long long)u.free_blocks, "sequences", (long long)u.sequences, "tokens",
                         (long long)u.tokens, "bytes", (unsigned long long)u.bytes);
}

static PyObject *cache_layers(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyLong_FromLongLong(((cache_object *)self)->n_layers);
}

static PyObject *cache_quantised(PyObject *self, void *nothing)
{
    (void)nothing;
    return PyBool_FromLong(((cache_object *)self)->quantised);
}

int kv_cache_init(PyObject *module)
{
    static PyMethodDef methods[] = {
        {"add", cache_add, METH_NOARGS, "add()\n--\n\nA new empty sequence; returns its id, the lowest free one."},
        {"fork", cache_fork, METH_VARARGS,
         "fork(parent)\n--\n\nA new sequence that shares all blocks of `parent`; returns its id."},
        {"free", cache_free, METH_VARARGS, "free(sequence)\n--\n\nGives its blocks back and forgets the id."},
        {"extend", cache_extend, METH_VARARGS,
         "extend(sequence, n_tokens)\n--\n\nMakes room for rows that are written later. All or nothing."},
        {"append", cache_append, METH_VARARGS,
         "append(sequence, key, value)\n--\n\nRows [n_tokens, n_kv_heads, head_dim] behind the others, in every "
         "layer. All or nothing."},
        {"write", cache_write, METH_VARARGS,
         "write(layer, sequence, first, key, value)\n--\n\nRows from token `first` on; layer -1 = every layer."},
        {"truncate", cache_truncate, METH_VARARGS,
         "truncate(sequence, length)\n--\n\nDrops tokens from the end until `length` remain."},
        {"length", cache_length, METH_VARARGS, "length(sequence)\n--\n\nTokens of a sequence."},
        {"tensors", cache_tensors, METH_VARARGS,
         "tensors(layer=0)\n--\n\nKeys and values as Arrays over the cache's own memory."},
        {"scales", cache_scales, METH_VARARGS,
         "scales(layer=0)\n--\n\nOf a quantised cache: scales of keys, of values, and the antiquant mode."},
        {"block_table", cache_block_table, METH_VARARGS,
         "block_table(sequences, table)\n--\n\nFills table, i32 or i64 [n_sequences, M]; -1 behind the last block."},
        {"slot_mapping", cache_slot_mapping, METH_VARARGS,
         "slot_mapping(sequence, first, n_tokens, slots)\n--\n\nFills slots, i32 or i64 [n_tokens]: block * "
         "block_size + row."},
        {NULL, NULL, 0, NULL}};
    static PyGetSetDef attributes[] = {
        {"usage", cache_usage, NULL, "blocks, sequences, tokens and bytes in use", NULL},
        {"n_layers", cache_layers, NULL, "number of layers", NULL},
        {"quantised", cache_quantised, NULL, "whether rows become codes as they are written", NULL},
        {NULL, NULL, NULL, NULL, NULL}};
    static PyType_Slot slots[] = {{Py_tp_new, cache_make},
                                  {Py_tp_dealloc, cache_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_tp_getset, attributes},
                                  {0, NULL}};
    static PyType_Spec spec = {.name = "fattn._core.KVCache",
                               .basicsize = sizeof(cache_object),
                               .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
                               .slots = slots};
    cache_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return cache_type ? PyModule_AddObjectRef(module, "KVCache", (PyObject *)cache_type) : -1;
}
