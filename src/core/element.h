/* SPDX-License-Identifier: Apache-2.0 */
/* element.h — one float element of any dtype, by bytes, so that any address will do. */
#ifndef FATTN_CORE_ELEMENT_H
#define FATTN_CORE_ELEMENT_H

#include "fattn/types.h"

/* f64, f32, f16 or bf16. */
bool element_is_float(fattn_dtype dtype);

/* Element `index` of an array of a float dtype, widened exactly. */
double element_load(const void *base, fattn_dtype dtype, int64_t index);

/* Rounds once, to nearest even. */
void element_store(void *base, fattn_dtype dtype, int64_t index, double value);

#endif
