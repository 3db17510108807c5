# SPDX-License-Identifier: Apache-2.0
"""Gradients of v1, v2 and v3 against the formula in torch's float64, gradcheck, and the operators of the backward."""
import pytest
import torch
from oracle import dense

VERSIONS = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3')
TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)


def inputs(dtype=torch.float32, b=2, n=4, n_kv=2, sq=5, sk=7, d=16, grad=True):
    return [torch.randn(b, h, s, d).to(dtype).requires_grad_(grad) for h, s in ((n, sq), (n_kv, sk), (n_kv, sk))]


def exact(tensors):
    return [x.detach().double().requires_grad_() for x in tensors]


def off(got, want):
    """Largest difference over the largest number of the answer."""
    return float((got.double() - want).abs().max() / want.abs().max())


# A gradient is a sum of about ten products of rounded factors; 16-bit results are rounded once more.
ENOUGH = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float64: 1e-13}


@pytest.mark.parametrize('dtype', ENOUGH)
@pytest.mark.parametrize('name', VERSIONS)
def test_gradients(ops, name, dtype):
    q, k, v = inputs(dtype)
    out = getattr(ops, name)(q, k, v, 4, 'BNSD', scale=0.25)[0]
    dy = torch.randn_like(out)
    x = exact((q, k, v))
    want = torch.autograd.grad(dense(*x, scale=0.25), x, dy.double())
    for got, exactly in zip(torch.autograd.grad(out, (q, k, v), dy), want):
        assert got.dtype == dtype and off(got, exactly) < ENOUGH[dtype]


@pytest.mark.parametrize('name', VERSIONS)
def test_causal_gradients(ops, name):
    q, k, v = inputs(sq=6, sk=6)
    out = getattr(ops, name)(q, k, v, 4, 'BNSD', atten_mask=TRIU, sparse_mode=2, scale=0.25)[0]
    dy = torch.randn_like(out)
    x = exact((q, k, v))
    want = torch.autograd.grad(dense(*x, keep=~TRIU[:6, :6], scale=0.25), x, dy.double())
    for got, exactly in zip(torch.autograd.grad(out, (q, k, v), dy), want):
        assert off(got, exactly) < 2e-6


@pytest.mark.parametrize('name', VERSIONS)
def test_bias_and_sink(ops, name):
    q, k, v = inputs()
    pse, sink = torch.randn(1, 4, 5, 7).requires_grad_(), torch.randn(4).requires_grad_()
    out = getattr(ops, name)(q, k, v, 4, 'BNSD', pse=pse, sink=sink, scale=0.25)[0]
    dy = torch.randn_like(out)
    x = exact((q, k, v, pse, sink))
    # pse_type 1 adds before the scale
    want = torch.autograd.grad(dense(*x[:3], scale=0.25, bias=x[3], sink=x[4]), x, dy.double())
    for got, exactly in zip(torch.autograd.grad(out, (q, k, v, pse, sink), dy), want):
        assert off(got, exactly) < 2e-6


def test_rope(ops):
    """The rotary parts are more columns of query and key."""
    q, k, v = inputs()
    q_rope, k_rope = torch.randn(2, 4, 5, 8).requires_grad_(), torch.randn(2, 2, 7, 8).requires_grad_()
    every = (q, k, v, q_rope, k_rope)
    out = ops.npu_fusion_attention_v2(q, k, v, 4, 'BNSD', query_rope=q_rope, key_rope=k_rope, scale=0.25)[0]
    dy = torch.randn_like(out)
    x = exact(every)
    whole = dense(torch.cat((x[0], x[3]), -1), torch.cat((x[1], x[4]), -1), x[2], scale=0.25)
    for got, exactly in zip(torch.autograd.grad(out, every, dy), torch.autograd.grad(whole, x, dy.double())):
        assert off(got, exactly) < 2e-6


@pytest.mark.parametrize('name', VERSIONS)
def test_gradcheck(ops, name):
    q, k, v = inputs(torch.float64, b=1, n=2, n_kv=1, sq=3, sk=4, d=4)
    pse = torch.randn(1, 2, 3, 4, dtype=torch.float64).requires_grad_()

    def attention(q, k, v, pse):
        return getattr(ops, name)(q, k, v, 2, 'BNSD', pse=pse, scale=0.5)[0]

    assert torch.autograd.gradcheck(attention, (q, k, v, pse))


def test_packed_sequences(ops):
    """Gradients of packed sequences are those of the sequences by themselves."""
    q, k, v = (torch.randn(9, h, 16).requires_grad_() for h in (4, 2, 2))
    ends = [2, 6, 9]
    out = ops.npu_fusion_attention(q, k, v, 4, 'TND', scale=0.25, actual_seq_qlen=ends, actual_seq_kvlen=ends)[0]
    dy = torch.randn_like(out)
    got = torch.autograd.grad(out, (q, k, v), dy)
    for lo, hi in zip([0] + ends, ends):
        x = exact([t[lo:hi].permute(1, 0, 2).unsqueeze(0) for t in (q, k, v)])
        want = torch.autograd.grad(dense(*x, scale=0.25), x, dy[lo:hi].permute(1, 0, 2).unsqueeze(0).double())
        for g, exactly in zip(got, want):
            assert off(g[lo:hi].permute(1, 0, 2).unsqueeze(0), exactly) < 2e-6


def test_some_inputs_only(ops):
    q, k, v = inputs(grad=False)
    k.requires_grad_()
    ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)[0].sum().backward()
    assert q.grad is None and v.grad is None and k.grad.shape == k.shape


def test_no_grad(ops):
    q, k, v = inputs()
    with torch.no_grad():
        assert not ops.npu_fusion_attention(q, k, v, 4, 'BNSD')[0].requires_grad
    with torch.inference_mode():
        assert not ops.npu_fusion_attention(q, k, v, 4, 'BNSD')[0].requires_grad


def test_second_derivatives_are_refused(ops):
    q, k, v = inputs()
    out = ops.npu_fusion_attention(q, k, v, 4, 'BNSD')[0]
    grad, = torch.autograd.grad(out.sum(), q, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


def test_statistics_are_constants(ops):
    q, k, v = inputs()
    out, maximum, total, *_ = ops.npu_fusion_attention(q, k, v, 4, 'BNSD')
    assert out.requires_grad and not maximum.requires_grad and not total.requires_grad


@pytest.mark.parametrize('out', (False, True))
def test_backward_operators(ops, out):
    """grad, grad_v2 and grad_v3 give what autograd gives; also into the caller's tensors."""
    q, k, v = inputs()
    pse = torch.randn(1, 4, 5, 7).requires_grad_()
    attention, maximum, total, *_ = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', pse=pse, scale=0.25)
    dy = torch.randn_like(attention)
    want = torch.autograd.grad(attention, (q, k, v, pse), dy)
    saved = dict(pse=pse, softmax_max=maximum, softmax_sum=total, attention_in=attention, scale_value=0.25)
    with torch.no_grad():
        every = [ops.npu_fusion_attention_grad(q, k, v, dy, 4, 'BNSD', **saved)]
        if out:
            made = ops._npu_fusion_attention_grad_v3_infer_output(q, k, v, pse=pse)
            every.append(ops.npu_fusion_attention_grad_v3.out(q, k, v, dy, 4, 'BNSD', **saved, out=list(made)))
        every += [ops.npu_fusion_attention_grad_v2(q, k, v, dy, 4, 'BNSD', **saved),
                  ops.npu_fusion_attention_grad_v3(q, k, v, dy, 4, 'BNSD', **saved)]
    for got in every:
        assert all(torch.equal(a, b) for a, b in zip(got[:4], want))
        assert got[-1].shape == (0, )


def test_v3_into_the_callers_tensors(ops):
    q, k, v = inputs(grad=False)
    want = ops.npu_fusion_attention_v3(q, k, v, 4, 'BNSD', scale=0.25)
    out = [torch.full_like(x, 3) for x in want]
    ops.npu_fusion_attention_v3.out(q, k, v, 4, 'BNSD', scale=0.25, out=out)
    assert all(torch.equal(a, b) for a, b in zip(out, want))
    shapes = ops._npu_fusion_attention_v3_infer_output(q, k, v, 4, 'BNSD')
    assert [x.shape for x in shapes] == [x.shape for x in want[:3]]
