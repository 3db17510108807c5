#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""plot_scaling.py — the suite `scaling` as a picture: time per visible pair and memory against the length.

    fattn bench --suite scaling --json > scaling-f32.json
    plot_scaling.py --out scaling.svg scaling-f32.json scaling-f16.json

Needs matplotlib. Rows that were left out for lack of memory are left out here.
"""
import argparse
import json
import re
import sys

NAME = re.compile(r'(\d+)x(\d+)x(\d+)-b1-(causal|band\d+)')  # heads, head dim, length, what is visible
BYTES = {'f32': 4, 'f16': 2, 'bf16': 2}
MARKS = {'causal': 'o', 'band': 's'}


class Point:
    """One row: length, picoseconds of the best run for each visible pair, bytes."""

    def __init__(self, row):
        name = NAME.fullmatch(row['name'])
        if row['suite'] != 'scaling' or not name:
            raise ValueError(f"{row['name']}: not a row of the suite scaling")
        heads, dim, self.length = (int(x) for x in name.group(1, 2, 3))
        self.series = f"{name[4]}, {row['dtype']}"
        self.mark = MARKS[name[4].rstrip('0123456789')]
        self.pair_ps = 2 * 2 * dim / row['gflops'] * 1e3  # two products of `dim` multiply-adds a pair
        self.extra = row['extra_bytes']
        self.tensors = 4 * heads * dim * self.length * BYTES[row['dtype']]  # q, k, v, result
        self.scores = 4 * heads * self.length ** 2  # a score matrix in fp32


def read(paths):
    """(what the files say about machine and threads, points by series in the order of appearance)"""
    series, head = {}, None
    for path in paths:
        with open(path, encoding='utf-8') as file:
            run = json.load(file)
        head = head or f"{run['machine']}, {run['isa']}, {run['threads']} threads"
        for row in run['rows']:
            if row['gflops'] is not None:
                point = Point(row)
                series.setdefault(point.series, []).append(point)
    if not series:
        raise ValueError('no row was measured')
    return head, series


def draw(head, series, path):
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    pyplot.rcParams['svg.fonttype'] = 'none'  # text stays text
    pyplot.rcParams['svg.hashsalt'] = 'fattn'  # the same run, the same bytes
    figure, (time, memory) = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    for name, points in series.items():
        lengths = [p.length for p in points]
        style = {'marker': points[0].mark, 'markersize': 4, 'linewidth': 1.2, 'label': name}
        time.plot(lengths, [p.pair_ps for p in points], **style)
        memory.plot(lengths, [p.extra for p in points], **style)
    longest = max(series.values(), key=lambda points: points[-1].length)
    lengths = [p.length for p in longest]
    memory.plot(lengths, [p.tensors for p in longest], color='gray', linestyle='--', linewidth=1,
                label=f"query, key, value, result ({longest[0].series.split(', ')[1]})")
    memory.plot(lengths, [p.scores for p in longest], color='gray', linestyle=':', linewidth=1,
                label='a score matrix, which nobody makes here')
    time.set_ylim(bottom=0)
    time.set_ylabel('picoseconds for each visible pair')
    memory.set_yscale('log')
    memory.set_ylabel('bytes: workspace, and beside it')
    for axes in (time, memory):
        axes.set_xscale('log', base=2)
        axes.xaxis.set_major_formatter(lambda x, _: f'{x / 1024:g}k')
        axes.set_xlabel('tokens')
        axes.grid(linewidth=0.3)
        axes.legend(fontsize=7)
    figure.suptitle(f'8 heads x 64, {head}', fontsize=9)
    figure.savefig(path, metadata={'Date': None} if path.endswith('.svg') else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', default='scaling.svg', help='the picture; its ending says the kind')
    parser.add_argument('json', nargs='+', help='what `fattn bench --suite scaling --json` printed')
    options = parser.parse_args()
    try:
        head, series = read(options.json)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f'plot_scaling.py: {error}')
    draw(head, series, options.out)


if __name__ == '__main__':
    main()
