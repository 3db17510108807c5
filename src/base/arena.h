/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h — short-lived lists of one plan: grow, never free singly, one free at the end. */
#ifndef FATTN_BASE_ARENA_H
#define FATTN_BASE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>

#include "fattn/context.h"

/* One chunk of middle size that a freed arena leaves for the next one: the C library would give it back
 * to the system, and touching new pages costs more than a plan. Any thread may take it or leave one. */
typedef struct fattn_spare {
    _Atomic(struct arena_chunk *) chunk;
} fattn_spare;

typedef struct fattn_arena {
    const fattn_allocator *allocator; /* borrowed from the context */
    fattn_spare *spare;               /* of the context, too; NULL = everything goes back at once */
    struct arena_chunk *last;
} fattn_arena;

/* Zeroed memory for `count` elements of `size` bytes, 64-byte aligned; NULL when out of memory or
 * when the product overflows. count 0 gives a valid pointer. */
void *arena_alloc(fattn_arena *arena, size_t count, size_t size);
/* The same with any content, for long lists that are written from end to end. */
void *arena_alloc_raw(fattn_arena *arena, size_t count, size_t size);
void arena_free(fattn_arena *arena);

/* Gives the spare chunk back. */
void spare_free(fattn_spare *spare, const fattn_allocator *allocator);

#endif
