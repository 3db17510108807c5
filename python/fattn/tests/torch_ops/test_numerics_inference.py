# SPDX-License-Identifier: Apache-2.0
"""Prompt, incremental and fused inference against float64: layouts, dtypes, lengths, pages, INT8, the log-sum-exp."""
import pytest
import torch
from oracle import check_inference, close, wanted

TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def lay(x, layout):
    b, n, s, d = x.shape
    return {'BNSD': lambda: x, 'BSND': lambda: x.transpose(1, 2).contiguous(),
            'BSH': lambda: x.transpose(1, 2).reshape(b, s, n * d)}[layout]()


def qkv(dtype, layout, b=2, n=4, n_kv=2, sq=5, sk=9, d=16):
    q, k, v = torch.randn(b, n, sq, d), torch.randn(b, n_kv, sk, d), torch.randn(b, n_kv, sk, d)
    return dict(query=lay(q, layout).to(dtype), key=lay(k, layout).to(dtype), value=lay(v, layout).to(dtype),
                num_heads=n, num_key_value_heads=n_kv, input_layout=layout)


@pytest.mark.parametrize('dtype', FLOATS)
@pytest.mark.parametrize('layout', ('BSH', 'BSND', 'BNSD'))
def test_prompt(ops, layout, dtype):
    f = qkv(dtype, layout) | dict(scale_value=0.25, next_tokens=2147483647, actual_seq_lengths=[5, 3],
                                  actual_seq_lengths_kv=[9, 4])
    check_inference('prompt_flash_attention', ops.npu_prompt_flash_attention(**f), f)


@pytest.mark.parametrize('mode, more', [(0, dict(atten_mask=torch.rand(2, 1, 5, 9) > 0.6)), (2, {}), (3, {}),
                                        (4, dict(pre_tokens=2, next_tokens=1))])
def test_prompt_modes(ops, mode, more):
    f = qkv(torch.float32, 'BNSD') | dict(scale_value=0.25, sparse_mode=mode, next_tokens=2147483647)
    f |= more if mode == 0 else dict(atten_mask=TRIU, **more)
    check_inference('prompt_flash_attention', ops.npu_prompt_flash_attention(**f), f)


def test_prompt_bias(ops):
    f = qkv(torch.float16, 'BNSD') | dict(scale_value=0.25, pse_shift=torch.randn(1, 4, 5, 9).half(),
                                          next_tokens=2147483647)
    check_inference('prompt_flash_attention', ops.npu_prompt_flash_attention(**f), f)


@pytest.mark.parametrize('dtype', FLOATS)
@pytest.mark.parametrize('layout', ('BSH', 'BSND', 'BNSD'))
def test_incre(ops, layout, dtype):
    f = qkv(dtype, layout, sq=1, sk=700) | dict(scale_value=0.25, actual_seq_lengths=[700, 33])
    check_inference('incre_flash_attention', ops.npu_incre_flash_attention(**f), f)


def pages(n_kv=2, d=16, block_size=16, dtype=torch.float16):
    """A cache [blocks, block_size, H] and the table of two sequences of 40 and 17 keys."""
    cache = torch.randn(6, block_size, n_kv * d).to(dtype), torch.randn(6, block_size, n_kv * d).to(dtype)
    return cache, torch.tensor([[5, 0, 3], [2, 4, -1]], dtype=torch.int32), [40, 17]


def test_incre_paged(ops):
    (key, value), table, lengths = pages()
    f = dict(query=torch.randn(2, 1, 64).half(), key=key, value=value, num_heads=4, num_key_value_heads=2,
             input_layout='BSH', scale_value=0.25, block_table=table, block_size=16, actual_seq_lengths=lengths)
    check_inference('incre_flash_attention', ops.npu_incre_flash_attention(**f), f)


@pytest.mark.parametrize('dtype', FLOATS)
@pytest.mark.parametrize('flag', (False, True))
@pytest.mark.parametrize('layout', ('BSH', 'BSND', 'BNSD'))
def test_fused(ops, layout, flag, dtype):
    f = qkv(dtype, layout) | dict(scale=0.25, sparse_mode=3, atten_mask=TRIU, softmax_lse_flag=flag)
    check_inference('fused_infer_attention_score', ops.npu_fused_infer_attention_score(**f), f)


def test_fused_packed_and_paged(ops):
    (key, value), table, lengths = pages()
    f = dict(query=torch.randn(5, 4, 16).half(), key=key, value=value, num_heads=4, num_key_value_heads=2,
             input_layout='TND', scale=0.25, block_table=table, block_size=16, actual_seq_lengths=[4, 5],
             actual_seq_lengths_kv=lengths, sparse_mode=3, atten_mask=TRIU, softmax_lse_flag=True)
    check_inference('fused_infer_attention_score', ops.npu_fused_infer_attention_score(**f), f)


V2 = {'num_heads': 'num_query_heads', 'scale': 'softmax_scale', 'softmax_lse_flag': 'return_softmax_lse',
      'actual_seq_lengths': 'actual_seq_qlen', 'actual_seq_lengths_kv': 'actual_seq_kvlen'}


def test_fused_v2_is_v1_under_other_names(ops):
    f = qkv(torch.bfloat16, 'BNSD') | dict(scale=0.25, softmax_lse_flag=True, actual_seq_lengths=[5, 2],
                                           actual_seq_lengths_kv=[9, 6])
    got = ops.npu_fused_infer_attention_score_v2(**{V2.get(name, name): x for name, x in f.items()})
    check_inference('fused_infer_attention_score', got, f)
    for a, b in zip(got, ops.npu_fused_infer_attention_score(**f)):
        assert torch.equal(a, b)


def test_int8_cache(ops):
    """Keys and values as codes with a scale per channel: the answer is that of the numbers they stand for."""
    f = qkv(torch.float16, 'BNSD', sq=1, sk=64) | dict(scale=0.25)
    scales = torch.rand(2, 2, 1, 16).half() / 64 + 0.01  # key, value: [2, heads, 1, columns]
    codes = torch.randint(-127, 128, (2, 2, 2, 64, 16), dtype=torch.int8)
    meant = [(codes[i].double() * scales[i].double()) for i in (0, 1)]
    got = ops.npu_fused_infer_attention_score(
        f['query'], codes[0], codes[1], num_heads=4, num_key_value_heads=2, input_layout='BNSD', scale=0.25,
        key_antiquant_scale=scales[0].reshape(2, 16), value_antiquant_scale=scales[1].reshape(2, 16))
    want = wanted('fused_infer_attention_score', f | dict(query=f['query'].double(), key=meant[0], value=meant[1]))
    value, bound = want['attention_out']
    close('attention_out', got[0], (value, bound * 2.0**29 * 4))  # float64's bound in units of fp32; three roundings more


def test_results_of_the_caller(ops):
    f = qkv(torch.float16, 'BNSD') | dict(scale=0.25, softmax_lse_flag=True)
    want = ops.npu_fused_infer_attention_score(**f)
    for name, spelled in (('npu_fused_infer_attention_score', f),
                          ('npu_fused_infer_attention_score_v2', {V2.get(n, n): x for n, x in f.items()})):
        operator = getattr(ops, name)
        out = [torch.full_like(x, 7) for x in want]
        got = operator.out(**spelled, workspace=None, out=out)
        assert got[0].data_ptr() == out[0].data_ptr() and got[1].data_ptr() == out[1].data_ptr()
        assert torch.equal(out[0], want[0]) and torch.equal(out[1], want[1])
        workspace = getattr(ops, f'_{name}_get_max_workspace')(**spelled)
        operator.out(**spelled, workspace=workspace, out=out)
        shapes = getattr(ops, f'_{name}_infer_output')(f['query'], f['value'], **{
            n: x for n, x in spelled.items() if n in ('input_layout', 'num_heads', 'num_query_heads',
                                                      'num_key_value_heads', 'softmax_lse_flag', 'return_softmax_lse')})
        assert [(x.shape, x.dtype) for x in shapes] == [(x.shape, x.dtype) for x in want]


def test_wrong_number_of_results(ops):
    f = qkv(torch.float16, 'BNSD')
    with pytest.raises(RuntimeError, match='out: 1 tensors; give 2: attention_out, softmax_lse'):
        ops.npu_fused_infer_attention_score.out(**f, workspace=None, out=[torch.empty_like(f['query'])])


def test_gradients_are_not_asked_for(ops):
    """Inputs may require gradients; results carry none, as on the device."""
    f = qkv(torch.float32, 'BNSD')
    f['query'].requires_grad_()
    assert not ops.npu_fused_infer_attention_score(**f)[0].requires_grad
    assert not ops.npu_prompt_flash_attention(**f).requires_grad
