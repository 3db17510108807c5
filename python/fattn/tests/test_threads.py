# SPDX-License-Identifier: Apache-2.0
"""Many threads at a time, the interpreter running beside a call, and processes that fork."""
import concurrent.futures
import multiprocessing
import threading

import numpy as np
import pytest

import fattn


def answer(q, k, v):
    return fattn.fusion_attention(q, k, v, 4, 'BNSD', scale=0.25, keep_prob=0.9, seed=5)


def test_eight_threads(rng):
    inputs = [tuple(rng.standard_normal((1, n, s, 16), np.float32) for n, s in ((4, 5 + i), (2, 90), (2, 90)))
              for i in range(8)]
    want = [answer(*x) for x in inputs]
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        for round_ in range(25):
            at = (i + round_) % 8
            got = answer(*inputs[at])
            if not all(np.array_equal(a, b) for a, b in zip(got, want[at])):
                return at
            with pytest.raises(fattn.ArgumentError, match=f'sparse_mode.*{70 + i}'):
                fattn.fusion_attention(*inputs[at], 4, 'BNSD', sparse_mode=70 + i)
        return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [None] * 8


def test_the_interpreter_runs_beside_a_call(rng):
    q = rng.standard_normal((1, 8, 1500, 64), np.float32)
    inside, laps = threading.Event(), 0

    def compute():
        inside.set()
        fattn._core.call('fusion_attention', fields, context)
        inside.clear()

    fields = dict(query=q, key=q, value=q, input_layout='BNSD', attention_out=np.empty_like(q))
    context = fattn.Context(threads=1)
    thread = threading.Thread(target=compute)
    thread.start()
    inside.wait()
    while inside.is_set():  # about half a second; with the GIL held there would be a lap or two
        laps += 1
    thread.join()
    assert laps > 1000


def forked(q, k, v, pipe):
    pipe.send([np.asarray(x).tobytes() for x in answer(q, k, v)])
    pipe.close()


def fork(inputs):
    """The child's answer; it inherits the parent's context, whose threads are not there."""
    fork_context = multiprocessing.get_context('fork')
    here, there = fork_context.Pipe()
    child = fork_context.Process(target=forked, args=(*inputs, there))
    child.start()
    assert here.poll(60), 'the child hangs'
    got = here.recv()
    child.join(60)
    assert child.exitcode == 0
    return got


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_fork(rng):
    inputs = tuple(rng.standard_normal((2, n, 150, 16), np.float32) for n in (4, 2, 2))
    with fattn.Context(threads=2):
        want = [np.asarray(x).tobytes() for x in answer(*inputs)]  # the parent's threads run now
        for _ in range(5):
            assert fork(inputs) == want
        assert [np.asarray(x).tobytes() for x in answer(*inputs)] == want


def with_torch(index):
    import torch
    x = torch.full((1, 2, 9, 8), float(index))
    return fattn.fusion_attention(x, x, x, 2, 'BNSD').attention_out


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_data_loader_workers(torch):
    class Data(torch.utils.data.Dataset):

        def __len__(self):
            return 6

        def __getitem__(self, index):
            return with_torch(index)

    with_torch(1)
    batches = list(torch.utils.data.DataLoader(Data(), batch_size=2, num_workers=2))
    assert [b[1].unique().item() for b in batches] == [1, 3, 5]
