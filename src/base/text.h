/* SPDX-License-Identifier: Apache-2.0 */
/* text.h — text into a fixed buffer, piece by piece. What does not fit is counted and left out, so
 * that a first round with no buffer tells the room that a second one needs. */
#ifndef FATTN_BASE_TEXT_H
#define FATTN_BASE_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

typedef struct fattn_text {
    char *buffer; /* always ends with NUL when size > 0 */
    size_t size;
    size_t length; /* of the whole text, also when it is cut */
} fattn_text;

void text_add(fattn_text *text, const char *format, ...) FATTN_PRINTF(2, 3);

/* The same without printf, for what every call does: a process that has libquadmath in it (NumPy's OpenBLAS
 * brings it along) has a printf of a third of a microsecond. */
void text_put(fattn_text *text, const char *part);
void text_put_int(fattn_text *text, int64_t value);

/* "1,3,6" */
void text_add_ints(fattn_text *text, const int64_t *values, int64_t n);

/* The shortest decimal that reads back as the same double, with a point in every locale. */
void text_add_double(fattn_text *text, double value);

/* The inside of a JSON string: quotes, backslashes and control characters escaped. */
void text_add_json(fattn_text *text, const char *value);

#endif
