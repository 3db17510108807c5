/* SPDX-License-Identifier: Apache-2.0 */
/* infer.h — a trained model that answers: prefill, then one token at a time from a paged cache. float
 * only. */
#ifndef FATTN_TRAIN_INFER_H
#define FATTN_TRAIN_INFER_H

#include "bpe.h"
#include "weights.h"

typedef struct infer infer;

/* Reads DIR/config.json and DIR/model.safetensors. A sentence in `error` on failure. */
infer *infer_open(const char *dir, fattn_context *context, char *error, size_t size);
void infer_free(infer *m);
const config *infer_config(const infer *m);

/* Logits behind the last of n tokens, valid until the next call; NULL and fattn_error_message() when the
 * library refuses. The first fills the cache; the second appends one token to it; the third computes
 * everything anew and leaves the cache alone. */
const float *infer_prefill(infer *m, const int32_t *tokens, int n);
const float *infer_decode(infer *m, int32_t token);
const float *infer_recompute(infer *m, const int32_t *tokens, int n);

#endif
