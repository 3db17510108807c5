/* SPDX-License-Identifier: Apache-2.0 */
/* env.c — the only getenv of the library. Values are copied into fixed buffers: a later setenv
 * changes nothing, and an overlong value is cut, which no check accepts afterwards. */
#include "base/env.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mutant.h"

enum { VALUE_BYTES = 64, PATH_BYTES = 4096 };

static char isa_text[VALUE_BYTES], backend_text[VALUE_BYTES], threads_text[VALUE_BYTES];
static char language_text[VALUE_BYTES], log_text[VALUE_BYTES], dump_text[PATH_BYTES];
static fattn_env env;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The variable's value in `buffer`; NULL when unset or empty. */
static const char *copy_text(const char *name, char *buffer, size_t size)
{
    const char *value = getenv(name);
    if (!value || !*value) return NULL;
    snprintf(buffer, size, "%s", value);
    return buffer;
}

static const char *copy_value(const char *name, char *buffer)
{
    return copy_text(name, buffer, VALUE_BYTES);
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
        .language = copy_value("FATTN_LANG", language_text),
        .threads_text = copy_value("FATTN_THREADS", threads_text),
        .strict = is_on("FATTN_STRICT"),
        .pin = is_on("FATTN_PIN"),
        .log_words = copy_value("FATTN_LOG", log_text),
        .dump_dir = copy_text("FATTN_DUMP_DIR", dump_text, sizeof dump_text),
    };
}

const fattn_env *env_get(void)
{
    pthread_once(&once, read_all);
    return &env;
}
