# SPDX-License-Identifier: Apache-2.0
"""prepare(), with the guide's two defects: the wrong axes taken for BNSD, and a padded width in the scale."""
import numpy as np
import pytest

import fattn


def lay(x, layout):
    b, n, s, d = x.shape
    return {'BNSD': x, 'BSND': x.transpose(0, 2, 1, 3), 'BSH': x.transpose(0, 2, 1, 3).reshape(b, s, n * d),
            'SBH': x.transpose(2, 0, 1, 3).reshape(s, b, n * d)}[layout]


@pytest.mark.parametrize('width', (16, 20))
@pytest.mark.parametrize('layout', ('BNSD', 'BSND', 'BSH', 'SBH'))
def test_the_answer_is_that_of_the_plain_call(rng, layout, width):
    q, k, v = (lay(rng.standard_normal((2, h, s, width), np.float32), layout) for h, s in ((4, 5), (4, 7), (4, 7)))
    p = fattn.prepare(q, k, v, head_num=4, input_layout=layout)
    assert p.query.shape == (2, 4, 5, 16 if width == 16 else 32) and p.fields['scale'] == width**-0.5
    got = p.restore(fattn.fusion_attention(p.query, p.key, p.value, **p.fields).attention_out)
    want = fattn.fusion_attention(q, k, v, 4, layout, scale=width**-0.5).attention_out
    assert got.shape == want.shape and np.abs(got - want).max() < 1e-6


def test_nothing_is_copied_that_lies_well(rng):
    x = rng.standard_normal((2, 5, 4, 16), np.float32)
    p = fattn.prepare(x, x, x, head_num=4, input_layout='BSND')
    assert np.shares_memory(p.query, x) and p.query.shape == (2, 4, 5, 16)


def test_axes_are_not_guessed(rng):
    """As many tokens as columns: the guide took that for BNSD."""
    x = rng.standard_normal((2, 16, 4, 16), np.float32)
    assert fattn.prepare(x, x, x, head_num=4, input_layout='BSND').query.shape == (2, 4, 16, 16)
    with pytest.raises(fattn.ShapeError, match='head_num: 4, but query has 16 heads under BNSD'):
        fattn.prepare(x, x, x, head_num=4, input_layout='BNSD')


def test_shared_heads_of_packed_columns(rng):
    q, k = rng.standard_normal((2, 5, 64), np.float32), rng.standard_normal((2, 5, 32), np.float32)
    p = fattn.prepare(q, k, k, head_num=4, input_layout='BSH')
    assert p.key.shape == (2, 2, 5, 16)


def test_refusals(rng):
    x = rng.standard_normal((2, 5, 64), np.float32)
    with pytest.raises(fattn.ArgumentError, match='input_layout: "TND"'):
        fattn.prepare(x, x, x, head_num=4, input_layout='TND')
    with pytest.raises(fattn.ShapeError, match='rank 3 under BNSD'):
        fattn.prepare(x, x, x, head_num=4, input_layout='BNSD')
    with pytest.raises(fattn.ShapeError, match='head_num: 5 does not divide'):
        fattn.prepare(x, x, x, head_num=5, input_layout='BSH')


def test_torch_tensors(torch):
    x = torch.randn(2, 5, 4, 20)
    p = fattn.prepare(x, x, x, head_num=4, input_layout='BSND')
    out = p.restore(fattn.fusion_attention(p.query, p.key, p.value, **p.fields).attention_out)
    assert torch.allclose(out, fattn.fusion_attention(x, x, x, 4, 'BSND', scale=20**-0.5).attention_out, atol=1e-6)
