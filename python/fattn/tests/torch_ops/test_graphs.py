# SPDX-License-Identifier: Apache-2.0
"""torch.library.opcheck, torch.compile, TorchScript, torch.export, vmap."""
import pytest
import torch
import torch._dynamo.testing
from torch.library import opcheck

VERSIONS = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3')
TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)


def qkv(dtype=torch.float32, grad=False, sq=5, sk=7):
    return [torch.randn(2, h, s, 16).to(dtype).requires_grad_(grad) for h, s in ((4, sq), (2, sk), (2, sk))]


def saved(ops, q, k, v):
    out, maximum, total, *_ = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)
    return dict(softmax_max=maximum, softmax_sum=total, attention_in=out, scale_value=0.25)


def training_calls(ops):
    q, k, v = qkv()
    kept = saved(ops, q, k, v)
    dy = torch.randn(2, 4, 5, 16)
    for name in VERSIONS:
        yield name, tuple(qkv(grad=True)) + (4, 'BNSD'), dict(scale=0.25)
        yield name, (q, k, v, 4, 'BNSD'), dict(scale=0.25, pse=torch.randn(1, 4, 5, 7), sink=torch.randn(4))
        yield name.replace('attention', 'attention_grad', 1), (q, k, v, dy, 4, 'BNSD'), kept
    yield 'npu_fusion_attention_v2', (q, k, v, 4, 'BNSD'), dict(query_rope=torch.randn(2, 4, 5, 8),
                                                               key_rope=torch.randn(2, 2, 7, 8))
    packed = [torch.randn(9, h, 16, requires_grad=True) for h in (4, 2, 2)]
    yield VERSIONS[0], (*packed, 4, 'TND'), dict(actual_seq_qlen=[2, 9], actual_seq_kvlen=[4, 9])
    yield '_npu_fusion_attention_v3_infer_output', (q, k, v, 4, 'BNSD'), {}
    yield '_npu_fusion_attention_grad_v3_infer_output', (q, k, v), {}
    yield '_npu_fusion_attention_v3_get_max_workspace', (q, k, v, 4, 'BNSD'), {}
    yield '_npu_fusion_attention_grad_v3_get_max_workspace', (q, k, v, dy, 4, 'BNSD'), {}


def inference_calls():
    q, k, v = qkv(torch.float16)
    heads = dict(num_key_value_heads=2, input_layout='BNSD')
    yield 'npu_prompt_flash_attention', (q, k, v), dict(num_heads=4, scale_value=0.25, **heads)
    yield 'npu_incre_flash_attention', (q[:, :, :1].contiguous(), k, v), dict(num_heads=4, scale_value=0.25, **heads)
    for flag in (False, True):
        yield 'npu_fused_infer_attention_score', (q, k, v), dict(num_heads=4, softmax_lse_flag=flag, **heads)
        yield ('npu_fused_infer_attention_score_v2', (q, k, v),
               dict(num_query_heads=4, return_softmax_lse=flag, actual_seq_kvlen=[7, 3], **heads))
    yield '_npu_fused_infer_attention_score_infer_output', (q, v), dict(num_heads=4, **heads)
    yield '_npu_fused_infer_attention_score_v2_infer_output', (q, v), dict(num_query_heads=4, **heads)
    yield '_npu_fused_infer_attention_score_get_max_workspace', (q, k, v), dict(num_heads=4, **heads)
    yield '_npu_fused_infer_attention_score_v2_get_max_workspace', (q, k, v), dict(num_query_heads=4, **heads)


def other_calls():
    stats = torch.rand(2, 4, 6, 1).expand(-1, -1, -1, 8).contiguous() + 0.5
    side = torch.randn(6, 2, 64), stats, stats.clone()
    yield 'npu_ring_attention_update', side + tuple(x.clone() for x in side), dict(input_layout='SBH')
    yield 'npu_attention_update', ([torch.randn(6)] * 2, [torch.randn(6, 8)] * 2, 1), {}
    yield '_npu_dropout_gen_mask', (torch.empty(1), [300], 0.3, 1, 2), {}
    yield ('npu_advance_step_flashattn',
           (torch.tensor([1, 2]), torch.tensor([[11], [12]]), torch.tensor([4, 8]), torch.tensor([5, 9]),
            torch.tensor([0, 0]), torch.tensor([[3, 1], [2, 5]]), 2, 2, 8), {})


RULES = ('test_schema', 'test_autograd_registration', 'test_faketensor', 'test_aot_dispatch_dynamic')


def test_every_operator_keeps_torchs_rules(ops):
    """Schema, autograd registration, fake tensors and AOT dispatch with dynamic shapes, of every functional operator.

    v1 and v2 return numels as a number, which a graph of dynamic shapes cannot hold without being bound to them: it
    is 0 there, and the last rule, which compares it, is test_dynamic_lengths' affair. It also compares what lies in
    the tensors of infer_output and get_max_workspace, which is anything."""
    seen = set()
    for name, args, named in (*training_calls(ops), *inference_calls(), *other_calls()):
        packet = getattr(ops, name)
        overload = packet.Tensor if name == '_npu_dropout_gen_mask' else packet.default
        compared = name not in VERSIONS[:2] and not name.endswith(('infer_output', 'get_max_workspace'))
        opcheck(overload, args, named, test_utils=RULES if compared else RULES[:3])
        seen.add(name)
    from fattn.torch import SCHEMAS
    # without tensors among the arguments (npu_dropout_gen_mask) there is nothing to check; .out is for eager alone
    assert seen == {name.partition('.')[0] for name in SCHEMAS} - {'npu_dropout_gen_mask'}


def compiled(function, *args, backend='aot_eager'):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)(*args)


@pytest.mark.parametrize('name', VERSIONS)
def test_compiled_training(ops, name):
    def block(q, k, v):
        return (getattr(torch.ops.npu, name)(q.sin(), k, v, 4, 'BNSD', scale=0.25, keep_prob=0.75)[0] * 2).cos()

    q, k, v = qkv(grad=True)
    torch.manual_seed(4)
    want = block(q, k, v)
    gradients = torch.autograd.grad(want.sum(), (q, k, v))
    torch.manual_seed(4)
    got = compiled(block, q, k, v)
    assert torch.equal(got, want)
    for a, b in zip(torch.autograd.grad(got.sum(), (q, k, v)), gradients):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_compiled_masks_do_not_freeze(ops):
    def block(q, k, v):
        return torch.ops.npu.npu_fusion_attention(q, k, v, 4, 'BNSD', keep_prob=0.5)[0]

    torch._dynamo.reset()
    graph = torch.compile(block, fullgraph=True, backend='aot_eager')
    q, k, v = qkv()
    assert not torch.equal(graph(q, k, v), graph(q, k, v))


def test_compiled_inference(ops):
    def block(q, k, v):
        out, lse = torch.ops.npu.npu_fused_infer_attention_score(q, k, v, num_heads=4, num_key_value_heads=2,
                                                                 input_layout='BNSD', softmax_lse_flag=True)
        return out + 1, lse

    q, k, v = qkv()
    for got, want in zip(compiled(block, q, k, v), block(q, k, v)):
        assert torch.equal(got, want)


def test_compiled_step_writes_in_place(ops):
    def step(tokens, sampled, positions, lengths, slots, tables):
        torch.ops.npu.npu_advance_step_flashattn(tokens, sampled, positions, lengths, slots, tables, 2, 2, 8)
        return positions + 1

    def data():
        return (torch.tensor([1, 2]), torch.tensor([[11], [12]]), torch.tensor([4, 8]), torch.tensor([5, 9]),
                torch.tensor([0, 0]), torch.tensor([[3, 1], [2, 5]]))

    a, b = data(), data()
    assert torch.equal(compiled(step, *a), step(*b))
    assert all(torch.equal(x, y) for x, y in zip(a, b))


def test_inductor(ops):
    def block(q, k, v, w):
        out = torch.ops.npu.npu_fusion_attention(q * 2, k, v, 4, 'BNSD', scale=0.25, atten_mask=TRIU, sparse_mode=3)[0]
        return torch.nn.functional.gelu(out @ w)

    q, k, v = qkv(grad=True)
    w = torch.randn(16, 16)
    want = block(q, k, v, w)
    got = compiled(block, q, k, v, w, backend='inductor')
    torch.testing.assert_close(got, want)
    for a, b in zip(torch.autograd.grad(got.sum(), (q, k, v)), torch.autograd.grad(want.sum(), (q, k, v))):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', VERSIONS)
def test_dynamic_lengths(ops, name):
    """One graph for all lengths, forward and backward."""
    def block(q, k, v):
        return getattr(torch.ops.npu, name)(q, k, v, 4, 'BNSD', scale=0.25)[0] * 2

    torch._dynamo.reset()
    graphs = torch._dynamo.testing.CompileCounterWithBackend('aot_eager')
    graph = torch.compile(block, fullgraph=True, backend=graphs, dynamic=True)
    for length in (5, 9, 13):
        q, k, v = qkv(sq=length, sk=length + 2, grad=True)
        got, want = graph(q, k, v), block(q, k, v)
        assert torch.equal(got, want)
        for a, b in zip(torch.autograd.grad(got.sum(), (q, k, v)), torch.autograd.grad(want.sum(), (q, k, v))):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    assert graphs.frame_count == 1


def test_export(ops):
    class Model(torch.nn.Module):

        def forward(self, q, k, v):
            return torch.ops.npu.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)[0]

    q, k, v = qkv()
    program = torch.export.export(Model(), (q, k, v))
    assert torch.equal(program.module()(q, k, v), Model()(q, k, v))


@torch.jit.script
def scripted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
    return torch.ops.npu.npu_fusion_attention(q, k, v, 4, "BNSD", scale=0.25)[0]


@torch.jit.script
def scripted_decode(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
    return torch.ops.npu.npu_incre_flash_attention(q, k, v, num_heads=4, num_key_value_heads=2, input_layout="BNSD",
                                                   scale_value=0.25)


def test_torchscript(ops):
    q, k, v = qkv()
    assert torch.equal(scripted(q, k, v), ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)[0])
    one = q[:, :, :1].contiguous()
    want = ops.npu_incre_flash_attention(one, k, v, num_heads=4, num_key_value_heads=2, input_layout='BNSD',
                                         scale_value=0.25)
    assert torch.equal(scripted_decode(one, k, v), want)


@pytest.mark.parametrize('name', VERSIONS)
def test_vmap_is_refused(ops, name):
    q, k, v = (x.unsqueeze(0) for x in qkv())

    def block(q, k, v):
        return getattr(ops, name)(q, k, v, 4, 'BNSD')[0]

    with pytest.raises(RuntimeError, match='torch.vmap is not supported; the operator has a batch axis of its own'):
        torch.func.vmap(block)(q, k, v)


def test_per_sample_gradients_are_refused(ops):
    q, k, v = (x.unsqueeze(0) for x in qkv())

    def loss(q, k, v):
        return ops.npu_fusion_attention(q, k, v, 4, 'BNSD')[0].sum()

    with pytest.raises(RuntimeError):
        torch.func.vmap(torch.func.grad(loss))(q, k, v)
