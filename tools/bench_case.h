/* SPDX-License-Identifier: Apache-2.0 */
/* bench_case.h — one row as a planned call: tensors over the benchmark's buffers, the args struct
 * of the row's operator, its plan. Through the public interface only. */
#ifndef FATTN_TOOLS_BENCH_CASE_H
#define FATTN_TOOLS_BENCH_CASE_H

#include "bench_rows.h"
#include "fattn/fattn.h"

/* Memory that grows and is filled once: every row's tensors are a prefix of it. */
typedef struct bench_buffer {
    void *data;
    size_t bytes;
} bench_buffer;

/* At least `bytes`; what was there is lost when it grows. false when out of memory. */
bool bench_buffer_reserve(bench_buffer *buffer, size_t bytes);
/* The same, filled with normal numbers (a pattern of 4 Mi elements, repeated) when it grows. */
bool bench_buffer_fill(bench_buffer *buffer, size_t bytes, fattn_dtype dtype, unsigned seed);
void bench_buffer_free(bench_buffer *buffer);

typedef struct bench_sizes {
    size_t q, k, v, out; /* bytes */
    size_t backward;     /* the gradients and what else the backward reads */
} bench_sizes;
bench_sizes bench_case_sizes(const bench_row *row, fattn_dtype dtype);

typedef struct bench_case {
    fattn_tensor query, key, value, out, table, mask;
    fattn_tensor dy, max, sum, dq, dk, dv; /* backward */
    void *backward;                        /* their memory */
    int64_t *lengths; /* keys per batch entry */
    union {
        fattn_fusion_attention_args fusion;
        fattn_fusion_attention_grad_args grad;
        fattn_prompt_flash_attention_args prompt;
        fattn_incre_flash_attention_args incre;
        fattn_fused_infer_attention_score_args fused;
    } args;
    fattn_plan *plan;
    double scale;
} bench_case;

/* Fills *c (it must not move afterwards) and makes the plan. bench_case_close() in any event. */
fattn_status bench_case_open(bench_case *c, fattn_context *context, const bench_row *row,
                             fattn_dtype dtype, void *q, void *k, void *v, void *out);
fattn_status bench_case_run(bench_case *c);
void bench_case_close(bench_case *c);

#endif
