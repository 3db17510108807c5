/* SPDX-License-Identifier: Apache-2.0 */
/* npy.c — "\x93NUMPY", version, header length, a Python dictionary, the elements.
 *
 * The dictionary is {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } with the keys in
 * any order; everything else NumPy can write there (structures, objects, big endian) is refused by
 * name. */
#include "npy.h"

#include "stored.h"
#include "writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct npy_header {
    char descr[16];
    bool fortran;
    int rank;
    int64_t shape[FATTN_MAX_RANK];
    unsigned seen; /* bit per key */
} npy_header;

enum { SEEN_DESCR = 1, SEEN_ORDER = 2, SEEN_SHAPE = 4, SEEN_ALL = 7 };

/* Element types without their byte order. */
static const io_stored types[] = {
    {"f2", FATTN_F16, 2, false},       {"f4", FATTN_F32, 4, false},
    {"f8", FATTN_F64, 8, false},       {"i1", FATTN_I8, 1, false},
    {"i4", FATTN_I32, 4, false},       {"i8", FATTN_I64, 8, false},
    {"u1", FATTN_U8, 1, true},         {"b1", FATTN_BOOL, 1, true},
    {"V1", FATTN_DTYPE_NONE, 1, true}, {"u2", FATTN_DTYPE_NONE, 2, true},
    {"i2", FATTN_DTYPE_NONE, 2, true}, {"V2", FATTN_DTYPE_NONE, 2, true},
    {"u4", FATTN_DTYPE_NONE, 4, true}, {"V4", FATTN_DTYPE_NONE, 4, true},
    {"u8", FATTN_DTYPE_NONE, 8, true},
};

/* What is left of the header text. */
typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_spaces(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\t')) c->at++;
}

static bool take_char(cursor *c, char wanted)
{
    skip_spaces(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

static bool take_word(cursor *c, const char *word)
{
    const size_t n = strlen(word);
    skip_spaces(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
    c->at += n;
    return true;
}

/* 'text' or "text", without escapes, into out[room]. */
static bool take_string(cursor *c, char *out, size_t room)
{
    skip_spaces(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"')) return false;
    const char quote = *c->at++;
    size_t n = 0;
    for (; c->at < c->end && *c->at != quote; c->at++) {
        if (n + 1 == room || *c->at == '\\' || *c->at == '\0') return false;
        out[n++] = *c->at;
    }
    out[n] = '\0';
    return c->at++ < c->end;
}

static bool take_number(cursor *c, int64_t *value)
{
    skip_spaces(c);
    const char *start = c->at;
    *value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, *c->at - '0', value))
            return false;
    if (c->at == start) return false;
    if (c->at < c->end && *c->at == 'L') c->at++; /* Python 2 wrote 3L */
    return true;
}

/* (), (3,), (3, 4) */
static bool take_shape(cursor *c, npy_header *h)
{
    if (!take_char(c, '(')) return false;
    for (h->rank = 0; !take_char(c, ')'); h->rank++) {
        if (h->rank == FATTN_MAX_RANK || !take_number(c, &h->shape[h->rank])) return false;
        if (!take_char(c, ',')) {
            h->rank++;
            return take_char(c, ')');
        }
    }
    return true;
}

static bool take_entry(cursor *c, npy_header *h)
{
    char key[32];
    if (!take_string(c, key, sizeof key) || !take_char(c, ':')) return false;
    unsigned bit = 0;
    if (strcmp(key, "descr") == 0) {
        bit = SEEN_DESCR;
        if (!take_string(c, h->descr, sizeof h->descr)) return false;
    } else if (strcmp(key, "fortran_order") == 0) {
        bit = SEEN_ORDER;
        h->fortran = take_word(c, "True");
        if (!h->fortran && !take_word(c, "False")) return false;
    } else if (strcmp(key, "shape") == 0) {
        bit = SEEN_SHAPE;
        if (!take_shape(c, h)) return false;
    }
    const bool first = bit != 0 && !(h->seen & bit);
    h->seen |= bit;
    return first;
}

static bool take_dictionary(cursor *c, npy_header *h)
{
    if (!take_char(c, '{')) return false;
    while (!take_char(c, '}')) {
        if (!take_entry(c, h)) return false;
        if (!take_char(c, ',')) {
            if (!take_char(c, '}')) return false;
            break;
        }
    }
    skip_spaces(c);
    return c->at == c->end && h->seen == SEEN_ALL;
}

static const io_stored *type_of(const char *descr)
{
    if (descr[0] == '<' || descr[0] == '|' || descr[0] == '=') descr++;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, descr) == 0) return &types[i];
    return NULL;
}

/* Where the header text lies: [*begin, *begin + *length), which may be beyond the n bytes. */
static bool find_header(const unsigned char *bytes, size_t n, size_t *begin, size_t *length)
{
    if (n < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) return false;
    const unsigned version = bytes[6];
    if (version < 1 || version > 3) return false;
    *begin = version == 1 ? 10 : 12;
    if (n < *begin) return false;
    *length = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (version > 1) *length |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    return true;
}

static void set_fortran(fattn_tensor *t, int64_t count)
{
    int64_t stride = 1;
    for (int i = 0; i < t->rank && count > 0; i++) {
        t->strides[i] = stride;
        stride *= t->shape[i];
    }
}

/* What a header promises. */
typedef struct npy_layout {
    npy_header h;
    const io_stored *stored;
    int64_t count;
    size_t bytes; /* of the elements */
} npy_layout;

static io_code no_npy(const char *path, size_t n, io_error *error)
{
    return io_fail(error, IO_E_FORMAT,
                   "%s: not a .npy file of version 1 to 3, or truncated in its header (%zu bytes)",
                   path, n);
}

static io_code read_layout(const char *path, const char *text, size_t length, npy_layout *l,
                           io_error *error)
{
    *l = (npy_layout){.h.seen = 0};
    cursor c = {text, text + length};
    if (!take_dictionary(&c, &l->h))
        return io_fail(
            error, IO_E_FORMAT,
            "%s: the .npy header is damaged, or describes a structure or more than %d axes", path,
            (int)FATTN_MAX_RANK);
    l->stored = type_of(l->h.descr);
    if (!l->stored)
        return io_fail(
            error, IO_E_DTYPE,
            "%s: element type '%s' is not one of <f2 <f4 <f8 |i1 <i4 <i8 |u1 |b1 (or <u2 V2 "
            "V1 <u4 with a dtype)",
            path, l->h.descr);
    if (io_count(l->h.rank, l->h.shape, &l->count) &&
        !__builtin_mul_overflow((size_t)l->count, l->stored->size, &l->bytes) &&
        l->bytes < PTRDIFF_MAX)
        return IO_OK;
    return io_fail(error, IO_E_FORMAT, "%s: the shape in the header is larger than any memory",
                   path);
}

/* `left` bytes at `data`, within tensor->memory, follow the header. */
static io_code take_elements(const char *path, const npy_layout *l, char *data, size_t left,
                             fattn_dtype as, io_tensor *tensor, io_error *error)
{
    if (left != l->bytes)
        return io_fail(error, IO_E_FORMAT,
                       "%s: %s%zu bytes follow the header, but its shape makes %zu", path,
                       left > l->bytes ? "at least " : "", left, l->bytes);
    tensor->t = io_contiguous(data, l->stored->dtype, l->h.rank, l->h.shape);
    if (l->h.fortran) set_fortran(&tensor->t, l->count);
    return io_take(tensor, l->stored, as, path, error);
}

/* tensor->memory is the file; the caller frees it on failure. */
static io_code parse(size_t n, fattn_dtype as, io_tensor *tensor, io_error *error)
{
    static const char path[] = "(memory)";
    char *bytes = tensor->memory;
    npy_layout l;
    size_t begin, length;
    if (!find_header((const unsigned char *)bytes, n, &begin, &length) || length > n - begin)
        return no_npy(path, n, error);
    const io_code code = read_layout(path, bytes + begin, length, &l, error);
    if (code != IO_OK) return code;
    const size_t left = n - begin - length;
    /* A header of odd length (no writer makes one) would leave the elements unaligned. */
    char *data = bytes + begin + length;
    if ((begin + length) % 8 != 0) data = memmove(bytes, data, left);
    return take_elements(path, &l, data, left, as, tensor, error);
}

io_code npy_parse(void *bytes, size_t n, fattn_dtype as, io_tensor *tensor, io_error *error)
{
    *tensor = (io_tensor){.memory = bytes};
    const io_code code = parse(n, as, tensor, error);
    if (code != IO_OK) io_tensor_free(tensor);
    return code;
}

/* The header of an open file, which then stands at the elements. */
static io_code read_header(FILE *file, const char *path, npy_layout *l, io_error *error)
{
    enum { LONGEST = 1 << 20 }; /* a header is a hundred letters; this much is none */
    unsigned char first[12];
    size_t begin, length, n = fread(first, 1, 10, file);
    if (n == 10 && first[6] > 1) n += fread(first + 10, 1, 2, file);
    if (ferror(file))
        return io_fail(error, IO_E_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (!find_header(first, n, &begin, &length)) return no_npy(path, n, error);
    if (length == 0 || length > LONGEST)
        return io_fail(error, IO_E_FORMAT, "%s: the .npy header is damaged: it has %zu bytes", path,
                       length);
    void *text;
    io_code code = io_read_stream(file, length, path, &text, &n, error);
    if (code != IO_OK) return code;
    code = n == length ? read_layout(path, text, n, l, error) : no_npy(path, begin + n, error);
    free(text);
    return code;
}

/* No more is read than the header promises, and one byte that must not be there. */
static io_code read_file(FILE *file, const char *path, fattn_dtype as, io_tensor *tensor,
                         io_error *error)
{
    npy_layout l;
    size_t n;
    io_code code = read_header(file, path, &l, error);
    if (code == IO_OK) code = io_read_stream(file, l.bytes + 1, path, &tensor->memory, &n, error);
    if (code == IO_OK) code = take_elements(path, &l, tensor->memory, n, as, tensor, error);
    return code;
}

io_code npy_read(const char *path, fattn_dtype as, io_tensor *tensor, io_error *error)
{
    *tensor = (io_tensor){.memory = NULL};
    FILE *file = fopen(path, "rb");
    if (!file) return io_fail(error, IO_E_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    const io_code code = read_file(file, path, as, tensor, error);
    fclose(file);
    if (code != IO_OK) io_tensor_free(tensor);
    return code;
}

static const char *descr_of(fattn_dtype dtype)
{
    switch (dtype) {
    case FATTN_F64:
        return "<f8";
    case FATTN_F32:
        return "<f4";
    case FATTN_F16:
        return "<f2";
    case FATTN_BF16:
        return "<u2";
    case FATTN_I64:
        return "<i8";
    case FATTN_I32:
    case FATTN_I4:
        return "<i4";
    case FATTN_I8:
        return "|i1";
    case FATTN_BOOL:
        return "|b1";
    default:
        return "|u1";
    }
}

/* Magic, version 1.0, length and dictionary, padded with spaces to a multiple of 64 and ended by a
 * newline, as numpy.lib.format asks. Returns the length. */
static size_t make_header(char *out, size_t room, const fattn_tensor *t)
{
    int n = 10 + snprintf(out + 10, room - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                          descr_of(t->dtype));
    for (int i = 0; i < t->rank; i++)
        n += snprintf(out + n, room - (size_t)n, "%s%lld%s", i ? ", " : "", (long long)t->shape[i],
                      t->rank == 1 ? "," : "");
    n += snprintf(out + n, room - (size_t)n, "), }");
    const size_t whole = ((size_t)n + 1 + 63) / 64 * 64;
    memset(out + n, ' ', whole - (size_t)n);
    out[whole - 1] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)((whole - 10) & 255);
    out[9] = (char)((whole - 10) >> 8);
    return whole;
}

io_code npy_write(const char *path, const fattn_tensor *tensor, io_error *error)
{
    char header[512]; /* 8 extents of 20 digits and the words around them stay below 384 */
    io_writer writer;
    const size_t length = make_header(header, sizeof header, tensor);
    io_code code = io_writer_open(&writer, path, error);
    if (code == IO_OK) code = io_writer_put(&writer, header, length, error);
    if (code == IO_OK) code = io_writer_tensor(&writer, tensor, error);
    return io_writer_close(&writer, code, error);
}
