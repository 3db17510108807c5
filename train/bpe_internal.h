/* SPDX-License-Identifier: Apache-2.0 */
/* bpe_internal.h — what bpe.c and bpe_json.c share. */
#ifndef FATTN_TRAIN_BPE_INTERNAL_H
#define FATTN_TRAIN_BPE_INTERNAL_H

#include "bpe.h"

enum { BYTES = 256, VOCAB_MAX = 1 << 15 };

typedef struct bpe_piece {
    int32_t left, right; /* tokens that were merged, -1 = a byte */
    uint8_t *bytes;
    size_t n;
} bpe_piece;

struct bpe {
    bpe_piece *pieces;
    int size, room;
    int32_t *merged; /* [size][size] by (left, right): the token they make, 0 = none; made on demand */
};

bpe *bpe_new(int room);
/* The next token: two others, one behind the other. false when there is no memory. */
bool bpe_merge(bpe *b, int32_t left, int32_t right);
/* Fills `merged`; behind the last bpe_merge(). */
bool bpe_finish(bpe *b);

#endif
