/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h — memory that notices: an allocator that counts, refuses and knows what is still out;
 * buffers between inaccessible pages; and a wild region, address space that nobody may touch. */
#ifndef FATTN_TESTS_GARBAGE_MEMORY_H
#define FATTN_TESTS_GARBAGE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fattn/fattn.h"

/* ---- the allocator hook -----------------------------------------------------------------------
 */

typedef struct meter {
    size_t largest;      /* requests above this are refused */
    long most;           /* ... and requests while so many are out; 0 = no limit */
    atomic_long fail_at; /* the request with this number (from 1) fails; 0 = none */
    bool keep_failing;   /* ... and every one after it */
    atomic_long requests, live, refused;
    _Atomic(struct meter_block *) blocks; /* one thread only: what is out, newest first */
    bool track;
} meter;

/* `track`: keep the list of blocks (contexts that one thread uses). */
void meter_init(meter *m, size_t largest, bool track);
fattn_allocator meter_allocator(meter *m);

/* The blocks out so far; meter_rewind() frees every one that is newer. Needs `track`. */
long meter_mark(const meter *m);
void meter_rewind(meter *m, long mark);

/* ---- guarded buffers --------------------------------------------------------------------------
 */

typedef struct fenced {
    unsigned char *base; /* between two inaccessible pages */
    size_t capacity;
} fenced;

fenced fenced_new(size_t capacity);
void fenced_free(fenced *f);
static inline unsigned char *fenced_end(const fenced *f) { return f->base + f->capacity; }

/* ---- the wild region --------------------------------------------------------------------------
 */

/* Its middle, and how many bytes lie on both sides of it. */
unsigned char *wild_middle(void);
int64_t wild_reach(void);

/* Ranges of the wild region that the call now running may touch, because the caller claimed them.
 */
enum { WILD_RANGES = 64 };
typedef struct wild_ranges {
    int n;
    struct {
        const unsigned char *begin, *end;
    } range[WILD_RANGES];
} wild_ranges;

/* Runs fn(arg). true = it came back; false = it touched an allowed range and was abandoned there
 * (what it had allocated is still out). Any other fault is a crash. Not for several threads. */
bool wild_run(const wild_ranges *allowed, void (*fn)(void *arg), void *arg);

#endif
