/* SPDX-License-Identifier: Apache-2.0 */
/* infer_tree.c — sparse_mode 9: draft tokens that form a tree (spec inference 1.4). A row sees
 * every key in front of the draft and, of the draft's own keys, those that its row of the mask
 * leaves. */
#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"

/* Cells of a flat tree mask: Lq * Lq per sequence. */
static int64_t tree_cells(const infer_call *call)
{
    int64_t sum = 0, cells;
    for (int64_t b = 0; b < call->n_batch; b++) {
        if (!i64_mul(call->q.length[b], call->q.length[b], &cells)) return INT64_MAX;
        sum = i64_add_sat(sum, cells);
    }
    return sum;
}

/* Draft tokens see all keys before them and, among themselves, what the tree says. */
fattn_status infer_tree(infer_call *call, fattn_problem *problem)
{
    const fattn_tensor *m = call->mask;
    char shape[TEXT_SIZE];
    REQUIRE(m, FATTN_E_ARG, "atten_mask: missing; sparse_mode 9 needs the tree mask");
    tensor_print(m, shape, sizeof shape);
    REQUIRE(
        !call->q_padded && !call->kv_padded, FATTN_E_ARG,
        "sparse_mode: 9 together with left padding is not defined; leave the padding sizes out");
    for (int64_t b = 0; b < call->n_batch; b++)
        REQUIRE(call->q.length[b] <= i64_add_sat(call->kv.length[b], call->shared_len), FATTN_E_ARG,
                "sparse_mode: 9 needs at least as many keys as queries; batch entry %lld has %lld "
                "queries and %lld "
                "keys",
                LL(b), LL(call->q.length[b]),
                LL(i64_add_sat(call->kv.length[b], call->shared_len)));
    const int64_t rows = call->in.q.s, flat = tree_cells(call);
    const bool by_batch = m->rank == 3 && (m->shape[0] == call->n_batch || m->shape[0] == 1) &&
                          m->shape[1] == rows && m->shape[2] == rows;
    REQUIRE(call->in.packed || by_batch, FATTN_E_SHAPE,
            "atten_mask: %s; sparse_mode 9 takes the tree mask [1|%lld,%lld,%lld] (batch, queries, "
            "queries)",
            shape, LL(call->n_batch), LL(rows), LL(rows));
    REQUIRE(!call->in.packed || (m->rank == 1 && m->shape[0] == flat), FATTN_E_SHAPE,
            "atten_mask: %s; sparse_mode 9 with packed sequences takes one flat tree mask of Lq*Lq "
            "cells each, "
            "[%lld]",
            shape, LL(flat));
    problem->mask = (fattn_mask){.present = true, .col_stride = m->strides[m->rank - 1]};
    call->mask_batch_stride = by_batch && m->shape[0] > 1 ? m->strides[0] : 0;
    call->mask_row_stride = by_batch ? m->strides[1] : 0;
    call->mode = 1; /* every key, but for the mask */
    call->dense_mask = call->tree = true;
    return FATTN_OK;
}

/* The draft's keys are the last Lq; flat masks hold Lq * Lq cells per sequence, one after the
 * other. */
void infer_tree_seq(infer_call *call, int64_t b, fattn_seq *seq)
{
    const int64_t col_stride = call->mask->strides[call->mask->rank - 1];
    seq->mask_from = i64_max(seq->kv_len - seq->q_len, 0);
    seq->mask_row_stride = call->in.packed ? seq->q_len * col_stride : call->mask_row_stride;
    seq->mask_base = call->in.packed ? call->mask_next * col_stride : b * call->mask_batch_stride;
    call->mask_next += seq->q_len * MUTANT(137, seq->q_len, 1);
}
