/* SPDX-License-Identifier: Apache-2.0 */
/* grad.c — the backward, row by row, as the specification writes it:
 *
 *   P = exp(x - max) / sum,  dP = R (dy . v),  D = dy . out,  dS = P (dP - D)
 *   dq = scale sum_j dS k,  dk = scale sum_i dS q,  dv = sum_i P R dy
 *
 * and beside every sum the size of what may be lost in fp32 (docs/accuracy.md). */
#include "ref/grad.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"
#include "core/element.h"
#include "ref/row.h"

/* A sum on its way: its value, the errors of its terms, the size of its terms, how many. */
typedef struct tally {
    double value, error, size, terms;
} tally;

static void add(tally *t, double value, double error)
{
    t->value += value;
    t->error += error;
    t->size += fabs(value);
    t->terms += 1;
}

/* One chain of fp32 additions, and two roundings behind it. */
static ref_cell close(const tally *t, double factor)
{
    return (ref_cell){factor * t->value,
                      fabs(factor) * (t->error + REF_UNIT * (t->terms + 2) * t->size) + REF_FLUSH};
}

enum { TALLY_DOUBLES = sizeof(tally) / sizeof(double), CELL_DOUBLES = 2 };

typedef struct grad_work {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    const ref_grad_taker *taker;
    const fattn_seq *seq;
    int64_t kv_head;
    row_work row;
    double *row_scratch, *dy;  /* dy[d_v] */
    tally *dq, *dk, *dv, *bias; /* [d_qk], [kv][d_qk], [kv][d_v], cells of the group */
    ref_cell *cells, *cells_v; /* a closed row of d_qk, of d_v */
    double max, sum, delta, delta_size;
    bool mean;
} grad_work;

/* One key of a row. */
typedef struct score {
    double p, p_error; /* P and its error, absolute */
    double kept;       /* R */
    double ds, ds_error;
} score;

/* ---- scratch ------------------------------------------------------------------------------------
 */

static int64_t most(const fattn_problem *p, bool keys)
{
    int64_t longest = 1;
    for (int64_t s = 0; s < p->n_seqs; s++)
        longest = i64_max(longest, keys ? p->seqs[s].kv_len : p->seqs[s].q_len);
    return longest;
}

static bool is_slope(const fattn_problem *p)
{
    return p->bias.kind == BIAS_SLOPE || p->bias.kind == BIAS_SLOPE_SQRT;
}

static int64_t bias_rows(const fattn_problem *p, int64_t q_len)
{
    if (is_slope(p) || p->dbias.over_rows) return 1;
    return p->bias.kind == BIAS_COMPRESSED ? BIAS_COMPRESSED_ROWS : q_len;
}

static int64_t bias_cols(const fattn_problem *p, int64_t kv_len)
{
    if (is_slope(p)) return 1;
    return p->bias.kind == BIAS_COMPRESSED ? p->bias.total_len : kv_len;
}

/* Cells of the bias that the heads of a group read; 0 when their gradient is not wanted. */
static bool count_cells(const fattn_problem *p, int64_t *cells)
{
    *cells = 0;
    if (!p->dbias.want) return true;
    return i64_mul(bias_rows(p, most(p, false)), bias_cols(p, most(p, true)), cells) &&
           i64_mul(*cells, p->group, cells);
}

static bool add_block(int64_t *total, int64_t count, int64_t each)
{
    int64_t block;
    return i64_mul(count, each, &block) && i64_add(*total, block, total);
}

size_t ref_grad_scratch(const fattn_problem *p)
{
    const size_t row = row_scratch(p);
    const int64_t keys = most(p, true), d = i64_max(p->d_qk, 1), dv = i64_max(p->d_v, 1);
    int64_t cells, total = 0;
    if (row == SIZE_MAX || row > INT64_MAX / 16) return SIZE_MAX;
    total = (int64_t)row;
    const bool fits = count_cells(p, &cells) && add_block(&total, dv, 1 + CELL_DOUBLES) &&
                      add_block(&total, d, TALLY_DOUBLES + CELL_DOUBLES) &&
                      i64_add(d, dv, &(int64_t){0}) &&
                      add_block(&total, keys, (d + dv) * TALLY_DOUBLES) &&
                      add_block(&total, cells, TALLY_DOUBLES) &&
                      add_block(&total, p->group, TALLY_DOUBLES) && total < INT64_MAX / 8;
    return fits ? (size_t)total : SIZE_MAX;
}

static void bind_scratch(grad_work *w, double *at)
{
    const fattn_problem *p = w->p;
    const int64_t keys = most(p, true);
    w->row_scratch = at;
    at += row_scratch(p);
    w->dy = at;
    at += i64_max(p->d_v, 1);
    w->cells_v = (ref_cell *)(void *)at;
    at += i64_max(p->d_v, 1) * CELL_DOUBLES;
    w->cells = (ref_cell *)(void *)at;
    at += i64_max(p->d_qk, 1) * CELL_DOUBLES;
    w->dq = (tally *)(void *)at;
    at += i64_max(p->d_qk, 1) * TALLY_DOUBLES;
    w->dk = (tally *)(void *)at;
    at += keys * i64_max(p->d_qk, 1) * TALLY_DOUBLES;
    w->dv = (tally *)(void *)at;
    at += keys * i64_max(p->d_v, 1) * TALLY_DOUBLES;
    w->bias = (tally *)(void *)at;
}

/* ---- a row --------------------------------------------------------------------------------------
 */

static void load_stats(grad_work *w, int64_t head, int64_t i)
{
    const fattn_seq *seq = w->seq;
    const int64_t at = seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
    w->max = element_load(w->ptrs->max, w->p->stats_dtype, at);
    w->sum = element_load(w->ptrs->sum, w->p->stats_dtype, at);
}

static bool is_dead(const grad_work *w)
{
    return (w->max == -(double)FLT_MAX && w->sum == (double)FLT_MAX) || w->sum == 0.0;
}

static const void *row_of(const grad_work *w, const fattn_view *view, const void *base,
                          int64_t head, int64_t i, int64_t *at)
{
    *at = view_offset(w->p, view, 0, NULL, w->seq->batch, head, w->seq->q_row0 + i);
    return base;
}

/* dy, and D = dy . out with its size. */
static void load_dy(grad_work *w, int64_t head, int64_t i)
{
    const fattn_problem *p = w->p;
    int64_t dy_at, out_at;
    const void *dy = row_of(w, &p->dout, w->ptrs->dout, head, i, &dy_at);
    const void *out = row_of(w, &p->out, w->ptrs->out, head, i, &out_at);
    w->delta = w->delta_size = 0.0;
    for (int64_t c = 0; c < p->d_v; c++) {
        w->dy[c] = element_load(dy, p->dout.dtype, dy_at + c * p->dout.part[0].col_stride);
        const double product = w->dy[c] * element_load(out, p->out.dtype,
                                                       out_at + c * p->out.part[0].col_stride);
        w->delta += product;
        w->delta_size += fabs(product);
    }
}

/* P of a key: of an ordinary row, or of one that was the mean of its values (spec 2.3 a). */
static void set_weight(const grad_work *w, int64_t j, score *s)
{
    const double d = (double)(w->p->d_qk + 2);
    if (w->mean) {
        s->p = 1.0 / w->sum;
        s->p_error = 4 * REF_UNIT * s->p;
        return;
    }
    const double x = w->row.x[j];
    const double off = REF_UNIT * (d * w->row.sigma[j] + fabs(x) + fabs(w->max) + 6);
    s->p = exp(x - w->max) / w->sum;
    s->p_error = x == -INFINITY ? 0.0 : s->p * expm1(off) + REF_FLUSH * (1 + 1 / fabs(w->sum));
}

static score score_of(const grad_work *w, int64_t j)
{
    score s = {.kept = row_kept(&w->row, j)};
    const double *v = row_value(&w->row, j, s.kept);
    double dp = 0.0, dp_size = 0.0;
    set_weight(w, j, &s);
    for (int64_t c = 0; s.kept != 0.0 && c < w->p->d_v; c++) {
        const double product = w->dy[c] * v[c];
        dp += product;
        dp_size += fabs(product);
    }
    const double g = dp - MUTANT(161, w->delta, 0.0);
    s.ds = s.p * g;
    s.ds_error = s.p_error * fabs(g) +
                 s.p * REF_UNIT *
                     ((double)(w->p->d_v + 4) * (dp_size + w->delta_size) + 2 * fabs(dp) +
                      2 * fabs(w->delta)) +
                 REF_FLUSH * (1 + s.p);
    if (s.p == 0.0 && s.p_error == 0.0 && isfinite(g)) s.ds_error = 0.0;
    return s;
}

static void add_query_and_key(grad_work *w, int64_t j, const score *s)
{
    const double *k = row_key(&w->row, j), *q = w->row.q;
    tally *dk = w->dk + j * w->p->d_qk;
    for (int64_t c = 0; c < w->p->d_qk; c++) {
        add(&w->dq[c], s->ds * k[c], s->ds_error * fabs(k[c]));
        add(&dk[c], s->ds * q[c], s->ds_error * fabs(q[c]));
    }
}

static void add_value(grad_work *w, int64_t j, const score *s)
{
    for (int64_t c = 0; s->kept != 0.0 && c < w->p->d_v; c++) {
        const double dy = w->dy[c], weight = s->p * s->kept;
        add(&w->dv[j * w->p->d_v + c], weight * dy,
            (s->p_error * s->kept + 3 * REF_UNIT * weight) * fabs(dy));
    }
}

/* ---- bias ---------------------------------------------------------------------------------------
 */

/* Row and column of the stored bias that cell (i, j) reads (core/bias.h). */
static void stored_cell(const grad_work *w, int64_t i, int64_t j, int64_t *row, int64_t *col)
{
    const int64_t first = w->p->bias.total_len - BIAS_COMPRESSED_ROWS;
    *row = w->p->dbias.over_rows ? 0 : i;
    *col = j;
    if (w->p->bias.kind != BIAS_COMPRESSED) return;
    *row = i >= first ? i - first : i % BIAS_COMPRESSED_ROWS;
    *col = i >= first ? j : first + *row - (i - j);
}

static tally *bias_cell(const grad_work *w, int64_t head, int64_t row, int64_t col)
{
    const int64_t rows = bias_rows(w->p, w->seq->q_len), cols = bias_cols(w->p, w->seq->kv_len);
    return &w->bias[(head % w->p->group * rows + row) * cols + col];
}

static void add_bias(grad_work *w, int64_t head, int64_t i, int64_t j, const score *s)
{
    const fattn_problem *p = w->p;
    double factor = p->bias.before_scale ? p->scale : 1.0;
    int64_t row = 0, col = 0;
    if (!p->dbias.want) return;
    if (is_slope(p)) {
        const double distance = fabs((double)(j - i + w->seq->distance0));
        factor = -(p->bias.kind == BIAS_SLOPE_SQRT ? sqrt(distance) : distance);
    } else {
        stored_cell(w, i, j, &row, &col);
    }
    add(bias_cell(w, head, row, col), MUTANT(162, factor, 1.0) * s->ds,
        fabs(factor) * s->ds_error);
}

/* Hands over what is summed up, and begins anew. */
static void close_bias(grad_work *w)
{
    const fattn_problem *p = w->p;
    const fattn_seq *seq = w->seq;
    const int64_t rows = bias_rows(p, seq->q_len), cols = bias_cols(p, seq->kv_len);
    if (!p->dbias.want || seq->pad) return;
    for (int64_t g = 0; g < p->group; g++)
        for (int64_t row = 0; row < rows; row++)
            for (int64_t col = 0; col < cols; col++) {
                const int64_t head = w->kv_head * p->group + g;
                tally *cell = bias_cell(w, head, row, col);
                const int64_t at =
                    is_slope(p) ? seq->batch * p->dbias.slope_batch_stride +
                                      head * p->dbias.slope_head_stride
                                : seq->dbias_base + head * seq->dbias_head_stride +
                                      row * seq->dbias_row_stride + col * p->dbias.col_stride;
                w->taker->dbias(w->taker->self, at, close(cell, 1.0));
                *cell = (tally){0};
            }
}

static void add_sink(const grad_work *w, int64_t head, tally *sink)
{
    if (!w->p->sink) return;
    const double logit = element_load(w->ptrs->sink, w->p->sink_dtype, head * w->p->sink_stride);
    const double weight = exp(logit - w->max) / w->sum;
    add(sink, -weight * w->delta,
        weight * REF_UNIT *
            ((fabs(logit - w->max) + 4) * fabs(w->delta) +
             (double)(w->p->d_v + 2) * w->delta_size));
}

/* ---- a kv head ----------------------------------------------------------------------------------
 */

static void take_dq(grad_work *w, int64_t head, int64_t i)
{
    for (int64_t c = 0; c < w->p->d_qk; c++) w->cells[c] = close(&w->dq[c], w->p->scale);
    w->taker->dq(w->taker->self, w->seq, head, i, w->cells);
}

static void grad_row(grad_work *w, int64_t head, int64_t i, tally *sink)
{
    const fattn_problem *p = w->p;
    memset(w->dq, 0, (size_t)p->d_qk * sizeof *w->dq);
    if (!w->seq->pad) load_stats(w, head, i);
    if (!w->seq->pad && !is_dead(w)) {
        row_open(&w->row, p, w->ptrs, w->seq, head, i, w->row_scratch);
        load_dy(w, head, i);
        add_sink(w, head, sink);
        fattn_interval keys = w->row.window;
        const bool policy = p->empty_no_window.mean || p->empty_masked.mean;
        w->mean = policy && !p->sink && w->max == -(double)FLT_MAX && w->row.n_visible == 0;
        if (w->mean && keys.lo == keys.hi) keys = (fattn_interval){0, w->seq->kv_len};
        for (int64_t j = keys.lo; j < keys.hi; j++) {
            if (!w->mean && row_hidden(&w->row, j)) continue;
            const score s = score_of(w, j);
            add_query_and_key(w, j, &s);
            add_value(w, j, &s);
            add_bias(w, head, i, j, &s);
        }
    }
    take_dq(w, head, i);
}

static void grad_seq(grad_work *w, const fattn_seq *seq, tally *sinks)
{
    const fattn_problem *p = w->p;
    w->seq = seq;
    memset(w->dk, 0, (size_t)(most(p, true) * i64_max(p->d_qk, 1)) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(most(p, true) * i64_max(p->d_v, 1)) * sizeof *w->dv);
    for (int64_t i = 0; i < seq->q_len; i++)
        for (int64_t g = 0; g < p->group; g++)
            grad_row(w, w->kv_head * p->group + g, i, &sinks[g]);
    for (int64_t j = 0; j < seq->kv_len; j++) {
        for (int64_t c = 0; c < p->d_qk; c++)
            w->cells[c] = close(&w->dk[j * p->d_qk + c], MUTANT(163, p->scale, 1.0));
        for (int64_t c = 0; c < p->d_v; c++) w->cells_v[c] = close(&w->dv[j * p->d_v + c], 1.0);
        w->taker->dkv(w->taker->self, seq, w->kv_head, j, w->cells, w->cells_v);
    }
}

void ref_grad(const fattn_problem *p, const fattn_ptrs *ptrs, int64_t kv_head, double *scratch,
              const ref_grad_taker *taker)
{
    grad_work w = {.p = p, .ptrs = ptrs, .taker = taker, .kv_head = kv_head};
    const fattn_seq *last = NULL;
    int64_t cells;
    bind_scratch(&w, scratch);
    tally *sinks = (tally *)(void *)(scratch + ref_grad_scratch(p)) - p->group;
    memset(sinks, 0, (size_t)p->group * sizeof *sinks);
    if (count_cells(p, &cells)) memset(w.bias, 0, (size_t)cells * sizeof *w.bias);
    for (int64_t s = 0; s < p->n_seqs; s++) {
        grad_seq(&w, &p->seqs[s], sinks);
        if (!p->dbias.over_batch) close_bias(&w);
        if (!p->seqs[s].pad) last = &p->seqs[s];
    }
    w.seq = last;
    if (p->dbias.over_batch && last) close_bias(&w);
    for (int64_t g = 0; p->sink && g < p->group; g++)
        taker->dsink(taker->self, kv_head * p->group + g, close(&sinks[g], 1.0));
}
