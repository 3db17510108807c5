# SPDX-License-Identifier: Apache-2.0
"""How callers give arguments: lists of every kind, by name, by position, views, and what is refused and how."""
import subprocess
import sys

import numpy as np
import pytest
import torch
from fattn.torch import SCHEMAS
from fattn.torch.schemas import parameter_names
import fattn

TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)


def qkv(dtype=torch.float32, sq=5, sk=7):
    return [torch.randn(2, h, s, 16).to(dtype) for h, s in ((4, sq), (2, sk), (2, sk))]


def forms(numbers):
    """The same list in every form that callers have it in."""
    return dict(list=list(numbers), tuple=tuple(numbers), int64=torch.tensor(numbers),
                int32=torch.tensor(numbers, dtype=torch.int32), numpy=np.array(numbers), numpy32=np.array(numbers, np.int32))


FORMS = list(forms([1]))


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', ('npu_fusion_attention', 'npu_fusion_attention_v2'))
def test_lengths_and_prefix(ops, name, form):
    packed = [torch.randn(9, h, 16) for h in (4, 2, 2)]
    lengths = dict(actual_seq_qlen=[2, 9], actual_seq_kvlen=[4, 9])
    want = getattr(ops, name)(*packed, 4, 'TND', **lengths)[0]
    got = getattr(ops, name)(*packed, 4, 'TND', **{n: forms(x)[form] for n, x in lengths.items()})[0]
    assert torch.equal(got, want)
    mask = torch.zeros(3072, 2048, dtype=torch.bool)
    want = getattr(ops, name)(*qkv(), 4, 'BNSD', atten_mask=mask, sparse_mode=6, prefix=[3, 6])[0]
    torch.manual_seed(20)
    [torch.randn(9, h, 16) for h in (4, 2, 2)]
    got = getattr(ops, name)(*qkv(), 4, 'BNSD', atten_mask=mask, sparse_mode=6, prefix=forms([3, 6])[form])[0]
    assert torch.equal(got, want)


@pytest.mark.parametrize('form', FORMS)
def test_start_indices(ops, form):
    q, k, v = qkv(sq=6, sk=6)
    slopes = torch.rand(4)
    want = ops.npu_fusion_attention_v2(q, k, v, 4, 'BNSD', pse=slopes, pse_type=2, q_start_idx=[12], kv_start_idx=[6])[0]
    got = ops.npu_fusion_attention_v2(q, k, v, 4, 'BNSD', pse=slopes, pse_type=2, q_start_idx=forms([12])[form],
                                      kv_start_idx=forms([6])[form])[0]
    assert torch.equal(got, want)


INFERENCE = {
    'npu_prompt_flash_attention': dict(num_heads=4, actual_seq_lengths=[5, 2], actual_seq_lengths_kv=[7, 3]),
    'npu_incre_flash_attention': dict(num_heads=4, actual_seq_lengths=[7, 3]),
    'npu_fused_infer_attention_score': dict(num_heads=4, actual_seq_lengths=[5, 2], actual_seq_lengths_kv=[7, 3]),
    'npu_fused_infer_attention_score_v2': dict(num_query_heads=4, actual_seq_qlen=[5, 2], actual_seq_kvlen=[7, 3]),
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('name', INFERENCE)
def test_lengths_of_inference(ops, name, form):
    q, k, v = qkv(sq=1 if 'incre' in name else 5)
    f = dict(num_key_value_heads=2, input_layout='BNSD', **INFERENCE[name])

    def result(f):
        found = getattr(ops, name)(q, k, v, **f)
        return found if isinstance(found, torch.Tensor) else found[0]

    assert torch.equal(result({n: forms(x)[form] if isinstance(x, list) else x for n, x in f.items()}), result(f))


@pytest.mark.parametrize('name', INFERENCE)
def test_empty_and_absent_lists(ops, name):
    q, k, v = qkv(sq=1 if 'incre' in name else 5)
    f = dict(num_key_value_heads=2, input_layout='BNSD', **INFERENCE[name])
    results = []
    for lists in (None, [], ()):
        found = getattr(ops, name)(q, k, v, **{n: lists if isinstance(x, list) else x for n, x in f.items()})
        results.append(found if isinstance(found, torch.Tensor) else found[0])
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_lists_that_are_none(ops):
    packed = [torch.randn(9, h, 16) for h in (4, 2, 2)]
    for bad in (torch.tensor([2.0, 9.0]), torch.ones(2, 2, dtype=torch.int64), 'abc'):
        with pytest.raises((RuntimeError, TypeError)):
            ops.npu_fusion_attention(*packed, 4, 'TND', actual_seq_qlen=bad, actual_seq_kvlen=[4, 9])


# A value for every parameter that changes nothing, or what says so, of the operators' own defaults.
NEUTRAL = dict(pse=None, padding_mask=None, atten_mask=None, keep_prob=1.0, pre_tockens=2147483647,
               next_tockens=2147483647, pre_tokens=2147483647, next_tokens=2147483647, inner_precise=0, prefix=None,
               actual_seq_qlen=None, actual_seq_kvlen=None, sparse_mode=0, gen_mask_parallel=True, sync=False,
               softmax_layout='', sink=None, dropout_mask=None, seed=0, offset=0, query_rope=None, key_rope=None,
               pse_type=1, q_start_idx=None, kv_start_idx=None, input_layout='BNSD')


@pytest.mark.parametrize('name', ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3',
                                  'npu_prompt_flash_attention', 'npu_incre_flash_attention',
                                  'npu_fused_infer_attention_score', 'npu_fused_infer_attention_score_v2'))
def test_every_keyword(ops, name):
    """All parameters at once, each by its name."""
    q, k, v = qkv(sq=1)
    f = dict(query=q, key=k, value=v)
    plain = dict(f)
    for parameter in parameter_names(SCHEMAS[name]):
        if parameter in f:
            continue
        if parameter in ('head_num', 'num_heads', 'num_query_heads'):
            f[parameter] = plain[parameter] = 4
        elif parameter == 'num_key_value_heads':
            f[parameter] = plain[parameter] = 2
        elif parameter in ('scale', 'scale_value', 'softmax_scale'):
            f[parameter] = plain[parameter] = 0.25
        elif parameter == 'input_layout':
            f[parameter] = plain[parameter] = 'BNSD'
        else:
            default = {'softmax_lse_flag': False, 'return_softmax_lse': False}
            f[parameter] = NEUTRAL.get(parameter, default.get(parameter, 0 if 'mode' in parameter else None))
            if parameter == 'block_size':
                f[parameter] = 0
    got, want = getattr(ops, name)(**f), getattr(ops, name)(**plain)
    got, want = (x if isinstance(x, torch.Tensor) else x[0] for x in (got, want))
    assert torch.equal(got, want)


def test_positional_calls_of_frameworks(ops):
    q, k, v = qkv(sq=6, sk=6)
    want = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', atten_mask=TRIU, scale=0.25, sparse_mode=2)
    got = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', None, None, TRIU, 0.25, 1.0, 2147483647, 2147483647, 0, None, None,
                                   None, 2)
    assert all(torch.equal(a, b) for a, b in zip(got[:3], want[:3]))


@pytest.mark.parametrize('name', ('npu_fusion_attention', 'npu_fused_infer_attention_score'))
def test_views(ops, name):
    """Transposed and sliced tensors give the bits of their copies."""
    wide = [torch.randn(2, s, h, 32) for h, s in ((4, 5), (2, 7), (2, 7))]
    views = [x.transpose(1, 2)[..., 3:19] for x in wide]
    heads = dict(head_num=4, scale=0.25) if 'fusion' in name else dict(num_heads=4, num_key_value_heads=2, scale=0.25)

    def call(q, k, v):
        return getattr(ops, name)(q, k, v, input_layout='BNSD', **heads)[0]

    assert torch.equal(call(*views), call(*(x.contiguous() for x in views)))


def lazily(x):
    """The same values, whose sign torch keeps as a bit: the imaginary part of a conjugate shares its memory."""
    lazy = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert lazy.is_neg() and torch.equal(lazy, x)
    return lazy


@pytest.mark.parametrize('name', ('npu_fusion_attention', 'npu_fusion_attention_v2', 'npu_fusion_attention_v3'))
@pytest.mark.parametrize('sign', ('query', 'dy'))
def test_lazy_signs(ops, name, sign):
    dy = torch.randn(2, 4, 5, 16)
    results = []
    q, k, v = qkv()
    for query, gradient in ((q, dy), (lazily(q), dy) if sign == 'query' else (q, lazily(dy))):
        key = k.clone().requires_grad_()
        out = getattr(ops, name)(query, key, v, 4, 'BNSD', scale=0.25)[0]
        results.append((out, *torch.autograd.grad(out, key, gradient)))
        assert torch.equal(getattr(ops, name)(query, k, v, 4, 'BNSD', scale=0.25)[0], out)
    for got, want in zip(*results):
        assert torch.equal(got, want)


def test_mixed_devices(ops):
    q, k, v = qkv()
    with pytest.raises(RuntimeError):
        ops.npu_fusion_attention(q, k.to('meta'), v, 4, 'BNSD')
    with pytest.raises(RuntimeError):
        ops.npu_fused_infer_attention_score(q, k.to('meta'), v, num_heads=4, input_layout='BNSD')


@pytest.mark.parametrize('wrong, sentence', [
    (dict(head_num=3), 'head_num'),
    (dict(input_layout='XYZ'), 'input_layout'),
    (dict(sparse_mode=11), 'sparse_mode'),
    (dict(keep_prob=1.5), 'keep_prob'),
    (dict(atten_mask=torch.zeros(3, 3, dtype=torch.bool)), 'atten_mask'),
    (dict(pse=torch.randn(2, 2)), 'pse'),
    (dict(prefix=[1, 2]), 'prefix'),
])
@pytest.mark.parametrize('grad', (False, True))
def test_refusals_name_the_argument(ops, wrong, sentence, grad):
    q, k, v = qkv()
    q.requires_grad_(grad)
    f = dict(head_num=4, input_layout='BNSD', scale=0.25) | wrong
    if 'prefix' in wrong:
        f['sparse_mode'] = 5
        f['prefix'] = [1, 2, 3]
    with pytest.raises(fattn.Error, match=sentence):
        ops.npu_fusion_attention(q, k, v, **f)


WARNED = """
import warnings
import torch
import fattn.torch
q = torch.randn(1, 2, 6, 16)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter('always')
    torch.ops.npu.npu_fusion_attention(q, q, q, 2, 'BNSD', sparse_mode=3)  # this line
    torch.ops.npu.npu_fusion_attention(q, q, q, 2, 'BNSD', sparse_mode=3)
print(len(said), said[0].category.__name__, said[0].filename, said[0].lineno, said[0].message)
"""


def test_warnings_name_the_callers_line(tmp_path):
    """Once per process, so in one of its own."""
    script = tmp_path / 'script.py'
    script.write_text(WARNED, encoding='utf-8')
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    line = WARNED.splitlines().index(next(x for x in WARNED.splitlines() if '# this line' in x)) + 1
    assert said.startswith(f'1 Warning {script} {line} sparse_mode: 3 without atten_mask'), said


@pytest.mark.filterwarnings('ignore:sparse_mode')
def test_strict_mode(ops):
    """decisions: mode 3 without a mask is causal by default (with a warning), full attention on the device."""
    q, k, v = qkv(sq=6, sk=6)
    causal = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, sparse_mode=3)[0]
    with fattn.strict():
        full = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, sparse_mode=3)[0]
    masked = ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, sparse_mode=3, atten_mask=TRIU)[0]
    assert torch.equal(causal, masked)
    assert torch.equal(full, ops.npu_fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)[0])


def test_type_codes_of_v2(ops):
    """A byte tensor is e4m3 by its code; codes that mean nothing are refused with the list of those that do."""
    q, k, v = qkv(torch.float16, sq=1)
    f = dict(num_query_heads=4, num_key_value_heads=2, input_layout='BNSD')
    key = k.to(torch.float8_e4m3fn)
    value = v.to(torch.float8_e4m3fn)
    scales = dict(dequant_scale_key=torch.ones(2), dequant_scale_value=torch.ones(2))
    with pytest.raises(fattn.Error, match='key_dtype: 300 is no type code'):
        ops.npu_fused_infer_attention_score_v2(q, key.view(torch.uint8), value.view(torch.uint8), key_dtype=300, **scales, **f)
