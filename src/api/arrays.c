/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c — one element at a time, whatever the dtype; these operators move few bytes. */
#include "api/arrays.h"

#include "base/error.h"
#include "base/half.h"
#include "base/mutant.h"
#include "core/layout.h"

bool array_is_float(fattn_dtype dtype)
{
    return dtype == FATTN_F64 || dtype == FATTN_F32 || dtype == FATTN_F16 || dtype == FATTN_BF16;
}

double array_get(const fattn_tensor *tensor, int64_t offset)
{
    switch (tensor->dtype) {
    case FATTN_F64:
        return ((const double *)tensor->data)[offset];
    case FATTN_F32:
        return (double)((const float *)tensor->data)[offset];
    case FATTN_F16:
        return (double)half_from_f16(((const uint16_t *)tensor->data)[offset]);
    default:
        return (double)half_from_bf16(((const uint16_t *)tensor->data)[offset]);
    }
}

void array_put(const fattn_tensor *tensor, int64_t offset, double value)
{
    switch (tensor->dtype) {
    case FATTN_F64:
        ((double *)tensor->data)[offset] = value;
        break;
    case FATTN_F32:
        ((float *)tensor->data)[offset] = (float)value;
        break;
    case FATTN_F16:
        ((uint16_t *)tensor->data)[offset] = half_to_f16_from_double(value);
        break;
    default:
        ((uint16_t *)tensor->data)[offset] = half_to_bf16_from_double(value);
        break;
    }
}

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
    return error_set(FATTN_E_SHAPE, "%s: is %s, must be %s", name,
                     tensor_print(tensor, given, sizeof given),
                     tensor_print(&example, wanted, sizeof wanted));
}

fattn_status array_check_output(const fattn_tensor *tensor, const char *name)
{
    for (int i = 0; i < tensor->rank; i++)
        REQUIRE(tensor->shape[i] <= 1 || tensor->strides[i] != 0, FATTN_E_SHAPE,
                "%s: stride 0 on axis %d puts several results in one place", name, i);
    return FATTN_OK;
}
