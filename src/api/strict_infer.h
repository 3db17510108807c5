/* SPDX-License-Identifier: Apache-2.0 */
/* strict_infer.h — the checks behind the rows of strict_infer.c. Each gets an infer_call and
 * answers with the sentence of the rule it found broken. */
#ifndef FATTN_API_STRICT_INFER_H
#define FATTN_API_STRICT_INFER_H

#include "api/infer.h"
#include "api/strict.h"
#include "base/ints.h"

typedef fattn_status strict_check_fn(const void *call);

/* The device's prefill kernels run. */
static inline bool strict_prefill(const infer_call *call)
{
    return !call->decode && !call->mla && call->args->route != ROUTE_DECODE;
}

/* strict_infer_sizes.c: arguments as given, heads, head dims, batches, lengths, caches. */
strict_check_fn infer_num_heads, infer_bsh_rank4, infer_bnsd_as_bsnd, infer_prefix_rope,
    infer_cache_bnbsnd;
strict_check_fn infer_group_limit, infer_heads_limit, infer_head_dim_limit,
    infer_head_dim_alignment, infer_value_head_dim, infer_packed_head_dims, infer_fp32,
    infer_batch_limit, infer_int32_keys, infer_packed_count, infer_packed_tokens,
    infer_prefill_rows, infer_prefill_columns, infer_decode_keys, infer_packed_mode3,
    infer_mla_q_lengths, infer_one_row_layout, infer_mla_layouts;
strict_check_fn infer_block_size_given, infer_block_size_prefill, infer_block_size_packed,
    infer_block_size_decode, infer_block_size_mla, infer_cache_rank4, infer_cache_nz,
    infer_cache_columns, infer_cache_blocks, infer_table_dtype, infer_padding_dtype,
    infer_list_batch;

/* strict_infer_rules.c: masks, tokens, and what does not go together. */
strict_check_fn infer_mask_missing, infer_mask_decode, infer_mask_paged, infer_packed_mode2,
    infer_tree_mla, infer_tree_batch, infer_pse_heads, infer_pse_paged, infer_pse_list,
    infer_tokens_0, infer_tokens_4;
strict_check_fn infer_prefix_paged, infer_prefix_packed, infer_prefix_list, infer_padding_rope,
    infer_pse_rope, infer_pse_sink, infer_sink_layout, infer_sink_head_dim, infer_sink_dtype,
    infer_lse_mla, infer_precise_decode, infer_precise_bits;
strict_check_fn infer_rope_dim, infer_mla_kv_heads, infer_mla_heads, infer_mla_value,
    infer_mla_rows, infer_mla_paged, infer_mla_lengths, infer_mla_mode, infer_mla_band,
    infer_rope_prefill_layout, infer_rope_prefill_dims, infer_rope_prefill_dtype;

/* strict_infer_quant.c: quantised calls. */
strict_check_fn infer_guide_form, infer_quant_formats, infer_full_decode, infer_full_features,
    infer_full_columns, infer_out_features, infer_out_channels, infer_out_dtype_rule,
    infer_antiquant_dtype, infer_antiquant_pair, infer_antiquant_prefill, infer_antiquant_packed,
    infer_antiquant_reach, infer_antiquant_features, infer_i4, infer_nz_i8, infer_mla_quant;

#endif
