/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h — the operators of the family. One args struct and five functions per operator <op>:
 *
 *   void          fattn_<op>_args_init(args)                    compulsory; sets size and the
 * defaults fattn_status  fattn_<op>(ctx, args)                         the call fattn_status
 * fattn_<op>_shapes(ctx, args, outputs)         dtype, rank, shape, contiguous strides of every
 * output, data NULL, in field order fattn_status  fattn_<op>_workspace(ctx, args, &bytes) what
 * fattn_plan_run() needs fattn_status  fattn_<op>_plan(ctx, args, &plan)             see plan.h
 *
 * Letters: B batch, S sequence (Sq queries, Skv keys), N query heads, Nkv key/value heads, G = N /
 * Nkv, D head dim of query and key, Dv head dim of value and output, H = heads * head dim, T tokens
 * of all sequences. Tensors are pointers to structs that the caller owns; NULL = absent. An output
 * may be NULL when it is not wanted, unless it is the first. Every tensor may have any strides
 * where nothing else is said. In the inference operators an optional tensor without elements is
 * absent, too, unless it is a quantisation parameter.
 *
 * Errors: E_SHAPE, E_DTYPE, E_ARG as the sentence says; E_UNSUPPORTED for a parameter whose meaning
 * this version does not compute; E_NOMEM. No output is touched on error. NaN or Inf in masked or
 * out-of-range keys never reaches a result. */
#ifndef FATTN_ATTENTION_H
#define FATTN_ATTENTION_H

#include "context.h"
#include "plan.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Declares the five functions of an operator. */
#define FATTN_DECLARE_OPERATOR(op)                                                                 \
    FATTN_API void fattn_##op##_args_init(fattn_##op##_args *args);                                \
    FATTN_API fattn_status fattn_##op(fattn_context *context, const fattn_##op##_args *args);      \
    FATTN_API fattn_status fattn_##op##_shapes(                                                    \
        fattn_context *context, const fattn_##op##_args *args, fattn_tensor *outputs);             \
    FATTN_API fattn_status fattn_##op##_workspace(fattn_context *context,                          \
                                                  const fattn_##op##_args *args, size_t *bytes);   \
    FATTN_API fattn_status fattn_##op##_plan(fattn_context *context,                               \
                                             const fattn_##op##_args *args, fattn_plan **plan);

/* fusion_attention — the training operator, forward (npu_fusion_attention v1, v2, v3 in one entry
 * under v2's names; spec fusion-attention 1, 2).
 *
 * input_layout: query          key            value           attention_out
 *   BSH         [B,Sq,N*D]     [B,Skv,Nkv*D]  [B,Skv,Nkv*Dv]  [B,Sq,N*Dv]
 *   SBH         [Sq,B,N*D]     [Skv,B,Nkv*D]  [Skv,B,Nkv*Dv]  [Sq,B,N*Dv]
 *   BSND        [B,Sq,N,D]     [B,Skv,Nkv,D]  [B,Skv,Nkv,Dv]  [B,Sq,N,Dv]     (BSNH is an alias)
 *   BNSD        [B,N,Sq,D]     [B,Nkv,Skv,D]  [B,Nkv,Skv,Dv]  [B,N,Sq,Dv]
 *   TND         [Tq,N,D]       [Tkv,Nkv,D]    [Tkv,Nkv,Dv]    [Tq,N,Dv]
 * softmax_max, softmax_sum: fp32 [B,N,Sq,8] for dense layouts, [Tq,N,8] for TND, each value 8
 * times. Both need the same strides; with TND and softmax_layout "" (their memory then holds
 * [N,Lq,8] sequence by sequence) they must be contiguous.
 *
 * Lq, Lk: queries and keys of a sequence (dense: Sq, Skv).
 * atten_mask, nonzero = masked (4.1, docs/masks.md):
 *   modes 0, 1    [Sq,Skv], [1|B,1|N,1|Sq,Skv]; TND [max Lq,max Lk] that every sequence reads from
 * its corner, [sum Lq,sum Lk] over all tokens, or [1|B,1|N,max Lq,max Lk] mode 5 [B,1|N,1|Sq,Skv];
 * with B 1 the forms of mode 0, too; not TND others        [2048,2048], mode 6 [3072,2048], behind
 * [1|B,1|N,..] too, whatever the lengths; the content is not looked at, the mode's own predicate is
 * computed Modes 2 to 8 without a mask compute their predicate (5: that of 6) with a warning;
 * strict: full attention. prefix: keys that every row sees, one per batch entry, each in 0..Lk;
 * modes 5 and 6 only. TND: mode 6. pse (5): pse_type 0 = q.k * scale + pse, 1 = (q.k + pse) *
 * scale: dense         [1|B,N,1|Sq,Skv], or the last 1024 rows of it (Sq == Skv > 1024, mode 2, 3
 * or a causal 0) TND           flat, [N,Lq,Lk] or [N,Lk] sequence by sequence; or [1|B,N,1024,max
 * Lk] (Lq == Lk, causal, max Lk >= 1024) pse_type 2, 3: fp32 slopes [N] or [B,N]; adds -slope *
 * |distance| or its root, distance = key - query
 *   + kv_start_idx - q_start_idx; needs Lq == Lk, in TND the indices move the first sequence alone.
 * sink: one logit per query head more in the softmax, unscaled, unmasked, without a value;
 * softmax_max and softmax_sum include it (2.4). Rows without a key (2.3): attention_out 0;
 * softmax_max, softmax_sum = -FLT_MAX, +FLT_MAX, or sink, 1 where there is a sink; 0, 0 in rows
 * behind the sequences and where the whole key tensor is empty. Strict: the device's, the mean of
 * value's rows included. numels: cells of the score matrices, B*N*Sq*Skv, TND N * sum Lq*Lk, with
 * and without dropout.
 * Dropout (8): each probability is kept with keep_prob and then divided by it, or becomes 0, behind
 * the softmax, whose maximum and sum do not change. Cell (head h, row i, key j) of sequence b is bit
 * e = N * sum of Lq*Lk before b + (h * Lq + i) * Lk + j: of dropout_mask (1 = keep; at least
 * ceil(numels / 8) bytes), or drawn from (seed, offset). Both 0: they come from the context's
 * generator (generator.h) and are returned in seed_out and offset_out. */
typedef struct fattn_fusion_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value; /* f32, f16, bf16 (f64 on the reference), one dtype */
    int64_t head_num;                        /* N; 0 = from the layout's N axis */
    const char *input_layout;
    const fattn_tensor *pse; /* query's dtype (pse_type 0, 1), or fp32 slopes (2, 3); see above */
    const fattn_tensor *padding_mask;          /* documented "ignored" */
    const fattn_tensor *atten_mask;            /* bool or u8, nonzero = masked */
    const fattn_tensor *query_rope, *key_rope; /* [.., Dr] in query's / key's layout */
    double scale;                              /* 1.0 */
    double keep_prob;                          /* 1.0; see above */
    int64_t pre_tokens, next_tokens;           /* 2147483647 */
    int64_t inner_precise;                     /* 0 */
    fattn_int_array prefix;                    /* per batch; modes 5 and 6 */
    fattn_int_array actual_seq_qlen, actual_seq_kvlen; /* cumulative, TND */
    int64_t sparse_mode;                               /* 0..8 */
    bool gen_mask_parallel;                            /* true; documented "ignored" */
    bool sync;                                         /* false; documented "ignored" */
    int64_t pse_type;                                  /* 1 */
    fattn_int_array q_start_idx, kv_start_idx;         /* element 0 counts; pse_type 2, 3 */
    const char *softmax_layout;                        /* "" or "TND" */
    const fattn_tensor *sink;                          /* fp32 [N] */
    const fattn_tensor *dropout_mask;                  /* u8, packed; NULL = drawn */
    int64_t seed, offset;                              /* 0 */
    /* outputs */
    const fattn_tensor *attention_out, *softmax_max, *softmax_sum;
    int64_t *seed_out, *offset_out, *numels; /* may be NULL */
} fattn_fusion_attention_args;
FATTN_DECLARE_OPERATOR(fusion_attention)

/* fusion_attention_grad — its backward (npu_fusion_attention_grad v1, v2, v3 in one entry under
 * v2's names; spec fusion-attention 7). Every argument that the forward has, too, means the same
 * and must have the forward's value; scale is called scale_value here.
 *
 * dy is laid out like attention_out. softmax_max, softmax_sum and attention_in (= attention_out)
 * are what the forward returned, or what ring_attention_update() merged: they are consumed, never
 * recomputed, so the gradient of a part of the keys is the part's share of the whole gradient.
 * With P = exp(x - max) / sum, R = 0 or 1 / keep_prob, D = dy . attention_in:
 *
 *   dS    = P * (R * (dy . v) - D)
 *   dq    = scale * sum_j dS k
 *   dk    = scale * sum_i dS q           summed over the N / Nkv heads that share k, too
 *   dv    = sum_i P R dy                 likewise
 *   dpse  = dS (pse_type 0), dS * scale (1), -dS * |distance| or its root (2, 3), summed over the
 *           axes that pse broadcasts; compressed: added to the cell that was read
 *   dsink = -sum exp(sink - max) / sum * D
 *
 * Rows without a key, rows and keys outside the sequences: gradients 0. Summed in fp32, rounded
 * once.
 *
 * Dropout is drawn again from seed and offset, literally, 0 included (give what the forward
 * returned); dropout_mask, which the device's operator does not have, takes their place (strict:
 * E_ARG).
 *
 * Outputs have the shape and dtype of what they are the gradient of; any may be NULL but dq. dpse
 * without pse, dsink without sink, dq_rope, dk_rope without rope parts: E_ARG. */
typedef struct fattn_fusion_attention_grad_args {
    size_t size;
    const fattn_tensor *query, *key, *value; /* f32, f16, bf16 (f64 on the reference), one dtype */
    const fattn_tensor *dy;                  /* query's dtype */
    int64_t head_num;                        /* N; 0 = from the layout's N axis */
    const char *input_layout;
    const fattn_tensor *pse;
    const fattn_tensor *padding_mask; /* documented "ignored" */
    const fattn_tensor *atten_mask;
    const fattn_tensor *softmax_max, *softmax_sum; /* fp32 (f64 with f64 operands), required */
    const fattn_tensor *softmax_in;                /* documented "ignored" */
    const fattn_tensor *attention_in;              /* query's dtype, required */
    const fattn_tensor *query_rope, *key_rope;
    double scale_value;              /* 1.0 */
    double keep_prob;                /* 1.0 */
    int64_t pre_tokens, next_tokens; /* 2147483647 */
    int64_t inner_precise;           /* 0 */
    int64_t seed, offset;            /* 0; taken literally */
    int64_t numels;                  /* documented "ignored": it follows from the shapes */
    fattn_int_array prefix;
    fattn_int_array actual_seq_qlen, actual_seq_kvlen;
    int64_t sparse_mode;
    bool gen_mask_parallel; /* true; documented "ignored" */
    bool sync;              /* false; documented "ignored" */
    int64_t pse_type;       /* 1 */
    fattn_int_array q_start_idx, kv_start_idx;
    const char *softmax_layout;
    const fattn_tensor *sink;
    const fattn_tensor *dropout_mask; /* u8, the forward's; NULL = from seed and offset */
    /* outputs */
    const fattn_tensor *dq, *dk, *dv, *dpse, *dq_rope, *dk_rope, *dsink;
} fattn_fusion_attention_grad_args;
FATTN_DECLARE_OPERATOR(fusion_attention_grad)

/* dropout_gen_mask — the packed keep mask by itself (npu_dropout_gen_mask, _npu_dropout_gen_mask; spec
 * fusion-attention 8). Cell e is bit e & 7 of byte e >> 3, 1 = keep; the mask holds as many cells as
 * the product of `sizes`, rounded up to 128, and the same bits that fusion_attention draws with p =
 * 1 - keep_prob in fp32. p = 0: every bit 1; p = 1: every bit 0. draw: seed and offset come from the
 * context's generator (generator.h), which then moves on; otherwise they are taken literally. */
typedef struct fattn_dropout_gen_mask_args {
    size_t size;
    fattn_int_array sizes; /* extents of what is masked; none = one cell */
    double p;              /* 0.5; probability that a cell is dropped, [0, 1] */
    int64_t seed, offset;  /* 0 */
    bool draw;             /* false */
    const char *dtype;     /* "f32"; f16 and bf16 use fewer random bits, as on the device (8.6) */
    bool parallel;         /* true; documented "ignored" */
    /* outputs */
    const fattn_tensor *mask; /* u8 [16 * ceil(cells / 128)], contiguous */
    int64_t *seed_out, *offset_out; /* may be NULL */
} fattn_dropout_gen_mask_args;
FATTN_DECLARE_OPERATOR(dropout_gen_mask)

/* What the inference operators share (spec inference 1-5).
 *
 * input_layout names the axes of query, dense key and value; "X_Y": they lie in X and attention_out
 * in Y. query          key            attention_out          prompt  incre  fused (v1, v2) BSH
 * [B,Sq,N*D]     [B,Skv,Nkv*D]  [B,Sq,N*Dv]            x       x      x BSND        [B,Sq,N,D]
 * [B,Skv,Nkv,D]  [B,Sq,N,Dv]            x       x      x BNSD        [B,N,Sq,D]     [B,Nkv,Skv,D]
 * [B,N,Sq,Dv]            x       x      x NSD         [N,Sq,D]       [Nkv,Skv,D]    [N,Sq,Dv] x x
 * one sequence SH          [Sq,N*D]       [Skv,Nkv*D]    [Sq,N*Dv]              x one sequence TND
 * [T,N,D]        [Tkv,Nkv,D]    [T,N,Dv]               x              x NTD         [N,T,D]
 * [Nkv,Tkv,D]    [N,T,Dv]                              x BNSD_BSND, BSH_BNSD, BSND_BNSD Y BNSD_BSND
 * only x NTD_TND, TND_NTD                          Y                                     x
 *   BSH_NBSD, BSND_NBSD, BNSD_NBSD            [N,B,Sq,Dv]                           x
 * value is laid out like key, with Dv in place of D. In strict mode the device's limits on layouts,
 * head dims and combinations hold (docs/strict.md).
 *
 * Lengths: layouts with T are packed: cumulative ends, both lists required. Others: rows per batch
 * entry (one entry: the same for all), absent = all rows; the sequence lies at the beginning of its
 * rows. With block_table keys are counted per sequence, never cumulatively, and the list is
 * required. Rows of query outside the sequences yield 0, and +inf in softmax_lse; so does a row
 * without a key.
 *
 * Caches: with block_table key and value have the same one of these forms, and key_rope, too, with
 * one head dim of its own: [blocks, block_size, Nkv*D]            BnBsH [blocks, Nkv, block_size,
 * D]           BnNBsD; [blocks, block_size, Nkv, D] where only that fits [blocks, Nkv, D/c,
 * block_size, c]      NZ, any c that divides D block_table: i32 or i64 [B, M]; key j of entry b is
 * row j % block_size of block block_table[b][j / block_size]. Entries behind the last key are never
 * read.
 *
 * atten_mask: bool, i8 or u8, nonzero = masked (1.4.1, docs/masks.md):
 *   modes 0, 1    [>=Sq,>=columns], [1|B,>=Sq,>=columns], [1|B,1,>=Sq,>=columns]; not in packed
 * layouts modes 2, 3, 4 [2048,2048], [1,2048,2048] or [1,1,2048,2048], whatever the lengths; the
 * content is not looked at; without it the mode's own predicate with a warning, strict: E_ARG one
 * query row in the decode branch, modes 0, 1: [1|B,>=columns], [1|B,1,>=columns],
 * [1|B,1,1,>=columns] pse_shift: query's dtype, [1|B, 1|N, >=Sq, >=columns], added after the scale,
 * not in packed layouts. Columns are the shared prefix, then the rows of key; with block_table the
 * longest sequence is enough; with left padding rows and columns are positions in the tensors.
 *
 * One query row in a layout that is not packed, without rope parts: modes 2 and 3 let it see every
 * key, mode 4 keeps its band. The device's decode branch (spec 10) ignores sparse parameters; where
 * that makes a difference there is a warning. Its query lengths are ignored, in unified inference
 * also with rope parts and head dim 512.
 *
 * A query without elements is answered at once: that the rest of the call fits it is not asked,
 * only that every argument is well formed and the outputs are empty, too.
 *
 * attention_out: the shape above, or any contiguous tensor of the dtype with as many elements
 * (prompt and incre: not in strict mode). softmax_lse: fp32, natural logarithm, without the sink:
 * [T,N,1] packed, else [B,N,Sq,1] (NSD: B = 1); by default also contiguous with other axes of
 * extent 1, or flat. With the flag off its shape is [1] and it becomes 0; any other tensor given
 * then is left alone. */

/* Quantised calls (spec inference 4; docs/quantisation.md). Keys and values of i8, i4 (also i32: eight
 * columns each), e4m3, e5m2, e2m1, e1m2 beside a float query mean (x + offset) * scale. Scales are f32, f16 or
 * bf16, offsets have the shape of their scales; by mode: 0 [1], [Nkv,D] or [Nkv*D]; 1 [B,>=S]; 2 [Nkv];
 * 3 [B,Nkv,>=S]; 4 [blocks,rows]; 5 [blocks,Nkv,rows]; 6 [1,B,Nkv,>=S,D/32] e8m0. Combined: a first axis of
 * key, value; modes 0 and 1. An int8 query takes three scales of one number and gives f16. An output scale makes
 * the output i8: round(out * scale + offset), halves to even, saturated. E_ARG where a scale is missing or goes
 * with nothing, E_SHAPE and E_DTYPE where it does not fit; hif8 is E_UNSUPPORTED. */

/* prompt_flash_attention — prefill (npu_prompt_flash_attention; spec inference 6). SH and NSD hold
 * one sequence: a length list has one entry, rows behind it are padding; many sequences are TND. */
typedef struct fattn_prompt_flash_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *padding_mask; /* documented "ignored" */
    const fattn_tensor *atten_mask;   /* bool, i8 or u8, nonzero = masked */
    const fattn_tensor
        *pse_shift; /* [1|B, 1|N, >=Sq, >=Skv], query's dtype; added after the scale */
    fattn_int_array actual_seq_lengths; /* queries per batch entry; TND: cumulative */
    const fattn_tensor *deq_scale1, *quant_scale1, *deq_scale2; /* int8 query; one number each */
    const fattn_tensor *quant_scale2, *quant_offset2; /* int8 output; [1] or a number per column */
    int64_t num_heads;                                /* 1; 0 = from the layout */
    double scale_value;                               /* 1.0 */
    int64_t pre_tokens;                               /* 2147483647 */
    int64_t next_tokens;                              /* 0 */
    const char *input_layout;                         /* "BSH" */
    int64_t num_key_value_heads;                      /* 0 = num_heads */
    fattn_int_array actual_seq_lengths_kv;
    int64_t
        sparse_mode; /* 0..4; 10..14: 0..4 with inner_precise 0 (strict: fp16 scores unrounded) */
    /* output */
    const fattn_tensor *attention_out;
} fattn_prompt_flash_attention_args;
FATTN_DECLARE_OPERATOR(prompt_flash_attention)

/* incre_flash_attention — decode, one query row per batch entry (npu_incre_flash_attention; spec
 * inference 7). */
typedef struct fattn_incre_flash_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *padding_mask;   /* documented "ignored" */
    const fattn_tensor *atten_mask;     /* [1|B, .., >= longest valid length], nonzero = masked */
    const fattn_tensor *pse_shift;      /* [1|B, 1|N, 1, >=S] */
    fattn_int_array actual_seq_lengths; /* keys per batch */
    const fattn_tensor *antiquant_scale, *antiquant_offset; /* of quantised keys (row 0), values */
    const fattn_tensor *block_table;                        /* i32 or i64 [B, M] */
    const fattn_tensor *dequant_scale1; /* scale of int8 keys and values that have no other */
    const fattn_tensor *quant_scale1, *dequant_scale2; /* NULL: they go with an int8 query */
    const fattn_tensor *quant_scale2, *quant_offset2; /* int8 output; [1] or a number per column */
    const fattn_tensor
        *kv_padding_size;     /* i64 [1]: rows behind the keys; see fused_infer_attention_score */
    int64_t num_heads;        /* 1; 0 = from the layout */
    double scale_value;       /* 1.0 */
    const char *input_layout; /* "BSH" */
    int64_t num_key_value_heads; /* 0 = num_heads */
    int64_t block_size;          /* 0 */
    int64_t inner_precise;       /* 1 */
    /* output */
    const fattn_tensor *attention_out;
} fattn_incre_flash_attention_args;
FATTN_DECLARE_OPERATOR(incre_flash_attention)

/* fused_infer_attention_score — unified inference, v1 (npu_fused_infer_attention_score; spec
 * inference 3, 5, 8, 10).
 *
 * key_list, value_list: instead of key and value one tensor per batch entry, batch 1, each as long
 * as it is (3.4); E_ARG together with key, value, block_table, packed layouts. A list of one tensor
 * is that tensor. key_shared_prefix, value_shared_prefix: keys in front of everybody's own, key's
 * layout with batch 1 (packed: as many tokens); actual_shared_prefix_len = how many of them count.
 * Lengths, diagonals, mask and bias then count prefix + own keys (3.3). Both or neither.
 * query_padding_size, kv_padding_size: left padding, the rows *behind* the data: a sequence of L
 * rows lies at [S - pad - L, S - pad) (3.2). They need the lengths; E_ARG with packed layouts, a
 * prefix, block_table or lists. A plan reads the numbers and keeps them: a run with others is
 * E_ARG. Negative = 0. In the decode branch query_padding_size is ignored, kv_padding_size is, with
 * a warning, where the device ignores it, and a sequence that would begin before the tensor has no
 * keys. sparse_mode 0 then ignores its tokens. query_rope, key_rope: more columns of query and key,
 * laid out like them: score = (q.k + rope.rope) * scale (5). Both or neither; UNSUPPORTED with a
 * prefix or a list, which have no rope part. */
typedef struct fattn_fused_infer_attention_score_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    fattn_tensor_array key_list,
        value_list; /* instead of key and value: one tensor per batch entry */
    const fattn_tensor *pse_shift, *atten_mask;
    fattn_int_array actual_seq_lengths, actual_seq_lengths_kv;
    const fattn_tensor *dequant_scale1, *quant_scale1, *dequant_scale2; /* int8 query */
    const fattn_tensor *quant_scale2, *quant_offset2; /* int8 output; [1] or a number per column */
    const fattn_tensor *antiquant_scale, *antiquant_offset; /* of quantised keys (row 0), values */
    const fattn_tensor *key_antiquant_scale, *key_antiquant_offset; /* or of each by itself */
    const fattn_tensor *value_antiquant_scale, *value_antiquant_offset;
    const fattn_tensor *block_table;                          /* i32 or i64 [B, M] */
    const fattn_tensor *query_padding_size, *kv_padding_size; /* i64, one element: left padding */
    const fattn_tensor *key_shared_prefix, *value_shared_prefix; /* key's layout, batch 1 */
    fattn_int_array actual_shared_prefix_len;     /* one entry; absent = all of the prefix */
    const fattn_tensor *query_rope, *key_rope;    /* more columns of query and key */
    const fattn_tensor *key_rope_antiquant_scale; /* documented "ignored" (reserved) */
    int64_t num_heads;                            /* 1; 0 = from the layout */
    double scale;                                 /* 1.0 */
    int64_t pre_tokens, next_tokens;              /* 2147483647 */
    const char *input_layout;                     /* "BSH" */
    int64_t num_key_value_heads;                  /* 0 = num_heads */
    int64_t sparse_mode;                          /* 0..4 */
    int64_t inner_precise;                        /* 0 */
    int64_t block_size;                           /* 0 */
    int64_t antiquant_mode, key_antiquant_mode, value_antiquant_mode; /* 0; how scales go with keys */
    bool softmax_lse_flag;                                            /* false */
    /* outputs */
    const fattn_tensor *attention_out, *softmax_lse;
} fattn_fused_infer_attention_score_args;
FATTN_DECLARE_OPERATOR(fused_infer_attention_score)

/* fused_infer_attention_score_v2 — unified inference, v2 (npu_fused_infer_attention_score_v2; spec
 * inference 5, 9, 10): v1 with other names and with learnable_sink, sparse_mode 9 (tree mask) and
 * the parameters of quantised MLA; without shared prefix, left padding and combined antiquant.
 *
 * learnable_sink: one logit per query head that takes part in the softmax, unscaled and unmasked,
 * and has no value; softmax_lse leaves it out; any layout. sparse_mode 9: atten_mask says which
 * draft tokens see each other: [1|B,Sq,Sq], packed one flat tensor of Lq * Lq cells per sequence.
 * The keys in front of the last Lq are always seen. E_ARG where Lq > Lk. The vendor's type codes
 * (query_dtype, key_dtype, ... dequant_scale_key_rope_dtype) have no field: a tensor here carries
 * its dtype. out_dtype: the vendor's None is -1; another value selects the type of a quantised
 * output, which this version does not compute. */
typedef struct fattn_fused_infer_attention_score_v2_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    fattn_tensor_array key_list,
        value_list; /* instead of key and value: one tensor per batch entry */
    const fattn_tensor *query_rope, *key_rope;
    const fattn_tensor *pse_shift, *atten_mask;
    fattn_int_array actual_seq_qlen, actual_seq_kvlen;
    const fattn_tensor *block_table;                                /* i32 or i64 [B, M] */
    const fattn_tensor *dequant_scale_query; /* f32, query less its columns: a quantised query */
    const fattn_tensor *dequant_scale_key, *dequant_offset_key;     /* of quantised keys */
    const fattn_tensor *dequant_scale_value, *dequant_offset_value; /* and values */
    const fattn_tensor *dequant_scale_key_rope;             /* documented "ignored" (reserved) */
    const fattn_tensor *quant_scale_out, *quant_offset_out; /* 8-bit output */
    const fattn_tensor *quant_scale_p;                      /* documented "ignored" (reserved) */
    const fattn_tensor
        *learnable_sink;         /* bf16 [N] (also f32): a logit per query head without a value */
    int64_t num_query_heads;     /* 1; 0 = from the layout */
    int64_t num_key_value_heads; /* 0 = num_query_heads */
    double softmax_scale;        /* 1.0 */
    int64_t pre_tokens, next_tokens;                            /* 2147483647 */
    const char *input_layout;                                   /* "BSH" */
    int64_t sparse_mode;                                        /* 0..4, 9 */
    int64_t block_size;                                         /* 0 */
    int64_t query_quant_mode;                                   /* 0; 3 with a quantised query */
    int64_t key_quant_mode, value_quant_mode;                   /* 0; how scales go with keys */
    int64_t inner_precise;                                      /* 0 */
    bool return_softmax_lse;                                    /* false */
    int64_t out_dtype; /* -1; 1 i8, 23 e5m2, 24 e4m3 with quant_scale_out; 5 f16, 15 bf16 */
    /* outputs */
    const fattn_tensor *attention_out, *softmax_lse;
} fattn_fused_infer_attention_score_v2_args;
FATTN_DECLARE_OPERATOR(fused_infer_attention_score_v2)

/* advance_step_flashattn — the integers of one vLLM decode step, in place
 * (npu_advance_step_flashattn; spec inference 12). All tensors i64; seq_lens, slot_mapping and
 * block_tables also i32.
 *
 * Plain: row i < num_queries takes its sampled token, position = the old seq_lens[i], seq_lens[i] +
 * 1 and slot = block_tables[i][position / block_size] * block_size + position % block_size. Padding
 * rows, i in num_queries..num_seqs - 1, become token 0, position 0, slot -1 and keep seq_lens.
 * Strict: 12.3. Speculative, with spec_token and accepted_num (one alone is E_ARG): num_seqs * k
 * rows, k - 1 drafts per request r. All its positions grow by accepted_num[r] + 1, seq_lens =
 * position + 1, slots follow; its tokens are the last sampled one, which stands in front of the
 * first -1 of its row of sampled_token_ids (no -1: the last; -1 first: the last, too), and
 * spec_token[r]. E_ARG: counts below 1, num_queries > num_seqs (strict: num_queries == num_seqs,
 * too), a position behind the table, a negative block id that a row needs, numbers that an i32
 * tensor cannot hold. All rows are checked before any is written. */
typedef struct fattn_advance_step_flashattn_args {
    size_t size;
    const fattn_tensor *input_tokens;      /* in/out [num_seqs], speculative [num_seqs*k] */
    const fattn_tensor *sampled_token_ids; /* [num_queries,1], speculative [num_seqs,k] */
    const fattn_tensor *input_positions;   /* in/out */
    const fattn_tensor *seq_lens;          /* in/out */
    const fattn_tensor *slot_mapping;      /* in/out */
    const fattn_tensor *block_tables;      /* [num_seqs, M] */
    int64_t num_seqs, num_queries, block_size;
    const fattn_tensor *spec_token;   /* [num_seqs, k-1] */
    const fattn_tensor *accepted_num; /* [num_seqs] */
    int64_t core_count;               /* 40; strict only: vector cores of the device (12.3) */
} fattn_advance_step_flashattn_args;
FATTN_DECLARE_OPERATOR(advance_step_flashattn)

/* attention_update — merges partial results by their log-sum-exp (npu_attention_update; spec
 * inference 13). lse: fp32 (M), local_out: f32, f16 or bf16 (M, D), equally many, 1..32 (strict:
 * 16); out (M, D) of their dtype, lse_out fp32 (M). L = ln sum_i exp(lse_i), out = sum_i
 * local_out_i * exp(lse_i - L), lse_out = L lse +inf means "no keys", as unified inference writes
 * it, and has weight 0 like -inf: what stands in such a part is not looked at. Rows where every
 * part is empty: out 0, lse_out +inf (strict: NaN). */
typedef struct fattn_attention_update_args {
    size_t size;
    fattn_tensor_array lse, local_out;
    int64_t update_type; /* 0: out only, 1: lse_out too */
    /* outputs */
    const fattn_tensor *out, *lse_out;
} fattn_attention_update_args;
FATTN_DECLARE_OPERATOR(attention_update)

/* ring_attention_update — merges two partial training results by (max, sum)
 * (npu_ring_attention_update; spec fusion-attention 10). SBH: attn [S,B,H], stats [B,N,S,8], N from
 * the stats, channel h of head h / (H / N); TND: attn [T,N,D], stats [T,N,8]. attn f32, f16 or
 * bf16, stats fp32, 8 equal copies of which the first is read. m = max(pm, cm), a = ps * exp(pm -
 * m), c = cs * exp(cm - m), s = a + c attn_out = prev * (a / s) + cur * (c / s), softmax_max = m,
 * softmax_sum = s A side of sum 0 has no keys: the other one is the result; both: 0, the larger
 * max, 0. A row without a visible key (-FLT_MAX, +FLT_MAX) weighs nothing beside a valid one, and
 * is the result beside a side of sum 0; on both sides it is the result, with attn_out 0. */
typedef struct fattn_ring_attention_update_args {
    size_t size;
    const fattn_tensor *prev_attn_out, *prev_softmax_max, *prev_softmax_sum;
    const fattn_tensor *cur_attn_out, *cur_softmax_max, *cur_softmax_sum;
    const fattn_tensor
        *actual_seq_qlen;     /* i64 or i32; TND: required; ends, with or without a 0 in front */
    const char *input_layout; /* "SBH" or "TND" */
    const char *input_softmax_layout; /* "", "SBH" or "TND" */
    /* outputs: shapes and dtypes of the prev_ inputs */
    const fattn_tensor *attn_out, *softmax_max, *softmax_sum;
} fattn_ring_attention_update_args;
FATTN_DECLARE_OPERATOR(ring_attention_update)

#ifdef __cplusplus
}
#endif
#endif
