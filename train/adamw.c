/* SPDX-License-Identifier: Apache-2.0 */
/* adamw.c — one pass over the parameters per step. */
#include "adamw.h"

#include <math.h>

#include "base/mutant.h"

double adamw_rate(const adamw *a, int step)
{
    if (step < a->warmup) return a->lr * (step + 1) / a->warmup;
    const double share = (double)(step - a->warmup) / fmax(1, a->steps - a->warmup);
    return a->lr * (0.1 + 0.45 * (1 + cos(3.141592653589793 * fmin(share, 1))));
}

static double norm_of(const weights *grads)
{
    double sum = 0;
    for (size_t i = 0; i < grads->n; i++) sum += (double)grads->all[i] * (double)grads->all[i];
    return sqrt(sum);
}

typedef struct factors {
    double rate, shrink, fix1, fix2;
} factors;

static void update(const adamw *a, const factors *f, real *p, real *g, real *m, real *v, size_t n,
                   bool decays)
{
    const real b1 = (real)a->beta1, b2 = (real)a->beta2, eps = (real)a->eps;
    const real shrink = (real)f->shrink, rate = (real)(f->rate / f->fix1);
    const real root = (real)(1 / sqrt(f->fix2)), keep = (real)(1 - f->rate * a->weight_decay);
    for (size_t i = 0; i < n; i++) {
        const real x = g[i] * shrink;
        m[i] = b1 * m[i] + (1 - b1) * x;
        v[i] = b2 * v[i] + (1 - b2) * x * x;
        if (MUTANT(191, decays, true)) p[i] *= keep;
        p[i] -= rate * m[i] / (real_sqrt(v[i]) * root + eps);
        g[i] = 0;
    }
}

double adamw_step(adamw *a, const weight *list, int n, weights *params, weights *grads, int step)
{
    const double norm = norm_of(grads);
    const factors f = {.rate = adamw_rate(a, step),
                       .shrink = a->clip > 0 && norm > a->clip ? a->clip / norm : 1,
                       .fix1 = 1 - pow(a->beta1, step + 1),
                       .fix2 = 1 - pow(a->beta2, step + 1)};
    for (int i = 0; i < n; i++) {
        const size_t at = (size_t)(list[i].at - params->all);
        update(a, &f, params->all + at, grads->all + at, a->m + at, a->v + at,
               (size_t)list[i].rows * (size_t)list[i].cols, list[i].decays);
    }
    return norm;
}
