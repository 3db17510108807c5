/* SPDX-License-Identifier: Apache-2.0 */
/* advance_step_flashattn.c — the integers of one decode step, in place: the next token, its
 * position, the new length and the cache slot of every sequence. (spec inference 12)
 *
 * A row is computed completely before it is stored. The rows are walked twice, first to check, then
 * to store, so that nothing is touched when any row is at fault. */
#include "api/arrays.h"
#include "api/operator.h"
#include "api/strict.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"
#include "core/layout.h"

typedef fattn_advance_step_flashattn_args step_args;

static const fattn_operator *const op = &operator_advance_step_flashattn;
enum { NUM_SEQS_LIMIT = 200000000 }; /* the family's */

static bool given(const fattn_tensor *tensor) { return tensor && tensor_elements(tensor) > 0; }

static int64_t get1(const fattn_tensor *tensor, int64_t i)
{
    return array_get_int(tensor, i * tensor->strides[0]);
}

static int64_t get2(const fattn_tensor *tensor, int64_t i, int64_t j)
{
    return array_get_int(tensor, i * tensor->strides[0] + j * tensor->strides[1]);
}

static void put1(const fattn_tensor *tensor, int64_t i, int64_t value)
{
    array_put_int(tensor, i * tensor->strides[0], value);
}

static fattn_status check_numbers(const step_args *a)
{
    REQUIRE(a->num_seqs >= 1 && a->num_seqs < NUM_SEQS_LIMIT, FATTN_E_ARG,
            "num_seqs: %lld is not in 1..%d", LL(a->num_seqs), NUM_SEQS_LIMIT - 1);
    REQUIRE(a->num_queries >= 1 && a->num_queries <= a->num_seqs, FATTN_E_ARG,
            "num_queries: %lld is not in 1..num_seqs (%lld)", LL(a->num_queries), LL(a->num_seqs));
    REQUIRE(a->block_size >= 1, FATTN_E_ARG, "block_size: %lld is not positive", LL(a->block_size));
    REQUIRE(a->core_count >= 1, FATTN_E_ARG, "core_count: %lld is not positive", LL(a->core_count));
    return FATTN_OK;
}

static fattn_status check_dtype(const fattn_tensor *tensor, const char *name, bool i32_too)
{
    REQUIRE(tensor->dtype == FATTN_I64 || (i32_too && tensor->dtype == FATTN_I32), FATTN_E_DTYPE,
            "%s: is %s, must be i64%s", name, fattn_dtype_name(tensor->dtype),
            message_say(i32_too ? " or i32" : ""));
    return FATTN_OK;
}

static fattn_status check_inout(const fattn_tensor *tensor, const char *name, bool i32_too,
                                int64_t n)
{
    TRY(check_dtype(tensor, name, i32_too));
    return array_check_shape(tensor, name, 1, &n);
}

static fattn_status check_in(const fattn_tensor *tensor, const char *name, int rank, int64_t n,
                             int64_t columns)
{
    TRY(check_dtype(tensor, name, false));
    return array_check_shape(tensor, name, rank, (const int64_t[]){n, columns});
}

static fattn_status check_speculative(const step_args *a, int64_t k)
{
    TRY(check_in(a->sampled_token_ids, "sampled_token_ids", 2, a->num_seqs, k));
    TRY(check_in(a->spec_token, "spec_token", 2, a->num_seqs, k - 1));
    return check_in(a->accepted_num, "accepted_num", 1, a->num_seqs, 0);
}

/* Everything that needs no contents. *k: slots per sequence, 0 = the plain variant. */
static fattn_status check_args(const step_args *a, fattn_args_need need, int64_t *k)
{
    TRY(operator_args_check(op, a, need));
    const bool speculative = given(a->spec_token) && given(a->accepted_num);
    REQUIRE(given(a->spec_token) == given(a->accepted_num), FATTN_E_ARG,
            "%s is missing: spec_token and accepted_num are given together or not at all",
            given(a->spec_token) ? "accepted_num" : "spec_token");
    TRY(check_numbers(a));

    int64_t rows = a->num_seqs;
    if (speculative) {
        REQUIRE(a->spec_token->rank == 2, FATTN_E_SHAPE,
                "spec_token: rank %d, must be [num_seqs, k-1]", (int)a->spec_token->rank);
        *k = i64_add_sat(a->spec_token->shape[1], 1);
        TRY(check_speculative(a, *k));
        REQUIRE(i64_mul(a->num_seqs, *k, &rows), FATTN_E_SHAPE,
                "spec_token: k = %lld and num_seqs %lld: num_seqs * k must be at most %lld", LL(*k),
                LL(a->num_seqs), LL(INT64_MAX));
    } else {
        *k = 0;
        TRY(check_in(a->sampled_token_ids, "sampled_token_ids", 2, a->num_queries, 1));
    }
    TRY(check_inout(a->input_tokens, "input_tokens", false, rows));
    TRY(check_inout(a->input_positions, "input_positions", false, rows));
    TRY(check_inout(a->seq_lens, "seq_lens", true, rows));
    TRY(check_inout(a->slot_mapping, "slot_mapping", true, rows));
    TRY(check_dtype(a->block_tables, "block_tables", true));
    REQUIRE(a->block_tables->rank == 2, FATTN_E_SHAPE,
            "block_tables: rank %d, must be [num_seqs, M]", (int)a->block_tables->rank);
    return array_check_shape(a->block_tables, "block_tables", 2,
                             (const int64_t[]){a->num_seqs, a->block_tables->shape[1]});
}

static fattn_status check(const fattn_context *context, const step_args *a, fattn_args_need need,
                          int64_t *k)
{
    fattn_status status = check_args(a, need, k);
    if (status == FATTN_OK) status = strict_check(&strict_advance_step, STAGE_CALL, context, a);
    return strict_refused(&strict_advance_step, context, status);
}

/* The cache slot of position `pos` by row `row` of the table, `shift` added to the block id. */
static fattn_status slot_of(const step_args *a, int64_t row, int64_t pos, int64_t shift,
                            int64_t *slot)
{
    const int64_t column = pos / a->block_size, columns = a->block_tables->shape[1];
    REQUIRE(column < columns, FATTN_E_ARG,
            "block_tables: position %lld of row %lld is in block %lld, the table has %lld columns",
            LL(pos), LL(row), LL(column), LL(columns));
    const int64_t block = get2(a->block_tables, row, column);
    REQUIRE(block >= 0, FATTN_E_ARG,
            "block_tables: entry [%lld, %lld] is %lld, and position %lld needs it", LL(row),
            LL(column), LL(block), LL(pos));
    const bool fits = i64_add(block, shift, slot) && i64_mul(*slot, a->block_size, slot) &&
                      i64_add(*slot, pos % a->block_size, slot) &&
                      array_holds(a->slot_mapping->dtype, *slot);
    REQUIRE(fits, FATTN_E_ARG,
            "slot_mapping: the slot of block %lld, block_size %lld does not fit into %s", LL(block),
            LL(a->block_size), fattn_dtype_name(a->slot_mapping->dtype));
    return FATTN_OK;
}

/* One row of the plain variant. Strict follows the device: always row 0 of the table plus M * i
 * (12.3); for row 0 both rules agree. */
static fattn_status advance_plain(const fattn_context *context, const step_args *a, int64_t i,
                                  bool store)
{
    const int64_t pos = get1(a->seq_lens, i);
    int64_t slot, shift = 0;
    REQUIRE(pos >= 0, FATTN_E_ARG, "seq_lens: entry %lld is %lld; lengths are in 0..%lld", LL(i),
            LL(pos), LL(a->seq_lens->dtype == FATTN_I32 ? INT32_MAX - 1 : INT64_MAX - 1));
    REQUIRE(pos < INT64_MAX && array_holds(a->seq_lens->dtype, pos + 1), FATTN_E_ARG,
            "seq_lens: entry %lld is %lld and cannot grow in %s", LL(i), LL(pos),
            fattn_dtype_name(a->seq_lens->dtype));
    if (context->strict)
        REQUIRE(i64_mul(a->block_tables->shape[1], i, &shift), FATTN_E_ARG,
                "block_tables: %lld columns times row %lld overflows",
                LL(a->block_tables->shape[1]), LL(i));
    TRY(slot_of(a, context->strict ? 0 : MUTANT(66, i, 0), pos, shift, &slot));
    if (!store) return FATTN_OK;

    put1(a->input_tokens, i, get2(a->sampled_token_ids, i, 0));
    put1(a->input_positions, i, pos);
    put1(a->seq_lens, i, pos + 1);
    put1(a->slot_mapping, i, slot);
    return FATTN_OK;
}

static void pad_row(const step_args *a, int64_t i)
{
    put1(a->input_tokens, i, 0);
    put1(a->input_positions, i, 0);
    put1(a->slot_mapping, i, -1);
}

static fattn_status run_plain(const fattn_context *context, const step_args *a)
{
    const int64_t cores =
        context->strict ? a->core_count : INT64_MAX; /* strict: rows the device reaches */
    const int64_t rows = i64_min(a->num_queries, cores);
    const int64_t pad_step = context->strict ? a->core_count : 1;

    for (int64_t i = 0; i < rows; i++) TRY(advance_plain(context, a, i, false));
    for (int64_t i = 0; i < rows; i++) TRY(advance_plain(context, a, i, true));
    for (int64_t i = a->num_queries; i < a->num_seqs; i = i64_add_sat(i, pad_step)) pad_row(a, i);
    return FATTN_OK;
}

/* The last sampled token of a row: the one before the first minimum of the row with a -1 appended.
 * A row that begins with it wraps to its last column, as the family's golden does. */
static int64_t last_token(const step_args *a, int64_t r, int64_t k)
{
    int64_t at = k, lowest = -1;
    for (int64_t t = k - 1; t >= 0; t--) {
        const int64_t token = get2(a->sampled_token_ids, r, t);
        if (token > lowest) continue;
        lowest = token;
        at = t;
    }
    return get2(a->sampled_token_ids, r, at > 0 ? at - MUTANT(67, 1, 0) : k - 1);
}

/* Slot t of request r of the speculative variant (12.4). */
static fattn_status advance_speculative(const step_args *a, int64_t r, int64_t t, int64_t k,
                                        bool store)
{
    const int64_t e = r * k + t, old = get1(a->input_positions, e),
                  accepted = get1(a->accepted_num, r);
    int64_t pos, length, slot;
    REQUIRE(i64_add(old, accepted, &pos) && i64_add(pos, 1, &pos) && i64_add(pos, 1, &length) &&
                pos >= 0 && array_holds(a->seq_lens->dtype, length),
            FATTN_E_ARG,
            "input_positions: entry %lld is %lld, with accepted_num %lld it leaves 0..%s max",
            LL(e), LL(old), LL(accepted), fattn_dtype_name(a->seq_lens->dtype));
    TRY(slot_of(a, r, pos, 0, &slot));
    if (!store) return FATTN_OK;

    put1(a->input_tokens, e, t == 0 ? last_token(a, r, k) : get2(a->spec_token, r, t - 1));
    put1(a->input_positions, e, pos);
    put1(a->seq_lens, e, length);
    put1(a->slot_mapping, e, slot);
    return FATTN_OK;
}

static fattn_status run_speculative(const step_args *a, int64_t k)
{
    for (int store = 0; store < 2; store++)
        for (int64_t r = 0; r < a->num_seqs; r++)
            for (int64_t t = 0; t < k; t++) TRY(advance_speculative(a, r, t, k, store == 1));
    return FATTN_OK;
}

void fattn_advance_step_flashattn_args_init(fattn_advance_step_flashattn_args *args)
{
    operator_args_init(op, args);
}

static fattn_status call(fattn_context *context, const void *given)
{
    const fattn_advance_step_flashattn_args *args = given;
    int64_t k;
    TRY(check(context, args, ARGS_DATA, &k));
    return strict_refused(&strict_advance_step, context,
                          k ? run_speculative(args, k) : run_plain(context, args));
}

fattn_status fattn_advance_step_flashattn(fattn_context *context,
                                          const fattn_advance_step_flashattn_args *args)
{
    return exec_call_simple(context, op, args, call);
}

/* Nothing comes out: all results are written in place. */
fattn_status fattn_advance_step_flashattn_shapes(fattn_context *context,
                                                 const fattn_advance_step_flashattn_args *args,
                                                 fattn_tensor *outputs)
{
    int64_t k;
    (void)outputs;
    TRY(context_resolve(&context));
    return check(context, args, ARGS_SHAPES, &k);
}

fattn_status fattn_advance_step_flashattn_workspace(fattn_context *context,
                                                    const fattn_advance_step_flashattn_args *args,
                                                    size_t *bytes)
{
    int64_t k;
    REQUIRE(bytes, FATTN_E_ARG, "%s: bytes is NULL; pass where to store the size", op->name);
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &k));
    *bytes = 0;
    return FATTN_OK;
}

fattn_status fattn_advance_step_flashattn_plan(fattn_context *context,
                                               const fattn_advance_step_flashattn_args *args,
                                               fattn_plan **plan)
{
    int64_t k;
    TRY(context_resolve(&context));
    TRY(check(context, args, ARGS_SHAPES, &k));
    return exec_plan_simple(context, op, args, plan);
}
