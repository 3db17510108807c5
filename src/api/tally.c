/* SPDX-License-Identifier: Apache-2.0 */
/* tally.c — errors against bounds, the vendor's metrics, and the worst element of an output. */
#include "api/tally.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

static const char *const names[N_VERIFIED] = {
    [OUT] = "attention_out",   [MAX] = "softmax_max",     [SUM] = "softmax_sum",
    [LSE] = "softmax_lse",     [GRAD_Q] = "dq",           [GRAD_K] = "dk",
    [GRAD_V] = "dv",           [GRAD_PSE] = "dpse",       [GRAD_Q_ROPE] = "dq_rope",
    [GRAD_K_ROPE] = "dk_rope", [GRAD_SINK] = "dsink"};

/* Distance from |x| to the next representable number of the dtype. */
static double ulp_of(fattn_dtype dtype, double x)
{
    static const struct {
        int bits, min_exponent;
    } formats[FATTN_DTYPE_COUNT] = {
        [FATTN_F64] = {53, -1021}, [FATTN_F32] = {24, -125}, [FATTN_F16] = {11, -13},
        [FATTN_BF16] = {8, -125},  [FATTN_E4M3] = {4, -5},   [FATTN_E5M2] = {3, -13}};
    if (dtype == FATTN_I8) return 1.0;
    int exponent = formats[dtype].min_exponent;
    if (x != 0 && isfinite(x)) frexp(x, &exponent);
    return ldexp(1.0, (int)i64_max(exponent, formats[dtype].min_exponent) - formats[dtype].bits);
}

/* 8 bits hold no more than their largest number, and nothing but numbers in I8. */
static double saturated(fattn_dtype dtype, double x)
{
    uint64_t cell[1];
    if (fattn_dtype_size(dtype) > 1 || (isnan(x) && dtype != FATTN_I8)) return x;
    element_store(cell, dtype, 0, isnan(x) ? 0.0 : copysign(INFINITY, x));
    const double limit = element_load(cell, dtype, 0);
    return isnan(x) ? 0.0 : fabs(x) < fabs(limit) ? x : limit;
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

void tally_rounded(tally *t, fattn_dtype dtype, element e)
{
    const double rounded = representable(dtype, e.exact);
    const double share = dtype == FATTN_F16 || dtype == FATTN_BF16 ? 1.0 : 0.5;
    e.exact = saturated(dtype, e.exact);
    measure(t, dtype, &e);
    e.bound = share * ulp_of(dtype, e.exact) + MUTANT(97, 2, 200) * e.bound;
    if (isinf(rounded) && !isinf(e.exact)) e.exact = rounded;
    keep_worst(t, &e, ratio_of(e.got, e.exact, e.bound));
}

void tally_stat(tally *t, element e)
{
    measure(t, FATTN_F32, &e);
    keep_worst(t, &e, ratio_of(e.got, e.exact, e.bound));
}

void tally_sum(tally *t, element e, double bound)
{
    const double sum = e.got, exact = e.exact;
    measure(t, FATTN_F32, &e);
    e.bound = exact * expm1(bound);
    keep_worst(t, &e, ratio_of(log(sum), log(exact), bound));
}

void tally_add(tally *sum, const tally *t)
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
    if (report->n_outputs == 1) {
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

void tally_report(const fattn_operator *op, const void *args, const tallies *t,
                  fattn_verify_report *report)
{
    *report = (fattn_verify_report){
        .size = sizeof *report, .worst_output = "", .cosine = 1, .correctly_rounded = 1};
    for (int i = 0; i < N_VERIFIED; i++) {
        if (t->of[i].elements == 0) continue;
        fattn_verify_output *output = &report->outputs[report->n_outputs++];
        fill_output(op, args, (enum verified)i, &t->of[i], output);
        sum_up(output, report);
    }
}
