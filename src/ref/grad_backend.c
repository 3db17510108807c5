/* SPDX-License-Identifier: Apache-2.0 */
/* grad_backend.c — takes the gradients element by element. */
#include "ref/grad_backend.h"

#include "base/mutant.h"
#include "core/element.h"
#include "ref/grad.h"

typedef struct grad_job {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    double *workspace;
    size_t slab;
} grad_job;

static void store_row(const grad_job *job, const fattn_view *view, void *const *base,
                      const fattn_seq *seq, int64_t head, int64_t row, const ref_cell *cells)
{
    for (int part = 0; part < view->n_parts; part++) {
        const fattn_part *columns = &view->part[part];
        const int64_t at = view_offset(job->p, view, part, NULL, seq->batch, head, row);
        for (int64_t c = 0; base[part] && c < columns->d; c++)
            element_store(base[part], view->dtype, at + c * columns->col_stride, cells[c].value);
        cells += columns->d;
    }
}

static void take_dq(void *self, const fattn_seq *seq, int64_t head, int64_t i, const ref_cell *row)
{
    const grad_job *job = self;
    store_row(job, &job->p->dq, job->ptrs->dq, seq, head, seq->q_row0 + i, row);
}

static void take_dkv(void *self, const fattn_seq *seq, int64_t kv_head, int64_t j,
                     const ref_cell *dk, const ref_cell *dv)
{
    const grad_job *job = self;
    void *const v[] = {job->ptrs->dv, NULL};
    const int64_t row = seq->kv_row0 + MUTANT(164, j, 0);
    store_row(job, &job->p->dk, job->ptrs->dk, seq, kv_head, row, dk);
    store_row(job, &job->p->dv, v, seq, kv_head, row, dv);
}

static void take_dbias(void *self, int64_t at, ref_cell cell)
{
    const grad_job *job = self;
    if (job->ptrs->dbias) element_store(job->ptrs->dbias, job->p->dbias.dtype, at, cell.value);
}

static void take_dsink(void *self, int64_t head, ref_cell cell)
{
    const grad_job *job = self;
    if (job->ptrs->dsink)
        element_store(job->ptrs->dsink, job->p->sink_dtype, head * job->p->dsink_stride,
                      cell.value);
}

static void grad_item(void *arg, int64_t kv_head, int worker)
{
    grad_job *job = arg;
    const ref_grad_taker taker = {job, take_dq, take_dkv, take_dbias, take_dsink};
    ref_grad(job->p, job->ptrs, kv_head, job->workspace + (size_t)worker * job->slab, &taker);
}

void ref_grad_run(fattn_context *context, const fattn_problem *p, const fattn_ptrs *ptrs,
                  double *workspace, size_t slab)
{
    grad_job job = {.p = p, .ptrs = ptrs, .workspace = workspace, .slab = slab};
    context_parallel(context, grad_item, &job, p->n_kv_heads);
}
