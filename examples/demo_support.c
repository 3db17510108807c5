/* SPDX-License-Identifier: Apache-2.0 */
/* demo_support.c — the demo's plumbing: loading, views, timing, and a step's three lines. */
#include "demo.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <time.h>

#include "io/element.h"
#include "io/npy.h"

static void *own(demo *d, void *memory)
{
    if (memory == NULL || d->n_owned == MAX_OWNED) {
        fprintf(stderr, "demo: out of memory\n");
        exit(EXIT_FAILURE);
    }
    d->owned[d->n_owned++] = memory;
    return memory;
}

static bool load(demo *d, const char *dir, const char *name, fattn_dtype dtype, int rank,
                 fattn_tensor *tensor)
{
    char path[1024];
    io_tensor file;
    io_error error;
    snprintf(path, sizeof path, "%s/%s.npy", dir, name);
    if (npy_read(path, FATTN_DTYPE_NONE, &file, &error) != IO_OK) {
        fprintf(stderr, "demo: %s\n", error.message);
        return false;
    }
    *tensor = file.t;
    own(d, file.memory);
    if (file.t.dtype == dtype && file.t.rank == rank) return true;
    fprintf(stderr, "demo: %s: not a tensor of %s of rank %d\n", path, fattn_dtype_name(dtype),
            rank);
    return false;
}

bool demo_load(demo *d, const char *dir)
{
    if (!load(d, dir, "q", FATTN_F16, 4, &d->q) || !load(d, dir, "k", FATTN_F16, 4, &d->k) ||
        !load(d, dir, "v", FATTN_F16, 4, &d->v) ||
        !load(d, dir, "tokens", FATTN_I64, 1, &d->tokens))
        return false;
    d->n_heads = d->q.shape[1];
    d->n_kv_heads = d->k.shape[1];
    d->length = d->q.shape[2];
    d->dim = d->q.shape[3];
    d->scale = 1.0 / sqrt((double)d->dim);
    const int64_t kv_shape[] = {1, d->n_kv_heads, d->length, d->dim};
    if (memcmp(d->k.shape, kv_shape, sizeof kv_shape) == 0 &&
        memcmp(d->v.shape, kv_shape, sizeof kv_shape) == 0 && d->tokens.shape[0] == d->length)
        return true;
    fprintf(stderr, "demo: %s: the tensors do not fit each other\n", dir);
    return false;
}

void demo_free(demo *d)
{
    for (int i = 0; i < d->n_owned; i++) free(d->owned[i]);
    d->n_owned = 0;
}

fattn_tensor demo_tensor(demo *d, fattn_dtype dtype, int rank, const int64_t *shape)
{
    size_t bytes = fattn_dtype_size(dtype);
    for (int i = 0; i < rank; i++) bytes *= (size_t)shape[i];
    return fattn_tensor_contiguous(own(d, io_memory(bytes)), dtype, rank, shape);
}

fattn_tensor demo_widen(demo *d, const fattn_tensor *tensor)
{
    const fattn_tensor wide = demo_tensor(d, FATTN_F32, tensor->rank, tensor->shape);
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++) count *= tensor->shape[i];
    for (int64_t i = 0; i < count; i++)
        io_set(wide.data, FATTN_F32, i, io_get(tensor->data, tensor->dtype, io_offset(tensor, i)));
    return wide;
}

fattn_tensor demo_span(const fattn_tensor *tensor, int64_t first, int64_t n)
{
    fattn_tensor view = *tensor;
    const int64_t skipped = first * tensor->strides[2] * (int64_t)fattn_dtype_size(tensor->dtype);
    view.data = (char *)tensor->data + skipped;
    view.shape[2] = n;
    return view;
}

fattn_tensor demo_rows(const fattn_tensor *tensor, int64_t first, int64_t n)
{
    const fattn_tensor span = demo_span(tensor, first, n);
    fattn_tensor rows = {.data = span.data, .dtype = span.dtype, .rank = 3};
    const int axes[] = {2, 1, 3};
    for (int i = 0; i < 3; i++) {
        rows.shape[i] = span.shape[axes[i]];
        rows.strides[i] = span.strides[axes[i]];
    }
    return rows;
}

double demo_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

void demo_must(fattn_status status, const char *what)
{
    if (status == FATTN_OK) return;
    fprintf(stderr, "demo: %s: %s: %s\n", what, fattn_status_name(status), fattn_error_message());
    exit(EXIT_FAILURE);
}

void demo_title(demo *d, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("\n%d. ", ++d->steps);
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

void demo_note(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("   ");
    vprintf(format, list);
    putchar('\n');
    va_end(list);
}

void demo_failure(demo *d, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("   FAILED: ");
    vprintf(format, list);
    putchar('\n');
    va_end(list);
    d->failures++;
}

double demo_time(demo *d, const char *op, const void *args)
{
    double best = INFINITY;
    for (int run = 0; run < 5; run++) {
        const double start = demo_now();
        demo_must(fattn_operator_find(op)->call(d->context, args), op);
        const double ms = demo_now() - start;
        if (ms < best) best = ms;
    }
    return best;
}

/* Is attention_out of a 16-bit type? Then its last bit says something about rounding. Gradients, whose
 * sums cancel, have bounds alone. */
static bool is_half(const char *op, const void *args)
{
    const fattn_field *field = fattn_field_find(fattn_operator_find(op), "attention_out");
    const fattn_tensor *out;
    if (!field) return false;
    memcpy(&out, (const char *)args + field->offset, sizeof out);
    return fattn_dtype_size(out->dtype) == 2;
}

double demo_check(demo *d, const char *op, const void *args, fattn_verify_report *report)
{
    enum { LEAST_ELEMENTS = 10000 }; /* below, a share in per cent says nothing */
    *report = (fattn_verify_report){.size = sizeof *report};
    demo_must(fattn_verify(d->context, fattn_operator_find(op), args, report), op);
    if (!report->passed)
        demo_failure(d, "%s[%lld] is %.9g, exact %.9g, bound %.3g; %lld of %lld outside",
                     report->worst_output, (long long)report->worst_index, report->worst_got,
                     report->worst_exact, report->worst_bound, (long long)report->outside,
                     (long long)report->elements);
    else if (is_half(op, args) && report->elements >= LEAST_ELEMENTS &&
             report->correctly_rounded < 0.98)
        demo_failure(d, "only %.2f %% are correctly rounded", 100 * report->correctly_rounded);
    return report->worst;
}

static const char *size_text(char *text, size_t size, uint64_t bytes)
{
    if (bytes < 1000000)
        snprintf(text, size, "%.1f kB", (double)bytes * 1e-3);
    else
        snprintf(text, size, "%.1f MB", (double)bytes * 1e-6);
    return text;
}

void demo_report_error(demo *d, const char *op, const void *args)
{
    fattn_verify_report report;
    char rounded[40] = "";
    demo_check(d, op, args, &report);
    if (is_half(op, args))
        snprintf(rounded, sizeof rounded, "; %.2f %% correctly rounded",
                 100 * report.correctly_rounded);
    demo_note("error   worst %.2f of its bound against float64, max %.1e%s", report.worst,
              report.max_abs, rounded);
}

void demo_report(demo *d, const char *op, const void *args, double ms)
{
    fattn_memory_estimate memory = {.size = sizeof memory};
    char extra[32], standard[32];
    demo_must(fattn_estimate_memory(d->context, fattn_operator_find(op), args, &memory), op);
    demo_note("time    %.3f ms", ms);
    demo_report_error(d, op, args);
    demo_note("memory  %s beside inputs and outputs; standard attention needs %s",
              size_text(extra, sizeof extra, memory.workspace_bytes),
              size_text(standard, sizeof standard, memory.standard_bytes));
}
