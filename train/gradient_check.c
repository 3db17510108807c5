/* SPDX-License-Identifier: Apache-2.0 */
/* gradient_check.c — the gradients of the whole model, in double, against differences of its loss: for
 * every tensor the derivative along one random direction. Exits 1 when one is further off than rounding
 * explains. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

enum { BATCH = 2, LENGTH = 11, TENSORS_MAX = 64 };

/* Differences of fourth order: truncation and rounding both stay near 1e-10 of the derivative. */
static const double STEP = 1e-4, TOLERANCE = 1e-8;

static const config shape = {.hidden_size = 16,
                             .num_hidden_layers = 2,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .intermediate_size = 24,
                             .vocab_size = 40,
                             .max_position_embeddings = LENGTH,
                             .rms_norm_eps = 1e-5,
                             .rope_theta = 100};

typedef struct sample {
    llama *model;
    int32_t tokens[BATCH * LENGTH], targets[BATCH * LENGTH];
} sample;

static sample new_sample(attention_way way, double keep_prob)
{
    enum { SPREAD = 10 }; /* larger than a trainer begins with, so that no part of the model is idle */
    sample s = {.model = llama_new(&shape, way, NULL, BATCH, LENGTH)};
    weights_init(&shape, &s.model->params, 3);
    for (size_t i = 0; i < s.model->params.n; i++)
        if (s.model->params.all[i] < 1) s.model->params.all[i] *= SPREAD; /* norms stay 1 */
    s.model->attention.keep_prob = keep_prob;
    s.model->attention.seed = 77, s.model->attention.offset = 5;
    for (uint64_t i = 0; i < BATCH * LENGTH; i++) {
        s.tokens[i] = (int32_t)(random_uniform(11, i) * shape.vocab_size);
        s.targets[i] = (int32_t)(random_uniform(12, i) * shape.vocab_size);
    }
    return s;
}

static double sign(uint64_t index) { return random_uniform(21, index) < 0.5 ? -1 : 1; }

/* The loss with the tensor moved along its direction. */
static double moved(sample *s, const weight *w, size_t n, double by)
{
    real *kept = reals(n);
    memcpy(kept, w->at, n * sizeof *kept);
    for (size_t i = 0; i < n; i++) w->at[i] += by * sign(i);
    const double loss = llama_forward(s->model, s->tokens, s->targets);
    memcpy(w->at, kept, n * sizeof *kept);
    free(kept);
    return loss;
}

static double difference(sample *s, const weight *w, size_t n)
{
    const double near = moved(s, w, n, STEP) - moved(s, w, n, -STEP);
    const double far = moved(s, w, n, 2 * STEP) - moved(s, w, n, -2 * STEP);
    return (8 * near - far) / (12 * STEP);
}

/* Largest deviation over all tensors, in units of the gradient's length. */
static double check(const char *name, attention_way way, double keep_prob, bool print)
{
    weight list[TENSORS_MAX];
    sample s = new_sample(way, keep_prob);
    llama *m = s.model;
    double worst = 0;
    const double loss = llama_forward(m, s.tokens, s.targets);
    if (!(loss > 0) || !llama_backward(m, s.tokens)) {
        printf("%s: %s\n", name, fattn_error_message());
        exit(EXIT_FAILURE);
    }
    const int count = weights_list(&shape, &m->params, list);
    if (print) printf("%-48s %14s %14s %9s\n", "tensor", "gradient", "difference", "deviation");
    for (int t = 0; t < count; t++) {
        const size_t n = (size_t)list[t].rows * (size_t)list[t].cols;
        const real *g = m->grads.all + (list[t].at - m->params.all);
        double along = 0, squares = 0;
        for (size_t i = 0; i < n; i++) along += g[i] * sign(i), squares += g[i] * g[i];
        const double estimate = difference(&s, &list[t], n);
        const double deviation = fabs(along - estimate) / sqrt(squares);
        if (print) printf("%-48s %14.8f %14.8f %9.1e\n", list[t].name, along, estimate, deviation);
        if (!(deviation <= worst)) worst = deviation;
    }
    llama_free(m);
    printf("%-46s %3d tensors, largest deviation %.1e (at most %.0e): %s\n", name, count, worst,
           TOLERANCE, worst <= TOLERANCE ? "ok" : "FAILED");
    return worst;
}

int main(int argc, char **argv)
{
    const bool print = argc > 1 && strcmp(argv[1], "--table") == 0;
    if (!gemm_available()) {
        printf("not run: gradient check of the model: no OpenBLAS\n");
        return 77;
    }
    const double worst[] = {check("operator", ATTENTION_OPERATOR, 1, print),
                            check("operator, dropout 0.1", ATTENTION_OPERATOR, 0.9, print),
                            check("materialised", ATTENTION_MATERIALISED, 1, false)};
    for (size_t i = 0; i < sizeof worst / sizeof *worst; i++)
        if (!(worst[i] <= TOLERANCE)) return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
