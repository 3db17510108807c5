/* SPDX-License-Identifier: Apache-2.0 */
/* args.h — what follows from an operator's field table alone. */
#ifndef FATTN_EXEC_ARGS_H
#define FATTN_EXEC_ARGS_H

#include "fattn/operators.h"

/* Fills an args struct with the table's defaults. */
void operator_args_init(const fattn_operator *op, void *args);

/* How much of a call must be there. */
typedef enum fattn_args_need {
    ARGS_SHAPES, /* shapes, workspace, estimates: inputs, no data */
    ARGS_PLAN,   /* a plan: required outputs too, no data */
    ARGS_DATA    /* a call: everything */
} fattn_args_need;

/* The checks every call begins with: args not NULL, `size` known (0 = not initialised; larger only
 * when the extra bytes are 0), required fields present, tensors sane (tensor_check), fields flagged
 * UNSUPPORTED at their defaults. */
fattn_status operator_args_check(const fattn_operator *op, const void *args, fattn_args_need need);

#endif
