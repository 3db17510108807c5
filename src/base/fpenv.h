/* SPDX-License-Identifier: Apache-2.0 */
/* fpenv.h — the caller's rounding mode, flush modes and sticky flags: set aside while we compute.
 */
#ifndef FATTN_BASE_FPENV_H
#define FATTN_BASE_FPENV_H

#include <stdint.h>

typedef struct fattn_fpenv {
    uint64_t control, status;
} fattn_fpenv;

/* Saves the thread's environment and sets the default one (nearest even, no flush to zero, no
 * traps). */
fattn_fpenv fpenv_enter(void);
void fpenv_leave(fattn_fpenv saved);

#endif
