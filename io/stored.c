/* SPDX-License-Identifier: Apache-2.0 */
/* stored.c — from a file's element type to the wanted dtype. */
#include "stored.h"

#include "element.h"

#include <stdlib.h>

static bool is_int(fattn_dtype dtype) { return dtype >= FATTN_I64 && dtype <= FATTN_BOOL; }

/* The names of the dtypes of `size` bytes, for the sentence. */
static const char *dtypes_of_size(size_t size)
{
    switch (size) {
    case 1:
        return "u8, i8, bool, e4m3 or e5m2";
    case 2:
        return "f16 or bf16";
    case 4:
        return "i32, i4 or f32";
    default:
        return "i64 or f64";
    }
}

static bool same_bits(const io_stored *stored, fattn_dtype as)
{
    if (as == stored->dtype) return true;
    if (stored->dtype == FATTN_I32 && as == FATTN_I4) return true;
    return stored->raw && fattn_dtype_size(as) == stored->size;
}

/* Element by element in memory order, so the strides stay. */
static io_code convert(io_tensor *tensor, fattn_dtype from, fattn_dtype as, const char *path,
                       io_error *error)
{
    int64_t count = 0;
    size_t bytes = 0;
    const bool fits = io_count(tensor->t.rank, tensor->t.shape, &count) &&
                      !__builtin_mul_overflow((size_t)count, fattn_dtype_size(as), &bytes);
    void *memory = fits ? io_memory(bytes) : NULL;
    if (!memory) return io_fail(error, IO_E_NOMEM, "%s: out of memory for %zu bytes", path, bytes);
    for (int64_t i = 0; i < count; i++) {
        if (io_dtype_is_float(as)) {
            io_set(memory, as, i, io_get(tensor->t.data, from, i));
            continue;
        }
        const int64_t value = io_get_int(tensor->t.data, from, i);
        io_set_int(memory, as, i, value);
        if (as != FATTN_BOOL && io_get_int(memory, as, i) != value) {
            free(memory);
            return io_fail(error, IO_E_DTYPE, "%s: the value %lld does not fit into %s", path,
                           (long long)value, fattn_dtype_name(as));
        }
    }
    free(tensor->memory);
    tensor->memory = tensor->t.data = memory;
    return IO_OK;
}

static io_code take(io_tensor *tensor, const io_stored *stored, fattn_dtype as, const char *path,
                    io_error *error)
{
    if (as == FATTN_DTYPE_NONE) as = stored->dtype;
    if (as == FATTN_DTYPE_NONE)
        return io_fail(error, IO_E_DTYPE,
                       "%s: holds %s elements; a dtype must say what they are: %s", path,
                       stored->name, dtypes_of_size(stored->size));
    if (same_bits(stored, as)) return IO_OK;
    const bool floats = io_dtype_is_float(stored->dtype) && io_dtype_is_float(as);
    if (!floats && !(is_int(stored->dtype) && is_int(as)))
        return io_fail(error, IO_E_DTYPE, "%s: holds %s elements, which cannot be taken as %s",
                       path, stored->name, fattn_dtype_name(as));
    return convert(tensor, stored->dtype, as, path, error);
}

io_code io_take(io_tensor *tensor, const io_stored *stored, fattn_dtype as, const char *path,
                io_error *error)
{
    if ((int)as >= IO_RAW)
        as = stored->dtype == FATTN_DTYPE_NONE ? (fattn_dtype)((int)as - IO_RAW) : stored->dtype;
    const io_code code = take(tensor, stored, as, path, error);
    if (code != IO_OK) {
        io_tensor_free(tensor);
        return code;
    }
    tensor->t.dtype = as == FATTN_DTYPE_NONE ? stored->dtype : as;
    return IO_OK;
}
