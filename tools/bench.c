/* SPDX-License-Identifier: Apache-2.0 */
/* bench.c — `fattn bench`: the rows of a suite, measured and printed as a table or as one JSON
 * object {machine, isa, threads, rows}. bench/README.md says what the figures mean. */
#include "bench_line.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench_quant.h"
#include "bench_serving.h"
#include "call.h"
#include "json.h"
#include "verbs.h"

const cli_option bench_options[] = {
    {"suite", "NAME", "FATTN_SUITE", "what to measure (guide)",
     "guide prefill modes dims scaling decode backward quant serving call"},
    {"only", "PATTERN", "FATTN_ONLY", "only the rows whose name matches, as a shell pattern", NULL},
    {"dtype", "NAME", "FATTN_DTYPE", "element type of the tensors (f32)", "f32 f16 bf16"},
    {"runs", "N", "FATTN_RUNS",
     "runs of each row, at most 200 (as many as 2 seconds allow, at least 5)", NULL},
    {"no-standard", NULL, "FATTN_NO_STANDARD", "leave standard attention out", NULL},
    CLI_COMPUTE_OPTION,
    CLI_CONTEXT_OPTIONS,
    CLI_JSON_OPTION,
    {0},
};

/* From the options, and before them from the problem line if there is one. */
static int open_context(const cli_values *values, const problem_line *line, fattn_context **context)
{
    fattn_context_options options;
    fattn_context_options_init(&options);
    options.pin_threads = 1;
    const int code = call_options(values, line, &options);
    if (code != CLI_GO) return code;
    if (fattn_context_create(context, &options) == FATTN_OK) return CLI_GO;
    return cli_error("bench", CLI_FAIL, "%s", fattn_error_message());
}

static int choose_dtype(const cli_values *values, fattn_dtype *dtype)
{
    const char *name = cli_get(values, "dtype");
    if (name != NULL) *dtype = fattn_dtype_from_name(name);
    if (*dtype == FATTN_F32 || *dtype == FATTN_F16 || *dtype == FATTN_BF16) return CLI_GO;
    return cli_error("bench", CLI_USAGE, "dtype: %s is not f32, f16 or bf16", name);
}

/* The rows of --suite that --only lets through. */
static int choose_rows(const cli_values *values, bench_row *rows, int *n)
{
    const char *suite = cli_get(values, "suite"), *only = cli_get(values, "only");
    const int all = bench_rows(suite != NULL ? suite : "guide", rows);
    if (all == 0) return cli_error("bench", CLI_USAGE, "suite: no suite is called %s", suite);
    *n = 0;
    for (int i = 0; i < all; i++)
        if (only == NULL || fnmatch(only, rows[i].name, 0) == 0) rows[(*n)++] = rows[i];
    if (*n > 0) return CLI_GO;
    return cli_error("bench", CLI_USAGE, "only: no row of this suite matches %s", only);
}

static void put_bytes(json_node *object, const char *key, int64_t bytes)
{
    if (bytes < 0)
        json_put_null(object, key);
    else
        json_put_int(object, key, bytes);
}

static json_node *row_object(const bench_result *r)
{
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"ms", r->ms},
        {"best_ms", r->best_ms},
        {"gflops", r->gflops},
        {"peak_gflops", r->peak_gflops},
        {"gbps", r->gbps},
        {"peak_gbps", r->peak_gbps},
        {"fraction", r->fraction},
        {"standard_ms", r->standard_ms},
        {"ratio", r->ratio},
    };
    json_node *object = json_node_object();
    json_put_text(object, "suite", r->row.suite);
    json_put_text(object, "name", r->line != NULL ? r->line : r->row.name);
    json_put_text(object, "dtype", fattn_dtype_name(r->dtype));
    put_bytes(object, "runs", r->runs > 0 ? r->runs : -1);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_put_real(object, figures[i].key, figures[i].value);
    if (r->row.plan_timed) {
        json_put_real(object, "plan_us", r->plan_us);
        json_put_real(object, "call_us", r->call_us);
    }
    if (r->row.quant != NULL) {
        json_put_real(object, "f16_ratio", r->f16_ratio);
        put_bytes(object, "kv_bytes", r->kv_bytes);
        json_put_real(object, "err_unquantised", r->err_unquantised);
        json_put_real(object, "err_dequantised", r->err_dequantised);
    }
    put_bytes(object, "extra_bytes", r->extra_bytes);
    put_bytes(object, "standard_bytes", r->standard_bytes);
    return object;
}

static void print_json(const bench_session *s, const bench_result *results, int n)
{
    char machine[128];
    bench_machine(machine, sizeof machine);
    json_node *object = json_node_object(), *rows = json_node_array();
    json_put_text(object, "machine", machine);
    json_put_text(object, "isa", fattn_context_isa(s->context));
    json_put_int(object, "threads", fattn_context_threads(s->context));
    json_put_text(object, "compute", fattn_compute_name(fattn_context_compute(s->context)));
    for (int i = 0; i < n; i++) {
        json_add(rows, row_object(&results[i]));
        if (results[i].note[0] != '\0')
            fprintf(stderr, "fattn bench: %s: %s\n", results[i].row.name, results[i].note);
    }
    json_put(object, "rows", rows);
    json_print_free(object);
}

static void print_results(const cli_values *values, const bench_session *s,
                          const bench_result *results, int n)
{
    if (cli_flag(values, "json"))
        print_json(s, results, n);
    else
        bench_print_table(s, results, n);
}

static void measure_all(bench_session *s, const bench_row *rows, bench_result *results, int n)
{
    const bool progress = isatty(STDERR_FILENO) != 0;
    for (int i = 0; i < n; i++) {
        if (progress) fprintf(stderr, "\r\033[K%d/%d %s", i + 1, n, rows[i].name);
        if (rows[i].quant != NULL)
            bench_quant(s, &rows[i], &results[i]);
        else if (rows[i].lines[0] != NULL)
            bench_serving(s, &rows[i], &results[i]);
        else
            bench_measure(s, &rows[i], &results[i]);
    }
    if (progress) fprintf(stderr, "\r\033[K");
    bench_finish(s, results, n);
}

static int any_failed(const bench_result *results, int n)
{
    for (int i = 0; i < n; i++)
        if (results[i].failed) return CLI_FAIL;
    return CLI_OK;
}

static int bench_suite(const cli_values *values, int runs)
{
    static bench_row rows[BENCH_MAX_ROWS];
    static bench_result results[BENCH_MAX_ROWS];
    int n = 0;
    fattn_dtype dtype = FATTN_F32;
    int code = choose_dtype(values, &dtype);
    if (code == CLI_GO) code = choose_rows(values, rows, &n);
    fattn_context *context = NULL;
    if (code == CLI_GO) code = open_context(values, NULL, &context);
    if (code != CLI_GO) return code;
    const bench_settings settings = {
        .dtype = dtype,
        .runs = runs,
        .standard = !cli_flag(values, "no-standard"),
    };
    bench_session session;
    code = CLI_FAIL;
    if (bench_session_open(&session, context, settings)) {
        measure_all(&session, rows, results, n);
        print_results(values, &session, results, n);
        code = any_failed(results, n);
        bench_session_close(&session);
    }
    fattn_context_destroy(context);
    return code;
}

static problem_line *open_line(const cli_values *values, const char *text, line_error *error)
{
    problem_line *line = call_parse(values, text, error);
    if (line == NULL || line_fill(line, error)) return line;
    line_destroy(line);
    return NULL;
}

static int bench_text(const cli_values *values, const char *text, int runs)
{
    line_error error;
    problem_line *line = open_line(values, text, &error);
    if (line == NULL)
        return cli_error("bench", CLI_USAGE, "column %d: %s", error.position, error.text);
    fattn_context *context = NULL;
    int code = open_context(values, line, &context);
    if (code == CLI_GO) {
        bench_result result;
        if (bench_line(context, line, runs, &result) == FATTN_OK) {
            const bench_session session = {.context = context, .settings.dtype = result.dtype};
            result.line = text;
            print_results(values, &session, &result, 1);
            code = CLI_OK;
        } else {
            code = cli_error("bench", CLI_FAIL, "%s", fattn_error_message());
        }
    }
    fattn_context_destroy(context);
    line_destroy(line);
    return code;
}

static int bench_values(const cli_values *values)
{
    static const char *const of_suites[] = {"suite", "only", "dtype", "no-standard"};
    int64_t runs = 0;
    int code = cli_get_int(values, "runs", 1, BENCH_MOST_RUNS, &runs);
    if (code != CLI_GO) return code;
    if (values->n_args == 0) return bench_suite(values, (int)runs);
    for (size_t i = 0; i < sizeof of_suites / sizeof *of_suites; i++)
        if (cli_given(values, of_suites[i]))
            return cli_error("bench", CLI_USAGE, "--%s: is about a suite, not about a problem line",
                             of_suites[i]);
    char *text = call_line_text(values);
    if (!text) return cli_error("bench", CLI_FAIL, "out of memory");
    code = bench_text(values, text, (int)runs);
    free(text);
    return code;
}

int verb_bench(int argc, char **argv)
{
    cli_values values;
    int code = cli_parse(cli_verb_find(argv[0]), argc, argv, &values);
    if (code != CLI_GO) return code;
    code = bench_values(&values);
    cli_values_free(&values);
    return code;
}
