# SPDX-License-Identifier: Apache-2.0
"""The paged cache: append, fork, copy on write, decode with the bits of contiguous keys, every kind and dtype."""
import numpy as np
import pytest

import fattn

HEADS, DIM, BLOCK = 2, 16, 4


def rows(rng, n):
    return rng.standard_normal((n, HEADS, DIM), np.float32)


def decode(q, arguments):
    return fattn.fused_infer_attention_score(q, **arguments, num_heads=4, num_key_value_heads=HEADS,
                                             input_layout='BSND', scale=0.25).attention_out


def dense(q, key, value):
    """The same question over contiguous keys [tokens, heads, dim]."""
    return decode(q, {'key': key[None], 'value': value[None]})


@pytest.mark.parametrize('layout', ['BnBsH', 'BnNBsD'])
@pytest.mark.parametrize('dtype', [np.float32, np.float16])
def test_append_fork_decode(rng, layout, dtype):
    cache = fattn.KVCache(32, HEADS, DIM, np.dtype(dtype), block_size=BLOCK, layout=layout)
    k, v = rows(rng, 11).astype(dtype), rows(rng, 11).astype(dtype)
    a = cache.add()
    for first, end in ((0, 1), (1, 6), (6, 11)):  # a piece at a time
        cache.append(a, k[first:end], v[first:end])
    b = cache.fork(a)
    kb, vb = rows(rng, 3).astype(dtype), rows(rng, 3).astype(dtype)
    cache.append(b, kb, vb)
    ka, va = rows(rng, 2).astype(dtype), rows(rng, 2).astype(dtype)
    cache.append(a, ka, va)
    want = {a: (np.concatenate([k, ka]), np.concatenate([v, va])),
            b: (np.concatenate([k, kb]), np.concatenate([v, vb]))}
    q = rng.standard_normal((2, 1, 4, DIM), np.float32).astype(dtype)
    got = decode(q, cache.arguments([a, b]))
    for i, s in enumerate((a, b)):
        assert cache.length(s) == len(want[s][0])
        assert np.array_equal(got[i:i + 1], dense(q[i:i + 1], *want[s]))  # bit for bit
    assert np.array_equal(decode(q[:1], cache.arguments([b])), dense(q[:1], *want[b]))


def test_counts(rng):
    cache = fattn.KVCache(8, HEADS, DIM, 'f32', block_size=BLOCK)
    x = rows(rng, 6)
    a = cache.add()
    cache.append(a, x, x)
    b = cache.fork(a)
    assert (a, b) == (0, 1)
    usage = cache.usage
    assert (usage['used_blocks'], usage['shared_blocks'], usage['free_blocks'], usage['tokens']) == (2, 2, 6, 12)
    cache.append(b, x[:1], x[:1])  # copies the shared, partly filled block
    assert (cache.usage['used_blocks'], cache.usage['shared_blocks']) == (3, 1)
    table = cache.block_table([a, b], columns=3)
    assert table.dtype == np.int32 and table.shape == (2, 3)
    assert table[0, 0] == table[1, 0] and table[0, 1] != table[1, 1] and (table[:, 2] == -1).all()
    slots = cache.slot_mapping(b)
    want = [int(table[1, i // BLOCK]) * BLOCK + i % BLOCK for i in range(7)]
    assert slots.dtype == np.int64 and slots.tolist() == want
    assert cache.slot_mapping(b, 5, 2).tolist() == want[5:]
    cache.truncate(b, 4)
    assert cache.length(b) == 4
    cache.free(a)
    cache.free(b)
    assert cache.usage['free_blocks'] == 8 and cache.add() == 0
    for wrong in (lambda: cache.length(7), lambda: cache.fork(7), lambda: cache.free(7), lambda: cache.append(7, x, x)):
        with pytest.raises(fattn.ArgumentError):
            wrong()


def test_tensors_are_the_cache_s_own(rng):
    cache = fattn.KVCache(4, HEADS, DIM, 'f32', block_size=BLOCK, n_layers=2)
    key, value = cache.tensors(1)
    assert key.shape == (4, BLOCK, HEADS * DIM)
    a = cache.add()
    cache.extend(a, 3)
    x = rows(rng, 3)
    cache.write(1, a, 0, x, -x)
    at = cache.slot_mapping(a)
    assert np.array_equal(key.reshape(-1, HEADS, DIM)[at], x) and np.array_equal(value.reshape(-1, HEADS, DIM)[at], -x)
    key.reshape(-1, HEADS, DIM)[at] = 3 * x  # by the caller
    q = rng.standard_normal((1, 1, 4, DIM), np.float32)
    assert np.array_equal(decode(q, cache.arguments([a], layer=1)), dense(q, 3 * x, -x))
    del cache
    assert np.array_equal(key.reshape(-1, HEADS, DIM)[at], 3 * x)  # they keep it alive
    with pytest.raises(fattn.ArgumentError):
        fattn.KVCache(4, HEADS, DIM, 'f32').tensors(1)


def test_kinds(torch):
    made = {}
    for kind in ('torch', 'array'):
        cache = fattn.KVCache(4, HEADS, DIM, 'bf16', block_size=BLOCK, kind=kind)
        a = cache.add()
        x = torch.from_numpy(rows(np.random.default_rng(1), 5)).bfloat16()
        cache.append(a, x, x)
        made[kind] = cache.tensors()[0], cache.block_table([a])
    key, table = made['torch']
    assert key.dtype == torch.bfloat16 and table.dtype == torch.int32
    plain = made['array'][0]
    assert isinstance(plain, fattn.Array) and plain.dtype == 'bf16'
    assert torch.equal(torch.from_dlpack(plain)[:1], key[:1])
    with pytest.raises(fattn.KindError, match='kind'):
        fattn.KVCache(4, HEADS, DIM, 'f32', kind='list')


def test_bf16_of_numpy():
    key = fattn.KVCache(4, HEADS, DIM, 'bf16', block_size=BLOCK).tensors()[0]
    assert (key.dtype.name if isinstance(key, np.ndarray) else key.dtype) in ('bfloat16', 'bf16')


@pytest.mark.parametrize('dtype', ['i8', 'i4', 'e4m3', 'e5m2'])
def test_quantised(rng, dtype):
    cache = fattn.KVCache(8, HEADS, DIM, dtype, block_size=BLOCK)
    k, v = rows(rng, 7), rows(rng, 7)
    a = cache.add()
    cache.append(a, k, v)
    arguments = cache.arguments([a])
    assert cache.quantised and arguments['key_antiquant_mode'] == cache.scales()[2]
    assert arguments['key_antiquant_mode'] in (4, 5)
    q = rng.standard_normal((1, 1, 4, DIM), np.float32)
    got, want = decode(q, arguments), dense(q, k, v)
    error = {'i8': 0.02, 'i4': 0.4, 'e4m3': 0.1, 'e5m2': 0.3}[dtype]  # half a step of the format, roughly
    assert 0 < np.abs(got - want).max() < error
    with pytest.raises(fattn.ArgumentError):
        cache.append(a, k * np.nan, v)
    assert cache.length(a) == 7


def test_refused(rng):
    x = rows(rng, 3)
    cache = fattn.KVCache(4, HEADS, DIM, 'f32', block_size=BLOCK)
    a = cache.add()
    for wrong in ((x[:, :1], x), (x, x[:2]), (x.astype(np.float16), x), (x, 3)):
        with pytest.raises(fattn.Error):
            cache.append(a, *wrong)
    assert cache.length(a) == 0
    cache.append(a, np.concatenate([x, x]), np.concatenate([x, x]))
    with pytest.raises(fattn.ShapeError):
        cache.block_table([a], columns=1)
    for wrong in (dict(layout='X'), dict(granularity='X'), dict(n_layers=0), dict(nonsense=1), dict(block_size=-1)):
        with pytest.raises((fattn.Error, TypeError)):
            fattn.KVCache(4, HEADS, DIM, 'f32', **wrong)
    with pytest.raises(fattn.DtypeError):
        fattn.KVCache(4, HEADS, DIM, 'i64')
    with pytest.raises(fattn.ArgumentError):
        fattn.KVCache(4, HEADS, DIM, 'f32').scales()
    with pytest.raises(fattn.Error):  # OutOfMemory, or a size that 63 bits do not count
        fattn.KVCache(2**40, HEADS, DIM, 'f32')
