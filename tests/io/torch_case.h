/* SPDX-License-Identifier: Apache-2.0 */
/* torch_case.h — pickles put together by hand, as torch.save() of version 2 writes them, and the
 * archives around them. */
#ifndef FATTN_TESTS_TORCH_CASE_H
#define FATTN_TESTS_TORCH_CASE_H

#include "io_case.h"

#include <zip.h>

typedef struct pickle_text {
    unsigned char bytes[8192];
    size_t n;
} pickle_text;

static inline void put_bytes(pickle_text *p, const void *bytes, size_t n)
{
    assert_true(p->n + n <= sizeof p->bytes);
    memcpy(p->bytes + p->n, bytes, n);
    p->n += n;
}

static inline void put_op(pickle_text *p, int op)
{
    const unsigned char byte = (unsigned char)op;
    put_bytes(p, &byte, 1);
}

static inline void put_little(pickle_text *p, uint64_t number, int n)
{
    for (int i = 0; i < n; i++) put_op(p, (int)(number >> (8 * i) & 0xff));
}

static inline void put_begin(pickle_text *p)
{
    p->n = 0;
    put_bytes(p, "\x80\x02", 2);
}

static inline void put_name(pickle_text *p, const char *text)
{
    put_op(p, 'X');
    put_little(p, strlen(text), 4);
    put_bytes(p, text, strlen(text));
}

/* LONG1 of 8 bytes: any number. */
static inline void put_int(pickle_text *p, int64_t number)
{
    put_op(p, 0x8a);
    put_op(p, 8);
    put_little(p, (uint64_t)number, 8);
}

static inline void put_global(pickle_text *p, const char *module, const char *name)
{
    put_op(p, 'c');
    put_bytes(p, module, strlen(module));
    put_op(p, '\n');
    put_bytes(p, name, strlen(name));
    put_op(p, '\n');
}

/* torch.CLASS over data/KEY */
static inline void put_storage(pickle_text *p, const char *module, const char *class,
                               const char *key, int64_t elements)
{
    put_op(p, '(');
    put_name(p, "storage");
    put_global(p, module, class);
    put_name(p, key);
    put_name(p, "cpu");
    put_int(p, elements);
    put_bytes(p, "tQ", 2);
}

static inline void put_extents(pickle_text *p, int n, const int64_t *extents)
{
    put_op(p, '(');
    for (int i = 0; i < n; i++) put_int(p, extents[i]);
    put_op(p, 't');
}

typedef struct made_tensor {
    const char *class, *key; /* "FloatStorage", "0" */
    int64_t elements, offset;
    int rank;
    int64_t shape[9], strides[9];
} made_tensor;

static inline void put_tensor(pickle_text *p, made_tensor t)
{
    put_global(p, "torch._utils", "_rebuild_tensor_v2");
    put_op(p, '(');
    put_storage(p, "torch", t.class, t.key, t.elements);
    put_int(p, t.offset);
    put_extents(p, t.rank, t.shape);
    put_extents(p, t.rank, t.strides);
    put_op(p, 0x89);
    put_global(p, "collections", "OrderedDict");
    put_bytes(p, ")RtR", 4);
}

/* An entry of an archive that is being written. */
static inline void add_entry(zip_t *zip, const char *name, const void *bytes, size_t n, int method)
{
    zip_source_t *source = zip_source_buffer(zip, bytes, n, 0);
    assert_non_null(source);
    const zip_int64_t index = zip_file_add(zip, name, source, 0);
    assert_true(index >= 0);
    assert_int_equal(zip_set_file_compression(zip, (zip_uint64_t)index, method, 0), 0);
}

/* PREFIX/data.pkl, PREFIX/byteorder ("" = none) and PREFIX/data/0 into the file. */
static inline void write_torch(const char *path, const pickle_text *p, const void *storage,
                               size_t n, const char *byteorder, int method)
{
    int why = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &why);
    assert_non_null(zip);
    add_entry(zip, "archive/data.pkl", p->bytes, p->n, method);
    if (byteorder[0])
        add_entry(zip, "archive/byteorder", byteorder, strlen(byteorder), ZIP_CM_STORE);
    if (storage) add_entry(zip, "archive/data/0", storage, n, method);
    add_entry(zip, "archive/version", "3\n", 2, ZIP_CM_STORE);
    assert_int_equal(zip_close(zip), 0);
}

#endif
