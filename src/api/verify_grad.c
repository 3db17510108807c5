/* SPDX-License-Identifier: Apache-2.0 */
/* verify_grad.c — every element of every gradient that was asked for, judged as it is computed anew. */
#include "api/verify_grad.h"

#include "api/tally.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"
#include "ref/grad.h"

typedef struct grad_job {
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    tallies *found; /* one per kv head: merged in order, so a report repeats to the bit */
    double *scratch;
    size_t slice;
} grad_job;

/* One kv head. */
typedef struct judge {
    const grad_job *job;
    tallies *found;
} judge;

static void judge_row(const judge *j, const fattn_view *view, void *const *base,
                      const enum verified *which, const fattn_seq *seq, int64_t head, int64_t row,
                      const ref_cell *cells)
{
    for (int part = 0; part < view->n_parts; part++) {
        const fattn_part *columns = &view->part[part];
        const int64_t first =
            view_offset(j->job->p, view, part, NULL, seq->batch, head, row);
        for (int64_t c = 0; base[part] && c < columns->d; c++) {
            const int64_t at = first + c * columns->col_stride;
            const double got = element_load(base[part], view->dtype, at);
            tally_rounded(&j->found->of[which[part]], view->dtype,
                          (element){at, got, cells[c].value, MUTANT(165, cells[c].bound, 1e9)});
        }
        cells += columns->d;
    }
}

static void take_dq(void *self, const fattn_seq *seq, int64_t head, int64_t i, const ref_cell *row)
{
    static const enum verified which[] = {GRAD_Q, GRAD_Q_ROPE};
    const judge *j = self;
    judge_row(j, &j->job->p->dq, j->job->ptrs->dq, which, seq, head, seq->q_row0 + i, row);
}

static void take_dkv(void *self, const fattn_seq *seq, int64_t kv_head, int64_t key,
                     const ref_cell *dk, const ref_cell *dv)
{
    static const enum verified of_k[] = {GRAD_K, GRAD_K_ROPE}, of_v[] = {GRAD_V, GRAD_V};
    const judge *j = self;
    void *const v[] = {j->job->ptrs->dv, NULL};
    const int64_t row = seq->kv_row0 + key;
    judge_row(j, &j->job->p->dk, j->job->ptrs->dk, of_k, seq, kv_head, row, dk);
    judge_row(j, &j->job->p->dv, v, of_v, seq, kv_head, row, dv);
}

static void take_dbias(void *self, int64_t at, ref_cell cell)
{
    const judge *j = self;
    const fattn_dtype dtype = j->job->p->dbias.dtype;
    const double got = element_load(j->job->ptrs->dbias, dtype, at);
    tally_rounded(&j->found->of[GRAD_PSE], dtype, (element){at, got, cell.value, cell.bound});
}

static void take_dsink(void *self, int64_t head, ref_cell cell)
{
    const judge *j = self;
    const fattn_dtype dtype = j->job->p->sink_dtype;
    const int64_t at = head * j->job->p->dsink_stride;
    if (!j->job->ptrs->dsink) return;
    tally_rounded(&j->found->of[GRAD_SINK], dtype,
                  (element){at, element_load(j->job->ptrs->dsink, dtype, at), cell.value,
                            cell.bound});
}

static void verify_item(void *arg, int64_t kv_head, int worker)
{
    const grad_job *job = arg;
    judge j = {job, &job->found[kv_head]};
    const ref_grad_taker taker = {&j, take_dq, take_dkv, take_dbias, take_dsink};
    ref_grad(job->p, job->ptrs, kv_head, job->scratch + (size_t)worker * job->slice, &taker);
}

fattn_status verify_grad(fattn_context *context, const fattn_operator *op, const void *args,
                         const fattn_problem *p, const fattn_ptrs *ptrs, fattn_arena *arena,
                         fattn_verify_report *report)
{
    grad_job job = {.p = p, .ptrs = ptrs, .slice = ref_grad_scratch(p)};
    size_t all = 0, bytes = 0;
    REQUIRE(job.slice != SIZE_MAX && size_mul(job.slice, (size_t)context->threads, &all) &&
                size_mul(all, sizeof(double), &bytes) && bytes <= PTRDIFF_MAX,
            FATTN_E_NOMEM,
            "verify: out of memory: the scratch of %d threads exceeds the address space; "
            "fewer keys would fit",
            context->threads);
    job.found = arena_alloc(arena, (size_t)p->n_kv_heads, sizeof *job.found);
    job.scratch = arena_alloc(arena, all, sizeof(double));
    REQUIRE(job.found && job.scratch, FATTN_E_NOMEM,
            "verify: out of memory: %lld row blocks, %zu doubles of scratch per thread",
            (long long)p->n_kv_heads, job.slice);
    context_parallel(context, verify_item, &job, p->n_kv_heads);
    tallies sum = {0};
    for (int64_t i = 0; i < p->n_kv_heads; i++)
        for (int k = 0; k < N_VERIFIED; k++) tally_add(&sum.of[k], &job.found[i].of[k]);
    tally_report(op, args, &sum, report);
    report->passed = report->outside == 0;
    return FATTN_OK;
}
