/* SPDX-License-Identifier: Apache-2.0 */
/* bench_probe.h — what this machine can do: fp32 multiply-adds per second and bytes read from
 * memory per second, on all threads of the pool. Run them between the rows and keep the best: a
 * shared machine's limits move while one measures. */
#ifndef FATTN_TOOLS_BENCH_PROBE_H
#define FATTN_TOOLS_BENCH_PROBE_H

#include <stddef.h>

#include "bench_pool.h"
#include "bench_simd.h"

typedef struct bench_probe {
    bench_pool *pool;
    const bench_simd *simd;
    int64_t fma_rounds; /* of one item; 0 = not measured yet */
    char *memory;       /* at least four times the last-level cache */
    size_t bytes;
    double peak_gflops, peak_gbps; /* best so far; 0 = never run */
} bench_probe;

double bench_now(void); /* seconds, monotonic */

/* Bytes of the machine's largest cache, 32 MiB when it does not say. */
size_t bench_cache_bytes(void);

bench_probe bench_probe_open(bench_pool *pool, const bench_simd *simd);
void bench_probe_close(bench_probe *probe);

void bench_probe_fma(bench_probe *probe); /* some 15 ms */
/* One way of reading, or all of them for kind -1. Allocates the memory at the first call; without
 * memory nothing is measured. */
void bench_probe_read(bench_probe *probe, int kind);

#endif
