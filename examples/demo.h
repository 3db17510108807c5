/* SPDX-License-Identifier: Apache-2.0 */
/* demo.h — what the demo's steps share: the captured tensors, memory, the clock, and the report of
 * a step. The steps themselves are in demo.c. */
#ifndef FATTN_EXAMPLES_DEMO_H
#define FATTN_EXAMPLES_DEMO_H

#include "fattn/fattn.h"

enum { MAX_OWNED = 64 };

typedef struct demo {
    fattn_context *context;
    fattn_tensor q;      /* f16 [1, n_heads, length, dim] */
    fattn_tensor k, v;   /* f16 [1, n_kv_heads, length, dim] */
    fattn_tensor tokens; /* i64 [length] */
    int64_t n_heads, n_kv_heads, length, dim;
    double scale;
    int steps, failures;
    void *owned[MAX_OWNED]; /* freed at the end */
    int n_owned;
} demo;

/* Reads q, k, v and tokens from DIR/<name>.npy; false after a sentence on stderr. */
bool demo_load(demo *d, const char *dir);
void demo_free(demo *d);

/* A new zeroed tensor that lives as long as the demo. */
fattn_tensor demo_tensor(demo *d, fattn_dtype dtype, int rank, const int64_t *shape);
/* The same elements in fp32. */
fattn_tensor demo_widen(demo *d, const fattn_tensor *tensor);
/* Tokens [first, first + n) of a [1, heads, tokens, dim] tensor; a view. */
fattn_tensor demo_span(const fattn_tensor *tensor, int64_t first, int64_t n);
/* The same tokens as rows [n, heads, dim], as a cache takes them; a view. */
fattn_tensor demo_rows(const fattn_tensor *tensor, int64_t first, int64_t n);

double demo_now(void); /* milliseconds */

/* Ends the program with the library's sentence unless status is FATTN_OK. */
void demo_must(fattn_status status, const char *what);

void demo_title(demo *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void demo_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void demo_failure(demo *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Best of five calls, in milliseconds. */
double demo_time(demo *d, const char *op, const void *args);

/* Compares the outputs in `args` with float64 and counts a failure outside the bound; the worst
 * error as a share of its bound. fp16 outputs of some size must also be rounded correctly to 98 %.
 */
double demo_check(demo *d, const char *op, const void *args, fattn_verify_report *report);

/* demo_check() and its line. */
void demo_report_error(demo *d, const char *op, const void *args);

/* One line each for time, error and memory. */
void demo_report(demo *d, const char *op, const void *args, double ms);

/* Three standard configurations against standard attention; see demo_table.c. */
void demo_table(demo *d);

#endif
