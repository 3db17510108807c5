/* SPDX-License-Identifier: Apache-2.0 */
/* corpus.h — a text cut in two: the last tenth is never trained on. */
#ifndef FATTN_TRAIN_CORPUS_H
#define FATTN_TRAIN_CORPUS_H

#include "bpe.h"

typedef struct corpus {
    uint8_t *text;
    size_t n, split; /* bytes; [split, n) are held out */
    int32_t *tokens, *held;
    size_t n_tokens, n_held;
} corpus;

/* Reads a file, or with path NULL the default text: what the program of Debian's package bible-kjv
 * prints. A sentence in `error` when it is missing, too short, or no text. */
bool corpus_read(corpus *c, const char *path, char *error, size_t size);
/* Both parts as tokens. */
bool corpus_encode(corpus *c, const bpe *b);
void corpus_free(corpus *c);

/* Batch number `step` of a seed: rows of `length` tokens from anywhere, targets one further. */
void corpus_batch(const corpus *c, uint64_t seed, int step, int batch, int length, int32_t *tokens,
                  int32_t *targets);

#endif
