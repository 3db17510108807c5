/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c — the counting allocator, guarded buffers, and faults that are allowed. */
#include "garbage/memory.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- the allocator hook -----------------------------------------------------------------------
 */

typedef struct meter_block {
    struct meter_block *newer, *older;
    long number;
} meter_block;

enum { HEAD = 64 };

static void *meter_alloc(void *self, size_t bytes)
{
    meter *m = self;
    const long number = atomic_fetch_add(&m->requests, 1) + 1, fail_at = atomic_load(&m->fail_at);
    const bool chosen = fail_at > 0 && (number == fail_at || (m->keep_failing && number > fail_at));
    const bool full = m->most > 0 && atomic_load(&m->live) >= m->most;
    if (chosen || full || bytes > m->largest) {
        atomic_fetch_add(&m->refused, 1);
        return NULL;
    }
    meter_block *block = aligned_alloc(64, HEAD + (bytes + 63) / 64 * 64);
    if (!block) return NULL;
    *block = (meter_block){.number = number};
    if (m->track) {
        block->older = atomic_load(&m->blocks);
        if (block->older) block->older->newer = block;
        atomic_store(&m->blocks, block);
    }
    atomic_fetch_add(&m->live, 1);
    return (char *)block + HEAD;
}

static void meter_free(void *self, void *memory)
{
    meter *m = self;
    meter_block *block = (meter_block *)(void *)((char *)memory - HEAD);
    if (m->track) {
        if (block->older) block->older->newer = block->newer;
        if (block->newer)
            block->newer->older = block->older;
        else
            atomic_store(&m->blocks, block->older);
    }
    atomic_fetch_sub(&m->live, 1);
    free(block);
}

void meter_init(meter *m, size_t largest, bool track)
{
    memset(m, 0, sizeof *m);
    m->largest = largest;
    m->track = track;
}

fattn_allocator meter_allocator(meter *m)
{
    return (fattn_allocator){.self = m, .alloc = meter_alloc, .free = meter_free};
}

long meter_mark(const meter *m)
{
    const meter_block *newest = atomic_load(&m->blocks);
    return newest ? newest->number : 0;
}

void meter_rewind(meter *m, long mark)
{
    for (meter_block *b = atomic_load(&m->blocks); b && b->number > mark;
         b = atomic_load(&m->blocks))
        meter_free(m, (char *)b + HEAD);
}

/* ---- guarded buffers --------------------------------------------------------------------------
 */

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static void *map(size_t bytes)
{
    return mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

fenced fenced_new(size_t capacity)
{
    const size_t page = page_size(), inside = (capacity + page - 1) / page * page;
    unsigned char *all = map(inside + 2 * page);
    if (all == MAP_FAILED || mprotect(all + page, inside, PROT_READ | PROT_WRITE)) {
        perror("fenced_new");
        exit(1);
    }
    return (fenced){all + page, inside};
}

void fenced_free(fenced *f)
{
    if (!f->base) return;
    munmap(f->base - page_size(), f->capacity + 2 * page_size());
    *f = (fenced){NULL, 0};
}

/* ---- the wild region --------------------------------------------------------------------------
 */

static unsigned char *wild;
static size_t wild_bytes;

static void wild_start(void)
{
    for (int bits = 44; bits >= 30; bits--) {
        wild_bytes = (size_t)1 << bits;
        wild = map(wild_bytes);
        if (wild != MAP_FAILED) return;
    }
    perror("wild region");
    exit(1);
}

unsigned char *wild_middle(void)
{
    if (!wild) wild_start();
    return wild + wild_bytes / 2;
}

int64_t wild_reach(void)
{
    if (!wild) wild_start();
    return (int64_t)(wild_bytes / 2);
}

static sigjmp_buf way_out;
static const wild_ranges *allowed_now; /* NULL outside wild_run() */
static struct sigaction before[2];
static const int faults[2] = {SIGSEGV, SIGBUS};

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    const unsigned char *at = info->si_addr;
    for (int i = 0; allowed_now && i < allowed_now->n; i++)
        if (at >= allowed_now->range[i].begin && at < allowed_now->range[i].end)
            siglongjmp(way_out, 1);
    for (int i = 0; i < 2; i++) sigaction(faults[i], &before[i], NULL); /* now it is a real crash */
}

bool wild_run(const wild_ranges *allowed, void (*fn)(void *arg), void *arg)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < 2; i++) sigaction(faults[i], &action, &before[i]);
    allowed_now = allowed;
    bool back = false;
    if (sigsetjmp(way_out, 1) == 0) {
        fn(arg);
        back = true;
    }
    allowed_now = NULL;
    for (int i = 0; i < 2; i++) sigaction(faults[i], &before[i], NULL);
    return back;
}
