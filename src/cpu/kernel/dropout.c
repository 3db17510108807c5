/* SPDX-License-Identifier: Apache-2.0 */
/* dropout.c — Philox4x32-10 in lanes (spec fusion-attention 8.6), and what dropout does to weights.
 *
 * A block of four words takes four 64-bit lanes' low halves: the product of a round is a 32 x 32 -> 64
 * multiplication, whose two halves are needed, and what stands above bit 31 elsewhere never matters. */
#include "../kernels.h"
#include "../simd/vec.h"

SLOT(fattn_keep_fn, keep);
SLOT(fattn_drop_fn, drop);
SLOT(fattn_drop_rows_fn, drop_rows);

/* Bits 0, 1, 2, ... of m (at most 8) to bits 0, 4, 8, ... */
static INLINE uint64_t spread(uint64_t m)
{
    m = (m | m << 12) & 0x000f000fu;
    m = (m | m << 6) & 0x03030303u;
    return (m | m << 3) & 0x11111111u;
}

/* 4 * VQ bits: the blocks from `index` on. */
static INLINE uint64_t blocks(const fattn_philox *x, uint64_t index)
{
    vq c0 = q_add(q_dup(index), q_iota()), c1 = q_shift(c0);
    vq c2 = q_dup(x->offset), c3 = q_shift(c2);
    UNROLL for (int i = 0; i < 10; i++) {
        const vq a = q_mul32(c0, q_dup(0xD2511F53u)), b = q_mul32(c2, q_dup(0xCD9E8D57u));
        c0 = q_xor3(q_shift(b), c1, q_dup(x->keys[i][0]));
        c2 = q_xor3(q_shift(a), c3, q_dup(x->keys[i][1]));
        c1 = b;
        c3 = a;
    }
    const vq bits = q_dup(x->word_bits), threshold = q_dup(x->threshold);
    return spread(q_ge(q_and(c0, bits), threshold)) |
           spread(q_ge(q_and(c1, bits), threshold)) << 1 |
           spread(q_ge(q_and(c2, bits), threshold)) << 2 |
           spread(q_ge(q_and(c3, bits), threshold)) << MUTANT(152, 3, 2);
}

/* 64 bits from element 4 * index on. */
static INLINE uint64_t word(const fattn_philox *x, uint64_t index)
{
    uint64_t kept = 0;
    UNROLL for (int i = 0; i < 16; i += VQ) kept |= blocks(x, index + (uint64_t)i) << 4 * i;
    return kept;
}

void ISA(keep)(uint64_t *kept, const uint64_t *first, int rows, const fattn_philox *x)
{
    for (int r = 0; r < rows; r++) {
        const int inside = (int)(first[r] & 3);
        kept[r] = word(x, first[r] >> 2) >> inside;
        if (inside) kept[r] |= blocks(x, (first[r] >> 2) + 16) << (64 - inside);
    }
}

void ISA(drop)(float *st, int keys, int vectors, const uint64_t *kept, float factor)
{
    const vf f = v_dup(factor);
    for (int key = 0; key < keys; key++)
        for (int j = 0; j < vectors; j++) {
            float *at = st + key * TILE_ROWS + j * VL;
            const vm m = v_mask((unsigned)(kept[key] >> j * VL));
            v_store(at, v_select(m, v_mul(v_load(at), f), v_dup(0)));
        }
}

void ISA(drop_rows)(float *s, int rows, const uint64_t *kept, float factor)
{
    const vf f = v_dup(factor);
    for (int row = 0; row < rows; row++)
        for (int key = 0; key < TILE_KEYS; key += VL) {
            float *at = s + row * TILE_KEYS + key;
            const vm m = v_mask((unsigned)(kept[row] >> MUTANT(153, key, 0)));
            v_store(at, v_select(m, v_mul(v_load(at), f), v_dup(0)));
        }
}
