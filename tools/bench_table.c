/* SPDX-License-Identifier: Apache-2.0 */
/* bench_table.c — results for people: one line per row, units in the head, "-" where a figure does
 * not apply; the peaks and the reasons for missing figures below. */
#include "bench_measure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

void bench_machine(char *text, size_t size)
{
    char line[256];
    struct utsname system;
    snprintf(text, size, "%s", uname(&system) == 0 ? system.machine : "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) return;
    while (fgets(line, sizeof line, file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || value == NULL) continue;
        value += strspn(value, ": \t");
        snprintf(text, size, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    fclose(file);
}

/* A number in a column of `width`, with about three significant digits, or "-". */
static void print_number(double x, int width)
{
    if (isnan(x))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, x < 10 ? 2 : x < 1000 ? 1 : 0, x);
}

static void print_percent(double x, int width)
{
    if (isnan(x))
        printf(" %*s", width, "-");
    else
        printf(" %*.0f%%", width - 1, 100 * x);
}

static void print_bytes(int64_t bytes, int width)
{
    static const char *const units[] = {"B", "kB", "MB", "GB"};
    double x = (double)bytes;
    int unit = 0;
    for (; x >= 1000 && unit < 3; unit++) x /= 1000;
    if (bytes < 0)
        printf(" %*s", width, "-");
    else
        printf(" %*.*f %s", width - 3, unit == 0 || x >= 100 ? 0 : 1, x, units[unit]);
}

static void print_row(const bench_result *r)
{
    printf("%-32s", r->row.name);
    print_number(r->ms, 9);
    print_number(r->best_ms, 9);
    print_number(r->gflops, 8);
    print_number(r->gbps, 7);
    print_percent(r->fraction, 6);
    print_number(r->standard_ms, 11);
    if (isnan(r->ratio))
        printf(" %6s", "-");
    else
        printf(" %5.2fx", r->ratio);
    print_bytes(r->extra_bytes, 10);
    print_bytes(r->standard_bytes, 10);
    putchar('\n');
}

/* The suite quant. */
static void print_quant(const bench_result *results, int n)
{
    for (int i = 0; i < n; i++) {
        const bench_result *r = &results[i];
        if (r->row.quant == NULL || isnan(r->f16_ratio)) continue;
        printf("  %s: %.2fx f16's speed,", r->row.name, r->f16_ratio);
        print_bytes(r->kv_bytes, 8);
        printf(" of keys and values, error %.2g (%.2g against the dequantised answer)\n",
               r->err_unquantised, r->err_dequantised);
    }
}

/* The suites serving and call. */
static void print_times(const bench_result *results, int n)
{
    for (int i = 0; i < n; i++) {
        const bench_result *r = &results[i];
        if (!isnan(r->plan_us)) printf("  %s: %.1f us to plan", r->row.name, r->plan_us);
        if (!isnan(r->call_us)) printf(", %.*f us a call", r->call_us < 1000 ? 2 : 0, r->call_us);
        if (!isnan(r->plan_us)) putchar('\n');
    }
}

static void print_notes(const bench_result *results, int n)
{
    for (int i = 0; i < n; i++) {
        if (results[i].note[0] == '\0') continue;
        bool said = false;
        for (int j = 0; j < i && !said; j++) said = strcmp(results[j].note, results[i].note) == 0;
        if (!said) printf("  %s: %s\n", results[i].row.name, results[i].note);
    }
}

void bench_print_table(const bench_session *s, const bench_result *results, int n)
{
    char machine[128];
    bench_machine(machine, sizeof machine);
    const bool half = fattn_context_compute(s->context) == FATTN_COMPUTE_F16;
    printf("%s, %d threads, %s%s, %s\n", machine, fattn_context_threads(s->context),
           fattn_context_isa(s->context), half ? " in fp16 arithmetic" : "",
           fattn_dtype_name(s->settings.dtype));
    printf("%-32s %9s %9s %8s %7s %6s %11s %6s %10s %10s\n", "", "ms", "best ms", "GFLOP/s", "GB/s",
           "peak", "standard ms", "ratio", "extra", "standard's");
    for (int i = 0; i < n; i++) print_row(&results[i]);
    if (s->probe.peak_gflops > 0)
        printf("  peak: %.0f GFLOP/s of fp32 multiply-add, measured between the rows\n",
               s->probe.peak_gflops);
    if (s->probe.peak_gbps > 0)
        printf("  peak: %.1f GB/s read from memory, measured between the rows\n",
               s->probe.peak_gbps);
    print_quant(results, n);
    print_times(results, n);
    print_notes(results, n);
}
