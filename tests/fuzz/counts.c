/* SPDX-License-Identifier: Apache-2.0 */
/* counts.c — the table of calls per public function. */
#include "fuzz/functions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const function_names[FUNCTION_COUNT] = {
#define FUNCTION(name) #name,
#define OPERATOR(op)                                                                               \
    "fattn_" #op "_args_init", "fattn_" #op, "fattn_" #op "_shapes", "fattn_" #op "_workspace",    \
        "fattn_" #op "_plan",
#include "fuzz/functions.def"
#undef FUNCTION
#undef OPERATOR
};

uint64_t function_calls[FUNCTION_COUNT];

int function_of_operator(const char *op)
{
    for (int i = 0; i < FUNCTION_COUNT; i++)
        if (strcmp(function_names[i] + strlen("fattn_"), op) == 0) return i - OP_CALL;
    fprintf(stderr, "%s: an operator that tests/fuzz/functions.def does not name\n", op);
    abort();
}

static void report(void)
{
    const char *path = getenv("FATTN_FUZZ_COUNTS");
    FILE *file = path ? fopen(path, "a") : stderr;
    if (!file) return;
    for (int i = 0; i < FUNCTION_COUNT; i++)
        if (function_calls[i] > 0)
            fprintf(file, "%s %" PRIu64 "\n", function_names[i], function_calls[i]);
    if (file != stderr) fclose(file);
}

void functions_report_at_exit(void) { atexit(report); }
