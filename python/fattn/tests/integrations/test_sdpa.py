# SPDX-License-Identifier: Apache-2.0
"""scaled_dot_product_attention against torch's own in float64, and the replacement in modules."""
import math

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from fattn.integrations.sdpa import replacement, scaled_dot_product_attention

TORCHS = functional.scaled_dot_product_attention


def check(args, tolerance=2e-6, **named):
    """Forward and gradients; masks that are floats are differentiable, too."""
    xs = [x.clone().requires_grad_(x.is_floating_point()) for x in args]
    exact = [x.detach().double().requires_grad_() for x in args]
    mask = named.pop('attn_mask', None)
    masks = [None, None]
    if mask is not None:
        masks = [mask, mask.double() if mask.is_floating_point() else mask]
        masks = [m.clone().requires_grad_() if m.is_floating_point() else m for m in masks]
    got = scaled_dot_product_attention(*xs, masks[0], **named)
    want = TORCHS(*exact, masks[1], **named)
    assert got.shape == want.shape and got.dtype == args[0].dtype
    assert float((got - want).abs().max()) < tolerance * max(1, float(want.abs().max()))
    dy = torch.randn_like(got)
    leaves = xs + [m for m in masks[:1] if m is not None and m.is_floating_point()]
    wanted = exact + [m for m in masks[1:] if m is not None and m.is_floating_point()]
    for a, b in zip(torch.autograd.grad(got, leaves, dy), torch.autograd.grad(want, wanted, dy.double())):
        assert float((a - b).abs().max()) < 4 * tolerance * max(1, float(b.abs().max()))


def qkv(b=2, n=4, n_kv=4, l=6, s=9, e=16, ev=16, dtype=torch.float32):
    return [torch.randn(b, h, t, d).to(dtype) for h, t, d in ((n, l, e), (n_kv, s, e), (n_kv, s, ev))]


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2),
                                              (torch.float64, 1e-12)])
@pytest.mark.parametrize('is_causal', (False, True))
def test_dtypes(dtype, tolerance, is_causal):
    check(qkv(dtype=dtype), tolerance, is_causal=is_causal)


@pytest.mark.parametrize('l, s', [(6, 9), (9, 6), (1, 7), (7, 7)])
def test_causal_counts_from_the_first_key(l, s):
    check(qkv(l=l, s=s), is_causal=True)


MASKS = {
    'rows by keys': lambda: torch.rand(6, 9) > 0.3, 'batches': lambda: torch.rand(2, 1, 6, 9) > 0.3,
    'heads': lambda: torch.rand(1, 4, 6, 9) > 0.3, 'all': lambda: torch.rand(2, 4, 6, 9) > 0.3,
    'keys': lambda: torch.rand(2, 1, 1, 9) > 0.3, 'added': lambda: torch.randn(6, 9),
    'added by head': lambda: torch.randn(1, 4, 6, 9), 'added everywhere': lambda: torch.randn(2, 4, 6, 9),
    'added -inf': lambda: torch.randn(2, 1, 6, 9).masked_fill(torch.rand(2, 1, 6, 9) < 0.3, -torch.inf)
}


@pytest.mark.parametrize('name', MASKS)
def test_masks(name):
    mask = MASKS[name]()
    (mask if mask.dtype == torch.bool else mask)[..., 0] = True if mask.dtype == torch.bool else 0.0  # no row without a key
    check(qkv(), attn_mask=mask)


def test_rows_that_see_nothing_are_0():
    mask = torch.ones(6, 9, dtype=torch.bool)
    mask[2] = False
    out = scaled_dot_product_attention(*qkv(), mask)
    assert not out[:, :, 2].any() and out[:, :, 1].any()


@pytest.mark.parametrize('shape', [(3, ), (2, 4), (2, 3, 4)])
def test_ranks(shape):
    args = [torch.randn(*shape, t, 16) for t in (6, 9, 9)]
    check(args, is_causal=True)


def test_shared_heads_scale_and_narrow_values():
    check(qkv(n=8, n_kv=2), enable_gqa=True, scale=0.3)
    check(qkv(e=24, ev=8))


def test_transposed_inputs():
    args = [torch.randn(2, t, 4, 16).transpose(1, 2) for t in (6, 9, 9)]
    check(args, is_causal=True)


def test_dropout_follows_the_generator():
    args = qkv()
    torch.manual_seed(3)
    a = scaled_dot_product_attention(*args, dropout_p=0.4)
    torch.manual_seed(3)
    assert torch.equal(scaled_dot_product_attention(*args, dropout_p=0.4), a)
    assert not torch.equal(a, scaled_dot_product_attention(*args, dropout_p=0.4))
    many = torch.stack([scaled_dot_product_attention(*args, dropout_p=0.4) for _ in range(300)]).mean(0)
    assert float((many - TORCHS(*args)).abs().mean()) < 0.1


@pytest.mark.parametrize('call, reason', [
    (lambda: scaled_dot_product_attention(*qkv(n=3, n_kv=2, l=9), enable_gqa=False), 'head counts'),
    (lambda: scaled_dot_product_attention(*(x[0, 0] for x in qkv())), 'ranks'),
])
def test_what_torch_computes_instead(call, reason):
    with pytest.warns(UserWarning, match=f'{reason}: not for fattn'):
        try:
            call()
        except RuntimeError:
            pass  # torch's own refusal


class Calls(TorchDispatchMode):
    """The names of the operators that are called inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_the_replacement():
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    x = torch.randn(2, 10, 32)
    want = layer(x)
    with replacement(), Calls() as calls:
        assert functional.scaled_dot_product_attention is scaled_dot_product_attention
        with replacement():
            got = layer(x)
        assert functional.scaled_dot_product_attention is scaled_dot_product_attention
        model = torch.nn.MultiheadAttention(32, 4, batch_first=True)
        model(x, x, x, need_weights=False)[0].sum().backward()
    assert functional.scaled_dot_product_attention is TORCHS
    assert sum(name.startswith('npu.npu_fusion_attention_v2') for name in calls.names) == 2  # layer and model
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)


def test_a_sink_takes_its_share():
    q, k, v = qkv()
    sink = torch.randn(4)
    x = (q.double() @ k.double().transpose(-1, -2)) / math.sqrt(16)
    p = torch.softmax(torch.cat([x, sink.double().view(1, 4, 1, 1).expand(2, 4, 6, 1)], -1), -1)[..., :-1]
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, sink=sink).double(), p @ v.double(), rtol=1e-5, atol=1e-6)
