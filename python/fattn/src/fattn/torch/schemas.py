# SPDX-License-Identifier: Apache-2.0
"""The schemas of namespace `npu`, one table: what the device's own package says about its operators.

A name with a dot is an overload. Three kinds of entries are derived, so that a parameter list stands once:
`.out` takes a workspace and the results' tensors; `_get_max_workspace` takes the same arguments and returns one
tensor; `.lists` accepts, where the schema says int[], tensors as well (torch's parser takes lists, tuples and
NumPy arrays for int[], and tensors only for SymInt[]).

`INTERNAL` is what the operators are made of where their own schemas are too narrow: namespace `fattn`.
"""
TOKENS = 'int pre_tokens=2147483647, int next_tokens=2147483647'
TOCKENS = 'int pre_tockens=2147483647, int next_tockens=2147483647'

QKV = 'Tensor query, Tensor key, Tensor value'
FUSION = f'{QKV}, int head_num, str input_layout'
FUSION_GRAD = f'{QKV}, Tensor dy, int head_num, str input_layout'
MASKS = 'Tensor? pse=None, Tensor? padding_mask=None, Tensor? atten_mask=None'
SAVED = 'Tensor? softmax_max=None, Tensor? softmax_sum=None, Tensor? softmax_in=None, Tensor? attention_in=None'
LENGTHS = 'int[]? actual_seq_qlen=None, int[]? actual_seq_kvlen=None'
LENGTH_TENSORS = 'Tensor? actual_seq_qlen=None, Tensor? actual_seq_kvlen=None'
SCHEDULE = 'bool gen_mask_parallel=True, bool sync=False'
STARTS = 'int pse_type=1, int[]? q_start_idx=None, int[]? kv_start_idx=None'
LAST = 'str softmax_layout="", Tensor? sink=None'
DROPOUT = 'Tensor? dropout_mask=None, int seed=0, int offset=0'

V3 = (f'{FUSION}, {MASKS}, float scale=1., float keep_prob=1., {TOCKENS}, int inner_precise=0, '
      f'SymInt[]? prefix=None, {LENGTH_TENSORS}, int sparse_mode=0, {SCHEDULE}, {LAST}')
V3_GRAD = (f'{FUSION_GRAD}, *, {MASKS}, {SAVED}, float scale_value=1., float keep_prob=1., {TOCKENS}, '
           f'int inner_precise=0, Tensor? seed=None, Tensor? offset=None, SymInt[]? prefix=None, '
           f'{LENGTH_TENSORS}, int sparse_mode=0, {SCHEDULE}, {LAST}')

INFER_V1 = (
    f'{QKV}, *, Tensor? pse_shift=None, Tensor? atten_mask=None, SymInt[]? actual_seq_lengths=None, '
    'SymInt[]? actual_seq_lengths_kv=None, Tensor? dequant_scale1=None, Tensor? quant_scale1=None, '
    'Tensor? dequant_scale2=None, Tensor? quant_scale2=None, Tensor? quant_offset2=None, '
    'Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, Tensor? key_antiquant_scale=None, '
    'Tensor? key_antiquant_offset=None, Tensor? value_antiquant_scale=None, '
    'Tensor? value_antiquant_offset=None, Tensor? block_table=None, Tensor? query_padding_size=None, '
    'Tensor? kv_padding_size=None, Tensor? key_shared_prefix=None, Tensor? value_shared_prefix=None, '
    'SymInt[]? actual_shared_prefix_len=None, Tensor? query_rope=None, Tensor? key_rope=None, '
    f'Tensor? key_rope_antiquant_scale=None, int num_heads=1, float scale=1.0, {TOKENS}, '
    'str input_layout="BSH", int num_key_value_heads=0, int sparse_mode=0, int inner_precise=0, '
    'int block_size=0, int antiquant_mode=0, int key_antiquant_mode=0, int value_antiquant_mode=0, '
    'bool softmax_lse_flag=False')
TYPE_CODES = ('int? query_dtype=None, int? key_dtype=None, int? value_dtype=None, int? query_rope_dtype=None, '
              'int? key_rope_dtype=None, int? key_shared_prefix_dtype=None, '
              'int? value_shared_prefix_dtype=None, int? dequant_scale_query_dtype=None, '
              'int? dequant_scale_key_dtype=None, int? dequant_scale_value_dtype=None, '
              'int? dequant_scale_key_rope_dtype=None, int? out_dtype=None')
INFER_V2 = (
    f'{QKV}, *, Tensor? query_rope=None, Tensor? key_rope=None, Tensor? pse_shift=None, '
    'Tensor? atten_mask=None, SymInt[]? actual_seq_qlen=None, SymInt[]? actual_seq_kvlen=None, '
    'Tensor? block_table=None, Tensor? dequant_scale_query=None, Tensor? dequant_scale_key=None, '
    'Tensor? dequant_offset_key=None, Tensor? dequant_scale_value=None, Tensor? dequant_offset_value=None, '
    'Tensor? dequant_scale_key_rope=None, Tensor? quant_scale_out=None, Tensor? quant_offset_out=None, '
    'Tensor? quant_scale_p=None, Tensor? learnable_sink=None, int num_query_heads=1, '
    f'int num_key_value_heads=0, float softmax_scale=1.0, {TOKENS}, str input_layout="BSH", '
    'int sparse_mode=0, int block_size=0, int query_quant_mode=0, int key_quant_mode=0, '
    f'int value_quant_mode=0, int inner_precise=0, bool return_softmax_lse=False, {TYPE_CODES}')


def tensors(n):
    return ', '.join(['Tensor'] * n)


def with_out(parameters):
    """The parameters of `.out`: everything, a workspace, and the results as a list."""
    return parameters + ('' if '*' in parameters else ', *') + ', Tensor? workspace=None, Tensor[] out'


SCHEMAS = {
    'npu_fusion_attention':
    f'({FUSION}, {MASKS}, float scale=1., float keep_prob=1., {TOCKENS}, int inner_precise=0, '
    f'int[]? prefix=None, {LENGTHS}, int sparse_mode=0, {SCHEDULE}, {LAST}, {DROPOUT}) '
    f'-> ({tensors(4)}, int, int, int)',
    'npu_fusion_attention_grad':
    f'({FUSION_GRAD}, *, {MASKS}, {SAVED}, float scale_value=1., float keep_prob=1., {TOCKENS}, '
    f'int inner_precise=0, int seed=0, int offset=0, int numels=0, int[]? prefix=None, {LENGTHS}, '
    f'int sparse_mode=0, {SCHEDULE}, {LAST}) -> ({tensors(5)})',
    'npu_fusion_attention_v2':
    f'({FUSION}, *, {MASKS}, Tensor? query_rope=None, Tensor? key_rope=None, float scale=1., '
    f'float keep_prob=1., {TOKENS}, int inner_precise=0, int[]? prefix=None, {LENGTHS}, '
    f'int sparse_mode=0, {SCHEDULE}, {STARTS}, {LAST}, {DROPOUT}) -> ({tensors(4)}, int, int, int)',
    'npu_fusion_attention_grad_v2':
    f'({FUSION_GRAD}, *, {MASKS}, {SAVED}, Tensor? query_rope=None, Tensor? key_rope=None, '
    f'float scale_value=1., float keep_prob=1., {TOKENS}, int inner_precise=0, int seed=0, int offset=0, '
    f'int numels=0, int[]? prefix=None, {LENGTHS}, int sparse_mode=0, {SCHEDULE}, {STARTS}, {LAST}) '
    f'-> ({tensors(7)})',
    'npu_fusion_attention_v3': f'({V3}) -> ({tensors(6)})',
    'npu_fusion_attention_v3.out': f'({with_out(V3)}) -> ({tensors(6)})',
    'npu_fusion_attention_grad_v3': f'({V3_GRAD}) -> ({tensors(5)})',
    'npu_fusion_attention_grad_v3.out': f'({with_out(V3_GRAD)}) -> ({tensors(5)})',
    '_npu_fusion_attention_v3_infer_output': f'({FUSION}) -> ({tensors(3)})',
    '_npu_fusion_attention_grad_v3_infer_output':
    f'({QKV}, Tensor? pse=None, Tensor? sink=None) -> ({tensors(5)})',
    '_npu_fusion_attention_v3_get_max_workspace': f'({V3}) -> Tensor',
    '_npu_fusion_attention_grad_v3_get_max_workspace': f'({V3_GRAD}) -> Tensor',
    'npu_prompt_flash_attention':
    f'({QKV}, *, Tensor? padding_mask=None, Tensor? atten_mask=None, Tensor? pse_shift=None, '
    'int[]? actual_seq_lengths=None, Tensor? deq_scale1=None, Tensor? quant_scale1=None, '
    'Tensor? deq_scale2=None, Tensor? quant_scale2=None, Tensor? quant_offset2=None, int num_heads=1, '
    'float scale_value=1.0, int pre_tokens=2147483647, int next_tokens=0, str input_layout="BSH", '
    'int num_key_value_heads=0, int[]? actual_seq_lengths_kv=None, int sparse_mode=0) -> Tensor',
    'npu_incre_flash_attention':
    f'({QKV}, *, Tensor? padding_mask=None, Tensor? atten_mask=None, Tensor? pse_shift=None, '
    'SymInt[]? actual_seq_lengths=None, Tensor? antiquant_scale=None, Tensor? antiquant_offset=None, '
    'Tensor? block_table=None, Tensor? dequant_scale1=None, Tensor? quant_scale1=None, '
    'Tensor? dequant_scale2=None, Tensor? quant_scale2=None, Tensor? quant_offset2=None, '
    'Tensor? kv_padding_size=None, int num_heads=1, float scale_value=1.0, str input_layout="BSH", '
    'int num_key_value_heads=0, int block_size=0, int inner_precise=1) -> Tensor',
    'npu_fused_infer_attention_score': f'({INFER_V1}) -> ({tensors(2)})',
    'npu_fused_infer_attention_score.out': f'({with_out(INFER_V1)}) -> ({tensors(2)})',
    '_npu_fused_infer_attention_score_get_max_workspace': f'({INFER_V1}) -> Tensor',
    '_npu_fused_infer_attention_score_infer_output':
    '(Tensor query, Tensor value, Tensor? third=None, *, str input_layout="BSH", Tensor? quant_scale2=None, '
    'Tensor? block_table=None, int num_heads=1, int num_key_value_heads=0, bool softmax_lse_flag=False, '
    f'Tensor? query_rope=None) -> ({tensors(2)})',
    'npu_fused_infer_attention_score_v2': f'({INFER_V2}) -> ({tensors(2)})',
    'npu_fused_infer_attention_score_v2.out': f'({with_out(INFER_V2)}) -> ({tensors(2)})',
    '_npu_fused_infer_attention_score_v2_get_max_workspace': f'({INFER_V2}) -> Tensor',
    '_npu_fused_infer_attention_score_v2_infer_output':
    '(Tensor query, Tensor value, Tensor? third=None, *, int? query_dtype=None, int? value_dtype=None, '
    'str input_layout="BSH", Tensor? quant_scale_out=None, Tensor? block_table=None, '
    'int num_query_heads=1, int num_key_value_heads=0, bool return_softmax_lse=False, '
    f'Tensor? query_rope=None, int? out_dtype=None) -> ({tensors(2)})',
    'npu_advance_step_flashattn':
    '(Tensor(a!) input_tokens, Tensor sampled_token_ids, Tensor(b!) input_positions, Tensor(c!) seq_lens, '
    'Tensor(d!) slot_mapping, Tensor block_tables, int num_seqs, int num_queries, int block_size, *, '
    'Tensor? spec_token=None, Tensor? accepted_num=None) -> ()',
    'npu_ring_attention_update':
    '(Tensor prev_attn_out, Tensor prev_softmax_max, Tensor prev_softmax_sum, Tensor cur_attn_out, '
    'Tensor cur_softmax_max, Tensor cur_softmax_sum, *, Tensor? actual_seq_qlen=None, '
    f'str input_layout="SBH", str input_softmax_layout="") -> ({tensors(3)})',
    'npu_attention_update': f'(Tensor[] lse, Tensor[] local_out, int update_type) -> ({tensors(2)})',
    '_npu_dropout_gen_mask.Tensor':
    '(Tensor input, int[] size, float p, int seed, int offset, *, bool? parallel=True, bool? sync=None) '
    '-> Tensor',
    'npu_dropout_gen_mask':
    '(int[] size, float p, *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, '
    'bool? pin_memory=None) -> Tensor',
}

# What the forward has in every version, by the library's names. Lengths come as numbers (v1, v2) or as tensors
# (v3); so do seed and offset.
ANY_FORWARD = (f'Tensor? pse=None, Tensor? atten_mask=None, Tensor? query_rope=None, Tensor? key_rope=None, '
               f'Tensor? sink=None, float keep_prob=1., {TOKENS}, int inner_precise=0, '
               f'SymInt[]? prefix=None, {LENGTHS}, Tensor? qlen=None, Tensor? kvlen=None, '
               f'int sparse_mode=0, {STARTS}, str softmax_layout=""')
INTERNAL = {
    # (seed, offset) of one call's dropout mask; `call` tells calls of one graph apart
    'draw_seed': f'(Tensor like, int call) -> ({tensors(2)})',
    # attention_out, softmax_max, softmax_sum with the mask of (seed, offset)
    'fusion_attention_seeded':
    f'({FUSION}, Tensor seed, Tensor offset, *, float scale=1., {ANY_FORWARD}) -> ({tensors(3)})',
    # dq, dk, dv, dpse, dq_rope, dk_rope, dsink; dpse only on request, it is as large as the scores
    'fusion_attention_backward':
    f'({FUSION_GRAD}, Tensor softmax_max, Tensor softmax_sum, Tensor attention_in, *, '
    f'float scale_value=1., {ANY_FORWARD}, Tensor? dropout_mask=None, int seed=0, int offset=0, '
    f'Tensor? seed_drawn=None, Tensor? offset_drawn=None, bool need_dpse=False) -> ({tensors(7)})',
}


def lists_schema(schema):
    """The schema of `.lists`: an int list may be anything that reads as one, and a text may be None."""
    return schema.replace('int[]?', 'Any?').replace('int[] ', 'Any ').replace('str softmax_layout', 'str? softmax_layout')


def has_int_lists(schema):
    return 'int[]' in schema.replace('SymInt[]', '')


def parameter_names(schema):
    """The names of the parameters, in order."""
    inside = schema[schema.index('(') + 1:schema.index(') ->')]
    return tuple(p.split('=')[0].split()[-1] for p in inside.split(', ') if p != '*')
