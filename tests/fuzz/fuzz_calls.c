/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_calls.c — every function of every operator with args from bytes, as fast as they answer: one
 * input is one args struct and goes through all of them. Memory is never claimed that is not there:
 * tensors that claim more than their slot have no data.
 *
 * FATTN_FUZZ_SHOW=1 prints the call before it is made (for an input that crashes). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/functions.h"
#include "fuzz/room.h"
#include "fuzz/shake.h"
#include "garbage/lines.h"

enum { OPS = 16, LINES = 24, WORKSPACE = 1 << 20 };

static sample samples[OPS][LINES];
static int n_ops, n_samples[OPS], first_function[OPS];
static const fattn_operator *ops;
static fattn_context *contexts[3];
static _Alignas(64) unsigned char workspace[WORKSPACE + 64];
static shaken k;
static bool show;

static void start(void)
{
    setenv("FATTN_THREADS", "1", 1);
    show = getenv("FATTN_FUZZ_SHOW") != NULL;
    contexts[0] = room_context(0, NULL);
    contexts[1] = room_context(1, NULL);
    contexts[2] = room_context(0, "ref");
    ops = fattn_operators(&n_ops);
    if (n_ops > OPS) failed("more than %d operators", OPS);
    for (int i = 0; i < n_ops; i++) {
        first_function[i] = function_of_operator(ops[i].name);
        for (int l = 0; l < LINES && small_line(&ops[i], l); l++)
            if (sample_open(&samples[i][n_samples[i]], small_line(&ops[i], l), contexts[0]))
                n_samples[i]++;
        if (n_samples[i] == 0) failed("%s: no sample", ops[i].name);
    }
    functions_report_at_exit();
    room_mark();
}

static void check(fattn_status status, const char *what, const fattn_operator *op)
{
    char text[96];
    if (status == FATTN_OK) return;
    snprintf(text, sizeof text, "%s of %s", what, op->name);
    if (status == FATTN_E_NOMEM + 1) failed("%s: busy", text);
    check_status(status, text);
}

/* What computes nothing. */
typedef struct answers {
    fattn_status shapes, workspace, plan;
    size_t bytes;
    fattn_plan *made;
} answers;

static answers ask(const fattn_operator *op, int function, fattn_context *context)
{
    answers a = {.made = NULL};
    fattn_tensor shapes[FATTN_MAX_RANK];
    fattn_memory_estimate estimate = {.size = sizeof estimate};
    function_calls[function + OP_SHAPES]++;
    check(a.shapes = op->shapes(context, k.args, shapes), "shapes", op);
    function_calls[function + OP_WORKSPACE]++;
    check(a.workspace = op->workspace(context, k.args, &a.bytes), "workspace", op);
    check(CALL(fattn_estimate_memory, context, op, k.args, &estimate), "estimate_memory", op);
    fattn_explanation explanation = {.size = sizeof explanation};
    const fattn_status explained = CALL(fattn_explain, context, op, k.args, &explanation);
    check(explained, "explain", op);
    if (explained == FATTN_OK && a.workspace != FATTN_OK)
        failed("%s: explain is fine where workspace is not", op->name);
    function_calls[function + OP_PLAN]++;
    check(a.plan = op->plan(context, k.args, &a.made), "plan", op);
    if (a.plan != FATTN_OK && a.made) failed("plan of %s: a handle on error", op->name);
    if (a.workspace == FATTN_OK && a.shapes != FATTN_OK)
        failed("%s: workspace is fine, shapes is not", op->name);
    return a;
}

static void run_call(const fattn_operator *op, int function, fattn_context *context,
                     const answers *a)
{
    function_calls[function + OP_CALL]++;
    const fattn_status status = op->call(context, k.args);
    check(status, "call", op);
    if (status == FATTN_OK && a->workspace != FATTN_OK)
        failed("%s: the call is fine where workspace says: %s", op->name, fattn_error_message());
    if (status != FATTN_OK && !shake_untouched(&k))
        failed("%s: an output is touched on error", op->name);
}

/* The plan with the args it was made from, or with others; its own workspace, or ours. */
static void run_plan(const fattn_operator *op, fattn_plan *plan, source *s)
{
    const size_t needs = CALL(fattn_plan_workspace, plan);
    const int how = source_pick(s, 8);
    const size_t bytes = how < 5 ? needs : how == 5 ? needs - 1 : (size_t)source_pick(s, 65536);
    if (source_pick(s, 4) == 3) {
        shake_more(&k, s, 1 + source_pick(s, 2));
        shake_place(&k, s);
        shake_arm(&k);
    }
    unsigned char *memory = how == 0 || bytes > WORKSPACE ? NULL : workspace + (how == 7);
    const fattn_status status = CALL(fattn_plan_run, plan, k.args, memory, bytes);
    check(status, "plan_run", op);
    if (status == FATTN_OK && memory && bytes < needs)
        failed("%s: a short workspace is fine", op->name);
    if (status != FATTN_OK && !shake_untouched(&k))
        failed("plan of %s: an output is touched on error", op->name);
}

static void run_verify(const fattn_operator *op, fattn_context *context)
{
    fattn_verify_report report = {.size = sizeof report};
    check(CALL(fattn_verify, context, op, k.args, &report), "verify", op);
    if (!shake_untouched(&k)) failed("verify of %s: an output is touched", op->name);
}

static void end_plan(const answers *a)
{
    if (a->plan != FATTN_OK) return;
    if (!CALL(fattn_plan_describe, a->made)[0]) failed("a plan without a description");
    CALL(fattn_plan_destroy, a->made);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static _Alignas(64) unsigned char fresh[SHAKE_ARGS];
    if (n_ops == 0) start();
    source s = source_of_bytes(bytes, n);
    const int o = source_pick(&s, n_ops), function = first_function[o];
    const fattn_operator *op = &ops[o];
    const sample *b = &samples[o][source_pick(&s, n_samples[o])];
    static const uint8_t which[8] = {0, 0, 0, 0, 0, 1, 1, 2};
    const int pick = source_pick(&s, 16);
    fattn_context *context = contexts[which[pick % 8]];
    const int wet = source_pick(&s, 8);

    function_calls[function + OP_INIT]++;
    op->args_init(fresh);
    /* the process default takes any memory it can get, so nothing big for it */
    if (shake(&k, b, &s) == 0 && pick == 15) context = NULL;
    shake_place(&k, &s);
    shake_arm(&k);
    if (show) shake_print(&k);

    const answers a = ask(op, function, context);
    if (!shake_untouched(&k)) failed("%s: shapes, workspace or plan wrote an output", op->name);
    if (wet < 4 || (a.plan != FATTN_OK && wet < 6))
        run_call(op, function, context, &a);
    else if (wet < 6)
        run_plan(op, a.made, &s);
    else
        run_verify(op, context);
    if (CALL0(fattn_error_message) == NULL) failed("no message");
    end_plan(&a);
    room_check();
    return 0;
}

/* libFuzzer's own changes; every second time the next operator, so that each has its share however
 * few new paths it offers. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static unsigned turn;
    (void)seed;
    size = LLVMFuzzerMutate(data, size, max_size);
    if (size > 0 && turn++ % 2) data[0] = (uint8_t)(turn / 2 % (unsigned)n_ops);
    return size;
}
