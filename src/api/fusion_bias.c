/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_bias.c — pse of the training operator in all its shapes (spec fusion-attention 5).
 *
 *   pse_type 0, 1: a bias tensor. Dense [1|B,N,Sq|1,Skv]; packed 1-D, blocks [N,Lq,Lk] or [N,Lk];
 *                  both also "compressed": 1024 rows that stand for a longer bias of the distance
 *   pse_type 2, 3: fp32 slopes [N] or [B,N] times the distance or its root */
#include "api/fusion.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/bias.h"

enum { TYPE_SCALE_FIRST = 0, TYPE_BIAS_FIRST = 1, TYPE_SLOPE = 2, TYPE_SLOPE_SQRT = 3 };

static int64_t first_of(fattn_int_array list) { return list_given(list) ? list.data[0] : 0; }

static int64_t distance_start(const fusion_call *call)
{
    return first_of(call->args->kv_start_idx) - first_of(call->args->q_start_idx);
}

/* ---- tensors ------------------------------------------------------------------------------------
 */

/* The stored rows end where the bias ends, so only j <= i can be looked up. */
static fattn_status check_causal(const fusion_call *call, int64_t rows)
{
    const fattn_fusion_attention_args *a = call->args;
    const bool causal = call->mode == 2 || call->mode == 3 ||
                        (call->mode == 0 && a->next_tokens == 0 && a->pre_tokens >= rows);
    char shape[TEXT_SIZE];
    tensor_print(call->pse, shape, sizeof shape);
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t q_len = fusion_q_len(call, b), kv_len = fusion_kv_len(call, b);
        REQUIRE(q_len == kv_len, FATTN_E_SHAPE,
                "pse: %s is the compressed form (1024 rows), which needs as many queries as keys; "
                "sequence %lld has %lld and %lld",
                shape, LL(b), LL(q_len), LL(kv_len));
    }
    REQUIRE(causal, FATTN_E_ARG,
            "pse: %s is the compressed form (1024 rows), which needs a causal mask: sparse_mode 2 "
            "or 3, or "
            "0 with atten_mask, pre_tokens >= %lld and next_tokens 0",
            shape, LL(rows));
    return FATTN_OK;
}

static void use_rank4(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->pse, *dpse = call->dpse;
    call->bias_batch_stride = pse->shape[0] > 1 ? pse->strides[0] : 0;
    call->bias_head_stride = pse->strides[1];
    call->bias_row_stride = pse->shape[2] > 1 ? pse->strides[2] : 0;
    if (!dpse) return;
    call->dbias_batch_stride = dpse->shape[0] > 1 ? dpse->strides[0] : 0;
    call->dbias_head_stride = dpse->strides[1];
    call->dbias_row_stride = dpse->shape[2] > 1 ? dpse->strides[2] : 0;
    problem->dbias.over_batch = dpse->shape[0] == 1 && call->n_batch > 1;
    problem->dbias.over_rows = dpse->shape[2] == 1 && !call->in.packed && call->in.q.s > 1;
    problem->dbias.col_stride = dpse->strides[3];
}

static fattn_status use_compressed(fusion_call *call, fattn_problem *problem, int64_t total)
{
    TRY(check_causal(call, total));
    use_rank4(call, problem);
    problem->bias.kind = BIAS_COMPRESSED;
    problem->bias.total_len = total;
    problem->bias.col_stride = call->pse->strides[3];
    return FATTN_OK;
}

/* [1|B, N, rows, cols] with any row count. */
static bool is_rank4(const fusion_call *call, int64_t cols)
{
    const fattn_tensor *pse = call->pse;
    return pse->rank == 4 && (pse->shape[0] == 1 || pse->shape[0] == call->n_batch) &&
           pse->shape[1] == call->in.n_heads && pse->shape[3] == cols;
}

static fattn_status read_dense(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->pse;
    const int64_t rows = call->in.q.s, cols = call->in.k.s;
    const bool fits = is_rank4(call, cols);
    char shape[TEXT_SIZE];
    if (fits && pse->shape[2] == BIAS_COMPRESSED_ROWS && rows > BIAS_COMPRESSED_ROWS)
        return use_compressed(call, problem, rows);
    REQUIRE(
        fits && (pse->shape[2] == rows || pse->shape[2] == 1), FATTN_E_SHAPE,
        "pse: %s; with %lld queries and %lld keys pse_type %lld takes [1|%lld,%lld,%lld|1,%lld]%s",
        tensor_print(pse, shape, sizeof shape), LL(rows), LL(cols), LL(call->args->pse_type),
        LL(call->n_batch), LL(call->in.n_heads), LL(rows), LL(cols),
        message_say(rows > BIAS_COMPRESSED_ROWS ? " or 1024 rows (the last ones of a causal bias)"
                                                : ""));
    use_rank4(call, problem);
    problem->bias.col_stride = pse->strides[3];
    return FATTN_OK;
}

/* N * sum of Lq*Lk, or N * sum of Lk; saturated. */
static int64_t flat_cells(const fusion_call *call, bool rows)
{
    int64_t sum = 0, cells;
    for (int64_t b = 0; b < call->n_batch; b++) {
        cells = call->kv.length[b];
        if (rows && !i64_mul(cells, call->q.length[b], &cells)) return INT64_MAX;
        sum = i64_add_sat(sum, cells);
    }
    return i64_mul(sum, call->in.n_heads, &sum) ? sum : INT64_MAX;
}

static fattn_status read_packed(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->pse;
    const int64_t longest = fusion_max_kv_len(call);
    const int64_t full = flat_cells(call, true), shared = flat_cells(call, false);
    char shape[TEXT_SIZE];
    if (is_rank4(call, longest) && pse->shape[2] == BIAS_COMPRESSED_ROWS &&
        longest >= BIAS_COMPRESSED_ROWS)
        return use_compressed(call, problem, longest);
    call->bias_flat = pse->rank == 1 && pse->shape[0] == full;
    call->bias_flat_rows = !call->bias_flat && pse->rank == 1 && pse->shape[0] == shared;
    REQUIRE(
        call->bias_flat || call->bias_flat_rows, FATTN_E_SHAPE,
        "pse: %s; packed sequences take 1-D blocks [N,Lq,Lk] (%lld elements) or [N,Lk] (%lld), or "
        "[1|%lld,%lld,1024,%lld] with a causal mask and a longest sequence of at least 1024",
        tensor_print(pse, shape, sizeof shape), LL(full), LL(shared), LL(call->n_batch),
        LL(call->in.n_heads), LL(longest));
    problem->bias.col_stride = pse->strides[0];
    problem->dbias.over_rows = call->bias_flat_rows;
    if (call->dpse) problem->dbias.col_stride = call->dpse->strides[0];
    return FATTN_OK;
}

static fattn_status read_tensor(fusion_call *call, fattn_problem *problem)
{
    const fattn_dtype dtype = call->in.query->dtype;
    REQUIRE(call->pse->dtype == dtype, FATTN_E_DTYPE,
            "pse: dtype %s; with pse_type %lld it must be query's, %s",
            fattn_dtype_name(call->pse->dtype), LL(call->args->pse_type), fattn_dtype_name(dtype));
    if (list_given(call->args->q_start_idx) || list_given(call->args->kv_start_idx))
        context_warn(
            call->context, WARN_START_INDEX_IGNORED,
            "q_start_idx, kv_start_idx: ignored with pse_type %lld; they shift the distances of "
            "pse_type 2 and 3",
            LL(call->args->pse_type));
    problem->bias.kind = BIAS_TENSOR;
    problem->bias.dtype = dtype;
    problem->bias.before_scale =
        call->args->pse_type == MUTANT(75, TYPE_BIAS_FIRST, TYPE_SCALE_FIRST);
    return call->in.packed ? read_packed(call, problem) : read_dense(call, problem);
}

/* ---- slopes -------------------------------------------------------------------------------------
 */

/* The distance matrix is that of a square score matrix, moved by the start indices. */
static fattn_status check_square(const fusion_call *call)
{
    REQUIRE(call->mode != 7, FATTN_E_ARG,
            "pse_type: %lld is not defined in sparse_mode 7; use pse_type 1 with a bias tensor",
            LL(call->args->pse_type));
    for (int64_t b = 0; b < call->n_batch; b++) {
        const int64_t q_len = fusion_q_len(call, b), kv_len = fusion_kv_len(call, b);
        const int64_t shift = call->in.packed && b == 0 ? -distance_start(call) : 0;
        REQUIRE(q_len - kv_len + shift == 0 || q_len == 0, FATTN_E_SHAPE,
                "pse_type: %lld needs as many queries as keys%s; sequence %lld has %lld and %lld",
                LL(call->args->pse_type),
                message_say(call->in.packed
                                ? " (the first sequence: Lq + q_start_idx == Lk + kv_start_idx)"
                                : ""),
                LL(b), LL(q_len), LL(kv_len));
        if (!call->in.packed) break; /* all alike */
    }
    return FATTN_OK;
}

static fattn_status check_starts(const fusion_call *call)
{
    const int64_t limit = (int64_t)1 << 40; /* distances stay exact in double */
    const int64_t q = first_of(call->args->q_start_idx), kv = first_of(call->args->kv_start_idx);
    REQUIRE(q > -limit && q < limit, FATTN_E_ARG, "q_start_idx: %lld is not within +-2^40", LL(q));
    REQUIRE(kv > -limit && kv < limit, FATTN_E_ARG, "kv_start_idx: %lld is not within +-2^40",
            LL(kv));
    return FATTN_OK;
}

static fattn_status read_slopes(fusion_call *call, fattn_problem *problem)
{
    const fattn_tensor *pse = call->pse;
    char shape[TEXT_SIZE];
    tensor_print(pse, shape, sizeof shape);
    REQUIRE(inputs_is_f32(&call->in, pse), FATTN_E_DTYPE,
            "pse: dtype %s; slopes (pse_type %lld) must be f32", fattn_dtype_name(pse->dtype),
            LL(call->args->pse_type));
    const bool by_batch = pse->rank == 2 && pse->shape[0] == call->n_batch;
    const int head_axis = by_batch ? 1 : 0;
    REQUIRE((by_batch || pse->rank == 1) && pse->shape[head_axis] == call->in.n_heads,
            FATTN_E_SHAPE,
            "pse: %s; slopes (pse_type %lld) are [%lld] or [%lld,%lld]: heads, or batch and heads",
            shape, LL(call->args->pse_type), LL(call->in.n_heads), LL(call->n_batch),
            LL(call->in.n_heads));
    TRY(check_starts(call));
    TRY(check_square(call));
    problem->bias = (fattn_bias){
        .kind = call->args->pse_type == TYPE_SLOPE ? BIAS_SLOPE : BIAS_SLOPE_SQRT,
        .dtype = pse->dtype,
        .slope_batch_stride = by_batch ? pse->strides[0] : 0,
        .slope_head_stride = pse->strides[head_axis],
    };
    if (!call->dpse) return FATTN_OK;
    problem->dbias.over_batch = !by_batch;
    problem->dbias.slope_batch_stride = by_batch ? call->dpse->strides[0] : 0;
    problem->dbias.slope_head_stride = call->dpse->strides[head_axis];
    return FATTN_OK;
}

fattn_status fusion_bias(fusion_call *call, fattn_problem *problem)
{
    const int64_t type = call->args->pse_type;
    REQUIRE(type >= TYPE_SCALE_FIRST && type <= TYPE_SLOPE_SQRT, FATTN_E_ARG,
            "pse_type: %lld is not in 0..3", LL(type));
    REQUIRE(call->pse || type < TYPE_SLOPE, FATTN_E_ARG,
            "pse: missing; with pse_type %lld it holds the slopes", LL(type));
    REQUIRE(call->pse || type == TYPE_BIAS_FIRST, FATTN_E_ARG,
            "pse: missing; pse_type %lld needs it (1 is the default without)", LL(type));
    if (call->dpse) {
        problem->dbias.want = true;
        problem->dbias.dtype = call->dpse->dtype;
    }
    if (call->pse)
        return type >= TYPE_SLOPE ? read_slopes(call, problem) : read_tensor(call, problem);
    if (list_given(call->args->q_start_idx) || list_given(call->args->kv_start_idx))
        context_warn(call->context, WARN_START_INDEX_IGNORED,
                     "q_start_idx, kv_start_idx: ignored without pse; they shift the distances of "
                     "pse_type 2 and 3");
    return FATTN_OK;
}

void fusion_bias_seq(fusion_call *call, int64_t b, fattn_seq *seq)
{
    if (!call->pse) return;
    const int64_t q_len = fusion_q_len(call, b), kv_len = fusion_kv_len(call, b);
    const bool flat = call->bias_flat || call->bias_flat_rows;
    const int64_t step = flat ? call->pse->strides[0] : 0;
    const int64_t dstep = flat && call->dpse ? call->dpse->strides[0] : 0;
    const int64_t rows = call->bias_flat ? q_len : 1;

    seq->distance0 = call->in.packed && b > 0 ? 0 : distance_start(call);
    seq->bias_base = flat ? call->bias_next * step : b * call->bias_batch_stride;
    seq->bias_head_stride = flat ? rows * kv_len * step : call->bias_head_stride;
    seq->bias_row_stride = call->bias_flat ? kv_len * step : call->bias_row_stride;
    seq->dbias_base = flat ? call->bias_next * dstep : b * call->dbias_batch_stride;
    seq->dbias_head_stride = flat ? rows * kv_len * dstep : call->dbias_head_stride;
    seq->dbias_row_stride = call->bias_flat ? kv_len * dstep : call->dbias_row_stride;
    if (MUTANT(76, flat, 0)) call->bias_next += call->in.n_heads * rows * kv_len;
}
