/* SPDX-License-Identifier: Apache-2.0 */
/* element.c — loads and stores of single float elements; the slow, exact way. */
#include "core/element.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "base/mutant.h"

bool element_is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

double element_load(const void *base, fattn_dtype dtype, int64_t index)
{
    const char *at = (const char *)base + index * (int64_t)fattn_dtype_size(dtype);
    double f64;
    float f32;
    uint16_t bits;
    switch (dtype) {
    case FATTN_F64:
        memcpy(&f64, at, sizeof f64);
        return f64;
    case FATTN_F32:
        memcpy(&f32, at, sizeof f32);
        return (double)f32;
    case FATTN_F16:
        memcpy(&bits, at, sizeof bits);
        return (double)half_from_f16(bits);
    case FATTN_BF16:
        memcpy(&bits, at, sizeof bits);
        return (double)half_from_bf16(bits);
    default:
        assert(false && "not a float dtype");
        return 0.0;
    }
}

void element_store(void *base, fattn_dtype dtype, int64_t index, double value)
{
    char *at = (char *)base + index * (int64_t)fattn_dtype_size(dtype);
    const float f32 = (float)value;
    uint16_t bits;
    switch (dtype) {
    case FATTN_F64:
        memcpy(at, &value, sizeof value);
        return;
    case FATTN_F32:
        memcpy(at, &f32, sizeof f32);
        return;
    case FATTN_F16:
        bits = half_to_f16_from_double(value);
        memcpy(at, &bits, sizeof bits);
        return;
    case FATTN_BF16:
        bits = MUTANT(98, half_to_bf16_from_double(value), half_to_bf16(f32));
        memcpy(at, &bits, sizeof bits);
        return;
    default:
        assert(false && "not a float dtype");
    }
}
