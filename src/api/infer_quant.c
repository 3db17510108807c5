/* SPDX-License-Identifier: Apache-2.0 */
/* infer_quant.c — everything that multiplies something in a quantised call, as grids, and where their
 * numbers are: full int8, MLA int8, 8-bit results (spec inference 4).
 *
 * A full int8 call multiplies its scores by dequant_scale1 and its result by quant_scale1 *
 * dequant_scale2; between them the weights stay fp32, where the device rounds them to int8. */
#include "api/infer.h"
#include "base/error.h"
#include "base/messages.h"
#include "base/mutant.h"

/* One number; the device's packed scales are 64 bits with an fp32 in the low half. */
static fattn_status read_factor(const infer_param *p, bool packed, fattn_grid *grid)
{
    char shape[TEXT_SIZE];
    const bool dtype = p->tensor->dtype == FATTN_F32 || (packed && p->tensor->dtype == FATTN_I64);
    REQUIRE(tensor_elements(p->tensor) == 1 && dtype, FATTN_E_SHAPE,
            "%s: %s must be one number, f32%s", p->name,
            tensor_print(p->tensor, shape, sizeof shape),
            packed ? message_say(" (or i64 with the bits of an f32 in its low half)") : "");
    *grid = (fattn_grid){.dtype = p->tensor->dtype, .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_full(const infer_call *call, fattn_problem *problem)
{
    const infer_quant_args *q = &call->args->quant;
    TRY(read_factor(&q->score_scale, true, &problem->score_scale));
    TRY(read_factor(&q->p_scale, false, &problem->p_scale));
    return read_factor(&q->out_factor, true, &problem->v_affine.scale);
}

/* dequant_scale_query: query without its columns. */
static fattn_status read_query_scale(const infer_call *call, fattn_grid *grid)
{
    const infer_param *p = &call->args->quant.query_scale;
    char letters[LETTERS_MAX], shape[TEXT_SIZE];
    int n = 0;
    for (const char *l = call->in.letters; *l; l++)
        if (*l != 'D') letters[n++] = *l == 'H' ? 'N' : *l;
    letters[n] = '\0';
    fattn_axes axes;
    TRY(layout_read(&axes, letters, p->tensor, call->in.n_heads, p->name));
    const fattn_axes *q = &call->in.q;
    REQUIRE(p->tensor->dtype == FATTN_F32 && axes.b == q->b && axes.s == q->s && axes.n == q->n,
            FATTN_E_SHAPE,
            "%s: %s must be f32 with the shape of query less its columns: batch %lld, %lld rows, %lld "
            "heads",
            p->name, tensor_print(p->tensor, shape, sizeof shape), LL(q->b), LL(q->s), LL(q->n));
    *grid = (fattn_grid){.dtype = FATTN_F32,
                         .batch_stride = call->in.packed ? 0 : axes.b_stride,
                         .head_stride = axes.n_stride,
                         .row_stride = axes.s_stride,
                         .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_mla(const infer_call *call, fattn_problem *problem)
{
    const infer_quant_args *q = &call->args->quant;
    for (int side = 0; side < SIDES; side++) {
        const infer_param *scale = &q->scale[side];
        REQUIRE(scale->tensor, FATTN_E_ARG,
                "%s: missing; dequant_scale_query, dequant_scale_key and dequant_scale_value come "
                "together",
                scale->name);
        REQUIRE(!q->offset[side].tensor, FATTN_E_ARG,
                "%s: given with dequant_scale_query; such a call has no offsets: leave it out",
                q->offset[side].name);
        REQUIRE(q->mode[side] == 0, FATTN_E_ARG,
                "%s: %lld with dequant_scale_query; such a call has one scale for all: give 0",
                q->mode_name[side], LL(q->mode[side]));
    }
    TRY(read_query_scale(call, &problem->q_scale));
    TRY(read_factor(&q->scale[SIDE_KEY], false, &problem->score_scale));
    return read_factor(&q->scale[SIDE_VALUE], false, &problem->v_affine.scale);
}

/* One number or one per head and column of the result, in this order. */
static fattn_status read_out(const infer_call *call, const infer_param *p, fattn_grid *grid)
{
    const fattn_tensor *t = p->tensor;
    const int64_t n = call->in.n_heads, d = call->in.v.d;
    char shape[TEXT_SIZE];
    if (!t) return FATTN_OK;
    tensor_print(t, shape, sizeof shape);
    const int64_t count = tensor_elements(t);
    REQUIRE(t->dtype == FATTN_F32 || t->dtype == FATTN_BF16 || t->dtype == FATTN_F16,
            FATTN_E_DTYPE, "%s: dtype %s; it must be f32, f16 or bf16", p->name,
            fattn_dtype_name(t->dtype));
    REQUIRE(count == 1 || (count == n * d && tensor_contiguous(t)), FATTN_E_SHAPE,
            "%s: %s must be one number, or contiguous with %lld: a number for each column of each "
            "head",
            p->name, shape, LL(n * d));
    const bool one = MUTANT(201, count == 1, true);
    *grid = (fattn_grid){.dtype = t->dtype,
                         .head_stride = one ? 0 : d,
                         .col_stride = one ? 0 : 1,
                         .col_group = 1};
    return FATTN_OK;
}

static fattn_status read_output(const infer_call *call, fattn_problem *problem)
{
    const infer_param *scale = &call->args->quant.out_scale, *offset = &call->args->quant.out_offset;
    TRY(read_out(call, scale, &problem->out_affine.scale));
    REQUIRE(!offset->tensor || (offset->tensor->dtype == scale->tensor->dtype &&
                                tensor_elements(offset->tensor) == tensor_elements(scale->tensor)),
            FATTN_E_SHAPE, "%s: it must have the dtype and the number of elements of %s",
            offset->name, scale->name);
    return read_out(call, offset, &problem->out_affine.offset);
}

fattn_status infer_quant(infer_call *call, fattn_problem *problem)
{
    if (call->quant == QUANT_KV || call->quant == QUANT_GUIDE) TRY(infer_antiquant_read(call, problem));
    if (call->quant == QUANT_FULL) TRY(read_full(call, problem));
    if (call->quant == QUANT_MLA) TRY(read_mla(call, problem));
    return read_output(call, problem);
}

/* ---- addresses ---------------------------------------------------------------------------------- */

static const void *data_of(const infer_param *p, int axis0)
{
    const fattn_tensor *t = p->tensor;
    if (!t) return NULL;
    const int64_t at = axis0 > 0 ? MUTANT(202, axis0, 0) * t->strides[0] : 0;
    return (const char *)t->data + at * (int64_t)fattn_dtype_size(t->dtype);
}

void infer_quant_bind(const infer_args *a, fattn_ptrs *ptrs)
{
    const infer_quant_args *q = &a->quant;
    if (infer_no_query(a)) return;
    const infer_quant_kind kind = infer_kind(a);
    ptrs->out_scale = data_of(&q->out_scale, -1);
    ptrs->out_offset = data_of(&q->out_offset, -1);
    if (kind == QUANT_NONE) return;
    const infer_antiquant k = infer_side(a, kind, SIDE_KEY), v = infer_side(a, kind, SIDE_VALUE);
    const bool own = kind == QUANT_KV || kind == QUANT_GUIDE; /* of the keys; else of the scores */
    ptrs->k_scale = own ? data_of(&k.scale, k.axis0) : NULL;
    ptrs->k_offset = own ? data_of(&k.offset, k.axis0) : NULL;
    ptrs->v_scale = data_of(&v.scale, v.axis0);
    ptrs->v_offset = own ? data_of(&v.offset, v.axis0) : NULL;
    ptrs->q_scale = kind == QUANT_MLA ? data_of(&q->query_scale, -1) : NULL;
    ptrs->score_scale = kind == QUANT_FULL  ? data_of(&q->score_scale, -1)
                        : kind == QUANT_MLA ? data_of(&q->scale[SIDE_KEY], -1)
                                            : NULL;
    ptrs->p_scale = kind == QUANT_FULL ? data_of(&q->p_scale, -1) : NULL;
}
