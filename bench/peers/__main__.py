# SPDX-License-Identifier: Apache-2.0
"""fattn beside PyTorch, onnxruntime, OpenVINO and ggml, in one process and in turn.

  python bench/peers --library build/release/libfattn.so --json peers.json --chart peers.svg
  python bench/peers --library ... --rows '*x*-b4' --dtype f32 --json peers.json   more rows into the file
  python bench/peers --report peers.json --markdown                               prints what is in a file
"""
import os

THREADS = '2'  # for all; set before any of them reads it
os.environ |= {'FATTN_THREADS': THREADS, 'OMP_NUM_THREADS': THREADS, 'MKL_NUM_THREADS': THREADS}

import argparse  # noqa: E402
import fnmatch  # noqa: E402
import json  # noqa: E402
import pathlib  # noqa: E402
import platform  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402

import contender  # noqa: E402
import measure  # noqa: E402
import memory  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from case import Case  # noqa: E402
from rows import DTYPES, find, ROWS  # noqa: E402


def parse():
    parser = argparse.ArgumentParser(prog='bench/peers',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--library', help='libfattn.so')
    parser.add_argument('--fattn', help='the program, for the read bandwidth')
    parser.add_argument('--rows', default='*', help='shell patterns over the names, with commas between them')
    parser.add_argument('--dtype', default=','.join(DTYPES))
    parser.add_argument('--peers', default=','.join(contender.PEERS))
    parser.add_argument('--seconds', type=float, default=8, help='of rounds for a row and dtype')
    parser.add_argument('--no-memory', action='store_true')
    parser.add_argument('--machine', help='what to call this machine')
    parser.add_argument('--json', metavar='FILE', help='written after each row; its other rows stay')
    parser.add_argument('--chart', metavar='FILE', action='append', default=[], help='.svg or .png')
    parser.add_argument('--report', metavar='FILE', help='measures nothing, prints this file')
    parser.add_argument('--markdown', action='store_true', help='tables for a README')
    parser.add_argument('--memory', metavar='CONTENDER', help=argparse.SUPPRESS)
    parser.add_argument('--way', default='', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.library and not options.report:
        parser.error('--library is missing')
    return options


def machine():
    try:
        cpu = next(line.split(':')[1].strip()
                   for line in pathlib.Path('/proc/cpuinfo').read_text().splitlines()
                   if line.startswith('model name'))
    except (OSError, StopIteration):
        cpu = platform.processor() or platform.machine()
    return f'{cpu}, {os.cpu_count()} cores'


def read_gbps(options):
    """What `fattn bench` finds in a row of decode, or None."""
    if not options.fattn:
        return None
    command = [
        options.fattn, 'bench', '--suite', 'decode', '--dtype', 'f16', '--only',
        'decode-32/8x128-kv32768-b1', '--runs', '5', '--no-standard', '--json'
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)['rows'][0]['peak_gbps'] if done.returncode == 0 else None


def chosen(options):
    """[(row, dtype)]"""
    return [(row, dtype) for row in ROWS
            if any(fnmatch.fnmatchcase(row.name, pattern) for pattern in options.rows.split(','))
            for dtype in options.dtype.split(',')]


def measured(options, contenders, row, dtype):
    found = measure.row(Case(row, dtype), list(contenders.values()), options.seconds)
    for name, result in found.items():
        if 'best_ms' in result and name != contender.OUR_CALL and not options.no_memory:
            result['extra_bytes'] = memory.in_child(options.library, name, row, dtype,
                                                     result['way'])
    return {'name': row.name, 'dtype': dtype, 'contenders': found}


def measure_all(options):
    names = [contender.OURS, contender.OUR_CALL] + options.peers.split(',')
    contenders, absent = contender.load(names, options.library)
    versions = {name: c.version for name, c in contenders.items() if name in contender.PEERS}
    run = results.begin(options.json,
                        machine=options.machine or machine(),
                        isa=contenders[contender.OURS].version.split(',')[0],
                        threads=int(THREADS),
                        versions=versions,
                        absent=absent)
    print('\n'.join(report.header_lines(run)), flush=True)
    todo = chosen(options)
    if any(row.decode for row, _ in todo):
        results.saw_read_gbps(run, read_gbps(options))
    for row, dtype in todo:
        new = measured(options, contenders, row, dtype)
        results.put(run, new)
        results.write(run, options.json)
        print('', *report.row_lines(new), sep='\n', flush=True)
    print('', *report.goal_lines(run), sep='\n')
    return run


def memory_of(options):
    """The child of memory.in_child()."""
    found, absent = contender.load([options.memory], options.library)
    if absent:
        return 1
    print(memory.of_call(found[options.memory], find(options.rows), options.dtype, options.way))
    return 0


def main():
    options = parse()
    if options.memory:
        return memory_of(options)
    if options.report:
        run = results.read(options.report)
        print('\n'.join(report.markdown(run)) if options.markdown else report.text(run))
    else:
        run = measure_all(options)
    if options.chart:
        import chart  # matplotlib is needed here alone
        chart.draw(run, options.chart)
    return 0


if __name__ == '__main__':
    sys.exit(main())
