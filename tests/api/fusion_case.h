/* SPDX-License-Identifier: Apache-2.0 */
/* fusion_case.h — one call of fusion_attention and its answer by the formula, in double, straight
 * from the raw arguments (spec fusion-attention 2-6). A case says what its tensors mean; the
 * checker computes every cell with index arithmetic of its own. */
#ifndef FATTN_TESTS_API_FUSION_CASE_H
#define FATTN_TESTS_API_FUSION_CASE_H

#include "api/harness.h"

enum { MOST_BATCH = 8 };

typedef enum mask_form { MASK_SHARED, MASK_BLOCKS } mask_form; /* rank 2, packed: max form, T x T */
typedef enum pse_form { PSE_PLAIN, PSE_COMPRESSED, PSE_FLAT, PSE_FLAT_ROWS } pse_form;

typedef struct fusion_case {
    fattn_fusion_attention_args a;
    const char *letters; /* how the tensors really lie */
    fattn_dtype dtype;
    int b, n, nkv, sq, skv, d, dv, dr; /* packed: sq, skv = tokens of all sequences */
    int q0[MOST_BATCH], q_len[MOST_BATCH], k0[MOST_BATCH], k_len[MOST_BATCH];
    int rows;      /* rows that belong to a sequence; the rest is a tail */
    int mode;      /* predicate that must hold; 1 = none */
    bool use_mask; /* the content of atten_mask counts */
    mask_form mask_form;
    pse_form pse_form;
    int pse_total; /* compressed: length it stands for */
    int special;   /* sequence with the band of modes 7 and 8 */
    bool strict;
    bool mean;    /* strict: rows without a key hold a mean */
    bool sampled; /* too many rows to compare them all */
} fusion_case;

/* Dense tensors of random values in layout `layout`, outputs from _shapes(). */
fusion_case *dense_case(const char *layout, fattn_dtype dtype, int b, int n, int nkv, int sq,
                        int skv, int d, int dv);
/* Packed tensors for `b` sequences plus `tail` tokens that belong to none; lists are cumulative. */
fusion_case *packed_case(fattn_dtype dtype, int b, const int *q_len, const int *k_len, int tail,
                         int n, int nkv, int d, int dv);

/* Allocates outputs by _shapes(), calls, compares every element of every output. */
void check_case(fusion_case *c, const char *what);
/* One row by the formula. */
void case_row(const fusion_case *c, int b, int h, int i, naive_row *row);
/* Only calls. */
fattn_status call_case(fusion_case *c);
/* Position of (b, head, i) in the statistics, 8 copies each. */
int64_t stat_at(const fusion_case *c, int b, int h, int i);

#endif
