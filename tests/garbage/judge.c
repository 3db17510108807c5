/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c — what must hold for any args whatever: a status, a sentence that names something, nothing
 * touched on error; on success every element of every output and nothing else, the same bits from call,
 * plan and contiguous copies, inside the accuracy bound. */
#include "garbage/judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "garbage/damage.h"

enum { CANARY = 0xa5, OTHER = 0x5a, LARGEST = 256 << 20, SHAPES = FATTN_MAX_RANK };

static bool wrong(judge *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool wrong(judge *j, const char *format, ...)
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

/* ---- sentences -------------------------------------------------------------------------------- */

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

static bool good_status(judge *j, const call *c, const char *function, fattn_status status)
{
    const char *message = fattn_error_message();
    if (status == FATTN_OK) return true;
    if ((int)status < FATTN_OK || status > FATTN_E_UNSUPPORTED + 1)
        return wrong(j, "%s: status %d (%s)", function, (int)status, message);
    if (message[0] == '\0' || strncmp(message, stale, strlen(stale)) == 0)
        return wrong(j, "%s: %s without a sentence", function, fattn_status_name(status));
    if (status == FATTN_E_NOMEM && !strstr(message, "out of memory"))
        return wrong(j, "%s: NOMEM, but the text is: %s", function, message);
    if (!names_something(c->op, message)) return wrong(j, "%s: names nothing: %s", function, message);
    return true;
}

/* ---- functions that compute nothing ----------------------------------------------------------- */

typedef struct answers {
    fattn_status shapes, workspace, plan, estimate;
    size_t bytes;
    fattn_plan *made;
} answers;

static bool all_canary(const void *memory, size_t n)
{
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != CANARY) return false;
    return true;
}

/* They read lists, and nothing else that is claimed. */
typedef struct dry_run {
    judge *j;
    call *c;
    fattn_context *context;
    answers *a;
    bool good;
} dry_run;

/* Outputs that the call has nothing for: shapes() says so. */
static void find_silent(call *c, const fattn_tensor *shapes)
{
    for (int i = 0, output = 0; i < c->op->n_fields; i++) {
        if (c->op->fields[i].kind != FATTN_FIELD_TENSOR_OUT) continue;
        const bool silent = tensor_empty(&shapes[output++]);
        for (int t = 0; t < c->n_tensors; t++)
            if (c->tensors[t].field == &c->op->fields[i]) c->tensors[t].silent = silent;
    }
}

static bool ask_shapes(judge *j, call *c, fattn_context *context, answers *a)
{
    fattn_tensor shapes[SHAPES];
    memset(shapes, CANARY, sizeof shapes);
    forget_message();
    a->shapes = c->op->shapes(context, c->args, shapes);
    if (!good_status(j, c, "shapes", a->shapes)) return false;
    const size_t n = a->shapes == FATTN_OK ? (size_t)c->op->n_outputs : 0;
    if (!all_canary(shapes + n, sizeof shapes - n * sizeof shapes[0]))
        return wrong(j, "shapes: wrote beyond its outputs, or on error");
    if (a->shapes == FATTN_OK) find_silent(c, shapes);
    return true;
}

static bool ask_sizes(judge *j, const call *c, fattn_context *context, answers *a)
{
    forget_message();
    memset(&a->bytes, CANARY, sizeof a->bytes);
    a->workspace = c->op->workspace(context, c->args, &a->bytes);
    if (!good_status(j, c, "workspace", a->workspace)) return false;
    if (a->workspace != FATTN_OK && !all_canary(&a->bytes, sizeof a->bytes))
        return wrong(j, "workspace: wrote its result on error");

    fattn_memory_estimate estimate;
    memset(&estimate, CANARY, sizeof estimate);
    estimate.size = sizeof estimate;
    forget_message();
    a->estimate = fattn_estimate_memory(context, c->op, c->args, &estimate);
    if (!good_status(j, c, "estimate_memory", a->estimate)) return false;
    if (a->estimate != FATTN_OK &&
        !all_canary((char *)&estimate + sizeof estimate.size, sizeof estimate - sizeof estimate.size))
        return wrong(j, "estimate_memory: wrote its result on error");
    return true;
}

static bool ask_plan(judge *j, const call *c, fattn_context *context, answers *a)
{
    forget_message();
    memset(&a->made, CANARY, sizeof a->made);
    a->plan = c->op->plan(context, c->args, &a->made);
    if (a->plan != FATTN_OK && !all_canary(&a->made, sizeof a->made))
        return wrong(j, "plan: wrote its handle on error");
    if (a->plan != FATTN_OK) a->made = NULL;
    return good_status(j, c, "plan", a->plan);
}

static void ask(void *arg)
{
    dry_run *d = arg;
    d->good = ask_shapes(d->j, d->c, d->context, d->a) && ask_sizes(d->j, d->c, d->context, d->a) &&
              ask_plan(d->j, d->c, d->context, d->a);
}

/* ---- functions that compute ------------------------------------------------------------------- */

typedef struct wet_run {
    fattn_context *context;
    call *c;
    fattn_plan *plan; /* NULL: the call itself, or verify when there is a report */
    void *workspace;
    size_t bytes;
    fattn_verify_report *report;
    fattn_status status;
} wet_run;

static void run(void *arg)
{
    wet_run *r = arg;
    forget_message();
    if (r->plan) r->status = fattn_plan_run(r->plan, r->c->args, r->workspace, r->bytes);
    else if (r->report) r->status = fattn_verify(r->context, r->c->op, r->c->args, r->report);
    else r->status = r->c->op->call(r->context, r->c->args);
}

static wild_ranges claimed(const call *c, bool tensors)
{
    wild_ranges all = c->wild_lists;
    for (int i = 0; tensors && i < c->n_tensors; i++) {
        const call_tensor *t = &c->tensors[i];
        int64_t low, high;
        if (call_state(t) != TENSOR_WILD || t->no_data || !tensor_span(&t->t, &low, &high)) continue;
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
        if (t->no_data && call_uses(c, t) && call_state(t) != TENSOR_MALFORMED && !tensor_empty(&t->t))
            return t->field->name;
    }
    return NULL;
}

/* ---- after a success -------------------------------------------------------------------------- */

typedef struct snapshot {
    unsigned char *bytes;
    size_t n;
} snapshot;

/* Every element that the call wrote, in order, and the cells. */
static snapshot take(const call *c)
{
    size_t room = sizeof c->cells;
    for (int i = 0; i < c->n_tensors; i++)
        if (call_writes(c, &c->tensors[i]))
            room += (size_t)tensor_count(&c->tensors[i].t) * sizeof(int64_t);
    snapshot s = {malloc(room), 0};
    if (!s.bytes) abort();
    for (int i = 0; i < c->n_tensors; i++) {
        const fattn_tensor *t = &c->tensors[i].t;
        if (!call_writes(c, &c->tensors[i])) continue;
        const size_t size = fattn_dtype_size(t->dtype);
        for (int64_t e = 0; e < tensor_count(t); e++, s.n += size)
            memcpy(s.bytes + s.n, (const char *)t->data + tensor_byte(t, e), size);
    }
    for (int i = 0; i < c->op->n_fields; i++) {
        if (c->op->fields[i].kind != FATTN_FIELD_INT_OUT) continue;
        const int64_t *cell = *(int64_t *const *)call_at(c, &c->op->fields[i]);
        if (!cell) continue;
        memcpy(s.bytes + s.n, cell, sizeof *cell);
        s.n += sizeof *cell;
    }
    return s;
}

static bool equals(const call *c, const snapshot *before)
{
    const snapshot now = take(c);
    const bool same = now.n == before->n && memcmp(now.bytes, before->bytes, now.n) == 0;
    free(now.bytes);
    return same;
}

/* The plan, with another canary and sometimes a workspace of ours that ends at a fence. */
static bool agrees_with_plan(judge *j, call *c, const answers *a, const snapshot *first, bool own)
{
    if (!a->made) return a->plan == FATTN_E_NOMEM || wrong(j, "plan fails where the call does not");
    fenced slot = {NULL, 0};
    wet_run r = {.c = c, .plan = a->made, .bytes = fattn_plan_workspace(a->made)};
    if (c->op->n_outputs && r.bytes != a->bytes)
        return wrong(j, "workspace() says %zu, the plan %zu", a->bytes, r.bytes);
    if (!own && r.bytes) {
        slot = fenced_new(r.bytes + 64);
        r.workspace = fenced_end(&slot) - (r.bytes + 63) / 64 * 64;
    }
    call_arm(c, OTHER);
    run(&r);
    const bool good = r.status == FATTN_OK && equals(c, first) && call_only_elements(c, OTHER);
    fenced_free(&slot);
    if (good) return true;
    if (r.status != FATTN_OK) return wrong(j, "plan_run: %s", fattn_error_message());
    return wrong(j, "an element was not written, or call and plan differ");
}

/* A row-major copy of a tensor in new memory. */
static fattn_tensor contiguous_copy(const fattn_tensor *t)
{
    const size_t size = fattn_dtype_size(t->dtype);
    const int64_t count = tensor_count(t);
    unsigned char *data = aligned_alloc(64, ((size_t)count * size + 64) / 64 * 64);
    if (!data) abort();
    for (int64_t i = 0; i < count; i++)
        memcpy(data + (size_t)i * size, (const char *)t->data + tensor_byte(t, i), size);
    return fattn_tensor_contiguous(data, t->dtype, t->rank, t->shape);
}

/* Strides never change a result: the same call on contiguous copies. */
static bool agrees_with_copies(judge *j, call *c, fattn_context *context, const snapshot *first)
{
    fattn_tensor kept[CALL_TENSORS];
    bool copied[CALL_TENSORS];
    call_arm(c, OTHER);
    for (int i = 0; i < c->n_tensors; i++) {
        kept[i] = c->tensors[i].t;
        copied[i] = call_uses(c, &c->tensors[i]) && kept[i].data;
        if (copied[i]) c->tensors[i].t = contiguous_copy(&kept[i]);
    }
    const fattn_status status = c->op->call(context, c->args);
    const bool good = status == FATTN_OK && equals(c, first);
    for (int i = 0; i < c->n_tensors; i++) {
        if (copied[i]) free(c->tensors[i].t.data);
        c->tensors[i].t = kept[i];
    }
    if (good) return true;
    return wrong(j, "contiguous copies give %s",
                 status == FATTN_OK ? "other bits" : fattn_error_message());
}

static bool inside_bound(judge *j, call *c, fattn_context *context)
{
    fattn_verify_report report = {.size = sizeof report};
    wet_run r = {.context = context, .c = c, .report = &report};
    run(&r);
    if (!good_status(j, c, "verify", r.status)) return false;
    if (r.status == FATTN_E_UNSUPPORTED) return true;
    if (r.status != FATTN_OK) return wrong(j, "verify: %s", fattn_error_message());
    if (report.passed || c->extreme) return true;
    return wrong(j, "%s[%lld] = %.9g, exact %.9g, bound %.3g", report.worst_output,
                 (long long)report.worst_index, report.worst_got, report.worst_exact,
                 report.worst_bound);
}

static bool after_success(judge *j, call *c, fattn_context *context, const answers *a, source *s)
{
    if (!call_only_elements(c, CANARY)) return wrong(j, "wrote outside the outputs' elements");
    if (!inside_bound(j, c, context)) return false;
    const snapshot first = take(c);
    const bool good = agrees_with_plan(j, c, a, &first, source_pick(s, 2)) &&
                      (!c->strides_changed || agrees_with_copies(j, c, context, &first));
    free(first.bytes);
    return good;
}

/* ---- one call --------------------------------------------------------------------------------- */

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
    if (!call_untouched(c, CANARY)) return wrong(j, "shapes, workspace, plan or estimate wrote an output");
    if (a->workspace != FATTN_OK) return true;
    if (any_in_state(c, TENSOR_MALFORMED)) return wrong(j, "a malformed tensor is accepted");
    if (a->shapes != FATTN_OK) return wrong(j, "workspace is fine, shapes: %d", (int)a->shapes);
    if (a->plan != FATTN_OK && a->plan != FATTN_E_NOMEM && !output_missing(c))
        return wrong(j, "workspace is fine, plan: %d", (int)a->plan);
    return true;
}

/* After an error: nothing touched; the plan and verify see it too, when they can. */
static bool after_error(judge *j, call *c, fattn_context *context, const answers *a, bool dry_failed)
{
    if (!call_untouched(c, CANARY)) return wrong(j, "an output was touched on error");
    fattn_verify_report report = {.size = sizeof report};
    wet_run v = {.context = context, .c = c, .report = &report};
    const wild_ranges lists = claimed(c, false);
    const bool by_shape = dry_failed && a->workspace != FATTN_E_NOMEM;
    if (!by_shape && !tensor_without_data(c)) return true; /* contents or memory */
    if (!wild_run(&lists, run, &v)) return j->touched++, true;
    if (!good_status(j, c, "verify", v.status)) return false;
    if (v.status == FATTN_OK) return wrong(j, "verify accepts what the call refuses");
    if (!a->made) return true;
    wet_run p = {.c = c, .plan = a->made};
    run(&p);
    if (!good_status(j, c, "plan_run", p.status)) return false;
    if (p.status == FATTN_OK) return wrong(j, "plan_run accepts what the call refuses");
    return call_untouched(c, CANARY) || wrong(j, "plan_run touched an output on error");
}

static bool judge_wet(judge *j, call *c, fattn_context *context, const answers *a, source *s)
{
    const bool dry_failed = a->workspace != FATTN_OK;
    if (!dry_failed && any_in_state(c, TENSOR_FAR)) return j->skipped++, true;
    wet_run r = {.context = context, .c = c};
    const wild_ranges all = claimed(c, !dry_failed);
    if (!wild_run(&all, run, &r)) return j->touched++, true;
    j->by_status[r.status > 7 ? 7 : r.status]++;
    if (!good_status(j, c, "call", r.status)) return false;
    if (r.status == FATTN_E_NOMEM) j->out_of_memory++;
    if (r.status != FATTN_OK) return after_error(j, c, context, a, dry_failed);
    if (dry_failed) return wrong(j, "the call is fine where workspace refuses");
    if (tensor_without_data(c)) return wrong(j, "%s has no data and is accepted", tensor_without_data(c));
    if (any_in_state(c, TENSOR_WILD)) return true; /* claimed much and was never asked for it */
    j->ok++;
    return after_success(j, c, context, a, s);
}

bool judge_call(judge *j, call *c, source *s)
{
    static const int which[] = {0, 1, 0, 2};
    fattn_context *context = j->contexts[which[source_pick(s, 4)]];
    const long mark = meter_mark(&j->meter), live = atomic_load(&j->meter.live), touched = j->touched;
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
    if (j->touched > touched || !good) meter_rewind(&j->meter, mark);
    else if (atomic_load(&j->meter.live) != live) return wrong(j, "memory leaks");
    return good;
}

bool judge_run_of_legal_plan(judge *j, call *c, source *s)
{
    fattn_context *context = j->contexts[source_pick(s, 3)];
    fattn_plan *plan = NULL;
    call_restore(c);
    if (c->op->plan(context, c->args, &plan) != FATTN_OK) return true; /* strict refuses some lines */
    call_damage(c, s);
    call_arm(c, CANARY);
    wet_run r = {.c = c, .plan = plan};
    run(&r);
    j->calls++;
    bool good = good_status(j, c, "plan_run", r.status);
    if (good && r.status != FATTN_OK && !call_untouched(c, CANARY))
        good = wrong(j, "plan_run touched an output on error");
    if (good && r.status == FATTN_OK && !call_only_elements(c, CANARY))
        good = wrong(j, "plan_run wrote outside the outputs' elements");
    fattn_plan_destroy(plan);
    return good;
}
