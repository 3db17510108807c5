# SPDX-License-Identifier: Apache-2.0
"""Answers in float64, for tensors of torch.

Forward calls: the oracle of tests/python, which works from the raw arguments, and its bound per element. Gradients
and dropout: `dense`, the formula in torch's float64, which autograd differentiates.
"""
import compare
import numpy as np
import torch
from library import Tensor

DTYPES = {
    torch.float64: 'f64', torch.float32: 'f32', torch.float16: 'f16', torch.bfloat16: 'bf16', torch.int64: 'i64',
    torch.int32: 'i32', torch.int8: 'i8', torch.uint8: 'u8', torch.bool: 'bool'
}
SPELLINGS = {'pre_tockens': 'pre_tokens', 'next_tockens': 'next_tokens'}
LISTS = ('actual_seq_qlen', 'actual_seq_kvlen', 'actual_seq_lengths', 'actual_seq_lengths_kv', 'prefix')
EPS = {torch.float64: 2.0**-53}


def to_numpy(x):
    """The oracle's view of an argument; None stays None."""
    if isinstance(x, torch.Tensor):
        x = x.detach()
        array = (x.view(torch.int16).numpy().view(np.uint16) if x.dtype == torch.bfloat16 else x.numpy())
        return Tensor(DTYPES[x.dtype], array)
    if isinstance(x, (list, tuple)) and x and isinstance(x[0], torch.Tensor):
        return [to_numpy(item) for item in x]
    return x


def wanted(operator, f):
    """The oracle's answer to a call."""
    operator = operator.removeprefix('npu_')
    a = {SPELLINGS.get(name, name): to_numpy(value) for name, value in f.items()}
    for name in LISTS:
        if a.get(name) is not None:
            value = a[name].array if isinstance(a[name], Tensor) else a[name]
            a[name] = [int(item) for item in value]
    if operator in compare.MERGES:
        return compare.MERGES[operator](a)
    return compare.ATTENTION[operator](a, EPS.get(f['query'].dtype, 2.0**-24))


def close(name, got, values_and_bound):
    """Asserts that a tensor is within the bound of its elements."""
    want, bound = values_and_bound
    wrong = compare.off(name, to_numpy(got).value(), want, bound, DTYPES[got.dtype])
    assert wrong is None, wrong
    assert not got.numel() or not bool((got == 0).all()), f'{name}: all zeros prove nothing'


def check_training(results, f):
    """attention_out, softmax_max, softmax_sum and numels of a call of the training operator."""
    want = wanted('fusion_attention', f)
    close('attention_out', results[0], want['attention_out'])
    skip = np.zeros(want['stats']['max'].shape, bool)
    if want.get('pad_rows') and f.get('sink') is not None:
        skip[-want['pad_rows']:] = True
    for name, got in zip(('softmax_max', 'softmax_sum'), results[1:3]):
        wrong = compare.stats_off(name, to_numpy(got).value(), want['stats'], skip)
        assert wrong is None, wrong
    assert results[3].shape == (0, )
    assert len(results) == 6 or results[6] == want['numels']


def check_inference(operator, results, f):
    """attention_out, and softmax_lse where the operator has one."""
    want = wanted(operator, f)
    results = results if isinstance(results, (list, tuple)) else [results]
    close('attention_out', results[0], want['attention_out'])
    if len(results) == 2:
        value, bound = want['softmax_lse']
        wrong = compare.off('softmax_lse', to_numpy(results[1]).value(), value, bound, 'f32')
        assert wrong is None, wrong


# ---- differentiable, dense: BNSD -------------------------------------------------------------------------------


def dense(q, k, v, keep=None, scale=1.0, bias=None, bias_first=True, sink=None, dropped=None, keep_prob=1.0):
    """softmax of (B, N, Sq, D) times values, in the dtype of its arguments; Nkv divides N.

    keep: cells that are seen; dropped: cells that dropout sets to 0. Rows without a key give 0.
    """
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    x = q @ k.transpose(-1, -2)
    x = x * scale if bias is None else (x + bias) * scale if bias_first else x * scale + bias
    if keep is not None:
        x = x.masked_fill(~keep, -torch.inf)
    if sink is not None:
        x = torch.cat([x, sink.view(1, -1, 1, 1).expand(*x.shape[:3], 1)], -1)
    p = torch.softmax(x, -1)
    if sink is not None:
        p = p[..., :-1]
    if keep is not None:
        p = torch.where(keep, p, 0.0)
    if dropped is not None:
        p = p.masked_fill(dropped, 0.0) / keep_prob
    return p @ v


def unpacked(mask, shape):
    """Which cells a packed keep mask drops."""
    bits = (mask.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1
    cells = 1
    for extent in shape:
        cells *= extent
    return bits.flatten()[:cells].view(shape) == 0
