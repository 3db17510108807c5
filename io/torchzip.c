/* SPDX-License-Identifier: Apache-2.0 */
/* torchzip.c — PREFIX/data.pkl, PREFIX/data/KEY for every storage, PREFIX/byteorder; PREFIX is the
 * archive's own name. libzip checks the archive and the sums of the bytes; sizes are checked
 * against the file here. */
#include "torchzip.h"

#include "pickle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { LONGEST_NAME = 512 };

typedef struct archive {
    const char *path;
    zip_t *zip;
    uint64_t file_bytes;
    char prefix[LONGEST_NAME]; /* with its slash */
} archive;

bool torchzip_available(void) { return true; }

static io_code damaged(const archive *a, const char *what, io_error *error)
{
    return io_fail(error, IO_E_FORMAT, "%s: not a file of torch.save, or damaged: %s", a->path,
                   what);
}

/* Is it a zip at all, and how long; the sentences are better than libzip's. */
static io_code look(archive *a, io_error *error)
{
    static const char old[] =
        "no zip archive; torch before 1.6 wrote others: load and save it again";
    char first[4] = {0};
    FILE *file = fopen(a->path, "rb");
    if (!file)
        return io_fail(error, IO_E_FILE, "%s: cannot be opened: %s", a->path, strerror(errno));
    const size_t n = fread(first, 1, 4, file);
    const off_t end = fseeko(file, 0, SEEK_END) == 0 ? ftello(file) : -1;
    fclose(file);
    if (end < 0)
        return io_fail(error, IO_E_FILE, "%s: cannot be read: %s", a->path, strerror(errno));
    a->file_bytes = (uint64_t)end;
    return n == 4 && memcmp(first, "PK\3\4", 4) == 0 ? IO_OK : damaged(a, old, error);
}

/* PREFIX/data.pkl gives the prefix. */
static io_code find_prefix(archive *a, io_error *error)
{
    static const char ending[] = "/data.pkl";
    const zip_int64_t n = zip_get_num_entries(a->zip, 0);
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(a->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const char *slash = name ? strchr(name, '/') : NULL;
        if (!slash || strcmp(slash, ending) != 0) continue;
        const size_t length = (size_t)(slash - name) + 1;
        if (length >= sizeof a->prefix) return damaged(a, "its names are too long", error);
        memcpy(a->prefix, name, length);
        return IO_OK;
    }
    return damaged(a, "there is no data.pkl in it", error);
}

static io_code archive_open(archive *a, const char *path, io_error *error)
{
    *a = (archive){.path = path};
    const io_code code = look(a, error);
    if (code != IO_OK) return code;
    int why = 0;
    a->zip = zip_open(path, ZIP_RDONLY, &why);
    if (a->zip) return find_prefix(a, error);
    zip_error_t said;
    zip_error_init_with_code(&said, why);
    damaged(a, zip_error_strerror(&said), error);
    zip_error_fini(&said);
    return IO_E_FORMAT;
}

/* All bytes of an open entry; the read behind the end makes libzip compare its sum. */
static bool read_all(zip_file_t *entry, void *bytes, uint64_t n)
{
    uint64_t used = 0;
    char behind;
    while (used < n) {
        const zip_int64_t got = zip_fread(entry, (char *)bytes + used, n - used);
        if (got <= 0) return false;
        used += (uint64_t)got;
    }
    return zip_fread(entry, &behind, 1) == 0;
}

/* PREFIX/NAME into memory; *n = 0 and no memory when there is none. */
static io_code read_entry(const archive *a, const char *name, void **bytes, size_t *n,
                          io_error *error)
{
    char whole[LONGEST_NAME + PICKLE_KEY + 16];
    zip_stat_t about;
    *bytes = NULL;
    *n = 0;
    snprintf(whole, sizeof whole, "%s%s", a->prefix, name);
    if (zip_stat(a->zip, whole, ZIP_FL_ENC_RAW, &about) != 0) return IO_OK;
    const zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_INDEX;
    if ((about.valid & wanted) != wanted || about.size > a->file_bytes)
        return damaged(a, "an entry is longer than the file", error);
    if (about.comp_method != ZIP_CM_STORE)
        return damaged(a, "its entries are compressed; torch stores them", error);
    *bytes = io_memory((size_t)about.size);
    if (!*bytes)
        return io_fail(error, IO_E_NOMEM, "%s: out of memory for %llu bytes", a->path,
                       (unsigned long long)about.size);
    *n = (size_t)about.size;
    zip_file_t *entry = zip_fopen_index(a->zip, about.index, 0);
    const bool good = entry && read_all(entry, *bytes, about.size);
    if (entry) zip_fclose(entry);
    return good ? IO_OK : damaged(a, "an entry cannot be read, or its sum is wrong", error);
}

/* Absent in files of old versions, which were little endian where anybody had them. */
static io_code check_byteorder(const archive *a, io_error *error)
{
    void *order;
    size_t n;
    io_code code = read_entry(a, "byteorder", &order, &n, error);
    if (code == IO_OK && n > 0 && (n != 6 || memcmp(order, "little", 6) != 0))
        code = io_fail(error, IO_E_FORMAT,
                       "%s: was written on a big-endian machine; only little-endian "
                       "files are read",
                       a->path);
    free(order);
    return code;
}

static io_code read_description(const archive *a, const char *name, pickle_tensor *tensor,
                                io_error *error)
{
    void *pickle;
    size_t n;
    io_code code = check_byteorder(a, error);
    if (code != IO_OK) return code;
    code = read_entry(a, "data.pkl", &pickle, &n, error);
    if (code == IO_OK) code = pickle_read(pickle, n, a->path, name, tensor, error);
    free(pickle);
    return code;
}

/* The storage as a row of elements, converted, then the tensor's own view of it. */
static io_code read_storage(const archive *a, const pickle_tensor *p, fattn_dtype as,
                            io_tensor *tensor, io_error *error)
{
    char name[PICKLE_KEY + 8];
    size_t n, need;
    snprintf(name, sizeof name, "data/%s", p->key);
    io_code code = read_entry(a, name, &tensor->memory, &n, error);
    if (code != IO_OK) return code;
    if (!tensor->memory) return damaged(a, "a storage is missing", error);
    if (__builtin_mul_overflow((size_t)p->elements, p->stored.size, &need) || need > n)
        return damaged(a, "a storage is shorter than its tensors", error);
    tensor->t = io_contiguous(tensor->memory, p->stored.dtype, 1, &p->elements);
    code = io_take(tensor, &p->stored, as, a->path, error);
    if (code != IO_OK) return code;
    const fattn_dtype dtype = tensor->t.dtype;
    int64_t count;
    tensor->t = io_contiguous(tensor->memory, dtype, p->rank, p->shape);
    if (!io_count(p->rank, p->shape, &count) || count == 0) return IO_OK;
    tensor->t.data = (char *)tensor->memory + (size_t)p->offset * fattn_dtype_size(dtype);
    for (int i = 0; i < p->rank; i++) tensor->t.strides[i] = p->strides[i];
    return IO_OK;
}

io_code torchzip_read(const char *path, const char *name, fattn_dtype as, io_tensor *tensor,
                      io_error *error)
{
    archive a;
    pickle_tensor description;
    *tensor = (io_tensor){.memory = NULL};
    io_code code = archive_open(&a, path, error);
    if (code == IO_OK) code = read_description(&a, name, &description, error);
    if (code == IO_OK) code = read_storage(&a, &description, as, tensor, error);
    if (code != IO_OK) io_tensor_free(tensor);
    if (a.zip) zip_discard(a.zip);
    return code;
}
