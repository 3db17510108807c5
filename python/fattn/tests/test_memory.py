# SPDX-License-Identifier: Apache-2.0
"""Nothing grows over 10,000 calls: neither the process nor Python's objects nor the counts of references."""
import gc
import sys

import numpy as np
import pytest

import fattn
from calls import legal

CALLS = 10000


def resident():
    """Bytes of this process in memory."""
    with open('/proc/self/statm') as statm:
        return int(statm.read().split()[1]) * 4096


def growth(call):
    """(bytes, Python objects) that CALLS calls leave behind. A leak shows in every stretch of them; allocators, which
    take and return a megabyte at a time, do not."""
    found = []
    for _ in range(4):  # the first fills caches
        gc.collect()
        bytes_before, blocks_before = resident(), sys.getallocatedblocks()
        for _ in range(CALLS // 4):
            call()
        gc.collect()
        found.append((resident() - bytes_before, sys.getallocatedblocks() - blocks_before))
    return min(b for b, _ in found), min(n for _, n in found)


def check(call, *held):
    held = [x for x in held if x is not None and not isinstance(x, (int, float, str))]  # those everybody holds
    before = [sys.getrefcount(x) for x in held]
    grown, blocks = growth(call)
    assert grown < CALLS // 4 * 32 and blocks < CALLS // 40, (grown, blocks)  # not even 32 bytes a call
    assert [sys.getrefcount(x) for x in held] == before


def test_numpy_and_lists():
    given = legal()['fused_infer_attention_score']
    lengths, fives = [3], np.array([5])
    given.update(actual_seq_lengths=lengths, actual_seq_lengths_kv=fives)
    check(lambda: fattn.fused_infer_attention_score(**given), *given.values(), lengths, fives, None)


def test_torch(torch):
    given = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in legal()['fusion_attention'].items()}
    check(lambda: fattn.fusion_attention(**given), *given.values())


def test_views_and_ml_dtypes(ml_dtypes):
    given = legal()['incre_flash_attention']
    codes = {n: v.astype(ml_dtypes.bfloat16) for n, v in given.items() if isinstance(v, np.ndarray)}
    tagged = {n: fattn.bf16(v.view(np.uint16)) for n, v in codes.items()}
    rest = {n: v for n, v in given.items() if n not in codes}

    def call():
        fattn.incre_flash_attention(**codes, **rest)
        fattn.incre_flash_attention(**tagged, **rest)

    check(call, *codes.values(), *tagged.values())


def test_dlpack_and_own_arrays():
    class Foreign:

        def __init__(self, x):
            self.x = x

        def __dlpack__(self, **options):
            return self.x.__dlpack__(**options)

    given = legal()['prompt_flash_attention']
    held = Foreign(given['query'])
    given['query'] = held

    def call():
        out = fattn.prompt_flash_attention(**given)
        np.from_dlpack(out)
        memoryview(out)
        out.__dlpack__()

    check(call, held, *given.values())


def test_tensor_lists():
    given = legal()['attention_update']
    check(lambda: fattn.attention_update(**given), *given['lse'], *given['local_out'])


def test_refused_calls():
    given = legal()['fusion_attention']

    def call():
        for more in (dict(sparse_mode=99), dict(sink='x'), dict(prefix=[1, 'x']), dict(nonsense=3),
                     dict(scale=3, scale_value=2), dict(atten_mask=np.zeros(3))):
            with pytest.raises(fattn.Error):
                fattn.fusion_attention(**{**given, **more})

    global CALLS
    CALLS = 2000  # of six each
    try:
        check(call, *given.values())
    finally:
        CALLS = 10000


def test_plans_caches_and_contexts(rng):
    given = legal()['fused_infer_attention_score']
    arrays = {n: given[n] for n in ('query', 'key', 'value')}
    plan = fattn.plan('fused_infer_attention_score', **given)
    cache = fattn.KVCache(8, 2, 8, 'f32', block_size=4)
    rows = rng.standard_normal((5, 2, 8), np.float32)

    def call():
        plan(**arrays)
        a = cache.add()
        cache.append(a, rows, rows)
        b = cache.fork(a)
        cache.arguments([a, b])
        cache.free(a)
        cache.free(b)

    check(call, *arrays.values(), rows)

    def make():
        with fattn.Context(threads=1) as context:
            fattn.plan('fused_infer_attention_score', **given, context=context)
            fattn.KVCache(8, 2, 8, 'f32', context=context)
            fattn.explain('fused_infer_attention_score', **given)
            fattn.capabilities()
            fattn.quantize_kv(given['key'])

    global CALLS
    CALLS = 2000
    try:
        check(make, *given.values())
    finally:
        CALLS = 10000
