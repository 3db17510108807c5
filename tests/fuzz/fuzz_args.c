/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_args.c — the fuzzer's bytes choose an operator, a legal line and how it is damaged. */
#include <stdio.h>
#include <stdlib.h>

#include "garbage/damage.h"
#include "garbage/judge.h"
#include "garbage/lines.h"

enum { CALLS = 128 };

static judge j;
static call *calls[CALLS];
static int n_calls;

static void start(void)
{
    int n_ops;
    const fattn_operator *ops = fattn_operators(&n_ops);
    judge_init(&j);
    for (int i = 0; i < n_ops; i++)
        for (int l = 0; small_line(&ops[i], l) && n_calls < CALLS; l++) {
            calls[n_calls] = call_new(small_line(&ops[i], l), NULL);
            if (!calls[n_calls++]) abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    if (n_calls == 0) start();
    source s = source_of_bytes(bytes, n);
    call *c = calls[source_pick(&s, n_calls)];
    bool good;
    if (source_pick(&s, 8) == 7) {
        good = judge_run_of_legal_plan(&j, c, &s);
    } else {
        call_damage(c, &s);
        good = judge_call(&j, c, &s);
    }
    if (good) return 0;
    fprintf(stderr, "FAILED: %s\n  %s\n  %s\n", j.what, c->text, c->log);
    abort();
}
