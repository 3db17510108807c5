/* SPDX-License-Identifier: Apache-2.0 */
/* verify_report.h — what `fattn verify` found, as text and as JSON. */
#ifndef FATTN_TOOLS_VERIFY_REPORT_H
#define FATTN_TOOLS_VERIFY_REPORT_H

#include "verify_result.h"

/* A comparison. own is the same call computed here, in the same dtypes: the vendor's competitor. */
typedef struct verified {
    fattn_status status; /* of the call; not FATTN_OK: nothing was compared */
    bool passed;
    fattn_verify_report report; /* of the results, or of the call itself */
    fattn_verify_report own;    /* n_outputs 0: the call itself was compared */
    result_files files;
} verified;

void verified_print(const verified *v, const call_source *source);
json_node *verified_json(const verified *v, const char *text);

#endif
