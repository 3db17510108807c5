/* SPDX-License-Identifier: Apache-2.0 */
/* harness.h — what the operator tests share: tensors with random contents, contexts that record
 * warnings, and one attention row in double precision with the bound of docs/accuracy.md. Nothing
 * of src/core is used: the tests compute their own index arithmetic. */
#ifndef FATTN_TESTS_API_HARNESS_H
#define FATTN_TESTS_API_HARNESS_H

#include "cm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fattn/fattn.h"

enum { MOST_KEYS = 8192, MOST_COLUMNS = 512 };

/* ---- tensors: memory lives until harness_reset()
 * ------------------------------------------------- */

void *harness_alloc(size_t bytes); /* zeroed */
void harness_reset(void);          /* frees everything, forgets warnings */
void forget_warnings(void);        /* only these */

/* Contiguous; float dtypes hold random numbers in [-1, 1] from `seed`, others zeros. */
fattn_tensor *tensor_new(fattn_dtype dtype, unsigned seed, int rank, ...); /* int extents */
fattn_tensor *tensor_like(const fattn_tensor *shape); /* contiguous, filled with bytes 0xA5 */
/* The same values in memory with gaps: every stride is larger than it must be. */
fattn_tensor *tensor_spread(const fattn_tensor *t);

int64_t tensor_count(const fattn_tensor *t);
size_t tensor_bytes(const fattn_tensor *t);
double get(const fattn_tensor *t, const int64_t *index);
/* `n` elements along the last axis, beginning at index. */
void get_run(const fattn_tensor *t, const int64_t *index, int n, double *into);
void put(const fattn_tensor *t, const int64_t *index, double value);
double get1(const fattn_tensor *t, int64_t a);
double get2(const fattn_tensor *t, int64_t a, int64_t b);
double get3(const fattn_tensor *t, int64_t a, int64_t b, int64_t c);
double get4(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d);
void put1(const fattn_tensor *t, int64_t a, double x);
void put2(const fattn_tensor *t, int64_t a, int64_t b, double x);
void put3(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, double x);
void put4(const fattn_tensor *t, int64_t a, int64_t b, int64_t c, int64_t d, double x);
void fill(const fattn_tensor *t, double x);
/* About one cell in `one_in` becomes 1, the rest 0. */
void fill_mask(const fattn_tensor *t, unsigned seed, unsigned one_in);

/* Element (b, s, n, d) of a tensor in layout `letters` whose H axis has heads of `head_dim`
 * columns; T layouts take the token in s. */
double at_layout(const fattn_tensor *t, const char *letters, int64_t head_dim, int64_t b, int64_t s,
                 int64_t n, int64_t d);
/* A random tensor in that layout. */
fattn_tensor *tensor_layout(fattn_dtype dtype, unsigned seed, const char *letters, int b, int s,
                            int n, int d);

fattn_int_array list_of(int count, ...); /* int64 from ints */

/* Number `at` of `total` is one of about 64, and always if it is the first or the last. */
bool sampled(int64_t at, int64_t total);

/* ---- contexts
 * ------------------------------------------------------------------------------------ */

fattn_context *plain_context(void);
fattn_context *strict_context(void);
int warnings(void);                /* since harness_reset() */
bool warned_of(const char *place); /* that place spoke */
const char *warning_text(const char *place);

/* ---- expectations
 * -------------------------------------------------------------------------------- */

/* Every failure prints `what`. */
#define EXPECT_OK(status, ...)                                                                     \
    do {                                                                                           \
        if ((status) != FATTN_OK) {                                                                \
            print_error(__VA_ARGS__);                                                              \
            fail_msg(": refused: %s", fattn_error_message());                                      \
        }                                                                                          \
    } while (0)

/* A sentence that begins with the argument's name (or the operator's and then that name). */
void expect_refused(fattn_status status, fattn_status wanted, const char *argument,
                    const char *what);

/* Gives the call its outputs by _shapes() and makes it. */
void call_v1(fattn_fused_infer_attention_score_args *a, const char *what);
void call_v2(fattn_fused_infer_attention_score_v2_args *a, const char *what);

/* ---- one row in double
 * --------------------------------------------------------------------------- */

typedef struct naive_row {
    int keys, columns, d;    /* visible keys, columns of v, columns of q */
    double x[MOST_KEYS];     /* scores after scale, bias */
    double sigma[MOST_KEYS]; /* |scale| sum |q k| + |bias| */
    int key[MOST_KEYS];      /* which key */
    double sink;             /* -inf = none */
    /* results */
    double out[MOST_COLUMNS], bound[MOST_COLUMNS];
    double max, sum;    /* with the sink */
    double lse;         /* without */
    double stats_bound; /* of max, of log(sum) and of lse */
} naive_row;

/* value(self, key, column) reads v. keys must be > 0 or a sink present. */
void naive_finish(naive_row *row, double (*value)(const void *self, int key, int column),
                  const void *self);

/* |got - want| within the bound of the contract for this storage. */
double allowed_out(fattn_dtype dtype, double want, double bound);
bool close_out(fattn_dtype dtype, double got, double want, double bound);
bool close_stat(double got, double want, double bound);

#endif
