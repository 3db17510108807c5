/* SPDX-License-Identifier: Apache-2.0 */
/* problem.c — the invariants of a canonical problem, stated once. */
#include "core/problem.h"

#include <assert.h>

#include "base/ints.h"
#include "base/mutant.h"

static void seq_assert(const fattn_problem *p, const fattn_seq *seq)
{
    assert(seq->batch >= 0);
    assert(seq->q_row0 >= 0 && seq->q_len >= 0);
    assert(seq->kv_row0 >= 0 && seq->kv_len >= 0);
    assert(!seq->pad || seq->kv_len == 0 || p->kind == KIND_BACKWARD);
    const int64_t limit = i64_add_sat(seq->q_len, seq->kv_len);
    assert(seq->band_lo >= -limit && seq->band_lo <= limit);
    assert(seq->band_hi >= -limit && seq->band_hi <= limit);
    assert(seq->prefix >= 0 && seq->prefix <= seq->kv_len);
    assert(seq->mask_from >= 0 && seq->mask_from <= seq->kv_len);
    assert(seq->pad || seq->kv_len >= p->shared_len);
    (void)limit, (void)p;
}

static void view_assert(const fattn_view *view, int64_t columns)
{
    assert(view->n_parts == 1 || view->n_parts == 2);
    assert(view->page_rows >= 0 && view->n_pages >= 0);
    int64_t d = 0;
    for (int i = 0; i < view->n_parts; i++) {
        assert(view->part[i].d >= 0 && view->part[i].chunk >= 0);
        d += view->part[i].d;
    }
    assert(d == columns);
    (void)columns;
}

void problem_assert(const fattn_problem *p)
{
    assert(p->n_heads > 0 && p->n_kv_heads > 0 && p->group > 0);
    assert(MUTANT(22, p->group * p->n_kv_heads == p->n_heads, true));
    assert(p->d_qk >= 0 && p->d_v >= 0);

    view_assert(&p->q, p->d_qk);
    view_assert(&p->k, p->d_qk);
    view_assert(&p->v, p->d_v);
    view_assert(&p->out, p->d_v);
    assert(p->q.n_parts == p->k.n_parts);
    for (int i = 0; i < p->q.n_parts; i++) assert(p->q.part[i].d == p->k.part[i].d);
    assert(p->v.n_parts == 1 && p->out.n_parts == 1);
    assert(p->q.page_rows == 0 && p->out.page_rows == 0);
    assert(p->k.page_rows == 0 || p->table.dtype == FATTN_I32 || p->table.dtype == FATTN_I64);

    assert(!p->k.list == !p->v.list && (!p->k.list || (p->k.page_rows == 0 && p->k.n_parts == 1)));
    assert(p->shared_len >= 0 && (p->shared_len == 0 || p->k.n_parts == 1));
    if (p->shared_len > 0) view_assert(&p->k_shared, p->d_qk), view_assert(&p->v_shared, p->d_v);
    assert(p->n_seqs >= 0 && (p->seqs || p->n_seqs == 0));
    for (int64_t s = 0; s < p->n_seqs; s++) seq_assert(p, &p->seqs[s]);

    assert(!p->want_max_sum || p->stats_replicas >= 1);
    assert(!p->bias.before_scale || p->bias.kind == BIAS_NONE || p->bias.kind == BIAS_TENSOR ||
           p->bias.kind == BIAS_COMPRESSED);
}
