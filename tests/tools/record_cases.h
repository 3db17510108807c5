/* SPDX-License-Identifier: Apache-2.0 */
/* record_cases.h — calls that the generator of random lines does not make: every operator, odd
 * strides, lists, empty lists, names that are keys of the line. */
#ifndef FATTN_TESTS_RECORD_CASES_H
#define FATTN_TESTS_RECORD_CASES_H

static const char *const corners[] = {
    "fusion_attention input_layout=BNSD query=f32[1,2,5,8] key=f32[1,2,5,8] value=f32[1,2,5,8] "
    ".seed=-7 .offset=9 "
    "softmax_max=none softmax_sum=none",
    "fusion_attention input_layout=BSH head_num=2 query=f32[2,5,16] query.strides=160,-32,1 "
    "key=f32[2,4,16] "
    "key.strides=0,16,1 value=f32[2,4,16] scale=0.3333333333333333 keep_prob=1 "
    "gen_mask_parallel=false sync=true",
    "fusion_attention input_layout=BNSD query=bf16[1,2,5,8] key=bf16[1,2,9,8] value=bf16[1,2,9,8] "
    "atten_mask=bool[5,9] atten_mask.strides=0,1 sparse_mode=1 pse=bf16[1,2,5,9] "
    "pse.strides=0,0,9,1",
    "fusion_attention input_layout=TND head_num=8 query=f16[6,8,16] key=f16[12,2,16] "
    "value=f16[12,2,16] "
    "actual_seq_qlen=1,3,6 actual_seq_kvlen=3,7,12 sparse_mode=3 prefix= q_start_idx= strict=1 "
    "atten_mask=bool[2048,2048]",
    "fusion_attention input_layout=BNSD head_num=3 query=f32[1,2,5,8] key=f32[1,2,5,8] "
    "value=f32[1,2,5,8]",
    "fusion_attention input_layout=BNSD query=f64[1,2,5,8] key=f64[1,2,5,8] value=f64[1,2,5,8] "
    "backend=ref",
    "fusion_attention input_layout=BNSD query=f32[1,2,5,8] key=f32[1,2,5,8] value=f32[1,2,0,8]",
    "fusion_attention input_layout=BNSD head_num=2 query=f32[1,2,0,8] query.strides=0,0,0,0 "
    "key=f32[1,2,5,8] "
    "value=f32[1,2,5,8] softmax_max=none softmax_sum=none",
    "fusion_attention_grad input_layout=BNSD query=f32[1,2,5,8] key=f32[1,2,5,8] "
    "value=f32[1,2,5,8] keep_prob=0.5 .seed=9 dk=none",
    "dropout_gen_mask sizes=3,4 p=0.25 .seed=9 draw=true dtype=f16",
    "prompt_flash_attention input_layout=BNSD num_heads=1 query=f16[1,1,5,8] key=f16[1,1,5,8] "
    "value=f16[1,1,5,8]",
    "fused_infer_attention_score input_layout=BNSD query=f16[2,4,3,16] key=f16[2,4,8,16] "
    "value=f16[2,4,8,16] "
    "kv_padding_size=i64[1]{2} actual_seq_lengths_kv=5,6 actual_seq_lengths=",
    "fused_infer_attention_score input_layout=BSND query=f16[3,2,4,16] "
    "key_list=f16[1,9,2,16],f16[1,5,2,16],f16[1,70,2,16] "
    "value_list=f16[1,9,2,16],f16[1,5,2,16],f16[1,70,2,16] num_key_value_heads=2",
    "incre_flash_attention input_layout=BSH num_heads=4 num_key_value_heads=2 query=f16[3,1,64] "
    "key=f16[3,40,32] "
    "value=f16[3,40,32] actual_seq_lengths=7,40,12 page=16",
    "fused_infer_attention_score_v2 input_layout=TND num_query_heads=4 num_key_value_heads=2 "
    "query=f32[5,4,16] "
    "key=f32[90,2,16] value=f32[90,2,16] actual_seq_qlen=1,2,5 actual_seq_kvlen=30,31,90 "
    "return_softmax_lse=true",
    "advance_step_flashattn num_seqs=6 num_queries=5 block_size=4 input_tokens=i64[6] "
    "sampled_token_ids=i64[5,1] "
    "input_positions=i64[6] seq_lens=i64[6] slot_mapping=i64[6] block_tables=i64[6,8]",
    "attention_update update_type=1 lse=f32[7],f32[7] local_out=f16[7,8]*2",
    "attention_update update_type=0 lse=f32[7]*3 local_out=f32[7,8]*3 local_out.strides=16,1 "
    "lse_out=none",
    "ring_attention_update prev_attn_out=f32[5,2,16] prev_softmax_max=f32[2,1,5,8] "
    "prev_softmax_sum=f32[2,1,5,8] "
    "cur_attn_out=f32[5,2,16] cur_softmax_max=f32[2,1,5,8] cur_softmax_sum=f32[2,1,5,8] "
    "input_layout=SBH",
};
enum { CORNERS = sizeof corners / sizeof corners[0] };

#endif
