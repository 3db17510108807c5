/* SPDX-License-Identifier: Apache-2.0 */
/* layers.h — the layers around attention, forward and backward, on rows of numbers. Gradients of inputs
 * and weights are added to what is there. Sources: RMSNorm (Zhang & Sennrich 2019), RoPE (Su et al.
 * 2021, halves rotated against each other as in Hugging Face's Llama), SwiGLU (Shazeer 2020). */
#ifndef FATTN_TRAIN_LAYERS_H
#define FATTN_TRAIN_LAYERS_H

#include "real.h"

/* y[row] = x[row] * weight / rms(x[row]); inverse[row] = 1 / rms. */
void norm_forward(real *y, real *inverse, const real *x, const real *weight, int rows, int dim,
                  double eps);
void norm_backward(real *dx, real *dweight, const real *dy, const real *x, const real *weight,
                   const real *inverse, int rows, int dim);

/* Row r (n_heads * dim columns) is rotated by the angles of position first + r % period; the gradient
 * is rotated back (inverse). In place. */
void rope(real *x, int rows, int n_heads, int dim, int first, int period, double theta,
          bool inverse);

/* y = silu(gate) * up */
void swiglu_forward(real *y, const real *gate, const real *up, size_t n);
/* dgate and dup are written. */
void swiglu_backward(real *dgate, real *dup, const real *dy, const real *gate, const real *up,
                     size_t n);

/* loss[row] = -ln softmax(logits[row])[target[row]]; logits become their gradient, times `scale`. */
void cross_entropy(double *loss, real *logits, const int32_t *target, int rows, int vocab,
                   double scale);

/* y[rows,out] = x[rows,in] w^T, w[out,in]; dx += dy w, dw += dy^T x. */
void linear_forward(real *y, const real *x, const real *w, int rows, int in, int out);
void linear_backward(real *dx, real *dw, const real *dy, const real *x, const real *w, int rows,
                     int in, int out);

#endif
