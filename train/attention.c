/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c — the operator takes the batch at once and keeps two numbers per row; the other way keeps
 * a matrix per head. */
#include "attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mutant.h"

enum { MASK = 2048, REPLICAS = 8 };

/* The compressed mask: what the device wants beside sparse_mode 3 and 4. Made once, never freed. */
static fattn_tensor compressed_mask(void)
{
    static uint8_t *cells;
    const int64_t shape[] = {MASK, MASK};
    if (!cells && (cells = malloc((size_t)MASK * MASK)) != NULL)
        for (int i = 0; i < MASK; i++)
            for (int j = 0; j < MASK; j++) cells[i * MASK + j] = j > i;
    return fattn_tensor_contiguous(cells, FATTN_BOOL, 2, shape);
}

size_t attention_saved_reals(const attention *a)
{
    const size_t rows = (size_t)a->batch * (size_t)a->n_heads * (size_t)a->length;
    return a->way == ATTENTION_OPERATOR ? rows * 2 * REPLICAS : rows * (size_t)a->length;
}

attention_saved attention_save(const attention *a)
{
    const size_t n = attention_saved_reals(a);
    if (a->way == ATTENTION_MATERIALISED) return (attention_saved){.prob = reals(n)};
    return (attention_saved){.max = reals(n / 2), .sum = reals(n / 2)};
}

void attention_saved_free(attention_saved *saved)
{
    free(saved->max), free(saved->sum), free(saved->prob);
}

/* ---- the operator -------------------------------------------------------------------------------
 */

typedef struct operands {
    fattn_tensor q, k, v, out, dout, dq, dk, dv, max, sum, mask;
} operands;

static operands tensors(const attention *a, const real *q, const real *k, const real *v,
                        const real *out, const attention_saved *saved)
{
    const int64_t rows[] = {a->batch, a->length, a->n_heads, a->dim};
    const int64_t keys[] = {a->batch, a->keys, a->n_kv_heads, a->dim};
    const int64_t stats[] = {a->batch, a->n_heads, a->length, REPLICAS};
    return (operands){
        .q = fattn_tensor_contiguous((void *)(uintptr_t)q, REAL_DTYPE, 4, rows),
        .k = fattn_tensor_contiguous((void *)(uintptr_t)k, REAL_DTYPE, 4, keys),
        .v = fattn_tensor_contiguous((void *)(uintptr_t)v, REAL_DTYPE, 4, keys),
        .out = fattn_tensor_contiguous((void *)(uintptr_t)out, REAL_DTYPE, 4, rows),
        .max = fattn_tensor_contiguous(saved->max, REAL_DTYPE, 4, stats),
        .sum = fattn_tensor_contiguous(saved->sum, REAL_DTYPE, 4, stats),
        .mask = compressed_mask(),
    };
}

static bool operator_forward(const attention *a, const operands *t)
{
    fattn_fusion_attention_args args;
    fattn_fusion_attention_args_init(&args);
    args.query = &t->q, args.key = &t->k, args.value = &t->v;
    args.head_num = a->n_heads, args.input_layout = "BSND";
    args.scale = 1 / sqrt((double)a->dim);
    args.sparse_mode = a->sparse_mode;
    if (a->sparse_mode != 0) args.atten_mask = &t->mask;
    if (a->sparse_mode == 4) args.pre_tokens = a->pre_tokens, args.next_tokens = a->next_tokens;
    args.keep_prob = a->keep_prob, args.seed = a->seed, args.offset = a->offset;
    args.attention_out = &t->out, args.softmax_max = &t->max, args.softmax_sum = &t->sum;
    return fattn_fusion_attention(a->context, &args) == FATTN_OK;
}

static bool operator_backward(const attention *a, const operands *t)
{
    fattn_fusion_attention_grad_args args;
    fattn_fusion_attention_grad_args_init(&args);
    args.query = &t->q, args.key = &t->k, args.value = &t->v, args.dy = &t->dout;
    args.head_num = a->n_heads, args.input_layout = "BSND";
    args.scale_value = 1 / sqrt((double)a->dim);
    args.sparse_mode = a->sparse_mode;
    if (a->sparse_mode != 0) args.atten_mask = &t->mask;
    if (a->sparse_mode == 4) args.pre_tokens = a->pre_tokens, args.next_tokens = a->next_tokens;
    args.keep_prob = a->keep_prob, args.seed = a->seed, args.offset = a->offset;
    args.attention_in = &t->out, args.softmax_max = &t->max, args.softmax_sum = &t->sum;
    args.dq = &t->dq, args.dk = &t->dk, args.dv = &t->dv;
    return fattn_fusion_attention_grad(a->context, &args) == FATTN_OK;
}

/* ---- materialised -------------------------------------------------------------------------------
 */

typedef struct head {
    const real *q, *k, *v;
    real *prob;
    int ldq, ldk; /* from token to token */
    size_t at_q, at_k; /* where the head begins in q and k */
} head;

static head head_of(const attention *a, int b, int h, const real *q, const real *k, const real *v,
                    const attention_saved *saved)
{
    const size_t n = (size_t)a->length;
    head x = {.ldq = a->n_heads * a->dim, .ldk = a->n_kv_heads * a->dim};
    x.at_q = (size_t)b * n * (size_t)x.ldq + (size_t)(h * a->dim);
    x.at_k = (size_t)b * n * (size_t)x.ldk + (size_t)(h / (a->n_heads / a->n_kv_heads) * a->dim);
    x.q = q + x.at_q, x.k = k + x.at_k, x.v = v + x.at_k;
    x.prob = saved->prob + ((size_t)b * (size_t)a->n_heads + (size_t)h) * n * n;
    return x;
}

static void softmax_rows(const attention *a, real *prob)
{
    const int n = a->length;
    const real scale = (real)(1 / sqrt((double)a->dim));
    for (int i = 0; i < n; i++, prob += n) {
        real top = prob[0], sum = 0;
        for (int j = 1; j <= i; j++) top = prob[j] > top ? prob[j] : top;
        for (int j = 0; j <= i; j++) sum += prob[j] = real_exp(scale * (prob[j] - top));
        for (int j = 0; j <= i; j++) prob[j] /= sum;
        memset(prob + i + 1, 0, (size_t)(n - 1 - i) * sizeof *prob);
    }
}

static void materialised_forward(const attention *a, real *out, const real *q, const real *k,
                                 const real *v, const attention_saved *saved)
{
    const int n = a->length, d = a->dim;
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->n_heads; h++) {
            const head x = head_of(a, b, h, q, k, v, saved);
            gemm(false, true, n, n, d, x.q, x.ldq, x.k, x.ldk, 0, x.prob, n);
            softmax_rows(a, x.prob);
            gemm(false, false, n, d, n, x.prob, n, x.v, x.ldk, 0, out + x.at_q, x.ldq);
        }
}

/* ds[i][j] = p (dp - sum_k p dp) * scale, in place of dp */
static void softmax_backward(const attention *a, const real *prob, real *dp)
{
    const int n = a->length;
    const real scale = (real)(1 / sqrt((double)a->dim));
    for (int i = 0; i < n; i++, prob += n, dp += n) {
        real along = 0;
        for (int j = 0; j <= i; j++) along += prob[j] * dp[j];
        for (int j = 0; j < n; j++) dp[j] = scale * prob[j] * (dp[j] - along);
    }
}

static void materialised_backward(const attention *a, real *dq, real *dk, real *dv,
                                  const real *dout, const real *q, const real *k, const real *v,
                                  const attention_saved *saved)
{
    const int n = a->length, d = a->dim;
    const size_t keys = (size_t)a->batch * (size_t)n * (size_t)(a->n_kv_heads * d);
    real *ds = reals((size_t)n * (size_t)n);
    memset(dk, 0, keys * sizeof *dk);
    memset(dv, 0, keys * sizeof *dv);
    for (int b = 0; b < a->batch; b++)
        for (int h = 0; h < a->n_heads; h++) {
            const head x = head_of(a, b, h, q, k, v, saved);
            gemm(true, false, n, d, n, x.prob, n, dout + x.at_q, x.ldq, 1, dv + x.at_k, x.ldk);
            gemm(false, true, n, n, d, dout + x.at_q, x.ldq, x.v, x.ldk, 0, ds, n);
            softmax_backward(a, x.prob, ds);
            gemm(false, false, n, d, n, ds, n, x.k, x.ldk, 0, dq + x.at_q, x.ldq);
            gemm(true, false, n, d, n, ds, n, x.q, x.ldq, 1, dk + x.at_k, x.ldk);
        }
    free(ds);
}

/* ---- either -------------------------------------------------------------------------------------
 */

bool attention_forward(const attention *a, real *out, const real *q, const real *k, const real *v,
                       attention_saved *saved)
{
    if (a->way == ATTENTION_MATERIALISED) {
        materialised_forward(a, out, q, k, v, saved);
        return true;
    }
    const operands t = tensors(a, q, k, v, out, saved);
    return operator_forward(a, &t);
}

bool attention_backward(const attention *a, real *dq, real *dk, real *dv, const real *dout,
                        const real *out, const real *q, const real *k, const real *v,
                        const attention_saved *saved)
{
    if (a->way == ATTENTION_MATERIALISED) {
        materialised_backward(a, dq, dk, dv, dout, q, k, v, saved);
        return true;
    }
    operands t = tensors(a, q, k, v, out, saved);
    t.dout = t.dq = t.q, t.dk = t.dv = t.k;
    t.dout.data = (void *)(uintptr_t)dout;
    t.dq.data = dq, t.dk.data = dk, t.dv.data = dv;
    return MUTANT(190, operator_backward(a, &t), true);
}
