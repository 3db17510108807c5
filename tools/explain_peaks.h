/* SPDX-License-Identifier: Apache-2.0 */
/* explain_peaks.h — the two ceilings of the machine, measured with the benchmark's probes or given.
 */
#ifndef FATTN_TOOLS_EXPLAIN_PEAKS_H
#define FATTN_TOOLS_EXPLAIN_PEAKS_H

#include "options.h"

typedef struct explain_peak {
    double value; /* 0 = not known */
    bool given;   /* by an option, not measured */
} explain_peak;

typedef struct explain_peaks {
    explain_peak gflops; /* fp32 multiply-adds, 10^9 a second */
    explain_peak gbps;   /* bytes read from memory, 10^9 a second */
    const char *isa;     /* what they were measured for; NULL = nothing was */
    int threads;
} explain_peaks;

/* --peak-gflops and --peak-gbps. CLI_GO or CLI_USAGE; absent ones stay 0. */
int explain_peaks_given(const cli_values *values, explain_peaks *peaks);

/* Measures those that are not given for the context's instruction set and threads, unless they were
 * measured for these; some tenths of a second. */
void explain_peaks_measure(fattn_context *context, explain_peaks *peaks);

#endif
