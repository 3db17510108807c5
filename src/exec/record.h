/* SPDX-License-Identifier: Apache-2.0 */
/* record.h — what FATTN_LOG and FATTN_DUMP_DIR ask for: a line on stderr and a file per call.
 * Callers ask context->record first, so that a call that nobody records pays one branch. */
#ifndef FATTN_EXEC_RECORD_H
#define FATTN_EXEC_RECORD_H

#include "base/context.h"
#include "fattn/operators.h"

/* The call itself. */
typedef fattn_status (*record_body)(void *self);

/* Runs body(self), which is the call `op` with `args`, and writes down what context->record says;
 * returns its status. `args` may be anything that a caller can pass. */
fattn_status record_call(fattn_context *context, const fattn_operator *op, const void *args,
                         record_body body, void *self);

/* "# plan DESCRIPTION". */
void record_plan(const fattn_context *context, const char *description);

#endif
