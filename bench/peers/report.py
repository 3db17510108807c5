# SPDX-License-Identifier: Apache-2.0
"""report.py — a run (results.py) as text for the terminal, as tables for a README, and its goals."""
from contender import OURS, OUR_CALL, PEERS

CALL = 0.05  # a call without a plan that takes this much more or less than the planned one is named


def number(value):
    """Three digits, never an exponent."""
    return f'{value:.0f}' if value >= 100 else f'{value:.3g}'


def time_text(result):
    return f"{number(result['best_ms'])} / {number(result['median_ms'])}"


def bytes_text(count):
    if count is None:
        return '?'
    for unit in ('kB', 'MB'):
        count /= 1e3
        if count < 1e3:
            return f'{count:.3g} {unit}'
    return f'{count / 1e3:.3g} GB'


def goal_text(goal):
    verdict = 'met' if goal['met'] else 'MISSED'
    why = f" ({goal['why']})" if goal['why'] else ''
    return (f"{goal['goal']}: {goal['got']:.2f} x {goal['peer']}, wanted {goal['wanted']:.3g}, "
            f'{verdict}{why}')


def call_text(contenders):
    """What a call without a plan costs, where that differs."""
    ours, call = contenders.get(OURS, {}), contenders.get(OUR_CALL, {})
    if 'best_ms' not in ours or 'best_ms' not in call:
        return ''
    more = call['best_ms'] / ours['best_ms'] - 1
    return f"without a plan {call['best_ms']:.3g} ms ({more:+.0%})" if abs(more) > CALL else ''


def contender_line(name, result, ours):
    if 'absent' in result:
        return f"  {name:12} {result['absent']}"
    note = ', '.join(filter(None, (result.get('way'), result.get('note'))))
    times = f"{result['best_ms'] / ours['best_ms']:.2f}" if 'best_ms' in ours else ''
    return (f"  {name:12} {result['best_ms']:10.3f} {result['median_ms']:10.3f} {times:>6} "
            f"{result['error']:9.1e} {bytes_text(result.get('extra_bytes')):>9}  {note}")


def row_lines(row):
    """The row's block in the terminal."""
    contenders = row['contenders']
    ours = contenders.get(OURS, {})
    yield (f"{row['name']} {row['dtype']:20} {'best ms':>10} {'median ms':>10} {'/ ours':>6} "
           f"{'error':>9} {'memory':>9}")
    for name in (OURS, ) + PEERS:
        if name in contenders:
            yield contender_line(name, contenders[name], ours)
    disturbed = [name for name, result in contenders.items() if result.get('disturbed')]
    if disturbed:
        yield f"  other programs took the CPU from {', '.join(disturbed)}: measure again"
    if call_text(contenders):
        yield '  ' + call_text(contenders)
    for goal in row['goals']:
        yield '  ' + goal_text(goal)


def header_lines(run):
    yield f"{run['machine']}; fattn {run['isa']}, {run['threads']} threads each"
    for name, version in run['versions'].items():
        yield f'{name}: {version}'
    for name, reason in run['absent'].items():
        yield f'absent: {name}: {reason}'
    if run.get('read_gbps'):
        yield f"read bandwidth {run['read_gbps']:.1f} GB/s"
    yield ('error: rms of the difference from float64 over the rms of the answer; memory: growth of the '
           'peak resident size over a call, beside inputs and outputs')


def goal_counts(run):
    """{goal: (met, all, [texts of the missed])}"""
    counts = {}
    for row in run['rows']:
        for goal in row['goals']:
            met, total, missed = counts.setdefault(goal['goal'], (0, 0, []))
            if not goal['met']:
                missed.append(f"{row['name']} {row['dtype']}: {goal_text(goal)}")
            counts[goal['goal']] = (met + goal['met'], total + 1, missed)
    return counts


def goal_lines(run):
    for goal, (met, total, missed) in goal_counts(run).items():
        yield f'goals, {goal}: {met} of {total} met'
        yield from (f'  {text}' for text in missed)


def text(run):
    blocks = ['\n'.join(header_lines(run))]
    blocks += ['\n'.join(row_lines(row)) for row in run['rows']]
    return '\n\n'.join(blocks + ['\n'.join(goal_lines(run))])


def table(header, rows):
    yield '| ' + ' | '.join(header) + ' |'
    yield '|' + '---|' * len(header)
    for row in rows:
        yield '| ' + ' | '.join(row) + ' |'


def cell(row, name, show):
    result = row['contenders'].get(name, {})
    return show(result) if 'best_ms' in result else '–'


def peer_time(row, name):
    ours = row['contenders'][OURS]['best_ms']
    return cell(row, name, lambda r: f"{time_text(r)}, {r['best_ms'] / ours:.2f}")


def goal_cell(row):
    """The fastest peer's time over ours and what it should be; bold where it is missed, be it by the error."""
    if not row['goals']:
        return '–'
    goal = row['goals'][0]
    mark = '' if goal['met'] else '**'
    why = ' (error)' if goal['why'].startswith('error') else ''
    return f"{mark}{goal['got']:.2f} of {goal['wanted']:.3g}{mark}{why}"


def need_text(result):
    return f"{result['error']:.1e}, {bytes_text(result.get('extra_bytes'))}"


def markdown(run):
    """Two tables: times, then errors and memory."""
    rows = [row for row in run['rows'] if 'best_ms' in row['contenders'].get(OURS, {})]
    times, needs = [], []
    for row in rows:
        title = [row['name'], row['dtype']]
        times.append(title + [cell(row, OURS, time_text)] + [peer_time(row, p)
                                                             for p in PEERS] + [goal_cell(row)])
        needs.append(title + [cell(row, name, need_text) for name in (OURS, ) + PEERS])
    yield from table(['row', 'dtype', OURS] + list(PEERS) + ['best peer / fattn'], times)
    yield ''
    yield from table(['row', 'dtype', OURS] + list(PEERS), needs)
