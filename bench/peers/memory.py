# SPDX-License-Identifier: Apache-2.0
"""memory.py — what a call needs beside its inputs and outputs: growth of the peak resident size over
one call, in a process of its own that has run a small case of the same kind before, so that code, thread
stacks and tables of constants are there already. Linux alone."""
import ctypes
import dataclasses
import gc
import pathlib
import subprocess
import sys

from case import Case

SMALL = 128  # queries, keys


def reset_peak():
    """Gives freed memory back first, which would hide what is allocated from it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path('/proc/self/clear_refs').write_text('5')


def resident(key):
    """Bytes: VmRSS now, VmHWM the peak since reset_peak()."""
    for line in pathlib.Path('/proc/self/status').read_text().splitlines():
        if line.startswith(key + ':'):
            return int(line.split()[1]) * 1024
    raise OSError(f'no {key} in /proc/self/status')


def small(row):
    return dataclasses.replace(row,
                               batch=1,
                               q_len=min(row.q_len, SMALL),
                               kv_len=SMALL)


def of_call(contender, row, dtype, way):
    """Bytes, in this process; a reason where the contender cannot."""
    warm = contender.prepare(Case(small(row), dtype), way)
    if isinstance(warm, str):
        return warm
    warm.run()
    case = Case(row, dtype)
    reset_peak()
    before = resident('VmRSS')
    ready = contender.prepare(case, way)
    if isinstance(ready, str):
        return ready
    ready.run()
    return max(0, resident('VmHWM') - before - ready.own_bytes)


def in_child(library, name, row, dtype, way):
    """Bytes, or None where the child fails."""
    command = [
        sys.executable,
        str(pathlib.Path(__file__).parent), '--library', library, '--memory', name, '--way', way,
        '--rows', row.name, '--dtype', dtype
    ]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    words = child.stdout.split()
    return int(words[-1]) if child.returncode == 0 and words and words[-1].isdigit() else None
