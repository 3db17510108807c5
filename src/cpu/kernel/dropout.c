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

enum { CHAINS = 4 }; /* at once: a round waits for its products */

/* 4 * VQ bits each: the blocks of those numbers, in the order of q_order(). */
static INLINE void blocks(const fattn_philox *x, const vq *index, uint64_t *bits, const int n)
{
    vq c0[CHAINS], c1[CHAINS], c2[CHAINS], c3[CHAINS];
    UNROLL for (int k = 0; k < n; k++) {
        c0[k] = index[k];
        c1[k] = q_shift(index[k]);
        c2[k] = q_dup(x->offset);
        c3[k] = q_shift(c2[k]);
    }
    UNROLL for (int i = 0; i < 10; i++) {
        const vq k0 = q_dup(x->keys[i][0]), k1 = q_dup(x->keys[i][1]);
        UNROLL for (int k = 0; k < n; k++) {
            const vq a = q_mul32(c0[k], q_dup(0xD2511F53u));
            const vq b = q_mul32(c2[k], q_dup(0xCD9E8D57u));
            c0[k] = q_xor3(q_shift(b), c1[k], k0);
            c2[k] = q_xor3(q_shift(a), c3[k], k1);
            c1[k] = b;
            c3[k] = a;
        }
    }
    UNROLL for (int k = 0; k < n; k++)
        bits[k] = q_kept(c0[k], c1[k], c2[k], MUTANT(152, c3[k], c2[k]), (int)x->word_bits,
                         (int)x->threshold);
}

/* 64 bits each from elements 4 * a and 4 * b on. */
static INLINE void two_words(const fattn_philox *x, uint64_t a, uint64_t b, uint64_t *kept)
{
    kept[0] = kept[1] = 0;
    UNROLL for (int i = 0; i < 16; i += 2 * VQ) {
        uint64_t bits[CHAINS];
        vq index[CHAINS];
        UNROLL for (int k = 0; k < CHAINS; k++)
            index[k] = q_add(q_dup((k < 2 ? a : b) + (uint64_t)(i + k % 2 * VQ)), q_order());
        blocks(x, index, bits, CHAINS);
        kept[0] |= (bits[0] | bits[1] << (4 * VQ % 64)) << 4 * i;
        kept[1] |= (bits[2] | bits[3] << (4 * VQ % 64)) << 4 * i;
    }
}

/* Rows that begin inside a block end inside another one: that one for n <= VQ rows at once. */
static INLINE void finish_rows(uint64_t *kept, const uint64_t *first, int n, const fattn_philox *x)
{
    uint64_t order[VQ], index[VQ];
    q_store(order, q_order());
    for (int i = 0; i < VQ; i++) {
        const int row = (int)order[i] < n ? (int)order[i] : 0;
        index[i] = (first[row] >> 2) + 16;
    }
    const vq numbers = q_load(index);
    uint64_t bits;
    blocks(x, &numbers, &bits, 1);
    for (int row = 0; row < n; row++) {
        const int inside = (int)(first[row] & 3);
        if (inside) kept[row] |= (bits >> 4 * row) << (64 - inside);
    }
}

void ISA(keep)(uint64_t *kept, const uint64_t *first, int rows, const fattn_philox *x)
{
    uint64_t odd = 0;
    for (int r = 0; r < rows; r += 2) {
        const int next = r + 1 < rows ? r + 1 : r;
        uint64_t two[2];
        two_words(x, first[r] >> 2, first[next] >> 2, two);
        kept[next] = two[1] >> (first[next] & 3);
        kept[r] = two[0] >> (first[r] & 3);
        odd |= (first[r] | first[next]) & 3;
    }
    for (int r = 0; odd && r < rows; r += VQ)
        finish_rows(kept + r, first + r, rows - r < VQ ? rows - r : VQ, x);
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
