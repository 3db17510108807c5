# SPDX-License-Identifier: Apache-2.0
"""chunked, hierarchical, adaptive, each with the defect of the guide's version: chunks dropped, re-ordered and masks cut at
their borders; half of the batch lost when memory runs out, head_num never passed."""
import numpy as np
import pytest

import fattn
from fattn import parts


def dense(q, k, v, hidden=None, scale=None):
    """float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, q.shape[1] // k.shape[1], 1) for x in (k, v))
    x = q @ k.swapaxes(-1, -2) * (q.shape[-1]**-0.5 if scale is None else scale)
    if hidden is not None:
        x = np.where(hidden, -np.inf, x)
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def causal(rows, keys):
    return np.arange(keys) > np.arange(rows)[:, None] + keys - rows


def qkv(rng, sq=37, sk=50, dtype=np.float32):
    return [rng.standard_normal(s, np.float32).astype(dtype) for s in ((2, 4, sq, 16), (2, 2, sk, 16), (2, 2, sk, 24))]


@pytest.mark.parametrize('chunk_size', (1, 7, 16, 49, 50, 1000))
@pytest.mark.parametrize('kind', ('full', 'causal', 'mask'))
def test_chunked_is_exact(rng, chunk_size, kind):
    q, k, v = qkv(rng)
    hidden = {'full': None, 'causal': causal(37, 50), 'mask': rng.random((37, 50)) < 0.3}[kind]
    if kind == 'mask':
        hidden[:, 13] = False
    got = fattn.chunked(q, k, v, chunk_size=chunk_size, causal=kind == 'causal', atten_mask=hidden if kind == 'mask' else None)
    assert got.shape == (2, 4, 37, 24) and np.abs(got - dense(q, k, v, hidden)).max() < 3e-6


def test_chunked_rounds_once(rng):
    q, k, v = qkv(rng, dtype=np.float16)
    got = fattn.chunked(q, k, v, chunk_size=3)
    want = dense(q, k, v)
    assert got.dtype == np.float16 and np.abs(got - want).max() <= 2.0**-11 * np.abs(want).max() * 1.1


def test_chunked_refusals(rng):
    q, k, v = qkv(rng)
    with pytest.raises(fattn.ArgumentError, match='chunk_size: 0'):
        fattn.chunked(q, k, v, chunk_size=0)
    with pytest.raises(fattn.ArgumentError, match='atten_mask: not together with causal'):
        fattn.chunked(q, k, v, causal=True, atten_mask=causal(37, 50))
    with pytest.raises(fattn.ShapeError, match='ranks 3, 4, 4'):
        fattn.chunked(q[0], k, v)


def test_hierarchical_within_the_window_is_exact(rng):
    q, k, v = qkv(rng, 40, 40)
    got = fattn.hierarchical(q, k, v, window=40, summary=8)
    assert np.abs(got - dense(q, k, v, causal(40, 40))).max() < 3e-6


def test_hierarchical_counts_every_key_once(rng):
    """Equal keys: the exact answer is the mean of the values seen, which means of means give as well."""
    q, k, v = qkv(rng, 45, 45)
    k[:] = k[:, :, :1]
    got = fattn.hierarchical(q, k, v, window=10, summary=8)
    assert np.abs(got - dense(q, k, v, causal(45, 45))).max() < 3e-6


def test_hierarchical_is_near(rng):
    q, k, v = qkv(rng, 64, 64)
    exact = dense(q, k, v, causal(64, 64))
    near, far = (np.abs(fattn.hierarchical(q, k, v, window=w, summary=4) - exact).mean() for w in (48, 8))
    assert near < far < 0.3


def test_adaptive_gives_the_same_bits(rng):
    q, k, v = (rng.standard_normal((7, 4, 20, 16), np.float32) for _ in range(3))
    f = dict(query=q, key=k, value=v, head_num=4, input_layout='BNSD', scale=0.25)
    want = fattn.fusion_attention(**f)
    whole = fattn.estimate_memory('fusion_attention', **f)
    limit = (whole['input_bytes'] + whole['output_bytes']) // 3 + whole['workspace_bytes']
    got = fattn.adaptive('fusion_attention', limit=limit, **f)
    assert type(got) is type(want) and got.numels == want.numels
    assert all(np.array_equal(a, b) for a, b in zip(got[:3], want[:3]))


def cut_alike(name, **f):
    """The call cut in two at least gives the bits of the whole one."""
    whole = fattn.estimate_memory(name, **f)
    limit = sum(whole[x] for x in ('input_bytes', 'output_bytes', 'workspace_bytes')) - 1
    want, got = getattr(fattn, name)(**f), fattn.adaptive(name, limit=limit, **f)
    assert type(got) is type(want)
    assert all(np.array_equal(x, y) for x, y in zip(want, got))


def test_adaptive_cuts_what_belongs_to_a_sequence(rng):
    q, k, v = (rng.standard_normal((5, 4, s, 16), np.float32) for s in (6, 9, 9))
    f = dict(query=q, key=k, value=v, num_heads=4, input_layout='BNSD', scale=0.25, actual_seq_lengths_kv=[9, 3, 5, 1, 7],
             atten_mask=rng.random((5, 1, 6, 9)) < 0.3, softmax_lse_flag=True)
    cut_alike('fused_infer_attention_score', **f)


def test_adaptive_cuts_lengths_of_any_kind(rng):
    q, k, v = (rng.standard_normal((5, 4, s, 16), np.float32) for s in (6, 9, 9))
    cut_alike('fused_infer_attention_score', query=q, key=k, value=v, num_heads=4, input_layout='BNSD', scale=0.25,
              actual_seq_lengths_kv=np.array([9, 3, 5, 1, 7]), softmax_lse_flag=True)


def test_adaptive_gives_pools_whole(rng):
    """Under a block_table axis 0 of key counts blocks, which may be as many as sequences."""
    q, pool = rng.standard_normal((4, 4, 1, 16), np.float32), rng.standard_normal((4, 16, 64), np.float32)
    f = dict(query=q, key=pool, value=pool, num_heads=4, input_layout='BNSD', scale=0.25, block_size=16,
             block_table=np.array([[3], [1], [0], [2]], np.int32), actual_seq_lengths_kv=[16, 5, 9, 2])
    cut_alike('fused_infer_attention_score', **f)


def test_adaptive_cuts_prefixes_and_slopes(rng):
    q = rng.standard_normal((3, 4, 12, 16), np.float32)
    f = dict(query=q, key=q, value=q, head_num=4, input_layout='BNSD', scale=0.25)
    cut_alike('fusion_attention', **f, prefix=[3, 7, 12], sparse_mode=6, atten_mask=np.triu(np.ones((3072, 2048), bool), 1))
    cut_alike('fusion_attention', **f, pse=rng.random((3, 4), np.float32), pse_type=2)


def test_adaptive_cuts_a_mask_of_one_row(rng):
    q, k = rng.standard_normal((3, 4, 1, 16), np.float32), rng.standard_normal((3, 4, 9, 16), np.float32)
    cut_alike('incre_flash_attention', query=q, key=k, value=k, num_heads=4, input_layout='BNSD',
              atten_mask=rng.random((3, 9)) < 0.3)


def test_adaptive_loses_nothing_when_memory_runs_out(rng, monkeypatch):
    """The guide's handler returned the first half of the batch."""
    q = rng.standard_normal((8, 2, 4, 16), np.float32)
    f = dict(query=q, key=q, value=q, head_num=2, input_layout='BNSD')
    want, sizes = fattn.fusion_attention(**f), []
    from fattn import operators
    real = operators.fusion_attention

    def scarce(**fields):
        sizes.append(len(fields['query']))
        if sizes[-1] > 3:
            raise fattn.OutOfMemory('out of memory')
        return real(**fields)

    monkeypatch.setattr(operators, 'fusion_attention', scarce)
    got = parts.adaptive('fusion_attention', limit=1 << 40, **f)
    assert np.array_equal(got.attention_out, want.attention_out) and sizes == [8, 4, 2, 2, 2, 2]


def test_adaptive_refusals(rng):
    q = rng.standard_normal((2, 2, 4, 16), np.float32)
    f = dict(query=q, key=q, value=q, head_num=2, input_layout='BNSD')
    with pytest.raises(fattn.OutOfMemory, match='out of memory: one sequence needs'):
        fattn.adaptive('fusion_attention', limit=10, **f)
    with pytest.raises(fattn.Unsupported, match='keep_prob 0.5'):
        fattn.adaptive('fusion_attention', limit=1 << 30, **f, keep_prob=0.5)
    with pytest.raises(fattn.Unsupported, match='antiquant_scale: scales are not cut'):
        cache = np.ones((2, 2, 4, 16), np.int8)
        fattn.adaptive('incre_flash_attention', limit=1, query=q[:, :, :1], key=cache, value=cache, num_heads=2,
                       input_layout='BNSD', antiquant_scale=np.ones((2, 2, 4), np.float32))
    with pytest.raises(fattn.Unsupported, match='TND'):
        fattn.adaptive('fusion_attention', limit=1 << 30, **{**f, 'input_layout': 'TND'})


def test_torch_tensors(torch):
    q, k, v = torch.randn(2, 4, 9, 16).half(), torch.randn(2, 2, 20, 16).half(), torch.randn(2, 2, 20, 16).half()
    got = fattn.chunked(q, k, v, chunk_size=6, causal=True)
    want = dense(*(x.double().numpy() for x in (q, k, v)), causal(9, 20))
    assert got.dtype == torch.float16 and float((got.double() - torch.from_numpy(want)).abs().max()) < 2e-3
    x = torch.randn(1, 2, 33, 16)
    assert fattn.hierarchical(x, x, x, window=8, summary=4).shape == x.shape
    assert torch.equal(fattn.adaptive('fusion_attention', limit=1 << 30, query=x, key=x, value=x, head_num=2,
                                      input_layout='BNSD')[0], fattn.fusion_attention(x, x, x, 2, 'BNSD')[0])
