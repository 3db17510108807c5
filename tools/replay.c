/* SPDX-License-Identifier: Apache-2.0 */
/* replay.c — makes a recorded call again and compares the bits.
 *
 * Outputs begin as the complement of what was recorded, so that a result that is not written is no
 * result; an output that the call leaves alone altogether (a dummy) is told apart by that. */
#include "replay.h"

#include "call.h"
#include "io/element.h"
#include "line_internal.h"
#include "replay_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct verdict {
    bool same;
    const char *status; /* of this call */
    char what[400];     /* the sentence */
    const char *output; /* where it differs first, NULL = nowhere */
    int64_t index;      /* row-major */
    int64_t differing, elements;
} verdict;

static char *element(const fattn_tensor *t, int64_t i)
{
    return (char *)t->data + io_offset(t, i) * (int64_t)fattn_dtype_size(t->dtype);
}

static int64_t elements(const fattn_tensor *t)
{
    int64_t count = 0;
    io_count(t->rank, t->shape, &count);
    return count;
}

static void complement(const recorded_output *o)
{
    const fattn_tensor *t = &o->tensor->t;
    const size_t size = fattn_dtype_size(t->dtype);
    const unsigned char *was = o->was.t.data;
    for (int64_t i = 0; i < elements(t); i++)
        for (size_t b = 0; b < size; b++)
            ((unsigned char *)element(t, i))[b] = (unsigned char)~was[(size_t)i * size + b];
}

static bool is_complement(const unsigned char *got, const unsigned char *was, size_t size)
{
    for (size_t b = 0; b < size; b++)
        if ((got[b] ^ was[b]) != 0xff) return false;
    return true;
}

/* Elements that differ, and the first of them; 0 when none was written. */
static int64_t count_differing(const recorded_output *o, int64_t *first)
{
    const fattn_tensor *t = &o->tensor->t;
    const size_t size = fattn_dtype_size(t->dtype);
    const unsigned char *was = o->was.t.data;
    int64_t differing = 0, untouched = 0;
    for (int64_t i = 0; i < elements(t); i++, was += size) {
        const unsigned char *got = (const unsigned char *)element(t, i);
        untouched += is_complement(got, was, size);
        if (memcmp(got, was, size) == 0) continue;
        if (differing++ == 0) *first = i;
    }
    const bool dummy = o->tensor->field->kind == FATTN_FIELD_TENSOR_OUT && untouched == elements(t);
    return dummy ? 0 : differing;
}

static void put_index(const fattn_tensor *t, int64_t index, char *text, size_t room)
{
    int64_t at[FATTN_MAX_RANK];
    size_t used = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        at[i] = index % t->shape[i];
        index /= t->shape[i];
    }
    text[0] = '\0';
    for (int i = 0; i < t->rank && used < room; i++)
        used +=
            (size_t)snprintf(text + used, room - used, "%s%lld", i ? "," : "", (long long)at[i]);
}

static void compare_output(const recorded_output *o, verdict *v)
{
    const fattn_tensor *t = &o->tensor->t;
    int64_t first = 0;
    char at[160];
    const int64_t differing = count_differing(o, &first);
    v->elements += elements(t);
    v->differing += differing;
    if (differing == 0 || v->output) return;
    v->same = false;
    v->output = o->tensor->field->name;
    v->index = first;
    put_index(t, first, at, sizeof at);
    snprintf(v->what, sizeof v->what, "%s[%s] is %.9g, recorded %.9g; %lld of %lld elements differ",
             v->output, at, io_get(t->data, t->dtype, io_offset(t, first)),
             io_get(o->was.t.data, t->dtype, first), (long long)differing, (long long)elements(t));
}

/* Integers that come back. */
static void compare_numbers(const call_record *r, verdict *v)
{
    for (int i = 0; i < r->line->op->n_fields; i++) {
        const fattn_field *f = &r->line->op->fields[i];
        if (f->kind != FATTN_FIELD_INT_OUT) continue;
        char key[96], now[32];
        snprintf(key, sizeof key, "out.%s", f->name);
        snprintf(now, sizeof now, "%lld", (long long)**(int64_t *const *)line_at(r->line->args, f));
        char *was = record_text(r, key);
        if (was && strcmp(was, now) != 0 && v->same) {
            v->same = false;
            v->output = f->name;
            snprintf(v->what, sizeof v->what, "%s is %s, recorded %.40s", f->name, now, was);
        }
        free(was);
    }
}

static void compare(const call_record *r, verdict *v)
{
    if (strcmp(v->status, r->status) != 0) {
        snprintf(v->what, sizeof v->what, "answers %s, recorded %.60s", v->status, r->status);
        return;
    }
    v->same = true;
    if (strcmp(r->status, "FATTN_OK") == 0) {
        for (int i = 0; i < r->n_outputs; i++) compare_output(&r->outputs[i], v);
        compare_numbers(r, v);
    }
}

static json_node *verdict_json(const call_record *r, const verdict *v, const char *isa)
{
    json_node *object = json_node_object();
    json_put_bool(object, "same", v->same);
    json_put_text(object, "status", v->status);
    json_put_text(object, "message", v->same ? NULL : v->what);
    json_put_text(object, "line", r->text);
    json_put_text(object, "recorded_status", r->status);
    json_put_text(object, "isa", isa);
    json_put_text(object, "recorded_isa", r->isa);
    json_put_int(object, "elements", v->elements);
    json_put_int(object, "differing", v->differing);
    json_put_text(object, "output", v->output);
    if (v->output)
        json_put_int(object, "index", v->index);
    else
        json_put_null(object, "index");
    return object;
}

static void print(const cli_values *values, const call_record *r, const verdict *v, const char *isa)
{
    if (strcmp(isa, r->isa) != 0)
        fprintf(stderr, "%sfattn run: recorded on %s, replayed on %s: the bits depend on it\n",
                cli_mark(), r->isa, isa);
    if (cli_flag(values, "json"))
        json_print_free(verdict_json(r, v, isa));
    else if (v->same)
        printf("same bits: %s, %lld elements\n", v->status, (long long)v->elements);
    else
        printf("different: %s\n  %s\n", v->what, r->text);
}

/* The recorded instruction set, where this machine has it and nothing else is asked for. */
static void prefer_isa(call_record *r)
{
    fattn_capability_set set = {.size = sizeof set};
    if (fattn_capabilities(NULL, &set) != FATTN_OK) return;
    for (const char *const *isa = set.isas; *isa; isa++)
        if (strcmp(*isa, r->isa) == 0) r->line->isa = *isa;
}

/* The recorded arithmetic; older records are all fp32. */
static void prefer_compute(call_record *r)
{
    char *compute = record_text(r, "compute");
    const bool f16 = compute && strcmp(compute, "f16") == 0;
    r->line->compute = f16 ? FATTN_COMPUTE_F16 : FATTN_COMPUTE_F32;
    free(compute);
}

/* Dropout draws again what it drew: the context's generator as it was. Older records have none. */
static void set_generator(const call_record *r, fattn_context *context)
{
    uint8_t state[FATTN_GENERATOR_STATE];
    unsigned long long pair[2];
    char end;
    char *text = record_text(r, "generator");
    if (text && sscanf(text, "%llu,%llu%c", &pair[0], &pair[1], &end) == 2) {
        for (int i = 0; i < FATTN_GENERATOR_STATE; i++)
            state[i] = (uint8_t)(pair[i / 8] >> i % 8 * 8);
        fattn_generator_set_state(context, state);
    }
    free(text);
}

static int replay(const cli_values *values, call_record *r)
{
    fattn_context *context = NULL;
    call_warnings warnings = {.verb = "run"};
    prefer_isa(r);
    prefer_compute(r);
    if (r->line->strict < 0)
        r->line->strict = 0; /* not said; the environment of today says nothing about it */
    if (!r->line->backend) r->line->backend = "any";
    int code = call_context(values, r->line, &warnings, &context);
    if (code == CLI_GO) {
        for (int i = 0; i < r->n_outputs; i++)
            if (r->outputs[i].tensor->field->kind == FATTN_FIELD_TENSOR_OUT)
                complement(&r->outputs[i]);
        set_generator(r, context);
        verdict v = {.status = fattn_status_name(r->line->op->call(context, r->line->args))};
        compare(r, &v);
        print(values, r, &v, fattn_context_isa(context));
        code = v.same ? CLI_OK : CLI_FAIL;
    }
    fattn_context_destroy(context);
    call_warnings_free(&warnings);
    return code;
}

int replay_file(const cli_values *values, const char *path)
{
    call_record record;
    static const char *const others[] = {"op", "out-dir"};
    for (int i = 0; i < 2; i++)
        if (cli_given(values, others[i]))
            return cli_error(
                "run", CLI_USAGE,
                "--%s: a replay takes its operator from the file and writes no tensors", others[i]);
    for (int i = 0; i < values->n_items; i++)
        if (values->items[i].role != CLI_OF_VERB)
            return cli_error("run", CLI_USAGE, "--%s: a replay takes its parameters from the file",
                             values->items[i].name);
    if (values->n_args > 0)
        return cli_error("run", CLI_USAGE, "'%s': a replay takes its operator from the file",
                         values->args[0]);
    int code = record_open("run", path, &record);
    if (code == CLI_GO) code = replay(values, &record);
    record_close(&record);
    return code;
}
