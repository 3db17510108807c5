# SPDX-License-Identifier: Apache-2.0
"""One small legal call of every operator, by name of its arguments."""
import numpy as np


def legal():
    rng = np.random.default_rng(3)

    def x(*shape):
        return rng.standard_normal(shape, np.float32)

    q, k, v = x(1, 2, 3, 8), x(1, 2, 5, 8), x(1, 2, 5, 8)
    attention = dict(query=q, key=k, value=v, input_layout='BNSD')
    ids = np.arange(4, dtype=np.int64)
    return {
        'fusion_attention': dict(attention, head_num=2),
        'fusion_attention_grad': dict(attention, head_num=2, dy=x(1, 2, 3, 8), softmax_max=np.full((1, 2, 3, 8), 2, 'f'),
                                      softmax_sum=np.full((1, 2, 3, 8), 9, 'f'), attention_in=x(1, 2, 3, 8)),
        'prompt_flash_attention': dict(attention, num_heads=2),
        'incre_flash_attention': dict(attention, query=x(1, 2, 1, 8), num_heads=2),
        'fused_infer_attention_score': dict(attention, num_heads=2),
        'fused_infer_attention_score_v2': dict(attention, num_query_heads=2),
        'advance_step_flashattn': dict(input_tokens=ids.copy(), sampled_token_ids=ids[:2, None].copy(),
                                       input_positions=ids + 3, seq_lens=ids + 4, slot_mapping=ids.copy(),
                                       block_tables=np.arange(8).reshape(4, 2), num_seqs=4, num_queries=2,
                                       block_size=16),
        'attention_update': dict(lse=[x(6), x(6)], local_out=[x(6, 8), x(6, 8)]),
        'ring_attention_update': dict(
            prev_attn_out=x(3, 1, 16), prev_softmax_max=np.full((1, 2, 3, 8), 1, 'f'),
            prev_softmax_sum=np.full((1, 2, 3, 8), 2, 'f'), cur_attn_out=x(3, 1, 16),
            cur_softmax_max=np.full((1, 2, 3, 8), 3, 'f'), cur_softmax_sum=np.full((1, 2, 3, 8), 4, 'f')),
        'dropout_gen_mask': dict(sizes=[3, 5], seed=5, offset=1),
    }


def results(value):
    """What a call returned, as a list of arrays and numbers."""
    return [] if value is None else list(value) if isinstance(value, tuple) else [value]


def same(a, b):
    return len(results(a)) == len(results(b)) and all(map(np.array_equal, results(a), results(b)))
