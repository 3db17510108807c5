/* SPDX-License-Identifier: Apache-2.0 */
/* lengths.c — "1,3,6" or "1,2,3"? Every form of the sequence length lists becomes start and length.
 */
#include "api/lengths.h"

#include <string.h>

#include "api/inputs.h"
#include "base/error.h"
#include "base/ints.h"
#include "base/messages.h"
#include "base/mutant.h"

static fattn_status lengths_new(fattn_arena *arena, int64_t count, fattn_lengths *out)
{
    *out = (fattn_lengths){.count = count};
    out->start = arena_alloc(arena, (size_t)count, sizeof *out->start);
    out->length = arena_alloc(arena, (size_t)count, sizeof *out->length);
    REQUIRE(out->start && out->length, FATTN_E_NOMEM,
            "out of memory: lengths of %lld sequences; a smaller batch would fit", LL(count));
    return FATTN_OK;
}

/* ---- packed -------------------------------------------------------------------------------------
 */

typedef enum reading { READ_CUMULATIVE, READ_LENGTHS, READ_WITH_TAIL, READ_NONE } reading;

/* Entries before the trailing zeros, which are inactive sequences. */
static int64_t active_count(fattn_int_array list)
{
    int64_t n = list.count;
    while (n > 0 && list.data[n - 1] == 0) n--;
    return n;
}

static bool is_cumulative(const fattn_length_list *given, bool tail)
{
    const int64_t n = active_count(given->list);
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        if (given->list.data[i] < last) return false;
        last = given->list.data[i];
    }
    return tail ? last <= given->total : last == given->total;
}

static bool is_lengths(const fattn_length_list *given)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < given->list.count; i++)
        if (given->list.data[i] < 0 || !i64_add(sum, given->list.data[i], &sum)) return false;
    return sum == given->total;
}

static bool fits(const fattn_length_list *given, reading as)
{
    if (!given) return true;
    return as == READ_LENGTHS ? is_lengths(given) : is_cumulative(given, as == READ_WITH_TAIL);
}

/* The first entry below the one before it, -1 when there is none; zeros at the end are no
 * sequences. */
static int64_t first_fall(fattn_int_array list)
{
    for (int64_t i = 1; i < active_count(list); i++)
        if (list.data[i] < list.data[i - 1]) return i;
    return -1;
}

/* Strict: lists that other readings would take, and lists that fall, in sentences of their own. */
static fattn_status check_strict_reading(const fattn_length_list *given)
{
    char list[TEXT_SIZE];
    const int64_t fall = first_fall(given->list);
    REQUIRE(!is_lengths(given), FATTN_E_ARG,
            "%s: %s are lengths (their sum is the %lld packed tokens); the device takes cumulative "
            "ends only",
            given->name, list_print(given->list, list, sizeof list), LL(given->total));
    REQUIRE(fall < 0, FATTN_E_ARG,
            "%s: entry %lld is %lld, below %lld before it; cumulative ends do not fall",
            given->name, LL(fall), LL(given->list.data[fall]), LL(given->list.data[fall - 1]));
    return FATTN_OK;
}

static fattn_status read_error(const fattn_length_list *given, bool strict)
{
    char list[TEXT_SIZE];
    if (strict) TRY(check_strict_reading(given));
    list_print(given->list, list, sizeof list);
    int64_t sum = 0;
    for (int64_t i = 0; i < given->list.count; i++) sum = i64_add_sat(sum, given->list.data[i]);
    const int64_t last = given->list.data[given->list.count - 1];
    return error_set(FATTN_E_ARG,
                     "%s: %s (last %lld, sum %lld) does not describe the %lld packed tokens: give "
                     "cumulative ends, non-decreasing, last == %lld%s",
                     given->name, list, LL(last), LL(sum), LL(given->total), LL(given->total),
                     message_say(strict ? "" : ", or lengths whose sum is that"));
}

/* The first reading that fits both lists. */
static reading read_lists(const fattn_length_list *q, const fattn_length_list *kv, bool strict,
                          bool tail)
{
    if (fits(q, READ_CUMULATIVE) && fits(kv, READ_CUMULATIVE)) return READ_CUMULATIVE;
    if (!strict && fits(q, READ_LENGTHS) && fits(kv, READ_LENGTHS)) return READ_LENGTHS;
    if (tail && fits(q, READ_WITH_TAIL) && fits(kv, READ_WITH_TAIL)) return READ_WITH_TAIL;
    return READ_NONE;
}

static bool fits_alone(const fattn_length_list *given, bool strict, bool tail)
{
    return read_lists(given, NULL, strict, tail) != READ_NONE;
}

/* Its sum is the number of tokens and its last entry is not: nobody writes that by chance. */
static bool looks_like_lengths(const fattn_length_list *given)
{
    return is_lengths(given) && !is_cumulative(given, false);
}

/* By default only: strict knows cumulative ends and nothing else. */
static void warn_tail(fattn_context *context, const fattn_length_list *q,
                      const fattn_length_list *kv)
{
    const fattn_length_list *given = looks_like_lengths(q) ? q : kv, *other = given == q ? kv : q;
    char list[TEXT_SIZE];
    if (context->strict || !kv || !looks_like_lengths(given)) return;
    const int64_t last = given->list.data[active_count(given->list) - 1];
    context_warn(context, WARN_LENGTHS_NOT_CUMULATIVE,
                 "%s: %s is read as cumulative ends with %lld tokens behind the last, although its "
                 "sum is the "
                 "number of tokens: that of %s is not; give both lists as cumulative ends, or both "
                 "as lengths",
                 given->name, list_print(given->list, list, sizeof list), LL(given->total - last),
                 other->name);
}

static fattn_status place(fattn_arena *arena, const fattn_length_list *given, reading as,
                          fattn_lengths *out)
{
    const int64_t active = active_count(given->list);
    TRY(lengths_new(arena, given->list.count, out));
    int64_t end = 0;
    for (int64_t i = 0; i < given->list.count; i++) {
        out->start[i] = end;
        if (i >= active) continue;
        const int64_t value = given->list.data[i];
        out->length[i] = as == READ_LENGTHS ? value : value - MUTANT(91, end, 0);
        end += out->length[i];
    }
    out->covered = end;
    return FATTN_OK;
}

static fattn_status check_given(const fattn_length_list *given)
{
    REQUIRE(list_given(given->list) || given->total == 0, FATTN_E_ARG,
            "%s: missing; packed layouts need it: cumulative ends, last == %lld", given->name,
            LL(given->total));
    for (int64_t i = 0; i < given->list.count; i++)
        REQUIRE(given->list.data[i] >= 0, FATTN_E_ARG,
                "%s: entry %lld is %lld; token counts are not negative", given->name, LL(i),
                LL(given->list.data[i]));
    return FATTN_OK;
}

/* Inactive sequences at the end are a form of the training operator. */
static fattn_status refuse_trailing_zeros(const fattn_length_list *given)
{
    const int64_t active = active_count(given->list);
    char list[TEXT_SIZE];
    if (looks_like_lengths(given)) return FATTN_OK; /* which has a sentence of its own */
    REQUIRE(active == 0 || active == given->list.count, FATTN_E_ARG,
            "%s: %s ends in zeros; the device takes none here: repeat the last end, %lld, for "
            "empty sequences",
            given->name, list_print(given->list, list, sizeof list),
            LL(given->list.data[active - 1]));
    return FATTN_OK;
}

fattn_status lengths_packed(fattn_context *context, fattn_arena *arena, const fattn_length_list *q,
                            const fattn_length_list *kv, fattn_tail strict_tail,
                            fattn_lengths *q_out, fattn_lengths *kv_out)
{
    const bool strict = context->strict, tail = !strict || strict_tail == TAIL_ALLOWED;
    char list[TEXT_SIZE];
    TRY(check_given(q));
    if (kv) {
        TRY(check_given(kv));
        REQUIRE(q->list.count == kv->list.count, FATTN_E_ARG,
                "%s: %lld entries, but %s has %lld; both have one per sequence", kv->name,
                LL(kv->list.count), q->name, LL(q->list.count));
    }
    if (!tail) TRY(refuse_trailing_zeros(q));
    if (!tail && kv) TRY(refuse_trailing_zeros(kv));
    const reading as = read_lists(q, kv, strict, tail);
    if (as == READ_NONE && !fits_alone(q, strict, tail)) return read_error(q, strict);
    if (as == READ_NONE && !fits_alone(kv, strict, tail)) return read_error(kv, strict);
    REQUIRE(
        as != READ_NONE, FATTN_E_ARG,
        "%s and %s: one holds cumulative ends and the other lengths; give both as cumulative ends",
        q->name, kv->name);
    if (as == READ_LENGTHS)
        context_warn(
            context, WARN_LENGTHS_NOT_CUMULATIVE,
            "%s: %s is read as lengths (their sum is the number of tokens); the device takes "
            "cumulative ends only",
            q->name, list_print(q->list, list, sizeof list));
    if (as == READ_WITH_TAIL) warn_tail(context, q, kv);
    TRY(place(arena, q, as, q_out));
    return kv ? place(arena, kv, as, kv_out) : FATTN_OK;
}

/* ---- per batch ----------------------------------------------------------------------------------
 */

/* Entry of batch b; the list has one entry or at least as many as batches. */
static int64_t entry(const fattn_length_list *given, int64_t b)
{
    return given->list.data[MUTANT(92, given->list.count == 1, true) ? 0 : b];
}

static bool repeats(const fattn_length_list *clamp, int64_t b, int64_t value)
{
    return clamp && list_given(clamp->list) && (clamp->list.count == 1 || b < clamp->list.count) &&
           entry(clamp, b) == value;
}

fattn_status lengths_per_batch(fattn_context *context, fattn_arena *arena,
                               const fattn_length_list *given, int64_t count,
                               const fattn_length_list *clamp, fattn_lengths *out)
{
    const bool present = list_given(given->list);
    char list[TEXT_SIZE];
    TRY(lengths_new(arena, count, out));
    REQUIRE(!present || given->list.count == 1 || given->list.count >= count, FATTN_E_ARG,
            "%s: %s has %lld entries for a batch of %lld; give 1 or %lld", given->name,
            list_print(given->list, list, sizeof list), LL(given->list.count), LL(count),
            LL(count));
    for (int64_t b = 0; b < count; b++) {
        int64_t length = present ? entry(given, b) : given->total;
        if (length > given->total && !context->strict && repeats(clamp, b, length)) {
            context_warn(
                context, WARN_Q_LENGTH_CLAMPED,
                "%s: %lld is more than the %lld query rows there are (and equals %s): cut to %lld; "
                "the device refuses it",
                given->name, LL(length), LL(given->total), clamp->name, LL(given->total));
            length = given->total;
        }
        REQUIRE(length <= given->total || !repeats(clamp, b, length), FATTN_E_ARG,
                "%s: entry %lld is %lld, like that of %s; the device does not cut it to the %lld "
                "query rows",
                given->name, LL(b), LL(length), clamp->name, LL(given->total));
        REQUIRE(length >= 0 && length <= given->total, FATTN_E_ARG,
                "%s: entry %lld is %lld; it must be in 0..%lld", given->name,
                LL(given->list.count == 1 ? 0 : b), LL(length), LL(given->total));
        out->length[b] = length;
    }
    return FATTN_OK;
}
