/* SPDX-License-Identifier: Apache-2.0 */
/* kneser_ney.h — an interpolated Kneser-Ney n-gram model of bytes (Kneser & Ney 1995; Chen & Goodman
 * 1998, section 3.1), the yardstick for what the transformer must beat. */
#ifndef FATTN_TRAIN_KNESER_NEY_H
#define FATTN_TRAIN_KNESER_NEY_H

#include <stddef.h>
#include <stdint.h>

enum { KN_ORDER = 5 };

typedef struct kneser_ney kneser_ney;

/* NULL when there is no memory or the text has fewer than KN_ORDER bytes. */
kneser_ney *kn_train(const uint8_t *text, size_t n);
void kn_free(kneser_ney *k);

/* P(byte | the last KN_ORDER - 1 bytes of context); context has `n` bytes, any number. */
double kn_probability(const kneser_ney *k, const uint8_t *context, size_t n, uint8_t byte);
/* Mean over all bytes, each with what stands before it in the text. */
double kn_bits_per_byte(const kneser_ney *k, const uint8_t *text, size_t n);

#endif
