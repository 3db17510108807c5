# SPDX-License-Identifier: Apache-2.0
"""fusion_attention_grad against float64 formulas, and the mask of dropout against what the forward draws."""
import numpy as np
import pytest

import exact
import fattn


def bits(mask, shape):
    """Of the packed mask: cell e is bit e & 7 of byte e >> 3."""
    return np.unpackbits(mask, bitorder='little')[:np.prod(shape)].reshape(shape)


def statistics(dtype):
    """Row maxima and sums are float32 unless float64 ones are given."""
    if dtype != 'float64':
        return {}
    return {'softmax_max': np.zeros((1, 4, 5, 8)), 'softmax_sum': np.zeros((1, 4, 5, 8))}


@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-12), ('float32', 3e-6), ('float16', 4e-3)])
@pytest.mark.parametrize('mode', [0, 3])
@pytest.mark.filterwarnings('ignore::fattn.Warning')
def test_gradients(qkv, rng, dtype, tolerance, mode):
    q, k, v = (x.astype(dtype) for x in qkv)
    dy = rng.standard_normal(q.shape).astype(dtype)
    hidden = exact.causal(5, 9) if mode == 3 else None
    given = dict(input_layout='BNSD', sparse_mode=mode)
    out, smax, ssum, *_ = fattn.fusion_attention(q, k, v, 4, scale=0.25, **given, **statistics(dtype))
    want = exact.attention(q, k, v, 0.25, hidden)
    assert np.abs(out - want).max() <= tolerance and np.abs(want).max() > 0.1
    grads = fattn.fusion_attention_grad(q, k, v, dy, 4, scale_value=0.25, softmax_max=smax, softmax_sum=ssum,
                                        attention_in=out, **given)
    for got, want in zip(grads, exact.gradients(q, k, v, dy, 0.25, hidden)):
        assert got.dtype == np.dtype(dtype) and np.abs(want).max() > 0.1
        assert np.abs(got - want).max() <= 4 * tolerance
    assert grads.dpse.size == 0 and grads.dsink.size == 0


def test_dropout(qkv, rng):
    q, k, v = (x.astype(np.float64) for x in qkv)
    dy = rng.standard_normal(q.shape)
    forward = fattn.fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.75, seed=11, offset=4,
                                     **statistics('float64'))
    assert (forward.seed_out, forward.offset_out, forward.numels) == (11, 4, 4 * 5 * 9)
    mask, seed, offset = fattn.dropout_gen_mask([1, 4, 5, 9], p=0.25, seed=11, offset=4)
    assert (seed, offset, mask.size) == (11, 4, 32)  # 180 cells, rounded up to 256
    keep = bits(mask, (1, 4, 5, 9))
    assert 100 < keep.sum() < 170
    p = exact.softmax(exact.scores(q, k, 0.25, None)) * keep / 0.75
    assert np.abs(forward.attention_out - p @ np.repeat(v, 2, axis=1)).max() < 1e-12
    grads = fattn.fusion_attention_grad(q, k, v, dy, 4, 'BNSD', scale_value=0.25, keep_prob=0.75,
                                        softmax_max=forward.softmax_max, softmax_sum=forward.softmax_sum,
                                        attention_in=forward.attention_out, seed=forward.seed_out,
                                        offset=forward.offset_out)
    for got, want in zip(grads, exact.gradients(q, k, v, dy, 0.25, keep=keep / 0.75)):
        assert np.abs(got - want).max() < 1e-12
    again = fattn.fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.75, dropout_mask=mask)
    assert np.array_equal(again.attention_out, forward.attention_out)


def test_dropout_of_nothing_and_of_everything():
    assert (bits(fattn.dropout_gen_mask([7, 11], p=0.0).mask, 77) == 1).all()
    assert (bits(fattn.dropout_gen_mask([7, 11], p=1.0).mask, 77) == 0).all()
