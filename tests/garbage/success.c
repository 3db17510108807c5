/* SPDX-License-Identifier: Apache-2.0 */
/* success.c — a call that worked: every element of every output is written and nothing else, call,
 * plan and contiguous copies give the same bits, and they are inside the accuracy bound. */
#include "garbage/judge_parts.h"

#include <stdlib.h>
#include <string.h>

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
static bool agrees_with_plan(judge *j, call *c, fattn_context *context, const answers *a,
                             const snapshot *first, bool own)
{
    if (!a->made)
        return a->plan == FATTN_E_NOMEM || judge_wrong(j, "plan fails where the call does not");
    fenced slot = {NULL, 0};
    wet_run r = {.context = context,
                 .c = c,
                 .plan = a->made,
                 .bytes = fattn_plan_workspace(a->made)};
    if (c->op->n_outputs && r.bytes != a->bytes)
        return judge_wrong(j, "workspace() says %zu, the plan %zu", a->bytes, r.bytes);
    if (!own && r.bytes) {
        slot = fenced_new(r.bytes + 64);
        r.workspace = fenced_end(&slot) - (r.bytes + 63) / 64 * 64;
    }
    call_arm(c, OTHER);
    judge_run(&r);
    const bool good = r.status == FATTN_OK && equals(c, first) && call_only_elements(c, OTHER);
    fenced_free(&slot);
    if (good) return true;
    if (r.status != FATTN_OK) return judge_wrong(j, "plan_run: %s", fattn_error_message());
    return judge_wrong(j, "an element was not written, or call and plan differ");
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
    fattn_generator_seed(context, 0);
    const fattn_status status = c->op->call(context, c->args);
    const bool good = status == FATTN_OK && equals(c, first);
    for (int i = 0; i < c->n_tensors; i++) {
        if (copied[i]) free(c->tensors[i].t.data);
        c->tensors[i].t = kept[i];
    }
    if (good) return true;
    return judge_wrong(j, "contiguous copies give %s",
                       status == FATTN_OK ? "other bits" : fattn_error_message());
}

static bool inside_bound(judge *j, call *c, fattn_context *context)
{
    fattn_verify_report report = {.size = sizeof report};
    wet_run r = {.context = context, .c = c, .report = &report};
    judge_run(&r);
    if (!judge_status(j, c, "verify", r.status)) return false;
    if (r.status == FATTN_E_UNSUPPORTED) return true;
    if (r.status != FATTN_OK) return judge_wrong(j, "verify: %s", fattn_error_message());
    if (report.passed || c->extreme) return true;
    return judge_wrong(j, "%s[%lld] = %.9g, exact %.9g, bound %.3g", report.worst_output,
                       (long long)report.worst_index, report.worst_got, report.worst_exact,
                       report.worst_bound);
}

bool judge_success(judge *j, call *c, fattn_context *context, const answers *a, source *s)
{
    if (!call_only_elements(c, CANARY))
        return judge_wrong(j, "wrote outside the outputs' elements");
    if (!inside_bound(j, c, context)) return false;
    const snapshot first = take(c);
    const bool good = agrees_with_plan(j, c, context, a, &first, source_pick(s, 2)) &&
                      (!c->strides_changed || agrees_with_copies(j, c, context, &first));
    free(first.bytes);
    return good;
}
