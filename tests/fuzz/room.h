/* SPDX-License-Identifier: Apache-2.0 */
/* room.h — what the fast fuzzers share: memory for the library that costs next to nothing and
 * counts what is out, contexts on it, and what must hold for every status. */
#ifndef FATTN_TESTS_FUZZ_ROOM_H
#define FATTN_TESTS_FUZZ_ROOM_H

#include "fattn/fattn.h"
#include "garbage/source.h"

/* Requests above ROOM_LARGEST are refused, so that no input is slow. */
enum { ROOM_LARGEST = 1 << 19 };

/* For one thread. Freed memory comes back when everything since the mark is free. */
fattn_allocator room_allocator(void);
long room_out(void);   /* blocks that are out */
void room_mark(void);  /* what is out now stays */
void room_check(void); /* aborts when more is out than at the mark */

/* One thread, the room's memory. */
fattn_context *room_context(int strict, const char *backend);

/* The status is one of ours and has a sentence unless it is OK; aborts otherwise. */
void check_status(fattn_status status, const char *what);

/* Prints, and ends the program so that the fuzzer keeps the input. */
_Noreturn void failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An extent or length: small most of the time, else anything, seldom where planning is slow. */
int64_t source_extent(source *s);
int source_int(source *s);

/* A tensor's elements are all in [-before, after) elements from data; false: they are not, or it is
 * malformed, or it has more than `most`. In 128-bit arithmetic. */
bool claim_fits(const fattn_tensor *t, int64_t before, int64_t after, int64_t most);
/* The span in elements of one that fits: [*low, *high], empty when *high < *low. */
void claim_span(const fattn_tensor *t, int64_t *low, int64_t *high);

#endif
