/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c — every output element of an attention call against its float64 answer and its own
 * bound.
 *
 * out passes iff |out - exact| <= r ulp + 2 E, with r = 1/2 for fp32 and fp64, 1 for 16-bit
 * storage, whose share of correctly rounded elements is part of the contract too
 * (docs/accuracy.md). */
#include "api/operator.h"
#include "api/tally.h"
#include "api/verify_grad.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"
#include "core/element.h"
#include "core/quant.h"
#include "fattn/verify.h"
#include "ref/ref.h"

enum { BLOCK_ROWS = 64, SHARE_MIN_ELEMENTS = 1000 }; /* below that many, a share says nothing */

typedef struct verify_job {
    const fattn_operator *op;
    const void *args;
    const fattn_problem *p;
    const fattn_ptrs *ptrs;
    tallies *found;  /* one per item */
    double *scratch; /* one slice per worker */
    size_t slice;
    int64_t *first; /* item index at which each sequence begins, n_seqs + 1 entries */
} verify_job;

/* Statistics: what a rule says of a row without a key is exact (its bounds are 0); others have the row's
 * bound on their logarithms. */
static void judge_stats(const verify_job *job, tallies *t, const fattn_seq *seq, int64_t head,
                        int64_t i, const fattn_ref_row *row)
{
    const fattn_problem *p = job->p;
    const fattn_ptrs *ptrs = job->ptrs;
    const int64_t stats =
        seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
    for (int64_t c = 0; p->want_max_sum && c < MUTANT(168, p->stats_replicas, 1); c++) {
        const int64_t at = stats + c * p->max_replica_stride;
        if (ptrs->max)
            tally_stat(&t->of[MAX], (element){at, element_load(ptrs->max, p->stats_dtype, at),
                                              row->max, row->max_bound});
        if (ptrs->sum)
            tally_sum(&t->of[SUM], (element){at, element_load(ptrs->sum, p->stats_dtype, at),
                                             row->sum, 0}, row->max_bound + row->lse_bound);
    }
    if (!p->want_lse) return;
    const int64_t at = seq->lse_base + head * seq->lse_head_stride + i * seq->lse_row_stride;
    tally_stat(&t->of[LSE],
               (element){at, (double)ptrs->lse[at], row->lse, row->lse_bound});
}

/* An element of attention_out: of 8 bits in their unit, with the roundings of scale and offset. */
static element judged_out(const verify_job *job, const fattn_seq *seq, int64_t head, int64_t c,
                          const fattn_ref_row *row, int64_t at, double got)
{
    const fattn_problem *p = job->p;
    element e = {at, got, row->out[c], row->out_bound[c]};
    if (seq->pad || !grid_present(&p->out_affine.scale)) return e;
    const double offset = quant_out(p, job->ptrs, head, c, 0.0);
    const double scale = quant_out(p, job->ptrs, head, c, 1.0) - offset;
    const double unit = 0x1p-24;
    e.exact = quant_out(p, job->ptrs, head, c, row->out[c]);
    e.bound = e.bound * fabs(scale) + unit * (2.0 * fabs(scale * row->out[c]) + fabs(offset));
    return e;
}

static void verify_row(const verify_job *job, tallies *t, const fattn_seq *seq, int64_t head,
                       int64_t i, double *scratch)
{
    const fattn_problem *p = job->p;
    fattn_ref_row row = {.out = scratch, .out_bound = scratch + p->d_v};
    ref_row(p, job->ptrs, seq, head, i, scratch + 2 * p->d_v, &row);
    const int64_t base = view_offset(p, &p->out, 0, NULL, seq->batch, head, seq->q_row0 + i);
    for (int64_t c = 0; c < p->d_v; c++) {
        const int64_t at = base + c * p->out.part[0].col_stride;
        const double got = element_load(job->ptrs->out, p->out.dtype, at);
        tally_rounded(&t->of[OUT], p->out.dtype, judged_out(job, seq, head, c, &row, at, got));
    }
    judge_stats(job, t, seq, head, i, &row);
}

/* Sequence of an item: the last one whose first item is not beyond it. */
static int64_t seq_of_item(const verify_job *job, int64_t item)
{
    int64_t lo = 0, hi = job->p->n_seqs;
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (job->first[mid] <= item)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* An item: up to BLOCK_ROWS rows of one head of one sequence. */
static void verify_item(void *arg, int64_t item, int worker)
{
    const verify_job *job = arg;
    const int64_t s = seq_of_item(job, item), index = item - job->first[s];
    const fattn_seq *seq = &job->p->seqs[s];
    const int64_t blocks = i64_div_up(seq->q_len, BLOCK_ROWS);
    const int64_t head = index / blocks, i0 = index % blocks * BLOCK_ROWS;
    for (int64_t i = i0; i < i64_min(i0 + BLOCK_ROWS, seq->q_len); i++)
        verify_row(job, &job->found[item], seq, head, i,
                   job->scratch + (size_t)worker * job->slice);
}

static void fill_report(const verify_job *job, const tallies *t, fattn_verify_report *report)
{
    const fattn_dtype dtype = job->p->out.dtype;
    const double wanted = dtype == FATTN_BF16 ? 0.995 : dtype == FATTN_F16 ? 0.98 : 0;
    tally_report(job->op, job->args, t, report);
    report->passed = report->outside == 0 && (t->of[OUT].elements < SHARE_MIN_ELEMENTS ||
                                              report->correctly_rounded >= wanted);
}

/* Numbers the items sequence by sequence. */
static fattn_status number_items(verify_job *job, fattn_arena *arena)
{
    const fattn_problem *p = job->p;
    job->first = arena_alloc(arena, (size_t)p->n_seqs + 1, sizeof *job->first);
    REQUIRE(job->first, FATTN_E_NOMEM, "verify: out of memory: %lld sequences",
            (long long)p->n_seqs);
    for (int64_t s = 0; s < p->n_seqs; s++) {
        int64_t blocks;
        REQUIRE(i64_mul(p->n_heads, i64_div_up(p->seqs[s].q_len, BLOCK_ROWS), &blocks) &&
                    i64_add(job->first[s], blocks, &job->first[s + 1]),
                FATTN_E_NOMEM, "verify: out of memory: more row blocks than 63 bits can count");
    }
    return FATTN_OK;
}

/* Doubles of scratch for one worker and for all; false when their bytes cannot be counted. */
static bool scratch_sizes(const fattn_problem *p, int threads, size_t *slice, size_t *all)
{
    size_t outputs, bytes;
    return size_mul((size_t)p->d_v, 2, &outputs) && size_add(outputs, ref_scratch(p), slice) &&
           size_mul(*slice, (size_t)threads, all) && size_mul(*all, sizeof(double), &bytes) &&
           bytes <= PTRDIFF_MAX;
}

/* Allocates from the arena, runs all items, merges. */
static fattn_status compare(fattn_context *context, verify_job *job, fattn_arena *arena,
                            fattn_verify_report *report)
{
    const fattn_problem *p = job->p;
    size_t all;
    TRY(number_items(job, arena));
    const int64_t items = job->first[p->n_seqs];
    REQUIRE(scratch_sizes(p, context->threads, &job->slice, &all), FATTN_E_NOMEM,
            "verify: out of memory: the scratch of %d threads exceeds the address space; "
            "fewer keys would fit",
            context->threads);

    job->found = arena_alloc(arena, (size_t)items, sizeof *job->found);
    job->scratch = arena_alloc(arena, all, sizeof(double));
    REQUIRE(job->found && job->scratch, FATTN_E_NOMEM,
            "verify: out of memory: %lld row blocks, %zu doubles of scratch per thread",
            (long long)items, job->slice);

    context_parallel(context, verify_item, job, items);
    tallies sum = {0};
    for (int64_t i = 0; i < items; i++)
        for (int k = 0; k < N_VERIFIED; k++) tally_add(&sum.of[k], &job->found[i].of[k]);
    fill_report(job, &sum, report);
    return FATTN_OK;
}

static fattn_status verify(fattn_context *context, const fattn_translator *translator,
                           const void *args, fattn_arena *arena, warn_list *warnings,
                           fattn_verify_report *report)
{
    fattn_problem problem = {0};
    fattn_ptrs ptrs = {0};
    TRY(exec_args_check(context, translator, args, ARGS_DATA));
    warn_hold(warnings);
    const fattn_status status = translator->translate(context, args, arena, &problem);
    warn_release(warnings);
    if (status != FATTN_OK) return exec_refused(context, translator, args, status);
    translator->bind(args, &ptrs);
    if (problem.k.page_rows > 0) TRY(problem_check_table(&problem, &ptrs));
    if (problem.kind == KIND_BACKWARD)
        return verify_grad(context, translator->op, args, &problem, &ptrs, arena, report);
    verify_job job = {.op = translator->op, .args = args, .p = &problem, .ptrs = &ptrs};
    return compare(context, &job, arena, report);
}

fattn_status fattn_verify(fattn_context *context, const fattn_operator *op, const void *args,
                          fattn_verify_report *report)
{
    REQUIRE(op, FATTN_E_ARG, "verify: op is NULL; fattn_operator_find() gives one");
    REQUIRE(report && report->size == sizeof *report, FATTN_E_ARG,
            "verify: report->size must be sizeof(fattn_verify_report) = %zu", sizeof *report);
    const fattn_translator *translator = operator_translator(op);
    REQUIRE(translator, FATTN_E_UNSUPPORTED,
            "verify: %s has no float64 answer; attention operators have", op->name);
    TRY(context_resolve(&context));
    REQUIRE(context->compute == FATTN_COMPUTE_F32, FATTN_E_UNSUPPORTED,
            "verify: fp16 arithmetic has no bound for each element; verify in a context with "
            "FATTN_COMPUTE_F32");
    fattn_arena arena = context_arena(context);
    warn_list warnings;
    const fattn_status status = verify(context, translator, args, &arena, &warnings, report);
    arena_free(&arena);
    if (status == FATTN_OK) warn_say(&warnings, context);
    return status;
}
