/* SPDX-License-Identifier: Apache-2.0 */
/* call_pattern.h — calls as serving systems make them (spec inference 15): tensors in the caller's
 * own forms, and the answer by the formula, in double, read from these very tensors.
 *
 * A pattern says what the tensors mean: lengths, axes, where the keys lie, which keys a row sees.
 * The test writes the operator's arguments itself; neither side is derived from the other. */
#ifndef FATTN_TESTS_API_CALL_PATTERN_H
#define FATTN_TESTS_API_CALL_PATTERN_H

#include "api/harness.h"

enum { PATTERN_BATCH = 32, TRIU = 2048 };

typedef enum keys_in { DENSE_KEYS, BNBSH, BNNBSD, NZ } keys_in;

typedef struct pattern {
    const char *name;
    fattn_dtype dtype;
    const char *in;       /* axes of query and dense keys */
    const char *out_axes; /* axes of attention_out; NULL: as query */
    int batch, heads, kv_heads, d, rope, d_v;
    int q_len[PATTERN_BATCH], kv_len[PATTERN_BATCH];
    int q_room, kv_room; /* layouts with S: its extents; 0 = the longest */
    keys_in keys;
    int block, columns; /* columns of the table; 0 = as many as needed and two */
    int unused;         /* what unused entries of the table hold */
    int dummies;        /* the last batch entries are padding: block 0, which belongs to nobody */
    bool latent;        /* value is the same tensor as key */
    int mode, pre, next;
    double scale;
    unsigned seed;
    /* made by pattern_tensors() */
    fattn_tensor *q, *k, *v, *q_rope, *k_rope, *table;
    const fattn_tensor *mask, *pse, *sink; /* content that counts */
    /* set by the test: what came out */
    const fattn_tensor *out, *lse;
} pattern;

/* How often a test runs: at reduced size, and at the caller's where that is quick or
 * FATTN_TEST_FULL is set. */
enum { QUICK, SLOW };
int pattern_sizes(int cost);

void pattern_tensors(pattern *p);
/* Lists: cumulative, or one by one. */
fattn_int_array ends_of(const int *length, int count);
fattn_int_array counts_of(const int *length, int count);
/* triu(ones(2048, 2048), 1) as [2048,2048], [1,2048,2048] or [1,1,2048,2048]. */
const fattn_tensor *triu_mask(fattn_dtype dtype, int rank);

/* What every call of the operator takes from the pattern: tensors, heads, scale. */
void pattern_v1(const pattern *p, fattn_fused_infer_attention_score_args *a);
void pattern_v2(const pattern *p, fattn_fused_infer_attention_score_v2_args *a);
/* Calls with outputs of its own and checks every row (many rows: a sample). */
void pattern_run_v1(pattern *p, fattn_fused_infer_attention_score_args *a);
void pattern_run_v2(pattern *p, fattn_fused_infer_attention_score_v2_args *a);
void pattern_check(const pattern *p);
/* `.out` of a captured graph: a workspace of the size that the call asks for, to be freed; and one
 * run of the same buffers in it with the lists that `a` now holds. */
void *pattern_workspace(const fattn_fused_infer_attention_score_args *a, size_t *bytes);
void pattern_replay(const pattern *p, const fattn_fused_infer_attention_score_args *a,
                    void *workspace, size_t bytes);

/* The row of query i, head h, over the keys of all `parts`, which have the same queries. */
void pattern_row(const pattern *const *parts, int n, int b, int h, int i, naive_row *row);
/* First token of entry b where tokens are packed. */
int pattern_first(const pattern *p, const int *length, int b);

#endif
