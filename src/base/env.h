/* SPDX-License-Identifier: Apache-2.0 */
/* env.h — the environment, read once at the first context. */
#ifndef FATTN_BASE_ENV_H
#define FATTN_BASE_ENV_H

#include <stdbool.h>

typedef struct fattn_env {
    const char *isa;          /* NULL = unset; copies live as long as the process */
    const char *backend;      /* NULL = unset */
    const char *language;     /* NULL = unset; checked at context creation */
    const char *threads_text; /* NULL = unset; checked at context creation */
    bool strict;
    bool pin;
    const char *log_words; /* NULL = unset; checked at context creation */
    const char *dump_dir;  /* NULL = unset */
} fattn_env;

const fattn_env *env_get(void);

#endif
