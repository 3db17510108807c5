/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c — every output element of an attention call against its float64 answer and its own
 * bound.
 *
 * out passes iff |out - exact| <= r ulp + 2 E, with r = 1/2 for fp32 and fp64, 1 for 16-bit
 * storage, whose share of correctly rounded elements is part of the contract too
 * (docs/accuracy.md). */
#include "api/operator.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/mask.h"
#include "core/element.h"
#include "fattn/verify.h"
#include "ref/ref.h"

enum { BLOCK_ROWS = 64, SHARE_MIN_ELEMENTS = 1000 }; /* below that many, a share says nothing */

enum verified { OUT, MAX, SUM, LSE, N_VERIFIED };
static const char *const names[N_VERIFIED] = {"attention_out", "softmax_max", "softmax_sum",
                                              "softmax_lse"};

/* What was found so far in one output. */
typedef struct tally {
    int64_t elements, outside, nans, infinite, rounded;
    int64_t finite; /* that the figures are of */
    double worst, worst_got, worst_exact, worst_bound;
    int64_t worst_index;
    double max_abs, sum_error2, max_rel, sum_rel, dot, norm_got2, norm_exact2;
} tally;

/* What one block of rows found; blocks are merged in order, so a report repeats to the bit. */
typedef struct tallies {
    tally of[N_VERIFIED];
} tallies;

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

/* Distance from |x| to the next representable number of the dtype. */
static double ulp_of(fattn_dtype dtype, double x)
{
    const int bits = dtype == FATTN_F64   ? 53
                     : dtype == FATTN_F32 ? 24
                     : dtype == FATTN_F16 ? 11
                                          : 8;
    const int min_exponent = dtype == FATTN_F64 ? -1021 : dtype == FATTN_F16 ? -13 : -125;
    int exponent = min_exponent;
    if (x != 0 && isfinite(x)) frexp(x, &exponent);
    return ldexp(1.0, (int)i64_max(exponent, min_exponent) - bits);
}

static bool same(double got, double exact) { return got == exact || (isnan(got) && isnan(exact)); }

/* error / bound, 0 when equal (NaN equals NaN), infinity when one side only is not finite. */
static double ratio_of(double got, double exact, double bound)
{
    if (same(got, exact)) return 0;
    const double error = fabs(got - exact);
    if (!isfinite(error)) return INFINITY;
    return bound > 0 ? error / bound : INFINITY;
}

/* The largest finite number of the storage: a correct result beyond it is stored as infinity. */
static double representable(fattn_dtype dtype, double x)
{
    uint64_t cell[1];
    element_store(cell, dtype, 0, x);
    return element_load(cell, dtype, 0);
}

/* One element, and what its bound was. */
typedef struct element {
    int64_t index;
    double got, exact, bound;
} element;

static void keep_worst(tally *t, const element *e, double ratio)
{
    t->outside += !(ratio <= 1);
    t->nans += MUTANT(118, isnan(e->got) && !isnan(e->exact), isnan(e->got));
    t->infinite += !same(e->got, e->exact) && !isfinite(e->got - e->exact);
    if (t->elements++ > 0 && !(ratio > t->worst)) return;
    t->worst = ratio;
    t->worst_index = e->index;
    t->worst_got = e->got;
    t->worst_exact = e->exact;
    t->worst_bound = e->bound;
}

static void measure(tally *t, fattn_dtype dtype, const element *e)
{
    static const double vendors_epsilon = 1e-7;
    const double rounded = representable(dtype, e->exact);
    const double error = e->got == e->exact ? 0 : fabs(e->got - e->exact);
    t->rounded += e->got == rounded || (isnan(e->got) && isnan(e->exact));
    if (!isfinite(error) || !isfinite(e->got)) return;
    const double relative = error / (fabs(e->exact) + MUTANT(119, vendors_epsilon, 1));
    t->finite++;
    t->max_abs = fmax(t->max_abs, error);
    t->sum_error2 += error * error;
    t->max_rel = fmax(t->max_rel, relative);
    t->sum_rel += relative;
    t->dot += e->got * e->exact;
    t->norm_got2 += e->got * e->got;
    t->norm_exact2 += e->exact * e->exact;
}

static void judge_out(tally *t, fattn_dtype dtype, element e)
{
    const double rounded = representable(dtype, e.exact);
    const double share = dtype == FATTN_F16 || dtype == FATTN_BF16 ? 1.0 : 0.5;
    measure(t, dtype, &e);
    e.bound = share * ulp_of(dtype, e.exact) + MUTANT(97, 2, 200) * e.bound;
    if (isinf(rounded) && !isinf(e.exact)) e.exact = rounded;
    keep_worst(t, &e, ratio_of(e.got, e.exact, e.bound));
}

static void judge_stat(tally *t, element e)
{
    measure(t, FATTN_F32, &e);
    keep_worst(t, &e, ratio_of(e.got, e.exact, e.bound));
}

/* A sum is as good as its logarithm. */
static void judge_sum(tally *t, int64_t at, double sum, const fattn_ref_row *row)
{
    const double bound = row->max_bound + row->lse_bound;
    element e = {at, sum, row->sum, 0};
    if (row->empty) {
        judge_stat(t, e);
        return;
    }
    measure(t, FATTN_F32, &e);
    e.bound = row->sum * expm1(bound);
    keep_worst(t, &e, ratio_of(log(sum), log(row->sum), bound));
}

/* Statistics: policy values of empty rows are exact; others have the row's bound on their
 * logarithms. */
static void judge_stats(const verify_job *job, tallies *t, const fattn_seq *seq, int64_t head,
                        int64_t i, const fattn_ref_row *row)
{
    const fattn_problem *p = job->p;
    const fattn_ptrs *ptrs = job->ptrs;
    const int64_t stats =
        seq->stats_base + head * seq->stats_head_stride + i * seq->stats_row_stride;
    for (int64_t c = 0; p->want_max_sum && c < p->stats_replicas; c++) {
        const int64_t at = stats + c * p->max_replica_stride;
        const double bound = row->empty ? 0 : row->max_bound;
        if (ptrs->max)
            judge_stat(&t->of[MAX], (element){at, (double)ptrs->max[at], row->max, bound});
        if (ptrs->sum) judge_sum(&t->of[SUM], at, (double)ptrs->sum[at], row);
    }
    if (!p->want_lse) return;
    const int64_t at = seq->lse_base + head * seq->lse_head_stride + i * seq->lse_row_stride;
    judge_stat(&t->of[LSE],
               (element){at, (double)ptrs->lse[at], row->lse, row->empty ? 0 : row->lse_bound});
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
        judge_out(&t->of[OUT], p->out.dtype, (element){at, got, row.out[c], row.out_bound[c]});
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

static void add(tally *sum, const tally *t)
{
    if (t->elements == 0) return;
    if (sum->elements == 0 || t->worst > sum->worst) {
        sum->worst = t->worst;
        sum->worst_index = t->worst_index;
        sum->worst_got = t->worst_got;
        sum->worst_exact = t->worst_exact;
        sum->worst_bound = t->worst_bound;
    }
    sum->elements += t->elements;
    sum->outside += t->outside;
    sum->nans += t->nans;
    sum->infinite += t->infinite;
    sum->finite += t->finite;
    sum->rounded += t->rounded;
    sum->max_abs = fmax(sum->max_abs, t->max_abs);
    sum->sum_error2 += t->sum_error2;
    sum->max_rel = fmax(sum->max_rel, t->max_rel);
    sum->sum_rel += t->sum_rel;
    sum->dot += t->dot;
    sum->norm_got2 += t->norm_got2;
    sum->norm_exact2 += t->norm_exact2;
}

/* 0 on an axis of one element, whose stride may be any number. */
static int64_t step_of(const fattn_tensor *tensor, int axis)
{
    const int64_t stride = tensor->shape[axis] > 1 ? tensor->strides[axis] : 0;
    return stride < 0 ? -stride : stride;
}

/* The index of the element that lies `offset` behind the tensor's data: outputs do not overlap
 * themselves, so the axis with the widest step is settled first. */
static void index_of(const fattn_tensor *tensor, int64_t offset, int64_t at[FATTN_MAX_RANK])
{
    bool done[FATTN_MAX_RANK] = {false};
    for (int i = 0; i < tensor->rank; i++) /* as if every step were positive */
        if (tensor->strides[i] < 0) offset += (tensor->shape[i] - 1) * step_of(tensor, i);
    for (int n = 0; n < tensor->rank; n++) {
        int axis = -1;
        for (int i = 0; i < tensor->rank; i++)
            if (!done[i] && (axis < 0 || step_of(tensor, i) > step_of(tensor, axis))) axis = i;
        done[axis] = true;
        const int64_t step = step_of(tensor, axis);
        const bool one = tensor->shape[axis] <= 1 || step == 0;
        at[axis] = one ? 0 : i64_min(offset / step, tensor->shape[axis] - 1);
        if (!one) offset -= at[axis] * step;
        if (!one && tensor->strides[axis] < 0)
            at[axis] = MUTANT(120, tensor->shape[axis] - 1, 0) - at[axis];
    }
}

/* Two zero vectors are alike; zero beside anything else is not. */
static double cosine_of(const tally *t)
{
    const double norms = sqrt(t->norm_got2) * sqrt(t->norm_exact2);
    if (t->finite == 0) return NAN;
    if (norms > 0) return t->dot / norms;
    return t->norm_got2 == t->norm_exact2 ? 1 : 0;
}

static void fill_output(const fattn_operator *op, const void *args, enum verified which,
                        const tally *t, fattn_verify_output *output)
{
    const double none = t->finite > 0 ? 0 : NAN; /* a largest of nothing, a mean of nothing */
    const double finite = t->finite > 0 ? (double)t->finite : 1;
    *output = (fattn_verify_output){
        .name = names[which],
        .elements = t->elements,
        .outside = t->outside,
        .nans = t->nans,
        .infinite = t->infinite,
        .worst = t->worst,
        .worst_index = t->worst_index,
        .worst_got = t->worst_got,
        .worst_exact = t->worst_exact,
        .worst_bound = t->worst_bound,
        .max_abs = t->max_abs + none,
        .rms = sqrt(t->sum_error2 / finite) + none,
        .max_rel = t->max_rel + none,
        .mean_rel = t->sum_rel / finite + none,
        .cosine = cosine_of(t),
        .correctly_rounded = (double)t->rounded / (double)t->elements,
    };
    const fattn_field *field = fattn_field_find(op, names[which]);
    const fattn_tensor *tensor = *(const fattn_tensor *const *)((const char *)args + field->offset);
    output->worst_rank = tensor->rank;
    index_of(tensor, t->worst_index, output->worst_at);
}

/* The first output's figures, and the worst element of all outputs, stand for the report. */
static void sum_up(const fattn_verify_output *o, fattn_verify_report *report)
{
    report->elements += o->elements;
    report->outside += o->outside;
    if (strcmp(o->name, names[OUT]) == 0) {
        report->max_abs = o->max_abs;
        report->rms = o->rms;
        report->max_rel = o->max_rel;
        report->mean_rel = o->mean_rel;
        report->cosine = o->cosine;
        report->correctly_rounded = o->correctly_rounded;
    }
    if (report->worst_output[0] && !(o->worst > report->worst)) return;
    report->worst = o->worst;
    report->worst_output = o->name;
    report->worst_index = o->worst_index;
    report->worst_got = o->worst_got;
    report->worst_exact = o->worst_exact;
    report->worst_bound = o->worst_bound;
}

static void fill_report(const verify_job *job, const tallies *t, fattn_verify_report *report)
{
    const fattn_dtype dtype = job->p->out.dtype;
    const double wanted = dtype == FATTN_BF16 ? 0.995 : dtype == FATTN_F16 ? 0.98 : 0;
    *report = (fattn_verify_report){
        .size = sizeof *report, .worst_output = "", .cosine = 1, .correctly_rounded = 1};
    for (int i = 0; i < N_VERIFIED; i++) {
        if (t->of[i].elements == 0) continue;
        fattn_verify_output *output = &report->outputs[report->n_outputs++];
        fill_output(job->op, job->args, (enum verified)i, &t->of[i], output);
        sum_up(output, report);
    }
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
        for (int k = 0; k < N_VERIFIED; k++) add(&sum.of[k], &job->found[i].of[k]);
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
    fattn_arena arena = {.allocator = &context->allocator};
    warn_list warnings;
    const fattn_status status = verify(context, translator, args, &arena, &warnings, report);
    arena_free(&arena);
    if (status == FATTN_OK) warn_say(&warnings, context);
    return status;
}
