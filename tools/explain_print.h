/* SPDX-License-Identifier: Apache-2.0 */
/* explain_print.h — an explanation as text and as JSON. */
#ifndef FATTN_TOOLS_EXPLAIN_PRINT_H
#define FATTN_TOOLS_EXPLAIN_PRINT_H

#include "explain_peaks.h"
#include "json.h"

/* What the ceilings make of a call; NAN where a ceiling is missing or the backend is not measured
 * by it. */
typedef struct explain_time {
    double bytes; /* that have to move once */
    double compute_ms, memory_ms, predicted_ms;
    const char *binds; /* "compute", "memory"; NULL = no prediction */
} explain_time;

explain_time explain_predict(const fattn_explanation *e, const explain_peaks *peaks);

/* Why the call takes this path and no other: sentence number i, into text; false behind the last.
 */
bool explain_reason(const fattn_explanation *e, int i, char *text, size_t size);

void explain_print(const fattn_explanation *e, const explain_peaks *peaks);
void explain_json(json_node *object, const fattn_explanation *e, const explain_peaks *peaks);

#endif
