/* SPDX-License-Identifier: Apache-2.0 */
/* infer.h — a trained model that answers: prefill, then one token at a time from a paged cache. float
 * only; the cache may hold something smaller. */
#ifndef FATTN_TRAIN_INFER_H
#define FATTN_TRAIN_INFER_H

#include "corpus.h"
#include "weights.h"

typedef struct infer infer;

/* Reads DIR/config.json and DIR/model.safetensors. Keys and values are kept as f32, f16, i8, i4, e4m3 or
 * e5m2, the last four with a scale per token and head. A sentence in `error` on failure. */
infer *infer_open(const char *dir, fattn_dtype cache, fattn_context *context, char *error,
                  size_t size);
void infer_free(infer *m);
const config *infer_config(const infer *m);

/* Logits behind the last of n tokens, valid until the next call; NULL and fattn_error_message() when the
 * library refuses. The first fills the cache; the second appends one token to it; the third computes
 * everything anew and leaves the cache alone. */
const float *infer_prefill(infer *m, const int32_t *tokens, int n);
const float *infer_decode(infer *m, int32_t token);
const float *infer_recompute(infer *m, const int32_t *tokens, int n);

/* Of the first n_tokens held-out tokens, in windows of the model's length; every token but a window's first
 * is predicted from the cache. NaN and fattn_error_message() when the library refuses. */
double infer_bits_per_byte(infer *m, const bpe *b, const corpus *c, size_t n_tokens);

#endif
