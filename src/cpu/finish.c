/* SPDX-License-Identifier: Apache-2.0 */
/* finish.c — outputs of a row: out = o / (l + sink), max, sum and lse in natural units.
 *
 * Statistics refer to the true maximum `top`; m, the reference of l and o, may lie below it. */
#include "cpu/finish.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/bias.h"
#include "core/element.h"
#include "core/mask.h"
#include "core/quant.h"
#include "cpu/gather.h"
#include "cpu/scatter.h"
#include "cpu/scores.h"

/* One packed row on its way out. */
typedef struct out_row {
    int64_t packed, i, head;
    float *o;
    double m, top, l; /* log2 units */
    double sink;      /* natural units, -inf = none */
} out_row;

static double sink_value(const fattn_item *it, int64_t head)
{
    if (!it->p->sink) return -INFINITY;
    const int64_t at = head * it->p->sink_stride;
    if (it->p->sink_dtype == FATTN_BF16)
        return (double)half_from_bf16(((const uint16_t *)it->ptrs->sink)[at]);
    return (double)((const float *)it->ptrs->sink)[at];
}

static void write_max_sum(const fattn_item *it, const out_row *row, float max, float sum)
{
    if (!it->p->want_max_sum) return;
    const int64_t at = it->seq->stats_base + row->head * it->seq->stats_head_stride +
                       row->i * it->seq->stats_row_stride;
    for (int64_t k = 0; k < it->p->stats_replicas; k++) {
        const int64_t replica = at + k * it->p->max_replica_stride;
        if (it->ptrs->max) ((float *)it->ptrs->max)[replica] = max;
        if (it->ptrs->sum) ((float *)it->ptrs->sum)[replica] = sum;
    }
}

static void write_lse(const fattn_item *it, const out_row *row, float lse)
{
    if (!it->p->want_lse || !it->ptrs->lse) return;
    it->ptrs->lse[it->seq->lse_base + row->head * it->seq->lse_head_stride +
                  row->i * it->seq->lse_row_stride] = lse;
}

/* 8 bits: value * scale + offset. Rows that belong to no sequence are 0. */
static void write_quantised(const fattn_item *it, const out_row *row, int64_t offset, float divisor)
{
    const fattn_view *view = &it->p->out;
    for (int64_t c = 0; c < it->p->d_v; c++) {
        const double value = (double)(row->o[c] / divisor);
        element_store(it->ptrs->out, view->dtype, offset + c * view->part[0].col_stride,
                      it->seq->pad ? 0.0 : quant_out(it->p, it->ptrs, row->head, c, value));
    }
}

/* out = o / divisor, one rounding to the output's dtype after the division. */
static void write_out(const fattn_item *it, const out_row *row, float divisor)
{
    const fattn_view *view = &it->p->out;
    const int64_t offset =
        view_offset(it->p, view, 0, NULL, it->seq->batch, row->head, it->seq->q_row0 + row->i);
    if (grid_present(&it->p->out_affine.scale)) {
        write_quantised(it, row, offset, divisor);
        return;
    }
    scatter_row(it, view, 0, it->ptrs->out, offset, row->o, divisor);
}

static const fattn_empty *empty_rule(const fattn_item *it, fattn_interval window)
{
    if (it->seq->pad) return &it->p->empty_pad;
    if (it->seq->kv_len == 0) return &it->p->empty_no_keys;
    return window.lo >= window.hi ? &it->p->empty_no_window : &it->p->empty_masked;
}

/* o = mean of V over keys [lo, hi). */
static void mean_of_values(const fattn_item *it, int64_t lo, int64_t hi, float *o)
{
    fattn_scratch *s = it->scratch;
    double *sum =
        (double *)(void *)s->v_clean; /* TILE_KEYS rows of floats: room for a row of doubles */
    const fattn_source values = gather_values(it);
    memset(sum, 0, (size_t)s->ldo * sizeof *sum);
    for (int64_t j = lo; j < hi; j += TILE_KEYS) {
        const int n = (int)i64_min(hi - j, TILE_KEYS);
        const fattn_tile v = gather_tile(&values, it->kernels, j, n, true, s->v, s->ldo);
        for (int k = 0; k < n; k++)
            for (int64_t c = 0; c < it->p->d_v; c++) sum[c] += (double)v.at[k * v.ld + c];
    }
    for (int64_t c = 0; c < it->p->d_v; c++) o[c] = (float)(sum[c] / (double)(hi - lo));
}

/* A row that sees no key: what the family member says, except that a sink is seen by every row. */
static void finish_empty(const fattn_item *it, const out_row *row)
{
    const fattn_interval window = mask_interval(it->seq, row->i);
    const bool no_window = window.lo >= window.hi;
    const fattn_empty *rule = empty_rule(it, window);
    const int64_t lo = no_window ? 0 : window.lo, hi = no_window ? it->seq->kv_len : window.hi;
    const bool sunk = it->p->sink && !it->seq->pad;
    const bool mean = rule->mean && hi > lo && !sunk;

    memset(row->o, 0, (size_t)it->scratch->ldo * sizeof(float));
    if (mean) mean_of_values(it, lo, hi, row->o);
    write_out(it, row, 1.0f);
    if (sunk && it->p->sink_in_stats)
        write_max_sum(it, row, (float)row->sink, 1.0f);
    else
        write_max_sum(it, row, rule->max, mean ? (float)(hi - lo) : rule->sum);
    const double keys = (double)(hi - lo);
    write_lse(it, row, mean && rule->lse_mean ? (float)((double)rule->lse + log(keys)) : rule->lse);
}

/* Brings o to the divisor that is returned. A sink far above the scores would overflow l's unit. */
static float sink_divisor(const out_row *row, int64_t columns)
{
    enum { SAFE = 64 };
    const double above = row->sink * LOG2_E - row->m;
    if (!(above > SAFE)) return (float)(row->l + exp2(above));
    if (isinf(above)) return NAN; /* exp(inf - inf), as for a score of inf */
    const double unit = exp2(-above);
    for (int64_t c = 0; c < columns; c++) row->o[c] = (float)((double)row->o[c] * unit);
    return (float)(row->l * unit + 1.0);
}

/* A bias like -FLT_MAX leaves the range of log2 units (scores.c) and takes all scores with it: the
 * row's maximum in natural units is the largest bias that it sees. */
static bool is_saturated(const fattn_item *it, const out_row *row)
{
    const bool tensor = it->p->bias.kind == BIAS_TENSOR || it->p->bias.kind == BIAS_COMPRESSED;
    return tensor && fabs(row->top) == (double)FLT_MAX;
}

static double largest_bias(const fattn_item *it, const out_row *row)
{
    const fattn_interval window = mask_interval(it->seq, row->i);
    const double factor = it->p->bias.before_scale ? it->p->scale : 1.0;
    double largest = -INFINITY;
    for (int64_t j = window.lo; j < window.hi; j += TILE_KEYS) {
        const int n = (int)i64_min(window.hi - j, TILE_KEYS);
        uint64_t hidden = 0;
        if (scores_hidden(it, row->packed, 1, j, n, &hidden) == TILE_EMPTY) continue;
        for (int k = 0; k < n; k++)
            if (!(hidden >> k & 1))
                largest = fmax(largest, factor * bias_value(it->p, it->ptrs, it->seq, row->head,
                                                            row->i, j + k));
    }
    return largest;
}

static double largest_score(const fattn_item *it, const out_row *row, bool saturated)
{
    if (isnan(row->l)) return NAN;
    return saturated ? largest_bias(it, row) : MUTANT(34, row->top, row->m) * LN_2;
}

static void write_stats(const fattn_item *it, const out_row *row)
{
    const bool in_stats = it->p->sink && it->p->sink_in_stats, saturated = is_saturated(it, row);
    const double max_seen = largest_score(it, row, saturated);
    const bool sink_leads = in_stats && (row->sink > max_seen || isnan(row->sink));
    const double max = sink_leads ? row->sink : max_seen;
    double sum = row->l * exp2(row->m - max * LOG2_E);
    if (max == max_seen) sum = row->l * exp2(row->m - row->top);
    if (in_stats) sum += exp(row->sink - max);

    write_max_sum(it, row, (float)max, (float)sum);
    const double below = saturated ? max_seen : row->m * LN_2;
    write_lse(it, row, (float)(below + MUTANT(32, log(row->l), row->l)));
}

static void finish_seen(const fattn_item *it, const out_row *row)
{
    if (it->p->want_max_sum || it->p->want_lse) write_stats(it, row);
    write_out(it, row,
              MUTANT(33, it->p->sink, false) ? sink_divisor(row, it->p->d_v) : (float)row->l);
}

void finish_rows(const fattn_item *it, const fattn_state *state)
{
    for (int32_t r = 0; r < it->work->rows; r++) {
        const int64_t packed = it->work->row0 + r;
        const int64_t head = item_head(it, packed);
        const out_row row = {.packed = packed,
                             .i = item_query(it, packed),
                             .head = head,
                             .o = state->o + r * it->scratch->ldo,
                             .m = (double)state->m[r],
                             .top = (double)state->top[r],
                             .l = (double)state->l[r],
                             .sink = sink_value(it, head)};
        if (row.l == 0.0)
            finish_empty(it, &row);
        else
            finish_seen(it, &row);
    }
}
