/* SPDX-License-Identifier: Apache-2.0 */
/* real.h — the number type of the trainer: float, or double when FATTN_TRAIN_DOUBLE is defined, which is
 * how the gradients of the whole model are checked against differences. Matrix products are OpenBLAS',
 * looked up at run time. */
#ifndef FATTN_TRAIN_REAL_H
#define FATTN_TRAIN_REAL_H

#include <math.h>
#include <stdbool.h>

#include "fattn/fattn.h"

#ifdef FATTN_TRAIN_DOUBLE
typedef double real;
#define REAL_DTYPE FATTN_F64
static inline real real_exp(real x) { return exp(x); }
static inline real real_sqrt(real x) { return sqrt(x); }
#else
typedef float real;
#define REAL_DTYPE FATTN_F32
static inline real real_exp(real x) { return expf(x); }
static inline real real_sqrt(real x) { return sqrtf(x); }
#endif

/* false without OpenBLAS on this machine. */
bool gemm_available(void);

/* c[m,n] = op(a) op(b) + beta c, row-major; trans_a: a is [k,m], trans_b: b is [n,k]. */
void gemm(bool trans_a, bool trans_b, int m, int n, int k, const real *a, int lda, const real *b,
          int ldb, real beta, real *c, int ldc);

/* Zeroed memory; ends the program with a sentence when there is none: a trainer that has begun cannot
 * go on without. */
real *reals(size_t n);

#endif
