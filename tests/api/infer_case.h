/* SPDX-License-Identifier: Apache-2.0 */
/* infer_case.h — one call of an inference operator and its answer by the formula, in double,
 * straight from the raw arguments (spec inference 1-3). The same case can go through the three
 * operators. */
#ifndef FATTN_TESTS_API_INFER_CASE_H
#define FATTN_TESTS_API_INFER_CASE_H

#include "api/harness.h"

enum { MOST_BATCH = 8 };

typedef enum which { PROMPT, INCRE, FUSED } which;
typedef enum cache_form { DENSE, BNBSH, BNNBSD, BNBSND } cache_form;

/* fused_infer_attention_score's arguments serve as the common spelling. */
typedef struct infer_case {
    which op;
    fattn_fused_infer_attention_score_args a;
    const char *letters; /* how query (and dense keys) really lie */
    fattn_dtype dtype;
    int b, n, nkv, sq, skv, d, dv; /* packed: sq, skv = tokens of all sequences */
    int q0[MOST_BATCH], q_len[MOST_BATCH], k0[MOST_BATCH], k_len[MOST_BATCH];
    cache_form cache;
    int block_size;
    int mode;       /* predicate that must hold; 1 = none */
    bool use_mask;  /* the content of atten_mask counts */
    bool mask_row0; /* one query row: rank 2 is [B,S] */
    int window;     /* strict: last keys only; 0 = all */
    bool first_key; /* strict: key 0 only */
    bool strict;
    double empty_lse; /* of rows without a key inside their sequence; INFINITY by default */
    bool mean;        /* strict: rows masked by the mask's content hold a mean */
    double mean_lse;
} infer_case;

infer_case *padded_case(which op, const char *layout, fattn_dtype dtype, int b, int n, int nkv,
                        int sq, int skv, int d, int dv);
/* Packed, cumulative lists, `tail` query tokens (and keys) that belong to nobody. */
infer_case *packed_infer(which op, fattn_dtype dtype, int b, const int *q_len, const int *k_len,
                         int tail, int n, int nkv, int d, int dv);
/* Moves the keys into caches of that form with shuffled blocks; unused table entries hold -1,
 * unused rows NaN. The table gets one column more than needed. */
void make_paged(infer_case *c, cache_form form, int block_size, fattn_dtype table_dtype);

fattn_status call_infer(infer_case *c); /* allocates outputs by _shapes() */
void check_infer(infer_case *c, const char *what);
/* Element of attention_out. */
double out_at(const infer_case *c, int b, int h, int i, int x);

#endif
