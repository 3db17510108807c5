/* SPDX-License-Identifier: Apache-2.0 */
/* dlpack.h — the part of the DLPack ABI (version 1) that is read or made here: how array libraries
 * describe memory to each other. https://dmlc.github.io/dlpack/latest/c_api.html */
#ifndef FATTN_CORE_DLPACK_H
#define FATTN_CORE_DLPACK_H

#include <stdint.h>

enum { DLPACK_MAJOR = 1, DLPACK_MINOR = 0 };

/* Devices whose memory a processor reads directly. EXT is what an emulated npu says. */
enum { DLPACK_CPU = 1, DLPACK_CUDA_HOST = 3, DLPACK_ROCM_HOST = 11, DLPACK_EXT = 12 };

enum {
    DLPACK_INT = 0,
    DLPACK_UINT = 1,
    DLPACK_FLOAT = 2,
    DLPACK_BFLOAT = 4,
    DLPACK_BOOL = 6,
    DLPACK_E4M3FN = 10,
    DLPACK_E5M2 = 12,
    DLPACK_E8M0FNU = 14,
    DLPACK_E2M1FN = 17
};

enum { DLPACK_READ_ONLY = 1 }; /* of a managed tensor's flags */

typedef struct dlpack_version {
    uint32_t major, minor;
} dlpack_version;

typedef struct dlpack_device {
    int32_t type, index;
} dlpack_device;

typedef struct dlpack_dtype {
    uint8_t code, bits;
    uint16_t lanes;
} dlpack_dtype;

typedef struct dlpack_tensor {
    void *data;
    dlpack_device device;
    int32_t rank;
    dlpack_dtype dtype;
    int64_t *shape;
    int64_t *strides; /* in elements; NULL = row-major */
    uint64_t byte_offset;
} dlpack_tensor;

/* What a capsule "dltensor" holds, and one "dltensor_versioned". */
typedef struct dlpack_managed {
    dlpack_tensor tensor;
    void *self;
    void (*deleter)(struct dlpack_managed *managed);
} dlpack_managed;

typedef struct dlpack_managed_versioned {
    dlpack_version version;
    void *self;
    void (*deleter)(struct dlpack_managed_versioned *managed);
    uint64_t flags;
    dlpack_tensor tensor;
} dlpack_managed_versioned;

/* The table of C functions that a class may offer as `__dlpack_c_exchange_api__`, a capsule
 * "dlpack_exchange_api". Only describe() is used here: it fills a description that is valid as long
 * as the object lives unchanged, and returns nonzero with a Python error set. */
typedef struct dlpack_exchange {
    dlpack_version version;
    const struct dlpack_exchange *older;
    void (*allocate)(void);
    void (*export_managed)(void);
    void (*import_managed)(void);
    int (*describe)(void *object, dlpack_tensor *tensor);
    void (*current_stream)(void);
} dlpack_exchange;

#endif
