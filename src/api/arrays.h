/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.h — element access and shape checks for the operators that are no attention: bookkeeping,
 * merges and the cache. Offsets count elements and come from the tensor's strides. */
#ifndef FATTN_API_ARRAYS_H
#define FATTN_API_ARRAYS_H

#include "fattn/status.h"

/* i64 and i32. */
bool array_is_int(fattn_dtype dtype);
int64_t array_get_int(const fattn_tensor *tensor, int64_t offset);
void array_put_int(const fattn_tensor *tensor, int64_t offset, int64_t value);
/* true when the dtype can hold the value. */
bool array_holds(fattn_dtype dtype, int64_t value);

/* E_SHAPE unless the tensor has exactly this shape. */
fattn_status array_check_shape(const fattn_tensor *tensor, const char *name, int rank,
                               const int64_t *shape);

#endif
