# SPDX-License-Identifier: Apache-2.0
"""Writes down every call of an operator through torch_npu, and holds its results to the accuracy contract."""
import torch
import torch_npu

import fattn

ATTENTION = ('npu_fusion_attention', 'npu_prompt_flash_attention', 'npu_incre_flash_attention',
             'npu_fused_infer_attention_score')
# More (query, key) pairs than this are verified on a part: float64 row by row takes its time.
PAIRS = 3_000_000


class Recorder:
    """Stands in torch_npu for an operator, and in a script for what it is."""

    def __init__(self, name, operator, calls):
        self.name, self.operator, self.calls = name, operator, calls

    def __call__(self, *args, **named):
        call = {'operator': self.name, 'args': args, 'named': named}
        self.calls.append(call)
        result = call['result'] = self.operator(*args, **named)
        return result

    def __getattr__(self, attribute):
        return getattr(self.operator, attribute)


def install(calls):
    for name in (*ATTENTION, 'npu_advance_step_flashattn'):
        setattr(torch_npu, name, Recorder(name, getattr(torch_npu, name), calls))


def fields_of(call):
    """Arguments by the library's names, on the CPU."""
    names = [a.name for a in call_schema(call).arguments]
    fields = {**dict(zip(names, call['args'])), **call['named']}
    return {name: x.detach().cpu() if isinstance(x, torch.Tensor) else x
            for name, x in fields.items() if x is not None and name not in ('sync', 'gen_mask_parallel')}


def call_schema(call):
    return getattr(torch.ops.npu, call['operator']).default._schema


def verified(call):
    """None, or what is wrong with the results of a call."""
    name = call['operator'].removeprefix('npu_')
    results = call['result']
    fields = fields_of(call)
    if name == 'fused_infer_attention_score' and 'scale_value' in fields:
        fields['scale'] = fields.pop('scale_value')
    if name == 'fusion_attention':
        fields |= dict(attention_out=results[0].detach().cpu(), softmax_max=results[1].cpu(), softmax_sum=results[2].cpu(),
                       seed=results[4], offset=results[5])
    elif isinstance(results, torch.Tensor):
        fields['attention_out'] = results.cpu()
    else:
        fields['attention_out'] = results[0].cpu()
        if fields.get('softmax_lse_flag'):
            fields['softmax_lse'] = results[1].cpu()
    if too_large(fields):
        return part_is_off(fields)
    report = fattn.verify(name, **fields)
    return None if report['passed'] else f'{call["operator"]}: {report}'


def too_large(fields):
    q, k = fields['query'], fields['key']
    return 'block_table' not in fields and q.dim() == 4 and q[..., 0].numel() * k[0, ..., 0].numel() > 64 * PAIRS


def part_is_off(fields):
    """A large call without a mask, in BSND: a few rows of one head against the formula in float64."""
    assert not any(fields.get(name) for name in ('sparse_mode', 'atten_mask')) and fields['input_layout'] in ('BSND', 'BSNH')
    q, k, v, out = (fields[name][1, :, 3].double() for name in ('query', 'key', 'value', 'attention_out'))
    want = torch.softmax(q[:32] @ k.T * fields['scale'], -1) @ v
    off = float((out[:32] - want).abs().max())
    return None if off < 1e-3 else f'off by {off}'
