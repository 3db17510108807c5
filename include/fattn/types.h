/* SPDX-License-Identifier: Apache-2.0 */
/* types.h — the nouns every public header shares: element types, tensors, lists.
 *
 * All of them are plain data. A tensor is borrowed for the duration of one call and never stored.
 */
#ifndef FATTN_TYPES_H
#define FATTN_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define FATTN_API __attribute__((visibility("default")))
#else
#define FATTN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FATTN_VERSION_MAJOR 0
#define FATTN_VERSION_MINOR 1
#define FATTN_VERSION_PATCH 0
#define FATTN_VERSION_STRING "0.1.0"

/* Element type of a tensor. The numbers are part of the ABI; new ones are appended. */
typedef enum fattn_dtype {
    FATTN_DTYPE_NONE = 0,
    FATTN_F64 = 1,
    FATTN_F32 = 2,
    FATTN_F16 = 3,  /* IEEE binary16 */
    FATTN_BF16 = 4, /* upper half of an fp32 */
    FATTN_I64 = 5,
    FATTN_I32 = 6,
    FATTN_I8 = 7,
    FATTN_U8 = 8,
    FATTN_BOOL = 9, /* one byte, nonzero = true */
    FATTN_I4 = 10,  /* eight packed in an int32, lowest nibble first */
    FATTN_E4M3 = 11,
    FATTN_E5M2 = 12,
    FATTN_E2M1 = 13, /* fp4, two packed in a byte, the low nibble first */
    FATTN_E1M2 = 14, /* the same with one exponent bit */
    FATTN_E8M0 = 15, /* 2^(byte - 127), 255 = NaN: scales only */
    FATTN_HIF8 = 16, /* has a name and a size; nothing computes with it */
    FATTN_DTYPE_COUNT = 17
} fattn_dtype;

/* Bytes of one container element of `dtype` (I4: its int32, E2M1 and E1M2: their byte); 0 for an
 * unknown dtype. */
FATTN_API size_t fattn_dtype_size(fattn_dtype dtype);

/* Short name ("f16"), as problem lines and the command line spell it; "?" for an unknown dtype. */
FATTN_API const char *fattn_dtype_name(fattn_dtype dtype);

/* The inverse of fattn_dtype_name(); FATTN_DTYPE_NONE when the name is unknown. */
FATTN_API fattn_dtype fattn_dtype_from_name(const char *name);

enum { FATTN_MAX_RANK = 8 };

/* A strided view of memory that the caller owns. Shape and strides count container elements (a row of
 * 128 int4 columns has the extent 16); strides may be 0 (broadcast) or
 * any value for inputs; outputs must not overlap themselves. A tensor with a zero extent has no
 * elements and its data may be NULL. */
typedef struct fattn_tensor {
    void *data;
    fattn_dtype dtype;
    int32_t rank;
    int64_t shape[FATTN_MAX_RANK];
    int64_t strides[FATTN_MAX_RANK];
} fattn_tensor;

/* A contiguous (row-major) tensor over `data`. `shape` has `rank` entries, 0 <= rank <= 8; any
 * other rank gives a tensor of rank -1, which every operator refuses. */
FATTN_API fattn_tensor fattn_tensor_contiguous(void *data, fattn_dtype dtype, int rank,
                                               const int64_t *shape);

/* A host list of integers, borrowed for the call. data NULL = absent; count 0 = empty, which the
 * operators treat as absent too. */
typedef struct fattn_int_array {
    const int64_t *data;
    int64_t count;
} fattn_int_array;

/* A host list of tensors, borrowed for the call. */
typedef struct fattn_tensor_array {
    const fattn_tensor *const *data;
    int64_t count;
} fattn_tensor_array;

#ifdef __cplusplus
}
#endif
#endif
