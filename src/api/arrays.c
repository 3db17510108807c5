/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c — one element at a time, whatever the dtype; these operators move few bytes. */
#include "api/arrays.h"

#include "base/error.h"
#include "base/mutant.h"
#include "core/layout.h"

bool array_is_int(fattn_dtype dtype) { return dtype == FATTN_I64 || dtype == FATTN_I32; }

int64_t array_get_int(const fattn_tensor *tensor, int64_t offset)
{
    if (tensor->dtype == FATTN_I32) return ((const int32_t *)tensor->data)[offset];
    return ((const int64_t *)tensor->data)[offset];
}

void array_put_int(const fattn_tensor *tensor, int64_t offset, int64_t value)
{
    if (tensor->dtype == FATTN_I32)
        ((int32_t *)tensor->data)[offset] = (int32_t)value;
    else
        ((int64_t *)tensor->data)[offset] = value;
}

bool array_holds(fattn_dtype dtype, int64_t value)
{
    return dtype == FATTN_I64 || MUTANT(68, value >= INT32_MIN && value <= INT32_MAX, true);
}

fattn_status array_check_shape(const fattn_tensor *tensor, const char *name, int rank,
                               const int64_t *shape)
{
    char given[128], wanted[128];
    bool equal = tensor->rank == rank;
    for (int i = 0; equal && i < rank; i++) equal = tensor->shape[i] == shape[i];
    if (equal) return FATTN_OK;

    const fattn_tensor example = fattn_tensor_contiguous(NULL, tensor->dtype, rank, shape);
    return error_set(FATTN_E_SHAPE, "%s: its shape %s must be %s", name,
                     tensor_print(tensor, given, sizeof given),
                     tensor_print(&example, wanted, sizeof wanted));
}
