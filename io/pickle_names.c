/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_names.c — the names that a pickle may use, and what is made of them: tensors, storages and
 * dicts; values that no tensor needs stay opaque. Nothing else is made, and nothing is called. */
#include "pickle_machine.h"

#include <stdio.h>
#include <string.h>

typedef enum global_kind {
    GLOBAL_TENSOR,    /* (storage, offset, shape, strides, requires_grad, hooks[, metadata]) */
    GLOBAL_TENSOR_V3, /* the same over raw bytes: (..., hooks, dtype[, metadata]) */
    GLOBAL_NPU,       /* (..., hooks[, format on the device]) */
    GLOBAL_PARAMETER, /* (tensor, requires_grad, hooks) */
    GLOBAL_DICT,
    GLOBAL_STORAGE,
    GLOBAL_BYTES,
    GLOBAL_DTYPE,
    GLOBAL_OPAQUE /* a value, or what makes one, that says nothing about tensors */
} global_kind;

static const struct global {
    const char *module, *name;
    global_kind kind;
    io_stored stored;
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR, {0}},
    {"torch._utils", "_rebuild_tensor_v3", GLOBAL_TENSOR_V3, {0}},
    {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER, {0}},
    {"torch_npu.utils.storage", "_rebuild_npu_tensor", GLOBAL_NPU, {0}},
    {"collections", "OrderedDict", GLOBAL_DICT, {0}},
    {"torch", "DoubleStorage", GLOBAL_STORAGE, {"float64", FATTN_F64, 8, false}},
    {"torch", "FloatStorage", GLOBAL_STORAGE, {"float32", FATTN_F32, 4, false}},
    {"torch", "HalfStorage", GLOBAL_STORAGE, {"float16", FATTN_F16, 2, false}},
    {"torch", "BFloat16Storage", GLOBAL_STORAGE, {"bfloat16", FATTN_BF16, 2, false}},
    {"torch", "LongStorage", GLOBAL_STORAGE, {"int64", FATTN_I64, 8, false}},
    {"torch", "IntStorage", GLOBAL_STORAGE, {"int32", FATTN_I32, 4, false}},
    {"torch", "ShortStorage", GLOBAL_STORAGE, {"int16", FATTN_DTYPE_NONE, 2, true}},
    {"torch", "CharStorage", GLOBAL_STORAGE, {"int8", FATTN_I8, 1, false}},
    {"torch", "ByteStorage", GLOBAL_STORAGE, {"uint8", FATTN_U8, 1, true}},
    {"torch", "BoolStorage", GLOBAL_STORAGE, {"bool", FATTN_BOOL, 1, true}},
    {"torch.storage", "UntypedStorage", GLOBAL_BYTES, {"bytes", FATTN_DTYPE_NONE, 1, true}},
    {"torch", "float64", GLOBAL_DTYPE, {"float64", FATTN_F64, 8, false}},
    {"torch", "float32", GLOBAL_DTYPE, {"float32", FATTN_F32, 4, false}},
    {"torch", "float16", GLOBAL_DTYPE, {"float16", FATTN_F16, 2, false}},
    {"torch", "bfloat16", GLOBAL_DTYPE, {"bfloat16", FATTN_BF16, 2, false}},
    {"torch", "int64", GLOBAL_DTYPE, {"int64", FATTN_I64, 8, false}},
    {"torch", "int32", GLOBAL_DTYPE, {"int32", FATTN_I32, 4, false}},
    {"torch", "int16", GLOBAL_DTYPE, {"int16", FATTN_DTYPE_NONE, 2, true}},
    {"torch", "int8", GLOBAL_DTYPE, {"int8", FATTN_I8, 1, false}},
    {"torch", "uint8", GLOBAL_DTYPE, {"uint8", FATTN_U8, 1, true}},
    {"torch", "bool", GLOBAL_DTYPE, {"bool", FATTN_BOOL, 1, true}},
    {"torch", "float8_e4m3fn", GLOBAL_DTYPE, {"float8_e4m3fn", FATTN_E4M3, 1, false}},
    {"torch", "float8_e5m2", GLOBAL_DTYPE, {"float8_e5m2", FATTN_E5M2, 1, false}},
    {"torch", "uint16", GLOBAL_DTYPE, {"uint16", FATTN_DTYPE_NONE, 2, true}},
    {"torch", "uint32", GLOBAL_OPAQUE, {0}},
    {"torch", "uint64", GLOBAL_OPAQUE, {0}},
    {"torch", "complex64", GLOBAL_OPAQUE, {0}},
    {"torch", "complex128", GLOBAL_OPAQUE, {0}},
    {"torch", "device", GLOBAL_OPAQUE, {0}},
    {"torch", "Size", GLOBAL_OPAQUE, {0}},
    {"numpy", "dtype", GLOBAL_OPAQUE, {0}},
    {"numpy.core.multiarray", "scalar", GLOBAL_OPAQUE, {0}},
    {"numpy._core.multiarray", "scalar", GLOBAL_OPAQUE, {0}},
    {"_codecs", "encode", GLOBAL_OPAQUE, {0}}, /* bytes in protocol 2 */
    {"__builtin__", "bytes", GLOBAL_OPAQUE, {0}},
    {"__builtin__", "set", GLOBAL_OPAQUE, {0}},
    {"__builtin__", "frozenset", GLOBAL_OPAQUE, {0}},
    {"__builtin__", "complex", GLOBAL_OPAQUE, {0}},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };

/* ---- sentences ---- */

static bool refuse(pickle_machine *m, const char *does, const char *what)
{
    io_fail(m->error, IO_E_FORMAT, "%s: pickle %s %s; only tensors are read", m->file, does, what);
    return false;
}

bool pickle_global(pickle_machine *m, int unused)
{
    (void)unused;
    const char *module = (const char *)m->at;
    const size_t left = (size_t)(m->end - m->at);
    const char *name = memchr(module, '\n', left);
    const char *stop = name ? memchr(name + 1, '\n', left - (size_t)(name + 1 - module)) : NULL;
    if (!stop) return pickle_fail(m, "it ends too early");
    const size_t n_module = (size_t)(name - module), n_name = (size_t)(stop - ++name);
    m->at += stop + 1 - module;
    for (int i = 0; i < N_GLOBALS; i++)
        if (strlen(globals[i].module) == n_module &&
            memcmp(globals[i].module, module, n_module) == 0 && strlen(globals[i].name) == n_name &&
            memcmp(globals[i].name, name, n_name) == 0)
            return pickle_push_number(m, VALUE_GLOBAL, i);
    char a[PICKLE_TEXT], b[PICKLE_TEXT], whole[2 * PICKLE_TEXT];
    snprintf(whole, sizeof whole, "%s.%s", value_printable(module, n_module, a),
             value_printable(name, n_name, b));
    return refuse(m, "names", whole);
}

/* ('storage', class, key, device, elements) */
bool pickle_persistent(pickle_machine *m, int unused)
{
    (void)unused;
    const int id = pickle_pop(m);
    if (!id) return false;
    const value *all = m->v.all, *tuple = &all[id];
    const value *word = &all[value_child(&m->v, id, 0)], *class = &all[value_child(&m->v, id, 1)];
    const value *key = &all[value_child(&m->v, id, 2)], *device = &all[value_child(&m->v, id, 3)];
    const value *elements = &all[value_child(&m->v, id, 4)];
    const global_kind kind =
        class->kind == VALUE_GLOBAL ? globals[class->number].kind : GLOBAL_PARAMETER;
    if (tuple->kind != VALUE_TUPLE || tuple->count != 5 || !value_is_text(word, "storage") ||
        (kind != GLOBAL_STORAGE && kind != GLOBAL_BYTES) || key->kind != VALUE_TEXT ||
        device->kind != VALUE_TEXT || elements->kind != VALUE_INT)
        return pickle_fail(m, "a persistent id is not ('storage', class, key, device, elements)");
    if (key->length == 0 || key->length >= PICKLE_KEY || memchr(key->text, '\0', key->length) ||
        memchr(key->text, '/', key->length))
        return pickle_fail(m, "a storage has a key that is no name");
    if (elements->number < 0) return pickle_fail(m, "a storage has a negative size");
    const value made = {.kind = VALUE_STORAGE,
                        .number = elements->number,
                        .text = key->text,
                        .length = key->length,
                        .global = (int)class->number};
    const int item = value_new(&m->v, VALUE_STORAGE);
    if (item) m->v.all[item] = made;
    return pickle_push(m, item);
}

/* Shape or strides: non-negative integers. Their number, -1 after a sentence. */
static int take_extents(pickle_machine *m, int tuple, int64_t out[FATTN_MAX_RANK])
{
    const value *t = &m->v.all[tuple];
    if (t->kind != VALUE_TUPLE)
        return pickle_fail(m, "a tensor's shape or strides are no tuple"), -1;
    if (t->count > FATTN_MAX_RANK) return pickle_fail(m, "a tensor has more than 8 axes"), -1;
    for (int i = 0, link = t->first; i < t->count; i++, link = m->v.links[link].next) {
        const value *extent = &m->v.all[m->v.links[link].value];
        if (extent->kind != VALUE_INT)
            return pickle_fail(m, "a tensor's shape or strides are no integers"), -1;
        if (extent->number < 0)
            return pickle_fail(m, "a tensor's shape or strides are negative"), -1;
        out[i] = extent->number;
    }
    return t->count;
}

/* The last element lies inside the storage. */
static bool check_reach(pickle_machine *m, const pickle_tensor *t)
{
    int64_t count, last = t->offset;
    if (!io_count(t->rank, t->shape, &count))
        return pickle_fail(m, "a tensor has more elements than memory");
    if (count == 0) return true;
    for (int i = 0; i < t->rank; i++) {
        int64_t reach;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->strides[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return pickle_fail(m, "a tensor reaches outside its storage");
    }
    return last < t->elements || pickle_fail(m, "a tensor reaches outside its storage");
}

/* Metadata are None, or a dict without entries: torch's negation and conjugation bits stand there,
 * which the bytes of the storage know nothing of. */
static bool check_metadata(pickle_machine *m, int args, int index)
{
    const value *metadata = &m->v.all[value_child(&m->v, args, index)];
    if (m->v.all[args].count <= index || metadata->kind == VALUE_NONE) return true;
    if (metadata->kind == VALUE_DICT && metadata->count == 0) return true;
    const value *key = &m->v.all[m->v.links[metadata->first].value];
    char text[PICKLE_TEXT];
    const bool named = metadata->kind == VALUE_DICT && key->kind == VALUE_TEXT;
    io_fail(m->error, IO_E_FORMAT,
            "%s: a tensor has metadata (%s), so its bytes are not its values; save "
            "x.resolve_neg().resolve_conj()",
            m->file, named ? value_printable(key->text, key->length, text) : "no dict");
    return false;
}

static bool rebuild_tensor(pickle_machine *m, int args, global_kind call)
{
    const bool v3 = call == GLOBAL_TENSOR_V3;
    const values *v = &m->v;
    const int n = v->all[args].count;
    const value *storage = &v->all[value_child(v, args, 0)],
                *offset = &v->all[value_child(v, args, 1)];
    const value *dtype = v3 ? &v->all[value_child(v, args, 6)] : storage;
    if (n < (v3 ? 7 : 6) || n > (v3 ? 8 : 7) || storage->kind != VALUE_STORAGE ||
        offset->kind != VALUE_INT)
        return pickle_fail(m, "a tensor's parts are not in their places");
    const int class = v3 && dtype->kind == VALUE_GLOBAL ? (int)dtype->number : storage->global;
    if (globals[class].kind != (v3 ? GLOBAL_DTYPE : GLOBAL_STORAGE) ||
        (v3 && globals[storage->global].kind != GLOBAL_BYTES))
        return pickle_fail(m, "a tensor's dtype and storage do not fit");
    if (call != GLOBAL_NPU && !check_metadata(m, args, v3 ? 7 : 6)) return false;
    pickle_tensor t = {
        .stored = globals[class].stored, .elements = storage->number, .offset = offset->number};
    if (v3) t.elements /= (int64_t)t.stored.size;
    memcpy(t.key, storage->text, storage->length);
    if (t.offset < 0) return pickle_fail(m, "a tensor begins before its storage");
    t.rank = take_extents(m, value_child(v, args, 2), t.shape);
    if (t.rank < 0) return false;
    const int strides = take_extents(m, value_child(v, args, 3), t.strides);
    if (strides < 0) return false;
    if (strides != t.rank) return pickle_fail(m, "a tensor has not one stride per axis");
    return check_reach(m, &t) && pickle_push(m, value_tensor(&m->v, &t));
}

bool pickle_reduce(pickle_machine *m, int unused)
{
    (void)unused;
    const int args = pickle_pop(m), callable = args ? pickle_pop(m) : 0;
    if (!callable) return false;
    const value *f = &m->v.all[callable], *tuple = &m->v.all[args];
    if (f->kind != VALUE_GLOBAL) return refuse(m, "wants to call", "what is no function");
    if (tuple->kind != VALUE_TUPLE) return pickle_fail(m, "a call without arguments");
    const struct global *g = &globals[f->number];
    const int first = value_child(&m->v, args, 0);
    switch (g->kind) {
    case GLOBAL_TENSOR:
    case GLOBAL_TENSOR_V3:
    case GLOBAL_NPU:
        return rebuild_tensor(m, args, g->kind);
    case GLOBAL_PARAMETER:
        if (tuple->count != 3 || m->v.all[first].kind != VALUE_TENSOR)
            return pickle_fail(m, "a parameter is not made of a tensor");
        return pickle_push(m, first);
    case GLOBAL_DICT:
        if (tuple->count != 0) return pickle_fail(m, "an OrderedDict is made of something");
        return pickle_push(m, value_new(&m->v, VALUE_DICT));
    case GLOBAL_OPAQUE:
        return pickle_push(m, value_new(&m->v, VALUE_OPAQUE));
    default: {
        char name[PICKLE_TEXT];
        snprintf(name, sizeof name, "%s.%s", g->module, g->name);
        return refuse(m, "wants to call", name);
    }
    }
}

/* Attributes of a dict (a state_dict's _metadata) and of what is opaque are of no interest; nothing
 * else may have any. */
bool pickle_build(pickle_machine *m, int unused)
{
    (void)unused;
    const int state = pickle_pop(m), target = state ? pickle_top(m) : 0;
    if (!target) return false;
    const value_kind kind = m->v.all[target].kind;
    return kind == VALUE_DICT || kind == VALUE_OPAQUE ||
           refuse(m, "wants to call", "__setstate__ of what is no dict");
}
