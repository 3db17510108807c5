# SPDX-License-Identifier: Apache-2.0
# Written by python/fattn/stubs.py; a change goes there.
from typing import Any, NamedTuple, Sequence


class Operator:
    name: str
    help: str
    fields: tuple[dict[str, Any], ...]
    inputs: list[dict[str, Any]]
    outputs: list[str]
    numbers: list[str]


OPERATORS: dict[str, Operator]


def find(operator: Any) -> Operator: ...


class FusionAttentionResult(NamedTuple):
    attention_out: Any
    softmax_max: Any
    softmax_sum: Any
    seed_out: int
    offset_out: int
    numels: int


def fusion_attention(
    query: Any,
    key: Any,
    value: Any,
    head_num: int = 0,
    input_layout: str | None = None,
    *,
    pse: Any = None,
    padding_mask: Any = None,
    atten_mask: Any = None,
    query_rope: Any = None,
    key_rope: Any = None,
    scale: float = 1.0,
    keep_prob: float = 1.0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 2147483647,
    inner_precise: int = 0,
    prefix: Any = None,
    actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    pse_type: int = 1,
    q_start_idx: Any = None,
    kv_start_idx: Any = None,
    softmax_layout: str = '',
    sink: Any = None,
    dropout_mask: Any = None,
    seed: int = 0,
    offset: int = 0,
    attention_out: Any = None,
    softmax_max: Any = None,
    softmax_sum: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> FusionAttentionResult: ...


class FusionAttentionGradResult(NamedTuple):
    dq: Any
    dk: Any
    dv: Any
    dpse: Any
    dq_rope: Any
    dk_rope: Any
    dsink: Any


def fusion_attention_grad(
    query: Any,
    key: Any,
    value: Any,
    dy: Any,
    head_num: int = 0,
    input_layout: str | None = None,
    *,
    pse: Any = None,
    padding_mask: Any = None,
    atten_mask: Any = None,
    softmax_max: Any = None,
    softmax_sum: Any = None,
    softmax_in: Any = None,
    attention_in: Any = None,
    query_rope: Any = None,
    key_rope: Any = None,
    scale_value: float = 1.0,
    keep_prob: float = 1.0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 2147483647,
    inner_precise: int = 0,
    seed: int = 0,
    offset: int = 0,
    numels: int = 0,
    prefix: Any = None,
    actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None,
    sparse_mode: int = 0,
    gen_mask_parallel: bool = True,
    sync: bool = False,
    pse_type: int = 1,
    q_start_idx: Any = None,
    kv_start_idx: Any = None,
    softmax_layout: str = '',
    sink: Any = None,
    dropout_mask: Any = None,
    dq: Any = None,
    dk: Any = None,
    dv: Any = None,
    dpse: Any = None,
    dq_rope: Any = None,
    dk_rope: Any = None,
    dsink: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> FusionAttentionGradResult: ...


def prompt_flash_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    padding_mask: Any = None,
    atten_mask: Any = None,
    pse_shift: Any = None,
    actual_seq_lengths: Any = None,
    deq_scale1: Any = None,
    quant_scale1: Any = None,
    deq_scale2: Any = None,
    quant_scale2: Any = None,
    quant_offset2: Any = None,
    num_heads: int = 1,
    scale_value: float = 1.0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 0,
    input_layout: str = 'BSH',
    num_key_value_heads: int = 0,
    actual_seq_lengths_kv: Any = None,
    sparse_mode: int = 0,
    attention_out: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> Any: ...


def incre_flash_attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    padding_mask: Any = None,
    atten_mask: Any = None,
    pse_shift: Any = None,
    actual_seq_lengths: Any = None,
    antiquant_scale: Any = None,
    antiquant_offset: Any = None,
    block_table: Any = None,
    dequant_scale1: Any = None,
    quant_scale1: Any = None,
    dequant_scale2: Any = None,
    quant_scale2: Any = None,
    quant_offset2: Any = None,
    kv_padding_size: Any = None,
    num_heads: int = 1,
    scale_value: float = 1.0,
    input_layout: str = 'BSH',
    num_key_value_heads: int = 0,
    block_size: int = 0,
    inner_precise: int = 1,
    attention_out: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> Any: ...


class FusedInferAttentionScoreResult(NamedTuple):
    attention_out: Any
    softmax_lse: Any


def fused_infer_attention_score(
    query: Any,
    key: Any = None,
    value: Any = None,
    *,
    key_list: Sequence[Any] | None = None,
    value_list: Sequence[Any] | None = None,
    pse_shift: Any = None,
    atten_mask: Any = None,
    actual_seq_lengths: Any = None,
    actual_seq_lengths_kv: Any = None,
    dequant_scale1: Any = None,
    quant_scale1: Any = None,
    dequant_scale2: Any = None,
    quant_scale2: Any = None,
    quant_offset2: Any = None,
    antiquant_scale: Any = None,
    antiquant_offset: Any = None,
    key_antiquant_scale: Any = None,
    key_antiquant_offset: Any = None,
    value_antiquant_scale: Any = None,
    value_antiquant_offset: Any = None,
    block_table: Any = None,
    query_padding_size: Any = None,
    kv_padding_size: Any = None,
    key_shared_prefix: Any = None,
    value_shared_prefix: Any = None,
    actual_shared_prefix_len: Any = None,
    query_rope: Any = None,
    key_rope: Any = None,
    key_rope_antiquant_scale: Any = None,
    num_heads: int = 1,
    scale: float = 1.0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 2147483647,
    input_layout: str = 'BSH',
    num_key_value_heads: int = 0,
    sparse_mode: int = 0,
    inner_precise: int = 0,
    block_size: int = 0,
    antiquant_mode: int = 0,
    key_antiquant_mode: int = 0,
    value_antiquant_mode: int = 0,
    softmax_lse_flag: bool = False,
    attention_out: Any = None,
    softmax_lse: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> FusedInferAttentionScoreResult: ...


class FusedInferAttentionScoreV2Result(NamedTuple):
    attention_out: Any
    softmax_lse: Any


def fused_infer_attention_score_v2(
    query: Any,
    key: Any = None,
    value: Any = None,
    *,
    key_list: Sequence[Any] | None = None,
    value_list: Sequence[Any] | None = None,
    query_rope: Any = None,
    key_rope: Any = None,
    pse_shift: Any = None,
    atten_mask: Any = None,
    actual_seq_qlen: Any = None,
    actual_seq_kvlen: Any = None,
    block_table: Any = None,
    dequant_scale_query: Any = None,
    dequant_scale_key: Any = None,
    dequant_offset_key: Any = None,
    dequant_scale_value: Any = None,
    dequant_offset_value: Any = None,
    dequant_scale_key_rope: Any = None,
    quant_scale_out: Any = None,
    quant_offset_out: Any = None,
    quant_scale_p: Any = None,
    learnable_sink: Any = None,
    num_query_heads: int = 1,
    num_key_value_heads: int = 0,
    softmax_scale: float = 1.0,
    pre_tokens: int = 2147483647,
    next_tokens: int = 2147483647,
    input_layout: str = 'BSH',
    sparse_mode: int = 0,
    block_size: int = 0,
    query_quant_mode: int = 0,
    key_quant_mode: int = 0,
    value_quant_mode: int = 0,
    inner_precise: int = 0,
    return_softmax_lse: bool = False,
    out_dtype: int = -1,
    attention_out: Any = None,
    softmax_lse: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> FusedInferAttentionScoreV2Result: ...


def advance_step_flashattn(
    input_tokens: Any,
    sampled_token_ids: Any,
    input_positions: Any,
    seq_lens: Any,
    slot_mapping: Any,
    block_tables: Any,
    num_seqs: int,
    num_queries: int,
    block_size: int,
    spec_token: Any = None,
    accepted_num: Any = None,
    core_count: int = 40,
    *,
    context: Any = None,
    **other_spellings: Any
) -> None: ...


class AttentionUpdateResult(NamedTuple):
    out: Any
    lse_out: Any


def attention_update(
    lse: Sequence[Any],
    local_out: Sequence[Any],
    update_type: int = 0,
    *,
    out: Any = None,
    lse_out: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> AttentionUpdateResult: ...


class RingAttentionUpdateResult(NamedTuple):
    attn_out: Any
    softmax_max: Any
    softmax_sum: Any


def ring_attention_update(
    prev_attn_out: Any,
    prev_softmax_max: Any,
    prev_softmax_sum: Any,
    cur_attn_out: Any,
    cur_softmax_max: Any,
    cur_softmax_sum: Any,
    actual_seq_qlen: Any = None,
    input_layout: str = 'SBH',
    input_softmax_layout: str = '',
    *,
    attn_out: Any = None,
    softmax_max: Any = None,
    softmax_sum: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> RingAttentionUpdateResult: ...


class DropoutGenMaskResult(NamedTuple):
    mask: Any
    seed_out: int
    offset_out: int


def dropout_gen_mask(
    sizes: Any = None,
    p: float = 0.5,
    seed: int = 0,
    offset: int = 0,
    draw: bool = False,
    dtype: str = 'f32',
    parallel: bool = True,
    *,
    mask: Any = None,
    context: Any = None,
    **other_spellings: Any
) -> DropoutGenMaskResult: ...
