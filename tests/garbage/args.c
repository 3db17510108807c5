/* SPDX-License-Identifier: Apache-2.0 */
/* args.c — garbage calls of every operator: legal ones, damaged through the field table.
 *
 * usage: test_garbage_args [--op NAME] [--count N] [--number K] [--verbose]
 * Call number K of an operator is the same on every machine and in every run. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "garbage/damage.h"
#include "garbage/judge.h"
#include "garbage/lines.h"

enum { LINES = 24, COUNT = 10000, SECONDS = 60 };

static call *current;
static long current_number;

/* Which call it was; from a signal handler, so it only writes. */
static void say(int signal_number)
{
    char text[256];
    const int n = snprintf(text, sizeof text, "\nFAILED: signal %d in: --op %s --number %ld\n  ",
                           signal_number, current ? current->op->name : "?", current_number);
    ssize_t written = write(1, text, (size_t)n);
    if (current) {
        written += write(1, current->text, strlen(current->text));
        written += write(1, "\n  ", 3);
        written += write(1, current->log, strlen(current->log));
        written += write(1, "\n", 1);
    }
    signal(signal_number, SIG_DFL);
    if (written >= 0) raise(signal_number);
}

typedef struct session {
    judge j;
    long count, only; /* only: one number, -1 = all */
    bool verbose;
    long failures;
} session;

static void fail(session *s)
{
    printf("FAILED: %s\n  --op %s --number %ld\n  %s\n  %s\n", s->j.what, current->op->name,
           current_number, current->text, current->log);
    s->failures++;
}

static void one(session *s, call **calls, int n_calls, long number)
{
    source from = source_seeded((uint64_t)number * 2654435761u + strlen(calls[0]->op->name));
    current = calls[source_pick(&from, n_calls)];
    current_number = number;
    alarm(SECONDS);
    bool good;
    if (source_pick(&from, 8) == 0) {
        good = judge_run_of_legal_plan(&s->j, current, &from);
    } else {
        call_damage(current, &from);
        good = judge_call(&s->j, current, &from);
    }
    if (s->verbose)
        printf("%ld: %s\n  %s\n  %s\n", number, current->text, current->log, fattn_error_message());
    if (!good) fail(s);
}

/* The lines themselves are legal, and survive the same judgement. */
static void undamaged(session *s, call *c)
{
    current = c;
    current_number = -1;
    const long ok = s->j.ok;
    for (uint64_t seed = 0; seed < 8; seed++) { /* other contexts, other workspaces */
        source from = source_seeded(seed);
        call_restore(c);
        if (!judge_call(&s->j, c, &from)) fail(s);
    }
    if (s->j.ok > ok) return;
    snprintf(s->j.what, sizeof s->j.what, "the legal call fails: %.500s", fattn_error_message());
    fail(s);
}

static void one_operator(session *s, const fattn_operator *op)
{
    call *calls[LINES];
    int n = 0;
    for (; n < LINES && small_line(op, n); n++) {
        calls[n] = call_new(small_line(op, n), NULL);
        if (!calls[n]) exit(1);
        undamaged(s, calls[n]);
    }
    const long before = s->j.calls, ok = s->j.ok;
    const long first = s->only >= 0 ? s->only : 0, end = s->only >= 0 ? s->only + 1 : s->count;
    for (long i = first; i < end && s->failures < 20; i++) one(s, calls, n, i);
    printf("%s: %ld garbage calls, %ld of them legal, %d lines\n", op->name, s->j.calls - before,
           s->j.ok - ok, n);
    if (s->only < 0 && n > 0 && (s->j.ok - ok) * 50 < s->j.calls - before) {
        printf("FAILED: too few of the damaged calls are still legal to say anything\n");
        s->failures++;
    }
    current = NULL;
    for (int i = 0; i < n; i++) call_free(calls[i]);
}

static void install(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM};
    for (int i = 0; i < 6; i++) signal(signals[i], say);
}

int main(int argc, char **argv)
{
    static session s = {.only = -1};
    const char *name = NULL, *text = getenv("FATTN_GARBAGE_COUNT");
    s.count = text ? atol(text) : COUNT;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--verbose") == 0)
            s.verbose = true;
        else if (i + 1 == argc)
            return 64;
        else if (strcmp(argv[i], "--op") == 0)
            name = argv[++i];
        else if (strcmp(argv[i], "--count") == 0)
            s.count = atol(argv[++i]);
        else if (strcmp(argv[i], "--number") == 0)
            s.only = atol(argv[++i]);
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    install();
    judge_init(&s.j);
    int n;
    const fattn_operator *ops = fattn_operators(&n);
    for (int i = 0; i < n; i++)
        if (!name || strcmp(ops[i].name, name) == 0) one_operator(&s, &ops[i]);
    printf("%ld calls: ok %ld, arg %ld, shape %ld, dtype %ld, unsupported %ld, no memory %ld; wild "
           "memory "
           "touched as claimed %ld, not called %ld\n",
           s.j.calls, s.j.by_status[0], s.j.by_status[1], s.j.by_status[2], s.j.by_status[3],
           s.j.by_status[4], s.j.by_status[5], s.j.touched, s.j.skipped);
    judge_free(&s.j);
    if (atomic_load(&s.j.meter.live) != 0) printf("FAILED: memory leaks\n"), s.failures++;
    return s.failures ? 1 : 0;
}
