# SPDX-License-Identifier: Apache-2.0
"""Capabilities, shapes, memory, explain and verify."""
import numpy as np
import pytest

import exact
import fattn

CALL = dict(head_num=4, input_layout='BNSD', scale=0.25)


def test_capabilities():
    c = fattn.capabilities()
    assert c.version == fattn.__version__ and c.isa in c.isas and 'scalar' in c.isas
    assert c['backends'] == ('cpu', 'ref') and {'f32', 'f16', 'bf16'} <= set(c.dtypes)
    assert c.operators.fusion_attention.layouts == ('BSH', 'SBH', 'BSND', 'BNSD', 'TND')
    assert c.operators.fusion_attention.sparse_modes == tuple(range(9))
    assert fattn.capabilities(fattn.Context(threads=3)).threads == 3
    assert 'fusion_attention' in str(c)
    with pytest.raises(AttributeError):
        c.nonsense


def test_shapes():
    given = dict(query=fattn.spec('bf16', (2, 8, 64, 128)), key=fattn.spec('bf16', (2, 2, 99, 128)),
                 value=fattn.spec('bf16', (2, 2, 99, 64)))
    s = fattn.shapes('npu_fusion_attention', **given, input_layout='BNSD')
    assert s.attention_out == ('bf16', (2, 8, 64, 64)) and s.softmax_max == ('f32', (2, 8, 64, 8))
    s = fattn.shapes(fattn.fused_infer_attention_score, **given, num_heads=8, num_key_value_heads=2,
                     input_layout='BNSD_BSND', softmax_lse_flag=True)
    assert s.attention_out == ('bf16', (2, 64, 8, 64)) and s.softmax_lse == ('f32', (2, 8, 64, 1))
    with pytest.raises(fattn.ShapeError):
        fattn.shapes('fusion_attention', **{**given, 'key': fattn.spec('bf16', (2, 3, 99, 128))}, input_layout='BNSD')


def test_estimate_memory():
    x = fattn.spec('f16', (4, 16, 4096, 64))
    e = fattn.estimate_memory('fusion_attention', query=x, key=x, value=x, input_layout='BNSD')
    assert e.input_bytes == 3 * 4 * 16 * 4096 * 64 * 2
    assert e.standard_bytes >= 4 * 16 * 4096 * 4096 * 4 and e.workspace_bytes < e.standard_bytes / 1000


def test_explain():
    x = fattn.spec('f32', (1, 8, 512, 64))
    e = fattn.explain('fusion_attention', query=x, key=x, value=x, input_layout='BNSD', sparse_mode=0)
    assert e.backend == 'cpu' and e.sequences == 1 and e.visible_pairs == 8 * 512 * 512
    assert e.flops == 4 * 64 * e.visible_pairs and e.backends[0].chosen and e['items'] >= 1
    assert e.tile_reads['keys'] and 'visible_pairs' in str(e)
    y = fattn.spec('f64', (1, 1, 4, 8))
    double = fattn.explain('fusion_attention', query=y, key=y, value=y, input_layout='BNSD')
    assert double.backend == 'ref' and double.backends[0].why_not
    with pytest.raises(fattn.Unsupported):
        fattn.explain('dropout_gen_mask', sizes=[3])


def test_verify(qkv):
    q, k, v = (x.astype(np.float16) for x in qkv)
    given = dict(query=q, key=k, value=v, **CALL)
    result = fattn.fusion_attention(**given)
    report = fattn.verify('fusion_attention', **given, attention_out=result.attention_out,
                          softmax_max=result.softmax_max, softmax_sum=result.softmax_sum)
    assert report.passed and report.worst <= 1
    assert [o.name for o in report.outputs] == ['attention_out', 'softmax_max', 'softmax_sum']
    want = exact.attention(q, k, v, 0.25)
    assert report.outputs[0].max_abs == pytest.approx(np.abs(result.attention_out - want).max(), rel=1e-3)
    out = result.attention_out.copy()
    out[0, 2, 3, 5] += 0.25
    report = fattn.verify('fusion_attention', **given, attention_out=out)
    assert not report.passed and report.outside == 1 and report.outputs[0].worst_at == (0, 2, 3, 5)
    assert report.outputs[0].worst_exact == pytest.approx(want[0, 2, 3, 5], abs=1e-12)
    with pytest.raises(fattn.ArgumentError):
        fattn.verify('fusion_attention', **given)


def test_quantised_types_are_named():
    assert {'i8', 'i4', 'e4m3'} <= set(fattn.capabilities().quantisation)


@pytest.mark.parametrize('dtype', fattn.capabilities().quantisation)
def test_quantised_types_are_taken(dtype):
    """Every type that capabilities() names is one of a cache's: its call has shapes."""
    packed = {'i4': 8, 'e2m1': 2, 'e1m2': 2}.get(dtype, 1)
    cache, scale = fattn.spec(dtype, (1, 1, 32, 64 // packed)), fattn.spec('f16', (1, 64))
    out = fattn.shapes('fused_infer_attention_score', query=fattn.spec('f16', (1, 1, 1, 64)), key=cache, value=cache, num_heads=1,
                       input_layout='BNSD', key_antiquant_scale=scale, value_antiquant_scale=scale)
    assert out.attention_out == ('f16', (1, 1, 1, 64))
