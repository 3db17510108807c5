/* SPDX-License-Identifier: Apache-2.0 */
/* types.c — element types by number and name, and the one constructor of tensors. */
#include "fattn/types.h"

#include <string.h>

#include "base/mutant.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[FATTN_DTYPE_COUNT] = {
    [FATTN_DTYPE_NONE] = {"?", 0}, [FATTN_F64] = {"f64", 8},   [FATTN_F32] = {"f32", 4},
    [FATTN_F16] = {"f16", 2},      [FATTN_BF16] = {"bf16", 2}, [FATTN_I64] = {"i64", 8},
    [FATTN_I32] = {"i32", 4},      [FATTN_I8] = {"i8", 1},     [FATTN_U8] = {"u8", 1},
    [FATTN_BOOL] = {"bool", 1},    [FATTN_I4] = {"i4", 4},     [FATTN_E4M3] = {"e4m3", 1},
    [FATTN_E5M2] = {"e5m2", 1},    [FATTN_E2M1] = {"e2m1", 1}, [FATTN_E1M2] = {"e1m2", 1},
    [FATTN_E8M0] = {"e8m0", 1},    [FATTN_HIF8] = {"hif8", 1},
};

/* Any number may come from outside; unknown ones become FATTN_DTYPE_NONE. */
static int known(fattn_dtype dtype)
{
    const int index = (int)dtype;
    return index > 0 && index < FATTN_DTYPE_COUNT ? index : FATTN_DTYPE_NONE;
}

size_t fattn_dtype_size(fattn_dtype dtype) { return dtypes[known(dtype)].size; }

const char *fattn_dtype_name(fattn_dtype dtype) { return dtypes[known(dtype)].name; }

fattn_dtype fattn_dtype_from_name(const char *name)
{
    for (int i = 1; name && i < FATTN_DTYPE_COUNT; i++)
        if (strcmp(name, dtypes[i].name) == 0) return (fattn_dtype)i;
    return FATTN_DTYPE_NONE;
}

fattn_tensor fattn_tensor_contiguous(void *data, fattn_dtype dtype, int rank, const int64_t *shape)
{
    fattn_tensor tensor = {.data = data, .dtype = dtype, .rank = -1};
    if (rank < 0 || rank > FATTN_MAX_RANK || (rank > 0 && !shape)) return tensor;

    tensor.rank = rank;
    uint64_t stride = 1; /* unsigned: a shape that overflows is refused later, by tensor_check() */
    for (int i = rank - 1; i >= 0; i--) {
        tensor.shape[i] = shape[i];
        tensor.strides[i] = (int64_t)stride;
        stride *= shape[i] > 0 ? (uint64_t)shape[MUTANT(13, i, rank - 1)] : 1;
    }
    return tensor;
}
