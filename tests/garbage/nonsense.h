/* SPDX-License-Identifier: Apache-2.0 */
/* nonsense.h — what the tests of handles share: canaries, fresh sentences, ints that are no enum.
 */
#ifndef FATTN_TESTS_GARBAGE_NONSENSE_H
#define FATTN_TESTS_GARBAGE_NONSENSE_H

#include "cm.h"

#include <limits.h>
#include <string.h>

#include "garbage/memory.h"
#include "garbage/source.h"

enum { CANARY = 0xa5 };

static inline bool is_canary(const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (((const unsigned char *)bytes)[i] != CANARY) return false;
    return true;
}

/* Leaves a sentence that nothing but a plan without a plan has. */
static inline void forget_message(void) { fattn_plan_run(NULL, NULL, NULL, 0); }

static inline void check_status(fattn_status status, const char *what)
{
    const char *text = fattn_error_message();
    if ((int)status < 0 || status > FATTN_E_NOMEM) fail_msg("%s: status %d", what, (int)status);
    if (status == FATTN_OK) return;
    if (!text[0] || strncmp(text, "plan is NULL", 12) == 0) fail_msg("%s: no sentence", what);
    if (status == FATTN_E_NOMEM && !strstr(text, "out of memory")) fail_msg("%s: %s", what, text);
}

static inline int nasty_int(source *s)
{
    static const int values[] = {-1, -2, 0, 1, 2, 3, 7, 1024, 1025, INT_MAX, INT_MIN, 1 << 20};
    return values[source_pick(s, 12)];
}

#endif
