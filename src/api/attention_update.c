/* SPDX-License-Identifier: Apache-2.0 */
/* attention_update.c — merges partial results of one attention by their log-sum-exp. (spec
 * inference 13)
 *
 *   m = max_i lse_i,  w_i = exp(lse_i - m),  L = m + ln(sum w),  out = sum_i w_i out_i / sum w
 *
 * lse (M), local_out (M, D), 1..32 of each. +inf means "no keys", like -inf: weight 0, and what has
 * weight 0 is not read. In double, rounded once. */
#include <math.h>

#include "api/arrays.h"
#include "api/operator.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

typedef fattn_attention_update_args update_args;

static const fattn_operator *const op = &operator_attention_update;
enum { PARTS_MAX = 32, ITEM_ELEMENTS = 1 << 15 };

typedef struct merge {
    const update_args *args;
    int64_t n_parts, rows, columns, rows_per_item;
    bool strict;
} merge;

static fattn_status check_lse(const fattn_tensor *tensor, const char *name, const merge *m,
                              fattn_dtype dtype)
{
    REQUIRE(tensor->dtype == dtype, FATTN_E_DTYPE, "%s: is %s, must be %s", name,
            fattn_dtype_name(tensor->dtype), fattn_dtype_name(dtype));
    return array_check_shape(tensor, name, 1, &m->rows);
}

static fattn_status check_out(const fattn_tensor *tensor, const char *name, const merge *m,
                              fattn_dtype dtype)
{
    REQUIRE(tensor->dtype == dtype, FATTN_E_DTYPE, "%s: is %s, must be %s like the first local_out",
            name, fattn_dtype_name(tensor->dtype), fattn_dtype_name(dtype));
    return array_check_shape(tensor, name, 2, (const int64_t[]){m->rows, m->columns});
}

/* The dtype of the statistics: fp32, and fp64 beside fp64 results. */
static fattn_status lse_dtype(const fattn_tensor *first, fattn_dtype out_dtype)
{
    REQUIRE(first->dtype == FATTN_F32 || (first->dtype == FATTN_F64 && out_dtype == FATTN_F64),
            FATTN_E_DTYPE, "lse: is %s, must be f32", fattn_dtype_name(first->dtype));
    return FATTN_OK;
}

static fattn_status check_outputs(const merge *m, fattn_dtype out_dtype, fattn_dtype stats_dtype)
{
    const update_args *a = m->args;
    if (a->out) {
        TRY(check_out(a->out, "out", m, out_dtype));
    }
    if (a->lse_out && a->update_type == 1) {
        TRY(check_lse(a->lse_out, "lse_out", m, stats_dtype));
    }
    return FATTN_OK;
}

static fattn_status check_args(const fattn_context *context, const update_args *a,
                               fattn_args_need need, merge *m)
{
    TRY(operator_args_check(op, a, need));
    REQUIRE(a->update_type == 0 || a->update_type == 1, FATTN_E_ARG,
            "update_type: %lld is not 0 (out) or 1 (out and lse_out)", LL(a->update_type));
    REQUIRE(a->lse.count >= 1 && a->lse.count <= PARTS_MAX, FATTN_E_ARG,
            "lse: %lld entries, 1..%d are legal", LL(a->lse.count), PARTS_MAX);
    REQUIRE(a->local_out.count == a->lse.count, FATTN_E_ARG,
            "local_out: %lld entries, lse has %lld", LL(a->local_out.count), LL(a->lse.count));

    const fattn_tensor *out0 = a->local_out.data[0], *lse0 = a->lse.data[0];
    REQUIRE(element_is_float(out0->dtype), FATTN_E_DTYPE,
            "local_out: is %s, must be f32, f16 or bf16", fattn_dtype_name(out0->dtype));
    REQUIRE(out0->rank == 2, FATTN_E_SHAPE, "local_out: rank %d, must be (M, D)", (int)out0->rank);
    TRY(lse_dtype(lse0, out0->dtype));
    *m = (merge){.args = a,
                 .n_parts = a->lse.count,
                 .rows = out0->shape[0],
                 .columns = out0->shape[1],
                 .strict = context->strict};
    m->rows_per_item = i64_max(1, ITEM_ELEMENTS / i64_clamp(m->columns, 1, ITEM_ELEMENTS));
    for (int64_t i = 0; i < m->n_parts; i++) {
        TRY(check_lse(a->lse.data[i], "lse", m, lse0->dtype));
        TRY(check_out(a->local_out.data[i], "local_out", m, out0->dtype));
    }
    return check_outputs(m, out0->dtype, lse0->dtype);
}

static fattn_status check(const fattn_context *context, const update_args *a, fattn_args_need need,
                          merge *m)
{
    fattn_status status = check_args(context, a, need, m);
    if (status == FATTN_OK) status = strict_check(&strict_attention_update, STAGE_CALL, context, a);
    return strict_refused(&strict_attention_update, context, status);
}

/* Weights of row r, not normalised; returns their sum and stores the largest lse. Sum 0: nothing
 * valid. */
static double row_weights(const merge *m, int64_t r, double weight[PARTS_MAX], double *largest)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < m->n_parts; i++) {
        const fattn_tensor *lse = m->args->lse.data[i];
        const double x = element_load(lse->data, lse->dtype, r * lse->strides[0]);
        weight[i] = MUTANT(70, x == INFINITY, false) ? -INFINITY : x;
        if (weight[i] > top) top = weight[i];
    }
    for (int64_t i = 0; i < m->n_parts; i++) {
        weight[i] = weight[i] == -INFINITY ? 0 : exp(weight[i] - top);
        sum += weight[i];
    }
    *largest = top;
    return sum;
}

static double merged_element(const merge *m, int64_t r, int64_t d, const double *weight, double sum)
{
    double total = 0;
    for (int64_t i = 0; i < m->n_parts; i++) {
        if (weight[i] == 0) continue; /* may hold anything, NaN included */
        const fattn_tensor *part = m->args->local_out.data[i];
        total += weight[i] *
                 element_load(part->data, part->dtype, r * part->strides[0] + d * part->strides[1]);
    }
    return total / sum;
}

static void merge_row(const merge *m, int64_t r)
{
    const fattn_tensor *out = m->args->out, *lse_out = m->args->lse_out;
    double weight[PARTS_MAX], largest;
    const double sum = row_weights(m, r, weight, &largest);
    const bool nothing = sum == 0;
    const double empty_out = m->strict ? NAN : 0, empty_lse = m->strict ? NAN : INFINITY;

    for (int64_t d = 0; d < m->columns; d++)
        element_store(out->data, out->dtype, r * out->strides[0] + d * out->strides[1],
                      nothing ? empty_out : merged_element(m, r, d, weight, sum));
    if (lse_out && m->args->update_type == 1)
        element_store(lse_out->data, lse_out->dtype, r * lse_out->strides[0],
                      nothing ? empty_lse : largest + MUTANT(69, log(sum), sum));
}

static void merge_item(void *arg, int64_t item, int worker)
{
    const merge *m = arg;
    const int64_t first = item * m->rows_per_item, end = i64_min(first + m->rows_per_item, m->rows);
    (void)worker;
    for (int64_t r = first; r < end; r++) merge_row(m, r);
}

void fattn_attention_update_args_init(fattn_attention_update_args *args)
{
    operator_args_init(op, args);
}

static fattn_status call(fattn_context *context, const void *given)
{
    const fattn_attention_update_args *args = given;
    merge m;
    TRY(check(context, args, ARGS_DATA, &m));
    const bool wants_lse = args->lse_out && args->update_type == 1;
    if (m.columns > 0 || wants_lse)
        context_parallel(context, merge_item, &m, i64_div_up(m.rows, m.rows_per_item));
    return FATTN_OK;
}

fattn_status fattn_attention_update(fattn_context *context, const fattn_attention_update_args *args)
{
    return exec_call_simple(context, op, args, call);
}

/* update_type 0 has no lse_out: its shape is [0]. */
fattn_status fattn_attention_update_shapes(fattn_context *context,
                                           const fattn_attention_update_args *args,
                                           fattn_tensor *outputs)
{
    merge m;
    REQUIRE(outputs, FATTN_E_ARG, "%s: outputs is NULL; pass room for 2 tensors", op->name);
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &m));
    outputs[0] = fattn_tensor_contiguous(NULL, args->local_out.data[0]->dtype, 2,
                                         (const int64_t[]){m.rows, m.columns});
    outputs[1] = fattn_tensor_contiguous(NULL, args->lse.data[0]->dtype, 1,
                                         (const int64_t[]){args->update_type == 1 ? m.rows : 0});
    return FATTN_OK;
}

fattn_status fattn_attention_update_workspace(fattn_context *context,
                                              const fattn_attention_update_args *args,
                                              size_t *bytes)
{
    merge m;
    REQUIRE(bytes, FATTN_E_ARG, "%s: bytes is NULL; pass where to store the size", op->name);
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &m));
    *bytes = 0;
    return FATTN_OK;
}

fattn_status fattn_attention_update_plan(fattn_context *context,
                                         const fattn_attention_update_args *args, fattn_plan **plan)
{
    merge m;
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &m));
    return exec_plan_simple(context, op, args, plan);
}
