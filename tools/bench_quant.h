/* SPDX-License-Identifier: Apache-2.0 */
/* bench_quant.h — the suite `quant`: decode over quantised keys and values, beside f16 in the same run. */
#ifndef FATTN_TOOLS_BENCH_QUANT_H
#define FATTN_TOOLS_BENCH_QUANT_H

#include "bench_measure.h"

/* Fills *result; always of f16 queries, whatever the session's dtype. */
void bench_quant(bench_session *session, const bench_row *row, bench_result *result);

#endif
