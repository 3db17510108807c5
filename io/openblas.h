/* SPDX-License-Identifier: Apache-2.0 */
/* openblas.h — the matrix products of OpenBLAS where this machine has it, looked up at run time: the
 * opponent of `fattn bench` and the projections of `fattn train`. Nothing links it. */
#ifndef FATTN_IO_OPENBLAS_H
#define FATTN_IO_OPENBLAS_H

enum { BLAS_ROW_MAJOR = 101, BLAS_NO_TRANS = 111, BLAS_TRANS = 112 }; /* cblas.h */

typedef void blas_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                        const float *a, int lda, const float *b, int ldb, float beta, float *c,
                        int ldc);
typedef void blas_dgemm(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
                        const double *a, int lda, const double *b, int ldb, double beta, double *c,
                        int ldc);
typedef void blas_sgemv(int order, int trans, int m, int n, float alpha, const float *a, int lda,
                        const float *x, int incx, float beta, float *y, int incy);

typedef struct openblas {
    blas_sgemm *sgemm;
    blas_dgemm *dgemm;
    blas_sgemv *sgemv;
    void (*set_threads)(int); /* of the whole process */
    const char *version;
} openblas;

/* NULL when there is none. The same answer from any thread, at any time. */
const openblas *openblas_find(void);

#endif
