/* SPDX-License-Identifier: Apache-2.0 */
/* lines.h — small legal calls of every operator, as problem lines: what garbage calls start from,
 * and what runs out of memory and threads. */
#ifndef FATTN_TESTS_GARBAGE_LINES_H
#define FATTN_TESTS_GARBAGE_LINES_H

#include "fattn/fattn.h"

/* Line number `index` of an operator, NULL beyond the last. */
const char *small_line(const fattn_operator *op, int index);

#endif
