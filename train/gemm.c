/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c — the product of OpenBLAS that fits `real`, on all its threads. */
#include "real.h"

#include <stdio.h>
#include <stdlib.h>

#include "io/openblas.h"

#ifdef FATTN_TRAIN_DOUBLE
static blas_dgemm *product(void) { return openblas_find()->dgemm; }
#else
static blas_sgemm *product(void) { return openblas_find()->sgemm; }
#endif

bool gemm_available(void) { return openblas_find() != NULL; }

void gemm(bool trans_a, bool trans_b, int m, int n, int k, const real *a, int lda, const real *b,
          int ldb, real beta, real *c, int ldc)
{
    product()(BLAS_ROW_MAJOR, trans_a ? BLAS_TRANS : BLAS_NO_TRANS,
              trans_b ? BLAS_TRANS : BLAS_NO_TRANS, m, n, k, 1, a, lda, b, ldb, beta, c, ldc);
}

real *reals(size_t n)
{
    real *memory = calloc(n ? n : 1, sizeof *memory);
    if (memory) return memory;
    fprintf(stderr, "out of memory: %zu numbers; a smaller batch or model would fit\n", n);
    exit(EXIT_FAILURE);
}
