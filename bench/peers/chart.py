# SPDX-License-Identifier: Apache-2.0
"""chart.py — a run as a picture: each peer's time over ours, row by row; right of 1 we are faster."""
import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot  # noqa: E402

from contender import OURS, PEERS  # noqa: E402

MARKS = dict(zip(PEERS, 'osD^v'))


def points(run, peer):
    """(ratios, line numbers)"""
    found = [(row['contenders'][peer]['best_ms'] / row['contenders'][OURS]['best_ms'], i)
             for i, row in enumerate(run['rows']) if 'best_ms' in row['contenders'].get(peer, {})]
    return zip(*found) if found else ((), ())


def label(run, peer):
    """Name and version; which of PyTorch's two ways."""
    version = run['versions'].get(peer, peer)
    return f"{version} {peer.removeprefix('torch-')}" if peer.startswith('torch') else version


def draw(run, paths):
    """Writes one picture for each path; the ending says the kind."""
    pyplot.rcParams['svg.fonttype'] = 'none'  # text stays text
    pyplot.rcParams['svg.hashsalt'] = 'fattn'  # the same run, the same bytes
    rows = run['rows']
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.22 * len(rows)), layout='constrained')
    for peer in PEERS:
        x, y = points(run, peer)
        axes.scatter(x, y, marker=MARKS[peer], s=24, label=label(run, peer))
    goals = [(row['goals'][0]['wanted'], i) for i, row in enumerate(rows) if row['goals']]
    axes.scatter(*zip(*goals), marker='|', s=90, color='black', label='goal for the fastest peer')
    axes.axvline(1, color='gray', linewidth=0.8)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter('%g'))
    axes.set_yticks(range(len(rows)), [f"{row['name']} {row['dtype']}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis='x', linewidth=0.3)
    axes.set_xlabel("time of the peer / time of fattn (best of the rounds)")
    axes.set_title(f"{run['machine']}, {run['threads']} threads", fontsize=9)
    axes.legend(fontsize=7, loc='upper left', bbox_to_anchor=(1, 1))
    for path in paths:
        figure.savefig(path, metadata={'Date': None} if path.endswith('.svg') else None)
    pyplot.close(figure)
