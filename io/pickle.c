/* SPDX-License-Identifier: Apache-2.0 */
/* pickle.c — the machine: the operations of pickle protocol 2 that torch.save() needs for tensors, one small
 * function each. What is not in the two tables below (names, operations) ends the reading. */
#include "pickle.h"

#include "pickle_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct machine {
    values v;
    const unsigned char *begin, *at, *end;
    const char *file;
    io_error *error;
} machine;

/* ---- names ---- */

typedef enum global_kind {
    GLOBAL_TENSOR,    /* (storage, offset, shape, strides, requires_grad, hooks[, more that is ignored]) */
    GLOBAL_TENSOR_V3, /* the same over raw bytes, with the dtype behind */
    GLOBAL_PARAMETER, /* (tensor, requires_grad, hooks) */
    GLOBAL_DICT,
    GLOBAL_STORAGE,
    GLOBAL_BYTES,
    GLOBAL_DTYPE
} global_kind;

static const struct global {
    const char *module, *name;
    global_kind kind;
    io_stored stored;
} globals[] = {
    {"torch._utils", "_rebuild_tensor_v2", GLOBAL_TENSOR, {0}},
    {"torch._utils", "_rebuild_tensor_v3", GLOBAL_TENSOR_V3, {0}},
    {"torch._utils", "_rebuild_parameter", GLOBAL_PARAMETER, {0}},
    {"torch_npu.utils.storage", "_rebuild_npu_tensor", GLOBAL_TENSOR, {0}},
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
    {"torch", "float8_e4m3fn", GLOBAL_DTYPE, {"float8_e4m3fn", FATTN_E4M3, 1, false}},
    {"torch", "float8_e5m2", GLOBAL_DTYPE, {"float8_e5m2", FATTN_E5M2, 1, false}},
    {"torch", "uint16", GLOBAL_DTYPE, {"uint16", FATTN_DTYPE_NONE, 2, true}},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };

/* ---- sentences ---- */

static bool fail(machine *m, const char *what)
{
    io_fail(m->error, IO_E_FORMAT, "%s: its pickle is damaged, or not one of torch.save: %s", m->file,
            what);
    return false;
}

static bool out_of_memory(machine *m)
{
    io_fail(m->error, IO_E_NOMEM, "%s: out of memory for its pickle", m->file);
    return false;
}

static bool refuse_call(machine *m, const char *name)
{
    io_fail(m->error, IO_E_FORMAT, "%s: pickle wants to call %s; only tensors are read", m->file, name);
    return false;
}

/* ---- reading ---- */

/* The next n bytes, NULL when the pickle ends before. */
static const unsigned char *take(machine *m, size_t n)
{
    if ((size_t)(m->end - m->at) < n) return NULL;
    m->at += n;
    return m->at - n;
}

static bool take_number(machine *m, size_t n, int64_t *number)
{
    const unsigned char *bytes = take(m, n);
    uint64_t bits = 0;
    if (!bytes) return fail(m, "it ends too early");
    for (size_t i = n; i-- > 0;) bits = bits << 8 | bytes[i];
    *number = (int64_t)bits;
    return true;
}

static bool push(machine *m, int item) { return value_push(&m->v, item) || out_of_memory(m); }

static bool push_number(machine *m, value_kind kind, int64_t number)
{
    const int item = value_new(&m->v, kind);
    if (item) m->v.all[item].number = number;
    return push(m, item);
}

static bool push_text(machine *m, const unsigned char *text, int64_t length)
{
    const int item = value_new(&m->v, VALUE_TEXT);
    if (item) m->v.all[item].text = (const char *)text, m->v.all[item].length = (size_t)length;
    return push(m, item);
}

/* The topmost value; 0 after a sentence. A mark is no value. */
static int pop(machine *m)
{
    const int item = m->v.n_stack > 0 ? m->v.stack[m->v.n_stack - 1] : 0;
    if (item && m->v.all[item].kind != VALUE_MARK) {
        m->v.n_stack--;
        return item;
    }
    fail(m, "it takes more than there is");
    return 0;
}

static int top(machine *m)
{
    const int item = pop(m);
    if (item) m->v.n_stack++;
    return item;
}

/* Where the values above the topmost mark begin on the stack; -1 after a sentence. */
static int above_mark(machine *m)
{
    for (int i = m->v.n_stack - 1; i >= 0; i--)
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK) return i + 1;
    fail(m, "a mark is missing");
    return -1;
}

/* ---- operations ---- */

static bool op_proto(machine *m)
{
    int64_t protocol;
    if (!take_number(m, 1, &protocol)) return false;
    if (protocol == 2) return true;
    io_fail(m->error, IO_E_FORMAT, "%s: pickle protocol %" PRId64 "; torch.save writes 2 unless told otherwise",
            m->file, protocol);
    return false;
}

static bool op_global(machine *m)
{
    const char *module = (const char *)m->at;
    const size_t left = (size_t)(m->end - m->at);
    const char *name = memchr(module, '\n', left);
    const char *stop = name ? memchr(name + 1, '\n', left - (size_t)(name + 1 - module)) : NULL;
    if (!stop) return fail(m, "it ends too early");
    const size_t n_module = (size_t)(name - module), n_name = (size_t)(stop - ++name);
    m->at += stop + 1 - module;
    for (int i = 0; i < N_GLOBALS; i++)
        if (strlen(globals[i].module) == n_module && memcmp(globals[i].module, module, n_module) == 0 &&
            strlen(globals[i].name) == n_name && memcmp(globals[i].name, name, n_name) == 0)
            return push_number(m, VALUE_GLOBAL, i);
    char a[PICKLE_TEXT], b[PICKLE_TEXT], whole[2 * PICKLE_TEXT];
    snprintf(whole, sizeof whole, "%s.%s", value_printable(module, n_module, a),
             value_printable(name, n_name, b));
    return refuse_call(m, whole);
}

static bool op_int(machine *m, size_t bytes)
{
    int64_t number;
    if (!take_number(m, bytes, &number)) return false;
    return push_number(m, VALUE_INT, bytes == 4 ? (int32_t)number : number);
}

static bool op_long(machine *m)
{
    int64_t length, number;
    if (!take_number(m, 1, &length)) return false;
    if (length > 8) return fail(m, "a number has more than 64 bits");
    if (!take_number(m, (size_t)length, &number)) return false;
    const int unused = 64 - 8 * (int)length;
    const bool negative = length > 0 && length < 8 && (number >> (8 * length - 1) & 1);
    return push_number(m, VALUE_INT, negative ? number | (int64_t)(UINT64_MAX << (64 - unused)) : number);
}

static bool op_real(machine *m)
{
    if (!take(m, 8)) return fail(m, "it ends too early");
    return push_number(m, VALUE_REAL, 0); /* nothing that a tensor needs */
}

static bool op_text(machine *m)
{
    int64_t length;
    if (!take_number(m, 4, &length)) return false;
    const unsigned char *text = take(m, (size_t)length);
    return text ? push_text(m, text, length) : fail(m, "a text is longer than the pickle");
}

static bool op_put(machine *m, size_t bytes)
{
    int64_t index;
    if (!take_number(m, bytes, &index)) return false;
    const int item = top(m);
    if (!item) return false;
    if (index > m->v.n_memo) return fail(m, "its memo has gaps");
    return value_remember(&m->v, (int)index, item) || out_of_memory(m);
}

static bool op_get(machine *m, size_t bytes)
{
    int64_t index;
    if (!take_number(m, bytes, &index)) return false;
    if (index >= m->v.n_memo) return fail(m, "its memo has no such entry");
    return push(m, m->v.memo[index]);
}

/* The values from stack position `from` on become a tuple; a mark below them goes, too. */
static bool make_tuple(machine *m, int from, bool marked)
{
    if (from < 0) return fail(m, "it takes more than there is");
    const int tuple = value_new(&m->v, VALUE_TUPLE);
    if (!tuple) return out_of_memory(m);
    for (int i = from; i < m->v.n_stack; i++) {
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK) return fail(m, "a mark stands in a tuple");
        if (!value_append(&m->v, tuple, m->v.stack[i])) return out_of_memory(m);
    }
    m->v.n_stack = marked ? from - 1 : from;
    return push(m, tuple);
}

static bool op_tuple(machine *m)
{
    const int from = above_mark(m);
    return from >= 0 && make_tuple(m, from, true);
}

static bool is_key(const value *v) { return v->kind == VALUE_TEXT || v->kind == VALUE_INT; }

/* The values from stack position `from` on go into the container at `from - below`. */
static bool fill(machine *m, value_kind kind, int from, int below)
{
    if (from < 0) return fail(m, "it takes more than there is");
    const int n = m->v.n_stack - from, at = from - below;
    const int container = at >= 0 ? m->v.stack[at] : 0;
    if (m->v.all[container].kind != kind)
        return fail(m, kind == VALUE_LIST ? "it appends to what is no list"
                                          : "it sets items of what is no dict");
    if (kind == VALUE_DICT && n % 2 != 0) return fail(m, "a key has no value");
    for (int i = from; i < m->v.n_stack; i++) {
        if (kind == VALUE_DICT && (i - from) % 2 == 0 && !is_key(&m->v.all[m->v.stack[i]]))
            return fail(m, "a key is neither text nor number");
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK) return fail(m, "a mark stands in a container");
        if (!value_append(&m->v, container, m->v.stack[i])) return out_of_memory(m);
    }
    m->v.n_stack = at + 1;
    return true;
}

/* ('storage', class, key, device, elements) */
static bool op_persistent(machine *m)
{
    const int id = pop(m);
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
        return fail(m, "a persistent id is not ('storage', class, key, device, elements)");
    if (key->length == 0 || key->length >= PICKLE_KEY || memchr(key->text, '\0', key->length) ||
        memchr(key->text, '/', key->length))
        return fail(m, "a storage has a key that is no name");
    if (elements->number < 0) return fail(m, "a storage has a negative size");
    const value made = {.kind = VALUE_STORAGE,
                        .number = elements->number,
                        .text = key->text,
                        .length = key->length,
                        .global = (int)class->number};
    const int item = value_new(&m->v, VALUE_STORAGE);
    if (item) m->v.all[item] = made;
    return push(m, item);
}

/* Shape or strides: non-negative integers. Their number, -1 after a sentence. */
static int take_extents(machine *m, int tuple, int64_t out[FATTN_MAX_RANK])
{
    const value *t = &m->v.all[tuple];
    if (t->kind != VALUE_TUPLE) return fail(m, "a tensor's shape or strides are no tuple"), -1;
    if (t->count > FATTN_MAX_RANK) return fail(m, "a tensor has more than 8 axes"), -1;
    for (int i = 0, link = t->first; i < t->count; i++, link = m->v.links[link].next) {
        const value *extent = &m->v.all[m->v.links[link].value];
        if (extent->kind != VALUE_INT) return fail(m, "a tensor's shape or strides are no integers"), -1;
        if (extent->number < 0) return fail(m, "a tensor's shape or strides are negative"), -1;
        out[i] = extent->number;
    }
    return t->count;
}

/* The last element lies inside the storage. */
static bool check_reach(machine *m, const pickle_tensor *t)
{
    int64_t count, last = t->offset;
    if (!io_count(t->rank, t->shape, &count)) return fail(m, "a tensor has more elements than memory");
    if (count == 0) return true;
    for (int i = 0; i < t->rank; i++) {
        int64_t reach;
        if (__builtin_mul_overflow(t->shape[i] - 1, t->strides[i], &reach) ||
            __builtin_add_overflow(last, reach, &last))
            return fail(m, "a tensor reaches outside its storage");
    }
    return last < t->elements || fail(m, "a tensor reaches outside its storage");
}

static bool rebuild_tensor(machine *m, int args, bool v3)
{
    const values *v = &m->v;
    const int n = v->all[args].count;
    const value *storage = &v->all[value_child(v, args, 0)], *offset = &v->all[value_child(v, args, 1)];
    const value *dtype = v3 ? &v->all[value_child(v, args, 6)] : storage;
    if (n < (v3 ? 7 : 6) || n > (v3 ? 8 : 7) || storage->kind != VALUE_STORAGE || offset->kind != VALUE_INT)
        return fail(m, "a tensor's parts are not in their places");
    const int class = v3 && dtype->kind == VALUE_GLOBAL ? (int)dtype->number : storage->global;
    if (globals[class].kind != (v3 ? GLOBAL_DTYPE : GLOBAL_STORAGE) ||
        (v3 && globals[storage->global].kind != GLOBAL_BYTES))
        return fail(m, "a tensor's dtype and storage do not fit");
    pickle_tensor t = {.stored = globals[class].stored, .elements = storage->number, .offset = offset->number};
    if (v3) t.elements /= (int64_t)t.stored.size;
    memcpy(t.key, storage->text, storage->length);
    if (t.offset < 0) return fail(m, "a tensor begins before its storage");
    t.rank = take_extents(m, value_child(v, args, 2), t.shape);
    if (t.rank < 0) return false;
    const int strides = take_extents(m, value_child(v, args, 3), t.strides);
    if (strides < 0) return false;
    if (strides != t.rank) return fail(m, "a tensor has not one stride per axis");
    return check_reach(m, &t) && push(m, value_tensor(&m->v, &t));
}

static bool op_reduce(machine *m)
{
    const int args = pop(m), callable = args ? pop(m) : 0;
    if (!callable) return false;
    const value *f = &m->v.all[callable], *tuple = &m->v.all[args];
    if (f->kind != VALUE_GLOBAL) return refuse_call(m, "what is no function");
    if (tuple->kind != VALUE_TUPLE) return fail(m, "a call without arguments");
    const struct global *g = &globals[f->number];
    const int first = value_child(&m->v, args, 0);
    switch (g->kind) {
    case GLOBAL_TENSOR:
        return rebuild_tensor(m, args, false);
    case GLOBAL_TENSOR_V3:
        return rebuild_tensor(m, args, true);
    case GLOBAL_PARAMETER:
        if (tuple->count != 3 || m->v.all[first].kind != VALUE_TENSOR)
            return fail(m, "a parameter is not made of a tensor");
        return push(m, first);
    case GLOBAL_DICT:
        if (tuple->count != 0) return fail(m, "an OrderedDict is made of something");
        return push(m, value_new(&m->v, VALUE_DICT));
    default: {
        char name[PICKLE_TEXT];
        snprintf(name, sizeof name, "%s.%s", g->module, g->name);
        return refuse_call(m, name);
    }
    }
}

/* Attributes of a dict (a state_dict's _metadata) are of no interest; nothing else may have any. */
static bool op_build(machine *m)
{
    const int state = pop(m), target = state ? top(m) : 0;
    if (!target) return false;
    return m->v.all[target].kind == VALUE_DICT || refuse_call(m, "__setstate__ of what is no dict");
}

static bool op_unknown(machine *m, unsigned op)
{
    io_fail(m->error, IO_E_FORMAT, "%s: pickle operation 0x%02x at byte %td is not one that tensors need; "
            "only tensors are read", m->file, op, m->at - m->begin - 1);
    return false;
}

static bool step(machine *m, unsigned op)
{
    switch (op) {
    case 0x80:
        return op_proto(m);
    case 'c':
        return op_global(m);
    case '(':
        return push(m, value_new(&m->v, VALUE_MARK));
    case ')':
        return push(m, value_new(&m->v, VALUE_TUPLE));
    case ']':
        return push(m, value_new(&m->v, VALUE_LIST));
    case '}':
        return push(m, value_new(&m->v, VALUE_DICT));
    case 't':
        return op_tuple(m);
    case 0x85:
        return make_tuple(m, m->v.n_stack - 1, false);
    case 0x86:
        return make_tuple(m, m->v.n_stack - 2, false);
    case 0x87:
        return make_tuple(m, m->v.n_stack - 3, false);
    case 'N':
        return push_number(m, VALUE_NONE, 0);
    case 0x88:
        return push_number(m, VALUE_BOOL, 1);
    case 0x89:
        return push_number(m, VALUE_BOOL, 0);
    case 'K':
        return op_int(m, 1);
    case 'M':
        return op_int(m, 2);
    case 'J':
        return op_int(m, 4);
    case 0x8a:
        return op_long(m);
    case 'G':
        return op_real(m);
    case 'X':
        return op_text(m);
    case 'q':
        return op_put(m, 1);
    case 'r':
        return op_put(m, 4);
    case 'h':
        return op_get(m, 1);
    case 'j':
        return op_get(m, 4);
    case 'a':
        return fill(m, VALUE_LIST, m->v.n_stack - 1, 1);
    case 'e':
        return fill(m, VALUE_LIST, above_mark(m), 2);
    case 's':
        return fill(m, VALUE_DICT, m->v.n_stack - 2, 1);
    case 'u':
        return fill(m, VALUE_DICT, above_mark(m), 2);
    case 'Q':
        return op_persistent(m);
    case 'R':
        return op_reduce(m);
    case 'b':
        return op_build(m);
    default:
        return op_unknown(m, op);
    }
}

/* The value that the pickle leaves; 0 after a sentence. */
static int run(machine *m)
{
    for (;;) {
        const unsigned char *op = take(m, 1);
        if (!op) return fail(m, "it ends too early"), 0;
        if (*op == '.') break;
        if (!step(m, *op)) return 0;
    }
    if (m->v.n_stack != 1) return fail(m, "it leaves more than one value"), 0;
    return pop(m);
}

static io_code choose(machine *m, int root, const char *name, pickle_tensor *tensor)
{
    char names[240];
    const bool bare = m->v.all[root].kind == VALUE_TENSOR;
    const int found = bare ? (name ? 0 : root) : name ? value_find(&m->v, root, name) : 0;
    if (found) {
        *tensor = m->v.tensors[m->v.all[found].number];
        return IO_OK;
    }
    if (bare)
        return io_fail(m->error, IO_E_NAME, "%s: holds one tensor without a name, not '%.60s'", m->file,
                       name);
    const char *listed = value_names(&m->v, root, names, sizeof names);
    if (!name)
        return io_fail(m->error, IO_E_NAME, "%s: say which tensor: %s:NAME (it holds %s)", m->file, m->file,
                       listed);
    return io_fail(m->error, IO_E_NAME, "%s: holds no tensor '%.60s' (it holds %s)", m->file, name, listed);
}

io_code pickle_read(const void *bytes, size_t n, const char *file, const char *name,
                    pickle_tensor *tensor, io_error *error)
{
    const unsigned char *begin = n > 0 ? bytes : (const unsigned char *)"";
    machine m = {.begin = begin, .at = begin, .end = begin + n, .file = file, .error = error};
    if (n > PICKLE_LONGEST)
        return io_fail(error, IO_E_FORMAT, "%s: its pickle has more than %d bytes", file,
                       (int)PICKLE_LONGEST);
    error->code = IO_E_FORMAT;
    int root = 0;
    if (values_init(&m.v))
        root = run(&m);
    else
        out_of_memory(&m);
    const io_code code = root ? choose(&m, root, name, tensor) : error->code;
    values_free(&m.v);
    return code;
}
