/* SPDX-License-Identifier: Apache-2.0 */
/* run.c — `fattn run OPERATOR --query q.npy ... --out out.npy`: tensors from files, the call,
 * tensors to files. Integers that come back are in the --json object. --replay repeats a recorded
 * call. */
#include "verbs.h"

#include "call.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "line_internal.h"
#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

const cli_option run_options[] = {
    {"replay", "FILE", "FATTN_REPLAY",
     "repeat a call that FATTN_DUMP_DIR recorded, and compare the bits", NULL},
    CLI_CALL_OPTIONS,
    {NULL, NULL, NULL, NULL, NULL},
};

/* One tensor and the file it goes to. */
typedef struct target {
    const fattn_field *field;
    const fattn_tensor *t;
    char *where;
    bool written;
} target;

typedef struct run_state {
    const cli_values *values;
    problem_line *line;
    fattn_context *context;
    call_warnings warnings;
    target targets[16];
    int n_targets;
    double ms;
} run_state;

/* The file an output was asked into, NULL when it was not. */
static const char *wanted_file(const cli_values *values, const fattn_field *field)
{
    for (int i = values->n_items - 1; i >= 0; i--)
        if (values->items[i].role == CLI_OUTPUT && values->items[i].field == field)
            return values->items[i].value;
    return NULL;
}

/* "dir/x.npy" and "./dir/x.npy" are one file, whether or not it exists yet. For free(). */
static char *place_of(const char *path)
{
    char *place = realpath(path, NULL);
    if (place) return place;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *folder = strndup(slash ? path : ".", slash ? (size_t)(slash - path) + 1 : 1);
    char *whole = folder ? realpath(folder, NULL) : NULL;
    if (!whole || asprintf(&place, "%s/%s", whole, base) < 0) place = strdup(path);
    free(folder);
    free(whole);
    return place;
}

static char *file_of(const char *where)
{
    const size_t split = io_split(where);
    char *path = split ? strndup(where, split) : strdup(where);
    char *place = path ? place_of(path) : NULL;
    free(path);
    return place;
}

/* Two outputs cannot both be kept: the same file, unless it is one archive, spelt the same, with
 * two names. */
static bool collide(const char *a, const char *b)
{
    const size_t split = io_split(a);
    if (split && split == io_split(b) && strncmp(a, b, split) == 0) return strcmp(a, b) == 0;
    char *left = file_of(a), *right = file_of(b);
    const bool same = !left || !right || strcmp(left, right) == 0;
    free(left);
    free(right);
    return same;
}

/* What is written is .npy, or a tensor in a .safetensors file: a name that promises something else
 * would lie. */
static bool is_writable(const char *where)
{
    static const char *const others[] = {".safetensors", ".pt", ".pth", ".npz"};
    const size_t split = io_split(where), n = strlen(where);
    if (split) return where[split + 1] != '\0';
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const size_t m = strlen(others[i]);
        const char *found = strstr(where, others[i]);
        if (n >= m && strcmp(where + n - m, others[i]) == 0) return false;
        if (found && found[m] == ':') return false;
    }
    return n > 0;
}

/* The files of all outputs are known before anything is computed, or overwritten. */
static int check_files(const cli_values *values)
{
    for (int i = 0; i < values->n_items; i++)
        if (values->items[i].role == CLI_OUTPUT && !is_writable(values->items[i].value))
            return cli_error("run", CLI_USAGE,
                             "--%s '%s': outputs are FILE.npy or FILE.safetensors:NAME",
                             values->items[i].name, values->items[i].value);
    for (int i = 0; i < values->n_items; i++)
        for (int j = 0; j < i; j++) {
            const struct cli_item *a = &values->items[j], *b = &values->items[i];
            if (a->role != CLI_OUTPUT || b->role != CLI_OUTPUT) continue;
            if (collide(a->value, b->value))
                return cli_error("run", CLI_USAGE,
                                 "--%s %s and --%s %s: each output needs a file of its own (or "
                                 "one FILE.safetensors with a NAME each)",
                                 a->name, a->value, b->name, b->value);
        }
    return CLI_GO;
}

/* Outputs nobody asked for are not computed, the first excepted. */
static int choose_outputs(run_state *s)
{
    bool asked = cli_flag(s->values, "json") || cli_get(s->values, "out-dir"), in_place = false;
    for (int i = 0, first = 1; i < s->line->op->n_fields; i++) {
        const fattn_field *field = &s->line->op->fields[i];
        in_place = in_place || field->kind == FATTN_FIELD_TENSOR_INOUT;
        if (field->kind != FATTN_FIELD_TENSOR_OUT) continue;
        const bool wanted = wanted_file(s->values, field) != NULL;
        if (!wanted && !first) s->line->unwanted |= UINT64_C(1) << i;
        asked = asked || wanted;
        first = 0;
    }
    if (asked) return CLI_GO;
    return cli_error("run", CLI_USAGE,
                     in_place ? "where to? %s changes its tensors: --out-dir DIR"
                              : "where to? %s needs --out FILE (or another output)",
                     s->line->op->name);
}

static bool add_target(run_state *s, const fattn_field *field, char *where)
{
    const fattn_tensor *t = *(const fattn_tensor *const *)line_at(s->line->args, field);
    const int room = (int)(sizeof s->targets / sizeof *s->targets);
    if (!where || !t || s->n_targets == room) {
        free(where);
        return where != NULL;
    }
    s->targets[s->n_targets++] = (target){.field = field, .t = t, .where = where};
    return true;
}

static bool find_targets(run_state *s)
{
    const char *directory = cli_get(s->values, "out-dir");
    for (int i = 0; i < s->line->op->n_fields; i++) {
        const fattn_field *field = &s->line->op->fields[i];
        char *where = NULL;
        if (field->kind == FATTN_FIELD_TENSOR_OUT && wanted_file(s->values, field)) {
            where = strdup(wanted_file(s->values, field));
        } else if (field->kind == FATTN_FIELD_TENSOR_INOUT && directory) {
            if (asprintf(&where, "%s/%s.npy", directory, field->name) < 0) where = NULL;
        } else {
            continue;
        }
        if (!add_target(s, field, where)) return false;
    }
    return true;
}

/* All tensors that go to the same .safetensors file as targets[first]. */
static io_code write_archive(run_state *s, int first, size_t split, io_error *error)
{
    const char *names[16];
    const fattn_tensor *tensors[16];
    const char *where = s->targets[first].where;
    int n = 0;
    for (int i = first; i < s->n_targets; i++) {
        target *t = &s->targets[i];
        if (io_split(t->where) != split || strncmp(t->where, where, split) != 0) continue;
        names[n] = t->where + split + 1;
        tensors[n++] = t->t;
        t->written = true;
    }
    char *path = strndup(where, split);
    if (!path) return io_fail(error, IO_E_NOMEM, "out of memory for a file name");
    const io_code code = safetensors_write(path, n, names, tensors, error);
    free(path);
    return code;
}

static int write_targets(run_state *s)
{
    io_error error;
    const char *directory = cli_get(s->values, "out-dir");
    if (directory && mkdir(directory, 0777) != 0 && errno != EEXIST)
        return cli_error("run", CLI_DATA, "--out-dir: %s: %s", directory, strerror(errno));
    for (int i = 0; i < s->n_targets; i++) {
        target *t = &s->targets[i];
        if (t->written) continue;
        const size_t split = io_split(t->where);
        const io_code code =
            split ? write_archive(s, i, split, &error) : npy_write(t->where, t->t, &error);
        if (code != IO_OK) return cli_error("run", CLI_DATA, "%s", error.message);
    }
    return CLI_GO;
}

static json_node *outputs_json(const run_state *s)
{
    json_node *outputs = json_node_object();
    for (const line_tensor *t = s->line->tensors; t; t = t->next) {
        const fattn_field_kind kind = t->field->kind;
        if (kind != FATTN_FIELD_TENSOR_OUT && kind != FATTN_FIELD_TENSOR_INOUT) continue;
        json_node *one = json_node_object();
        json_put_text(one, "dtype", fattn_dtype_name(t->t.dtype));
        json_put(one, "shape", call_shape_json(&t->t));
        const char *file = NULL;
        for (int i = 0; i < s->n_targets; i++)
            if (s->targets[i].field == t->field) file = s->targets[i].where;
        json_put_text(one, "file", file);
        json_put(outputs, t->field->name, one);
    }
    return outputs;
}

static void print_json(const run_state *s)
{
    json_node *object = json_node_object();
    json_put_text(object, "operator", s->line->op->name);
    json_put_text(object, "isa", fattn_context_isa(s->context));
    json_put_int(object, "threads", fattn_context_threads(s->context));
    json_put_real(object, "ms", s->ms);
    json_put(object, "outputs", outputs_json(s));
    for (int i = 0; i < s->line->op->n_fields; i++) {
        const fattn_field *field = &s->line->op->fields[i];
        if (field->kind == FATTN_FIELD_INT_OUT)
            json_put_int(object, field->name, **(int64_t *const *)line_at(s->line->args, field));
    }
    json_put(object, "warnings", call_warnings_json(&s->warnings));
    json_print_free(object);
}

static void print_text(const run_state *s)
{
    char shape[256];
    for (int i = 0; i < s->n_targets; i++)
        printf("%s %s %s\n", s->targets[i].field->name,
               call_shape_text(s->targets[i].t, shape, sizeof shape), s->targets[i].where);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int compute(run_state *s)
{
    fattn_status status = line_outputs(s->line, s->context);
    const double start = now_ms();
    if (status == FATTN_OK) status = s->line->op->call(s->context, s->line->args);
    s->ms = now_ms() - start;
    if (status == FATTN_OK) return CLI_GO;
    return cli_refused("run", status, call_sentence(status));
}

static int run_call(run_state *s)
{
    int code = call_from_options(s->values, &s->line);
    if (code == CLI_GO) code = check_files(s->values);
    if (code == CLI_GO) code = choose_outputs(s);
    if (code == CLI_GO) code = call_context(s->values, NULL, &s->warnings, &s->context);
    if (code == CLI_GO) code = compute(s);
    if (code == CLI_GO && !find_targets(s)) code = cli_error("run", CLI_FAIL, "out of memory");
    if (code == CLI_GO) code = write_targets(s);
    if (code != CLI_GO) return code;
    if (cli_flag(s->values, "json"))
        print_json(s);
    else
        print_text(s);
    return CLI_OK;
}

int verb_run(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    run_state s = {.values = &values, .warnings = {.verb = "run"}};
    const char *record = cli_get(&values, "replay");
    code = record ? replay_file(&values, record) : run_call(&s);
    for (int i = 0; i < s.n_targets; i++) free(s.targets[i].where);
    line_destroy(s.line);
    fattn_context_destroy(s.context);
    call_warnings_free(&s.warnings);
    cli_values_free(&values);
    return code;
}
