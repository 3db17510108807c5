/* SPDX-License-Identifier: Apache-2.0 */
/* standard_backward.c — four products around the backward of a softmax, all of a key/value head at once:
 * the rows of its query heads lie one after the other. */
#include "io/openblas.h"
#include "standard.h"

typedef struct pass {
    const standard_problem *p;
    const standard_gradients *g;
    const bench_simd *simd;
    blas_sgemm *sgemm;
    int rows; /* per key/value head */
} pass;

size_t standard_score_bytes(const standard_problem *p)
{
    return (size_t)(p->batch * p->n_heads * p->q_len * standard_padded_keys(p)) * sizeof(float);
}

static void one_head(void *arg, int64_t head, int worker)
{
    (void)worker;
    const pass *s = arg;
    const standard_problem *p = s->p;
    const standard_gradients *g = s->g;
    const int n = (int)p->kv_len, d = (int)p->head_dim, dv = (int)p->value_dim, rows = s->rows;
    const int64_t ld = standard_padded_keys(p), at_q = head * rows * d, at_k = head * n * d;
    const int64_t at_v = head * n * dv, at_out = head * rows * dv, at_scores = head * rows * ld;
    const float *q = (const float *)p->q + at_q, *k = (const float *)p->k + at_k;
    const float *v = (const float *)p->v + at_v, *dy = g->dy + at_out;
    const float *shares = g->scores + at_scores;
    float *ds = g->dscores + at_scores;
    enum { N = BLAS_NO_TRANS, T = BLAS_TRANS, ORDER = BLAS_ROW_MAJOR };
    s->sgemm(ORDER, T, N, n, dv, rows, 1, shares, (int)ld, dy, dv, 0, g->dv + at_v, dv);
    s->sgemm(ORDER, N, T, rows, n, dv, 1, dy, dv, v, dv, 0, ds, (int)ld);
    for (int r = 0; r < rows; r++)
        s->simd->softmax_backward(ds + r * ld, shares + r * ld, ld, p->scale);
    s->sgemm(ORDER, N, N, rows, d, n, 1, ds, (int)ld, k, d, 0, g->dq + at_q, d);
    s->sgemm(ORDER, T, N, n, d, rows, 1, ds, (int)ld, q, d, 0, g->dk + at_k, d);
}

void standard_backward(const standard_problem *p, const standard_gradients *g, bench_pool *pool,
                       const bench_simd *simd)
{
    pass s = {.p = p, .g = g, .simd = simd, .sgemm = openblas_find()->sgemm,
              .rows = (int)(p->n_heads / p->n_kv_heads * p->q_len)};
    bench_pool_run(pool, one_head, &s, p->batch * p->n_kv_heads);
}
