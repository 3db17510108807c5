/* SPDX-License-Identifier: Apache-2.0 */
/* bpe.h — byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in Radford et al. 2019) and
 * tokenizer.json as Hugging Face's `tokenizers` reads it.
 *
 * Text is cut into words first; merges never cross their borders. A word is one of 's 't 're 've 'm 'll
 * 'd, letters, digits, or other marks, each with at most one space before it, or white space. Letters
 * are A-Z, a-z and every byte above 127. tokenizer.json says the same as a regular expression. */
#ifndef FATTN_TRAIN_BPE_H
#define FATTN_TRAIN_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bpe bpe;

/* Tokens 0..255 are bytes; the most frequent pair becomes the next token until there are vocab_size of
 * them, or no pair occurs twice. Ties: the lower ids. vocab_size 256 = bytes alone. NULL when there is
 * no memory. */
bpe *bpe_train(const uint8_t *text, size_t n, int vocab_size);
void bpe_free(bpe *b);
int bpe_vocab_size(const bpe *b);

/* Returns how many tokens; tokens NULL = only count. Any bytes are text. */
size_t bpe_encode(const bpe *b, const uint8_t *text, size_t n, int32_t *tokens);
/* The bytes of a token. */
const uint8_t *bpe_token(const bpe *b, int32_t token, size_t *n);

/* DIR/tokenizer.json. */
bool bpe_write(const bpe *b, const char *dir, char *error, size_t size);
bpe *bpe_read(const char *dir, char *error, size_t size);

#endif
