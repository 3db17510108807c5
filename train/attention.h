/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h — attention of a training step, forward and backward: fattn's operators, or, if it is
 * causal, all scores in memory with two matrix products around a softmax, to compare with. */
#ifndef FATTN_TRAIN_ATTENTION_H
#define FATTN_TRAIN_ATTENTION_H

#include "real.h"

typedef enum attention_way { ATTENTION_OPERATOR, ATTENTION_MATERIALISED } attention_way;

typedef struct attention {
    attention_way way;
    fattn_context *context; /* borrowed */
    int batch, length, keys, n_heads, n_kv_heads, dim; /* queries and keys of a row */
    int sparse_mode, pre_tokens, next_tokens; /* docs/masks.md: 3 causal, 4 band, 0 all keys */
    double keep_prob; /* 1 = no dropout; operator only */
    int64_t seed, offset; /* of the dropout mask, seed != 0 */
} attention;

/* What the forward leaves for the backward. */
typedef struct attention_saved {
    real *max, *sum; /* operator: [batch, n_heads, length, 8] */
    real *prob;      /* materialised: [batch, n_heads, length, length] */
} attention_saved;

size_t attention_saved_reals(const attention *a); /* of all that is allocated per layer */
attention_saved attention_save(const attention *a);
void attention_saved_free(attention_saved *saved);

/* q, out [batch, length, n_heads, dim]; k, v [batch, keys, n_kv_heads, dim]. false and
 * fattn_error_message() when the library refuses. */
bool attention_forward(const attention *a, real *out, const real *q, const real *k, const real *v,
                       attention_saved *saved);
/* dq, dk, dv are written. */
bool attention_backward(const attention *a, real *dq, real *dk, real *dv, const real *dout,
                        const real *out, const real *q, const real *k, const real *v,
                        const attention_saved *saved);

#endif
