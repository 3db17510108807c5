/* SPDX-License-Identifier: Apache-2.0 */
/* attention.h — the operators of the family. One args struct and five functions per operator <op>:
 *
 *   void          fattn_<op>_args_init(args)                    compulsory; sets size and the defaults
 *   fattn_status  fattn_<op>(ctx, args)                         the call
 *   fattn_status  fattn_<op>_shapes(ctx, args, outputs)         dtype, rank, shape, contiguous strides of
 *                                                               every output, data NULL, in field order
 *   fattn_status  fattn_<op>_workspace(ctx, args, &bytes)       what fattn_plan_run() needs
 *   fattn_status  fattn_<op>_plan(ctx, args, &plan)             see plan.h
 *
 * Letters: B batch, S sequence (Sq queries, Skv keys), N query heads, Nkv key/value heads, G = N / Nkv,
 * D head dim of query and key, Dv head dim of value and output, H = heads * head dim, T tokens of all
 * sequences. Tensors are pointers to structs that the caller owns; NULL = absent. An output may be NULL
 * when it is not wanted, unless it is the first. Every tensor may have any strides where nothing else is
 * said. In the inference operators an optional tensor without elements is absent, too, unless it is a
 * quantisation parameter.
 *
 * Errors: E_SHAPE, E_DTYPE, E_ARG as the sentence says; E_UNSUPPORTED for a parameter whose meaning this
 * version does not compute; E_NOMEM. No output is touched on error. NaN or Inf in masked or out-of-range
 * keys never reaches a result. */
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
    FATTN_API fattn_status fattn_##op##_shapes(fattn_context *context,                             \
                                               const fattn_##op##_args *args,                      \
                                               fattn_tensor *outputs);                             \
    FATTN_API fattn_status fattn_##op##_workspace(fattn_context *context,                          \
                                                  const fattn_##op##_args *args, size_t *bytes);   \
    FATTN_API fattn_status fattn_##op##_plan(fattn_context *context,                               \
                                             const fattn_##op##_args *args, fattn_plan **plan);

/* fusion_attention — the training operator, forward (npu_fusion_attention v1, v2, v3 in one entry under
 * v2's names; spec fusion-attention 1, 2).
 *
 * input_layout: query          key            value           attention_out
 *   BSH         [B,Sq,N*D]     [B,Skv,Nkv*D]  [B,Skv,Nkv*Dv]  [B,Sq,N*Dv]
 *   SBH         [Sq,B,N*D]     [Skv,B,Nkv*D]  [Skv,B,Nkv*Dv]  [Sq,B,N*Dv]
 *   BSND        [B,Sq,N,D]     [B,Skv,Nkv,D]  [B,Skv,Nkv,Dv]  [B,Sq,N,Dv]     (BSNH is an alias)
 *   BNSD        [B,N,Sq,D]     [B,Nkv,Skv,D]  [B,Nkv,Skv,Dv]  [B,N,Sq,Dv]
 *   TND         [Tq,N,D]       [Tkv,Nkv,D]    [Tkv,Nkv,Dv]    [Tq,N,Dv]
 * softmax_max, softmax_sum: fp32 [B,N,Sq,8] for dense layouts, [Tq,N,8] for TND, each value 8 times.
 * Both need the same strides; with TND and softmax_layout "" (their memory then holds [N,Lq,8] sequence
 * by sequence) they must be contiguous. */
typedef struct fattn_fusion_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value; /* f32, f16, bf16 (f64 on the reference), one dtype */
    int64_t head_num;                        /* N; 0 = from the layout's N axis */
    const char *input_layout;
    const fattn_tensor *pse;          /* bias, query's dtype (pse_type 0, 1), or fp32 slopes (2, 3) */
    const fattn_tensor *padding_mask; /* documented "ignored" */
    const fattn_tensor *atten_mask;   /* bool or u8, nonzero = masked */
    const fattn_tensor *query_rope, *key_rope; /* [.., Dr] in query's / key's layout */
    double scale;                              /* 1.0 */
    double keep_prob;                          /* 1.0; in (0,1): UNSUPPORTED in this version */
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
    const fattn_tensor *dropout_mask;                  /* u8; UNSUPPORTED in this version */
    int64_t seed, offset;                              /* 0 */
    /* outputs */
    const fattn_tensor *attention_out, *softmax_max, *softmax_sum;
    int64_t *seed_out, *offset_out, *numels; /* may be NULL */
} fattn_fusion_attention_args;
FATTN_DECLARE_OPERATOR(fusion_attention)

/* prompt_flash_attention — prefill (npu_prompt_flash_attention; spec inference 6).
 * Layouts BSH, BSND, BNSD, TND. attention_out has query's layout with Dv in place of D. */
typedef struct fattn_prompt_flash_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *padding_mask; /* documented "ignored" */
    const fattn_tensor *atten_mask;   /* bool, i8 or u8, nonzero = masked */
    const fattn_tensor *pse_shift;    /* [1|B, 1|N, >=Sq, >=Skv], query's dtype; added after the scale */
    fattn_int_array actual_seq_lengths; /* queries per batch; TND: cumulative */
    const fattn_tensor *deq_scale1, *quant_scale1, *deq_scale2;   /* UNSUPPORTED in this version */
    const fattn_tensor *quant_scale2, *quant_offset2;             /* UNSUPPORTED in this version */
    int64_t num_heads;                                            /* 1; 0 = from the layout */
    double scale_value;                                           /* 1.0 */
    int64_t pre_tokens;                                           /* 2147483647 */
    int64_t next_tokens;                                          /* 0 */
    const char *input_layout;                                     /* "BSH" */
    int64_t num_key_value_heads;                                  /* 0 = num_heads */
    fattn_int_array actual_seq_lengths_kv;
    int64_t sparse_mode; /* 0..4; 10..14: 0..4 with inner_precise 0 (strict: fp16 scores unrounded) */
    /* output */
    const fattn_tensor *attention_out;
} fattn_prompt_flash_attention_args;
FATTN_DECLARE_OPERATOR(prompt_flash_attention)

/* incre_flash_attention — decode, one query row per batch (npu_incre_flash_attention; spec inference 7).
 * Layouts BSH, BSND, BNSD. With block_table, key and value are caches [blocks, block_size, Nkv*D] or
 * [blocks, Nkv, block_size, D]. attention_out has query's layout. */
typedef struct fattn_incre_flash_attention_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *padding_mask; /* documented "ignored" */
    const fattn_tensor *atten_mask;   /* [1|B, .., >= longest valid length], nonzero = masked */
    const fattn_tensor *pse_shift;    /* [1|B, 1|N, 1, >=S] */
    fattn_int_array actual_seq_lengths; /* keys per batch */
    const fattn_tensor *antiquant_scale, *antiquant_offset;           /* UNSUPPORTED in this version */
    const fattn_tensor *block_table;                                  /* i32 or i64 [B, M] */
    const fattn_tensor *dequant_scale1, *quant_scale1, *dequant_scale2; /* UNSUPPORTED */
    const fattn_tensor *quant_scale2, *quant_offset2;                   /* UNSUPPORTED */
    const fattn_tensor *kv_padding_size;                                /* UNSUPPORTED */
    int64_t num_heads;                                                  /* 1; 0 = from the layout */
    double scale_value;                                                 /* 1.0 */
    const char *input_layout;                                           /* "BSH" */
    int64_t num_key_value_heads;                                        /* 0 = num_heads */
    int64_t block_size;                                                 /* 0 */
    int64_t inner_precise;                                              /* 1 */
    /* output */
    const fattn_tensor *attention_out;
} fattn_incre_flash_attention_args;
FATTN_DECLARE_OPERATOR(incre_flash_attention)

/* fused_infer_attention_score — unified inference, v1 (npu_fused_infer_attention_score; spec
 * inference 8, 10). Layouts BSH, BSND, BNSD, TND. softmax_lse: fp32 [B,N,Sq,1], TND [T,N,1]; [1] = 0 when
 * softmax_lse_flag is false. */
typedef struct fattn_fused_infer_attention_score_args {
    size_t size;
    const fattn_tensor *query, *key, *value;
    const fattn_tensor *pse_shift, *atten_mask;
    fattn_int_array actual_seq_lengths, actual_seq_lengths_kv;
    const fattn_tensor *dequant_scale1, *quant_scale1, *dequant_scale2; /* UNSUPPORTED */
    const fattn_tensor *quant_scale2, *quant_offset2;                   /* UNSUPPORTED */
    const fattn_tensor *antiquant_scale, *antiquant_offset;             /* UNSUPPORTED */
    const fattn_tensor *key_antiquant_scale, *key_antiquant_offset;     /* UNSUPPORTED */
    const fattn_tensor *value_antiquant_scale, *value_antiquant_offset; /* UNSUPPORTED */
    const fattn_tensor *block_table;                                    /* i32 or i64 [B, M] */
    const fattn_tensor *query_padding_size, *kv_padding_size;           /* UNSUPPORTED */
    const fattn_tensor *key_shared_prefix, *value_shared_prefix;        /* UNSUPPORTED */
    fattn_int_array actual_shared_prefix_len;                           /* UNSUPPORTED */
    const fattn_tensor *query_rope, *key_rope;                          /* UNSUPPORTED */
    const fattn_tensor *key_rope_antiquant_scale; /* documented "ignored" (reserved) */
    int64_t num_heads;                            /* 1; 0 = from the layout */
    double scale;                                 /* 1.0 */
    int64_t pre_tokens, next_tokens;              /* 2147483647 */
    const char *input_layout;                     /* "BSH" */
    int64_t num_key_value_heads;                  /* 0 = num_heads */
    int64_t sparse_mode;                          /* 0..4 */
    int64_t inner_precise;                        /* 0 */
    int64_t block_size;                           /* 0 */
    int64_t antiquant_mode, key_antiquant_mode, value_antiquant_mode; /* 0; else UNSUPPORTED */
    bool softmax_lse_flag;                                            /* false */
    /* outputs */
    const fattn_tensor *attention_out, *softmax_lse;
} fattn_fused_infer_attention_score_args;
FATTN_DECLARE_OPERATOR(fused_infer_attention_score)

/* advance_step_flashattn — the integers of one vLLM decode step, in place
 * (npu_advance_step_flashattn; spec inference 12). All tensors i64; seq_lens, slot_mapping and
 * block_tables also i32. spec_token and accepted_num together select the speculative variant. */
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
 * inference 13). lse: fp32 (M), local_out: f32, f16 or bf16 (M, D), equally many, 1..32. */
typedef struct fattn_attention_update_args {
    size_t size;
    fattn_tensor_array lse, local_out;
    int64_t update_type; /* 0: out only, 1: lse_out too */
    /* outputs */
    const fattn_tensor *out, *lse_out;
} fattn_attention_update_args;
FATTN_DECLARE_OPERATOR(attention_update)

/* ring_attention_update — merges two partial training results by (max, sum)
 * (npu_ring_attention_update; spec fusion-attention 10). SBH: attn [S,B,H], stats [B,N,S,8];
 * TND: attn [T,N,D], stats [T,N,8]. */
typedef struct fattn_ring_attention_update_args {
    size_t size;
    const fattn_tensor *prev_attn_out, *prev_softmax_max, *prev_softmax_sum;
    const fattn_tensor *cur_attn_out, *cur_softmax_max, *cur_softmax_sum;
    const fattn_tensor *actual_seq_qlen; /* i64 or i32 boundaries; TND: required */
    const char *input_layout;            /* "SBH" or "TND" */
    const char *input_softmax_layout;    /* "", "SBH" or "TND" */
    /* outputs: shapes and dtypes of the prev_ inputs */
    const fattn_tensor *attn_out, *softmax_max, *softmax_sum;
} fattn_ring_attention_update_args;
FATTN_DECLARE_OPERATOR(ring_attention_update)

#ifdef __cplusplus
}
#endif
#endif
