/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c — a stack of chunks. Small requests share a chunk, a large one gets its own; the header
 * sits in front of the memory it describes. */
#include "base/arena.h"

#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"

enum { ALIGN = 64, CHUNK_BYTES = 16 * 1024, SPARE_LEAST = 1 << 16, SPARE_MOST = 1 << 20 };

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

static bool spare_wanted(const fattn_spare *spare, size_t capacity)
{
    return spare && capacity >= SPARE_LEAST && capacity <= SPARE_MOST;
}

static arena_chunk *chunk_new(const fattn_arena *arena, size_t capacity)
{
    if (spare_wanted(arena->spare, capacity)) {
        arena_chunk *chunk = atomic_exchange(&arena->spare->chunk, NULL);
        if (chunk && chunk->capacity >= MUTANT(214, capacity, 0)) return chunk;
        if (chunk) arena->allocator->free(arena->allocator->self, chunk);
    }
    arena_chunk *chunk = arena->allocator->alloc(arena->allocator->self, capacity);
    if (chunk) chunk->capacity = capacity;
    return chunk;
}

static void chunk_free(const fattn_arena *arena, arena_chunk *chunk)
{
    if (spare_wanted(arena->spare, chunk->capacity))
        chunk = atomic_exchange(&arena->spare->chunk, chunk);
    if (chunk) arena->allocator->free(arena->allocator->self, chunk);
}

static arena_chunk *chunk_push(fattn_arena *arena, size_t bytes)
{
    size_t capacity;
    if (!size_add(bytes, ALIGN, &capacity)) return NULL; /* ALIGN holds the header */
    if (capacity < CHUNK_BYTES) capacity = CHUNK_BYTES;

    arena_chunk *chunk = chunk_new(arena, capacity);
    if (!chunk) return NULL;
    chunk->previous = arena->last;
    chunk->used = ALIGN;
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
        chunk_free(arena, chunk);
    }
}

void spare_free(fattn_spare *spare, const fattn_allocator *allocator)
{
    arena_chunk *chunk = atomic_exchange(&spare->chunk, NULL);
    if (chunk) allocator->free(allocator->self, chunk);
}
