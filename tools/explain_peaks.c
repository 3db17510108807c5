/* SPDX-License-Identifier: Apache-2.0 */
/* explain_peaks.c — the ceilings of the machine. */
#include "explain_peaks.h"

#include "bench_probe.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3 };

static int given(const cli_values *values, const char *name, explain_peak *out)
{
    char *end;
    const char *text = cli_get(values, name);
    if (!text) return CLI_GO;
    *out = (explain_peak){.value = strtod(text, &end), .given = true};
    if (end != text && *end == '\0' && out->value > 0 && out->value < 1e12) return CLI_GO;
    return cli_error(values->verb->name, CLI_USAGE, "--%s: '%s' is not a positive number", name,
                     text);
}

int explain_peaks_given(const cli_values *values, explain_peaks *peaks)
{
    *peaks = (explain_peaks){.isa = NULL};
    int code = given(values, "peak-gflops", &peaks->gflops);
    if (code == CLI_GO) code = given(values, "peak-gbps", &peaks->gbps);
    return code;
}

void explain_peaks_measure(fattn_context *context, explain_peaks *peaks)
{
    explain_peak *gflops = &peaks->gflops, *gbps = &peaks->gbps;
    const char *isa = fattn_context_isa(context);
    const int threads = fattn_context_threads(context);
    if (gflops->given && gbps->given) return;
    if (peaks->isa && strcmp(peaks->isa, isa) == 0 && peaks->threads == threads) return;
    peaks->isa = isa;
    peaks->threads = threads;
    if (!gflops->given) gflops->value = 0;
    if (!gbps->given) gbps->value = 0;
    const bench_simd *simd = bench_simd_find(isa);
    bench_pool *pool = simd ? bench_pool_create(threads) : NULL;
    if (!pool) return;
    bench_probe probe = bench_probe_open(pool, simd);
    for (int i = 0; i < ROUNDS && !gflops->given; i++) bench_probe_fma(&probe);
    for (int i = 0; i < ROUNDS && !gbps->given; i++) bench_probe_read(&probe, -1);
    if (!gflops->given) gflops->value = probe.peak_gflops;
    if (!gbps->given) gbps->value = probe.peak_gbps;
    bench_probe_close(&probe);
    bench_pool_destroy(pool);
}
