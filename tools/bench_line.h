/* SPDX-License-Identifier: Apache-2.0 */
/* bench_line.h — `fattn bench LINE`: the time of one call that a problem line names. */
#ifndef FATTN_TOOLS_BENCH_LINE_H
#define FATTN_TOOLS_BENCH_LINE_H

#include "bench_measure.h"
#include "problem_line.h"

/* Plans the line's call (its inputs are filled) and times it; 0 runs = as in bench_settings. The
 * result has times and memory; what needs a row's shape stays empty. */
fattn_status bench_line(fattn_context *context, problem_line *line, int runs, bench_result *result);

#endif
