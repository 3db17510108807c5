/* SPDX-License-Identifier: Apache-2.0 */
/* status.h — what a call answers, and the sentence that explains it. */
#ifndef FATTN_STATUS_H
#define FATTN_STATUS_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every public function that can fail returns one of these. On anything but FATTN_OK no output has
 * been touched. The numbers are part of the ABI. */
typedef enum fattn_status {
    FATTN_OK = 0,
    FATTN_E_ARG = 1,         /* a value is illegal, or required and missing */
    FATTN_E_SHAPE = 2,       /* rank, extent or stride does not fit */
    FATTN_E_DTYPE = 3,       /* element type does not fit */
    FATTN_E_UNSUPPORTED = 4, /* a legal question that this build cannot answer */
    FATTN_E_NOMEM = 5,       /* the text contains "out of memory", what was asked, what would fit */
    FATTN_E_BUSY = 6,        /* the plan's own workspace is in use by another run */
    FATTN_E_BACKEND = 7      /* a device or driver failed */
} fattn_status;

/* "FATTN_E_SHAPE" and so on; never NULL. */
FATTN_API const char *fattn_status_name(fattn_status status);

/* The sentence of the last failure on the calling thread: argument, value, rule, nearest valid
 * call.
 * "" when nothing has failed yet. Valid until the next fattn call on this thread; never NULL. */
FATTN_API const char *fattn_error_message(void);

#ifdef __cplusplus
}
#endif
#endif
