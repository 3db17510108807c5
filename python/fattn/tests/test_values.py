# SPDX-License-Identifier: Apache-2.0
"""The forms in which lists, numbers, flags and strings may come."""
import array
import collections

import numpy as np
import pytest

import fattn


def decode(rng, lengths, **more):
    q = rng.standard_normal((2, 2, 1, 8), np.float32)
    kv = rng.standard_normal((2, 2, 7, 8), np.float32)
    return fattn.incre_flash_attention(q, kv, kv, num_heads=2, input_layout='BNSD', actual_seq_lengths=lengths, **more)


def test_lists(rng):
    state = rng.bit_generator.state

    def answer(lengths):
        rng.bit_generator.state = state
        return decode(rng, lengths)

    want, everything, first = answer([3, 5]), answer(None), answer([3, 3])
    assert not np.array_equal(want, everything)
    held = np.zeros(6, np.int64)
    held[::3] = 3, 5
    forms = [(3, 5), np.array([3, 5]), np.array([3, 5], np.int32), np.array([3, 5], np.int16),
             np.array([3, 5], np.uint8), np.array([3, 5], np.uint64), held[::3], np.array([5, 3])[::-1],
             [np.int64(3), np.int32(5)], [np.array(3), 5], range(3, 6, 2), collections.deque([3, 5]),
             array.array('q', [3, 5]), array.array('i', [3, 5]), memoryview(array.array('l', [3, 5])),
             iter([3, 5]), (x for x in (3, 5))]
    for form in forms:
        assert np.array_equal(answer(form), want), form
    for form in ([], (), np.zeros(0, np.int64), None, range(0), np.zeros(0)[:0].astype(int)):
        assert np.array_equal(answer(form), everything), form
    for form in (3, np.int64(3), np.int8(3), np.array(3), [3], np.array([3])):  # one number holds for all
        assert np.array_equal(answer(form), first), form
    many = np.arange(1, 300)
    q = rng.standard_normal((299, 1, 1, 8), np.float32)
    kv = rng.standard_normal((299, 1, 300, 8), np.float32)
    a, b = (fattn.incre_flash_attention(q, kv, kv, input_layout='BNSD', actual_seq_lengths=x)
            for x in (many, many.tolist()))
    assert np.array_equal(a, b)


def test_lists_of_torch(rng, torch):
    state = rng.bit_generator.state
    answers = []
    for form in ([3, 5], torch.tensor([3, 5]), torch.tensor([3, 5], dtype=torch.int32), torch.Size([3, 5]),
                 [torch.tensor(3), 5], torch.tensor([[3, 1], [5, 1]])[:, 0], torch.tensor([3, 5], dtype=torch.int16)):
        rng.bit_generator.state = state
        answers.append(decode(rng, form))
    assert all(np.array_equal(x, answers[0]) for x in answers)


@pytest.mark.parametrize('wrong', ['35', b'35', [3.0, 5], [3, None], ['3', 5], np.array([3.0, 5.0]), object(), 2.5,
                                   np.array([[3, 5]]), {3: 5}.items(), [True, 'x']])
def test_lists_of_what_is_no_integer(rng, wrong):
    with pytest.raises(fattn.KindError, match=r'actual_seq_lengths(\[\d\])?: '):
        decode(rng, wrong)


def test_numbers_out_of_range(rng):
    for wrong in ([2**63, 1], [-2**63 - 1, 1]):
        with pytest.raises(fattn.ArgumentError, match=r'actual_seq_lengths\[0\]: .* does not fit into 64 bits'):
            decode(rng, wrong)
    with pytest.raises(fattn.ArgumentError, match='block_size: .* does not fit into 64 bits'):
        decode(rng, [3, 5], block_size=2**64)
    with pytest.raises(fattn.ArgumentError, match='actual_seq_lengths'):
        decode(rng, [3, 8])  # the library's own: longer than the keys


def test_numbers(qkv, torch):
    def out(**more):
        return fattn.fusion_attention(*qkv, **{'head_num': 4, 'input_layout': 'BNSD', **more}).attention_out

    want = out(scale=0.5)
    for half in (np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), np.float16(0.5)):
        assert np.array_equal(out(scale=half), want)
    for two in (2, np.float32(2), True + 1):
        assert np.array_equal(out(scale=two), out(scale=2.0))
    for four in (np.int32(4), np.array(4), torch.tensor(4), np.uint8(4)):
        assert np.array_equal(out(head_num=four), out())
    for yes in (True, 1, np.True_, np.bool_(1), np.array(True), torch.tensor(True)):
        assert np.array_equal(out(sync=yes), out())
    for wrong in (4.0, '4', None.__class__, [4], np.array([4, 4]), 4j):
        with pytest.raises(fattn.KindError, match='head_num: an integer'):
            out(head_num=wrong)
    for wrong in ('1', [1.0], np.array([1.0, 2.0]), 1j, object()):
        with pytest.raises(fattn.KindError, match='scale: a number'):
            out(scale=wrong)
    for wrong in (2, 'no', -1, 1.0, [], np.array([True]), np.int8(1)):
        with pytest.raises(fattn.KindError, match='sync: True or False'):
            out(sync=wrong)
    for wrong in (b'BNSD', 3, ['BNSD'], 'BN\0SD'):
        with pytest.raises(fattn.KindError, match='input_layout: a string'):
            out(input_layout=wrong)
    for bad in (float('nan'), float('inf')):
        with pytest.raises(fattn.ArgumentError, match='scale is .*; it must be finite'):
            out(scale=bad)


def test_none_is_absent(qkv):
    given = {f['name']: None for f in fattn.OPERATORS['fusion_attention'].inputs}
    given.update(zip(('query', 'key', 'value'), qkv), input_layout='BNSD')
    want = fattn.fusion_attention(*qkv, input_layout='BNSD')
    assert np.array_equal(fattn.fusion_attention(**given).attention_out, want.attention_out)


def test_lists_of_tensors(rng, torch):
    lse = [rng.standard_normal(6, np.float32) for _ in range(40)]
    out = [rng.standard_normal((6, 8), np.float32) for _ in range(40)]
    want = fattn.attention_update(lse[:3], out[:3]).out
    for n, kind in ((3, tuple), (3, iter)):
        merged = fattn._core.run('attention_update', dict(lse=kind(lse[:n]), local_out=kind(out[:n])),
                                 lambda dtype, shape: np.empty(shape, 'f'))
        assert np.array_equal(merged[0], want)
    mine = fattn.attention_update([torch.from_numpy(x) for x in lse[:3]], [torch.from_numpy(x) for x in out[:3]])
    assert np.array_equal(mine.out.numpy(), want)
    with pytest.raises(fattn.KindError, match='lse: a list of arrays'):
        fattn.attention_update(lse[0], out[:1])
    with pytest.raises(fattn.KindError, match=r'local_out\[1\]: '):
        fattn.attention_update(lse[:2], [out[0], 3])
    with pytest.raises(fattn.Error, match='lse'):
        fattn.attention_update(lse, out)  # 32 at most
    with pytest.raises(fattn.Error, match='lse'):
        fattn.attention_update([], [])
