/* SPDX-License-Identifier: Apache-2.0 */
/* generator.c — one pair of numbers behind a lock that survives a fork: a child in which it was held
 * by a thread that is not there sees another process's number and takes it. */
#include "fattn/generator.h"

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/context.h"
#include "base/error.h"
#include "base/mutant.h"

enum { DRAW_STEP = 12 }; /* the device asks for 10 and rounds up to a multiple of 4 */

static void lock(fattn_generator *g)
{
    const int self = (int)getpid();
    for (;;) {
        int owner = 0;
        if (atomic_compare_exchange_weak(&g->owner, &owner, self)) return;
        if (owner != 0 && owner != self && atomic_compare_exchange_weak(&g->owner, &owner, self))
            return;
        sched_yield();
    }
}

static void unlock(fattn_generator *g) { atomic_store(&g->owner, 0); }

void generator_draw(fattn_generator *g, uint64_t *seed, uint64_t *offset)
{
    lock(g);
    *seed = g->seed;
    *offset = g->offset;
    g->offset += MUTANT(156, DRAW_STEP, 10);
    unlock(g);
}

void generator_peek(fattn_generator *g, uint64_t *seed, uint64_t *offset)
{
    lock(g);
    *seed = g->seed;
    *offset = g->offset;
    unlock(g);
}

static void set(fattn_generator *g, uint64_t seed, uint64_t offset)
{
    lock(g);
    g->seed = seed;
    g->offset = offset;
    unlock(g);
}

fattn_status fattn_generator_seed(fattn_context *context, uint64_t seed)
{
    TRY(context_resolve(&context));
    set(&context->generator, seed, 0);
    return FATTN_OK;
}

/* Little-endian, whatever the machine. */
static uint64_t number_at(const uint8_t *bytes)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x |= (uint64_t)bytes[i] << 8 * i;
    return x;
}

static void put_number(uint8_t *bytes, uint64_t x)
{
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(x >> 8 * i);
}

fattn_status fattn_generator_set_state(fattn_context *context,
                                       const uint8_t state[FATTN_GENERATOR_STATE])
{
    REQUIRE(state, FATTN_E_ARG, "state: is NULL; pass %d bytes, seed and offset",
            FATTN_GENERATOR_STATE);
    TRY(context_resolve(&context));
    set(&context->generator, number_at(state), number_at(state + 8));
    return FATTN_OK;
}

fattn_status fattn_generator_get_state(fattn_context *context, uint8_t state[FATTN_GENERATOR_STATE])
{
    REQUIRE(state, FATTN_E_ARG, "state: is NULL; pass %d bytes, seed and offset",
            FATTN_GENERATOR_STATE);
    uint64_t seed, offset;
    TRY(context_resolve(&context));
    generator_peek(&context->generator, &seed, &offset);
    put_number(state, seed);
    put_number(state + 8, offset);
    return FATTN_OK;
}
