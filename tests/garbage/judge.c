/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c — what must hold for any args whatever: a status, a sentence that names something,
 * nothing touched on error, no memory lost. What must hold after a success: success.c. */
#include "garbage/judge_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/damage.h"

enum { LARGEST = 256 << 20, SHAPES = FATTN_MAX_RANK };

bool judge_wrong(judge *j, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(j->what, sizeof j->what, format, list);
    va_end(list);
    return false;
}

static fattn_context *make_context(judge *j, int strict, const char *backend)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.threads = 1;
    options.strict = strict;
    options.backend = backend;
    options.allocator = meter_allocator(&j->meter);
    fattn_context *context = NULL;
    if (fattn_context_create(&context, &options) == FATTN_OK) return context;
    fprintf(stderr, "%s\n", fattn_error_message());
    exit(1);
}

void judge_init(judge *j)
{
    memset(j, 0, sizeof *j);
    meter_init(&j->meter, LARGEST, true);
    j->contexts[0] = make_context(j, 0, NULL);
    j->contexts[1] = make_context(j, 1, NULL);
    j->contexts[2] = make_context(j, 0, "ref");
}

void judge_free(judge *j)
{
    for (int i = 0; i < 3; i++) fattn_context_destroy(j->contexts[i]);
}

/* ---- sentences --------------------------------------------------------------------------------
 */

static const char stale[] = "plan is NULL";

/* Leaves a sentence that no operator's failure has. */
static void forget_message(void) { fattn_plan_run(NULL, NULL, NULL, 0); }

static bool names_something(const fattn_operator *op, const char *message)
{
    if (strstr(message, op->name) || strstr(message, "out of memory")) return true;
    for (int i = 0; i < op->n_fields; i++)
        if (strstr(message, op->fields[i].name)) return true;
    return false;
}

bool judge_status(judge *j, const call *c, const char *function, fattn_status status)
{
    const char *message = fattn_error_message();
    if (status == FATTN_OK) return true;
    if ((int)status < FATTN_OK || status > FATTN_E_UNSUPPORTED + 1)
        return judge_wrong(j, "%s: status %d (%s)", function, (int)status, message);
    if (message[0] == '\0' || strncmp(message, stale, strlen(stale)) == 0)
        return judge_wrong(j, "%s: %s without a sentence", function, fattn_status_name(status));
    if (status == FATTN_E_NOMEM && !strstr(message, "out of memory"))
        return judge_wrong(j, "%s: NOMEM, but the text is: %s", function, message);
    if (!names_something(c->op, message))
        return judge_wrong(j, "%s: names nothing: %s", function, message);
    return true;
}

/* ---- functions that compute nothing -----------------------------------------------------------
 */

static bool all_canary(const void *memory, size_t n)
{
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != CANARY) return false;
    return true;
}

/* A number that a plan keeps, without its data: sizes can be told, a plan cannot be made. */
static bool number_missing(const call *c)
{
    for (int t = 0; t < c->n_tensors; t++)
        if ((c->tensors[t].field->flags & FATTN_FIELD_HOST) && !c->tensors[t].t.data) return true;
    return false;
}

/* They read lists, and nothing else that is claimed. */
typedef struct dry_run {
    judge *j;
    call *c;
    fattn_context *context;
    answers *a;
    bool good;
} dry_run;

/* softmax_lse without its flag: callers pass any dummy, and what is not as shapes() says is left
 * alone. */
static bool is_dummy(const fattn_field *f, const fattn_tensor *given, const fattn_tensor *shape)
{
    if (strcmp(f->name, "softmax_lse") != 0 || shape->rank != 1) return false;
    return given->dtype != shape->dtype || given->rank != 1 || given->shape[0] != shape->shape[0];
}

/* Outputs that the call has nothing for: shapes() says so. */
static void find_silent(call *c, const fattn_tensor *shapes)
{
    for (int i = 0, output = 0; i < c->op->n_fields; i++) {
        if (c->op->fields[i].kind != FATTN_FIELD_TENSOR_OUT) continue;
        const fattn_tensor *shape = &shapes[output++];
        for (int t = 0; t < c->n_tensors; t++)
            if (c->tensors[t].field == &c->op->fields[i])
                c->tensors[t].silent =
                    tensor_empty(shape) || is_dummy(&c->op->fields[i], &c->tensors[t].t, shape);
    }
}

static bool ask_shapes(judge *j, call *c, fattn_context *context, answers *a)
{
    fattn_tensor shapes[SHAPES];
    memset(shapes, CANARY, sizeof shapes);
    forget_message();
    a->shapes = c->op->shapes(context, c->args, shapes);
    if (!judge_status(j, c, "shapes", a->shapes)) return false;
    const size_t n = a->shapes == FATTN_OK ? (size_t)c->op->n_outputs : 0;
    if (!all_canary(shapes + n, sizeof shapes - n * sizeof shapes[0]))
        return judge_wrong(j, "shapes: wrote beyond its outputs, or on error");
    if (a->shapes == FATTN_OK) find_silent(c, shapes);
    return true;
}

static bool ask_sizes(judge *j, const call *c, fattn_context *context, answers *a)
{
    forget_message();
    memset(&a->bytes, CANARY, sizeof a->bytes);
    a->workspace = c->op->workspace(context, c->args, &a->bytes);
    if (!judge_status(j, c, "workspace", a->workspace)) return false;
    if (a->workspace != FATTN_OK && !all_canary(&a->bytes, sizeof a->bytes))
        return judge_wrong(j, "workspace: wrote its result on error");

    fattn_memory_estimate estimate;
    memset(&estimate, CANARY, sizeof estimate);
    estimate.size = sizeof estimate;
    forget_message();
    a->estimate = fattn_estimate_memory(context, c->op, c->args, &estimate);
    if (!judge_status(j, c, "estimate_memory", a->estimate)) return false;
    if (a->estimate != FATTN_OK && !all_canary((char *)&estimate + sizeof estimate.size,
                                               sizeof estimate - sizeof estimate.size))
        return judge_wrong(j, "estimate_memory: wrote its result on error");
    return true;
}

static bool ask_plan(judge *j, const call *c, fattn_context *context, answers *a)
{
    forget_message();
    memset(&a->made, CANARY, sizeof a->made);
    a->plan = c->op->plan(context, c->args, &a->made);
    if (a->plan != FATTN_OK && !all_canary(&a->made, sizeof a->made))
        return judge_wrong(j, "plan: wrote its handle on error");
    if (a->plan != FATTN_OK) a->made = NULL;
    return judge_status(j, c, "plan", a->plan);
}

static void ask(void *arg)
{
    dry_run *d = arg;
    d->good = ask_shapes(d->j, d->c, d->context, d->a) && ask_sizes(d->j, d->c, d->context, d->a) &&
              ask_plan(d->j, d->c, d->context, d->a);
}

/* ---- functions that compute -------------------------------------------------------------------
 */

void judge_run(void *arg)
{
    wet_run *r = arg;
    if (r->context) fattn_generator_seed(r->context, 0); /* the same draw for call and plan */
    forget_message();
    if (r->plan)
        r->status = fattn_plan_run(r->plan, r->c->args, r->workspace, r->bytes);
    else if (r->report)
        r->status = fattn_verify(r->context, r->c->op, r->c->args, r->report);
    else
        r->status = r->c->op->call(r->context, r->c->args);
}

static wild_ranges claimed(const call *c, bool tensors)
{
    wild_ranges all = c->wild_lists;
    for (int i = 0; tensors && i < c->n_tensors; i++) {
        const call_tensor *t = &c->tensors[i];
        int64_t low, high;
        if (call_state(t) != TENSOR_WILD || t->no_data || !tensor_span(&t->t, &low, &high))
            continue;
        const int64_t size = (int64_t)fattn_dtype_size(t->t.dtype);
        all.range[all.n].begin = wild_middle() + low * size;
        all.range[all.n++].end = wild_middle() + (high + 1) * size;
    }
    return all;
}

static bool any_in_state(const call *c, tensor_state state)
{
    for (int i = 0; i < c->n_tensors; i++)
        if (call_state(&c->tensors[i]) == state && call_uses(c, &c->tensors[i])) return true;
    return false;
}

static const char *tensor_without_data(const call *c)
{
    for (int i = 0; i < c->n_tensors; i++) {
        const call_tensor *t = &c->tensors[i];
        if (t->no_data && call_uses(c, t) && call_state(t) != TENSOR_MALFORMED &&
            !tensor_empty(&t->t))
            return t->field->name;
    }
    return NULL;
}

/* ---- one call ---------------------------------------------------------------------------------
 */

/* Sizes may be asked for without outputs, plans not. */
static bool output_missing(const call *c)
{
    for (int i = 0; i < c->op->n_fields; i++) {
        const fattn_field *f = &c->op->fields[i];
        if (f->kind == FATTN_FIELD_TENSOR_OUT && (f->flags & FATTN_FIELD_REQUIRED) &&
            !*(const fattn_tensor *const *)call_at(c, f))
            return true;
    }
    return false;
}

static bool check_dry(judge *j, const call *c, const answers *a)
{
    if (!call_untouched(c, CANARY))
        return judge_wrong(j, "shapes, workspace, plan or estimate wrote an output");
    if (a->workspace != FATTN_OK) return true;
    if (any_in_state(c, TENSOR_MALFORMED)) return judge_wrong(j, "a malformed tensor is accepted");
    if (a->shapes != FATTN_OK)
        return judge_wrong(j, "workspace is fine, shapes: %d", (int)a->shapes);
    if (a->plan != FATTN_OK && a->plan != FATTN_E_NOMEM && !output_missing(c) && !number_missing(c))
        return judge_wrong(j, "workspace is fine, plan: %d", (int)a->plan);
    return true;
}

/* After an error: nothing touched; the plan and verify see it too, when they can. */
static bool after_error(judge *j, call *c, fattn_context *context, const answers *a,
                        bool dry_failed)
{
    if (!call_untouched(c, CANARY)) return judge_wrong(j, "an output was touched on error");
    fattn_verify_report report = {.size = sizeof report};
    wet_run v = {.context = context, .c = c, .report = &report};
    const wild_ranges lists = claimed(c, false);
    const bool by_shape = dry_failed && a->workspace != FATTN_E_NOMEM;
    if (!by_shape && !tensor_without_data(c)) return true; /* contents or memory */
    if (!wild_run(&lists, judge_run, &v)) return j->touched++, true;
    if (!judge_status(j, c, "verify", v.status)) return false;
    if (v.status == FATTN_OK) return judge_wrong(j, "verify accepts what the call refuses");
    if (!a->made) return true;
    wet_run p = {.c = c, .plan = a->made};
    judge_run(&p);
    if (!judge_status(j, c, "plan_run", p.status)) return false;
    if (p.status == FATTN_OK) return judge_wrong(j, "plan_run accepts what the call refuses");
    return call_untouched(c, CANARY) || judge_wrong(j, "plan_run touched an output on error");
}

static bool judge_wet(judge *j, call *c, fattn_context *context, const answers *a, source *s)
{
    const bool dry_failed = a->workspace != FATTN_OK;
    if (!dry_failed && any_in_state(c, TENSOR_FAR)) return j->skipped++, true;
    wet_run r = {.context = context, .c = c};
    const wild_ranges all = claimed(c, !dry_failed);
    if (!wild_run(&all, judge_run, &r)) return j->touched++, true;
    j->by_status[r.status > 7 ? 7 : r.status]++;
    if (!judge_status(j, c, "call", r.status)) return false;
    if (r.status == FATTN_E_NOMEM) j->out_of_memory++;
    if (r.status != FATTN_OK) return after_error(j, c, context, a, dry_failed);
    if (dry_failed) return judge_wrong(j, "the call is fine where workspace refuses");
    if (tensor_without_data(c))
        return judge_wrong(j, "%s has no data and is accepted", tensor_without_data(c));
    if (any_in_state(c, TENSOR_WILD)) return true; /* claimed much and was never asked for it */
    j->ok++;
    return judge_success(j, c, context, a, s);
}

bool judge_call(judge *j, call *c, source *s)
{
    static const int which[] = {0, 1, 0, 2};
    fattn_context *context = j->contexts[which[source_pick(s, 4)]];
    const long mark = meter_mark(&j->meter), live = atomic_load(&j->meter.live),
               touched = j->touched;
    answers a = {.made = NULL};
    dry_run dry = {j, c, context, &a, false};
    const wild_ranges lists = claimed(c, false);
    j->calls++;
    call_arm(c, CANARY);
    if (!wild_run(&lists, ask, &dry)) {
        meter_rewind(&j->meter, mark);
        return j->touched++, true;
    }
    const bool good = dry.good && check_dry(j, c, &a) && judge_wet(j, c, context, &a, s);
    fattn_plan_destroy(a.made);
    if (j->touched > touched || !good)
        meter_rewind(&j->meter, mark);
    else if (atomic_load(&j->meter.live) != live)
        return judge_wrong(j, "memory leaks");
    return good;
}

bool judge_run_of_legal_plan(judge *j, call *c, source *s)
{
    fattn_context *context = j->contexts[source_pick(s, 3)];
    fattn_plan *plan = NULL;
    call_restore(c);
    if (c->op->plan(context, c->args, &plan) != FATTN_OK)
        return true; /* strict refuses some lines */
    call_damage(c, s);
    call_arm(c, CANARY);
    wet_run r = {.c = c, .plan = plan};
    judge_run(&r);
    j->calls++;
    bool good = judge_status(j, c, "plan_run", r.status);
    if (good && r.status != FATTN_OK && !call_untouched(c, CANARY))
        good = judge_wrong(j, "plan_run touched an output on error");
    if (good && r.status == FATTN_OK && !call_only_elements(c, CANARY))
        good = judge_wrong(j, "plan_run wrote outside the outputs' elements");
    fattn_plan_destroy(plan);
    return good;
}
