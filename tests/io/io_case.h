/* SPDX-License-Identifier: Apache-2.0 */
/* io_case.h — what the tests of the readers share: scratch files, whole files, a small generator.
 */
#ifndef FATTN_TESTS_IO_CASE_H
#define FATTN_TESTS_IO_CASE_H

#include "cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A name for a scratch file, one per process, so that parallel tests do not meet. */
static inline const char *scratch(const char *ending)
{
    static char name[256];
    const char *directory = getenv("TMPDIR");
    snprintf(name, sizeof name, "%s/io_case_%ld%s", directory ? directory : "/tmp", (long)getpid(),
             ending);
    return name;
}

static inline unsigned char *slurp(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    unsigned char *bytes = malloc(1 << 20);
    *n = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static inline void spill(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static inline uint32_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 32);
}

#endif
