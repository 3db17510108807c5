# SPDX-License-Identifier: Apache-2.0
"""results.py — what a run leaves, as one JSON object that grows row by row:

{machine, isa, threads, versions: {contender: text}, absent: {contender: reason}, read_gbps,
 rows: [{name, dtype, contenders: {name: result}, goals: [...]}]}   in the order of rows.py

result: {absent: reason} or {error, errors: {output: error}, way, note, best_ms, median_ms, runs,
disturbed, extra_bytes}; error is the relative rms error of the worst output, extra_bytes what a call
needs beside inputs and outputs. goals: see goals.py."""
import json
import pathlib

import goals
from rows import DTYPES, find, ROWS


def read(path):
    return json.loads(pathlib.Path(path).read_text())


def begin(path, **about):
    """A run with the rows and the read bandwidth that the file already holds."""
    kept = read(path) if path and pathlib.Path(path).exists() else {}
    return about | {'read_gbps': kept.get('read_gbps'), 'rows': kept.get('rows', [])}


def write(run, path):
    if path:
        pathlib.Path(path).write_text(json.dumps(run, indent=1) + '\n')


def saw_read_gbps(run, gbps):
    """The read bandwidth is the best of all pieces of a run."""
    run['read_gbps'] = max(filter(None, (run['read_gbps'], gbps)), default=None)


def put(run, row):
    """In place of an older measurement of the same row and dtype; every row's goals anew."""
    place = lambda r: (ROWS.index(find(r['name'])), DTYPES.index(r['dtype']))
    run['rows'] = sorted([r for r in run['rows'] if place(r) != place(row)] + [row], key=place)
    for r in run['rows']:
        r['goals'] = goals.of_row(find(r['name']), r['dtype'], r['contenders'], run['read_gbps'])
