/* SPDX-License-Identifier: Apache-2.0 */
/* env.c — the only getenv of the library. Values are copied into fixed buffers: a later setenv
 * changes nothing, and an overlong value is cut, which no check accepts afterwards. */
#include "base/env.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mutant.h"

enum { VALUE_BYTES = 64 };

static char isa_text[VALUE_BYTES], backend_text[VALUE_BYTES], threads_text[VALUE_BYTES];
static fattn_env env;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The variable's value in `buffer`; NULL when unset or empty. */
static const char *copy_value(const char *name, char *buffer)
{
    const char *value = getenv(name);
    if (!value || !*value) return NULL;
    snprintf(buffer, VALUE_BYTES, "%s", value);
    return buffer;
}

/* "" and "0" mean off, everything else on. */
static bool is_on(const char *name)
{
    const char *value = getenv(name);
    return value && *value && !MUTANT(5, value[0] == '0' && value[1] == '\0', false);
}

static void read_all(void)
{
    env = (fattn_env){
        .isa = copy_value("FATTN_ISA", isa_text),
        .backend = copy_value("FATTN_BACKEND", backend_text),
        .threads_text = copy_value("FATTN_THREADS", threads_text),
        .strict = is_on("FATTN_STRICT"),
        .pin = is_on("FATTN_PIN"),
        .log = is_on("FATTN_LOG"),
    };
}

const fattn_env *env_get(void)
{
    pthread_once(&once, read_all);
    return &env;
}
