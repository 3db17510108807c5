/* SPDX-License-Identifier: Apache-2.0 */
/* bench_probe.c — the two probes. The work is cut into many items, so that a thread that is woken
 * late or disturbed does not hold up the rest, and the clock runs over the whole loop. */
#include "bench_probe.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    ITEMS_PER_THREAD = 16,
    CHUNK = 1 << 22, /* bytes of one read item */
    DEFAULT_CACHE = 32 << 20,
    LEAST_MEMORY = 256 << 20
};

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

size_t bench_cache_bytes(void)
{
    size_t largest = 0;
    for (int index = 0; index < 8; index++) {
        char path[80];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        FILE *file = fopen(path, "r");
        if (file == NULL) break;
        unsigned long size = 0;
        char unit = ' ';
        if (fscanf(file, "%lu%c", &size, &unit) >= 1) {
            const size_t bytes = (size_t)size << (unit == 'M' ? 20 : unit == 'K' ? 10 : 0);
            if (bytes > largest) largest = bytes;
        }
        fclose(file);
    }
    return largest > 0 ? largest : DEFAULT_CACHE;
}

bench_probe bench_probe_open(bench_pool *pool, const bench_simd *simd)
{
    return (bench_probe){.pool = pool, .simd = simd};
}

void bench_probe_close(bench_probe *probe)
{
    free(probe->memory);
    *probe = (bench_probe){0};
}

static void fma_item(void *arg, int64_t item, int worker)
{
    (void)item, (void)worker;
    const bench_probe *probe = arg;
    volatile float kept = probe->simd->fma(probe->fma_rounds, 1.0f);
    (void)kept;
}

/* Rounds that take about a millisecond on one thread. */
static int64_t calibrate(const bench_simd *simd)
{
    for (int64_t rounds = 1 << 12;; rounds *= 2) {
        const double start = bench_now();
        volatile float kept = simd->fma(rounds, 1.0f);
        (void)kept;
        if (bench_now() - start > 0.7e-3) return rounds;
    }
}

void bench_probe_fma(bench_probe *probe)
{
    if (probe->fma_rounds == 0) probe->fma_rounds = calibrate(probe->simd);
    const int64_t items = (int64_t)ITEMS_PER_THREAD * bench_pool_threads(probe->pool);
    const double start = bench_now();
    bench_pool_run(probe->pool, fma_item, probe, items);
    const double seconds = bench_now() - start;
    const double flops = (double)items * (double)probe->fma_rounds * probe->simd->flops_per_round;
    const double gflops = flops / seconds * 1e-9;
    if (gflops > probe->peak_gflops) probe->peak_gflops = gflops;
}

typedef struct read_loop {
    const bench_probe *probe;
    int kind;
} read_loop;

static void read_item(void *arg, int64_t item, int worker)
{
    (void)worker;
    const read_loop *loop = arg;
    volatile uint32_t kept =
        loop->probe->simd->read(loop->probe->memory + item * CHUNK, CHUNK, loop->kind);
    (void)kept;
}

static bool probe_memory(bench_probe *probe)
{
    if (probe->memory != NULL) return true;
    size_t bytes = 4 * bench_cache_bytes();
    if (bytes < LEAST_MEMORY) bytes = LEAST_MEMORY;
    bytes = (bytes + CHUNK - 1) / CHUNK * CHUNK;
    probe->memory = aligned_alloc(64, bytes);
    if (probe->memory == NULL) return false;
    memset(probe->memory, 1, bytes);
    probe->bytes = bytes;
    return true;
}

void bench_probe_read(bench_probe *probe, int kind)
{
    if (!probe_memory(probe)) return;
    const int first = kind < 0 ? 0 : kind, last = kind < 0 ? BENCH_READ_KINDS - 1 : kind;
    for (int k = first; k <= last; k++) {
        read_loop loop = {probe, k};
        const double start = bench_now();
        bench_pool_run(probe->pool, read_item, &loop, (int64_t)(probe->bytes / CHUNK));
        const double gbps = (double)probe->bytes / (bench_now() - start) * 1e-9;
        if (gbps > probe->peak_gbps) probe->peak_gbps = gbps;
    }
}
