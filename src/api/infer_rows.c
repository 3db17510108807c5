/* SPDX-License-Identifier: Apache-2.0 */
/* infer_rows.c — the sequences of an inference call, their place in softmax_lse, and what a row
 * without a key yields (spec inference 1.5, 1.6).
 *
 * Rows of a padded query outside its sequence, and tokens of a packed query behind its sequences,
 * are written too: 0, and +inf in softmax_lse. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "api/infer.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "core/layout.h"

/* ---- softmax_lse --------------------------------------------------------------------------------
 */

fattn_tensor infer_lse_shape(const fattn_inputs *in, bool wanted)
{
    const int64_t none[] = {1};
    const int64_t packed[] = {in->q.s, in->n_heads, 1};
    const int64_t padded[] = {in->q.b, in->n_heads, in->q.s, 1};
    if (!wanted) return fattn_tensor_contiguous(NULL, FATTN_F32, 1, none);
    return in->packed ? fattn_tensor_contiguous(NULL, FATTN_F32, 3, packed)
                      : fattn_tensor_contiguous(NULL, FATTN_F32, 4, padded);
}

/* Contiguous memory for the same numbers in the same order: axes of extent 1 more or less, or flat.
 * Other shapes may mean another order of the axes. */
static bool same_memory(const fattn_tensor *given, const fattn_tensor *wanted)
{
    int g = 0, w = 0;
    if (given->dtype != wanted->dtype || !tensor_contiguous(given)) return false;
    if (given->rank == 1) return given->shape[0] == tensor_elements(wanted);
    for (;;) {
        while (g < given->rank && given->shape[g] == 1) g++;
        while (w < wanted->rank && wanted->shape[w] == 1) w++;
        if (g == given->rank || w == wanted->rank) return g == given->rank && w == wanted->rank;
        if (given->shape[g++] != wanted->shape[w++]) return false;
    }
}

/* Without the flag callers pass any dummy; it is left alone. */
static fattn_status read_lse(const infer_call *call, fattn_tensor *lse, fattn_problem *problem)
{
    const fattn_tensor *given = call->args->softmax_lse;
    *lse = infer_lse_shape(&call->in, call->args->want_lse);
    if (!given || !call->args->want_lse) return FATTN_OK;
    problem->want_lse = true;
    TRY(tensor_check_output(given, "softmax_lse"));
    if (!call->context->strict && same_memory(given, lse)) return FATTN_OK;
    TRY(output_check(given, lse, "softmax_lse"));
    *lse = *given;
    return FATTN_OK;
}

void infer_no_lse(const fattn_tensor *lse)
{
    const float zero = 0.0f;
    if (lse && lse->dtype == FATTN_F32 && lse->rank == 1 && lse->shape[0] == 1)
        memcpy(lse->data, &zero, sizeof zero);
}

static void place_lse(const infer_call *call, const fattn_tensor *lse, fattn_seq *seq)
{
    const int64_t *stride = lse->strides;
    if (!call->args->want_lse || !call->args->softmax_lse) return;
    seq->lse_base = call->in.packed ? seq->q_row0 * stride[0]
                                    : seq->batch * stride[0] + seq->q_row0 * stride[2];
    seq->lse_head_stride = stride[MUTANT(80, 1, 2)];
    seq->lse_row_stride = call->in.packed ? stride[0] : stride[2];
}

/* ---- rows without a key -------------------------------------------------------------------------
 */

/* 0 and +inf; strict: the table of spec 1.5. */
static void fill_empty(const infer_call *call, fattn_problem *problem)
{
    const infer_args *a = call->args;
    const fattn_empty zero = {.lse = INFINITY};
    problem->empty_no_keys = problem->empty_no_window = zero;
    problem->empty_masked = problem->empty_pad = zero;
    if (!call->context->strict) return;
    if (call->decode) {
        problem->empty_no_keys = (fattn_empty){.lse = -3.40e38f};
        problem->empty_masked = (fattn_empty){.mean = true, .lse = -1e12f, .lse_mean = true};
        problem->empty_no_window =
            problem->empty_masked; /* first_key_only() without the first key */
    } else if (!(a->inner_precise & 2)) {
        const float masked = problem->round_scores_f16 ? -65504.0f : -FLT_MAX;
        problem->empty_masked = (fattn_empty){.mean = true, .lse = masked, .lse_mean = true};
    }
}

/* ---- sequences ----------------------------------------------------------------------------------
 */

static void add_seq(const infer_call *call, const fattn_tensor *lse, fattn_seq seq,
                    fattn_problem *problem)
{
    if (seq.q_len <= 0) return;
    place_lse(call, lse, &seq);
    problem->seqs[problem->n_seqs++] = seq;
}

static void add_pad(const infer_call *call, const fattn_tensor *lse, int64_t b, int64_t from,
                    int64_t end, fattn_problem *problem)
{
    const fattn_seq pad = {.pad = true, .batch = b, .q_row0 = from, .q_len = end - from};
    add_seq(call, lse, pad, problem);
}

/* Batch entry b: the rows in front of its sequence, the sequence, the rows behind it. */
static void add_entry(infer_call *call, const fattn_tensor *lse, int64_t b, fattn_problem *problem)
{
    const int64_t first = infer_q_start(call, b), end = first + call->q.length[b];
    fattn_seq seq = {.batch = b,
                     .q_row0 = first,
                     .q_len = call->q.length[b],
                     .kv_row0 = infer_kv_start(call, b),
                     .kv_len = i64_add_sat(call->shared_len, call->kv.length[b])};
    seq.scale_row0 = call->in.packed ? 0 : seq.kv_row0; /* rows of per-key scales: spec 4.4 */
    infer_mask_seq(call, b, &seq);
    infer_bias_seq(call, b, &seq);
    if (!call->in.packed) add_pad(call, lse, b, 0, first, problem);
    add_seq(call, lse, seq, problem);
    if (!call->in.packed) add_pad(call, lse, b, end + MUTANT(81, 0, 1), call->in.q.s, problem);
}

fattn_status infer_rows(infer_call *call, fattn_arena *arena, fattn_problem *problem)
{
    fattn_tensor lse;
    TRY(read_lse(call, &lse, problem));
    fill_empty(call, problem);
    const int64_t rows = call->in.q.s;
    const int64_t batch = rows > 0 ? call->n_batch : 0;
    const int64_t each = call->q_padded ? 3 : 2;
    int64_t most;
    if (!i64_mul(batch, each, &most) || !i64_add(most, 1, &most)) most = INT64_MAX;
    problem->seqs = arena_alloc(arena, (size_t)most, sizeof *problem->seqs);
    REQUIRE(problem->seqs, FATTN_E_NOMEM,
            "out of memory: %lld sequences; a smaller batch would fit", LL(most));
    for (int64_t b = 0; b < batch; b++) add_entry(call, &lse, b, problem);
    if (call->in.packed) add_pad(call, &lse, 0, call->q.covered, rows, problem);
    return FATTN_OK;
}
