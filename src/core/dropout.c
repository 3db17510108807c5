/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.c — from a probability to a threshold on integers, and from an element to its bit. */
#include "core/dropout.h"

#include <math.h>

#include "base/half.h"
#include "base/ints.h"
#include "base/mutant.h"
#include "base/philox.h"

enum { F32_BITS = 23, F16_BITS = 10, BF16_BITS = 7, MASK_ALIGN = 128 };

static int bits_of(fattn_dtype dtype)
{
    return dtype == FATTN_F16 ? F16_BITS : dtype == FATTN_BF16 ? BF16_BITS : F32_BITS;
}

/* The probability as the device's generator sees it: in the dtype. */
static float rounded(fattn_dtype dtype, float p)
{
    if (dtype == FATTN_F16) return half_from_f16(half_to_f16(p));
    if (dtype == FATTN_BF16) return half_from_bf16(half_to_bf16(p));
    return p;
}

void dropout_rule(fattn_dropout *dropout, fattn_dtype dtype, float p_drop)
{
    const int bits = bits_of(dtype);
    dropout->word_bits = (UINT32_C(1) << bits) - 1;
    /* u / 2^bits >= p is u >= p * 2^bits, exact in double; u is an integer */
    dropout->threshold =
        (uint32_t)MUTANT(151, ceil, floor)(ldexp((double)rounded(dtype, p_drop), bits));
}

void dropout_translate(fattn_dropout *dropout, fattn_dtype dtype, double keep_prob)
{
    dropout->kind = DROPOUT_PHILOX;
    dropout->factor = 1.0 / keep_prob;
    dropout_rule(dropout, dtype, 1.0f - (float)keep_prob);
}

int64_t dropout_mask_bytes(int64_t cells)
{
    return i64_div_up(cells, MASK_ALIGN) * (MASK_ALIGN / 8);
}

uint64_t dropout_word(const fattn_dropout *dropout, uint64_t seed, uint64_t offset, uint64_t e)
{
    uint64_t kept = 0;
    uint32_t words[PHILOX_WORDS];
    for (int bit = 0; bit < 64; bit++) {
        const uint64_t at = e + (uint64_t)bit;
        if (bit == 0 || at % PHILOX_WORDS == 0)
            philox_block(seed, offset, at / PHILOX_WORDS, words);
        const uint32_t u = words[at % PHILOX_WORDS] & dropout->word_bits;
        kept |= (uint64_t)(u >= dropout->threshold) << bit;
    }
    return kept;
}

bool dropout_keeps(const fattn_problem *p, const fattn_ptrs *ptrs, const fattn_seq *seq,
                   int64_t head, int64_t i, int64_t j)
{
    const uint64_t e = dropout_element(seq, head, i, j);
    uint32_t words[PHILOX_WORDS];
    switch (p->dropout.kind) {
    case DROPOUT_NONE:
        return true;
    case DROPOUT_BITS:
        return ptrs->dropout_mask[e >> 3] >> (e & 7) & 1;
    case DROPOUT_PHILOX:
        philox_block(ptrs->seed, ptrs->offset, e / PHILOX_WORDS, words);
        return (words[e % PHILOX_WORDS] & p->dropout.word_bits) >= p->dropout.threshold;
    }
    return true;
}
