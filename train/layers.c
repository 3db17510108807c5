/* SPDX-License-Identifier: Apache-2.0 */
/* layers.c — written for reading; the time of a step is in the matrix products and in attention. */
#include "layers.h"

#include <math.h>

void norm_forward(real *y, real *inverse, const real *x, const real *weight, int rows, int dim,
                  double eps)
{
    for (int r = 0; r < rows; r++, x += dim, y += dim) {
        double squares = 0;
        for (int c = 0; c < dim; c++) squares += (double)x[c] * (double)x[c];
        inverse[r] = (real)(1 / sqrt(squares / dim + eps));
        for (int c = 0; c < dim; c++) y[c] = x[c] * inverse[r] * weight[c];
    }
}

void norm_backward(real *dx, real *dweight, const real *dy, const real *x, const real *weight,
                   const real *inverse, int rows, int dim)
{
    for (int r = 0; r < rows; r++, x += dim, dx += dim, dy += dim) {
        const real s = inverse[r];
        double along = 0; /* the part of the gradient that would only scale the row */
        for (int c = 0; c < dim; c++) along += (double)(dy[c] * weight[c]) * (double)x[c];
        const real back = (real)(along / dim) * s * s * s;
        for (int c = 0; c < dim; c++) {
            dweight[c] += dy[c] * x[c] * s;
            dx[c] += dy[c] * weight[c] * s - x[c] * back;
        }
    }
}

static void rotate(real *x, int n_heads, int dim, const real *cosine, const real *sine)
{
    const int half = dim / 2;
    for (int h = 0; h < n_heads; h++, x += dim)
        for (int c = 0; c < half; c++) {
            const real a = x[c], b = x[c + half];
            x[c] = a * cosine[c] - b * sine[c];
            x[c + half] = b * cosine[c] + a * sine[c];
        }
}

void rope(real *x, int rows, int n_heads, int dim, int first, int period, double theta,
          bool inverse)
{
    enum { HALF_MAX = 256 };
    real cosine[HALF_MAX], sine[HALF_MAX];
    for (int t = 0; t < period && t < rows; t++) { /* the angles of a position serve the whole batch */
        for (int c = 0; c < dim / 2; c++) {
            const double angle = (first + t) * pow(theta, -2.0 * c / dim);
            cosine[c] = (real)cos(angle);
            sine[c] = (real)(inverse ? -sin(angle) : sin(angle));
        }
        for (int r = t; r < rows; r += period)
            rotate(x + (size_t)r * (size_t)(n_heads * dim), n_heads, dim, cosine, sine);
    }
}

static real sigmoid(real x) { return 1 / (1 + real_exp(-x)); }

void swiglu_forward(real *y, const real *gate, const real *up, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

void swiglu_backward(real *dgate, real *dup, const real *dy, const real *gate, const real *up,
                     size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const real s = sigmoid(gate[i]);
        dup[i] = dy[i] * gate[i] * s;
        dgate[i] = dy[i] * up[i] * s * (1 + gate[i] * (1 - s));
    }
}

void cross_entropy(double *loss, real *logits, const int32_t *target, int rows, int vocab,
                   double scale)
{
    for (int r = 0; r < rows; r++, logits += vocab) {
        double sum = 0;
        real top = logits[0];
        for (int c = 1; c < vocab; c++) top = logits[c] > top ? logits[c] : top;
        const real wanted = logits[target[r]];
        for (int c = 0; c < vocab; c++) {
            logits[c] = real_exp(logits[c] - top);
            sum += (double)logits[c];
        }
        loss[r] = log(sum) - (double)(wanted - top);
        for (int c = 0; c < vocab; c++) logits[c] *= (real)(scale / sum);
        logits[target[r]] -= (real)scale;
    }
}

void linear_forward(real *y, const real *x, const real *w, int rows, int in, int out)
{
    gemm(false, true, rows, out, in, x, in, w, in, 0, y, out);
}

void linear_backward(real *dx, real *dw, const real *dy, const real *x, const real *w, int rows,
                     int in, int out)
{
    gemm(false, false, rows, in, out, dy, out, w, in, 1, dx, in);
    gemm(true, false, out, in, rows, dy, out, x, in, 1, dw, in);
}
