/* SPDX-License-Identifier: Apache-2.0 */
/* judge.h — runs one garbage call through every function that takes args, and says what was wrong
 * with how the library took it. */
#ifndef FATTN_TESTS_GARBAGE_JUDGE_H
#define FATTN_TESTS_GARBAGE_JUDGE_H

#include "garbage/call.h"
#include "garbage/source.h"

typedef struct judge {
    fattn_context *contexts[3]; /* default, strict, reference backend; one thread each */
    meter meter;                /* their memory */
    long calls, ok, touched, skipped, out_of_memory;
    long by_status[8];
    char what[600]; /* the first thing wrong */
} judge;

void judge_init(judge *j);
void judge_free(judge *j);

/* The damaged call. false: j->what says what was wrong. */
bool judge_call(judge *j, call *c, source *s);

/* Restores and damages the call itself, between the plan and its run: other args than the planned
 * ones. */
bool judge_run_of_legal_plan(judge *j, call *c, source *s);

#endif
