/* SPDX-License-Identifier: Apache-2.0 */
/* grad_sample.h — a random problem (sample.h) with its forward results, turned into a backward one. */
#ifndef FATTN_TESTS_CPU_GRAD_SAMPLE_H
#define FATTN_TESTS_CPU_GRAD_SAMPLE_H

#include "sample.h"

typedef struct grad_sample {
    sample s;
    fattn_problem p; /* KIND_BACKWARD; seqs are those of s */
    fattn_ptrs ptrs;
    void *dy, *dq[2], *dk[2], *dv, *dbias, *dsink;
    size_t dbias_bytes;
} grad_sample;

/* The gradients lie as `how` says, too. The context computes the forward. */
void grad_make(grad_sample *g, uint64_t seed, fattn_dtype dtype, const sample_limits *limits,
               const storage *how, fattn_context *context);
void grad_free(grad_sample *g);

/* Fills the gradients with a pattern, dbias with 0, then runs the cpu backend. */
void grad_run(grad_sample *g, fattn_context *context);

/* Elements by meaning. The head of dk and dv is a kv head; parts are counted through. */
double grad_dq(const grad_sample *g, int seq, int64_t head, int64_t i, int64_t c);
double grad_dk(const grad_sample *g, int seq, int64_t head, int64_t j, int64_t c);
double grad_dv(const grad_sample *g, int seq, int64_t head, int64_t j, int64_t c);

#endif
