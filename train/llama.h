/* SPDX-License-Identifier: Apache-2.0 */
/* llama.h — a Llama-shaped transformer (Touvron et al. 2023): per layer x += attention(norm(x)), x +=
 * mlp(norm(x)). Forward keeps what backward needs. */
#ifndef FATTN_TRAIN_LLAMA_H
#define FATTN_TRAIN_LLAMA_H

#include "attention.h"
#include "weights.h"

typedef struct layer_saved {
    real *x, *normed, *inverse, *q, *k, *v, *attended; /* attention half */
    real *x2, *normed2, *inverse2, *gate, *up, *active; /* mlp half */
    attention_saved attention;
} layer_saved;

typedef struct llama {
    config shape;
    weights params, grads;
    attention attention; /* batch, length, way, dropout */
    layer_saved *layers;
    real *out, *normed, *inverse, *logits; /* behind the last layer */
    real *dx, *dnormed, *dq, *dk, *dv, *dattended, *dgate, *dup, *dactive; /* backward */
    double *losses; /* per token of the last forward */
    size_t reals;   /* numbers allocated for saved and backward: the memory of a step */
} llama;

/* Memory for batches of batch x length tokens. Parameters are left for weights_init or _read. */
llama *llama_new(const config *shape, attention_way way, fattn_context *context, int batch,
                 int length);
void llama_free(llama *m);

/* Mean loss of predicting targets from tokens, both [batch, length]; llama->losses has every token's.
 * NaN and fattn_error_message() when the library refuses. */
double llama_forward(llama *m, const int32_t *tokens, const int32_t *targets);
/* Adds to the gradients; behind a forward of the same tokens. */
bool llama_backward(llama *m, const int32_t *tokens);

#endif
