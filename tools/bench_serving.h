/* SPDX-License-Identifier: Apache-2.0 */
/* bench_serving.h — a row whose calls are problem lines: all of the suites `serving`, `call` and
 * `modes`, and decode-mla128. */
#ifndef FATTN_TOOLS_BENCH_SERVING_H
#define FATTN_TOOLS_BENCH_SERVING_H

#include "bench_measure.h"

/* Fills *result: the call, and in the place of standard attention its plain form, run in turn. Plan
 * and call in microseconds, best of many. */
void bench_serving(bench_session *session, const bench_row *row, bench_result *result);

#endif
