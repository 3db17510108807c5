# SPDX-License-Identifier: Apache-2.0
"""Classes and texts of exceptions; a call that is refused touches nothing."""
import pickle

import numpy as np
import pytest

import fattn

KINDS = {'ArgumentError': (ValueError, 'FATTN_E_ARG'), 'ShapeError': (ValueError, 'FATTN_E_SHAPE'),
         'DtypeError': (TypeError, 'FATTN_E_DTYPE'), 'Unsupported': (NotImplementedError, 'FATTN_E_UNSUPPORTED'),
         'OutOfMemory': (MemoryError, 'FATTN_E_NOMEM'), 'Busy': (RuntimeError, 'FATTN_E_BUSY'),
         'BackendError': (RuntimeError, 'FATTN_E_BACKEND'), 'KindError': (TypeError, 'FATTN_E_ARG')}


def test_classes():
    for name, (builtin, status) in KINDS.items():
        error = getattr(fattn, name)
        assert issubclass(error, fattn.Error) and issubclass(error, builtin) and issubclass(error, RuntimeError)
        assert error.status == status
        assert isinstance(pickle.loads(pickle.dumps(error('text'))), error)


def wrong(qkv, **more):
    out = np.full((1, 4, 5, 16), 7, np.float32)
    smax, ssum = np.full((1, 4, 5, 8), 7, np.float32), np.full((1, 4, 5, 8), 7, np.float32)
    given = dict(zip(('query', 'key', 'value'), qkv), head_num=4, input_layout='BNSD', attention_out=out,
                 softmax_max=smax, softmax_sum=ssum)
    given.update(more)
    with pytest.raises(fattn.Error) as caught:
        fattn.fusion_attention(**given)
    assert (out == 7).all() and (smax == 7).all() and (ssum == 7).all()
    return caught.value


def test_refused_calls_touch_nothing(qkv):
    q, k, v = qkv
    for error, more in [
        (fattn.ShapeError, dict(value=v[:, :, :8])),
        (fattn.ShapeError, dict(query=q[0])),
        (fattn.ShapeError, dict(attention_out=np.zeros((1, 4, 5, 15), 'f'))),
        (fattn.ShapeError, dict(attention_out=np.broadcast_to(np.zeros(1, 'f'), q.shape).copy()[:, :1])),
        (fattn.DtypeError, dict(key=k.astype(np.float16))),
        (fattn.DtypeError, dict(query=q.astype(np.int64))),
        (fattn.ArgumentError, dict(input_layout='BNSS')),
        (fattn.ArgumentError, dict(sparse_mode=99)),
        (fattn.ArgumentError, dict(keep_prob=0.0)),
        (fattn.ShapeError, dict(head_num=5)),
        (fattn.KindError, dict(sink='x')),
        (fattn.ArgumentError, dict(prefix=[1, 2, 3], sparse_mode=6)),
    ]:
        found = wrong(qkv, **more)
        assert type(found) is error, (more.keys(), type(found), found)
        assert next(iter(more)) in str(found) or 'head' in str(found)


def test_messages_say_what_would_do(qkv):
    assert str(wrong(qkv, input_layout='BNSS')).startswith(
        'input_layout: "BNSS" is not one of BSH, SBH, BSND, BNSD, TND; BNSD is nearest')


def test_unsupported(qkv):
    with pytest.raises(NotImplementedError):
        fattn.verify('dropout_gen_mask', sizes=[3], mask=np.zeros(16, np.uint8))


def test_out_of_memory():
    with pytest.raises(MemoryError, match='out of memory') as caught:
        fattn.Array('f32', (2**40, 2**8))
    assert isinstance(caught.value, RuntimeError) and 'out of memory' in str(caught.value)
    cache = fattn.KVCache(2, 1, 8, 'f32', block_size=4)
    sequence = cache.add()
    rows = np.ones((9, 1, 8), np.float32)
    with pytest.raises(fattn.OutOfMemory, match='out of memory.*block'):
        cache.append(sequence, rows, rows)
    assert cache.length(sequence) == 0 and cache.usage['free_blocks'] == 2


def test_the_sentence_is_the_call_s_own(qkv):
    """Another thread's failure does not change it."""
    import threading
    texts = []

    def fail(mode):
        for _ in range(50):
            texts.append((mode, str(wrong(qkv, sparse_mode=mode))))

    threads = [threading.Thread(target=fail, args=(m, )) for m in (77, 88, 99)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(texts) == 150 and all(str(mode) in text for mode, text in texts)


def test_allocators_that_fail(qkv):
    fields = dict(zip(('query', 'key', 'value'), qkv), input_layout='BNSD')
    with pytest.raises(ZeroDivisionError):
        fattn._core.run('fusion_attention', fields, lambda dtype, shape: 1 / 0)
    with pytest.raises(fattn.KindError, match='attention_out'):
        fattn._core.run('fusion_attention', fields, lambda dtype, shape: None.__class__)
    with pytest.raises(fattn.ShapeError, match='attention_out'):
        fattn._core.run('fusion_attention', fields, lambda dtype, shape: np.zeros((3, 3), 'f'))
