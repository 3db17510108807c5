# SPDX-License-Identifier: Apache-2.0
"""contender.py — what a peer module offers, and the list of the modules.

A module peer_NAME.py (and ours.py) has contenders(library path) -> [Contender], and raises ImportError
where its package is not installed. Contender.prepare(case, way) gives a Ready, or the reason why not. A
peer that can compute a case in several ways takes the fastest; `way` names one, "" means any."""
import dataclasses
import importlib
import os
import time
from typing import Callable

THREADS = 2
COPIES = 3  # of repeated keys and values at a time; OpenVINO was seen to hold that many

MODULES = {
    'ours': ('fattn', 'fattn-call'),
    'peer_torch': ('torch-flash', 'torch-math'),
    'peer_onnxruntime': ('onnxruntime', ),
    'peer_openvino': ('openvino', ),
    'peer_ggml': ('ggml', )
}
OURS, OUR_CALL = MODULES['ours']
PEERS = tuple(name for module, names in MODULES.items() if module != 'ours' for name in names)


@dataclasses.dataclass
class Ready:
    """Everything that a user sets up once is done, copies into a layout of its own included."""
    run: Callable  # one call: what is timed
    outputs: Callable  # () -> {name: Tensor [B,N,S,D]} of the last run
    own_bytes: int  # inputs and outputs that it holds beside the case's arrays
    way: str = ''  # which of several ways it took
    note: str = ''
    keep: tuple = ()  # whose memory run() uses without owning it


@dataclasses.dataclass
class Contender:
    name: str
    version: str
    prepare: Callable


def load(names, library):
    """({name: Contender}, {name: why it is absent})"""
    found, absent = {}, {}
    for module, offered in MODULES.items():
        if not set(offered) & set(names):
            continue
        try:
            found |= {c.name: c for c in importlib.import_module(module).contenders(library)}
        except (ImportError, OSError) as error:
            absent |= {name: str(error) for name in offered}
    return {name: found[name] for name in names if name in found}, absent


def available():
    """Bytes of memory that a process could have now."""
    return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def room_to_copy(case):
    """Whether keys and values may be repeated for every query head, in fp32 and a few times over: what
    some peers do with shared heads."""
    cells = (case.key.size + case.value.size) * case.row.group
    return cells * 4 * COPIES < available() / 2


def allowed(ways, way):
    """{label: ...} without the other ways."""
    return {way: ways[way]} if way else ways


def fastest(ways):
    """The label of the fastest of {label: run}; each runs once before it is timed. A way that fails
    drops out; with none left the last error is raised."""
    if len(ways) == 1:
        return next(iter(ways))
    times, failure = {}, None
    for label, run in ways.items():
        try:
            run()
            start = time.perf_counter()
            run()
            times[label] = time.perf_counter() - start
        except Exception as error:  # of whatever kind a peer's runtime raises
            failure = error
    if not times:
        raise failure
    return min(times, key=times.get)
