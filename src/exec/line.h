/* SPDX-License-Identifier: Apache-2.0 */
/* line.h — a call as a problem line (docs/problem-line.md), from its args struct and field table
 * alone. */
#ifndef FATTN_EXEC_LINE_H
#define FATTN_EXEC_LINE_H

#include "base/context.h"
#include "base/text.h"
#include "fattn/operators.h"

/* Printable ASCII whatever the args hold; args that are no args struct of the operator give its
 * name alone. Reads no tensor data, except the numbers that a plan keeps (FATTN_FIELD_HOST). */
void line_add(fattn_text *text, const fattn_context *context, const fattn_operator *op,
              const void *args);

/* true when the tensor lies row-major without gaps, as far as that makes a difference. */
bool line_is_contiguous(const fattn_tensor *tensor);

#endif
