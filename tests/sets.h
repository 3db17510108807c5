/* SPDX-License-Identifier: Apache-2.0 */
/* sets.h — tests that run once per instruction set say which ones they could not run. */
#ifndef FATTN_TESTS_SETS_H
#define FATTN_TESTS_SETS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/isa.h"

/* The last line names the sets that could not run. A set that this build has and FATTN_REQUIRE
 * names must run; the sets of other processors are neon.sh's affair. Returns the exit code. */
static inline int report_sets(int failed)
{
    const char *required = getenv("FATTN_REQUIRE");
    int missing = 0, skipped = 0;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        const char *name = isa_name((fattn_isa)isa);
        if (isa_available((fattn_isa)isa)) continue;
        printf("%s%s", skipped++ ? " " : "not run here: ", name);
        if (required && strstr(required, name) && kernels_for((fattn_isa)isa)) missing++;
    }
    printf("%s", skipped ? "\n" : "");
    if (missing) printf("FATTN_REQUIRE=%s: %d missing\n", required, missing);
    return failed || missing;
}

#endif
