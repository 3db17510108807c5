/* SPDX-License-Identifier: Apache-2.0 */
/* shake.h — legal small calls of every operator, and copies of them that bytes have changed:
 * numbers, shapes, strides, dtypes, lists, texts over their full range, one by one or everywhere at
 * once. */
#ifndef FATTN_TESTS_FUZZ_SHAKE_H
#define FATTN_TESTS_FUZZ_SHAKE_H

#include "fattn/fattn.h"
#include "garbage/source.h"
#include "tools/problem_line.h"

enum {
    SHAKE_TENSORS = 40, /* of a sample; one more may be added */
    SHAKE_LISTS = 6,
    SHAKE_ENTRIES = 64, /* memory of every list of integers */
    SHAKE_VECTORS = 4,
    SHAKE_ARGS = 8192 /* an args struct and what a newer caller's could be */
};

typedef struct sample_tensor {
    const fattn_field *field;
    fattn_tensor t;
    unsigned char *slot, *content; /* memory; the same bytes as they were at first */
    size_t bytes;                  /* of both */
} sample_tensor;

typedef struct sample {
    const fattn_operator *op;
    const char *text;
    problem_line *line; /* lives as long as the program */
    const unsigned char *args;
    sample_tensor tensors[SHAKE_TENSORS];
    int n_tensors;
} sample;

/* false and a sentence on stderr: the line is not legal. */
bool sample_open(sample *b, const char *text, fattn_context *context);

typedef struct shaken {
    const sample *base;
    _Alignas(64) unsigned char args[SHAKE_ARGS];
    fattn_tensor tensors[SHAKE_TENSORS + 1];
    const fattn_tensor *vectors[SHAKE_VECTORS][SHAKE_TENSORS];
    int64_t lists[SHAKE_LISTS][SHAKE_ENTRIES];
    int64_t cells[8]; /* what INT_OUT fields point at */
    int n_lists, n_vectors, n_cells;
} shaken;

/* The legal call with up to five changes; returns how many. */
int shake(shaken *k, const sample *b, source *s);
/* As many more. */
void shake_more(shaken *k, source *s, int changes);

/* Data pointers for what the tensors claim now: in their slots where that fits, else NULL. */
void shake_place(shaken *k, source *s);

/* Outputs: every byte of their elements a canary. In-place tensors: their first content. */
void shake_arm(shaken *k);
/* No output was written since. */
bool shake_untouched(const shaken *k);

/* To stderr. */
void shake_print(const shaken *k);

#endif
