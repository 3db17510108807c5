/* SPDX-License-Identifier: Apache-2.0 */
/* lines.c — every layout, mode, mask form, bias, rope, sink, paging and variant once. */
#include "garbage/lines.h"

#include <string.h>

static const char *const lines[] = {
    /* fusion_attention */
    "fusion_attention input_layout=BNSD query=f32[2,4,3,8] key=f32[2,2,5,8] value=f32[2,2,5,6]",
    "fusion_attention input_layout=BSH head_num=4 query=f16[2,3,32] key=f16[2,5,16] "
    "value=f16[2,5,16]"
    " atten_mask=u8[3,5] sparse_mode=1",
    "fusion_attention input_layout=SBH head_num=2 query=bf16[3,2,16] key=bf16[6,2,16] "
    "value=bf16[6,2,16]"
    " atten_mask=bool[2,1,3,6] pre_tokens=2 next_tokens=1",
    "fusion_attention input_layout=BSND query=f32[1,4,2,16] key=f32[1,6,1,16] value=f32[1,6,1,16]"
    " pse=f32[1,2,4,6] pse_type=0 sparse_mode=4 pre_tokens=2 next_tokens=2 sink=f32[2]",
    "fusion_attention input_layout=BNSD query=f16[2,2,4,8] key=f16[2,2,4,8] value=f16[2,2,4,8]"
    " pse=f32[2] pse_type=2 q_start_idx=3 kv_start_idx=1 sparse_mode=3",
    "fusion_attention input_layout=TND query=f16[7,4,8] key=f16[9,2,8] value=f16[9,2,8]"
    " actual_seq_qlen=2,2,7 actual_seq_kvlen=4,5,9 sparse_mode=3 softmax_layout=TND",
    "fusion_attention input_layout=TND query=f32[7,2,8] key=f32[7,2,8] value=f32[7,2,8]"
    " actual_seq_qlen=3,7 actual_seq_kvlen=3,7 sparse_mode=8 pre_tokens=1 next_tokens=0",
    "fusion_attention input_layout=BNSD query=f32[2,2,4,8] key=f32[2,2,6,8] value=f32[2,2,6,8]"
    " sparse_mode=6 prefix=2,3",
    "fusion_attention input_layout=BNSD query=f32[2,2,4,8] key=f32[2,2,6,8] value=f32[2,2,6,8]"
    " sparse_mode=5 prefix=2,6 atten_mask=u8[2,1,4,6]",
    "fusion_attention input_layout=TND query=f32[5,2,8] key=f32[6,2,8] value=f32[6,2,8]"
    " query_rope=f32[5,2,4] key_rope=f32[6,2,4] actual_seq_qlen=2,5 actual_seq_kvlen=2,6",
    "fusion_attention input_layout=BNSD query=f64[1,2,3,4] key=f64[1,2,3,4] value=f64[1,2,3,4]",
    "fusion_attention input_layout=BNSD query=f32[1,1,2,8] key=f32[1,1,1300,8] "
    "value=f32[1,1,1300,8]",
    /* fusion_attention_grad */
    "fusion_attention_grad input_layout=BNSD query=f32[2,4,3,8] key=f32[2,2,5,8] "
    "value=f32[2,2,5,6] keep_prob=0.75 .seed=3",
    "fusion_attention_grad input_layout=BSND query=f32[1,4,2,16] key=f32[1,6,1,16] "
    "value=f32[1,6,1,16] pse=f32[1,2,4,6] pse_type=0 sparse_mode=4 pre_tokens=2 next_tokens=2 "
    "sink=f32[2]",
    "fusion_attention_grad input_layout=BNSD query=f16[2,2,4,8] key=f16[2,2,4,8] "
    "value=f16[2,2,4,8] pse=f32[2] pse_type=2 q_start_idx=3 kv_start_idx=1 sparse_mode=3",
    "fusion_attention_grad input_layout=TND query=bf16[7,4,8] key=bf16[9,2,8] value=bf16[9,2,8]"
    " actual_seq_qlen=2,2,6 actual_seq_kvlen=4,5,8 sparse_mode=3 softmax_layout=TND",
    "fusion_attention_grad input_layout=TND query=f32[5,2,8] key=f32[6,2,8] value=f32[6,2,8]"
    " query_rope=f32[5,2,4] key_rope=f32[6,2,4] actual_seq_qlen=2,5 actual_seq_kvlen=2,6",
    "fusion_attention_grad input_layout=BNSD query=f64[1,2,3,4] key=f64[1,2,3,4] "
    "value=f64[1,2,3,4] pse=f64[1,2,1,3]",
    /* dropout_gen_mask */
    "dropout_gen_mask sizes=3,50 p=0.3 .seed=5",
    "dropout_gen_mask sizes=7 p=0.5 dtype=bf16",
    /* prompt_flash_attention */
    "prompt_flash_attention input_layout=BNSD num_heads=4 num_key_value_heads=2 query=f16[2,4,5,8]"
    " key=f16[2,2,6,8] value=f16[2,2,6,8] actual_seq_lengths=3,5 actual_seq_lengths_kv=6,4",
    "prompt_flash_attention input_layout=BSH num_heads=2 query=f32[2,4,16] key=f32[2,4,16]"
    " value=f32[2,4,16] atten_mask=bool[4,4] sparse_mode=1",
    "prompt_flash_attention input_layout=BSND num_heads=2 query=bf16[1,4,2,8] key=bf16[1,7,2,8]"
    " value=bf16[1,7,2,4] sparse_mode=3 pse_shift=bf16[1,2,4,7]",
    "prompt_flash_attention input_layout=TND num_heads=2 query=f16[6,2,8] key=f16[8,2,8]"
    " value=f16[8,2,8] actual_seq_lengths=2,6 actual_seq_lengths_kv=3,8",
    "prompt_flash_attention input_layout=BNSD num_heads=2 query=f32[2,2,5,8] key=f32[2,2,6,8]"
    " value=f32[2,2,6,8] atten_mask=i8[2,1,5,6] pre_tokens=3 next_tokens=2",
    /* incre_flash_attention */
    "incre_flash_attention input_layout=BSH num_heads=4 num_key_value_heads=2 query=f16[2,1,32]"
    " key=f16[2,9,16] value=f16[2,9,16] actual_seq_lengths=9,4",
    "incre_flash_attention input_layout=BNSD num_heads=4 num_key_value_heads=1 query=f32[2,4,1,8]"
    " key=f32[2,1,9,8] value=f32[2,1,9,8] atten_mask=bool[2,1,1,9] pse_shift=f32[1,4,1,9]",
    "incre_flash_attention input_layout=BSND num_heads=2 num_key_value_heads=2 query=bf16[3,1,2,8]"
    " key=bf16[8,4,16] value=bf16[8,4,16] block_table=i32[3,3] block_size=4 "
    "actual_seq_lengths=9,0,5",
    "incre_flash_attention input_layout=BNSD num_heads=2 num_key_value_heads=2 query=f32[2,2,1,8]"
    " key=f32[6,2,4,8] value=f32[6,2,4,8] block_table=i64[2,3] block_size=4 actual_seq_lengths=9,5",
    "incre_flash_attention input_layout=BSND num_heads=2 query=f16[1,1,2,8] key=f16[1,1200,2,8]"
    " value=f16[1,1200,2,8]",
    /* fused_infer_attention_score */
    "fused_infer_attention_score input_layout=BNSD num_heads=4 num_key_value_heads=2 "
    "query=f16[2,4,5,8]"
    " key=f16[2,2,6,8] value=f16[2,2,6,8] actual_seq_lengths=3,5 actual_seq_lengths_kv=6,4"
    " softmax_lse_flag=true sparse_mode=2",
    "fused_infer_attention_score input_layout=BSND num_heads=2 query=f32[2,1,2,8] key=f32[2,9,2,8]"
    " value=f32[2,9,2,8] softmax_lse_flag=true actual_seq_lengths_kv=9",
    "fused_infer_attention_score input_layout=TND num_heads=2 query=bf16[6,2,8] key=bf16[8,2,8]"
    " value=bf16[8,2,8] actual_seq_lengths=2,6 actual_seq_lengths_kv=3,8 sparse_mode=3"
    " softmax_lse_flag=true",
    "fused_infer_attention_score input_layout=TND num_heads=2 query=f32[6,2,8] key=f32[6,4,16]"
    " value=f32[6,4,16] actual_seq_lengths=2,6 actual_seq_lengths_kv=5,8 block_table=i32[2,3]"
    " block_size=4 sparse_mode=3",
    "fused_infer_attention_score input_layout=BNSD num_heads=4 num_key_value_heads=2"
    " query=f16[2,4,3,8] key=f16[7,2,4,8] value=f16[7,2,4,8] actual_seq_lengths_kv=6,9"
    " block_table=i64[2,3] block_size=4 softmax_lse_flag=true sparse_mode=4 pre_tokens=4 "
    "next_tokens=1",
    "fused_infer_attention_score input_layout=BSH num_heads=2 query=f32[2,4,16] key=f32[2,6,16]"
    " value=f32[2,6,16] atten_mask=u8[1,4,6] pse_shift=f32[2,2,4,6]",
    "fused_infer_attention_score input_layout=BNSD_BSND num_heads=2 query=f32[2,2,4,8] "
    "key=f32[2,2,9,8]"
    " value=f32[2,2,9,8] query_padding_size=i64[1]{1} kv_padding_size=i64[1]{2} "
    "actual_seq_lengths=2,3"
    " actual_seq_lengths_kv=4,7 sparse_mode=3 softmax_lse_flag=true",
    "fused_infer_attention_score input_layout=BSND num_heads=2 query=f16[2,3,2,8]"
    " key_list=f16[1,4,2,8],f16[1,7,2,8] value_list=f16[1,4,2,8],f16[1,7,2,8] sparse_mode=3",
    "fused_infer_attention_score input_layout=BNSD num_heads=2 query=bf16[2,2,3,8] "
    "key=bf16[2,2,4,8]"
    " value=bf16[2,2,4,8] key_shared_prefix=bf16[1,2,5,8] value_shared_prefix=bf16[1,2,5,8]"
    " actual_shared_prefix_len=3 sparse_mode=3 softmax_lse_flag=true",
    /* fused_infer_attention_score_v2 */
    "fused_infer_attention_score_v2 input_layout=BSND_NBSD num_query_heads=4 num_key_value_heads=1"
    " query=f16[2,2,4,32] query_rope=f16[2,2,4,16] key=f16[7,1,2,4,16] value=f16[7,1,2,4,16]"
    " key_rope=f16[7,1,1,4,16] actual_seq_kvlen=6,9 block_table=i32[2,3] block_size=4 "
    "sparse_mode=3",
    "fused_infer_attention_score_v2 input_layout=TND_NTD num_query_heads=4 num_key_value_heads=2"
    " query=bf16[6,4,8] key=bf16[7,4,16] value=bf16[7,4,16] actual_seq_qlen=2,6 "
    "actual_seq_kvlen=6,9"
    " block_table=i64[2,3] block_size=4 learnable_sink=bf16[4] sparse_mode=3 "
    "return_softmax_lse=true",
    "fused_infer_attention_score_v2 input_layout=TND num_query_heads=2 query=f32[5,2,8] "
    "key=f32[12,2,8]"
    " value=f32[12,2,8] actual_seq_qlen=2,5 actual_seq_kvlen=5,12 atten_mask=bool[13] "
    "sparse_mode=9",
    /* advance_step_flashattn */
    "advance_step_flashattn num_seqs=5 num_queries=3 block_size=4 input_tokens=i64[5]"
    " sampled_token_ids=i64[3,1] input_positions=i64[5] seq_lens=i32[5] slot_mapping=i32[5]"
    " block_tables=i32[5,4]",
    "advance_step_flashattn num_seqs=3 num_queries=3 block_size=8 input_tokens=i64[3]"
    " sampled_token_ids=i64[3,1] input_positions=i64[3] seq_lens=i64[3] slot_mapping=i64[3]"
    " block_tables=i64[3,5]",
    "advance_step_flashattn num_seqs=3 num_queries=3 block_size=8 input_tokens=i64[9]"
    " sampled_token_ids=i64[3,3] input_positions=i64[9] seq_lens=i64[9] slot_mapping=i64[9]"
    " block_tables=i64[3,5] spec_token=i64[3,2] accepted_num=i64[3]",
    /* attention_update */
    "attention_update lse=f32[5]*2 local_out=f32[5,8]*2",
    "attention_update lse=f32[4]*3 local_out=f16[4,8]*3 update_type=1",
    "attention_update lse=f32[6] local_out=bf16[6,3] update_type=1",
    /* ring_attention_update */
    "ring_attention_update prev_attn_out=f16[3,2,16] prev_softmax_max=f32[2,4,3,8]"
    " prev_softmax_sum=f32[2,4,3,8] cur_attn_out=f16[3,2,16] cur_softmax_max=f32[2,4,3,8]"
    " cur_softmax_sum=f32[2,4,3,8]",
    "ring_attention_update input_layout=TND prev_attn_out=f32[6,2,8] prev_softmax_max=f32[6,2,8]"
    " prev_softmax_sum=f32[6,2,8] cur_attn_out=f32[6,2,8] cur_softmax_max=f32[6,2,8]"
    " cur_softmax_sum=f32[6,2,8] actual_seq_qlen=i64[4]{0,2,2,6} input_softmax_layout=TND",
    "ring_attention_update input_layout=TND prev_attn_out=bf16[6,2,8] prev_softmax_max=f32[6,2,8]"
    " prev_softmax_sum=f32[6,2,8] cur_attn_out=bf16[6,2,8] cur_softmax_max=f32[6,2,8]"
    " cur_softmax_sum=f32[6,2,8] actual_seq_qlen=i32[3]{0,2,6} input_softmax_layout=SBH",
};

const char *small_line(const fattn_operator *op, int index)
{
    const size_t length = strlen(op->name);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (strncmp(lines[i], op->name, length) == 0 && lines[i][length] == ' ' && index-- == 0)
            return lines[i];
    return NULL;
}
