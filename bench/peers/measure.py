# SPDX-License-Identifier: Apache-2.0
"""measure.py — one row: answers first, then times in turn.

A round lets each contender run once, and each round begins with another one. A turn begins when the
threads of the one before it have stopped spinning (libgomp's do after some 10 ms, onnxruntime's after 30,
ggml's after 100); a short call then runs once untimed, so that its own threads are awake and its code is
in the caches again. A turn in which our threads had to wait for a CPU shows another program's work: it
counts only where there are too few quiet ones, and the row then says so."""
import dataclasses
import gc
import pathlib
import statistics
import time

import reference

QUIET, BUSY, PATIENCE = 0.005, 0.1, 1.0  # seconds of sleep, share of a CPU that is not quiet, seconds
SHORT = 0.05  # seconds; a call below it is warmed up
LEAST, MOST = 5, 40  # rounds
ENOUGH = 3  # quiet turns of each contender; to get them, rounds go on for LONGER times the seconds
LONGER = 3
WAITED = 0.03  # share of a turn that threads stood in line: more is a disturbed turn
WRONG = 0.05  # relative rms error of what is no answer to the same question


@dataclasses.dataclass
class Turn:
    seconds: float
    waited: float  # seconds that our threads were ready and had no CPU

    @property
    def quiet(self):
        return self.waited <= WAITED * self.seconds


def answers(case, contenders):
    """({name: Ready}, {name: result}); one that cannot, or is wrong, has its reason there."""
    want, ready, results = reference.answer(case), {}, {}
    for contender in contenders:
        name = contender.name
        try:
            made = contender.prepare(case, '')
            if isinstance(made, str):
                results[name] = {'absent': made}
                continue
            made.run()
            errors = reference.errors(case, want, made.outputs())
        except Exception as error:  # of whatever kind a peer's runtime raises
            results[name] = {'absent': (str(error) or repr(error)).splitlines()[0]}
            continue
        if not max(errors.values()) <= WRONG:
            results[name] = {'absent': f'wrong: relative error {max(errors.values()):.2g}'}
            continue
        ready[name] = made
        results[name] = {'error': max(errors.values()), 'errors': errors, 'way': made.way, 'note': made.note}
    return ready, results


def waited():
    """Seconds that the threads of this process have stood in line for a CPU; 0 where Linux is not."""
    total = 0
    for path in pathlib.Path('/proc/self/task').glob('*/schedstat'):
        try:
            total += int(path.read_text().split()[1])
        except (OSError, IndexError):  # the thread has ended
            pass
    return total * 1e-9


def until_quiet():
    """Sleeps until no thread of this process runs."""
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        before, start = time.process_time(), time.perf_counter()
        time.sleep(QUIET)
        if time.process_time() - before < BUSY * (time.perf_counter() - start):
            return


def seconds_of(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def turn(run, short):
    until_quiet()
    if short:
        run()
    before = waited()
    seconds = seconds_of(run)
    return Turn(seconds, waited() - before)


def done(turns, spent, seconds):
    """Whether {name: [Turn]} will do."""
    fewest = min(len(list_) for list_ in turns.values())
    quiet = min(sum(t.quiet for t in list_) for list_ in turns.values())
    if fewest >= MOST:
        return True
    return fewest >= LEAST and spent > seconds * (1 if quiet >= ENOUGH else LONGER)


def interleave(runs, seconds):
    """{name: [Turn]} of {name: run}: rounds for about `seconds`."""
    turns = {name: [] for name in runs}
    short = {name: seconds_of(run) < SHORT for name, run in runs.items()}
    order, start = list(runs), time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        while runs and not done(turns, time.perf_counter() - start, seconds):
            for name in order:
                turns[name].append(turn(runs[name], short[name]))
            order = order[1:] + order[:1]
    finally:
        gc.enable()
    return turns


def summary(turns):
    """{best_ms, median_ms, runs, disturbed}"""
    quiet = [t.seconds for t in turns if t.quiet]
    counted = quiet if len(quiet) >= ENOUGH else [t.seconds for t in turns]
    return {
        'best_ms': min(counted) * 1e3,
        'median_ms': statistics.median(counted) * 1e3,
        'runs': len(counted),
        'disturbed': len(quiet) < ENOUGH
    }


def row(case, contenders, seconds):
    """{name: {error, errors, way, note, best_ms, median_ms, runs, disturbed} or {absent: reason}}"""
    ready, results = answers(case, contenders)
    for name, turns in interleave({name: r.run for name, r in ready.items()}, seconds).items():
        results[name] |= summary(turns)
    return results
