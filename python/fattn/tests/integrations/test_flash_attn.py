# SPDX-License-Identifier: Apache-2.0
"""The functions of flash_attn against their formula in float64: causal and windows from the last query and key."""
import math

import pytest
import torch

import fattn
from fattn.integrations.flash_attn import (flash_attn_func, flash_attn_kvpacked_func, flash_attn_qkvpacked_func,
                                           flash_attn_varlen_func, flash_attn_with_kvcache)


def exact(q, k, v, causal=False, window=(-1, -1), slopes=None, scale=None):
    """(out (S, N, D), lse (N, S)) of one sequence in float64."""
    q, k, v = (x.double().transpose(0, 1) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[0] // k.shape[0], 0) for x in (k, v))
    sq, sk = q.shape[1], k.shape[1]
    i, j = torch.arange(sq)[:, None] + sk - sq, torch.arange(sk)
    x = q @ k.transpose(1, 2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if slopes is not None:
        x = x - slopes.double()[:, None, None] * (i - j).abs()
    left, right = window[0], 0 if causal else window[1]
    seen = torch.ones(sq, sk, dtype=torch.bool)
    if left >= 0:
        seen &= j >= i - left
    if right >= 0:
        seen &= j <= i + right
    x = x.masked_fill(~seen, -torch.inf)
    p = torch.where(seen.any(-1, keepdim=True), torch.softmax(x, -1), 0.0)
    lse = torch.where(seen.any(-1), torch.logsumexp(x, -1), torch.inf)
    return (p @ v).transpose(0, 1), lse


def tensors(b=2, sq=6, sk=9, n=4, n_kv=2, d=16, dtype=torch.float32):
    return [torch.randn(b, s, h, d).to(dtype) for s, h in ((sq, n), (sk, n_kv), (sk, n_kv))]


WINDOWS = [(False, (-1, -1)), (True, (-1, -1)), (True, (3, -1)), (False, (2, 1)), (False, (-1, 2)), (False, (2, -1)), (True, (2, 5))]


@pytest.mark.parametrize('causal, window', WINDOWS)
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 2e-6), (torch.float16, 2e-3)])
def test_dense(causal, window, dtype, tolerance):
    q, k, v = (x.requires_grad_() for x in tensors(dtype=dtype))
    out, lse, probabilities = flash_attn_func(q, k, v, causal=causal, window_size=window, return_attn_probs=True)
    assert probabilities is None and lse.shape == (2, 4, 6)
    assert torch.equal(flash_attn_func(q, k, v, 0.0, None, causal, window), out)
    xs = [x.detach().double().requires_grad_() for x in (q, k, v)]
    want = [exact(*(x[b] for x in xs), causal, window) for b in range(2)]
    torch.testing.assert_close(out.double(), torch.stack([w[0] for w in want]), rtol=0, atol=tolerance * 3)
    torch.testing.assert_close(lse.double(), torch.stack([w[1] for w in want]), rtol=0, atol=1e-3 if tolerance > 1e-3 else 1e-5)
    dy = torch.randn_like(out)
    wanted = torch.autograd.grad(torch.stack([w[0] for w in want]), xs, dy.double())
    for a, b in zip(torch.autograd.grad(out, (q, k, v), dy), wanted):
        assert float((a - b).abs().max()) < 5 * tolerance * float(b.abs().max())


@pytest.mark.parametrize('sq, sk', [(9, 9), (4, 9), (1, 9)])
@pytest.mark.parametrize('by_batch', (False, True))
def test_slopes(sq, sk, by_batch):
    q, k, v = tensors(sq=sq, sk=sk)
    slopes = torch.rand(2, 4) if by_batch else torch.rand(4)
    out = flash_attn_func(q, k, v, causal=True, alibi_slopes=slopes)
    want = torch.stack([exact(q[b], k[b], v[b], True, slopes=slopes[b] if by_batch else slopes)[0] for b in range(2)])
    torch.testing.assert_close(out.double(), want, rtol=0, atol=1e-5)


def test_packed_forms():
    qkv = torch.randn(2, 7, 3, 4, 16)
    want = flash_attn_func(*qkv.unbind(2), causal=True)
    assert torch.equal(flash_attn_qkvpacked_func(qkv, causal=True), want)
    assert torch.equal(flash_attn_kvpacked_func(qkv[:, :, 0], qkv[:, :, 1:], causal=True), want)


@pytest.mark.parametrize('causal, window', WINDOWS)
def test_variable_lengths(causal, window):
    q_ends, k_ends = [0, 3, 5, 9], [0, 4, 9, 13]
    q, k, v = (torch.randn(t, h, 16).requires_grad_() for t, h in ((9, 4), (13, 2), (13, 2)))
    out, lse, _ = flash_attn_varlen_func(q, k, v, torch.tensor(q_ends, dtype=torch.int32), torch.tensor(k_ends, dtype=torch.int32),
                                         4, 5, causal=causal, window_size=window, return_attn_probs=True)
    assert lse.shape == (4, 9)
    want = [exact(q[a:b], k[c:d], v[c:d], causal, window) for a, b, c, d in zip(q_ends, q_ends[1:], k_ends, k_ends[1:])]
    torch.testing.assert_close(out.double(), torch.cat([w[0] for w in want]), rtol=0, atol=1e-5)
    torch.testing.assert_close(lse.double(), torch.cat([w[1] for w in want], 1), rtol=0, atol=1e-5)
    out.sum().backward()
    assert q.grad.shape == q.shape and k.grad.abs().sum() > 0


def paged(k, v, rows=16):
    """Keys and values (B, S, N, D) in pages of a random order, and the table."""
    b, s, n, d = k.shape
    blocks = -(-s // rows)
    order = torch.randperm(b * blocks)
    pages = [torch.zeros(b * blocks, rows, n, d, dtype=k.dtype) for _ in range(2)]
    table = order.view(b, blocks).int()
    for i in range(b):
        for t in range(s):
            for page, x in zip(pages, (k, v)):
                page[table[i, t // rows], t % rows] = x[i, t]
    return *pages, table


def test_variable_lengths_in_pages():
    q, (k, v) = torch.randn(5, 4, 16), (torch.randn(2, 40, 2, 16) for _ in range(2))
    k_pages, v_pages, table = paged(k, v)
    out = flash_attn_varlen_func(q, k_pages, v_pages, [0, 2, 5], [0, 40, 57], causal=True, block_table=table)
    want = torch.cat([exact(q[:2], k[0], v[0], True)[0], exact(q[2:], k[1, :17], v[1, :17], True)[0]])
    torch.testing.assert_close(out.double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize('pages', (False, True))
@pytest.mark.parametrize('new', (0, 1, 3))
def test_cache(new, pages):
    """New rows are written behind what is there, and seen."""
    lengths = [20, 9]
    q, k, v = tensors(sq=max(new, 1), sk=40)
    k_new, v_new = (torch.randn(2, new, 2, 16) for _ in range(2))
    full_k, full_v = k.clone(), v.clone()
    for b, n in enumerate(lengths):
        full_k[b, n:n + new], full_v[b, n:n + new] = k_new[b], v_new[b]
    caches, table = (k.clone(), v.clone()), None
    if pages:
        *caches, table = paged(k, v)
    appended = dict(k=k_new, v=v_new) if new else {}
    out, lse = flash_attn_with_kvcache(q, *caches, **appended, cache_seqlens=torch.tensor(lengths, dtype=torch.int32),
                                       block_table=table, causal=True, return_softmax_lse=True)
    for b, n in enumerate(lengths):
        want, want_lse = exact(q[b], full_k[b, :n + new], full_v[b, :n + new], True)
        torch.testing.assert_close(out[b].double(), want, rtol=0, atol=1e-5)
        torch.testing.assert_close(lse[b].double(), want_lse, rtol=0, atol=1e-5)
    if not pages:
        for b, n in enumerate(lengths):
            assert torch.equal(caches[0][b, :n + new], full_k[b, :n + new])


def test_cache_of_other_rows():
    """cache_batch_idx says which row of the cache a sequence has."""
    q, k, v = tensors(b=3, sq=1, sk=20)
    new = [torch.randn(2, 1, 2, 16) for _ in range(2)]
    before = k.clone()
    out = flash_attn_with_kvcache(q[:2], k, v, *new, cache_seqlens=5, cache_batch_idx=torch.tensor([2, 0]))
    assert torch.equal(k[2, 5], new[0][0, 0]) and torch.equal(k[0, 5], new[0][1, 0]) and torch.equal(k[1], before[1])
    torch.testing.assert_close(out[0].double(), exact(q[0], k[2, :6], v[2, :6])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize('by_batch', (False, True))
@pytest.mark.parametrize('k_ends', ([0, 3, 5, 9], [0, 4, 9, 13]))
def test_variable_lengths_with_slopes(by_batch, k_ends):
    q_ends, slopes = [0, 3, 5, 9], torch.rand(3, 4) if by_batch else torch.rand(4)
    q, k, v = (torch.randn(t, h, 16) for t, h in ((9, 4), (k_ends[-1], 2), (k_ends[-1], 2)))
    out, lse, _ = flash_attn_varlen_func(q, k, v, q_ends, k_ends, causal=True, alibi_slopes=slopes, return_attn_probs=True)
    want = [exact(q[a:b], k[c:d], v[c:d], True, slopes=slopes[i] if by_batch else slopes)
            for i, (a, b, c, d) in enumerate(zip(q_ends, q_ends[1:], k_ends, k_ends[1:]))]
    torch.testing.assert_close(out.double(), torch.cat([w[0] for w in want]), rtol=0, atol=1e-5)
    torch.testing.assert_close(lse.double(), torch.cat([w[1] for w in want], 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize('lengths, blocks, sentence', [
    ([3], None, 'cache_seqlens: 1 lengths for 2 sequences'), ([3, -1], None, r'cache_seqlens\[1\]: -1'),
    ([3, 41], None, r'cache_seqlens\[1\]: 41'), ([3, 4], [[0, 1], [9, 2]], r'block_table\[1,0\]: 9'),
])
def test_a_refused_call_leaves_the_cache(lengths, blocks, sentence):
    q, k, v = tensors(sq=1, sk=40)
    table = None
    if blocks:
        k, v, table = k.reshape(4, 20, 2, 16), v.reshape(4, 20, 2, 16), torch.tensor(blocks, dtype=torch.int32)
    before, new = k.clone(), torch.randn(2, 1, 2, 16)
    with pytest.raises(fattn.Error, match=sentence):
        flash_attn_with_kvcache(q, k, v, new, new, cache_seqlens=torch.tensor(lengths), block_table=table)
    assert torch.equal(k, before)


@pytest.mark.parametrize('call, sentence', [
    (lambda q, k, v: flash_attn_func(q, k, v, softcap=30.0), 'softcap: 30.0: the operators have none'),
    (lambda q, k, v: flash_attn_with_kvcache(q, k, v, rotary_cos=torch.ones(1)), 'rotary_cos'),
    (lambda q, k, v: flash_attn_with_kvcache(q, k, v, k=k), 'k, v: both or none'),
    (lambda q, k, v: flash_attn_with_kvcache(q, k, v, k, v, cache_seqlens=5), 'cache_seqlens: 5 and 9 new rows'),
    (lambda q, k, v: flash_attn_varlen_func(q[0], k[0], v[0], [3, 6], [0, 9]), 'cu_seqlens_q: cumulative lengths begin with 0'),
])
def test_refusals(call, sentence):
    with pytest.raises(fattn.Error, match=sentence):
        call(*tensors())


def test_dropout():
    q, k, v = tensors()
    torch.manual_seed(1)
    a = flash_attn_func(q, k, v, dropout_p=0.3)
    torch.manual_seed(1)
    assert torch.equal(flash_attn_func(q, k, v, dropout_p=0.3), a) and not torch.equal(a, flash_attn_func(q, k, v))
