/* SPDX-License-Identifier: Apache-2.0 */
/* lengths.h — the host lists that say how long sequences are, in all their readings. */
#ifndef FATTN_API_LENGTHS_H
#define FATTN_API_LENGTHS_H

#include "base/arena.h"
#include "base/context.h"

typedef struct fattn_length_list { /* one argument */
    const char *name;
    fattn_int_array list;
    int64_t total; /* tokens of the packed tensor (T), or extent of the S axis */
} fattn_length_list;

/* Where every sequence begins and how long it is; arrays in the arena. */
typedef struct fattn_lengths {
    int64_t count; /* sequences */
    int64_t *start, *length;
    int64_t covered; /* packed: tokens up to the end of the last sequence */
} fattn_lengths;

typedef enum fattn_tail {
    TAIL_ALLOWED, /* packed tensors may be longer than their sequences */
    TAIL_REFUSED
} fattn_tail;

/* Packed lists of query and (kv may be NULL) keys, which share one reading: cumulative with last ==
 * T; else plain lengths with sum == T, with a warning; else cumulative with a tail. Trailing zeros
 * are inactive sequences. Strict: cumulative only; where it refuses tails, trailing zeros, too. */
fattn_status lengths_packed(fattn_context *context, fattn_arena *arena, const fattn_length_list *q,
                            const fattn_length_list *kv, fattn_tail strict_tail,
                            fattn_lengths *q_out, fattn_lengths *kv_out);

/* Per-batch list of non-packed tensors (and of paged keys): absent = all `total`, one entry = the
 * same for all, more than `count` = the first ones. Every entry in 0..total, else E_ARG; with
 * `clamp` (may be NULL) an entry above total that clamp repeats is cut to total, with a warning. */
fattn_status lengths_per_batch(fattn_context *context, fattn_arena *arena,
                               const fattn_length_list *given, int64_t count,
                               const fattn_length_list *clamp, fattn_lengths *out);

static inline bool list_given(fattn_int_array list) { return list.data && list.count > 0; }

#endif
