# SPDX-License-Identifier: Apache-2.0
"""Dropout: the mask, torch's generators, what comes back, what the backward uses, recomputation."""
import subprocess
import sys

import pytest
import torch
from oracle import dense, unpacked
from torch.utils.checkpoint import checkpoint

VERSIONS = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3')
SHAPE = (2, 4, 16, 24)  # of the scores


def inputs(grad=False):
    return [torch.randn(2, h, s, 16).requires_grad_(grad) for h, s in ((4, 16), (2, 24), (2, 24))]


def numbers(results):
    return [int(x) for x in results[4:6]]


@pytest.mark.parametrize('name', VERSIONS)
def test_the_generator_decides(ops, name):
    q, k, v = inputs()

    def call():
        return getattr(ops, name)(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.7)

    torch.manual_seed(5)
    first, second = call(), call()
    torch.manual_seed(5)
    again = call()
    assert torch.equal(first[0], again[0]) and numbers(first) == numbers(again)
    assert not torch.equal(first[0], second[0]) and numbers(first) != numbers(second)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        assert torch.equal(call()[0], first[0])


@pytest.mark.parametrize('name', VERSIONS)
def test_values_and_gradients(ops, name):
    """The mask of the returned numbers, put into the formula."""
    q, k, v = inputs(True)
    results = getattr(ops, name)(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.7)
    seed, offset = numbers(results)
    dropped = unpacked(ops._npu_dropout_gen_mask(q, list(SHAPE), 1 - 0.7, seed, offset), SHAPE)
    assert 0.2 < float(dropped.float().mean()) < 0.4
    x = [t.detach().double().requires_grad_() for t in (q, k, v)]
    want = dense(*x, scale=0.25, dropped=dropped, keep_prob=0.7)
    torch.testing.assert_close(results[0].double(), want, rtol=1e-5, atol=1e-6)
    dy = torch.randn_like(results[0])
    for got, exact in zip(torch.autograd.grad(results[0], (q, k, v), dy), torch.autograd.grad(want, x, dy.double())):
        torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', VERSIONS[:2])
def test_given_seed_and_offset(ops, name):
    q, k, v = inputs()
    drawn = getattr(ops, name)(q, k, v, 4, 'BNSD', keep_prob=0.5)
    given = getattr(ops, name)(q, k, v, 4, 'BNSD', keep_prob=0.5, seed=drawn[4], offset=drawn[5])
    assert torch.equal(drawn[0], given[0]) and given[4:6] == drawn[4:6]


def test_mask_of_the_caller(ops):
    q, k, v = inputs(True)
    mask = ops._npu_dropout_gen_mask(q, list(SHAPE), 0.4, 9, 0)
    out = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.6, dropout_mask=mask)[0]
    x = [t.detach().double().requires_grad_() for t in (q, k, v)]
    want = dense(*x, scale=0.25, dropped=unpacked(mask, SHAPE), keep_prob=0.6)
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-6)
    dy = torch.randn_like(out)
    for got, exact in zip(torch.autograd.grad(out, (q, k, v), dy), torch.autograd.grad(want, x, dy.double())):
        torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('reentrant', (False, True))
@pytest.mark.parametrize('name', VERSIONS)
def test_checkpoint_draws_the_same_mask(ops, name, reentrant):
    def block(q, k, v):
        return getattr(ops, name)(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.7)[0].sin()

    q, k, v = inputs(True)
    torch.manual_seed(8)
    plain = torch.autograd.grad(block(q, k, v).sum(), (q, k, v))
    torch.manual_seed(8)
    out = checkpoint(block, q, k, v, use_reentrant=reentrant)
    torch.randn(3)  # the generator moves on before the recomputation
    out.sum().backward()
    for x, want in zip((q, k, v), plain):
        assert torch.equal(x.grad, want)


def test_keep_prob_one_draws_nothing(ops):
    q, k, v = inputs()
    state = torch.random.get_rng_state()
    ops.npu_fusion_attention(q, k, v, 4, 'BNSD', keep_prob=1.0)
    assert torch.equal(state, torch.random.get_rng_state())


MODE = """
import torch
import fattn.torch
from torch.utils._python_dispatch import TorchDispatchMode

class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return operator(*args, **(kwargs or {}))

x = torch.randn(1, 2, 4, 16)
torch.manual_seed(1)
want = torch.ops.npu.npu_fusion_attention(x, x, x, 2, 'BNSD', keep_prob=0.5)
torch.manual_seed(1)
with Watching():
    got = torch.ops.npu.npu_fusion_attention(x, x, x, 2, 'BNSD', keep_prob=0.5)
assert torch.equal(got[0], want[0]) and got[4:] == want[4:], (got[4:], want[4:])
"""


def test_modes_see_the_same_mask():
    """In a process that has compiled nothing."""
    subprocess.run([sys.executable, '-c', MODE], check=True)
