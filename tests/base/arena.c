/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c — aligned, zeroed, disjoint pieces; overflow and exhaustion give NULL; everything comes
 * back. */
#include "cm.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

typedef struct counter {
    int live, calls, fail_at; /* fail_at: the call that gets nothing, 0 = none */
} counter;

static void *count_alloc(void *self, size_t bytes)
{
    counter *c = self;
    if (++c->calls == c->fail_at) return NULL;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory) memset(memory, 0xa5, bytes);
    c->live += memory != NULL;
    return memory;
}

static void count_free(void *self, void *memory)
{
    ((counter *)self)->live--;
    free(memory);
}

static void test_pieces(void **state)
{
    (void)state;
    enum { PIECES = 300 };
    counter c = {0};
    const fattn_allocator allocator = {&c, count_alloc, count_free};
    fattn_arena arena = {.allocator = &allocator};
    unsigned char *piece[PIECES];
    size_t size[PIECES];
    for (int i = 0; i < PIECES; i++) {
        size[i] = (size_t)(i * 37 % 5000);
        piece[i] = arena_alloc(&arena, size[i], 1);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        for (size_t x = 0; x < size[i]; x++) assert_int_equal(piece[i][x], 0);
        memset(piece[i], i & 0xff, size[i]);
    }
    for (int i = 0; i < PIECES; i++) /* nobody wrote into a neighbour */
        for (size_t x = 0; x < size[i]; x++) assert_int_equal(piece[i][x], i & 0xff);
    assert_true(c.calls < PIECES);
    arena_free(&arena);
    assert_int_equal(c.live, 0);
    assert_non_null(arena_alloc(&arena, 3, 8)); /* usable again */
    arena_free(&arena);
    assert_int_equal(c.live, 0);
}

/* A chunk of middle size waits for the next arena; small and huge ones go back at once. */
static void test_spare(void **state)
{
    (void)state;
    enum { SMALL = 1 << 12, MIDDLE = 1 << 17, LARGER = 1 << 18, HUGE = 1 << 22 };
    counter c = {0};
    const fattn_allocator allocator = {&c, count_alloc, count_free};
    fattn_spare spare = {NULL};
    fattn_arena arena = {.allocator = &allocator, .spare = &spare};

    void *const first = arena_alloc(&arena, MIDDLE, 1);
    assert_non_null(first);
    memset(first, 0x5a, MIDDLE);
    arena_free(&arena);
    assert_int_equal(c.live, 1);
    const int calls = c.calls;
    unsigned char *again = arena_alloc(&arena, MIDDLE, 1);
    assert_ptr_equal(again, first);
    assert_int_equal(c.calls, calls);
    for (size_t i = 0; i < MIDDLE; i++) assert_int_equal(again[i], 0);
    unsigned char *beside = arena_alloc(&arena, MIDDLE, 1); /* only one arena has it */
    assert_non_null(beside);
    assert_ptr_not_equal(beside, first);
    arena_free(&arena);
    assert_int_equal(c.live, 1);

    unsigned char *larger = arena_alloc(&arena, LARGER, 1); /* what waits is too small */
    assert_non_null(larger);
    memset(larger, 1, LARGER);
    assert_int_equal(c.live, 1);
    arena_free(&arena);

    assert_non_null(arena_alloc(&arena, SMALL, 1));
    assert_non_null(arena_alloc(&arena, HUGE, 1));
    assert_int_equal(c.live, 3);
    arena_free(&arena);
    assert_int_equal(c.live, 1);
    spare_free(&spare, &allocator);
    spare_free(&spare, &allocator);
    assert_int_equal(c.live, 0);
}

static void test_too_much(void **state)
{
    (void)state;
    counter c = {0};
    const fattn_allocator allocator = {&c, count_alloc, count_free};
    fattn_arena arena = {.allocator = &allocator};
    assert_null(arena_alloc(&arena, SIZE_MAX, 2));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(arena_alloc(&arena, SIZE_MAX - 100, 1));
    assert_null(arena_alloc(&arena, SIZE_MAX / 8, 9));
    assert_int_equal(c.calls, 0);
    c.fail_at = 2;
    assert_non_null(arena_alloc(&arena, 100000, 1));
    assert_null(arena_alloc(&arena, 100000, 1));
    assert_non_null(arena_alloc(&arena, 100000, 1));
    arena_free(&arena);
    assert_int_equal(c.live, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_spare),
        cmocka_unit_test(test_too_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
