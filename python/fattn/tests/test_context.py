# SPDX-License-Identifier: Apache-2.0
"""Contexts: what they settle, which one a call uses, strictness, the generator of dropout."""
import asyncio
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import fattn


def test_options():
    c = fattn.Context(threads=3, isa='scalar', strict=True)
    assert (c.threads, c.isa, c.strict) == (3, 'scalar', True)
    assert 'threads=3 isa=scalar strict' in repr(c)
    for wrong in (dict(isa='mmx'), dict(threads=-1), dict(backend='gpu'), dict(compute='f8')):
        with pytest.raises(fattn.ArgumentError):
            fattn.Context(**wrong)
    for wrong in (dict(isa=3), dict(warn=3), dict(threads='x'), dict(nonsense=1)):
        with pytest.raises(TypeError):
            fattn.Context(**wrong)


def test_which_one(qkv):
    default = fattn.current_context()
    a, b = fattn.Context(threads=1), fattn.Context(threads=2)
    with a:
        assert fattn.current_context() is a
        with b, a:
            assert fattn.current_context() is a
        assert fattn.current_context() is a
        seen = []
        other = threading.Thread(target=lambda: seen.append(fattn.current_context()))
        other.start()
        other.join()
        assert seen == [default]  # another thread has its own
    assert fattn.current_context() is default
    with pytest.raises(KeyError):
        with a:
            raise KeyError
    assert fattn.current_context() is default


def test_tasks_have_their_own():
    async def task(context):
        with context:
            await asyncio.sleep(0)
            return fattn.current_context() is context

    async def both():
        return await asyncio.gather(*(task(fattn.Context(threads=n)) for n in (1, 2)))

    assert asyncio.run(both()) == [True, True]


def test_default_of_the_process():
    c = fattn.Context(threads=1)
    fattn.set_default_context(c)
    try:
        assert fattn.current_context() is c
    finally:
        fattn.set_default_context(None)
    assert fattn.current_context() is not c
    with pytest.raises(fattn.KindError):
        fattn.set_default_context(3)
    with pytest.raises(fattn.KindError, match='context: 3 is no fattn.Context'):
        fattn.dropout_gen_mask([3], context=3)


def test_environment():
    code = 'import fattn; c = fattn.current_context(); print(c.threads, c.isa, c.strict)'
    env = {**os.environ, 'FATTN_THREADS': '5', 'FATTN_ISA': 'scalar', 'FATTN_STRICT': '1'}
    done = subprocess.run([sys.executable, '-B', '-c', code], capture_output=True, text=True, env=env, timeout=60)
    assert done.stdout.split() == ['5', 'scalar', 'True'], done.stderr
    env['FATTN_ISA'] = 'mmx'
    code = 'import fattn; fattn.dropout_gen_mask([3])'
    done = subprocess.run([sys.executable, '-B', '-c', code], capture_output=True, text=True, env=env, timeout=60)
    assert 'ArgumentError' in done.stderr and 'mmx' in done.stderr


def test_strict(qkv):
    q, k, v = (x.astype(np.float16) for x in qkv)
    given = dict(num_heads=4, num_key_value_heads=2, input_layout='BNSD')
    fattn.fused_infer_attention_score(q, k, v, **given, scale_value=0.25)
    with fattn.strict():
        assert fattn.current_context().strict
        fattn.fused_infer_attention_score(q, k, v, **given, scale=0.25)
        with pytest.raises(fattn.Error, match='device error'):
            fattn.fused_infer_attention_score(q, k, v, **given, sparse_mode=3)  # without a mask


def test_threads_and_isa_change_no_bit(qkv):
    q, k, v = qkv
    want = fattn.fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)
    for threads in (1, 2, 7):
        with fattn.Context(threads=threads):
            got = fattn.fusion_attention(q, k, v, 4, 'BNSD', scale=0.25)
            assert all(np.array_equal(a, b) for a, b in zip(got, want))


def test_generator():
    c = fattn.Context()
    assert c.generator_state == bytes(16)
    c.seed(7)
    first = fattn.dropout_gen_mask([100], draw=True, context=c)
    second = fattn.dropout_gen_mask([100], draw=True, context=c)
    assert (first.seed_out, first.offset_out, second.offset_out) == (7, 0, 12)
    state = c.generator_state
    third = fattn.dropout_gen_mask([100], draw=True, context=c).mask
    c.generator_state = state
    assert np.array_equal(fattn.dropout_gen_mask([100], draw=True, context=c).mask, third)
    assert not np.array_equal(first.mask, second.mask)
    with c:
        fattn.seed(-1)  # as torch has it: modulo 2**64
    assert c.generator_state[:8] == b'\xff' * 8
    for wrong in (3, b'short', None):
        with pytest.raises(fattn.KindError):
            c.generator_state = wrong
    with pytest.raises(TypeError):
        c.seed('x')


def test_fp16_arithmetic(qkv):
    """Of f16 calls only, where the instruction set has it; bits, error and explain() tell."""
    q, k, v = (x.astype(np.float16) for x in qkv)
    half, plain = fattn.Context(isa='scalar', compute='f16'), fattn.Context(isa='scalar', compute='f32')

    def call(context, *tensors):
        return fattn.fusion_attention(*tensors, head_num=q.shape[1], input_layout='BNSD', scale=0.3, context=context)[0]

    assert (half.compute, plain.compute, fattn.Context().compute) == ('f16', 'f32', 'f32')
    assert 'compute=f16' in repr(half) and 'compute' not in repr(plain)
    exact = call(plain, *(x.astype(np.float32) for x in (q, k, v)))
    ours, theirs = (call(c, q, k, v).astype(np.float32) for c in (half, plain))
    assert (ours != theirs).any()
    assert 0 < np.abs(ours - exact).max() < 0.02
    assert (call(half, *qkv) == call(plain, *qkv)).all()  # fp32 tensors
    for context, compute in ((half, 'f16'), (plain, 'f32')):
        assert fattn.explain('fusion_attention', query=q, key=k, value=v, head_num=q.shape[1], input_layout='BNSD',
                             context=context).compute == compute
    with pytest.raises(fattn.Error, match='avx2'):
        fattn.Context(isa='avx2', compute='f16')
