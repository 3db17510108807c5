/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_dropout.c — keep_prob, dropout_mask, seed and offset (spec fusion-attention 8). */
#include <math.h>

#include "api/fusion.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/dropout.h"

static bool keeps_all(const fusion_call *call)
{
    return fabs(call->args->keep_prob - 1) < DROPOUT_KEEP_ALL;
}

fattn_status fusion_keep_prob(const fusion_call *call)
{
    const double keep_prob = call->args->keep_prob;
    REQUIRE(keeps_all(call) || (keep_prob > 0 && keep_prob < 1), FATTN_E_ARG,
            "keep_prob: %g is not in (0, 1]; 1 = no dropout", keep_prob);
    return FATTN_OK;
}

bool fusion_draws(const fattn_fusion_attention_args *args)
{
    return !inputs_optional(args->dropout_mask) && args->seed == 0 && args->offset == 0;
}

/* Cells of all score matrices: mask bits. */
static int64_t count_cells(const fusion_call *call)
{
    int64_t sum = 0, cells;
    for (int64_t b = 0; b < call->n_batch; b++) {
        if (!i64_mul(fusion_q_len(call, b), fusion_kv_len(call, b), &cells)) return INT64_MAX;
        sum = i64_add_sat(sum, cells);
    }
    return i64_mul(sum, call->in.n_heads, &sum) ? sum : INT64_MAX;
}

static fattn_status check_mask(const fusion_call *call)
{
    const fattn_tensor *mask = call->dropout_mask;
    const int64_t cells = count_cells(call), least = i64_div_up(cells, 8);
    char shape[TEXT_SIZE];
    tensor_print(mask, shape, sizeof shape);
    REQUIRE(mask->dtype == FATTN_U8, FATTN_E_DTYPE, "dropout_mask: dtype %s; it must be u8",
            fattn_dtype_name(mask->dtype));
    REQUIRE(tensor_contiguous(mask), FATTN_E_SHAPE,
            "dropout_mask: %s is not contiguous; a packed mask is a run of bytes", shape);
    REQUIRE(tensor_elements(mask) >= least, FATTN_E_SHAPE,
            "dropout_mask: %s has %lld bytes; %lld cells of the scores need at least %lld, one bit "
            "each",
            shape, LL(tensor_elements(mask)), LL(cells), LL(least));
    return FATTN_OK;
}

fattn_status fusion_dropout(const fusion_call *call, fattn_problem *problem)
{
    if (call->dropout_mask) TRY(check_mask(call));
    if (keeps_all(call)) return FATTN_OK;
    dropout_translate(&problem->dropout, call->in.query->dtype, call->args->keep_prob);
    if (call->dropout_mask) problem->dropout.kind = MUTANT(157, DROPOUT_BITS, DROPOUT_PHILOX);
    return FATTN_OK;
}

/* Saturated lengths were refused before; what wraps here is no element of any memory. */
void fusion_dropout_seq(fusion_call *call, int64_t b, fattn_seq *seq)
{
    const uint64_t heads = (uint64_t)call->in.n_heads;
    const uint64_t cells = (uint64_t)fusion_q_len(call, b) * (uint64_t)fusion_kv_len(call, b);
    seq->drop_base = call->drop_next;
    call->drop_next = (int64_t)((uint64_t)call->drop_next + heads * MUTANT(158, cells, 0));
}
