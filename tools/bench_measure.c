/* SPDX-License-Identifier: Apache-2.0 */
/* bench_measure.c — one row: warm up, then rounds of our run, standard attention and a probe, each
 * timed by itself. Median and best of the rounds. */
#include "bench_measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST_RUNS = 5 };
static const double seconds_per_row = 2.0;

static uint64_t machine_memory(void)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (file == NULL) return bytes;
    unsigned long long limit = 0;
    if (fscanf(file, "%llu", &limit) == 1 && limit < bytes) bytes = limit;
    fclose(file);
    return bytes;
}

/* The best instruction set that the machine has and the benchmark was built for. */
static const bench_simd *fastest_simd(fattn_context *context)
{
    fattn_capability_set set = {.size = sizeof set};
    if (fattn_capabilities(context, &set) != FATTN_OK) return NULL;
    for (const char *const *isa = set.isas; *isa != NULL; isa++)
        if (bench_simd_find(*isa) != NULL) return bench_simd_find(*isa);
    return NULL;
}

bool bench_session_open(bench_session *s, fattn_context *context, bench_settings settings)
{
    const char *isa = fattn_context_isa(context);
    *s = (bench_session){.context = context, .settings = settings};
    s->pool = bench_pool_create(fattn_context_threads(context));
    s->fastest = fastest_simd(context);
    s->memory_bytes = machine_memory();
    if (s->pool == NULL || s->fastest == NULL || bench_simd_find(isa) == NULL) {
        fprintf(stderr, "bench: %s\n",
                s->pool == NULL ? "out of memory or threads" : "no probe for this instruction set");
        bench_session_close(s);
        return false;
    }
    s->probe = bench_probe_open(s->pool, bench_simd_find(isa));
    return true;
}

void bench_session_close(bench_session *s)
{
    bench_probe_close(&s->probe);
    bench_pool_destroy(s->pool);
    bench_buffer *const buffers[] = {
        &s->q, &s->k, &s->v, &s->out, &s->standard_out, &s->standard_work};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) bench_buffer_free(buffers[i]);
    *s = (bench_session){0};
}

/* What the rounds of one row work on. */
typedef struct rounds {
    bench_case ours;
    standard_problem problem;
    standard_layout layout; /* batches 0 = not measured */
    standard_gradients gradients;
    double ms[BENCH_MOST_RUNS], standard_ms[BENCH_MOST_RUNS];
} rounds;

static standard_problem standard_of(const bench_row *row, fattn_dtype dtype)
{
    return (standard_problem){.dtype = dtype,
                              .batch = row->batch,
                              .n_heads = row->n_heads,
                              .n_kv_heads = row->n_kv_heads,
                              .q_len = row->q_len,
                              .kv_len = row->kv_len,
                              .head_dim = row->head_dim,
                              .value_dim = bench_row_value_dim(row),
                              .causal = row->causal,
                              .scale = (float)(1.0 / sqrt((double)row->head_dim))};
}

/* The scores of the whole batch and their gradients stay in memory between forward and backward. */
static bool add_gradients(const bench_session *s, const bench_row *row, standard_layout *layout,
                          bench_result *result)
{
    const standard_problem p = standard_of(row, s->settings.dtype);
    if (p.dtype != FATTN_F32) {
        snprintf(result->note, sizeof result->note, "standard attention: its backward is fp32 alone");
        return false;
    }
    if (layout->batches < row->batch) layout->batches = 0;
    layout->bytes += standard_score_bytes(&p);
    return true;
}

/* Gradients of the scores behind the forward's workspace; the others take our own call's place, whose
 * results nobody reads. */
static void place_gradients(const bench_session *s, rounds *r)
{
    const size_t bytes = standard_score_bytes(&r->problem);
    char *dscores = (char *)s->standard_work.data + (r->layout.bytes - bytes) / 64 * 64;
    memset(dscores, 0, bytes);
    r->gradients = (standard_gradients){.scores = s->standard_work.data,
                                        .dy = r->ours.dy.data,
                                        .dscores = (float *)(void *)dscores,
                                        .dq = r->ours.dq.data,
                                        .dk = r->ours.dk.data,
                                        .dv = r->ours.dv.data};
}

/* Room for the opponent: wanted, there is an OpenBLAS, and everything together stays below half of
 * the machine's memory. */
static void open_standard(bench_session *s, const bench_row *row, rounds *r, uint64_t used,
                          bench_result *result)
{
    if (!s->settings.standard || row->band > 0) return; /* it knows no band */
    if (standard_library() == NULL) {
        snprintf(result->note, sizeof result->note, "standard attention: no OpenBLAS here");
        return;
    }
    r->problem = standard_of(row, s->settings.dtype);
    const size_t out_bytes =
        (size_t)(row->batch * row->n_heads * row->q_len * bench_row_value_dim(row)) * 4;
    standard_layout layout = standard_plan(&r->problem, s->memory_bytes);
    if (row->backward && !add_gradients(s, row, &layout, result)) return;
    if (layout.batches == 0 || used + layout.bytes + out_bytes > s->memory_bytes / 2 ||
        !bench_buffer_reserve(&s->standard_out, out_bytes) ||
        !bench_buffer_reserve(&s->standard_work, layout.bytes)) {
        snprintf(result->note, sizeof result->note, "standard attention: not enough memory");
        return;
    }
    r->problem.q = s->q.data, r->problem.k = s->k.data, r->problem.v = s->v.data;
    r->problem.out = s->standard_out.data;
    r->layout = layout;
    if (row->backward) place_gradients(s, r);
}

/* Once, or the backward of the forward that open_rounds() ran. */
static void run_standard(bench_session *s, const bench_row *row, rounds *r)
{
    if (row->backward)
        standard_backward(&r->problem, &r->gradients, s->pool, s->fastest);
    else
        standard_attention(&r->problem, r->layout, s->pool, s->fastest, s->standard_work.data);
}

/* Makes tensors and plan and runs each side once; false with a note when the row cannot be
 * measured. */
static bool open_rounds(bench_session *s, const bench_row *row, rounds *r, bench_result *result)
{
    const fattn_dtype dtype = s->settings.dtype;
    const bench_sizes sizes = bench_case_sizes(row, dtype);
    const uint64_t used = (uint64_t)sizes.q + sizes.k + sizes.v + sizes.out + sizes.backward;
    if (used > s->memory_bytes / 2) {
        snprintf(result->note, sizeof result->note,
                 "tensors of %.1f GB are more than half of the memory", (double)used * 1e-9);
        return false;
    }
    if (!bench_buffer_fill(&s->q, sizes.q, dtype, 1) ||
        !bench_buffer_fill(&s->k, sizes.k, dtype, 2) ||
        !bench_buffer_fill(&s->v, sizes.v, dtype, 3) || !bench_buffer_reserve(&s->out, sizes.out)) {
        snprintf(result->note, sizeof result->note, "out of memory");
        return false;
    }
    fattn_status status = bench_case_open(&r->ours, s->context, row, dtype, s->q.data, s->k.data,
                                          s->v.data, s->out.data);
    if (row->once)
        memset(s->out.data, 0, sizes.out); /* its pages must not come with the only run */
    else if (status == FATTN_OK)
        status = bench_case_run(&r->ours);
    if (status != FATTN_OK) {
        snprintf(result->note, sizeof result->note, "%s: %.150s", fattn_status_name(status),
                 fattn_error_message());
        result->failed = true;
        return false;
    }
    open_standard(s, row, r, used, result);
    if (r->layout.batches > 0)
        standard_attention(&r->problem, r->layout, s->pool, s->fastest, s->standard_work.data);
    return true;
}

static void probe_round(bench_session *s, const bench_row *row, int round)
{
    if (row->decode)
        bench_probe_read(&s->probe, round % BENCH_READ_KINDS);
    else
        bench_probe_fma(&s->probe);
}

bool bench_more(int n, int runs, double seconds)
{
    if (n >= BENCH_MOST_RUNS) return false;
    return runs > 0 ? n < runs : n < LEAST_RUNS || seconds < seconds_per_row;
}

static int run_rounds(bench_session *s, const bench_row *row, rounds *r)
{
    const double begin = bench_now();
    if (row->decode) bench_probe_read(&s->probe, -1);
    int n = 0;
    const int runs = row->once ? 1 : s->settings.runs;
    while (bench_more(n, runs, bench_now() - begin)) {
        double start = bench_now();
        if (bench_case_run(&r->ours) != FATTN_OK) break;
        r->ms[n] = (bench_now() - start) * 1e3;
        if (r->layout.batches > 0) {
            start = bench_now();
            run_standard(s, row, r);
            r->standard_ms[n] = (bench_now() - start) * 1e3;
        }
        probe_round(s, row, n++);
    }
    return n;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts; an even number has the mean of the middle two. */
static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return (x[(n - 1) / 2] + x[n / 2]) / 2;
}

bench_result bench_result_empty(void)
{
    return (bench_result){.ms = NAN,
                          .best_ms = NAN,
                          .gflops = NAN,
                          .peak_gflops = NAN,
                          .gbps = NAN,
                          .peak_gbps = NAN,
                          .fraction = NAN,
                          .standard_ms = NAN,
                          .ratio = NAN,
                          .plan_us = NAN,
                          .call_us = NAN,
                          .kv_bytes = -1,
                          .f16_ratio = NAN,
                          .err_unquantised = NAN,
                          .err_dequantised = NAN,
                          .extra_bytes = -1,
                          .standard_bytes = -1};
}

void bench_result_times(bench_result *result, double *ms, int n)
{
    result->runs = n;
    result->ms = median(ms, n);
    result->best_ms = ms[0];
}

static void write_result(rounds *r, int n, bench_result *result)
{
    const bench_row *row = &result->row;
    bench_result_times(result, r->ms, n);
    result->gflops = bench_row_flops(row) / result->best_ms * 1e-6;
    result->extra_bytes = (int64_t)fattn_plan_workspace(r->ours.plan);
    if (row->decode) {
        const bench_sizes sizes = bench_case_sizes(row, result->dtype);
        result->gbps = (double)(sizes.k + sizes.v) / result->best_ms * 1e-6;
    }
    if (r->layout.batches > 0) {
        result->standard_ms = median(r->standard_ms, n);
        result->ratio = result->standard_ms / result->ms;
        result->standard_bytes = (int64_t)r->layout.bytes;
    }
}

void bench_measure(bench_session *s, const bench_row *row, bench_result *result)
{
    *result = bench_result_empty();
    result->row = *row;
    result->dtype = s->settings.dtype;
    rounds *r = calloc(1, sizeof *r);
    if (r == NULL) return;
    if (open_rounds(s, row, r, result)) {
        const int n = run_rounds(s, row, r);
        if (n > 0) write_result(r, n, result);
    }
    bench_case_close(&r->ours);
    free(r);
}

void bench_finish(const bench_session *s, bench_result *results, int n)
{
    const double cache = (double)bench_cache_bytes();
    for (int i = 0; i < n; i++) {
        bench_result *result = &results[i];
        if (result->runs == 0) continue;
        const bench_sizes sizes = bench_case_sizes(&result->row, result->dtype);
        if (!result->row.decode) {
            result->peak_gflops = s->probe.peak_gflops;
            result->fraction = result->gflops / result->peak_gflops;
        } else if (s->probe.peak_gbps > 0) {
            result->peak_gbps = s->probe.peak_gbps;
            const double kv = result->kv_bytes >= 0 ? (double)result->kv_bytes
                                                    : (double)(sizes.k + sizes.v);
            if (kv > cache)
                result->fraction = result->gbps / result->peak_gbps;
        }
    }
}
