/* SPDX-License-Identifier: Apache-2.0 */
/* infer_bias.c — pse_shift (spec inference 1.8) and learnable_sink (5.4). */
#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/element.h"

/* Rows and columns the bias must have; left padding addresses it by position in the tensor. */
static int64_t rows_needed(const infer_call *call) { return call->one_row ? 1 : call->in.q.s; }

fattn_status infer_bias(const infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->args->pse_shift;
    const fattn_dtype query = call->in.query->dtype;
    const fattn_dtype dtype = element_is_float(query) ? query : FATTN_F16; /* spec 4.2 */
    const int64_t rows = rows_needed(call), cols = infer_kv_cols(call), heads = call->in.n_heads;
    char shape[TEXT_SIZE];
    if (!pse) return FATTN_OK;
    tensor_print(pse, shape, sizeof shape);
    REQUIRE(!call->in.packed, FATTN_E_ARG,
            "pse_shift: input_layout %s has no position bias; use BSH, BSND or BNSD",
            call->in.letters);
    REQUIRE(pse->dtype == dtype, FATTN_E_DTYPE, "pse_shift: dtype %s; it must be query's, %s",
            fattn_dtype_name(pse->dtype), fattn_dtype_name(dtype));
    bool fits = pse->rank == 4 && (pse->shape[0] == 1 || pse->shape[0] == call->n_batch) &&
                (pse->shape[1] == heads || pse->shape[1] == 1) && pse->shape[3] >= cols;
    REQUIRE(!call->decode || (fits && pse->shape[2] == 1), FATTN_E_SHAPE,
            "pse_shift: %s; with one query row it must be [1|%lld,1|%lld,1,>=%lld] (batch, heads, "
            "queries, keys)",
            shape, LL(call->n_batch), LL(heads), LL(cols));
    REQUIRE(call->decode || (fits && pse->shape[2] >= rows), FATTN_E_SHAPE,
            "pse_shift: %s; it must be [1|%lld,1|%lld,>=%lld,>=%lld] (batch, heads, queries, keys)",
            shape, LL(call->n_batch), LL(heads), LL(rows), LL(cols));
    problem->bias =
        (fattn_bias){.kind = BIAS_TENSOR, .dtype = dtype, .col_stride = pse->strides[3]};
    return FATTN_OK;
}

void infer_bias_seq(const infer_call *call, int64_t b, fattn_seq *seq)
{
    const fattn_tensor *pse = call->args->pse_shift;
    if (!pse) return;
    const int64_t row = call->q_padded ? infer_q_start(call, b) : 0;
    const int64_t col = call->kv_padded ? infer_kv_start(call, b) : 0;
    seq->bias_base = (MUTANT(134, pse->shape[0] > 1, false) ? b * pse->strides[0] : 0) +
                     row * pse->strides[2] + col * pse->strides[3];
    seq->bias_head_stride = pse->shape[1] > 1 ? pse->strides[1] : 0;
    seq->bias_row_stride = pse->strides[2];
}

fattn_status infer_sink(const infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *sink = call->args->learnable_sink;
    char shape[TEXT_SIZE];
    if (!sink) return FATTN_OK;
    REQUIRE(sink->dtype == FATTN_BF16 || inputs_is_f32(&call->in, sink), FATTN_E_DTYPE,
            "learnable_sink: dtype %s; it must be bf16 (or f32)", fattn_dtype_name(sink->dtype));
    REQUIRE(sink->rank == 1 && sink->shape[0] == call->in.n_heads, FATTN_E_SHAPE,
            "learnable_sink: %s; it must be [%lld], one logit per query head",
            tensor_print(sink, shape, sizeof shape), LL(call->in.n_heads));
    problem->sink = true;
    problem->sink_in_stats = false;
    problem->sink_dtype = sink->dtype;
    problem->sink_stride = sink->strides[0];
    return FATTN_OK;
}
