/* SPDX-License-Identifier: Apache-2.0 */
/* infer.h — what the inference operators share: one normal form of their arguments and its
 * translation (spec inference 1-3, 10). Each operator's file fills an infer_args with its own names
 * and habits. */
#ifndef FATTN_API_INFER_H
#define FATTN_API_INFER_H

#include "api/inputs.h"
#include "api/lengths.h"

typedef enum infer_route {
    ROUTE_PREFILL, /* prompt_flash_attention */
    ROUTE_DECODE,  /* incre_flash_attention */
    ROUTE_BY_SHAPE /* fused_infer_attention_score: one query row, not packed = decode */
} infer_route;

typedef struct infer_args {
    infer_route route;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *atten_mask, *pse_shift, *block_table; /* NULL = absent */
    fattn_length_list q_lengths, kv_lengths;                  /* totals are filled in */
    const char *const *layouts;                               /* NULL-terminated */
    const char *layout;
    int64_t num_heads, num_key_value_heads;
    double scale;
    const char *scale_name;
    int64_t pre_tokens, next_tokens, next_default;
    int64_t sparse_mode, inner_precise, block_size;
    bool want_lse;
    const fattn_tensor *attention_out, *softmax_lse;
} infer_args;

typedef struct infer_call {
    fattn_context *context;
    const infer_args *args;
    fattn_inputs in;
    bool decode;  /* the device's decode branch */
    bool one_row; /* one query row, not packed: modes 2 and 3 let it see every key */
    int64_t n_batch;
    int64_t kv_room; /* keys a sequence may have: Skv, or columns of the block table * block size */
    fattn_lengths q, kv;

    /* infer_mask.c */
    const fattn_tensor *mask; /* atten_mask, NULL when absent or empty */
    int64_t mode;             /* what mask_translate() gets */
    bool dense_mask;
    bool first_key_only; /* strict decode, mode 3 or 4 with the 2048 mask: row 0 of it is applied */
    int64_t window;      /* strict decode: only the last `window` keys; INT64_MAX = all */
} infer_call;

fattn_status infer_translate(fattn_context *context, const infer_args *args, fattn_arena *arena,
                             fattn_problem *problem);
/* outputs[0] attention_out; outputs[1] softmax_lse when `lse`. */
fattn_status infer_shapes(fattn_context *context, const infer_args *args, bool lse,
                          fattn_tensor *outputs);
void infer_bind(const infer_args *args, fattn_ptrs *ptrs);

/* An optional tensor of these operators: NULL when absent or without elements (spec 0.6). atten_mask
 * is left to infer_mask(), which knows whether there is anything to mask. */
const fattn_tensor *infer_optional(const fattn_tensor *tensor);
/* The same for block_table; one without rows stays where the query is as empty. */
const fattn_tensor *infer_table(const fattn_tensor *table, const fattn_tensor *query);

/* sparse_mode, tokens, atten_mask: checks them, fills call and problem->mask. */
fattn_status infer_mask(infer_call *call, fattn_problem *problem);
/* Band of a sequence whose lengths are set. */
void infer_mask_seq(const infer_call *call, fattn_seq *seq);
/* pse_shift: checks it, fills problem->bias; strides of the batch and head axes come back in seq
 * form. */
fattn_status infer_bias(const infer_call *call, fattn_problem *problem);
void infer_bias_seq(const infer_call *call, fattn_seq *seq);

#endif
