# SPDX-License-Identifier: Apache-2.0
"""The attention operators on npu tensors, against float64 and against the same call on the CPU."""
import warnings

import pytest
import torch
import torch_npu
from oracle import check_inference, check_training, dense, unpacked
from torch.utils.checkpoint import checkpoint

import fattn

TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)
VERSIONS = ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3')


def moved(f):
    """The arguments of a call on the npu."""
    return {name: x.npu() if isinstance(x, torch.Tensor) else x for name, x in f.items()}


def back(results):
    return [x.cpu() if isinstance(x, torch.Tensor) else x for x in results]


def qkv(sq=5, sk=7, dtype=torch.float32):
    return dict(query=torch.randn(2, 4, sq, 16).to(dtype), key=torch.randn(2, 2, sk, 16).to(dtype),
                value=torch.randn(2, 2, sk, 16).to(dtype), input_layout='BNSD')


@pytest.mark.parametrize('dtype', (torch.float32, torch.float16, torch.bfloat16, torch.float64))
@pytest.mark.parametrize('name', VERSIONS)
def test_training(name, dtype):
    f = qkv(dtype=dtype) | dict(head_num=4, scale=0.25, sparse_mode=3, atten_mask=TRIU)
    results = getattr(torch_npu, name)(**moved(f))
    assert results[0].is_npu and results[1].is_npu
    check_training(back(results), f)


@pytest.mark.parametrize('name', VERSIONS)
def test_gradients(name):
    f = qkv()
    on_npu = [f[n].npu().requires_grad_() for n in ('query', 'key', 'value')]
    out = getattr(torch_npu, name)(*on_npu, 4, 'BNSD', scale=0.25)[0]
    dy = torch.randn(out.shape)
    x = [f[n].double().requires_grad_() for n in ('query', 'key', 'value')]
    want = torch.autograd.grad(dense(*x, scale=0.25), x, dy.double())
    for got, exact in zip(torch.autograd.grad(out, on_npu, dy.npu()), want):
        assert got.is_npu
        torch.testing.assert_close(got.cpu().double(), exact, rtol=1e-5, atol=1e-6)


def test_prompt_incre_and_fused():
    f = qkv() | dict(num_heads=4, num_key_value_heads=2)
    prompt = f | dict(scale_value=0.25, next_tokens=2147483647)
    check_inference('prompt_flash_attention', back([torch_npu.npu_prompt_flash_attention(**moved(prompt))]), prompt)
    incre = qkv(sq=1) | dict(num_heads=4, num_key_value_heads=2, scale_value=0.25)
    check_inference('incre_flash_attention', back([torch_npu.npu_incre_flash_attention(**moved(incre))]), incre)
    fused = f | dict(scale=0.25, softmax_lse_flag=True, sparse_mode=3, atten_mask=TRIU)
    results = torch_npu.npu_fused_infer_attention_score(**moved(fused))
    check_inference('fused_infer_attention_score', back(results), fused)
    out = [torch.empty_like(x) for x in results]
    torch_npu.npu_fused_infer_attention_score.out(**moved(fused), workspace=None, out=out)
    assert all(torch.equal(a, b) for a, b in zip(out, results))


def test_paged_decode():
    f = dict(query=torch.randn(2, 1, 64).half(), key=torch.randn(6, 16, 32).half(), value=torch.randn(6, 16, 32).half(),
             num_heads=4, num_key_value_heads=2, input_layout='BSH', scale_value=0.25, block_size=16,
             block_table=torch.tensor([[5, 0, 3], [2, 4, 1]], dtype=torch.int32), actual_seq_lengths=[40, 17])
    check_inference('incre_flash_attention', back([torch_npu.npu_incre_flash_attention(**moved(f))]), f)


def test_one_step_in_place():
    f = dict(input_tokens=torch.tensor([1, 2]), sampled_token_ids=torch.tensor([[11], [12]]),
             input_positions=torch.tensor([4, 8]), seq_lens=torch.tensor([5, 9]), slot_mapping=torch.tensor([0, 0]),
             block_tables=torch.tensor([[3, 1], [2, 5]]), num_seqs=2, num_queries=2, block_size=8)
    on_npu = moved(f)
    torch_npu.npu_advance_step_flashattn(**on_npu)
    assert f['input_tokens'].tolist() == [1, 2]  # the CPU's twin is untouched
    torch_npu.npu_advance_step_flashattn(**f)
    assert all(torch.equal(on_npu[n].cpu(), f[n]) for n in ('input_tokens', 'input_positions', 'seq_lens', 'slot_mapping'))


def test_merges():
    lse, outs = [torch.randn(6).npu(), torch.randn(6).npu()], [torch.randn(6, 8).npu(), torch.randn(6, 8).npu()]
    got = torch_npu.npu_attention_update(lse, outs, 1)
    want = torch_npu.npu_attention_update([x.cpu() for x in lse], [x.cpu() for x in outs], 1)
    assert got[0].is_npu and all(torch.equal(a.cpu(), b) for a, b in zip(got, want))


@pytest.mark.parametrize('name', VERSIONS)
def test_dropout_counts_in_the_philox_sequence(name):
    """Seed and offset of the device's generator; twelve numbers further with each call."""
    f = qkv()
    args = [f[n].npu().requires_grad_() for n in ('query', 'key', 'value')]
    torch.npu.manual_seed(77)
    first = getattr(torch_npu, name)(*args, 4, 'BNSD', scale=0.25, keep_prob=0.7)
    second = getattr(torch_npu, name)(*args, 4, 'BNSD', scale=0.25, keep_prob=0.7)
    assert [int(x) for x in first[4:6]] == [77, 0] and [int(x) for x in second[4:6]] == [77, 12]
    shape = (2, 4, 5, 7)
    dropped = unpacked(torch_npu._npu_dropout_gen_mask(args[0], list(shape), 0.3, 77, 12).cpu(), shape)
    want = dense(*(f[n].double() for n in ('query', 'key', 'value')), scale=0.25, dropped=dropped, keep_prob=0.7)
    torch.testing.assert_close(second[0].cpu().double(), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('reentrant', (False, True))
def test_checkpoint_replays_the_mask(reentrant):
    args = [torch.randn(2, 4, 6, 16, device='npu').requires_grad_() for _ in range(3)]

    def attention(q, k, v):
        return torch_npu.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.7)[0]

    torch.npu.manual_seed(5)
    want = torch.autograd.grad(attention(*args).sum(), args)
    torch.npu.manual_seed(5)
    out = checkpoint(attention, *args, use_reentrant=reentrant)
    torch.randn(3, device='npu')
    out.sum().backward()
    assert all(torch.equal(x.grad, g) for x, g in zip(args, want))
    # the operator itself, as the guide does it
    if not reentrant:
        torch.npu.manual_seed(5)
        checkpoint(torch_npu.npu_fusion_attention, *args, head_num=4, input_layout='BNSD', scale=0.25, keep_prob=0.7,
                   use_reentrant=False)[0].sum().backward()


def test_compile():
    f = qkv()
    args = [f[n].npu() for n in ('query', 'key', 'value')]

    def block(q, k, v):
        return torch_npu.npu_fusion_attention(q.sin(), k, v, 4, 'BNSD', scale=0.25)[0] * 2

    want = block(*args)
    for backend in ('aot_eager', 'npu', 'npugraph_ex'):
        torch._dynamo.reset()
        assert torch.equal(torch.compile(block, fullgraph=True, backend=backend)(*args), want)
    torch._dynamo.reset()
    with pytest.warns(UserWarning, match='traced graphs operator by operator'):
        assert torch.equal(torch.compile(block, fullgraph=True)(*args), want)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.filterwarnings('error', message='.*operator by operator')
        assert torch.equal(torch.compile(block, fullgraph=True)(*args), want)
    import torchair
    torch._dynamo.reset()
    config = torchair.CompilerConfig()
    config.experimental_config.frozen_parameter = True
    assert torch.equal(torch.compile(block, backend=torchair.get_npu_backend(compiler_config=config))(*args), want)


@torch.jit.script
def scripted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor):
    return torch.ops.npu.npu_fusion_attention(q, k, v, 4, "BNSD", scale=0.25)[0]


def test_torchscript():
    args = [qkv()[n].npu() for n in ('query', 'key', 'value')]
    assert torch.equal(scripted(*args), torch_npu.npu_fusion_attention(*args, 4, 'BNSD', scale=0.25)[0])


def test_the_guides_spelling_of_the_scale():
    f = moved(qkv()) | dict(num_heads=4, num_key_value_heads=2)
    want = torch_npu.npu_fused_infer_attention_score(**f, scale=0.25)[0]
    assert torch.equal(torch_npu.npu_fused_infer_attention_score(**f, scale_value=0.25)[0], want)
    with pytest.raises(RuntimeError):
        torch.ops.npu.npu_fused_infer_attention_score(**f, scale_value=0.25)
    with pytest.raises(TypeError, match='scale_value and scale are one argument'):
        torch_npu.npu_fused_infer_attention_score(**f, scale_value=0.25, scale=0.25)
    assert torch_npu.npu_fused_infer_attention_score.default is torch.ops.npu.npu_fused_infer_attention_score.default


def test_devices_do_not_mix():
    f = qkv()
    for key in (f['key'], f['key'].to('npu:1')):
        with pytest.raises(RuntimeError, match='key is on'):
            torch_npu.npu_fusion_attention(f['query'].npu(), key, f['value'].npu(), 4, 'BNSD')
        with pytest.raises(fattn.Error, match=r'key is on .*, query is on npu:0; give it as key.to\("npu:0"\)'):
            torch_npu.npu_fused_infer_attention_score(f['query'].npu(), key, f['value'].npu(), num_heads=4,
                                                      num_key_value_heads=2, input_layout='BNSD')


def test_every_operator_is_there():
    from fattn.torch import SCHEMAS
    for name in SCHEMAS:
        base = name.partition('.')[0]
        assert getattr(torch_npu, base).__name__ == getattr(torch.ops.npu, base).__name__
    x = torch.ones(3, device='npu')
    assert torch_npu.npu_format_cast(x, 29) is x and torch_npu.get_npu_format(x) == 2
