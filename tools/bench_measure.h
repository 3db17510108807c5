/* SPDX-License-Identifier: Apache-2.0 */
/* bench_measure.h — measuring rows: ours, standard attention and the machine's limits in turn, so
 * that all three see the same machine. */
#ifndef FATTN_TOOLS_BENCH_MEASURE_H
#define FATTN_TOOLS_BENCH_MEASURE_H

#include "bench_case.h"
#include "bench_probe.h"
#include "standard.h"

typedef struct bench_settings {
    fattn_dtype dtype; /* f32, f16, bf16 */
    int runs;          /* of each row; 0 = as many as some seconds allow, at least 5 */
    bool standard;     /* measure standard attention, too */
} bench_settings;

enum { BENCH_MOST_RUNS = 200 };

/* Figures that do not apply are NAN, and -1 where they are integers. */
typedef struct bench_result {
    bench_row row;
    const char *line; /* the problem line that was timed, NULL for a suite's row */
    fattn_dtype dtype;
    int64_t runs;
    double ms, best_ms;                                    /* median, best */
    double gflops, peak_gflops, gbps, peak_gbps, fraction; /* of the best run */
    double standard_ms, ratio;                             /* medians */
    int64_t extra_bytes, standard_bytes;                   /* beside inputs and outputs */
    double plan_us, call_us;                               /* best; suites serving and call */
    int64_t kv_bytes;                                      /* suite quant: with scales */
    double f16_ratio, err_unquantised, err_dequantised;    /* suite quant */
    char note[200]; /* why a figure is missing, "" = none is */
    bool failed;    /* the call was refused, which no row should be */
} bench_result;

/* A result without figures. */
bench_result bench_result_empty(void);
/* runs, ms and best_ms from n times, which it sorts. */
void bench_result_times(bench_result *result, double *ms, int n);
/* Is one more run due after n of them and so many seconds? runs = 0: as the clock says. */
bool bench_more(int n, int runs, double seconds);

typedef struct bench_session {
    fattn_context *context;
    bench_settings settings;
    bench_pool *pool;
    bench_probe probe;
    const bench_simd *fastest; /* for standard attention, whatever FATTN_ISA says */
    uint64_t memory_bytes;     /* of the machine, or the limit of our control group */
    bench_buffer q, k, v, out, standard_out, standard_work;
} bench_session;

/* false after a sentence on stderr. The context must outlive the session. */
bool bench_session_open(bench_session *session, fattn_context *context, bench_settings settings);
void bench_session_close(bench_session *session);

/* Fills *result; a row that cannot be measured gets NANs and a note. */
void bench_measure(bench_session *session, const bench_row *row, bench_result *result);

/* Writes the session's best peaks, and what follows from them, into all results. */
void bench_finish(const bench_session *session, bench_result *results, int n);

/* The human table, with the peaks and what is missing below. */
void bench_print_table(const bench_session *session, const bench_result *results, int n);

/* "AMD EPYC …": the processor's name as the system tells it; into text[size]. */
void bench_machine(char *text, size_t size);

#endif
