/* SPDX-License-Identifier: Apache-2.0 */
/* context.h — the settled choices of a caller (public face: fattn/context.h). */
#ifndef FATTN_BASE_CONTEXT_H
#define FATTN_BASE_CONTEXT_H

#include "base/arena.h"
#include "base/compiler.h"
#include "base/cpuinfo.h"
#include "base/generator.h"
#include "fattn/context.h"

/* What is written down of every call, exec/record.h; 0 = nothing. */
enum { RECORD_PLAN = 1, RECORD_CALL = 2, RECORD_DUMP = 4 };

struct fattn_context {
    int threads; /* workers a parallel loop may use, executor's n_workers if given */
    bool strict;
    bool log;             /* warnings to stderr when there is no callback */
    unsigned record;      /* RECORD_* */
    const char *dump_dir; /* with RECORD_DUMP */
    fattn_isa isa;
    const char *backend; /* NULL = any */
    fattn_compute compute;
    fattn_allocator allocator; /* always set */
    fattn_executor executor;   /* parallel_for NULL = our pool */
    struct fattn_pool *pool;   /* created with the context, starts its threads at the first loop */
    fattn_warn_fn warn;
    void *warn_self;
    /* the only things in here that change */
    fattn_generator generator;
    fattn_spare spare; /* of our own allocator: a caller's gets everything back at once */
};

/* The context itself, or the process default when NULL (created once; E_ARG if the environment is
 * bad). */
fattn_status context_resolve(fattn_context **context);

void *context_alloc(const fattn_context *context, size_t bytes); /* 64-byte aligned */
void context_free(const fattn_context *context, void *memory);   /* NULL is fine */
fattn_arena context_arena(fattn_context *context);               /* empty */

/* Runs task(arg, i, worker) for i in [0, n): on the executor, on our pool, or here when the pool is
 * busy, nested, or n == 1. Sets our floating-point environment around the items. Returns when all
 * are done. */
void context_parallel(fattn_context *context, fattn_task task, void *arg, int64_t n);

/* Places that warn. One warning per process and place. */
typedef enum warn_place {
    WARN_SPARSE_MODE_WITHOUT_MASK, /* training */
    WARN_FULL_MODE_WITHOUT_MASK,   /* training, mode 1 */
    WARN_INFER_MODE_WITHOUT_MASK,
    WARN_TOKENS_WITHOUT_MASK,
    WARN_DECODE_SPARSE_MODE,
    WARN_LAYOUT_READ_AS_BSND,
    WARN_LAYOUT_BSH_RANK4,
    WARN_LENGTHS_NOT_CUMULATIVE,
    WARN_Q_LENGTH_CLAMPED,
    WARN_HIDDEN_WINDOW,
    WARN_LAYOUT_ALIAS,
    WARN_CACHE_READ_AS_BNBSND,
    WARN_LENGTHS_IGNORED,
    WARN_PREFIX_IGNORED,
    WARN_START_INDEX_IGNORED,
    WARN_PADDING_IGNORED,
    WARN_KV_BY_DEQUANT_SCALE1,
    WARN_UNDOCUMENTED_SIZE,  /* strict */
    WARN_INNER_PRECISE_BITS, /* strict */
    WARN_DUMP_FAILED,
    WARN_PLACE_COUNT
} warn_place;

/* Stable id of a place, as the callback receives it. */
const char *warn_place_name(warn_place place);
void context_warn(fattn_context *context, warn_place place, const char *format, ...)
    FATTN_PRINTF(3, 4);
/* Warnings of one call, kept back until it is known to be legal: a refused call uses up none. One
 * list per call on its own stack; context_warn() finds the innermost one of the thread. */
enum {
    WARN_SENTENCE = 1024,
    WARN_HELD_MAX = 6
}; /* what has no room is said by the next such call */
typedef struct warn_list {
    struct warn_list *outer;
    int count;
    struct {
        warn_place place;
        char sentence[WARN_SENTENCE];
    } held[WARN_HELD_MAX];
} warn_list;

void warn_hold(warn_list *list);
/* No more is added. Before a call computes, where foreign executors may move it to another thread.
 */
void warn_release(const warn_list *list);
/* Says what a released list holds, in order; a list that is held round this one gets it instead. */
void warn_say(const warn_list *list, const fattn_context *context);
/* Both: says it when `status` is FATTN_OK. */
void warn_settle(const warn_list *list, const fattn_context *context, fattn_status status);

/* The whole text to stderr at once, so that lines of several threads do not mix. */
void log_write(const char *text, size_t length);

/* Forgets what was warned about; for tests. */
void warn_reset(void);

#endif
