/* SPDX-License-Identifier: Apache-2.0 */
/* judge_parts.h — what judge.c and success.c share. */
#ifndef FATTN_TESTS_GARBAGE_JUDGE_PARTS_H
#define FATTN_TESTS_GARBAGE_JUDGE_PARTS_H

#include "garbage/judge.h"

enum { CANARY = 0xa5, OTHER = 0x5a };

/* What the functions that compute nothing said. */
typedef struct answers {
    fattn_status shapes, workspace, plan, estimate;
    size_t bytes;
    fattn_plan *made;
} answers;

/* One run of a function that computes; judge_run(&r) does it. */
typedef struct wet_run {
    fattn_context *context;
    call *c;
    fattn_plan *plan; /* NULL: the call itself, or verify when there is a report */
    void *workspace;
    size_t bytes;
    fattn_verify_report *report;
    fattn_status status;
} wet_run;
void judge_run(void *wet);

/* Keeps the sentence; returns false. */
bool judge_wrong(judge *j, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The status is one of ours and, unless OK, has a sentence that names something. */
bool judge_status(judge *j, const call *c, const char *function, fattn_status status);

/* After FATTN_OK from the call, outputs armed with CANARY. */
bool judge_success(judge *j, call *c, fattn_context *context, const answers *a, source *s);

#endif
