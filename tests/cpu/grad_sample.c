/* SPDX-License-Identifier: Apache-2.0 */
/* grad_sample.c — see grad_sample.h. */
#include "grad_sample.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../core/rng.h"
#include "core/backend.h"
#include "core/element.h"

static void *memory(size_t bytes)
{
    void *made = calloc(1, bytes ? bytes : 1);
    assert(made);
    return made;
}

/* A view of `d` columns in one more part, [batch][row][head] or [batch][head][row]; its memory. */
static void *add_part(fattn_view *view, const storage *how, int64_t d, int64_t heads, int64_t rows,
                      int64_t batches)
{
    const int64_t width = d * how->col_stride + how->gap;
    view->part[view->n_parts++] = (fattn_part){
        .d = d,
        .col_stride = how->col_stride,
        .row_stride = how->heads_first ? width : heads * width,
        .head_stride = how->heads_first ? rows * width : width,
        .batch_stride = heads * rows * width,
    };
    return memory((size_t)(batches * heads * rows * width + 1) * fattn_dtype_size(view->dtype));
}

static int64_t offset_of(const grad_sample *g, const fattn_view *view, int part, int seq,
                         int64_t head, int64_t row, int64_t c)
{
    const fattn_part *x = &view->part[part];
    return g->s.seqs[seq].batch * x->batch_stride + head * x->head_stride + row * x->row_stride +
           c * x->col_stride;
}

static void fill_dy(grad_sample *g)
{
    rng r = rng_new(g->s.seed ^ 0xd7);
    for (int b = 0; b < g->p.n_seqs; b++)
        for (int64_t h = 0; h < g->p.n_heads; h++)
            for (int64_t i = 0; i < g->s.seqs[b].q_len; i++)
                for (int64_t c = 0; c < g->p.d_v; c++)
                    element_store(g->dy, g->p.dout.dtype,
                                  offset_of(g, &g->p.dout, 0, b, h, g->s.seqs[b].q_row0 + i, c),
                                  2.0 * rng_unit(&r));
}

/* The gradient of the bias lies as the bias does. */
static void lay_out_dbias(grad_sample *g)
{
    const fattn_bias *bias = &g->p.bias;
    if (bias->kind == BIAS_NONE) return;
    int64_t cells = g->p.n_seqs * g->p.n_heads;
    for (int b = 0; b < g->p.n_seqs; b++) {
        fattn_seq *seq = &g->s.seqs[b];
        seq->dbias_base = seq->bias_base;
        seq->dbias_head_stride = seq->bias_head_stride;
        seq->dbias_row_stride = seq->bias_row_stride;
        cells += g->p.n_heads * seq->bias_head_stride;
    }
    g->p.dbias = (fattn_dbias){.want = true,
                               .dtype = bias->dtype,
                               .over_batch = bias->slope_batch_stride == 0,
                               .col_stride = bias->col_stride,
                               .slope_batch_stride = bias->slope_batch_stride,
                               .slope_head_stride = bias->slope_head_stride};
    if (bias->kind == BIAS_TENSOR) g->p.dbias.over_batch = false;
    g->dbias_bytes = (size_t)cells * fattn_dtype_size(bias->dtype);
    g->dbias = memory(g->dbias_bytes);
}

void grad_make(grad_sample *g, uint64_t seed, fattn_dtype dtype, const sample_limits *limits,
               const storage *how, fattn_context *context)
{
    memset(g, 0, sizeof *g);
    sample_make(&g->s, seed, dtype, limits, how);
    if (g->s.p.sink) g->s.p.sink_in_stats = true;
    sample_run(&g->s, context);

    int64_t q_rows = 1, kv_rows = 1, batches = 1;
    for (int b = 0; b < g->s.p.n_seqs; b++) {
        const fattn_seq *seq = &g->s.seqs[b];
        if (seq->q_row0 + seq->q_len > q_rows) q_rows = seq->q_row0 + seq->q_len;
        if (seq->kv_row0 + seq->kv_len > kv_rows) kv_rows = seq->kv_row0 + seq->kv_len;
        if (seq->batch + 1 > batches) batches = seq->batch + 1;
    }
    g->p = g->s.p;
    fattn_problem *p = &g->p;
    p->kind = KIND_BACKWARD;
    p->want_max_sum = p->want_lse = false;
    p->dout.dtype = p->dq.dtype = p->dk.dtype = p->dv.dtype = dtype;
    g->dy = add_part(&p->dout, how, p->d_v, p->n_heads, q_rows, batches);
    g->dv = add_part(&p->dv, how, p->d_v, p->n_kv_heads, kv_rows, batches);
    for (int part = 0; part < p->q.n_parts; part++) {
        g->dq[part] = add_part(&p->dq, how, p->q.part[part].d, p->n_heads, q_rows, batches);
        g->dk[part] = add_part(&p->dk, how, p->k.part[part].d, p->n_kv_heads, kv_rows, batches);
    }
    fill_dy(g);
    lay_out_dbias(g);
    g->dsink = memory((size_t)p->n_heads * sizeof(float));
    p->dsink_stride = 1;
    g->ptrs = g->s.ptrs;
    g->ptrs.dout = g->dy;
    g->ptrs.dv = g->dv;
    g->ptrs.dbias = g->dbias;
    g->ptrs.dsink = p->sink ? g->dsink : NULL;
    for (int part = 0; part < 2; part++) {
        g->ptrs.dq[part] = g->dq[part];
        g->ptrs.dk[part] = g->dk[part];
    }
}

void grad_free(grad_sample *g)
{
    free(g->dy), free(g->dv), free(g->dbias), free(g->dsink);
    for (int part = 0; part < 2; part++) free(g->dq[part]), free(g->dk[part]);
    sample_free(&g->s);
}

/* A value that no gradient has: a row that nobody wrote is noticed. */
static void spoil(const grad_sample *g, const fattn_view *view, void *base, int part, int64_t heads,
                  bool keys)
{
    for (int b = 0; b < g->p.n_seqs; b++) {
        const fattn_seq *seq = &g->s.seqs[b];
        const int64_t rows = keys ? seq->kv_len : seq->q_len;
        const int64_t row0 = keys ? seq->kv_row0 : seq->q_row0;
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t c = 0; c < view->part[part].d; c++)
                    element_store(base, view->dtype, offset_of(g, view, part, b, h, row0 + i, c),
                                  -12345.0);
    }
}

void grad_run(grad_sample *g, fattn_context *context)
{
    const fattn_backend *cpu = &fattn_backend_cpu;
    fattn_arena arena = {.allocator = &context->allocator};
    void *state;
    size_t bytes;
    for (int part = 0; part < g->p.dq.n_parts; part++) {
        spoil(g, &g->p.dq, g->dq[part], part, g->p.n_heads, false);
        spoil(g, &g->p.dk, g->dk[part], part, g->p.n_kv_heads, true);
    }
    spoil(g, &g->p.dv, g->dv, 0, g->p.n_kv_heads, true);
    if (g->dbias) memset(g->dbias, 0, g->dbias_bytes);
    assert(cpu->accepts(context, &g->p) == FATTN_OK);
    assert(cpu->plan(context, &g->p, &arena, &state, &bytes) == FATTN_OK);
    void *workspace = aligned_alloc(64, bytes ? bytes : 64);
    assert(workspace);
    memset(workspace, 0xff, bytes); /* NaN: what nobody set shows */
    cpu->run(context, &g->p, state, &g->ptrs, workspace);
    free(workspace);
    arena_free(&arena);
}

static double value(const grad_sample *g, const fattn_view *view, void *const *base, int seq,
                    int64_t head, int64_t row, int64_t c)
{
    const int part = c >= view->part[0].d;
    if (part) c -= view->part[0].d;
    return element_load(base[part], view->dtype, offset_of(g, view, part, seq, head, row, c));
}

double grad_dq(const grad_sample *g, int seq, int64_t head, int64_t i, int64_t c)
{
    return value(g, &g->p.dq, g->dq, seq, head, g->s.seqs[seq].q_row0 + i, c);
}

double grad_dk(const grad_sample *g, int seq, int64_t head, int64_t j, int64_t c)
{
    return value(g, &g->p.dk, g->dk, seq, head, g->s.seqs[seq].kv_row0 + j, c);
}

double grad_dv(const grad_sample *g, int seq, int64_t head, int64_t j, int64_t c)
{
    void *const base[] = {g->dv, NULL};
    return value(g, &g->p.dv, base, seq, head, g->s.seqs[seq].kv_row0 + j, c);
}
