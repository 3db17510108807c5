/* SPDX-License-Identifier: Apache-2.0 */
/* pickle.c — the machine: the operations of pickle protocol 2 that torch.save() needs, one small
 * function each. What is not in the table of operations below, or in that of names
 * (pickle_names.c), ends the reading. */
#include "pickle_machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- sentences ---- */

bool pickle_fail(pickle_machine *m, const char *what)
{
    io_fail(m->error, IO_E_FORMAT, "%s: its pickle is damaged, or not one of torch.save: %s",
            m->file, what);
    return false;
}

bool pickle_full(pickle_machine *m)
{
    if (values_too_many(&m->v))
        io_fail(m->error, IO_E_FORMAT, "%s: its pickle makes more than %d values", m->file,
                (int)MOST_VALUES);
    else
        io_fail(m->error, IO_E_NOMEM, "%s: out of memory for its pickle", m->file);
    return false;
}

/* ---- reading ---- */

/* The next n bytes, NULL when the pickle ends before. */
static const unsigned char *take(pickle_machine *m, size_t n)
{
    if ((size_t)(m->end - m->at) < n) return NULL;
    m->at += n;
    return m->at - n;
}

static bool take_number(pickle_machine *m, int n, int64_t *number)
{
    const unsigned char *bytes = take(m, (size_t)n);
    uint64_t bits = 0;
    if (!bytes) return pickle_fail(m, "it ends too early");
    for (int i = n - 1; i >= 0; i--) bits = bits << 8 | bytes[i];
    *number = (int64_t)bits;
    return true;
}

bool pickle_push(pickle_machine *m, int item) { return value_push(&m->v, item) || pickle_full(m); }

bool pickle_push_number(pickle_machine *m, value_kind kind, int64_t number)
{
    const int item = value_new(&m->v, kind);
    if (item) m->v.all[item].number = number;
    return pickle_push(m, item);
}

static bool push_text(pickle_machine *m, const unsigned char *text, int64_t length)
{
    const int item = value_new(&m->v, VALUE_TEXT);
    if (item) m->v.all[item].text = (const char *)text, m->v.all[item].length = (size_t)length;
    return pickle_push(m, item);
}

/* The topmost value; 0 after a sentence. A mark is no value. */
int pickle_pop(pickle_machine *m)
{
    const int item = m->v.n_stack > 0 ? m->v.stack[m->v.n_stack - 1] : 0;
    if (item && m->v.all[item].kind != VALUE_MARK) {
        m->v.n_stack--;
        return item;
    }
    pickle_fail(m, "it takes more than there is");
    return 0;
}

int pickle_top(pickle_machine *m)
{
    const int item = pickle_pop(m);
    if (item) m->v.n_stack++;
    return item;
}

/* Where the values above the topmost mark begin on the stack; -1 after a sentence. */
static int above_mark(pickle_machine *m)
{
    for (int i = m->v.n_stack - 1; i >= 0; i--)
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK) return i + 1;
    pickle_fail(m, "a mark is missing");
    return -1;
}

/* ---- operations ---- */

static bool op_proto(pickle_machine *m, int unused)
{
    int64_t protocol;
    (void)unused;
    if (!take_number(m, 1, &protocol)) return false;
    if (protocol == 2) return true;
    io_fail(m->error, IO_E_FORMAT,
            "%s: pickle protocol %" PRId64 "; torch.save writes 2 unless told otherwise", m->file,
            protocol);
    return false;
}

static bool op_int(pickle_machine *m, int bytes)
{
    int64_t number;
    if (!take_number(m, bytes, &number)) return false;
    return pickle_push_number(m, VALUE_INT, bytes == 4 ? (int32_t)number : number);
}

/* A number, two's complement; `bytes` is the size of its length. One of more than 64 bits is
 * nothing that a tensor needs. */
static bool op_long(pickle_machine *m, int bytes)
{
    int64_t length, number;
    if (!take_number(m, bytes, &length)) return false;
    if (length > 8)
        return take(m, (size_t)length) ? pickle_push_number(m, VALUE_OPAQUE, 0)
                                       : pickle_fail(m, "it ends too early");
    if (!take_number(m, (int)length, &number)) return false;
    const bool negative = length > 0 && length < 8 && (number >> (8 * length - 1) & 1);
    return pickle_push_number(m, VALUE_INT,
                              negative ? number | (int64_t)(UINT64_MAX << (8 * length)) : number);
}

/* Nothing that a tensor needs. */
static bool op_real(pickle_machine *m, int bytes)
{
    if (!take(m, (size_t)bytes)) return pickle_fail(m, "it ends too early");
    return pickle_push_number(m, VALUE_OPAQUE, 0);
}

static bool op_text(pickle_machine *m, int bytes)
{
    int64_t length;
    if (!take_number(m, bytes, &length)) return false;
    const unsigned char *text = take(m, (size_t)length);
    return text ? push_text(m, text, length) : pickle_fail(m, "a text is longer than the pickle");
}

static bool op_put(pickle_machine *m, int bytes)
{
    int64_t index;
    if (!take_number(m, bytes, &index)) return false;
    const int item = pickle_top(m);
    if (!item) return false;
    if (index > m->v.n_memo) return pickle_fail(m, "its memo has gaps");
    return value_remember(&m->v, (int)index, item) || pickle_full(m);
}

static bool op_get(pickle_machine *m, int bytes)
{
    int64_t index;
    if (!take_number(m, bytes, &index)) return false;
    if (index >= m->v.n_memo) return pickle_fail(m, "its memo has no such entry");
    return pickle_push(m, m->v.memo[index]);
}

/* The values from stack position `from` on become a tuple; a mark below them goes, too. */
static bool make_tuple(pickle_machine *m, int from, bool marked)
{
    if (from < 0) return pickle_fail(m, "it takes more than there is");
    const int tuple = value_new(&m->v, VALUE_TUPLE);
    if (!tuple) return pickle_full(m);
    for (int i = from; i < m->v.n_stack; i++) {
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK)
            return pickle_fail(m, "a mark stands in a tuple");
        if (!value_append(&m->v, tuple, m->v.stack[i])) return pickle_full(m);
    }
    m->v.n_stack = marked ? from - 1 : from;
    return pickle_push(m, tuple);
}

static bool op_tuple(pickle_machine *m, int unused)
{
    const int from = above_mark(m);
    (void)unused;
    return from >= 0 && make_tuple(m, from, true);
}

static bool op_short_tuple(pickle_machine *m, int n)
{
    return make_tuple(m, m->v.n_stack - n, false);
}

static bool is_key(const value *v) { return v->kind == VALUE_TEXT || v->kind == VALUE_INT; }

/* The values from stack position `from` on go into the container at `from - below`. */
static bool fill(pickle_machine *m, value_kind kind, int from, int below)
{
    if (from < 0) return pickle_fail(m, "it takes more than there is");
    const int n = m->v.n_stack - from, at = from - below;
    const int container = at >= 0 ? m->v.stack[at] : 0;
    if (m->v.all[container].kind != kind)
        return pickle_fail(m, kind == VALUE_LIST ? "it appends to what is no list"
                                                 : "it sets items of what is no dict");
    if (kind == VALUE_DICT && n % 2 != 0) return pickle_fail(m, "a key has no value");
    for (int i = from; i < m->v.n_stack; i++) {
        if (kind == VALUE_DICT && (i - from) % 2 == 0 && !is_key(&m->v.all[m->v.stack[i]]))
            return pickle_fail(m, "a key is neither text nor number");
        if (m->v.all[m->v.stack[i]].kind == VALUE_MARK)
            return pickle_fail(m, "a mark stands in a container");
        if (!value_append(&m->v, container, m->v.stack[i])) return pickle_full(m);
    }
    m->v.n_stack = at + 1;
    return true;
}

static bool op_append(pickle_machine *m, int unused)
{
    (void)unused;
    return fill(m, VALUE_LIST, m->v.n_stack - 1, 1);
}

static bool op_set_item(pickle_machine *m, int unused)
{
    (void)unused;
    return fill(m, VALUE_DICT, m->v.n_stack - 2, 1);
}

static bool op_fill(pickle_machine *m, int kind)
{
    return fill(m, (value_kind)kind, above_mark(m), 2);
}
static bool op_new(pickle_machine *m, int kind)
{
    return pickle_push(m, value_new(&m->v, (value_kind)kind));
}
static bool op_bool(pickle_machine *m, int truth)
{
    return pickle_push_number(m, VALUE_BOOL, truth);
}

/* The operation and what it is called with: bytes to read, elements to take, a kind. */
static const struct operation {
    bool (*run)(pickle_machine *m, int n);
    int n;
} operations[256] = {
    [0x80] = {op_proto, 0},
    ['N'] = {op_new, VALUE_NONE},
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_int, 1},
    ['M'] = {op_int, 2},
    ['J'] = {op_int, 4},
    [0x8a] = {op_long, 1},
    [0x8b] = {op_long, 4},
    ['G'] = {op_real, 8},
    ['X'] = {op_text, 4},
    ['('] = {op_new, VALUE_MARK},
    [')'] = {op_new, VALUE_TUPLE},
    [']'] = {op_new, VALUE_LIST},
    ['}'] = {op_new, VALUE_DICT},
    ['t'] = {op_tuple, 0},
    [0x85] = {op_short_tuple, 1},
    [0x86] = {op_short_tuple, 2},
    [0x87] = {op_short_tuple, 3},
    ['a'] = {op_append, 0},
    ['e'] = {op_fill, VALUE_LIST},
    ['s'] = {op_set_item, 0},
    ['u'] = {op_fill, VALUE_DICT},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {pickle_global, 0},
    ['Q'] = {pickle_persistent, 0},
    ['R'] = {pickle_reduce, 0},
    ['b'] = {pickle_build, 0},
};

static bool step(pickle_machine *m, unsigned char op)
{
    if (operations[op].run) return operations[op].run(m, operations[op].n);
    io_fail(m->error, IO_E_FORMAT,
            "%s: pickle operation 0x%02x at byte %td is not one that tensors need; "
            "only tensors are read",
            m->file, op, m->at - m->begin - 1);
    return false;
}

/* The value that the pickle leaves; 0 after a sentence. */
static int run(pickle_machine *m)
{
    for (;;) {
        const unsigned char *op = take(m, 1);
        if (!op) return pickle_fail(m, "it ends too early"), 0;
        if (*op == '.') break;
        if (!step(m, *op)) return 0;
    }
    if (m->v.n_stack != 1) return pickle_fail(m, "it leaves more than one value"), 0;
    return pickle_pop(m);
}

static io_code choose(pickle_machine *m, int root, const char *name, pickle_tensor *tensor)
{
    char names[240];
    const bool bare = m->v.all[root].kind == VALUE_TENSOR;
    const int found = bare ? (name ? 0 : root) : name ? value_find(&m->v, root, name) : 0;
    if (found) {
        *tensor = m->v.tensors[m->v.all[found].number];
        return IO_OK;
    }
    if (bare)
        return io_fail(m->error, IO_E_NAME, "%s: holds one tensor without a name, not '%.60s'",
                       m->file, name);
    const char *listed = value_names(&m->v, root, names, sizeof names);
    if (!name)
        return io_fail(m->error, IO_E_NAME, "%s: say which tensor: %s:NAME (it holds %s)", m->file,
                       m->file, listed);
    return io_fail(m->error, IO_E_NAME, "%s: holds no tensor '%.60s' (it holds %s)", m->file, name,
                   listed);
}

io_code pickle_read(const void *bytes, size_t n, const char *file, const char *name,
                    pickle_tensor *tensor, io_error *error)
{
    const unsigned char *begin = n > 0 ? bytes : (const unsigned char *)"";
    pickle_machine m = {
        .begin = begin, .at = begin, .end = begin + n, .file = file, .error = error};
    if (n > PICKLE_LONGEST)
        return io_fail(error, IO_E_FORMAT, "%s: its pickle has more than %d bytes", file,
                       (int)PICKLE_LONGEST);
    error->code = IO_E_FORMAT;
    int root = 0;
    if (values_init(&m.v))
        root = run(&m);
    else
        pickle_full(&m);
    const io_code code = root ? choose(&m, root, name, tensor) : error->code;
    values_free(&m.v);
    return code;
}
