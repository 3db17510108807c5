/* SPDX-License-Identifier: Apache-2.0 */
/* outside.h — damaged files and damaged problem lines, and what must hold for any of them. */
#ifndef FATTN_TESTS_GARBAGE_OUTSIDE_H
#define FATTN_TESTS_GARBAGE_OUTSIDE_H

#include "fattn/fattn.h"
#include "garbage/source.h"

enum { OUTSIDE_ROOM = 4096 };

/* Well-formed small files, one per format and dtype; their number is outside_files(). */
int outside_files(void);
size_t outside_file(int which, unsigned char *out); /* OUTSIDE_ROOM bytes; returns the length */

typedef enum outside_kind {
    OUTSIDE_NPY,
    OUTSIDE_PICKLE,
    OUTSIDE_SAFETENSORS,
    OUTSIDE_TORCH
} outside_kind;
outside_kind outside_kind_of(int which);

/* Changes, inserts, drops, repeats, cuts off; returns the new length. */
size_t outside_edit(unsigned char *bytes, size_t n, source *s);

/* Reads the bytes as that kind of file and as `as`. NULL, or what was wrong with how that went:
 * an error without a sentence, a tensor that is not inside its memory. *good: it was read. */
const char *outside_judge_file(outside_kind kind, const unsigned char *bytes, size_t n,
                               fattn_dtype as, bool *good);

/* Parses a problem line; a good one must print to a line that means the same, and when it is small
 * it must be fillable, and callable with any status. */
const char *outside_judge_line(const char *text, bool *good);

#endif
