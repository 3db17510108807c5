/* SPDX-License-Identifier: Apache-2.0 */
/* explain_peaks.c — the ceilings of the machine. */
#include "explain_peaks.h"

#include "bench_probe.h"

#include <stdlib.h>

enum { ROUNDS = 3 };

static int given(const cli_values *values, const char *name, double *out)
{
    char *end;
    const char *text = cli_get(values, name);
    if (!text) return CLI_GO;
    *out = strtod(text, &end);
    if (end != text && *end == '\0' && *out > 0 && *out < 1e12) return CLI_GO;
    return cli_error(values->verb->name, CLI_USAGE, "--%s: '%s' is not a positive number", name, text);
}

int explain_peaks_given(const cli_values *values, explain_peaks *peaks)
{
    *peaks = (explain_peaks){.gflops = 0};
    int code = given(values, "peak-gflops", &peaks->gflops);
    if (code == CLI_GO) code = given(values, "peak-gbps", &peaks->gbps);
    peaks->given = peaks->gflops > 0 && peaks->gbps > 0;
    return code;
}

void explain_peaks_measure(fattn_context *context, explain_peaks *peaks)
{
    if (peaks->gflops > 0 && peaks->gbps > 0) return;
    const bench_simd *simd = bench_simd_find(fattn_context_isa(context));
    bench_pool *pool = simd ? bench_pool_create(fattn_context_threads(context)) : NULL;
    if (!pool) return;
    bench_probe probe = bench_probe_open(pool, simd);
    for (int i = 0; i < ROUNDS && peaks->gflops == 0; i++) bench_probe_fma(&probe);
    for (int i = 0; i < ROUNDS && peaks->gbps == 0; i++) bench_probe_read(&probe, -1);
    if (peaks->gflops == 0) peaks->gflops = probe.peak_gflops;
    if (peaks->gbps == 0) peaks->gbps = probe.peak_gbps;
    bench_probe_close(&probe);
    bench_pool_destroy(pool);
}
