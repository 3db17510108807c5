/* SPDX-License-Identifier: Apache-2.0 */
/* origin.h — the copy of an operator's args that a plan keeps: shapes, lists and numbers, no
 * addresses. */
#ifndef FATTN_EXEC_ORIGIN_H
#define FATTN_EXEC_ORIGIN_H

#include "base/arena.h"
#include "fattn/operators.h"

/* A deep copy in the arena with every tensor's data NULL; NULL when out of memory. */
void *origin_copy(const fattn_operator *op, const void *args, fattn_arena *arena);

/* E_ARG with the field's name unless `args` equals the origin in everything but addresses. */
fattn_status origin_match(const fattn_operator *op, const void *origin, const void *args);

#endif
