/* SPDX-License-Identifier: Apache-2.0 */
/* status.c — the last error of each thread, and the names of the statuses.
 *
 * The sentence lives in a fixed thread-local buffer: reporting a failure never allocates, so it
 * works when memory has run out. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/messages.h"
#include "base/mutant.h"

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];
static _Thread_local const char *said = ""; /* the English format behind it */

fattn_status error_set(fattn_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    message_print(message, sizeof message, format, args);
    va_end(args);
    said = format;
    return status;
}

const char *error_format(void) { return said; }

void error_append(const char *format, ...)
{
    const size_t used = strlen(message);
    va_list args;
    va_start(args, format);
    vsnprintf(message + used, sizeof message - used, format, args);
    va_end(args);
}

const char *fattn_error_message(void) { return message; }

const char *fattn_status_name(fattn_status status)
{
    static const char *const names[] = {
        [FATTN_OK] = "FATTN_OK",
        [FATTN_E_ARG] = "FATTN_E_ARG",
        [FATTN_E_SHAPE] = "FATTN_E_SHAPE",
        [FATTN_E_DTYPE] = "FATTN_E_DTYPE",
        [FATTN_E_UNSUPPORTED] = "FATTN_E_UNSUPPORTED",
        [FATTN_E_NOMEM] = "FATTN_E_NOMEM",
        [FATTN_E_BUSY] = "FATTN_E_BUSY",
        [FATTN_E_BACKEND] = "FATTN_E_BACKEND",
    };
    const int count = (int)(sizeof names / sizeof names[0]);
    const int index = (int)status;
    return index >= 0 && index < MUTANT(12, count, count - 1) ? names[index] : "FATTN_E_?";
}
