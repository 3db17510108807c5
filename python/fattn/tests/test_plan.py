# SPDX-License-Identifier: Apache-2.0
"""Plans: one for many arrays, workspaces, what may differ between runs."""
import threading

import numpy as np
import pytest

import fattn

CALL = dict(num_heads=4, num_key_value_heads=2, input_layout='BNSD', scale=0.25)


def arrays(rng):
    return dict(query=rng.standard_normal((1, 4, 5, 16), np.float32), key=rng.standard_normal((1, 2, 9, 16), np.float32),
                value=rng.standard_normal((1, 2, 9, 16), np.float32))


def plan_of(given, **more):
    return fattn.plan('npu_fused_infer_attention_score', **given, **CALL, **more)


def test_reuse(rng):
    first = arrays(rng)
    plan = plan_of(first, actual_seq_lengths_kv=[7])
    for _ in range(5):
        now = arrays(rng)
        want = fattn.fused_infer_attention_score(**now, **CALL, actual_seq_lengths_kv=[7])
        got = plan(**now)
        assert type(got).__name__ == 'FusedInferAttentionScoreResult'
        assert np.array_equal(got.attention_out, want.attention_out)
    assert 'heads 4/2' in plan.describe and 'heads 4/2' in repr(plan) and plan.workspace > 0


def test_lists_are_kept_as_they_were(rng):
    now = arrays(rng)
    lengths = [7]
    plan = plan_of(now, actual_seq_lengths_kv=lengths)
    want = plan(**now).attention_out
    lengths[0] = 3
    assert np.array_equal(plan(**now).attention_out, want)


def test_from_specs(rng, torch):
    plan = plan_of(dict(query=fattn.spec('f32', (1, 4, 5, 16)), key=fattn.spec('f32', (1, 2, 9, 16)),
                        value=fattn.spec('f32', (1, 2, 9, 16))))
    now = arrays(rng)
    want = fattn.fused_infer_attention_score(**now, **CALL).attention_out
    assert np.array_equal(plan(**now).attention_out, want)
    got = plan.run(**{n: torch.from_numpy(x) for n, x in now.items()}).attention_out  # another kind, the same plan
    assert isinstance(got, torch.Tensor) and np.array_equal(got.numpy(), want)


def test_by_function_and_by_name(rng):
    now = arrays(rng)
    assert fattn.Plan(fattn.fused_infer_attention_score, **now, **CALL).workspace == plan_of(now).workspace
    with pytest.raises(fattn.ArgumentError, match='did you mean'):
        fattn.plan('fused_infer_attention', **now)


def test_outputs_of_the_caller(rng):
    now = arrays(rng)
    out = np.full((1, 4, 5, 32), 7, np.float32)
    plan = plan_of(now, attention_out=out[..., ::2])
    got = plan(**now, attention_out=out[..., ::2])
    assert np.array_equal(got.attention_out, fattn.fused_infer_attention_score(**now, **CALL).attention_out)
    assert (out[..., 1::2] == 7).all() and got.softmax_lse is None  # the plan has the outputs that it was given


def test_what_differs_is_refused(rng):
    now = arrays(rng)
    plan = plan_of(now)
    for wrong in (dict(query=now['query'][:, :, :4]), dict(key=now['key'].astype(np.float64)),
                  dict(value=np.asfortranarray(now['value'])), dict(scale=0.5), dict(sparse_mode=1),
                  dict(actual_seq_lengths_kv=[3]), dict(atten_mask=np.zeros((5, 9), bool))):
        out = np.full((1, 4, 5, 16), 7, np.float32)
        with pytest.raises(fattn.ArgumentError, match=next(iter(wrong))):
            plan(**{**now, **wrong}, attention_out=out)
        assert (out == 7).all()
    with pytest.raises(fattn.ArgumentError, match='key'):
        plan(query=now['query'], value=now['value'])
    with pytest.raises(fattn.Error):
        plan_of({**now, 'query': now['query'][0]})


def test_per_run_numbers(rng):
    now = arrays(rng)
    plan = fattn.plan('fusion_attention', **now, head_num=4, input_layout='BNSD', keep_prob=0.8, seed=1)
    for seed in (1, 2, 3):
        want = fattn.fusion_attention(**now, head_num=4, input_layout='BNSD', keep_prob=0.8, seed=seed)
        got = plan(**now, seed=seed)
        assert np.array_equal(got.attention_out, want.attention_out) and got.seed_out == seed


def test_workspaces(rng):
    now = arrays(rng)
    plan = plan_of(now)
    want = plan(**now).attention_out
    room = fattn.Array('u8', (plan.workspace, ))
    assert np.array_equal(plan(**now, workspace=room).attention_out, want)
    with pytest.raises(fattn.ArgumentError, match='workspace'):
        plan(**now, workspace=fattn.Array('u8', (plan.workspace - 1, )))
    with pytest.raises(fattn.ArgumentError, match='aligned'):
        plan(**now, workspace=memoryview(fattn.Array('u8', (plan.workspace + 1, )))[1:])
    with pytest.raises(fattn.KindError, match='workspace'):
        plan(**now, workspace=bytes(plan.workspace))
    with pytest.raises(fattn.KindError, match='workspace'):
        plan(**now, workspace=3)


def test_threads_with_workspaces_of_their_own(rng):
    now = arrays(rng)
    plan = plan_of(now)
    want, wrong = plan(**now).attention_out, []

    def work():
        room = fattn.Array('u8', (plan.workspace, ))
        for _ in range(100):
            if not np.array_equal(plan(**now, workspace=room).attention_out, want):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_a_busy_plan_says_so(rng):
    big = rng.standard_normal((1, 8, 1500, 64), np.float32)
    plan = fattn.plan('fusion_attention', query=big, key=big, value=big, input_layout='BNSD',
                      context=fattn.Context(threads=1))
    want, busy = plan(query=big, key=big, value=big).attention_out, []

    def work():
        while not busy:
            try:
                assert np.array_equal(plan(query=big, key=big, value=big).attention_out, want)
            except fattn.Busy as error:
                busy.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert busy[0].status == 'FATTN_E_BUSY' and f'workspace of {plan.workspace} bytes' in str(busy[0])


def test_a_plan_keeps_its_context(rng):
    now = arrays(rng)
    plan = fattn.plan('fused_infer_attention_score', **now, **CALL, context=fattn.Context(threads=1))
    assert np.array_equal(plan(**now).attention_out, fattn.fused_infer_attention_score(**now, **CALL).attention_out)


def test_host_numbers_belong_to_the_plan(rng):
    now = arrays(rng)
    padding = np.array([2])
    given = dict(kv_padding_size=padding, actual_seq_lengths_kv=[7])
    want = fattn.fused_infer_attention_score(**now, **CALL, **given).attention_out
    plan = plan_of(now, **given)
    assert np.array_equal(plan(**now).attention_out, want)
