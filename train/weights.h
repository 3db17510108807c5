/* SPDX-License-Identifier: Apache-2.0 */
/* weights.h — the parameters of a model in one block, and model.safetensors under Hugging Face's names
 * (model.layers.0.self_attn.q_proj.weight, ...). Matrices are [out, in]. */
#ifndef FATTN_TRAIN_WEIGHTS_H
#define FATTN_TRAIN_WEIGHTS_H

#include "config.h"
#include "real.h"

typedef struct layer_weights {
    real *attention_norm, *q, *k, *v, *o, *mlp_norm, *gate, *up, *down;
} layer_weights;

typedef struct weights {
    real *all; /* everything, `n` numbers */
    size_t n;
    real *embedding, *norm, *head;
    layer_weights *layers;
} weights;

/* One tensor of the block. */
typedef struct weight {
    char name[64];
    real *at;
    int rank, rows, cols; /* rank 1: [rows], cols 1 */
    bool decays;          /* takes part in weight decay: matrices, but not the embedding */
} weight;

weights weights_new(const config *c);
void weights_free(weights *w);

/* All tensors in order; returns how many (list NULL = only count them). */
int weights_list(const config *c, const weights *w, weight *list);

/* Normal numbers from a seed: 0.02, and smaller where a layer adds to the residual stream (Radford et
 * al. 2019); norms 1. */
void weights_init(const config *c, weights *w, uint64_t seed);

/* DIR/model.safetensors, fp32. A file that is replaced stays whole until the new one is. */
bool weights_write(const config *c, const weights *w, const char *dir, char *error, size_t size);
bool weights_read(const config *c, weights *w, const char *dir, char *error, size_t size);

/* Uniform in [0, 1), number `index` of stream `seed`: all randomness of the trainer. */
double random_uniform(uint64_t seed, uint64_t index);

#endif
