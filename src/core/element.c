/* SPDX-License-Identifier: Apache-2.0 */
/* element.c — loads and stores of single elements; the slow, exact way. */
#include "core/element.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/fp8.h"
#include "base/half.h"
#include "base/mutant.h"

bool element_is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

bool element_is_quantised(fattn_dtype dtype)
{
    return dtype == FATTN_I8 || dtype == FATTN_I4 || dtype == FATTN_E4M3 || dtype == FATTN_E5M2 ||
           dtype == FATTN_E2M1 || dtype == FATTN_E1M2;
}

int element_pack(fattn_dtype dtype)
{
    return dtype == FATTN_I4 ? 8 : dtype == FATTN_E2M1 || dtype == FATTN_E1M2 ? 2 : 1;
}

/* Two's complement in four bits; which = 0 is the lowest nibble, whatever the machine's byte order. */
static double load_i4(const char *at, int which)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    const int nibble = (int)(word >> 4 * which & 15);
    return (double)(nibble < MUTANT(197, 8, 9) ? nibble : nibble - 16);
}

double element_load_packed(const void *base, fattn_dtype dtype, int64_t index, int which)
{
    const char *at = (const char *)base + index * (int64_t)fattn_dtype_size(dtype);
    const uint8_t byte = fattn_dtype_size(dtype) == 1 ? *(const uint8_t *)at : 0;
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
    case FATTN_I8:
        return (double)(int8_t)byte;
    case FATTN_E4M3:
        return (double)fp8_from_e4m3(byte);
    case FATTN_E5M2:
        return (double)fp8_from_e5m2(byte);
    case FATTN_E8M0:
        return (double)fp8_from_e8m0(byte);
    case FATTN_E2M1:
        return (double)fp4_from_e2m1(byte >> 4 * which & 15);
    case FATTN_E1M2:
        return (double)fp4_from_e1m2(byte >> 4 * which & 15);
    case FATTN_I4:
        return load_i4(at, which);
    default:
        assert(false && "no dtype of numbers to compute with");
        return 0.0;
    }
}

void element_load_row(double *dst, const void *base, fattn_dtype dtype, int64_t index, int64_t stride,
                      int64_t count)
{
    const char *at = (const char *)base + index * (int64_t)fattn_dtype_size(dtype);
    const int64_t step = stride * (int64_t)fattn_dtype_size(dtype);
    uint16_t bits;
    float f32;
    switch (dtype) { /* those that most rows are of have their loop */
    case FATTN_F32:
        for (int64_t c = 0; c < count; c++, at += step) memcpy(&f32, at, sizeof f32), dst[c] = (double)f32;
        return;
    case FATTN_F16:
        for (int64_t c = 0; c < count; c++, at += step)
            memcpy(&bits, at, sizeof bits), dst[c] = (double)half_from_f16(bits);
        return;
    case FATTN_BF16:
        for (int64_t c = 0; c < count; c++, at += step)
            memcpy(&bits, at, sizeof bits), dst[c] = (double)half_from_bf16(bits);
        return;
    default:
        for (int64_t c = 0; c < count; c++) dst[c] = element_load(at, dtype, c * stride);
    }
}

/* To the nearest of -128..127, halves to even. */
static int8_t saturate_i8(double value)
{
    if (isnan(value)) return 0;
    return (int8_t)fmin(fmax(MUTANT(198, nearbyint(value), round(value)), -128.0), 127.0);
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
    case FATTN_I8:
        *(int8_t *)at = saturate_i8(value);
        return;
    case FATTN_E4M3:
        *(uint8_t *)at = fp8_to_e4m3(value);
        return;
    case FATTN_E5M2:
        *(uint8_t *)at = fp8_to_e5m2(value);
        return;
    default:
        assert(false && "not a dtype of results");
    }
}

void element_store_packed(void *base, fattn_dtype dtype, int64_t index, int which, double value)
{
    if (dtype != FATTN_I4) {
        element_store(base, dtype, index, value);
        return;
    }
    char *at = (char *)base + index * (int64_t)sizeof(uint32_t);
    const int nibble = isnan(value) ? 0 : (int)fmin(fmax(nearbyint(value), -8.0), 7.0);
    uint32_t word;
    memcpy(&word, at, sizeof word);
    word &= ~(UINT32_C(15) << 4 * which);
    word |= ((uint32_t)nibble & 15) << 4 * which;
    memcpy(at, &word, sizeof word);
}
