# SPDX-License-Identifier: Apache-2.0
"""Masks and weights as arrays, and as pictures where matplotlib is."""
import warnings

import numpy as np
import pytest

import fattn


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fattn.Warning)
        yield


@pytest.mark.parametrize('fields, rule', [
    ({}, lambda i, j: j >= 0), (dict(sparse_mode=2), lambda i, j: j <= i), (dict(sparse_mode=3), lambda i, j: j <= i + 3),
    (dict(sparse_mode=4, pre_tokens=2, next_tokens=1), lambda i, j: (j >= i + 3 - 2) & (j <= i + 3 + 1)),
    (dict(sparse_mode=6, prefix=[4]), lambda i, j: (j <= i + 3) | (j < 4)),
])
def test_visible(fields, rule):
    i, j = np.arange(5)[:, None], np.arange(8)
    assert np.array_equal(fattn.visible(5, 8, **fields), np.broadcast_to(rule(i, j), (5, 8)))


def test_weights_add_up(rng):
    q, k = rng.standard_normal((2, 4, 5, 16), np.float32), rng.standard_normal((2, 2, 9, 16), np.float32)
    weights = fattn.attention_weights(q, k, scale=0.25, sparse_mode=3)
    assert weights.shape == (2, 4, 5, 9) and np.allclose(weights.sum(-1), 1) and not weights[:, :, 0, 5:].any()
    x = q[0, 0, 4].astype(float) @ k[0, 0].astype(float).T * 0.25
    assert np.allclose(weights[0, 0, 4], np.exp(x) / np.exp(x).sum(), atol=1e-6)


def test_pictures(rng, tmp_path):
    matplotlib = pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    matplotlib.use('Agg')
    ax = fattn.draw_mask(6, 9, sparse_mode=3)
    assert ax.get_title() == 'sparse_mode 3' and np.array_equal(ax.images[0].get_array(), fattn.visible(6, 9, sparse_mode=3))
    x = rng.standard_normal((1, 2, 6, 16), np.float32)
    ax = fattn.heat_map(x, x, head=1)
    ax.figure.savefig(tmp_path / 'map.png')
    assert (tmp_path / 'map.png').stat().st_size > 1000
    with pytest.raises(fattn.ShapeError, match='ranks 3, 4'):
        fattn.heat_map(x[0], x)
