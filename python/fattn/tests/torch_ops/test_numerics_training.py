# SPDX-License-Identifier: Apache-2.0
"""v1, v2 and v3 forward against float64: layouts, dtypes, modes, bias, sink, packed sequences."""
import pytest
import torch
from oracle import check_training

TRIU = torch.triu(torch.ones(2048, 2048, dtype=torch.bool), 1)
VERSIONS = ('v1', 'v2', 'v3')
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def lay(x, layout):
    """(B, N, S, D) in a dense layout."""
    b, n, s, d = x.shape
    return {
        'BNSD': lambda: x, 'BSND': lambda: x.transpose(1, 2).contiguous(),
        'BSH': lambda: x.transpose(1, 2).reshape(b, s, n * d),
        'SBH': lambda: x.permute(2, 0, 1, 3).reshape(s, b, n * d)
    }[layout]()


def run(ops, version, f):
    """A call of one version with the fields of v1."""
    f = dict(f)
    if version == 'v2':
        for name in ('pre', 'next'):
            if f'{name}_tockens' in f:
                f[f'{name}_tokens'] = f.pop(f'{name}_tockens')
        return ops.npu_fusion_attention_v2(**f)
    if version == 'v3':
        for name in ('actual_seq_qlen', 'actual_seq_kvlen'):
            if f.get(name) is not None:
                f[name] = torch.tensor(f[name])
        return ops.npu_fusion_attention_v3(**f)
    return ops.npu_fusion_attention(**f)


def dense_call(dtype, layout, b=2, n=4, n_kv=2, sq=5, sk=7, d=16, dv=16, **more):
    q, k, v = torch.randn(b, n, sq, d), torch.randn(b, n_kv, sk, d), torch.randn(b, n_kv, sk, dv)
    return dict(query=lay(q, layout).to(dtype), key=lay(k, layout).to(dtype), value=lay(v, layout).to(dtype),
                head_num=n, input_layout=layout, scale=d**-0.5, **more)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('layout', ('BSH', 'SBH', 'BSND', 'BNSD'))
def test_dense_layouts(ops, layout, dtype, version):
    f = dense_call(dtype, layout)
    check_training(run(ops, version, f), f)


@pytest.mark.parametrize('layout', ('BSH', 'BNSD'))
def test_narrow_values(ops, layout):
    f = dense_call(torch.float32, layout, d=24, dv=8)
    check_training(ops.npu_fusion_attention(**f), f)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('mode, more', [
    (0, dict(atten_mask=torch.rand(5, 7) > 0.6, pre_tockens=3, next_tockens=4)),
    (1, dict(atten_mask=torch.rand(2, 1, 5, 7) > 0.6)),
    (2, dict(atten_mask=TRIU)),
    (3, dict(atten_mask=TRIU)),
    (4, dict(atten_mask=TRIU, pre_tockens=2, next_tockens=1)),
    (6, dict(atten_mask=torch.zeros(3072, 2048, dtype=torch.bool), prefix=[3, 6])),
])
def test_modes(ops, version, mode, more):
    f = dense_call(torch.float32, 'BNSD', sparse_mode=mode, **more)
    check_training(run(ops, version, f), f)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('softmax_layout', ('', 'TND'))
def test_packed(ops, version, softmax_layout):
    """Lengths 2, 0, 4 and 3, 2, 5, and rows behind them."""
    f = dict(query=torch.randn(8, 4, 16), key=torch.randn(10, 2, 16), value=torch.randn(10, 2, 16), head_num=4,
             input_layout='TND', scale=0.25, actual_seq_qlen=[2, 2, 6], actual_seq_kvlen=[3, 5, 10], sparse_mode=3,
             atten_mask=TRIU, softmax_layout=softmax_layout)
    check_training(run(ops, version, f), f)


@pytest.mark.parametrize('version', VERSIONS)
def test_bias_and_sink(ops, version):
    f = dense_call(torch.float32, 'BNSD', pse=torch.randn(1, 4, 5, 7), sink=torch.randn(4))
    check_training(run(ops, version, f), f)


@pytest.mark.parametrize('pse_type', (0, 1, 2, 3))
def test_bias_types(ops, pse_type):
    f = dense_call(torch.float32, 'BSND', sq=6, sk=6, pse_type=pse_type)
    f['pse'] = torch.randn(2, 4, 6, 6) if pse_type < 2 else torch.rand(4)
    check_training(ops.npu_fusion_attention_v2(**f), f)


def test_slopes_with_start_indices(ops):
    f = dense_call(torch.float32, 'BNSD', sq=6, sk=6, pse_type=2, q_start_idx=[12], kv_start_idx=[6], pse=torch.rand(4))
    check_training(ops.npu_fusion_attention_v2(**f), f)


def test_rope(ops):
    f = dense_call(torch.float32, 'BSND')
    f |= dict(query_rope=torch.randn(2, 5, 4, 8), key_rope=torch.randn(2, 7, 2, 8))
    check_training(ops.npu_fusion_attention_v2(**f), f)


def test_seed_and_offset_of_v3_are_tensors(ops):
    seed, offset = ops.npu_fusion_attention_v3(**dense_call(torch.float32, 'BSH'))[4:]
    assert (seed.dtype, seed.shape, seed.device.type) == (torch.int64, (1, ), 'cpu')
    assert (offset.dtype, offset.shape) == (torch.int64, (1, ))


def test_lenient_readings(ops):
    """Tensors that are BSND under BNSD, and BSNH, which is no layout of the device."""
    f = dense_call(torch.float32, 'BSND')
    want = ops.npu_fusion_attention(**f)
    for layout in ('BNSD', 'BSNH', 'BSH'):
        got = ops.npu_fusion_attention(**{**f, 'input_layout': layout})
        assert all(torch.equal(a, b) for a, b in zip(got[:3], want[:3]))


def test_the_device_test_of_packed_heads(ops):
    """The vendor's F3: lengths 1, 2, 3 and 3, 4, 5 under softmax_layout TND, fp16."""
    f = dict(query=torch.randn(6, 8, 128).half(), key=torch.randn(12, 2, 128).half(),
             value=torch.randn(12, 2, 128).half(), head_num=8, input_layout='TND', scale=0.08838,
             actual_seq_qlen=[1, 3, 6], actual_seq_kvlen=[3, 7, 12], softmax_layout='TND')
    check_training(ops.npu_fusion_attention(**f), f)
