# SPDX-License-Identifier: Apache-2.0
"""Codes and scales of keys and values against the definition, and calibration over batches."""
import numpy as np
import pytest

import fattn

AXES = {'tensor': (0, 1, 2, 3), 'channel': (0, 2), 'token': (1, 3), 'head': (0, 2, 3), 'token_head': (3, )}
SHAPES = {'tensor': (1, ), 'channel': (2, 16), 'token': (1, 9), 'head': (2, ), 'token_head': (1, 2, 9)}


@pytest.fixture
def keys(rng):
    return rng.standard_normal((1, 2, 9, 16), np.float32) * 3


@pytest.mark.parametrize('granularity', AXES)
def test_int8(keys, granularity):
    codes, scale = fattn.quantize_kv(keys, 'i8', granularity)
    assert codes.dtype == np.int8 and codes.shape == keys.shape
    assert scale.dtype == np.float32 and scale.shape == SHAPES[granularity]
    step = np.abs(keys).max(AXES[granularity], keepdims=True) / np.float32(127)
    assert np.allclose(scale.reshape(step.shape), step, rtol=1e-6)
    assert np.abs(codes * step - keys).max() <= step.max() * 0.5001
    assert np.array_equal(fattn.quantize_kv_by(keys, scale, 'i8', granularity), codes)


def test_int4_is_packed_lowest_nibble_first(keys):
    codes, scale = fattn.quantize_kv(keys, 'i4', 'token')
    assert codes.dtype == np.int32 and codes.shape == (1, 2, 9, 2)
    nibbles = np.stack([(codes.view(np.uint32) >> 4 * i & 15).astype(np.int8) for i in range(8)], -1)
    values = np.where(nibbles > 7, nibbles - 16, nibbles).reshape(keys.shape) * scale[:, None, :, None]
    assert np.abs(values - keys).max() <= scale.max() * 0.5001


@pytest.mark.parametrize('dtype', ['e4m3', 'e5m2'])
def test_fp8(keys, dtype, ml_dtypes):
    codes, scale = fattn.quantize_kv(keys, dtype, 'tensor', scale_dtype='bf16')
    assert codes.dtype == {'e4m3': ml_dtypes.float8_e4m3fn, 'e5m2': ml_dtypes.float8_e5m2}[dtype]
    assert scale.dtype == ml_dtypes.bfloat16
    assert np.abs(codes.astype(np.float32) * scale.astype(np.float32) - keys).max() < np.abs(keys).max() / 8


def test_layouts_and_kinds(keys, torch):
    want, scale = fattn.quantize_kv(keys, granularity='head')
    bsnd = keys.transpose(0, 2, 1, 3)
    codes, again = fattn.quantize_kv(bsnd, granularity='head', input_layout='BSND')
    assert np.array_equal(codes, want.transpose(0, 2, 1, 3)) and np.array_equal(scale, again)
    flat = np.ascontiguousarray(bsnd).reshape(1, 9, 32)
    codes, _ = fattn.quantize_kv(flat, granularity='head', input_layout='BSH', num_heads=2)
    assert np.array_equal(codes.reshape(1, 9, 2, 16), want.transpose(0, 2, 1, 3))
    codes, again = fattn.quantize_kv(torch.from_numpy(keys), granularity='head')
    assert codes.dtype == torch.int8 and again.dtype == torch.float32 and np.array_equal(codes.numpy(), want)


def test_with_the_operator(qkv):
    q, k, v = qkv
    given = dict(num_heads=4, num_key_value_heads=2, input_layout='BNSD', scale=0.25)
    want = fattn.fused_infer_attention_score(q, k, v, **given).attention_out
    (kc, ks), (vc, vs) = (fattn.quantize_kv(x, 'i8', 'token') for x in (k, v))
    mode = fattn.quantize_mode('token')
    got = fattn.fused_infer_attention_score(q, kc, vc, key_antiquant_scale=ks, value_antiquant_scale=vs,
                                            key_antiquant_mode=mode, value_antiquant_mode=mode, **given).attention_out
    assert 0 < np.abs(got - want).max() < 0.05
    assert [fattn.quantize_mode(g, True) for g in ('token', 'token_head')] == [4, 5]


def test_calibration(rng):
    batches = [rng.standard_normal((2, 2, 5, 16), np.float32) for _ in range(4)]
    together = np.concatenate(batches)
    for granularity in ('tensor', 'channel', 'head'):
        calibration = fattn.Calibration('i8', granularity)
        with pytest.raises(fattn.ArgumentError, match='nothing was observed'):
            calibration.scales()
        for batch in batches:
            calibration.observe(batch)
        assert np.array_equal(calibration.scales(), fattn.quantize_kv(together, 'i8', granularity)[1])
    with pytest.raises(fattn.Error):
        calibration.observe(batches[0][..., :8])
    with pytest.raises(fattn.ArgumentError):
        calibration.observe(batches[0] * np.nan)
    with pytest.raises(fattn.Error):
        fattn.Calibration('i8', 'token')
    lower = fattn.Calibration('i8', 'tensor', percentile=90)
    lower.observe(together)
    assert lower.scales() < fattn.quantize_kv(together, 'i8', 'tensor')[1] * 0.8
    saturated = fattn.quantize_kv_by(together, lower.scales(), 'i8', 'tensor')
    assert (np.abs(saturated.astype(int)) >= 127).mean() > 0.05


def test_refused(keys):
    for wrong in (dict(dtype='i64'), dict(granularity='row'), dict(percentile=0), dict(percentile=101),
                  dict(input_layout='TND'), dict(scale_dtype='i8'), dict(input_layout='BSH')):
        with pytest.raises(fattn.Error):
            fattn.quantize_kv(keys, **wrong)
    for wrong in (keys * np.inf, keys.astype(np.int32), 3):
        with pytest.raises(fattn.Error):
            fattn.quantize_kv(wrong)
