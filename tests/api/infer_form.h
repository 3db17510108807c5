/* SPDX-License-Identifier: Apache-2.0 */
/* infer_form.h — one logical call of inference in every form that the operators know: layouts X and
 * X_Y, caches (BnBsH, BnNBsD, NZ), tensor lists, shared prefix, left padding, rope parts, mask,
 * bias, sink, tree (spec inference 1-9).
 *
 * The values live in books q[b][h][i], k[b][g][j], v[b][g][j], the same ones in every form of a
 * shape; a form is a way to write them into tensors. Expected rows come from the formula over the
 * books. Nothing of src/ is used. */
#ifndef FATTN_TESTS_API_INFER_FORM_H
#define FATTN_TESTS_API_INFER_FORM_H

#include "api/harness.h"

enum { FORM_BATCH = 3, Q_MOST = 7, KV_MOST = 90 }; /* sizes of form_usual() */

typedef enum form_op { V2, V1, INCRE_OP, PROMPT_OP } form_op;
typedef enum kv_form { KV_DENSE, KV_BNBSH, KV_BNNBSD, KV_NZ, KV_LIST, KV_FORMS } kv_form;

typedef struct form {
    form_op op;
    const char *layout; /* input_layout */
    fattn_dtype dtype;
    int batch, heads, kv_heads, d, rope, d_v;
    int q_len[FORM_BATCH], kv_len[FORM_BATCH]; /* kv_len counts the prefix */
    kv_form kv;
    int block, chunk;
    int prefix;    /* keys given as shared prefix */
    int same_keys; /* the first keys of all batch entries are alike; at least `prefix` of them */
    int q_pad, kv_pad; /* left padding: rows behind the data; -1 = none */
    int mode, pre, next;
    bool sink, lse, pse, mask;
    bool exact;          /* lists and prefix are as long as their keys; no length says so */
    bool split_rope;     /* false: the rope columns are columns of query and key */
    int q_room, kv_room; /* extents of the S axes, and of the books */
    /* made */
    char in[8], out[8];
    bool packed;
    fattn_tensor *q, *k, *v; /* books: [B,N,S,D+R], [B,Nkv,S,D+R], [B,Nkv,S,Dv] */
    fattn_tensor *tree, *sink_tensor, *pse_tensor, *mask_tensor;
    const double *q_numbers, *k_numbers, *v_numbers; /* the books */
    fattn_fused_infer_attention_score_v2_args a;     /* the common spelling */
    const fattn_tensor *padding[2], *shared[2];
    fattn_int_array shared_len;
} form;

/* Small, with random heads and lengths; one sequence in layouts without B and T. */
form form_usual(const char *layout, kv_form kv, unsigned seed);
int form_random(int lo, int hi); /* of the sequence that form_usual() began */
/* A tensor in `letters`. */
fattn_tensor *form_tensor(fattn_dtype dtype, const char *letters, int b, int s, int n, int d);
const fattn_tensor *form_rows(int rows); /* i64 [1] */

void form_make(form *f);
/* v1 has the prefix and the padding, v2 the sink and the tree. */
void form_to_v1(const form *f, fattn_fused_infer_attention_score_args *a);
/* Allocates the outputs by _shapes() and calls the operator. */
void form_call(form *f, const char *what);
/* Elements of attention_out and softmax_lse; s is the row of the tensor (packed: the token). */
double form_out(const form *f, int b, int s, int h, int c);
double form_lse(const form *f, int b, int s, int h);
/* First row of batch entry b in query (and output). */
int form_first_row(const form *f, int b);
/* Made, called, and every row compared with the formula. */
void form_check(form *f, const char *what);
/* The same with a description of its own; forgets everything. */
void form_run(form f);

#endif
