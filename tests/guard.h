/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h — memory with a fence: a buffer that lies flush against an inaccessible page, or a given
 * number of bytes away from it. A read or write beyond that page traps; the bytes between buffer
 * and page, and on the other side, hold a pattern that guard_intact() looks at. */
#ifndef FATTN_TESTS_GUARD_H
#define FATTN_TESTS_GUARD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef enum guard_side { GUARD_BEFORE, GUARD_AFTER } guard_side;

typedef struct guard {
    unsigned char *base; /* the accessible pages */
    size_t capacity;     /* their bytes */
    unsigned char *data; /* the buffer inside them */
    size_t bytes;
} guard;

enum { GUARD_PATTERN = 0xa5 };

/* A region that can hold buffers of up to `bytes` bytes. */
static inline guard guard_alloc(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t capacity = (bytes + 64 + page - 1) / page * page;
    unsigned char *map =
        mmap(NULL, capacity + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, capacity, PROT_READ | PROT_WRITE)) {
        perror("guard_alloc");
        exit(1);
    }
    return (guard){.base = map + page, .capacity = capacity};
}

static inline void guard_free(guard *g)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    munmap(g->base - page, g->capacity + 2 * page);
    g->base = NULL;
}

/* Puts a buffer `offset` (0..63) bytes away from the inaccessible page on that side; everything is
 * filled with the pattern. */
static inline void *guard_place(guard *g, size_t bytes, size_t offset, guard_side side)
{
    if (bytes + offset > g->capacity) {
        fprintf(stderr, "guard_place: %zu bytes do not fit %zu\n", bytes + offset, g->capacity);
        exit(1);
    }
    g->bytes = bytes;
    g->data = side == GUARD_BEFORE ? g->base + offset : g->base + g->capacity - offset - bytes;
    memset(g->base, GUARD_PATTERN, g->capacity);
    return g->data;
}

/* Nobody wrote beside the buffer. */
static inline int guard_intact(const guard *g)
{
    for (size_t i = 0; i < g->capacity; i++) {
        const unsigned char *p = g->base + i;
        if (p >= g->data && p < g->data + g->bytes) continue;
        if (*p != GUARD_PATTERN) return 0;
    }
    return 1;
}

#endif
