/* SPDX-License-Identifier: Apache-2.0 */
/* operators.c — the family as data: one table row per field of every args struct. Names, defaults
 * and "not yet" live here and nowhere else; args.c turns the rows into checks. */
#include "api/operator.h"
#include "base/mutant.h"

#include <string.h>

enum {
    REQUIRED = FATTN_FIELD_REQUIRED,
    IGNORED = FATTN_FIELD_IGNORED,
    HOST = FATTN_FIELD_HOST,
    HEADS = FATTN_FIELD_HEADS,
    BY_FLAG = FATTN_FIELD_BY_FLAG,
    PER_RUN = FATTN_FIELD_PER_RUN
};

/* A row: kind, field, flags, default, other spellings, help. ARGS names the struct being described.
 */
#define ROW(k, field, fl, ...)                                                                     \
    {                                                                                              \
        .name = #field, .kind = FATTN_FIELD_##k, .flags = (fl), .offset = offsetof(ARGS, field),   \
        __VA_ARGS__                                                                                \
    }
#define IN(field, flags, text) ROW(TENSOR_IN, field, flags, .help = text)
#define OUT(field, flags, text) ROW(TENSOR_OUT, field, flags, .help = text)
#define INOUT(field, flags, text) ROW(TENSOR_INOUT, field, flags, .help = text)
#define INT(field, flags, value, text) ROW(INT, field, flags, .default_int = (value), .help = text)
#define LIST(field, flags, text) ROW(INTS, field, flags, .help = text)

#define ARGS fattn_fusion_attention_args
static const fattn_field fusion_attention_fields[] = {
    IN(query, REQUIRED, "queries, laid out as input_layout says"),
    IN(key, REQUIRED, "keys"),
    IN(value, REQUIRED, "values"),
    INT(head_num, HEADS, 0, "number of query heads; 0 = from the layout's N axis"),
    ROW(STRING, input_layout, REQUIRED, .help = "BSH, SBH, BSND, BNSD, TND (BSNH = BSND)"),
    IN(pse, 0, "position bias in query's dtype (pse_type 0, 1) or fp32 slopes (2, 3)"),
    IN(padding_mask, IGNORED, "reserved by the family, never used"),
    IN(atten_mask, 0, "bool or u8, nonzero = masked"),
    IN(query_rope, 0, "rotary part of the queries"),
    IN(key_rope, 0, "rotary part of the keys"),
    ROW(FLOAT, scale, 0, .default_float = 1.0, .aliases = "scale_value",
        .help = "score multiplier"),
    ROW(FLOAT, keep_prob, 0, .default_float = 1.0,
        .help = "dropout keep rate, (0, 1]; 1 = no dropout"),
    ROW(INT, pre_tokens, 0, .default_int = INT32_MAX, .aliases = "pre_tockens",
        .help = "keys before the diagonal"),
    ROW(INT, next_tokens, 0, .default_int = INT32_MAX, .aliases = "next_tockens",
        .help = "keys after the diagonal"),
    INT(inner_precise, 0, 0, "0 and 1: the same; 2: handle fully masked rows (strict)"),
    LIST(prefix, 0, "visible prefix per batch, sparse modes 5 and 6"),
    LIST(actual_seq_qlen, 0, "cumulative query lengths, TND"),
    LIST(actual_seq_kvlen, 0, "cumulative key lengths, TND"),
    INT(sparse_mode, 0, 0, "0..8, see docs/masks.md"),
    ROW(BOOL, gen_mask_parallel, IGNORED, .default_int = 1, .help = "scheduling hint, no effect"),
    ROW(BOOL, sync, IGNORED, .help = "scheduling hint, no effect"),
    INT(pse_type, 0, 1, "0: scale then bias, 1: bias then scale, 2: slopes, 3: slopes of sqrt"),
    LIST(q_start_idx, 0, "first query position for pse_type 2, 3"),
    LIST(kv_start_idx, 0, "first key position for pse_type 2, 3"),
    ROW(STRING, softmax_layout, 0, .default_text = "",
        .help = "\"\" or TND: order of the statistics"),
    IN(sink, 0, "fp32 [N], one extra logit per query head"),
    IN(dropout_mask, 0, "u8, one bit per cell of the scores, 1 = keep; NULL = drawn"),
    INT(seed, PER_RUN, 0, "of the dropout mask; with offset 0, too: from the context's generator"),
    INT(offset, PER_RUN, 0, "of the dropout mask; with seed 0, too: from the context's generator"),
    OUT(attention_out, REQUIRED, "the result, query's layout"),
    OUT(softmax_max, 0, "fp32 row maxima, 8 copies each"),
    OUT(softmax_sum, 0, "fp32 row sums, 8 copies each"),
    ROW(INT_OUT, seed_out, 0, .help = "seed used"),
    ROW(INT_OUT, offset_out, 0, .help = "offset used"),
    ROW(INT_OUT, numels, 0, .help = "number of dropout mask bits"),
};
#undef ARGS

#define ARGS fattn_fusion_attention_grad_args
static const fattn_field fusion_attention_grad_fields[] = {
    IN(query, REQUIRED, "queries, laid out as input_layout says"),
    IN(key, REQUIRED, "keys"),
    IN(value, REQUIRED, "values"),
    IN(dy, REQUIRED, "gradient of attention_out, laid out like it"),
    INT(head_num, HEADS, 0, "number of query heads; 0 = from the layout's N axis"),
    ROW(STRING, input_layout, REQUIRED, .help = "BSH, SBH, BSND, BNSD, TND (BSNH = BSND)"),
    IN(pse, 0, "position bias in query's dtype (pse_type 0, 1) or fp32 slopes (2, 3)"),
    IN(padding_mask, IGNORED, "reserved by the family, never used"),
    IN(atten_mask, 0, "bool or u8, nonzero = masked"),
    IN(softmax_max, REQUIRED, "fp32 row maxima of the forward, 8 copies each"),
    IN(softmax_sum, REQUIRED, "fp32 row sums of the forward, 8 copies each"),
    IN(softmax_in, IGNORED, "reserved by the family, never used"),
    IN(attention_in, REQUIRED, "attention_out of the forward"),
    IN(query_rope, 0, "rotary part of the queries"),
    IN(key_rope, 0, "rotary part of the keys"),
    ROW(FLOAT, scale_value, 0, .default_float = 1.0, .aliases = "scale",
        .help = "score multiplier"),
    ROW(FLOAT, keep_prob, 0, .default_float = 1.0,
        .help = "dropout keep rate, (0, 1]; 1 = no dropout"),
    ROW(INT, pre_tokens, 0, .default_int = INT32_MAX, .aliases = "pre_tockens",
        .help = "keys before the diagonal"),
    ROW(INT, next_tokens, 0, .default_int = INT32_MAX, .aliases = "next_tockens",
        .help = "keys after the diagonal"),
    INT(inner_precise, 0, 0, "0 and 1: the same; 2: handle fully masked rows (strict)"),
    INT(seed, PER_RUN, 0, "of the dropout mask, as the forward returned it"),
    INT(offset, PER_RUN, 0, "of the dropout mask, as the forward returned it"),
    INT(numels, IGNORED, 0, "number of dropout mask bits; it follows from the shapes"),
    LIST(prefix, 0, "visible prefix per batch, sparse modes 5 and 6"),
    LIST(actual_seq_qlen, 0, "cumulative query lengths, TND"),
    LIST(actual_seq_kvlen, 0, "cumulative key lengths, TND"),
    INT(sparse_mode, 0, 0, "0..8, see docs/masks.md"),
    ROW(BOOL, gen_mask_parallel, IGNORED, .default_int = 1, .help = "scheduling hint, no effect"),
    ROW(BOOL, sync, IGNORED, .help = "scheduling hint, no effect"),
    INT(pse_type, 0, 1, "0: scale then bias, 1: bias then scale, 2: slopes, 3: slopes of sqrt"),
    LIST(q_start_idx, 0, "first query position for pse_type 2, 3"),
    LIST(kv_start_idx, 0, "first key position for pse_type 2, 3"),
    ROW(STRING, softmax_layout, 0, .default_text = "",
        .help = "\"\" or TND: order of the statistics"),
    IN(sink, 0, "fp32 [N], one extra logit per query head"),
    IN(dropout_mask, 0, "u8, the forward's packed mask; NULL = from seed and offset"),
    OUT(dq, REQUIRED, "gradient of query"),
    OUT(dk, 0, "gradient of key"),
    OUT(dv, 0, "gradient of value"),
    OUT(dpse, 0, "gradient of pse, of its shape and dtype"),
    OUT(dq_rope, 0, "gradient of query_rope"),
    OUT(dk_rope, 0, "gradient of key_rope"),
    OUT(dsink, 0, "gradient of sink"),
};
#undef ARGS

#define ARGS fattn_prompt_flash_attention_args
static const fattn_field prompt_flash_attention_fields[] = {
    IN(query, REQUIRED, "queries, laid out as input_layout says"),
    IN(key, REQUIRED, "keys"),
    IN(value, REQUIRED, "values"),
    IN(padding_mask, IGNORED, "reserved by the family, never used"),
    IN(atten_mask, 0, "bool, i8 or u8, nonzero = masked"),
    IN(pse_shift, 0, "position bias in query's dtype, added after the scale"),
    LIST(actual_seq_lengths, 0, "queries per batch; TND: cumulative"),
    IN(deq_scale1, 0, "full int8: scale of the scores"),
    IN(quant_scale1, 0, "full int8: scale of the probabilities"),
    IN(deq_scale2, 0, "full int8: scale of the result"),
    IN(quant_scale2, 0, "int8 output: scale"),
    IN(quant_offset2, 0, "int8 output: offset"),
    INT(num_heads, HEADS, 1, "number of query heads; 0 = from the layout's N axis"),
    ROW(FLOAT, scale_value, 0, .default_float = 1.0, .aliases = "scale",
        .help = "score multiplier"),
    ROW(INT, pre_tokens, 0, .default_int = INT32_MAX, .aliases = "pre_tockens",
        .help = "keys before the diagonal"),
    ROW(INT, next_tokens, 0, .default_int = 0, .aliases = "next_tockens",
        .help = "keys after the diagonal"),
    ROW(STRING, input_layout, 0, .default_text = "BSH",
        .help = "BSH, BSND, BNSD, TND, NSD, BNSD_BSND, SH"),
    INT(num_key_value_heads, HEADS, 0, "number of key/value heads; 0 = num_heads"),
    LIST(actual_seq_lengths_kv, 0, "keys per batch; TND: cumulative"),
    INT(sparse_mode, 0, 0, "0..4, see docs/masks.md; 10..14: the same with inner_precise 0"),
    OUT(attention_out, REQUIRED, "the result, query's layout"),
};
#undef ARGS

#define ARGS fattn_incre_flash_attention_args
static const fattn_field incre_flash_attention_fields[] = {
    IN(query, REQUIRED, "one query row per batch, laid out as input_layout says"),
    IN(key, REQUIRED, "keys, or the key cache"),
    IN(value, REQUIRED, "values, or the value cache"),
    IN(padding_mask, IGNORED, "reserved by the family, never used"),
    IN(atten_mask, 0, "bool, i8 or u8, nonzero = masked"),
    IN(pse_shift, 0, "position bias in query's dtype, added after the scale"),
    LIST(actual_seq_lengths, 0, "keys per batch"),
    IN(antiquant_scale, 0, "scales of quantised keys and values"),
    IN(antiquant_offset, 0, "offsets of quantised keys and values"),
    ROW(TENSOR_IN, block_table, 0, .aliases = "block_tables",
        .help = "i32 or i64 [B, M]: paged cache"),
    IN(dequant_scale1, 0, "full int8: scale of the scores"),
    IN(quant_scale1, 0, "full int8: scale of the probabilities"),
    IN(dequant_scale2, 0, "full int8: scale of the result"),
    IN(quant_scale2, 0, "int8 output: scale"),
    IN(quant_offset2, 0, "int8 output: offset"),
    IN(kv_padding_size, HOST, "i64, one number: rows behind the keys of a left-padded batch"),
    INT(num_heads, HEADS, 1, "number of query heads; 0 = from the layout's N axis"),
    ROW(FLOAT, scale_value, 0, .default_float = 1.0, .aliases = "scale",
        .help = "score multiplier"),
    ROW(STRING, input_layout, 0, .default_text = "BSH", .help = "BSH, BSND, BNSD"),
    INT(num_key_value_heads, HEADS, 0, "number of key/value heads; 0 = num_heads"),
    INT(block_size, 0, 0, "rows per block of the cache; ignored without block_table"),
    INT(inner_precise, 0, 1, "0 or 1: the same numbers"),
    OUT(attention_out, REQUIRED, "the result, query's layout"),
};
#undef ARGS

#define ARGS fattn_fused_infer_attention_score_args
static const fattn_field fused_infer_attention_score_fields[] = {
    IN(query, REQUIRED, "queries, laid out as input_layout says"),
    IN(key, 0, "keys, or the key cache; or give key_list"),
    IN(value, 0, "values, or the value cache; or give value_list"),
    ROW(TENSORS_IN, key_list, 0, .help = "keys, one tensor per batch entry"),
    ROW(TENSORS_IN, value_list, 0, .help = "values, one tensor per batch entry"),
    IN(pse_shift, 0, "position bias in query's dtype, added after the scale"),
    IN(atten_mask, 0, "bool, i8 or u8, nonzero = masked"),
    LIST(actual_seq_lengths, 0, "queries per batch; packed layouts: cumulative"),
    LIST(actual_seq_lengths_kv, 0, "keys per batch; packed without block_table: cumulative"),
    IN(dequant_scale1, 0, "full int8: scale of the scores"),
    IN(quant_scale1, 0, "full int8: scale of the probabilities"),
    IN(dequant_scale2, 0, "full int8: scale of the result"),
    IN(quant_scale2, 0, "int8 output: scale"),
    IN(quant_offset2, 0, "int8 output: offset"),
    IN(antiquant_scale, 0, "scales of quantised keys and values"),
    IN(antiquant_offset, 0, "offsets of quantised keys and values"),
    IN(key_antiquant_scale, 0, "scales of quantised keys"),
    IN(key_antiquant_offset, 0, "offsets of quantised keys"),
    IN(value_antiquant_scale, 0, "scales of quantised values"),
    IN(value_antiquant_offset, 0, "offsets of quantised values"),
    ROW(TENSOR_IN, block_table, 0, .aliases = "block_tables",
        .help = "i32 or i64 [B, M]: paged cache"),
    IN(query_padding_size, HOST, "i64, one number: rows behind the queries of a left-padded batch"),
    IN(kv_padding_size, HOST, "i64, one number: rows behind the keys of a left-padded batch"),
    IN(key_shared_prefix, 0, "keys before everybody's own"),
    IN(value_shared_prefix, 0, "values before everybody's own"),
    LIST(actual_shared_prefix_len, 0, "length of the shared prefix"),
    IN(query_rope, 0, "rotary part of the queries"),
    IN(key_rope, 0, "rotary part of the keys"),
    IN(key_rope_antiquant_scale, IGNORED, "reserved by the family, never used"),
    INT(num_heads, HEADS, 1, "number of query heads; 0 = from the layout's N axis"),
    ROW(FLOAT, scale, 0, .default_float = 1.0, .aliases = "scale_value softmax_scale",
        .help = "score multiplier"),
    ROW(INT, pre_tokens, 0, .default_int = INT32_MAX, .aliases = "pre_tockens",
        .help = "keys before the diagonal"),
    ROW(INT, next_tokens, 0, .default_int = INT32_MAX, .aliases = "next_tockens",
        .help = "keys after the diagonal"),
    ROW(STRING, input_layout, 0, .default_text = "BSH",
        .help = "BSH BSND BNSD TND NTD NSD; X_Y: output in Y (docs/calls.md)"),
    INT(num_key_value_heads, HEADS, 0, "number of key/value heads; 0 = num_heads"),
    INT(sparse_mode, 0, 0, "0..4, see docs/masks.md"),
    INT(inner_precise, 0, 0, "0..3; bit 1: rows masked by the mask's values give 0 (strict)"),
    INT(block_size, 0, 0, "rows per block of the cache; ignored without block_table"),
    INT(antiquant_mode, 0, 0, "granularity of antiquant_scale"),
    INT(key_antiquant_mode, 0, 0, "granularity of key_antiquant_scale"),
    INT(value_antiquant_mode, 0, 0, "granularity of value_antiquant_scale"),
    ROW(BOOL, softmax_lse_flag, 0, .help = "compute softmax_lse"),
    OUT(attention_out, REQUIRED, "the result, in the layout behind the _ of input_layout"),
    OUT(softmax_lse, BY_FLAG, "fp32 log-sum-exp, [B,N,Sq,1] or [T,N,1]; [1] when the flag is off"),
};
#undef ARGS

#define ARGS fattn_fused_infer_attention_score_v2_args
static const fattn_field fused_infer_attention_score_v2_fields[] = {
    IN(query, REQUIRED, "queries, laid out as input_layout says"),
    IN(key, 0, "keys, or the key cache; or give key_list"),
    IN(value, 0, "values, or the value cache; or give value_list"),
    ROW(TENSORS_IN, key_list, 0, .help = "keys, one tensor per batch entry"),
    ROW(TENSORS_IN, value_list, 0, .help = "values, one tensor per batch entry"),
    IN(query_rope, 0, "rotary part of the queries"),
    IN(key_rope, 0, "rotary part of the keys"),
    IN(pse_shift, 0, "position bias in query's dtype, added after the scale"),
    IN(atten_mask, 0, "bool, i8 or u8, nonzero = masked"),
    ROW(INTS, actual_seq_qlen, 0, .aliases = "actual_seq_lengths",
        .help = "queries per batch; packed layouts: cumulative"),
    ROW(INTS, actual_seq_kvlen, 0, .aliases = "actual_seq_lengths_kv",
        .help = "keys per batch; packed without block_table: cumulative"),
    ROW(TENSOR_IN, block_table, 0, .aliases = "block_tables",
        .help = "i32 or i64 [B, M]: paged cache"),
    IN(dequant_scale_query, 0, "scales of quantised queries"),
    IN(dequant_scale_key, 0, "scales of quantised keys"),
    IN(dequant_offset_key, 0, "offsets of quantised keys"),
    IN(dequant_scale_value, 0, "scales of quantised values"),
    IN(dequant_offset_value, 0, "offsets of quantised values"),
    IN(dequant_scale_key_rope, IGNORED, "reserved by the family, never used"),
    IN(quant_scale_out, 0, "int8 output: scale"),
    IN(quant_offset_out, 0, "int8 output: offset"),
    IN(quant_scale_p, IGNORED, "reserved by the family, never used"),
    IN(learnable_sink, 0, "bf16 (or f32) [N], a logit per query head without a value"),
    ROW(INT, num_query_heads, HEADS, .default_int = 1, .aliases = "num_heads",
        .help = "number of query heads; 0 = from the layout's N axis"),
    INT(num_key_value_heads, HEADS, 0, "number of key/value heads; 0 = num_query_heads"),
    ROW(FLOAT, softmax_scale, 0, .default_float = 1.0, .aliases = "scale scale_value",
        .help = "score multiplier"),
    ROW(INT, pre_tokens, 0, .default_int = INT32_MAX, .aliases = "pre_tockens",
        .help = "keys before the diagonal"),
    ROW(INT, next_tokens, 0, .default_int = INT32_MAX, .aliases = "next_tockens",
        .help = "keys after the diagonal"),
    ROW(STRING, input_layout, 0, .default_text = "BSH",
        .help = "BSH BSND BNSD TND NTD NSD; X_Y: output in Y (docs/calls.md)"),
    INT(sparse_mode, 0, 0, "0..4 and 9 (tree mask), see docs/masks.md"),
    INT(block_size, 0, 0, "rows per block of the cache; ignored without block_table"),
    INT(query_quant_mode, 0, 0, "granularity of dequant_scale_query"),
    INT(key_quant_mode, 0, 0, "granularity of dequant_scale_key"),
    INT(value_quant_mode, 0, 0, "granularity of dequant_scale_value"),
    INT(inner_precise, 0, 0, "0..3; bit 1: rows masked by the mask's values give 0 (strict)"),
    ROW(BOOL, return_softmax_lse, 0, .aliases = "softmax_lse_flag", .help = "compute softmax_lse"),
    INT(out_dtype, 0, -1, "type code of a quantised output; -1 = none"),
    OUT(attention_out, REQUIRED, "the result, in the layout behind the _ of input_layout"),
    OUT(softmax_lse, BY_FLAG, "fp32 log-sum-exp, [B,N,Sq,1] or [T,N,1]; [1] when the flag is off"),
};
#undef ARGS

#define ARGS fattn_advance_step_flashattn_args
static const fattn_field advance_step_flashattn_fields[] = {
    INOUT(input_tokens, REQUIRED, "i64 [num_seqs], speculative [num_seqs*k]"),
    IN(sampled_token_ids, REQUIRED, "i64 [num_queries,1], speculative [num_seqs,k]"),
    INOUT(input_positions, REQUIRED, "i64, like input_tokens"),
    INOUT(seq_lens, REQUIRED, "i64 or i32, like input_tokens"),
    INOUT(slot_mapping, REQUIRED, "i64 or i32, like input_tokens"),
    IN(block_tables, REQUIRED, "i64 or i32 [num_seqs, M]"),
    INT(num_seqs, REQUIRED, 0, "rows of the batch, padding included"),
    INT(num_queries, REQUIRED, 0, "rows that carry a request"),
    INT(block_size, REQUIRED, 0, "rows per block of the cache"),
    IN(spec_token, 0, "i64 [num_seqs, k-1]: draft tokens"),
    IN(accepted_num, 0, "i64 [num_seqs]: drafts accepted in the last step"),
    INT(core_count, 0, 40, "strict: vector cores of the device"),
};
#undef ARGS

#define ARGS fattn_attention_update_args
static const fattn_field attention_update_fields[] = {
    ROW(TENSORS_IN, lse, REQUIRED, .help = "fp32 (M) each, 1..32 of them"),
    ROW(TENSORS_IN, local_out, REQUIRED, .help = "(M, D) each, as many as lse"),
    INT(update_type, 0, 0, "0: out only, 1: lse_out too"),
    OUT(out, REQUIRED, "merged result (M, D)"),
    OUT(lse_out, 0, "merged log-sum-exp, fp32 (M); update_type 1"),
};
#undef ARGS

#define ARGS fattn_ring_attention_update_args
static const fattn_field ring_attention_update_fields[] = {
    IN(prev_attn_out, REQUIRED, "[S,B,H] or [T,N,D]"),
    IN(prev_softmax_max, REQUIRED, "fp32 [B,N,S,8] or [T,N,8]"),
    IN(prev_softmax_sum, REQUIRED, "like prev_softmax_max"),
    IN(cur_attn_out, REQUIRED, "like prev_attn_out"),
    IN(cur_softmax_max, REQUIRED, "like prev_softmax_max"),
    IN(cur_softmax_sum, REQUIRED, "like prev_softmax_max"),
    IN(actual_seq_qlen, 0, "i64 or i32 boundaries; TND: required"),
    ROW(STRING, input_layout, 0, .default_text = "SBH", .help = "SBH or TND"),
    ROW(STRING, input_softmax_layout, 0, .default_text = "", .help = "\"\", SBH or TND"),
    OUT(attn_out, REQUIRED, "like prev_attn_out"),
    OUT(softmax_max, 0, "like prev_softmax_max"),
    OUT(softmax_sum, 0, "like prev_softmax_max"),
};
#undef ARGS

#define ARGS fattn_dropout_gen_mask_args
static const fattn_field dropout_gen_mask_fields[] = {
    LIST(sizes, 0, "extents of what is masked; their product is the number of cells"),
    ROW(FLOAT, p, 0, .default_float = 0.5, .help = "probability that a cell is dropped, [0, 1]"),
    INT(seed, 0, 0, "of the random stream"),
    INT(offset, 0, 0, "of the random stream"),
    ROW(BOOL, draw, 0, .help = "seed and offset from the context's generator"),
    ROW(STRING, dtype, 0, .default_text = "f32",
        .help = "f32, f16 or bf16: how many random bits count"),
    ROW(BOOL, parallel, IGNORED, .default_int = 1, .help = "scheduling hint, no effect"),
    OUT(mask, REQUIRED, "u8, one bit per cell, 1 = keep"),
    ROW(INT_OUT, seed_out, 0, .help = "seed used"),
    ROW(INT_OUT, offset_out, 0, .help = "offset used"),
};
#undef ARGS

/* The typed public functions behind untyped pointers: five two-line wrappers per operator. */
#define OPERATOR(op)                                                                               \
    static void init_##op(void *args) { fattn_##op##_args_init(args); }                            \
    static fattn_status call_##op(fattn_context *c, const void *args)                              \
    {                                                                                              \
        return fattn_##op(c, args);                                                                \
    }                                                                                              \
    static fattn_status shapes_##op(fattn_context *c, const void *args, fattn_tensor *out)         \
    {                                                                                              \
        return fattn_##op##_shapes(c, args, out);                                                  \
    }                                                                                              \
    static fattn_status workspace_##op(fattn_context *c, const void *args, size_t *bytes)          \
    {                                                                                              \
        return fattn_##op##_workspace(c, args, bytes);                                             \
    }                                                                                              \
    static fattn_status plan_##op(fattn_context *c, const void *args, fattn_plan **plan)           \
    {                                                                                              \
        return fattn_##op##_plan(c, args, plan);                                                   \
    }

OPERATOR(fusion_attention)
OPERATOR(fusion_attention_grad)
OPERATOR(prompt_flash_attention)
OPERATOR(incre_flash_attention)
OPERATOR(fused_infer_attention_score)
OPERATOR(fused_infer_attention_score_v2)
OPERATOR(advance_step_flashattn)
OPERATOR(attention_update)
OPERATOR(ring_attention_update)
OPERATOR(dropout_gen_mask)

#define ENTRY(op, outputs, text)                                                                   \
    {                                                                                              \
        .name = #op, .help = text, .fields = op##_fields,                                          \
        .n_fields = (int)(sizeof op##_fields / sizeof op##_fields[0]), .n_outputs = outputs,       \
        .args_size = sizeof(fattn_##op##_args), .args_init = init_##op, .call = call_##op,         \
        .shapes = shapes_##op, .workspace = workspace_##op, .plan = plan_##op,                     \
    }

const fattn_operator operator_table[OPERATOR_COUNT] = {
    [OP_FUSION_ATTENTION] = ENTRY(fusion_attention, 3, "training attention, forward"),
    [OP_FUSION_ATTENTION_GRAD] =
        ENTRY(fusion_attention_grad, 7, "training attention, backward"),
    [OP_PROMPT] = ENTRY(prompt_flash_attention, 1, "prefill attention"),
    [OP_INCRE] = ENTRY(incre_flash_attention, 1, "decode attention, one query row per batch"),
    [OP_FUSED_INFER] = ENTRY(fused_infer_attention_score, 2, "unified inference attention"),
    [OP_FUSED_INFER_V2] =
        ENTRY(fused_infer_attention_score_v2, 2, "unified inference attention: sink, tree mask"),
    [OP_ADVANCE_STEP] =
        ENTRY(advance_step_flashattn, 0, "the integers of one decode step, in place"),
    [OP_ATTENTION_UPDATE] = ENTRY(attention_update, 2, "merge of partial results by log-sum-exp"),
    [OP_RING_UPDATE] = ENTRY(ring_attention_update, 3, "merge of two partial training results"),
    [OP_GEN_MASK] = ENTRY(dropout_gen_mask, 1, "the packed keep mask of dropout by itself"),
};

const fattn_operator *fattn_operators(int *count)
{
    if (count) *count = OPERATOR_COUNT;
    return operator_table;
}

const fattn_operator *fattn_operator_find(const char *name)
{
    if (!name) return NULL;
    if (strncmp(name, "npu_", 4) == 0) name += 4;
    for (int i = 0; i < OPERATOR_COUNT; i++)
        if (strcmp(operator_table[i].name, name) == 0) return &operator_table[i];
    return NULL;
}

/* true when `word` is one of the space-separated words of `list`. */
static bool has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = list; at && *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (MUTANT(93, strcspn(at, " ") == length, true) && strncmp(at, word, length) == 0)
            return length > 0;
    return false;
}

const fattn_field *fattn_field_find(const fattn_operator *op, const char *name)
{
    if (!op || !name) return NULL;
    for (int i = 0; i < op->n_fields; i++)
        if (strcmp(op->fields[i].name, name) == 0) return &op->fields[i];
    for (int i = 0; i < op->n_fields; i++)
        if (has_word(op->fields[i].aliases, name)) return &op->fields[i];
    return NULL;
}

const fattn_translator *operator_translator(const fattn_operator *op)
{
    static const fattn_translator *const translators[OPERATOR_COUNT] = {
        [OP_FUSION_ATTENTION] = &translator_fusion_attention,
        [OP_FUSION_ATTENTION_GRAD] = &translator_fusion_attention_grad,
        [OP_PROMPT] = &translator_prompt_flash_attention,
        [OP_INCRE] = &translator_incre_flash_attention,
        [OP_FUSED_INFER] = &translator_fused_infer_attention_score,
        [OP_FUSED_INFER_V2] = &translator_fused_infer_attention_score_v2,
    };
    for (int i = 0; i < OPERATOR_COUNT; i++)
        if (op == &operator_table[i]) return translators[i];
    return NULL;
}
