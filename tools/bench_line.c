/* SPDX-License-Identifier: Apache-2.0 */
/* bench_line.c — times any call of the family, as a plan that is run again and again. */
#include "bench_line.h"

#include <stdio.h>

static void describe(fattn_context *context, problem_line *line, const fattn_plan *plan,
                     bench_result *result)
{
    const fattn_tensor *query = line_tensor_of(line, "query", 0);
    fattn_memory_estimate memory = {.size = sizeof memory};
    if (query != NULL) result->dtype = query->dtype;
    result->extra_bytes = (int64_t)fattn_plan_workspace(plan);
    if (fattn_estimate_memory(context, line->op, line->args, &memory) == FATTN_OK)
        result->standard_bytes = (int64_t)memory.standard_bytes;
}

fattn_status bench_line(fattn_context *context, problem_line *line, int runs, bench_result *result)
{
    *result = bench_result_empty();
    result->row.suite = "line";
    result->row.op = line->op->name;
    snprintf(result->row.name, sizeof result->row.name, "%s", line->op->name);
    fattn_plan *plan = NULL;
    fattn_status status = line_outputs(line, context);
    if (status == FATTN_OK) status = line->op->plan(context, line->args, &plan);
    if (status == FATTN_OK) status = fattn_plan_run(plan, line->args, NULL, 0);
    double ms[BENCH_MOST_RUNS];
    const double begin = bench_now();
    int n = 0;
    while (status == FATTN_OK && bench_more(n, runs, bench_now() - begin)) {
        const double start = bench_now();
        status = fattn_plan_run(plan, line->args, NULL, 0);
        ms[n++] = (bench_now() - start) * 1e3;
    }
    if (status == FATTN_OK) {
        bench_result_times(result, ms, n);
        describe(context, line, plan, result);
    }
    fattn_plan_destroy(plan);
    return status;
}
