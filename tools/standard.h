/* SPDX-License-Identifier: Apache-2.0 */
/* standard.h — standard attention, the opponent: all scores materialised, OpenBLAS sgemm for the
 * two products, a vectorised row softmax between them, every thread busy. 16-bit inputs are widened
 * to fp32 first, because OpenBLAS multiplies fp32. OpenBLAS is looked up at run time; nothing links
 * it. */
#ifndef FATTN_TOOLS_STANDARD_H
#define FATTN_TOOLS_STANDARD_H

#include <stdbool.h>
#include <stddef.h>

#include "bench_pool.h"
#include "bench_simd.h"
#include "fattn/types.h"

/* Contiguous BNSD tensors. */
typedef struct standard_problem {
    fattn_dtype dtype; /* of q, k, v: f32, f16, bf16 */
    int64_t batch, n_heads, n_kv_heads, q_len, kv_len, head_dim, value_dim;
    float scale;
    bool causal; /* query i sees the keys up to kv_len - q_len + i */
    const void *q, *k, *v;
    float *out; /* fp32 [batch, n_heads, q_len, value_dim] */
} standard_problem;

/* How the work is cut so that the scores stay below a quarter of the memory. */
typedef struct standard_layout {
    int64_t batches; /* materialised at a time; 0 = one entry already is too much */
    size_t bytes;    /* workspace: the extra memory of standard attention */
} standard_layout;

/* The version text of the OpenBLAS in use; NULL when there is none on this machine. */
const char *standard_library(void);

standard_layout standard_plan(const standard_problem *problem, uint64_t memory_bytes);

/* Needs standard_library() and layout.batches > 0; workspace of layout.bytes, aligned to 64. */
void standard_attention(const standard_problem *problem, standard_layout layout, bench_pool *pool,
                        const bench_simd *simd, void *workspace);

/* Floats from a row of scores to the next. */
int64_t standard_padded_keys(const standard_problem *problem);

/* The backward of a forward that left its scores: standard_plan() with layout.batches == batch, run by
 * standard_attention() on that workspace, which begins with them. fp32 only. */
typedef struct standard_gradients {
    const float *scores; /* the workspace of the forward, as it left it */
    const float *dy;     /* like out */
    float *dscores;      /* as many as standard_score_bytes(); zeroed once */
    float *dq, *dk, *dv; /* like q, k, v */
} standard_gradients;

/* Of all batch entries. */
size_t standard_score_bytes(const standard_problem *problem);
void standard_backward(const standard_problem *problem, const standard_gradients *gradients,
                       bench_pool *pool, const bench_simd *simd);

#endif
