/* SPDX-License-Identifier: Apache-2.0 */
/* openblas.c — dlopen once. */
#include "io/openblas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static openblas found; /* version NULL = none */

/* dlsym() returns an object pointer; POSIX says that it may hold a function. */
static bool find_function(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void find(void)
{
    static const char *const names[] = {"libopenblas.so.0", "libopenblas.so"};
    void *library = NULL;
    char *(*config)(void) = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL || !find_function(library, "cblas_sgemm", &found.sgemm) ||
        !find_function(library, "cblas_dgemm", &found.dgemm) ||
        !find_function(library, "cblas_sgemv", &found.sgemv) ||
        !find_function(library, "openblas_set_num_threads", &found.set_threads) ||
        !find_function(library, "openblas_get_config", &config))
        return;
    found.version = config();
}

const openblas *openblas_find(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find);
    return found.version ? &found : NULL;
}
