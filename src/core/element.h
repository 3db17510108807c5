/* SPDX-License-Identifier: Apache-2.0 */
/* element.h — one element of any dtype that holds numbers to compute with, by bytes, so that any address
 * will do. */
#ifndef FATTN_CORE_ELEMENT_H
#define FATTN_CORE_ELEMENT_H

#include "fattn/types.h"

/* f64, f32, f16 or bf16. */
bool element_is_float(fattn_dtype dtype);

/* A dtype of quantised keys and values: i8, i4, e4m3, e5m2, e2m1, e1m2. */
bool element_is_quantised(fattn_dtype dtype);

/* Values in a container element: 8 for I4, 2 for E2M1 and E1M2, else 1. */
int element_pack(fattn_dtype dtype);

/* Container `index` of an array of a float dtype, I8, E4M3, E5M2 or E8M0, widened exactly; of the packed
 * dtypes the value number `which` in it. */
double element_load_packed(const void *base, fattn_dtype dtype, int64_t index, int which);
static inline double element_load(const void *base, fattn_dtype dtype, int64_t index)
{
    return element_load_packed(base, dtype, index, 0);
}

/* dst[c] = number index + c * stride, c < count; not of the packed dtypes. */
void element_load_row(double *dst, const void *base, fattn_dtype dtype, int64_t index, int64_t stride,
                      int64_t count);

/* A float dtype, I8, E4M3 or E5M2. Rounds once, to nearest even; 8 bits saturate, and a NaN becomes 0 in
 * I8. */
void element_store(void *base, fattn_dtype dtype, int64_t index, double value);

/* The same for I4, too: value number `which` of container `index`. */
void element_store_packed(void *base, fattn_dtype dtype, int64_t index, int which, double value);

#endif
