/* SPDX-License-Identifier: Apache-2.0 */
/* infer.h — what the inference operators share: one normal form of their arguments and its
 * translation (spec inference 1-5, 10). Each operator's file fills an infer_args with its own names
 * and habits. */
#ifndef FATTN_API_INFER_H
#define FATTN_API_INFER_H

#include "api/infer_quant.h"
#include "api/inputs.h"
#include "api/lengths.h"
#include "fattn/operators.h"

enum { INFER_MODE_BAND = 4, INFER_MODE_TREE = 9 };
enum { INFER_MLA_ROWS = 16 }; /* most query rows of the device's decode branch for D = 512 */

typedef enum infer_route {
    ROUTE_PREFILL, /* prompt_flash_attention */
    ROUTE_DECODE,  /* incre_flash_attention */
    ROUTE_BY_SHAPE /* fused_infer_attention_score: see infer_call.decode */
} infer_route;

/* Tensors: NULL = absent; lists: data NULL or count 0 = absent. */
typedef struct infer_args {
    infer_route route;
    const fattn_tensor *query, *key, *value;
    fattn_tensor_array key_list, value_list;
    const fattn_tensor *query_rope, *key_rope;
    const fattn_tensor *key_shared_prefix, *value_shared_prefix;
    fattn_int_array shared_prefix_len;
    const fattn_tensor *query_padding_size, *kv_padding_size;
    const fattn_tensor *atten_mask, *pse_shift, *learnable_sink, *block_table;
    fattn_length_list q_lengths, kv_lengths; /* totals are filled in */
    const char *const *layouts;              /* NULL-terminated */
    const char *layout;
    int64_t num_heads, num_key_value_heads;
    const char *heads_name;
    double scale;
    const char *scale_name;
    int64_t pre_tokens, next_tokens, next_default;
    int64_t sparse_mode, inner_precise, block_size;
    bool tree_mask; /* sparse_mode 9 exists */
    bool want_lse;
    infer_quant_args quant;
    const fattn_tensor *attention_out, *softmax_lse;
} infer_args;

typedef struct infer_call {
    fattn_context *context;
    const infer_args *args;
    fattn_inputs in;
    bool empty;   /* the query has no elements: how the rest fits is not looked at */
    bool one_row; /* one query row, not packed: without rope, modes 2 and 3 let it see every key */
    bool decode;  /* the device's decode branch for one row without rope: sparse parameters are
                     ignored */
    infer_quant_kind quant;
    infer_antiquant antiquant[SIDES]; /* quant: KV, GUIDE, and of MLA the value's */
    bool mla;     /* the device's decode branch for D = 512 with rope parts */
    int64_t n_batch;
    int64_t kv_room; /* keys of its own a sequence may have: Skv, or columns of the block table *
                        block size */
    int64_t shared_len;
    fattn_lengths q, kv; /* of the sequences' own rows and keys */
    bool q_padded,
        kv_padded; /* left padding: a sequence ends q_padding, kv_padding rows before the end */
    int64_t q_padding, kv_padding;

    /* infer_mask.c */
    const fattn_tensor *mask; /* atten_mask, NULL when absent or empty */
    int64_t mode;             /* what mask_translate() gets */
    bool dense_mask, tree;
    int64_t mask_batch_stride, mask_row_stride,
        mask_next;       /* mask_next: cells of a flat tree mask used up */
    bool first_key_only; /* strict decode, mode 3 or 4 with the 2048 mask: row 0 of it is applied */
    int64_t window;      /* strict decode: only the last `window` keys; INT64_MAX = all */
} infer_call;

fattn_status infer_translate(fattn_context *context, const infer_args *args, fattn_arena *arena,
                             fattn_problem *problem);
/* outputs[0] attention_out; outputs[1] softmax_lse when `lse`. */
fattn_status infer_shapes(fattn_context *context, const infer_args *args, bool lse,
                          fattn_tensor *outputs);
/* Strict: a refusal gets the device's code. */
fattn_status infer_refused(const fattn_context *context, const fattn_operator *op, const void *args,
                           fattn_status status);
void infer_bind(const infer_args *args, fattn_ptrs *ptrs);

/* An optional tensor of these operators: NULL when absent or without elements (spec 0.6).
 * atten_mask is left to infer_mask(), which knows whether there is anything to mask. */
const fattn_tensor *infer_optional(const fattn_tensor *tensor);
/* The same for a tensor that goes with `other`: without elements it stays where the other is as
 * empty. */
const fattn_tensor *infer_beside(const fattn_tensor *tensor, const fattn_tensor *other);

/* Layouts of unified inference, NULL-terminated. */
extern const char *const infer_layouts[];
/* softmax_lse without its flag: 0 where it is fp32 [1], as shapes() says; any other dummy is left
 * alone. */
void infer_no_lse(const fattn_tensor *lse);

/* ---- parts of the translation, in this order ---- */

/* infer_empty.c: is there nothing to compute? Then the answer's shape is all that is read of key
 * and value. */
bool infer_no_query(const infer_args *args);
fattn_status infer_read_empty(infer_call *call);

/* infer_dtypes.c: the kind of a call that has query, key and value; dtypes of all operands and of the
 * result. */
infer_quant_kind infer_kind(const infer_args *args);
fattn_status infer_dtypes(infer_call *call);
fattn_dtype infer_out_dtype(const infer_args *args);
/* attention_out is quantised where there is an output scale. */
fattn_status infer_check_out(const infer_args *args);

/* infer_antiquant.c: scales and offsets of quantised keys and values; of one side, the separate style before
 * the combined one. */
infer_antiquant infer_side(const infer_args *args, infer_quant_kind kind, int side);
fattn_status infer_antiquant_read(infer_call *call, fattn_problem *problem);

/* infer_quant.c: all other scales. */
fattn_status infer_quant(infer_call *call, fattn_problem *problem);
void infer_quant_bind(const infer_args *args, fattn_ptrs *ptrs);

/* infer_lengths.c: lengths in all forms, block table, left padding, shared prefix. */
fattn_status infer_lengths(infer_call *call, fattn_arena *arena, fattn_problem *problem);
/* Where the rows and keys of batch entry b begin on the S axes. */
int64_t infer_q_start(const infer_call *call, int64_t b);
int64_t infer_kv_start(const infer_call *call, int64_t b);
/* Shared prefix, then the longest reach of a sequence's keys. */
int64_t infer_kv_reach(const infer_call *call);
/* Columns that a full-size mask, a bias or scales by key need: the same where keys are paged or packed,
 * else the prefix and the whole S axis of key. */
int64_t infer_kv_cols(const infer_call *call);

/* infer_mask.c: sparse_mode, tokens, atten_mask; then band and mask cells of a sequence whose
 * lengths are set, to be called for b ascending, empty sequences included. */
fattn_status infer_mask(infer_call *call, fattn_problem *problem);
void infer_mask_seq(infer_call *call, int64_t b, fattn_seq *seq);

/* infer_tree.c: sparse_mode 9, called by infer_mask.c. */
fattn_status infer_tree(infer_call *call, fattn_problem *problem);
void infer_tree_seq(infer_call *call, int64_t b, fattn_seq *seq);

/* infer_bias.c: pse_shift and learnable_sink. */
fattn_status infer_bias(const infer_call *call, fattn_problem *problem);
void infer_bias_seq(const infer_call *call, int64_t b, fattn_seq *seq);
fattn_status infer_sink(const infer_call *call, fattn_problem *problem);

/* infer_rows.c: the sequences, softmax_lse, rows without a key. */
fattn_tensor infer_lse_shape(const fattn_inputs *in, bool wanted);
fattn_status infer_rows(infer_call *call, fattn_arena *arena, fattn_problem *problem);

#endif
