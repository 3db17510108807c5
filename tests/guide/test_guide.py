# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the guide that parses, run on device "npu": its operators' results are inside the accuracy
contract, and it warns of what docs/calls.md says and of nothing else. Each block has a process of its own, a fork of one
that has imported everything."""
import builtins
import linecache
import multiprocessing
import os
import pathlib
import re
import sys
import traceback
import warnings

os.environ.setdefault('NPU_EMU_BANNER', '0')
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import pytest  # noqa: E402
import torch  # noqa: E402
import torch_npu  # noqa: E402

import fattn  # noqa: E402
import record  # noqa: E402
from blocks import blocks, guide, operators, parses  # noqa: E402
from supplies import Supply, SUPPLIES  # noqa: E402

torch.set_num_threads(1)  # what is forked has no threads of OpenMP
DOCUMENT = guide()
BLOCKS = {n: source for n, source in blocks(DOCUMENT).items() if parses(source)} if DOCUMENT else {}
NOT_RUN = {int(n): error for n, error in re.findall(r'^\| (\d+) \| (\w+) \|',
                                                   (pathlib.Path(__file__).parent / 'not_run.md').read_text('utf-8'), re.M)}
WANTED = 55


def class_builder(attributes):
    """builtins.__build_class__ that gives classes what their own methods miss."""

    def build(body, name, *bases, **named):
        made = builtins.__build_class__(body, name, *bases, **named)
        for attribute, value in attributes.get(name, {}).items():
            setattr(made, attribute, value)
        return made

    return build


def run_block(source, supply):
    """{error, calls, wrong, said} of a block."""
    calls, report = [], {'error': None, 'wrong': []}
    record.install(calls)
    torch.manual_seed(1)
    linecache.cache['guide'] = len(source), None, source.splitlines(True), 'guide'  # TorchScript reads sources
    names = {'__name__': 'guide', '__builtins__': {**vars(builtins), '__build_class__': class_builder(supply.attributes),
                                                  'print': lambda *_, **__: None},
             'torch': torch, 'torch_npu': torch_npu}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        try:
            names.update(supply.names())
            exec(compile(source, 'guide', 'exec'), names)  # pylint: disable=exec-used
            if supply.drive:
                supply.drive(names)
        except Exception as error:  # pylint: disable=broad-except
            report['error'] = [t.__name__ for t in type(error).__mro__], f'{error}\n{traceback.format_exc()}'
    report['said'] = [str(w.message) for w in said if issubclass(w.category, fattn.Warning)]
    report['calls'] = [c['operator'] for c in calls if 'result' in c]
    if not report['error']:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            done = [c for c in calls if 'result' in c and c['operator'] in record.ATTENTION]  # a recomputation stops early
            report['wrong'] = [w for w in map(record.verified, done) if w]
    return report


def in_a_fork(source, supply):
    here, there = multiprocessing.Pipe(duplex=False)

    def child():
        there.send(run_block(source, supply))

    process = multiprocessing.get_context('fork').Process(target=child)
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


pytestmark = [pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning'),
              pytest.mark.skipif(not DOCUMENT, reason='the guide (FATTN_GUIDE names it) is not here')]


@pytest.mark.parametrize('number', sorted(set(BLOCKS) - set(NOT_RUN)))
def test_block(number):
    supply = SUPPLIES.get(number, Supply())
    report = in_a_fork(BLOCKS[number], supply)
    assert report['error'] is None, report['error'][1]
    assert not report['wrong'], report['wrong']
    assert len(report['calls']) >= supply.calls, report['calls']
    if supply.calls:  # its own operators, not others'
        assert set(report['calls']) == set(operators(BLOCKS[number])) & set(report['calls']) and report['calls']
    for pattern in supply.warnings:
        assert any(re.search(pattern, said) for said in report['said']), (pattern, report['said'])
    unexpected = [said for said in report['said'] if not any(re.search(p, said) for p in supply.warnings)]
    assert not unexpected, unexpected


@pytest.mark.parametrize('number', sorted(NOT_RUN))
def test_not_run(number):
    supply = {21: Supply(lambda: {n: torch.randn(2, 8, 512, 64) for n in ('key', 'value')}),
              29: Supply(lambda: dict(zip('qkv', (torch.randn(1, 8, 4, 64).half().npu() for _ in range(3))), H=8, tokens=1,
                                      positions=1, seq_lens=1)),
              59: Supply(lambda: {n: torch.randn(2, 8, 512, 64) for n in ('key', 'value')} | dict(scale=0.125)),
              60: Supply(lambda: {n: torch.randn(2, 8, 512).half() for n in ('query', 'key', 'value')})}.get(number, Supply())
    error = in_a_fork(BLOCKS[number], supply)['error']
    assert error and NOT_RUN[number] in error[0], error


def test_enough_blocks_run():
    """Blocks that name an operator's call have called it: `calls` says how often at least."""
    ran = set(BLOCKS) - set(NOT_RUN)
    assert len(BLOCKS) >= 63 and len(ran) >= WANTED
    uncalled = [n for n in ran if re.search(r'torch_npu\.npu_\w+\(', BLOCKS[n]) and not SUPPLIES[n].calls]
    assert not uncalled
