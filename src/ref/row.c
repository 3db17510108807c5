/* SPDX-License-Identifier: Apache-2.0 */
/* row.c — straight from the formula in core/problem.h; keys that the row does not see are never read. */
#include "ref/row.h"

#include <math.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"
#include "core/dropout.h"
#include "core/element.h"
#include "core/quant.h"

static int64_t longest_kv(const fattn_problem *p)
{
    int64_t longest = 0;
    for (int64_t s = 0; s < p->n_seqs; s++) longest = i64_max(longest, p->seqs[s].kv_len);
    return longest;
}

size_t row_scratch(const fattn_problem *p)
{
    size_t count, bytes;
    if (!size_mul((size_t)longest_kv(p), 4, &count) ||
        !size_add(count, 2 * (size_t)p->d_qk + (size_t)p->d_v, &count) ||
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
        element_load_row(q, w->ptrs->q[part], view_dtype(view, part), at,
                         view->part[part].col_stride, view->part[part].d);
        q += view->part[part].d;
    }
}

/* A row of keys or values as it is stored. */
static void load_stored(double *x, const fattn_span *row, fattn_dtype dtype, int64_t d)
{
    const int pack = element_pack(dtype);
    if (row->part->chunk == 0 && pack == 1) {
        element_load_row(x, row->at, dtype, 0, row->part->col_stride, d);
        return;
    }
    for (int64_t c = 0; c < d; c++)
        x[c] = element_load_packed(row->at, dtype, part_column(row->part, c / pack), (int)(c % pack));
}

/* Row j of an operand, dequantised; rope columns, the second part of the keys, have no scales of their own. */
static void load_row(const row_work *w, double *x, fattn_operand operand, int64_t kv_head, int64_t j)
{
    const fattn_view *view = operand == OPERAND_KEY ? &w->p->k : &w->p->v;
    const fattn_quant quant = quant_of(w->p, w->ptrs, operand);
    const bool scaled = grid_present(&quant.affine->scale) || grid_present(&quant.affine->offset);
    for (int part = 0; part < view->n_parts; part++) {
        const fattn_span row = view_span(w->p, w->ptrs, w->seq, operand, part, kv_head, j, 1);
        const int64_t d = view->part[part].d;
        load_stored(x, &row, view_dtype(view, part), d);
        for (int64_t c = 0; scaled && part == 0 && c < d; c++)
            x[c] = quant_value(w->p, w->ptrs, operand, w->seq, kv_head, j, c, x[c]);
        x += d;
    }
}

const double *row_key(const row_work *w, int64_t j)
{
    load_row(w, w->k, OPERAND_KEY, MUTANT(26, w->head / w->p->group, w->head % w->p->n_kv_heads), j);
    return w->k;
}

/* q . k_j and sum |q||k|. */
static double dot(const row_work *w, int64_t j, double *absolute)
{
    const double *k = row_key(w, j);
    double sum = 0.0;
    *absolute = 0.0;
    for (int64_t c = 0; c < w->p->d_qk; c++) {
        const double product = w->q[c] * k[c];
        sum += product;
        *absolute += fabs(product);
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
    double s = w->factor * dot(w, j, &absolute);
    absolute *= fabs(w->factor);
    if (p->round_scores_f16) {
        /* an fp32 sum that is off by `error` may round to another fp16 value */
        const double error = REF_UNIT * ((double)p->d_qk + row_score_roundings(p)) * absolute;
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

double row_max(double a, double b)
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
        w->key_max = row_max(w->key_max, w->x[j]);
    }
}

double row_kept(const row_work *w, int64_t j)
{
    if (w->p->dropout.kind == DROPOUT_NONE) return 1.0;
    if (!dropout_keeps(w->p, w->ptrs, w->seq, w->head, w->i, j)) return 0.0;
    return MUTANT(155, w->p->dropout.factor, 1.0);
}

const double *row_value(const row_work *w, int64_t j, double factor)
{
    const double whole = factor * w->p_scale;
    if (factor != 0.0) load_row(w, w->v, OPERAND_VALUE, w->head / w->p->group, j);
    for (int64_t c = 0; c < w->p->d_v; c++) w->v[c] = factor == 0.0 ? 0.0 : whole * w->v[c];
    return w->v;
}

/* (x + offset) * scale: each of the two may round, and so may the scale, from another dtype. */
static double affine_roundings(const fattn_affine *affine)
{
    return grid_present(&affine->scale) ? 3.0 : 0.0;
}

double row_score_roundings(const fattn_problem *p)
{
    return 2.0 + affine_roundings(&p->k_affine) + (grid_present(&p->q_scale) ? 1.0 : 0.0) +
           (grid_present(&p->score_scale) ? 1.0 : 0.0);
}

double row_value_roundings(const fattn_problem *p)
{
    return affine_roundings(&p->v_affine) + (grid_present(&p->p_scale) ? 1.0 : 0.0);
}

static double row_factor(const row_work *w)
{
    const fattn_problem *p = w->p;
    const int64_t row = grid_at(&p->q_scale, w->seq->batch, w->head, w->seq->q_row0 + w->i);
    return grid_load(&p->q_scale, w->ptrs->q_scale, row) *
           grid_load(&p->score_scale, w->ptrs->score_scale, 0);
}

void row_open(row_work *w, const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
              int64_t head, int64_t i, double *scratch)
{
    *w = (row_work){.p = p, .ptrs = ptrs, .seq = seq, .head = head, .i = i};
    w->window = mask_interval(seq, i);
    w->q = scratch;
    w->k = w->q + p->d_qk;
    w->v = w->k + p->d_qk;
    w->x = w->v + p->d_v;
    w->sigma = w->x + seq->kv_len;
    w->jump = w->sigma + seq->kv_len;
    w->prob = w->jump + seq->kv_len;
    w->factor = row_factor(w);
    w->p_scale = grid_load(&p->p_scale, ptrs->p_scale, 0);
    w->sink = p->sink ? element_load(ptrs->sink, p->sink_dtype, head * p->sink_stride) : -INFINITY;
    score_row(w);
}
