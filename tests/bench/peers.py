# SPDX-License-Identifier: Apache-2.0
"""peers.py LIBRARY — bench/peers without the peers: rows, tensors, the float64 answer, the goals' sums,
turns and reports. The answer is held to the oracle of tests/python and to differences of it; libfattn
through ctypes to the answer. Needs NumPy alone."""
import json
import pathlib
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'bench' / 'peers'))

import contender  # noqa: E402
import goals  # noqa: E402
import measure  # noqa: E402
import ours  # noqa: E402
import reference  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
import rows  # noqa: E402
from case import Case  # noqa: E402
from shared import Tensor  # noqa: E402
from attention import attend  # noqa: E402

TINY = (
    rows.square(2, 8, 12, 2),
    rows.square(2, 8, 12, 1, causal=True),
    rows.square(4, 8, 12, 1, kv_heads=2, causal=True),
    rows.Row('decode', 3, 4, 2, 8, 1, 24),
    rows.Row('paged', 3, 4, 2, 8, 1, 24, block_size=4),
)


def test_names():
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)
    assert rows.ROWS[:3] == rows.GUIDE
    assert [row.name for row in rows.GUIDE] == list(goals.MATH_F16)
    row = rows.square(32, 128, 4096, 1, kv_heads=8, causal=True, backward=True)
    assert row.name == 'backward-32/8x128x4096-b1-causal' and row.group == 4 and not row.decode
    row = rows.decode(4096, 8, block_size=64)
    assert row.name == 'decode-32/8x128-kv4096-b8-p64' and row.decode
    assert rows.square(2, 4, 3, 5).elements() == 3 * (2 * 4 * 3 * 5)
    assert rows.find('8x64x512-b4') is rows.ROWS[0]


def test_pages_hold_the_rows_of_each_sequence():
    row = TINY[-1]
    case = Case(row, 'f16')
    assert sorted(case.table.reshape(-1)) == list(range(row.batch * row.kv_len // row.block_size))
    assert case.key.shape == (18, 2, 4, 8) and case.query.shape == (3, 4, 1, 8)
    for b, h, t in ((0, 0, 0), (1, 1, 7), (2, 0, 23)):
        block = case.table[b, t // row.block_size]
        assert (case.exact('key', b, h)[t] == case.key[block, h, t % row.block_size]).all()


def test_tensors_are_aligned_rounded_and_differ():
    row = rows.Row('wide', 2, 2, 2, 64, 1, 32768)  # more elements than the pattern has
    case = Case(row, 'bf16')
    for array in (case.query, case.key, case.value):
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous
    heads = [case.exact('key', b, h) for b in (0, 1) for h in (0, 1)]
    assert all((x != y).mean() > 0.9 for i, x in enumerate(heads) for y in heads[:i])
    assert abs(heads[0].mean()) < 0.01 and abs(heads[0].std() - 1) < 0.01
    assert not (case.key == case.value).all()
    assert (Case(row, 'bf16').key == case.key).all()  # the same numbers every time


def keep_of(row):
    i, j = np.arange(row.q_len)[:, None], np.arange(row.kv_len)[None, :]
    return (j <= i + row.kv_len - row.q_len if row.causal else j >= 0)[None]


def oracle(case, b, q=None, k=None, v=None):
    """float64 [N,Sq,D] of a batch entry, by the formula in tests/python."""
    row = case.row
    q = np.stack([case.exact('query', b, h) for h in range(row.heads)]) if q is None else q
    k, v = (np.stack([case.exact(name, b, h)
                      for h in range(row.kv_heads)]) if x is None else x
            for name, x in (('key', k), ('value', v)))
    return attend(q, k, v, keep_of(row), case.scale)['out']


def test_forward_answer():
    for row in TINY:
        case = Case(row, 'f32')
        parts = reference.answer(case)['out']
        assert {(b, h) for (b, h, _), _ in parts} >= {(0, 0), (row.batch - 1, row.heads - 1)}
        for (b, h, at), exact in parts:
            assert np.allclose(exact, oracle(case, b)[h][at], rtol=0, atol=1e-13), row.name


def test_long_rows_are_sampled():
    case = Case(rows.square(1, 8, 600, 1, causal=True), 'f32')
    ((_, _, at), exact), = reference.answer(case)['out']
    assert at[0] == 0 and at[-1] == 599 and len(at) == len(exact) == reference.ROWS
    assert np.allclose(exact, oracle(case, 0)[0][at], rtol=0, atol=1e-13)


def derivative(case, b, name, h, at, direction):
    """Central difference of sum(dy * out) of a batch entry along one cell of q, k or v."""
    step, total = 1e-5, []
    heads = case.row.heads if name == 'query' else case.row.kv_heads
    x = np.stack([case.exact(name, b, i) for i in range(heads)])
    dy = np.stack([case.exact('dy', b, i) for i in range(case.row.heads)])
    for sign in (1, -1):
        moved = x.copy()
        moved[h, at, direction] += sign * step
        total.append((dy * oracle(case, b, **{name[0]: moved})).sum())
    return (total[0] - total[1]) / (2 * step)


def test_backward_answer():
    for row in (rows.square(2, 8, 12, 2, backward=True),
                rows.square(4, 8, 12, 1, kv_heads=2, causal=True, backward=True)):
        case = Case(row, 'f32')
        want = reference.answer(case)
        assert len(want['dq']) == len(want['dk']) * row.group
        for output, name in (('dq', 'query'), ('dk', 'key'), ('dv', 'value')):
            (b, h, _), exact = want[output][-1]
            for at, direction in ((0, 0), (5, 3), (11, 7)):
                slope = derivative(case, b, name, h, at, direction)
                assert abs(exact[at, direction] - slope) < 1e-8, (row.name, output, at)


def test_error_is_relative():
    case = Case(TINY[0], 'f32')
    want = reference.answer(case)
    exact = np.stack([oracle(case, b) for b in range(2)])
    result = lambda x: reference.errors(case, want, {'out': Tensor('f64', x)})['out']
    assert result(exact) < 1e-14
    assert abs(result(exact * 1.01) - 0.01) < 1e-12
    worse = exact.copy()
    worse[1, 1, -1] = np.nan  # the last head is always in the sample
    assert not result(worse) <= measure.WRONG


def test_library_agrees(library):
    found = {c.name: c for c in ours.contenders(library)}
    limits = {'f32': 1e-6, 'f16': 5e-4, 'bf16': 4e-3}  # a few half units in the last place
    backward = (rows.square(2, 8, 12, 2, backward=True),
                rows.square(4, 8, 12, 1, kv_heads=2, causal=True, backward=True))
    for row in TINY + backward:
        for dtype in rows.DTYPES:
            case = Case(row, dtype)
            want = reference.answer(case)
            for c in found.values():
                ready = c.prepare(case, '')
                ready.run()
                errors = reference.errors(case, want, ready.outputs())
                assert set(errors) == ({'dq', 'dk', 'dv'} if row.backward else {'out'})
                assert max(errors.values()) < limits[dtype], (row.name, dtype, c.name, errors)
                assert ready.own_bytes >= case.query.nbytes


def timed(best, error=1e-4):
    return {'best_ms': best, 'median_ms': best, 'error': error, 'way': '', 'note': ''}


def test_goals():
    guide, causal = rows.GUIDE[0], rows.square(16, 128, 1024, 1, causal=True)
    found = {'fattn': timed(10), 'torch-flash': timed(13), 'torch-math': timed(28), 'ggml': {'absent': 'x'}}
    fastest, math = goals.of_row(guide, 'f16', found)
    assert fastest['peer'] == 'torch-flash' and abs(fastest['got'] - 1.3) < 1e-12 and fastest['met']
    assert math['wanted'] == 2.9 and math['got'] == 2.8 and not math['met']
    assert goals.of_row(guide, 'f32', found)[1]['met']
    assert len(goals.of_row(guide, 'bf16', found)) == 1
    only, = goals.of_row(causal, 'f32', found)
    assert only['wanted'] == 1.5 and not only['met']
    assert goals.wanted(rows.decode(4096, 1)) == 2.0
    assert goals.wanted(rows.square(32, 128, 64, 1, kv_heads=8)) == 1.5
    assert goals.of_row(guide, 'f32', {'fattn': timed(10), 'ggml': {'absent': 'x'}}) == []


def test_a_faster_answer_with_a_larger_error_misses():
    found = {'fattn': timed(1, 2e-4), 'openvino': timed(9, 1e-4), 'ggml': timed(99, 1e-6)}
    goal, = goals.of_row(rows.GUIDE[0], 'bf16', found)
    assert not goal['met'] and goal['peer'] == 'openvino' and 'error' in goal['why']
    found['fattn'] = timed(1, 1.2e-4)  # equal, as sums in another order are
    assert goals.of_row(rows.GUIDE[0], 'bf16', found)[0]['met']


def test_decode_may_reach_the_read_bandwidth_instead():
    row = rows.decode(32768, 1)  # f16: 134217728 bytes; at 100 GB/s 1.342 ms
    found = {'fattn': timed(1.45), 'ggml': timed(2.2)}  # 93 % and 61 % of it
    assert not goals.of_row(row, 'f16', found)[0]['met']
    assert goals.of_row(row, 'f16', found, 100)[0]['met']
    assert not goals.of_row(row, 'f16', found, 120)[0]['met']  # ours 77 %
    found['ggml'] = timed(2.8)  # 48 % still
    assert goals.of_row(row, 'f16', found, 100)[0]['met']
    found['fattn'], found['ggml'] = timed(1.6), timed(3.1)  # 84 %; 43 %
    assert not goals.of_row(row, 'f16', found, 100)[0]['met']


def test_turns():
    seen = []
    runs = {name: (lambda name=name: seen.append(name)) for name in 'abc'}
    least, most, measure.LEAST, measure.MOST = measure.LEAST, measure.MOST, 2, 4
    turns = measure.interleave(runs, 0)
    measure.LEAST, measure.MOST = least, most
    rounds = len(turns['a'])
    assert 2 <= rounds <= 4 and all(len(x) == rounds for x in turns.values())
    # three runs to see who is short, then each twice a turn, another one first in each round
    assert ''.join(seen[:15]) == 'abc' + 'aabbcc' + 'bbccaa'
    assert len(seen) == 3 + 6 * rounds


def test_disturbed_turns_do_not_count():
    quiet, waiting = measure.Turn(1.0, 0.0), measure.Turn(0.5, 0.4)
    assert measure.summary([quiet] * 3 + [waiting]) == {
        'best_ms': 1000, 'median_ms': 1000, 'runs': 3, 'disturbed': False
    }
    few = measure.summary([quiet, waiting, waiting])
    assert few['disturbed'] and few['best_ms'] == 500 and few['runs'] == 3


def test_waiting_for_a_cpu_is_seen():
    before = measure.waited()
    time.sleep(0.01)
    assert measure.waited() >= before >= 0


class Fake:
    """A contender with an answer that is off by a factor."""

    def __init__(self, name, factor, reason=None):
        self.name, self.factor, self.reason = name, factor, reason

    def prepare(self, case, _):
        if self.reason:
            return self.reason
        exact = np.stack([oracle(case, b) for b in range(case.row.batch)])
        run = lambda: 1 / self.factor
        return contender.Ready(run, lambda: {'out': Tensor('f64', exact * self.factor)}, 0)


def test_answers_come_before_times():
    fakes = [Fake('fattn', 1), Fake('openvino', 1.2), Fake('ggml', 0), Fake('onnxruntime', 1, 'no')]
    found = measure.row(Case(TINY[0], 'f32'), fakes, 0)
    assert found['fattn']['runs'] >= measure.LEAST and found['fattn']['error'] < 1e-12
    assert found['openvino'] == {'absent': 'wrong: relative error 0.2'}
    assert found['ggml'] == {'absent': 'division by zero'}  # what it raised
    assert found['onnxruntime'] == {'absent': 'no'}


def test_fastest_way():
    def fails():
        raise ValueError('cannot')

    assert contender.fastest({'slow': lambda: time.sleep(0.02), 'fast': int, 'bad': fails}) == 'fast'
    try:
        contender.fastest({'bad': fails, 'worse': fails})
        assert False
    except ValueError:
        pass
    assert contender.allowed({'a': 1, 'b': 2}, 'b') == {'b': 2}
    assert contender.allowed({'a': 1, 'b': 2}, '') == {'a': 1, 'b': 2}


def run_of(*measured):
    run = results.begin('', machine='M', isa='avx2', threads=2, versions={'ggml': 'ggml 1'},
                        absent={'openvino': 'not installed'})
    for name, dtype, found in measured:
        results.put(run, {'name': name, 'dtype': dtype, 'contenders': found})
    return run


def test_a_run_grows_row_by_row():
    found = {'fattn': timed(10), 'ggml': timed(20)}
    run = run_of(('16x64x1024-b4', 'f16', found), ('8x64x512-b4', 'f16', found),
                 ('8x64x512-b4', 'f32', found))
    assert [(r['name'], r['dtype']) for r in run['rows']] == [
        ('8x64x512-b4', 'f32'), ('8x64x512-b4', 'f16'), ('16x64x1024-b4', 'f16')
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / 'run.json'
        results.saw_read_gbps(run, 30.0)
        results.saw_read_gbps(run, None)
        results.write(run, path)
        again = results.begin(path, machine='N')
        assert again['machine'] == 'N' and again['read_gbps'] == 30.0
        better = {'fattn': timed(5), 'ggml': timed(20)}
        results.put(again, {'name': '8x64x512-b4', 'dtype': 'f32', 'contenders': better})
        assert len(again['rows']) == 3 and again['rows'][0]['goals'][0]['got'] == 4
        json.dumps(again)


def test_report():
    found = {
        'fattn': timed(10) | {'extra_bytes': 404480},
        'fattn-call': timed(11),
        'ggml': timed(11) | {'extra_bytes': None},
        'torch-math': timed(25) | {'extra_bytes': 2.1e9, 'way': 'enable_gqa'},
        'onnxruntime': {'absent': 'no bf16 operator on the CPU'}
    }
    run = run_of(('8x64x512-b4', 'f16', found))
    text = report.text(run)
    for piece in ('M; fattn avx2, 2 threads', 'ggml: ggml 1', 'absent: openvino: not installed',
                  'no bf16 operator on the CPU', '404 kB', '2.1 GB', 'enable_gqa',
                  'without a plan 11 ms (+10%)', 'best peer: 1.10 x ggml, wanted 1.2, MISSED',
                  'math path: 2.50 x torch-math, wanted 2.9, MISSED',
                  'goals, best peer: 0 of 1 met'):
        assert piece in text, (piece, text)
    lines = [line for line in report.markdown(run) if line]
    assert len({line.count('|') for line in lines[:3]}) == 1
    assert '**1.10 of 1.2**' in lines[2] and '11 / 11, 1.10' in lines[2] and '–' in lines[2]
    found['fattn-call'] = timed(10.2)
    assert 'without a plan' not in report.text(run_of(('8x64x512-b4', 'f16', found)))


def main():
    tests = [(name, f) for name, f in globals().items() if name.startswith('test_')]
    for name, test in tests:
        test(sys.argv[1]) if name == 'test_library_agrees' else test()
    print(f'{len(tests)} tests')


if __name__ == '__main__':
    main()
