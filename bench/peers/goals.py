# SPDX-License-Identifier: Apache-2.0
"""goals.py — what a row has to reach, and whether it does. Times are the best of the rounds.

results: {contender: {best_ms, error, ...} or {absent: reason}}"""
from contender import OURS, PEERS
from rows import GUIDE

FORWARD, SHARED, DECODE = 1.2, 1.5, 2.0  # times the best peer; SHARED: causal or shared key heads
READ, PEER_READ = 0.9, 0.45  # decode instead: shares of the read bandwidth, ours and the peer's
MATH_F32 = 1.2  # times torch's math path, the guide's rows
MATH_F16 = {'8x64x512-b4': 2.9, '16x64x1024-b4': 3.4, '32x128x2048-b4': 3.7}  # the guide's own
EQUAL = 1.25  # errors this close are equal: sums of the same numbers in another order
SIZES = {'f32': 4, 'f16': 2, 'bf16': 2}


def wanted(row):
    if row.decode:
        return DECODE
    return SHARED if row.causal or row.group > 1 else FORWARD


def best_peer(results):
    timed = [name for name in PEERS if 'best_ms' in results.get(name, {})]
    return min(timed, key=lambda name: results[name]['best_ms'], default=None)


def ratio(results, peer):
    """The peer's time over ours."""
    return results[peer]['best_ms'] / results[OURS]['best_ms']


def equal_error(results, peer):
    return results[OURS]['error'] <= EQUAL * results[peer]['error']


def read_share(row, dtype, milliseconds, read_gbps):
    """Keys and values over the time, as a share of the read bandwidth."""
    size = 2 * row.batch * row.kv_heads * row.kv_len * row.dim * SIZES[dtype]
    return size / (milliseconds * 1e-3) / (read_gbps * 1e9)


def reads_enough(row, dtype, results, peer, read_gbps):
    """The other way to reach the goal of decode, where the peer itself is near the bandwidth."""
    if not row.decode or not read_gbps:
        return False
    ours, theirs = (read_share(row, dtype, results[name]['best_ms'], read_gbps)
                    for name in (OURS, peer))
    return theirs >= PEER_READ and ours >= READ


def of_row(row, dtype, results, read_gbps=None):
    """[{goal, peer, wanted, got, met, why}]; why is empty where the goal is met by the ratio alone."""
    peer = best_peer(results)
    if 'best_ms' not in results.get(OURS, {}) or peer is None:
        return []
    got, why = ratio(results, peer), ''
    met = got >= wanted(row)
    if not met and reads_enough(row, dtype, results, peer, read_gbps):
        met, why = True, f'{READ:.0%} of the read bandwidth'
    if met and not equal_error(results, peer):
        met, why = False, f"error {results[OURS]['error']:.1e} over {results[peer]['error']:.1e}"
    goals = [dict(goal='best peer', peer=peer, wanted=wanted(row), got=got, met=met, why=why)]
    need = {'f32': MATH_F32, 'f16': MATH_F16.get(row.name)}.get(dtype)
    if row in GUIDE and need and 'best_ms' in results.get('torch-math', {}):
        got = ratio(results, 'torch-math')
        goals.append(
            dict(goal='math path', peer='torch-math', wanted=need, got=got, met=got >= need, why=''))
    return goals
