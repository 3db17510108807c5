/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c — a stack of chunks. Small requests share a chunk, a large one gets its own; the header
 * sits in front of the memory it describes. */
#include "base/arena.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

enum { ALIGN = 64, CHUNK_BYTES = 16 * 1024 };

typedef struct arena_chunk {
    struct arena_chunk *previous;
    size_t used, capacity; /* bytes, the header included */
} arena_chunk;

/* Bytes of the request rounded up to the alignment, at least one unit; false on overflow. */
static bool request_bytes(size_t count, size_t size, size_t *bytes)
{
    if (!size_mul(count, size, bytes) || !size_add(*bytes, MUTANT(1, ALIGN - 1, 0), bytes))
        return false;
    *bytes = *bytes / ALIGN * ALIGN;
    if (*bytes == 0) *bytes = ALIGN;
    return true;
}

static arena_chunk *chunk_push(fattn_arena *arena, size_t bytes)
{
    size_t capacity;
    if (!size_add(bytes, ALIGN, &capacity)) return NULL; /* ALIGN holds the header */
    if (capacity < CHUNK_BYTES) capacity = CHUNK_BYTES;

    arena_chunk *chunk = arena->allocator->alloc(arena->allocator->self, capacity);
    if (!chunk) return NULL;
    *chunk = (arena_chunk){.previous = arena->last, .used = ALIGN, .capacity = capacity};
    arena->last = chunk;
    return chunk;
}

static void *take(fattn_arena *arena, size_t bytes)
{
    arena_chunk *chunk = arena->last;
    if (!chunk || chunk->capacity - chunk->used < bytes) chunk = chunk_push(arena, bytes);
    if (!chunk) return NULL;

    unsigned char *memory = (unsigned char *)chunk + chunk->used;
    chunk->used += bytes;
    return memory;
}

void *arena_alloc_raw(fattn_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    return request_bytes(count, size, &bytes) ? take(arena, bytes) : NULL;
}

void *arena_alloc(fattn_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    void *memory = request_bytes(count, size, &bytes) ? take(arena, bytes) : NULL;
    return memory ? memset(memory, 0, bytes) : NULL;
}

void arena_free(fattn_arena *arena)
{
    while (arena->last) {
        arena_chunk *chunk = arena->last;
        arena->last = chunk->previous;
        arena->allocator->free(arena->allocator->self, chunk);
    }
}
