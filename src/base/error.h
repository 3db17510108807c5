/* SPDX-License-Identifier: Apache-2.0 */
/* error.h — the two macros that may hide a return, and the sentence behind them. */
#ifndef FATTN_BASE_ERROR_H
#define FATTN_BASE_ERROR_H

#include "base/compiler.h"
#include "fattn/status.h"

/* Stores the thread's sentence (truncated to its fixed buffer) and returns `status`. */
fattn_status error_set(fattn_status status, const char *format, ...) FATTN_PRINTF(2, 3);

/* The English format of that sentence, whatever language it was said in; "" when nothing has failed
 * yet. */
const char *error_format(void);
/* Adds to the sentence; no words of any language, numbers and codes only. */
void error_append(const char *format, ...) FATTN_PRINTF(1, 2);

/* For the %lld of a sentence. */
#define LL(x) ((long long)(x))

/* Checks a rule about arguments, in the caller's words. */
#define REQUIRE(condition, status, ...)                                                            \
    do {                                                                                           \
        if (UNLIKELY(!(condition))) return error_set((status), __VA_ARGS__);                       \
    } while (0)

/* Forwards a failure. */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        const fattn_status try_status_ = (expression);                                             \
        if (UNLIKELY(try_status_ != FATTN_OK)) return try_status_;                                 \
    } while (0)

#endif
