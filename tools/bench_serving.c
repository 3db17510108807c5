/* SPDX-License-Identifier: Apache-2.0 */
/* bench_serving.c — rows that are problem lines, of any suite: each call gets memory of its own, filled with the
 * benchmark's pattern, and masks, block tables in a random order and the like as the line says;
 * plans are timed by making them again and again. */
#include "bench_serving.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problem_line.h"

enum { CALLS = 3, PLANS = 200, TINY_RUNS = 1000 };

typedef struct serving_call {
    problem_line *line;
    fattn_context *own; /* of a line that says its arithmetic; others run in the session's */
    fattn_context *context;
    fattn_plan *plan;
    bench_buffer memory;
} serving_call;

/* The line with a dtype's name for every T. */
static problem_line *parse(const char *text, fattn_dtype dtype, line_error *error)
{
    char *line = malloc(4 * strlen(text) + 1), *to = line;
    if (!line) return line_fail(error, 0, "out of memory"), NULL;
    for (; *text; text++)
        if (text[0] == 'T' && text[1] == '[')
            to += sprintf(to, "%s", fattn_dtype_name(dtype));
        else
            *to++ = *text;
    *to = '\0';
    problem_line *parsed = line_parse(line, error);
    free(line);
    return parsed;
}

static size_t bytes_of(const fattn_tensor *t)
{
    size_t bytes = fattn_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++) bytes *= (size_t)t->shape[i];
    return (bytes + 63) / 64 * 64;
}

/* Numbers of the row's dtype are the pattern; masks, block tables, slopes and what the line spells
 * out are the line's. */
static bool is_pattern(const line_tensor *t, fattn_dtype dtype)
{
    return t->field->kind == FATTN_FIELD_TENSOR_OUT || (t->t.dtype == dtype && !t->values);
}

/* Memory for all tensors of the line; values lie in the keys' when the row says so. */
static bool place(serving_call *c, const bench_row *row, fattn_dtype dtype, line_error *error)
{
    size_t all = 0;
    for (const line_tensor *t = c->line->tensors; t; t = t->next) all += bytes_of(&t->t);
    if (!bench_buffer_fill(&c->memory, all, dtype, 1)) return line_fail(error, 0, "out of memory");
    unsigned char *at = c->memory.data;
    const fattn_tensor *key = NULL;
    for (line_tensor *t = c->line->tensors; t; t = t->next) {
        const bool value = row->latent && key && strcmp(t->field->name, "value") == 0;
        t->t.data = at;
        at += bytes_of(&t->t);
        if (strcmp(t->field->name, "key") == 0) key = &t->t;
        if (value) t->t.data = key->data, memcpy(t->t.strides, key->strides, sizeof t->t.strides);
        if (!is_pattern(t, dtype) && !line_fill_tensor(c->line, t, error)) return false;
    }
    return true;
}

static fattn_status make_plan(const serving_call *c, fattn_plan **plan)
{
    return c->line->op->plan(c->context, c->line->args, plan);
}

/* The session's context, or one like it for the line's arithmetic. */
static fattn_status choose_context(serving_call *c, const bench_session *s)
{
    c->context = s->context;
    if (c->line->compute < 0) return FATTN_OK;
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.isa = fattn_context_isa(s->context);
    options.threads = fattn_context_threads(s->context);
    options.pin_threads = 1;
    line_options(c->line, &options);
    const fattn_status status = fattn_context_create(&c->own, &options);
    c->context = c->own;
    return status;
}

static fattn_status run(const serving_call *c)
{
    return fattn_plan_run(c->plan, c->line->args, NULL, 0);
}

/* false with a note. */
static bool open_call(serving_call *c, bench_session *s, const bench_row *row, const char *text,
                      bench_result *result)
{
    line_error error = {.text = ""};
    c->line = parse(text, result->dtype, &error);
    fattn_status status = c->line ? choose_context(c, s) : FATTN_E_ARG;
    if (status == FATTN_OK) status = line_shapes(c->line, c->context);
    bool good = c->line && status == FATTN_OK;
    if (good && !row->plan_only && !place(c, row, result->dtype, &error)) good = false;
    if (good) good = (status = make_plan(c, &c->plan)) == FATTN_OK;
    if (good && !row->plan_only) good = (status = run(c)) == FATTN_OK;
    if (good) return true;
    snprintf(result->note, sizeof result->note, "%.190s",
             status != FATTN_OK && c->line ? fattn_error_message() : error.text);
    const bool no_halves = row->half && !c->own && status == FATTN_E_UNSUPPORTED;
    result->failed = !no_halves;
    return false;
}

static void close_call(serving_call *c)
{
    fattn_plan_destroy(c->plan);
    line_destroy(c->line);
    bench_buffer_free(&c->memory);
    fattn_context_destroy(c->own);
}

static double best_plan_us(const serving_call *c)
{
    double best = INFINITY;
    for (int i = 0; i < PLANS; i++) {
        fattn_plan *plan = NULL;
        const double start = bench_now();
        if (make_plan(c, &plan) != FATTN_OK) return NAN;
        best = fmin(best, bench_now() - start);
        fattn_plan_destroy(plan);
    }
    return best * 1e6;
}

/* So short that the clock must not be asked every time. */
static double best_tiny_us(const serving_call *c)
{
    double best = INFINITY;
    for (int i = 0; i < PLANS; i++) {
        const double start = bench_now();
        for (int r = 0; r < TINY_RUNS; r++)
            if (run(c) != FATTN_OK) return NAN;
        best = fmin(best, (bench_now() - start) / TINY_RUNS);
    }
    return best * 1e6;
}

/* The call and its plain form in turn; the second and third of `calls` are the plain form. */
static int rounds(bench_session *s, serving_call *calls, int n_calls, bool decode, double *ms,
                  double *plain_ms)
{
    const double begin = bench_now();
    int n = 0;
    while (bench_more(n, s->settings.runs, bench_now() - begin)) {
        double start = bench_now();
        if (run(&calls[0]) != FATTN_OK) break;
        ms[n] = (bench_now() - start) * 1e3;
        start = bench_now();
        for (int i = 1; i < n_calls; i++)
            if (run(&calls[i]) != FATTN_OK) return n;
        plain_ms[n] = (bench_now() - start) * 1e3;
        if (decode)
            bench_probe_read(&s->probe, n % BENCH_READ_KINDS);
        else
            bench_probe_fma(&s->probe);
        n++;
    }
    return n;
}

static void measure(bench_session *s, serving_call *calls, int n_calls, bench_result *result)
{
    double ms[BENCH_MOST_RUNS], plain_ms[BENCH_MOST_RUNS];
    const int n = rounds(s, calls, n_calls, result->row.decode, ms, plain_ms);
    if (n == 0) return;
    bench_result plain = bench_result_empty();
    bench_result_times(result, ms, n);
    bench_result_times(&plain, plain_ms, n);
    result->gflops = 2.0 * result->row.dims * result->row.pairs / result->best_ms * 1e-6;
    if (result->row.kv_numbers > 0)
        result->gbps = (double)result->row.kv_numbers * (double)fattn_dtype_size(result->dtype) /
                       result->best_ms * 1e-6;
    if (result->row.plan_timed)
        result->call_us = result->best_ms < 0.1 ? best_tiny_us(&calls[0]) : result->best_ms * 1e3;
    if (n_calls > 1) {
        result->standard_ms = plain.ms;
        result->ratio = plain.ms / result->ms;
    }
}

void bench_serving(bench_session *s, const bench_row *row, bench_result *result)
{
    serving_call calls[CALLS] = {0};
    int n = 0;
    *result = bench_result_empty();
    result->row = *row;
    result->dtype = row->half ? FATTN_F16 : s->settings.dtype;
    if (row->half && strcmp(fattn_context_isa(s->context), "scalar") == 0) {
        snprintf(result->note, sizeof result->note, "fp16 arithmetic in software is not measured");
        return;
    }
    bool good = true;
    const int most = s->settings.standard ? CALLS : 1; /* the plain form stands behind the call */
    while (good && n < most && row->lines[n]) {
        good = open_call(&calls[n], s, row, row->lines[n], result);
        n++;
    }
    if (good) {
        if (row->plan_timed) result->plan_us = best_plan_us(&calls[0]);
        result->extra_bytes = (int64_t)fattn_plan_workspace(calls[0].plan);
        if (!row->plan_only) measure(s, calls, n, result);
    }
    for (int i = 0; i < n; i++) close_call(&calls[i]);
}
