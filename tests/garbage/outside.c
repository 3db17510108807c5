/* SPDX-License-Identifier: Apache-2.0 */
/* outside.c — makes files and lines, damages them and reads them. */
#include "garbage/outside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/element.h"
#include "io/npy.h"
#include "io/pickle.h"
#include "io/safetensors.h"
#include "io/torchzip.h"
#include "tools/problem_line.h"

static char why[1200];

static const char *wrong(const char *what, const char *detail)
{
    snprintf(why, sizeof why, "%.300s: %.800s", what, detail);
    return why;
}

/* ---- files ------------------------------------------------------------------------------------
 */

static const char *const npy_headers[] = {
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }",
    "{'descr': '<f2', 'fortran_order': True, 'shape': (2, 3, 4), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (7,), }",
    "{'descr': '|b1', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<V2', 'fortran_order': False, 'shape': (0, 5), }",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (5, 2), }",
};
enum { NPYS = sizeof npy_headers / sizeof npy_headers[0] };
static const int npy_bytes[NPYS] = {48, 48, 56, 1, 0, 20};

static const char *const safetensors_headers[] = {
    "{\"q\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]}}",
    ("{\"__metadata__\":{\"a\":\"b\"},\"q\":{\"dtype\":\"BF16\",\"shape\":[2,3],"
     "\"data_offsets\":[0,12]},\"k\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[12,28]}}"),
    "{\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[0,4],\"data_offsets\":[0,0]}}",
};
enum { SAFETENSORS = sizeof safetensors_headers / sizeof safetensors_headers[0] };
static const int safetensors_bytes[SAFETENSORS] = {48, 28, 0};

/* {'q': the tensor of 3 x 4 floats in storage 0}, as torch.save() says it */
static const char pickle[] = "\x80\2}q\0X\1\0\0\0qctorch._utils\n_rebuild_tensor_v2\n(("
                             "X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"
                             "0X\3\0\0\0cpuK\14tQK\0K\3K\4\x86K\4K\1\x86\x89"
                             "ccollections\nOrderedDict\n)RtRs.";
enum { PICKLE = sizeof pickle - 1, STORAGE = 48 };

int outside_files(void)
{
    return NPYS + 1 + (safetensors_available() ? SAFETENSORS : 0) + (torchzip_available() ? 1 : 0);
}

outside_kind outside_kind_of(int which)
{
    if (which < NPYS) return OUTSIDE_NPY;
    if (which == NPYS) return OUTSIDE_PICKLE;
    return safetensors_available() && which <= NPYS + SAFETENSORS ? OUTSIDE_SAFETENSORS
                                                                  : OUTSIDE_TORCH;
}

static size_t add(unsigned char *out, size_t at, const void *bytes, size_t n)
{
    memcpy(out + at, bytes, n);
    return at + n;
}

static size_t add_data(unsigned char *out, size_t at, int n)
{
    for (int i = 0; i < n; i++) out[at++] = (unsigned char)(17 * i + 1);
    return at;
}

/* ---- a zip archive of stored entries ---- */

static uint32_t crc_of(const unsigned char *bytes, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static size_t add_little(unsigned char *out, size_t at, uint64_t number, int n)
{
    for (int i = 0; i < n; i++) out[at++] = (unsigned char)(number >> (8 * i));
    return at;
}

typedef struct zip_entry {
    const char *name;
    const unsigned char *bytes;
    size_t n, place;
} zip_entry;

/* From "version needed" to the name's length: the same in both headers. */
static size_t add_about(unsigned char *out, size_t at, const zip_entry *e)
{
    at = add_little(out, at, 20, 2);
    at = add_little(out, at, 0, 8); /* flags, method, time, date */
    at = add_little(out, at, crc_of(e->bytes, e->n), 4);
    at = add_little(out, at, (uint32_t)e->n, 4);
    at = add_little(out, at, (uint32_t)e->n, 4);
    return add_little(out, at, (uint32_t)strlen(e->name), 2);
}

static size_t torch_file(unsigned char *out)
{
    unsigned char storage[STORAGE];
    add_data(storage, 0, STORAGE);
    zip_entry entries[] = {{"a/data.pkl", (const unsigned char *)pickle, PICKLE, 0},
                           {"a/byteorder", (const unsigned char *)"little", 6, 0},
                           {"a/data/0", storage, STORAGE, 0}};
    enum { N = sizeof entries / sizeof *entries };
    size_t at = 0;
    for (int i = 0; i < N; i++) {
        entries[i].place = at;
        at = add_about(out, add(out, at, "PK\3\4", 4), &entries[i]);
        at = add(out, add_little(out, at, 0, 2), entries[i].name, strlen(entries[i].name));
        at = add(out, at, entries[i].bytes, entries[i].n);
    }
    const size_t directory = at;
    for (int i = 0; i < N; i++) {
        at = add_about(out, add_little(out, add(out, at, "PK\1\2", 4), 20, 2), &entries[i]);
        for (int k = 0; k < 12; k++) out[at++] = 0; /* extra, comment, disk, attributes */
        at = add_little(out, at, (uint32_t)entries[i].place, 4);
        at = add(out, at, entries[i].name, strlen(entries[i].name));
    }
    const size_t length = at - directory;
    at = add_little(out, add(out, at, "PK\5\6", 4), 0, 4);
    at = add_little(out, add_little(out, at, N, 2), N, 2);
    at = add_little(out, add_little(out, at, (uint32_t)length, 4), (uint32_t)directory, 4);
    return add_little(out, at, 0, 2);
}

size_t outside_file(int which, unsigned char *out)
{
    const outside_kind kind = outside_kind_of(which);
    if (kind == OUTSIDE_PICKLE) return add(out, 0, pickle, PICKLE);
    if (kind == OUTSIDE_TORCH) return torch_file(out);
    if (kind == OUTSIDE_NPY) {
        const char *header = npy_headers[which];
        const size_t text = strlen(header) + 1, room = (10 + text + 63) / 64 * 64;
        const unsigned char version[] = {
            0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)(room - 10), 0};
        memset(out, ' ', room);
        add(out, add(out, 0, version, sizeof version), header, text - 1);
        out[room - 1] = '\n';
        return add_data(out, room, npy_bytes[which]);
    }
    const char *header = safetensors_headers[which - NPYS - 1];
    const unsigned char length[8] = {(unsigned char)strlen(header)};
    const size_t at = add(out, add(out, 0, length, 8), header, strlen(header));
    return add_data(out, at, safetensors_bytes[which - NPYS - 1]);
}

size_t outside_edit(unsigned char *bytes, size_t n, source *s)
{
    static const char *const words[] = {"9223372036854775807",
                                        "-1",
                                        "0",
                                        "(",
                                        ")",
                                        "'",
                                        "\"",
                                        "{",
                                        "}",
                                        "[",
                                        "]",
                                        ",",
                                        "99999999999999999999999",
                                        "4294967296",
                                        " ",
                                        "=",
                                        "\xff",
                                        "f16",
                                        "bool",
                                        "*",
                                        ".",
                                        "e",
                                        "1",
                                        "None",
                                        "NaN"};
    const size_t at = n ? (size_t)source_pick(s, 4096) % n : 0;
    const int how = source_pick(s, 6);
    const char *word = words[source_pick(s, (int)(sizeof words / sizeof words[0]))];
    const size_t length = strlen(word), some = (size_t)source_pick(s, 12);
    if (how == 0 && n) bytes[at] = (unsigned char)source_bits(s, 1);
    if (how == 1 && n) bytes[at] ^= (unsigned char)(1 << some % 8);
    if (how == 2) return at; /* cut off */
    if (how == 3 && n) {     /* drop some bytes */
        const size_t gone = some < n - at ? some : n - at;
        memmove(bytes + at, bytes + at + gone, n - at - gone);
        return n - gone;
    }
    if (how >= 4 && n + length < OUTSIDE_ROOM) { /* a word between, or over what is there */
        const size_t over = how == 5 ? (length < n - at ? length : n - at) : 0;
        memmove(bytes + at + length, bytes + at + over, n - at - over);
        memcpy(bytes + at, word, length);
        return n + length - over;
    }
    return n;
}

/* Every element is there to be read. */
static const char *judge_tensor(io_tensor *t)
{
    int64_t count;
    if (t->t.rank < 0 || t->t.rank > FATTN_MAX_RANK)
        return wrong("a tensor was read", "its rank is wrong");
    if (!io_count(t->t.rank, t->t.shape, &count))
        return wrong("a tensor was read", "its shape is wrong");
    if (count > OUTSIDE_ROOM * 8) return wrong("a tensor was read", "it is larger than the file");
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += io_get(t->t.data, t->t.dtype, io_offset(&t->t, i));
    volatile double kept = sum;
    (void)kept;
    io_tensor_free(t);
    return NULL;
}

static const char *judge_error(io_code code, const io_error *error)
{
    if (code < IO_OK || code > IO_E_MISSING) return wrong("no such code", error->message);
    if (error->code != code || !error->message[0])
        return wrong("an error without a sentence", error->message);
    return NULL;
}

static const char *judge_npy(const unsigned char *bytes, size_t n, fattn_dtype as, bool *good)
{
    io_error error = {.message = ""};
    io_tensor t;
    unsigned char *own = io_memory(n);
    if (!own) return NULL;
    if (n) memcpy(own, bytes, n);
    const io_code code = npy_parse(own, n, as, &t, &error);
    *good = code == IO_OK;
    return *good ? judge_tensor(&t) : judge_error(code, &error);
}

static const char *judge_one(const char *path, const char *name, fattn_dtype as, bool *good)
{
    io_error error = {.message = ""};
    io_tensor t;
    const io_code code = safetensors_read(path, name, as, &t, &error);
    *good &= code == IO_OK;
    return code == IO_OK ? judge_tensor(&t) : judge_error(code, &error);
}

static const char *judge_names(const char *path, fattn_dtype as, bool *good)
{
    io_error error = {.message = ""};
    char **names;
    int n_names;
    const io_code code = safetensors_names(path, &names, &n_names, &error);
    if (code != IO_OK) return judge_error(code, &error);
    const char *bad = NULL;
    *good = true; /* when every tensor is */
    for (int i = 0; i < n_names; i++) {
        if (!bad) bad = judge_one(path, names[i], as, good);
        free(names[i]);
    }
    free(names);
    return bad;
}

/* The readers take a path: the bytes lie in a file without a name. */
static bool spill(const unsigned char *bytes, size_t n, char *path, size_t room)
{
    static int file = -1;
    if (file < 0) file = memfd_create("outside", 0);
    if (file < 0 || ftruncate(file, 0) || pwrite(file, bytes, n, 0) != (ssize_t)n) return false;
    snprintf(path, room, "/proc/self/fd/%d", file);
    return true;
}

static const char *judge_safetensors(const unsigned char *bytes, size_t n, fattn_dtype as,
                                     bool *good)
{
    char path[64];
    if (!spill(bytes, n, path, sizeof path)) return NULL;
    const char *bad = judge_names(path, as, good);
    return bad ? bad : judge_one(path, "q", as, good);
}

/* A stride of 0 may make a tensor of any size from a few bytes: only its first and last elements
 * are read. */
static const char *judge_torch(const unsigned char *bytes, size_t n, fattn_dtype as, bool *good)
{
    char path[64];
    io_error error = {.message = ""};
    io_tensor t;
    int64_t count;
    if (!spill(bytes, n, path, sizeof path)) return NULL;
    const io_code code = torchzip_read(path, "q", as, &t, &error);
    *good = code == IO_OK;
    if (!*good) return judge_error(code, &error);
    if (io_count(t.t.rank, t.t.shape, &count) && count <= OUTSIDE_ROOM) return judge_tensor(&t);
    volatile double ends = io_get(t.t.data, t.t.dtype, 0);
    ends = ends + io_get(t.t.data, t.t.dtype, io_offset(&t.t, count - 1));
    io_tensor_free(&t);
    return NULL;
}

static const char *judge_pickle(const unsigned char *bytes, size_t n, bool *good)
{
    io_error error = {.message = ""};
    pickle_tensor t;
    const io_code bare = pickle_read(bytes, n, "pickle", NULL, &t, &error);
    const char *bad = bare == IO_OK ? NULL : judge_error(bare, &error);
    const io_code code = pickle_read(bytes, n, "pickle", "q", &t, &error);
    *good = code == IO_OK;
    if (!bad && !*good) bad = judge_error(code, &error);
    if (!*good) return bad;
    int64_t count, last = t.offset;
    if (!io_count(t.rank, t.shape, &count))
        return wrong("a tensor was described", "its shape is wrong");
    for (int i = 0; i < t.rank && count > 0; i++) last += (t.shape[i] - 1) * t.strides[i];
    if (count > 0 && (t.offset < 0 || last >= t.elements))
        return wrong("a tensor was described", "it is not inside its storage");
    return bad;
}

const char *outside_judge_file(outside_kind kind, const unsigned char *bytes, size_t n,
                               fattn_dtype as, bool *good)
{
    *good = false;
    switch (kind) {
    case OUTSIDE_NPY:
        return judge_npy(bytes, n, as, good);
    case OUTSIDE_PICKLE:
        return judge_pickle(bytes, n, good);
    case OUTSIDE_SAFETENSORS:
        return judge_safetensors(bytes, n, as, good);
    default:
        return judge_torch(bytes, n, as, good);
    }
}

/* ---- problem lines ----------------------------------------------------------------------------
 */

static bool small_tensor(const fattn_tensor *t)
{
    int64_t count, reach = 0;
    if (!io_count(t->rank, t->shape, &count) || count > 20000) return false;
    for (int i = 0; i < t->rank; i++) {
        int64_t axis;
        if (__builtin_mul_overflow(t->shape[i], t->strides[i], &axis) || axis > 100000 ||
            axis < -100000)
            return false;
        reach += axis < 0 ? -axis : axis;
    }
    return reach < 200000;
}

static bool small_line(const problem_line *line)
{
    int n = 0;
    for (const line_tensor *t = line->tensors; t; t = t->next)
        if (!small_tensor(&t->t) || n++ > 64) return false;
    return true;
}

/* Prints, parses that, prints again: the same text. */
static const char *judge_print(const problem_line *line)
{
    line_error error = {.text = ""};
    char *once = line_print(line);
    if (!once) return wrong("no text", "line_print");
    problem_line *again = line_parse(once, &error);
    char *twice = again ? line_print(again) : NULL;
    const char *bad = NULL;
    if (!again)
        bad = wrong(error.text, once);
    else if (!twice || strcmp(once, twice) != 0)
        bad = wrong("printed twice differently", once);
    line_destroy(again);
    free(twice);
    free(once);
    return bad;
}

static const char *judge_call(problem_line *line, fattn_context *context)
{
    line_error error = {.text = ""};
    if (!line_fill(line, &error)) return error.text[0] ? NULL : wrong("line_fill", "no sentence");
    fattn_tensor shapes[FATTN_MAX_RANK];
    if (line->op->n_outputs && line->op->shapes(context, line->args, shapes) != FATTN_OK)
        return fattn_error_message()[0] ? NULL : wrong("shapes", "no sentence");
    for (int i = 0; i < line->op->n_outputs; i++)
        if (!small_tensor(&shapes[i])) return NULL;
    const fattn_status status = line_call(line, context);
    return status == FATTN_OK || fattn_error_message()[0] ? NULL : wrong("call", "no sentence");
}

static fattn_context *lonely_context(void)
{
    static fattn_context *context;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 1;
    if (!context && fattn_context_create(&context, &options) != FATTN_OK) abort();
    return context;
}

const char *outside_judge_line(const char *text, bool *good)
{
    line_error error = {.position = -1, .text = ""};
    problem_line *line = line_parse(text, &error);
    *good = line != NULL;
    if (!line) {
        if (!error.text[0]) return wrong("refused without a sentence", text);
        if (error.position < 0 || error.position > (int)strlen(text) + 1)
            return wrong("the position is outside the line", error.text);
        return NULL;
    }
    const char *bad = judge_print(line);
    if (!bad && small_line(line)) bad = judge_call(line, lonely_context());
    line_destroy(line);
    return bad;
}
