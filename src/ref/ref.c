/* SPDX-License-Identifier: Apache-2.0 */
/* ref.c — one output row, straight from the formula in core/problem.h, in double precision.
 *
 *   x_j = score of key j,  m = max x,  p_j = exp(x_j - m) / l,  l = sum exp(x_j - m),  out = sum
 * p_j v_j
 *
 * and beside it how far a careful fp32 computation may be from it (docs/accuracy.md). Keys that the
 * row does not see are never read: whatever lies there cannot matter. */
#include "ref/ref.h"

#include <math.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"
#include "ref/row.h"

static const double LSE_UNIT = 0x1p-20;

size_t ref_scratch(const fattn_problem *p) { return row_scratch(p); }

/* Has neither weight nor error, although it may be visible: a bias of -inf masks exactly. */
static bool weightless(const row_work *w, int64_t j)
{
    return row_hidden(w, j) || w->x[j] == -INFINITY;
}

/* Needs key_max > -inf or NaN. */
static void softmax_row(row_work *w)
{
    w->key_sum = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!row_hidden(w, j)) w->key_sum += exp(w->x[j] - w->key_max);

    w->max = row_max(w->key_max, w->sink);
    const double sink_weight = w->p->sink ? exp(w->sink - w->max) : 0.0;
    w->sum = w->key_sum * exp(w->key_max - w->max) + MUTANT(27, sink_weight, 0.0);
    w->sink_prob = sink_weight / w->sum;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!row_hidden(w, j)) w->prob[j] = exp(w->x[j] - w->max) / w->sum;
}

static void weighted_values(const row_work *w, double *out)
{
    for (int64_t c = 0; c < w->p->d_v; c++) out[c] = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (row_hidden(w, j)) continue;
        const double *v = row_value(w, j, row_kept(w, j));
        for (int64_t c = 0; c < w->p->d_v; c++) out[c] += w->prob[j] * v[c];
    }
}

/* E_c = u { sum_j p_j |v_jc - o_c| r_j + n (A_c + |o_c|) } with r_j = (D+2) sigma_j + |x_j - m| + 2
 * and A_c = sum_j p_j |v_jc|. The sink is one more key with v = 0. With dropout v_j stands for what is
 * left of it, 0 or v_j / keep_prob, and n grows by the two roundings of that factor. Quantised operands
 * bring more roundings (row_score_roundings). */
static void value_bound(const row_work *w, const double *out, double *bound)
{
    const fattn_problem *p = w->p;
    const double n = (double)w->n_visible + (p->dropout.kind == DROPOUT_NONE ? 0.0 : 2.0) +
                     row_value_roundings(p);
    const double products = (double)p->d_qk + row_score_roundings(p);
    double worst_jump = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!weightless(w, j) && w->jump[j] > worst_jump) worst_jump = w->jump[j];

    const double sink_error =
        p->sink && w->sink_prob > 0.0 ? 2.0 * fabs(w->sink) + fabs(w->sink - w->max) + 2.0 : 0.0;
    for (int64_t c = 0; c < p->d_v; c++)
        bound[c] = REF_UNIT * fabs(out[c]) * (w->sink_prob * sink_error + n);

    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (weightless(w, j)) continue;
        const double roundings = products * w->sigma[j] + fabs(w->x[j] - w->max) + 2.0;
        const double moved = REF_UNIT * roundings + expm1(w->jump[j]) * exp(worst_jump);
        const double *v = row_value(w, j, row_kept(w, j));
        for (int64_t c = 0; c < p->d_v; c++)
            bound[c] += w->prob[j] * (fabs(v[c] - out[c]) * moved + REF_UNIT * n * fabs(v[c])) +
                        REF_FLUSH * (fabs(v[c]) + 1.0);
    }
}

/* lse: 2^-20 max(1, |lse|) + u D sum p sigma (p over the keys). max: the same with the worst
 * rounding among the keys that may come out largest. */
static void stats_bounds(const row_work *w, fattn_ref_row *row)
{
    double mean_sigma = 0.0, mean_jump = 0.0, contender = 0.0;
    const double products = (double)w->p->d_qk + row_score_roundings(w->p);
    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (weightless(w, j)) continue;
        const double prob = exp(w->x[j] - w->key_max) / w->key_sum;
        const double off = REF_UNIT * products * w->sigma[j] + w->jump[j];
        mean_sigma += prob * w->sigma[j];
        mean_jump += prob * w->jump[j];
        if (w->x[j] + 2.0 * off >= w->key_max && off > contender) contender = off;
    }
    row->lse_bound =
        LSE_UNIT * fmax(1.0, fabs(row->lse)) + REF_UNIT * (products - 2.0) * mean_sigma + mean_jump;
    row->max_bound = LSE_UNIT * fmax(1.0, fabs(row->max)) + contender;
}

static const fattn_empty *empty_policy(const row_work *w)
{
    if (w->seq->pad) return &w->p->empty_pad;
    if (w->seq->kv_len == 0) return &w->p->empty_no_keys;
    if (w->window.lo == w->window.hi) return &w->p->empty_no_window;
    return &w->p->empty_masked;
}

/* Mean of V over the window, or over all keys when there is none. Returns the number of keys. */
static int64_t mean_values(const row_work *w, fattn_ref_row *row)
{
    fattn_interval keys = w->window;
    if (keys.lo == keys.hi) keys = (fattn_interval){0, w->seq->kv_len};
    const double n = (double)(keys.hi - keys.lo);
    for (int64_t j = keys.lo; j < keys.hi; j++) {
        const double *v = row_value(w, j, 1.0);
        for (int64_t c = 0; c < w->p->d_v; c++) {
            row->out[c] += v[c] / n;
            if (row->out_bound)
                row->out_bound[c] += REF_UNIT * (1.0 + row_value_roundings(w->p) / n) * fabs(v[c]);
        }
    }
    for (int64_t c = 0; row->out_bound && c < w->p->d_v; c++)
        row->out_bound[c] += REF_UNIT * n * fabs(row->out[c]); /* u n (A + |o|), n A = sum |v| */
    return keys.hi - keys.lo;
}

/* A row without a visible key: what the operator's policy says, in the precision of the outputs.
 * With a sink, all the weight is there. */
static void empty_row(const row_work *w, fattn_ref_row *row)
{
    const fattn_empty *policy = empty_policy(w);
    row->empty = true;
    row->lse_bound = row->max_bound = 0.0;
    row->max = (double)policy->max;
    row->sum = (double)policy->sum;
    row->lse = (double)policy->lse;
    for (int64_t c = 0; c < w->p->d_v; c++) row->out[c] = 0.0;
    for (int64_t c = 0; row->out_bound && c < w->p->d_v; c++) row->out_bound[c] = 0.0;
    if (w->p->sink && !w->seq->pad) {
        if (!w->p->sink_in_stats) return;
        row->max = w->sink;
        row->sum = 1.0;
    } else if (policy->mean && w->seq->kv_len > 0) {
        const int64_t n = mean_values(w, row);
        row->sum = (double)(float)n;
        if (policy->lse_mean) row->lse = (double)(float)(row->lse + log((double)n));
    }
}

void ref_row(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq, int64_t head,
             int64_t i, double *scratch, fattn_ref_row *row)
{
    row_work w;
    row_open(&w, p, ptrs, seq, head, i, scratch);
    if (w.key_max == -INFINITY) { /* nothing visible, or nothing but -inf: the same thing */
        empty_row(&w, row);
        return;
    }
    softmax_row(&w);
    weighted_values(&w, row->out);
    row->empty = false;
    row->max = p->sink_in_stats ? w.max : w.key_max;
    row->sum = p->sink_in_stats ? w.sum : w.key_sum;
    row->lse = w.key_max + log(w.key_sum);
    if (row->out_bound) value_bound(&w, row->out, row->out_bound);
    stats_bounds(&w, row);
}
