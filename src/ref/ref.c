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

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"
#include "core/element.h"
#include "core/mask.h"

static const double UNIT = MUTANT(28, 0x1p-24, 0x1p-18); /* u: half an fp32 ulp of 1 */
static const double FLUSH = 0x1p-126; /* smallest normal fp32: what a product near zero may lose */
static const double LSE_UNIT = 0x1p-20;

/* What is known about the row. Arrays are indexed by key and live in the caller's scratch. */
typedef struct row_work {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const fattn_seq *seq;
    int64_t head, i;
    fattn_interval window;
    int64_t n_visible;
    double *q;     /* [d_qk] */
    double *x;     /* score */
    double *sigma; /* |scale| sum |q||k| + |bias|: what the roundings of x grow with; -1 = hidden */
    double *jump;  /* how far rounding q.k to fp16 may throw x; 0 unless it is asked for */
    double *prob;
    double sink, sink_prob;  /* -inf and 0 without a sink */
    double key_max, key_sum; /* over the keys alone: m and l without the sink */
    double max, sum;         /* with the sink */
} row_work;

static int64_t longest_kv(const fattn_problem *p)
{
    int64_t longest = 0;
    for (int64_t s = 0; s < p->n_seqs; s++) longest = i64_max(longest, p->seqs[s].kv_len);
    return longest;
}

size_t ref_scratch(const fattn_problem *p)
{
    size_t count, bytes;
    if (!size_mul((size_t)longest_kv(p), 4, &count) || !size_add(count, (size_t)p->d_qk, &count) ||
        !size_mul(count, sizeof(double), &bytes))
        return SIZE_MAX;
    return count;
}

static void load_query(const row_work *w)
{
    const fattn_view *view = &w->p->q;
    double *q = w->q;
    for (int part = 0; part < view->n_parts; part++) {
        const int64_t at = view_offset(w->p, view, part, w->ptrs->table, w->seq->batch, w->head,
                                       w->seq->q_row0 + w->i);
        for (int64_t c = 0; c < view->part[part].d; c++)
            *q++ =
                element_load(w->ptrs->q[part], view->dtype, at + c * view->part[part].col_stride);
    }
}

/* q . k_j and sum |q||k|. */
static double dot(const row_work *w, int64_t j, double *absolute)
{
    const fattn_view *view = &w->p->k;
    const double *q = w->q;
    double sum = 0.0;
    *absolute = 0.0;
    for (int part = 0; part < view->n_parts; part++) {
        const int64_t kv_head = MUTANT(26, w->head / w->p->group, w->head % w->p->n_kv_heads);
        const fattn_span key = view_span(w->p, w->ptrs, w->seq, OPERAND_KEY, part, kv_head, j, 1);
        for (int64_t c = 0; c < view->part[part].d; c++) {
            const double product =
                *q++ * element_load(key.at, view->dtype, part_column(key.part, c));
            sum += product;
            *absolute += fabs(product);
        }
    }
    return sum;
}

static double round_f16(double value)
{
    return (double)half_from_f16(half_to_f16_from_double(value));
}

/* x_j, sigma_j and jump_j of one visible key. */
static void score_key(const row_work *w, int64_t j)
{
    const fattn_problem *p = w->p;
    double absolute, jump = 0.0;
    double s = dot(w, j, &absolute);
    if (p->round_scores_f16) {
        /* an fp32 sum that is off by `error` may round to another fp16 value */
        const double error = UNIT * (double)(p->d_qk + 2) * absolute;
        jump = fabs(p->scale) * (round_f16(s + error) - round_f16(s - error));
        s = round_f16(s);
    }
    const double bias = bias_value(p, w->ptrs, w->seq, w->head, w->i, j);
    if (p->bias.before_scale) {
        w->x[j] = (s + bias) * p->scale;
        w->sigma[j] = fabs(p->scale) * (absolute + fabs(bias));
    } else {
        w->x[j] = s * p->scale + bias;
        w->sigma[j] = fabs(p->scale) * absolute + fabs(bias);
    }
    w->jump[j] = jump > 0.0 ? jump : 0.0; /* infinities beside each other: NaN, no jump */
}

static bool hidden(const row_work *w, int64_t j) { return w->sigma[j] < 0.0; }

/* Has neither weight nor error, although it may be visible: a bias of -inf masks exactly. */
static bool weightless(const row_work *w, int64_t j)
{
    return hidden(w, j) || w->x[j] == -INFINITY;
}

/* NaN if either is: fmax() would drop it. */
static double max_or_nan(double a, double b)
{
    if (isnan(a) || isnan(b)) return NAN;
    return a > b ? a : b;
}

static void score_row(row_work *w)
{
    load_query(w);
    w->key_max = -INFINITY;
    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        w->sigma[j] = -1.0;
        if (mask_hides(w->p, w->ptrs, w->seq, w->head, w->i, j)) continue;
        score_key(w, j);
        w->n_visible++;
        w->key_max = max_or_nan(w->key_max, w->x[j]);
    }
}

/* Needs key_max > -inf or NaN. */
static void softmax_row(row_work *w)
{
    w->key_sum = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!hidden(w, j)) w->key_sum += exp(w->x[j] - w->key_max);

    w->max = max_or_nan(w->key_max, w->sink);
    const double sink_weight = w->p->sink ? exp(w->sink - w->max) : 0.0;
    w->sum = w->key_sum * exp(w->key_max - w->max) + MUTANT(27, sink_weight, 0.0);
    w->sink_prob = sink_weight / w->sum;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!hidden(w, j)) w->prob[j] = exp(w->x[j] - w->max) / w->sum;
}

static fattn_span value_row(const row_work *w, int64_t j)
{
    return view_span(w->p, w->ptrs, w->seq, OPERAND_VALUE, 0, w->head / w->p->group, j, 1);
}

static double value_at(const row_work *w, const fattn_span *row, int64_t column)
{
    return element_load(row->at, w->p->v.dtype, part_column(row->part, column));
}

static void weighted_values(const row_work *w, double *out)
{
    for (int64_t c = 0; c < w->p->d_v; c++) out[c] = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (hidden(w, j)) continue;
        const fattn_span row_j = value_row(w, j);
        for (int64_t c = 0; c < w->p->d_v; c++) out[c] += w->prob[j] * value_at(w, &row_j, c);
    }
}

/* E_c = u { sum_j p_j |v_jc - o_c| r_j + n (A_c + |o_c|) } with r_j = (D+2) sigma_j + |x_j - m| + 2
 * and A_c = sum_j p_j |v_jc|. The sink is one more key with v = 0. */
static void value_bound(const row_work *w, const double *out, double *bound)
{
    const fattn_problem *p = w->p;
    const double n = (double)w->n_visible;
    double worst_jump = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++)
        if (!weightless(w, j) && w->jump[j] > worst_jump) worst_jump = w->jump[j];

    const double sink_error =
        p->sink && w->sink_prob > 0.0 ? 2.0 * fabs(w->sink) + fabs(w->sink - w->max) + 2.0 : 0.0;
    for (int64_t c = 0; c < p->d_v; c++)
        bound[c] = UNIT * fabs(out[c]) * (w->sink_prob * sink_error + n);

    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (weightless(w, j)) continue;
        const double roundings = (double)(p->d_qk + 2) * w->sigma[j] + fabs(w->x[j] - w->max) + 2.0;
        const double moved = UNIT * roundings + expm1(w->jump[j]) * exp(worst_jump);
        const fattn_span row_j = value_row(w, j);
        for (int64_t c = 0; c < p->d_v; c++) {
            const double v = value_at(w, &row_j, c);
            bound[c] += w->prob[j] * (fabs(v - out[c]) * moved + UNIT * n * fabs(v)) +
                        FLUSH * (fabs(v) + 1.0);
        }
    }
}

/* lse: 2^-20 max(1, |lse|) + u D sum p sigma (p over the keys). max: the same with the worst
 * rounding among the keys that may come out largest. */
static void stats_bounds(const row_work *w, fattn_ref_row *row)
{
    double mean_sigma = 0.0, mean_jump = 0.0, contender = 0.0;
    for (int64_t j = w->window.lo; j < w->window.hi; j++) {
        if (weightless(w, j)) continue;
        const double prob = exp(w->x[j] - w->key_max) / w->key_sum;
        const double off = UNIT * (double)(w->p->d_qk + 2) * w->sigma[j] + w->jump[j];
        mean_sigma += prob * w->sigma[j];
        mean_jump += prob * w->jump[j];
        if (w->x[j] + 2.0 * off >= w->key_max && off > contender) contender = off;
    }
    row->lse_bound =
        LSE_UNIT * fmax(1.0, fabs(row->lse)) + UNIT * (double)w->p->d_qk * mean_sigma + mean_jump;
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
        const fattn_span row_j = value_row(w, j);
        for (int64_t c = 0; c < w->p->d_v; c++) {
            const double v = value_at(w, &row_j, c);
            row->out[c] += v / n;
            if (row->out_bound) row->out_bound[c] += UNIT * fabs(v);
        }
    }
    for (int64_t c = 0; row->out_bound && c < w->p->d_v; c++)
        row->out_bound[c] += UNIT * n * fabs(row->out[c]); /* u n (A + |o|), n A = sum |v| */
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
    row_work w = {.p = p, .ptrs = ptrs, .seq = seq, .head = head, .i = i};
    w.window = mask_interval(seq, i);
    w.q = scratch;
    w.x = w.q + p->d_qk;
    w.sigma = w.x + seq->kv_len;
    w.jump = w.sigma + seq->kv_len;
    w.prob = w.jump + seq->kv_len;
    w.sink = p->sink ? element_load(ptrs->sink, p->sink_dtype, head * p->sink_stride) : -INFINITY;

    score_row(&w);
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
