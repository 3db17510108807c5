# SPDX-License-Identifier: Apache-2.0
"""What comes in, in which dtype and with which strides, and in which kind it goes out."""
import array
import ctypes
import sys
import types

import numpy as np
import pytest

import exact
import fattn
from fattn import _core

CALL = dict(head_num=4, input_layout='BNSD', scale=0.25)


def attend(q, k, v, **more):
    return fattn.fusion_attention(q, k, v, **{**CALL, **more})


@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-14), ('float32', 1e-6), ('float16', 2e-3)])
def test_numpy(qkv, dtype, tolerance):
    q, k, v = (x.astype(dtype) for x in qkv)
    result = attend(q, k, v)
    out = result.attention_out
    assert type(out) is np.ndarray and out.dtype == dtype and out.shape == q.shape
    assert result.softmax_max.dtype == np.float32 and result.softmax_max.shape == (1, 4, 5, 8)
    assert np.abs(out - exact.attention(q, k, v, 0.25)).max() < tolerance


def to_bf16(x):
    """Rounded, as 16-bit integers."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(x):
    return (x.astype(np.uint32) << 16).view(np.float32)


def test_bf16_in_integers(qkv):
    q, k, v = map(to_bf16, qkv)
    out = attend(*map(fattn.bf16, (q, k, v))).attention_out
    assert isinstance(out, _core.View) and out.dtype == 'bf16' and out.array.dtype == np.uint16
    want = exact.attention(*map(from_bf16, (q, k, v)), 0.25)
    assert np.abs(from_bf16(out.array) - want).max() < 2e-2
    given = np.zeros_like(q)
    attend(*map(fattn.bf16, (q, k, v)), attention_out=fattn.bf16(given))
    assert np.array_equal(given, out.array) and given.any()


def test_bf16_of_ml_dtypes(qkv, ml_dtypes):
    q, k, v = (x.astype(ml_dtypes.bfloat16) for x in qkv)
    out = attend(q, k, v).attention_out
    assert type(out) is np.ndarray and out.dtype == ml_dtypes.bfloat16
    tagged = attend(*(fattn.bf16(x.view(np.uint16)) for x in (q, k, v))).attention_out
    assert np.array_equal(out.view(np.uint16), tagged.array)
    # strides of such an array, which has no buffer
    out = attend(np.repeat(q, 2, axis=2)[:, :, ::2], k, v).attention_out
    assert np.array_equal(out.view(np.uint16), tagged.array)


@pytest.mark.parametrize('dtype', ['float64', 'float32', 'float16', 'bfloat16'])
def test_torch(qkv, torch, dtype):
    q, k, v = (torch.from_numpy(x).to(getattr(torch, dtype)) for x in qkv)
    result = attend(q, k, v)
    out = result.attention_out
    assert isinstance(out, torch.Tensor) and out.dtype == q.dtype and out.device == q.device
    assert isinstance(result.softmax_max, torch.Tensor)
    want = exact.attention(*(x.double().numpy() for x in (q, k, v)), 0.25)
    bound = {'float64': 1e-14, 'float32': 1e-6, 'float16': 2e-3, 'bfloat16': 2e-2}[dtype]
    assert np.abs(out.double().numpy() - want).max() < bound


def test_torch_that_requires_grad_and_parameters(qkv, torch):
    q, k, v = (torch.from_numpy(x) for x in qkv)
    want = attend(q, k, v).attention_out
    q, k = q.clone().requires_grad_(), torch.nn.Parameter(k)
    out = attend(q, k, v * 1.0).attention_out
    assert torch.equal(out, want) and not out.requires_grad


def test_mixed_kinds_follow_the_first(qkv, torch):
    q, k, v = qkv
    want = attend(q, k, v).attention_out
    assert isinstance(attend(q, torch.from_numpy(k), v).attention_out, np.ndarray)
    out = attend(torch.from_numpy(q), k, memoryview(v)).attention_out
    assert isinstance(out, torch.Tensor) and np.array_equal(out.numpy(), want)


def test_buffers(qkv):
    q, k, v = qkv
    want = attend(q, k, v).attention_out
    out = attend(memoryview(q), memoryview(k), v).attention_out
    assert isinstance(out, memoryview) and np.array_equal(np.asarray(out), want)
    flat = array.array('f', q.reshape(-1))
    out = attend(memoryview(flat).cast('B').cast('f', q.shape), k, v).attention_out
    assert np.array_equal(np.asarray(out), want)
    held = (ctypes.c_float * 16 * 5 * 4 * 1).from_buffer_copy(q)
    out = attend(held, k, v).attention_out
    assert isinstance(out, memoryview) and np.array_equal(np.asarray(out), want)


def test_own_arrays(qkv):
    q, k, v = qkv
    mine = []
    for x in qkv:
        mine.append(fattn.Array('f32', x.shape))
        np.asarray(mine[-1])[...] = x
    out = attend(*mine).attention_out
    assert isinstance(out, fattn.Array) and (out.dtype, out.shape, out.strides) == ('f32', q.shape, (320, 80, 16, 1))
    assert np.array_equal(np.asarray(out), attend(q, k, v).attention_out)
    assert np.array_equal(np.from_dlpack(out), np.asarray(out))


class Foreign:
    """An array of another library: nothing but DLPack."""

    def __init__(self, data, versioned=True):
        self.data, self.versioned = data, versioned

    def __dlpack__(self, **options):
        if not self.versioned:
            if options:
                raise TypeError('an old producer knows no options')
            return self.data.__dlpack__()
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


@pytest.mark.parametrize('versioned', [True, False])
def test_dlpack_producers(qkv, monkeypatch, versioned):
    q, k, v = qkv
    library = types.ModuleType('foreign_arrays')
    library.from_dlpack = lambda x: Foreign(np.from_dlpack(x), versioned)
    monkeypatch.setitem(sys.modules, 'foreign_arrays', library)
    monkeypatch.setattr(Foreign, '__module__', 'foreign_arrays')
    out = attend(*(Foreign(x, versioned) for x in qkv)).attention_out
    assert isinstance(out, Foreign) and np.array_equal(out.data, attend(q, k, v).attention_out)


def test_dlpack_of_bf16_reaches_torch(torch):
    made = fattn.Array('bf16', (2, 3))
    np.asarray(made)[...] = 0x3f80  # 1.0
    there = torch.from_dlpack(made)
    assert there.dtype == torch.bfloat16 and there.tolist() == [[1.0] * 3] * 2
    there[0, 0] = 2
    assert np.asarray(made)[0, 0] == 0x4000  # the same memory


@pytest.mark.parametrize('dtype', ['f64', 'f32', 'f16', 'i64', 'i32', 'i8', 'u8', 'bool', 'e4m3', 'e5m2'])
def test_every_dtype_goes_to_torch_and_back(torch, dtype):
    there = torch.from_dlpack(fattn.Array(dtype, (4, 5)))
    assert _core.describe(there) == (dtype, (4, 5), (5, 1))


def test_an_array_lives_as_long_as_it_is_used(torch):
    there = torch.from_dlpack(fattn.Array('f32', (1000, 1000)))
    there.fill_(3)
    [fattn.Array('f32', (1000, 1000)) for _ in range(3)]
    assert there.sum() == 3e6
    fattn.Array('f32', (3, )).__dlpack__()  # a capsule that nobody takes


def test_strides(qkv, torch):
    q, k, v = qkv
    want = attend(q, k, v).attention_out
    wide = np.zeros((1, 4, 10, 32), np.float32)
    wide[:, :, ::2, ::2] = q
    for form in (wide[:, :, ::2, ::2], np.asfortranarray(q), q[:, :, ::-1][:, :, ::-1]):
        assert np.array_equal(attend(form, k, v).attention_out, want)
    bsnd = np.ascontiguousarray(q.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    assert not bsnd.flags.c_contiguous and np.array_equal(attend(bsnd, k, v).attention_out, want)
    turned = torch.from_numpy(np.ascontiguousarray(q.transpose(0, 2, 1, 3))).permute(0, 2, 1, 3)
    assert np.array_equal(attend(turned, torch.from_numpy(k), torch.from_numpy(v)).attention_out.numpy(), want)
    backwards = q[:, :, ::-1]
    assert np.array_equal(attend(backwards, k, v).attention_out, want[:, :, ::-1])
    one = np.broadcast_to(k[:, :1], k.shape)  # stride 0
    assert np.array_equal(attend(q, one, v).attention_out, attend(q, np.ascontiguousarray(one), v).attention_out)
    place = np.full((1, 4, 5, 32), 7, np.float32)
    attend(q, k, v, attention_out=place[..., ::2])
    assert np.array_equal(place[..., ::2], want) and (place[..., 1::2] == 7).all()


def test_masks_of_every_integer_kind(qkv):
    q, k, v = qkv
    hidden = exact.causal(5, 9)
    want = exact.attention(q, k, v, 0.25, hidden)
    for form in (hidden, hidden.astype(np.uint8), hidden[None, None]):
        assert np.abs(attend(q, k, v, atten_mask=form).attention_out - want).max() < 1e-6


def test_int4_and_fp8_views(rng):
    codes = rng.integers(-2**31, 2**31, (1, 2, 9, 2)).astype(np.int32)  # 16 columns
    assert _core.describe(fattn.view(codes, 'i4')) == ('i4', (1, 2, 9, 2), (36, 18, 2, 1))
    assert _core.describe(fattn.view(np.zeros((3, 4), np.uint8), 'float8_e4m3fn')) == ('e4m3', (3, 4), (4, 1))
    with pytest.raises(fattn.DtypeError, match='cannot be seen as bf16'):
        fattn.view(np.zeros(3, np.uint8), 'bf16')
    with pytest.raises(fattn.DtypeError, match='is not an element type'):
        fattn.view(np.zeros(3, np.uint8), 'f8')
    assert fattn.view(fattn.view(codes, 'i4'), 'i32').dtype == 'i32'


def test_dtype_names(torch, ml_dtypes):
    for name in ('bf16', 'bfloat16', torch.bfloat16, ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)):
        assert fattn.spec(name, (2, )).dtype == 'bf16'
    for name in ('f16', np.float16, np.dtype('f2'), torch.half):
        assert fattn.spec(name, (2, )).dtype == 'f16'


@pytest.mark.parametrize('bad, error, sentence', [
    (3, fattn.KindError, 'is no array'),
    ('abc', fattn.KindError, 'is no array'),
    ([[1.0]], fattn.KindError, 'is no array'),
    (np.zeros((1, 4, 5, 16), np.complex64), fattn.DtypeError, 'no element type'),
    (np.zeros((1, 4, 5, 16), np.uint16), fattn.DtypeError, r'fattn.bf16\(array\)'),
    (np.zeros((1, 4, 5, 16), '>f4'), fattn.DtypeError, 'no element type'),
    (np.zeros((1, ) * 9, np.float32), fattn.ShapeError, '9 axes; an array has at most 8'),
    (np.zeros((1, 4, 5, 16), object), fattn.DtypeError, 'no element type'),
    (np.zeros((1, 4, 5, 16), 'U3'), fattn.DtypeError, 'no element type'),
    (np.zeros(4 * 5 * 16 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(1, 4, 5, 16), fattn.ArgumentError,
     'not aligned'),
    (np.zeros((1, 4, 5, 16), [('a', 'f4'), ('b', 'i1')])['a'], fattn.ShapeError, 'stride of .* bytes'),
])
def test_what_cannot_be_read(qkv, bad, error, sentence):
    with pytest.raises(error, match='query: .*' + sentence):
        attend(bad, *qkv[1:])


def test_unpacked_int4_is_refused(qkv, ml_dtypes):
    with pytest.raises(fattn.DtypeError, match='passed packed'):
        attend(qkv[0], qkv[1].astype(ml_dtypes.int4), qkv[2])


def test_read_only(qkv):
    q, k, v = qkv
    for x in qkv:
        x.setflags(write=False)
    out = np.zeros_like(q)
    attend(q, k, v, attention_out=out)  # inputs may be
    out.setflags(write=False)
    with pytest.raises(fattn.ArgumentError, match='attention_out: the array is read-only'):
        attend(q, k, v, attention_out=out)
    with pytest.raises(fattn.ArgumentError, match='attention_out: the array is read-only'):
        attend(q, k, v, attention_out=Foreign(out))


def test_other_devices_are_refused(qkv, torch):
    with pytest.raises((fattn.Error, RuntimeError, ValueError, BufferError, NotImplementedError)):
        attend(torch.empty(1, 4, 5, 16, device='meta'), *(torch.from_numpy(x) for x in qkv[1:]))


def test_specs_have_no_memory(qkv):
    with pytest.raises(fattn.ArgumentError, match='data is NULL'):
        attend(fattn.spec('f32', (1, 4, 5, 16)), *qkv[1:])
    s = fattn.spec('f32', (1, 4, 5, 16), (320, 16, 64, 1))
    assert (s.shape, s.strides, s.dtype) == ((1, 4, 5, 16), (320, 16, 64, 1), 'f32')


def test_views_of_arrays_are_collected():
    import gc
    import weakref

    class Node(np.ndarray):
        pass

    a = np.zeros(4, np.uint16).view(Node)
    a.me = fattn.bf16(a)  # a cycle
    gone = weakref.ref(a)
    del a
    gc.collect()
    assert gone() is None


def test_a_sign_that_torch_keeps_beside_the_memory_is_refused(torch):
    x = torch.randn(1, 2, 4, 8)
    lazy = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert lazy.is_neg() and torch.equal(lazy, x)
    with pytest.raises(fattn.KindError, match=r'query: torch keeps its sign as a bit .* give it as .resolve_neg\(\)'):
        fattn.fusion_attention(lazy, x, x, 2, 'BNSD')
    got = fattn.fusion_attention(lazy.resolve_neg(), x, x, 2, 'BNSD')
    assert torch.equal(got.attention_out, fattn.fusion_attention(x, x, x, 2, 'BNSD').attention_out)
