#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""torch_calls.py — what a call through torch.ops.npu costs beyond the call of the library, in microseconds.

    PYTHONPATH=build/release/python python bench/torch_calls.py

Tiny tensors (1 head, 1 query, 128 keys, D 64). Rows in turn, best of 150 rounds of 50 calls, so that disturbances hit
all alike. `packet` is torch.ops.npu.<name>, `default` its overload, which goes through the dispatcher."""
import time

import torch

import fattn.torch  # noqa: F401  registers the operators
from fattn import _core

ops = torch.ops.npu
q, k, v = torch.randn(1, 1, 64), torch.randn(1, 128, 64), torch.randn(1, 128, 64)
out, stats, lse = torch.empty_like(q), [torch.empty(1, 1, 1, 8) for _ in range(2)], torch.empty(1)
asked = q.clone().requires_grad_()
table = torch.zeros(1, 1, dtype=torch.int32)
parts = [torch.zeros(4)] * 2, [torch.zeros(4, 8)] * 2

FUSION = dict(query=q, key=k, value=v, head_num=1, input_layout='BSH', scale=.5, attention_out=out, softmax_max=stats[0],
              softmax_sum=stats[1])
INFER = dict(query=q, key=k, value=v, num_heads=1, input_layout='BSH', attention_out=out)
PAGED = dict(num_key_value_heads=1, block_table=table, block_size=128)

# (operator of the library, its arguments): [(row, call)]
GROUPS = [
    ('fusion_attention', FUSION, [
        ('v1 packet', lambda: ops.npu_fusion_attention(q, k, v, 1, 'BSH', scale=.5)),
        ('v1 default', lambda: ops.npu_fusion_attention.default(q, k, v, 1, 'BSH', scale=.5)),
        ('v2 packet', lambda: ops.npu_fusion_attention_v2(q, k, v, 1, 'BSH', scale=.5)),
        ('v3 packet', lambda: ops.npu_fusion_attention_v3(q, k, v, 1, 'BSH', scale=.5)),
        ('v1 packet, query requires grad', lambda: ops.npu_fusion_attention(asked, k, v, 1, 'BSH', scale=.5)),
    ]),
    ('fused_infer_attention_score', INFER | dict(scale=.5, softmax_lse=lse), [
        ('fused packet', lambda: ops.npu_fused_infer_attention_score(q, k, v, num_heads=1, input_layout='BSH', scale=.5)),
        ('fused default',
         lambda: ops.npu_fused_infer_attention_score.default(q, k, v, num_heads=1, input_layout='BSH', scale=.5)),
    ]),
    ('fused_infer_attention_score', INFER | PAGED | dict(scale=.5, softmax_lse=lse, actual_seq_lengths_kv=[100]), [
        ('fused paged packet', lambda: ops.npu_fused_infer_attention_score(
            q, k, v, num_heads=1, input_layout='BSH', scale=.5, actual_seq_lengths_kv=[100], **PAGED)),
    ]),
    ('incre_flash_attention', INFER | dict(scale_value=.5), [
        ('incre packet', lambda: ops.npu_incre_flash_attention(q, k, v, num_heads=1, input_layout='BSH', scale_value=.5)),
    ]),
    ('attention_update', dict(lse=parts[0], local_out=parts[1], out=torch.zeros(4, 8)), [
        ('attention_update packet', lambda: ops.npu_attention_update(*parts, 0)),
    ]),
]


def best_of_rounds(calls, n=50, rounds=150):
    best = [1e9] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            for _ in range(n):
                call()
            best[i] = min(best[i], time.perf_counter() - start)
    return [b / n * 1e6 for b in best]


def main():
    calls = []
    for operator, fields, rows in GROUPS:
        calls.append(lambda operator=operator, fields=fields: _core.call(operator, fields))
        calls += [call for _, call in rows]
    times = iter(best_of_rounds(calls))
    print(f"{'':34}{'us':>8}{'beyond the library':>20}")
    for operator, _, rows in GROUPS:
        alone = next(times)
        print(f'{operator + ", the library":34}{alone:8.2f}')
        for row, _ in rows:
            took = next(times)
            print(f'  {row:32}{took:8.2f}{took - alone:20.2f}')


if __name__ == '__main__':
    main()
