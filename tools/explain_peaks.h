/* SPDX-License-Identifier: Apache-2.0 */
/* explain_peaks.h — the two ceilings of the machine, measured with the benchmark's probes or given. */
#ifndef FATTN_TOOLS_EXPLAIN_PEAKS_H
#define FATTN_TOOLS_EXPLAIN_PEAKS_H

#include "options.h"

typedef struct explain_peaks {
    double gflops; /* fp32 multiply-adds, 10^9 a second */
    double gbps;   /* bytes read from memory, 10^9 a second */
    bool given;    /* both by options */
} explain_peaks;

/* --peak-gflops and --peak-gbps. CLI_GO or CLI_USAGE; absent ones stay 0. */
int explain_peaks_given(const cli_values *values, explain_peaks *peaks);

/* Measures those that are 0 for the context's instruction set and threads; some tenths of a second. */
void explain_peaks_measure(fattn_context *context, explain_peaks *peaks);

#endif
