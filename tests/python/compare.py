# SPDX-License-Identifier: Apache-2.0
"""compare.py — calls the library with one case and holds every output against the oracle."""
import ctypes as C

import numpy as np

import bookkeeping
import fusion
import inference
from attention import FLT_MAX, half_ulp
from library import STORAGE, Tensor

ATTENTION = {
    'fusion_attention': fusion.fusion_attention,
    'prompt_flash_attention': inference.prompt_flash_attention,
    'incre_flash_attention': inference.incre_flash_attention,
    'fused_infer_attention_score': inference.fused_infer_attention_score
}
MERGES = {
    'attention_update': bookkeeping.attention_update,
    'ring_attention_update': bookkeeping.ring_attention_update
}


def describe(op, a):
    """The call in one line, tensors as dtype[shape]."""

    def word(value):
        if isinstance(value, (list, tuple)):
            return ','.join(map(str, value))
        return repr(value) if isinstance(value, Tensor) else str(value)

    return op + ''.join(f' {name}={word(value)}' for name, value in a.items() if value is not None)


class Guarded:
    """An output with a border of known bytes on all sides: it must stay as it was."""

    def __init__(self, draw, dtype, shape, like=None):
        border = like.border if like else [draw.integer(0, 2) if s > 0 else 0 for s in shape]
        self.border = border
        self.big = np.zeros([s + 2 * g for s, g in zip(shape, border)], STORAGE[dtype])
        self.big.view(np.uint8)[...] = 0x5b if dtype != 'bool' else 1
        inner = tuple(slice(g, g + s) for g, s in zip(border, shape))
        self.tensor = Tensor(dtype, self.big[inner])
        self.outside = np.ones(self.big.shape, bool)
        self.outside[inner] = False
        self.before = self.big.copy()

    def spilled(self):
        return bool(
            (self.big.view(np.uint8)
             != self.before.view(np.uint8)).reshape(self.big.shape + (-1, ))[self.outside].any())


def off(name, got, want, bound, dtype):
    """None, or what is wrong. bound is E; a stored type adds half an ulp of the exact value."""
    if got.shape != want.shape:
        return f'{name}: shape {got.shape}, oracle {want.shape}'
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite]):
        return f'{name}: infinities differ'
    allowed = np.where(bound > 0, 2 * bound + half_ulp(dtype, np.where(finite, want, 0.0)), 0.0)
    with np.errstate(invalid='ignore'):
        bad = ~(np.abs(got - want) <= allowed) & finite
    if not bad.any():
        return None
    at = tuple(int(x[0]) for x in np.nonzero(bad))
    return (
        f'{name}{list(at)}: got {got[at]:.9g}, oracle {want[at]:.9g}, allowed {allowed[at]:.3g}, '
        f'{int(bad.sum())} of {bad.size} outside')


def stats_off(name, got, stats, skip):
    """softmax_max and softmax_sum: eight equal copies, the sum through its logarithm."""
    if not (got == got[..., :1]).all():
        return f'{name}: the eight copies differ'
    got, want = got[..., 0], stats['max' if name == 'softmax_max' else 'sum']
    if got.shape != want.shape:
        return f'{name}: shape {got.shape}, oracle {want.shape}'
    exact = stats['empty'].astype(bool)
    if name == 'softmax_max':
        bad = np.abs(got - want) > stats['max_bound']
    else:
        with np.errstate(divide='ignore', invalid='ignore'):
            bad = ~(np.abs(np.log(got) - np.log(want)) <= stats['max_bound'] + stats['lse_bound'])
    bad = np.where(exact, ~np.isclose(got, want, rtol=1e-6, atol=0), bad) & ~skip
    if not bad.any():
        return None
    at = tuple(int(x[0]) for x in np.nonzero(bad))
    return f'{name}{list(at)}: got {got[at]:.9g}, oracle {want[at]:.9g}, {int(bad.sum())} outside'


def run_attention(library, draw, op, a, tags):
    dtype = a['query'].dtype
    want = ATTENTION[op](a, 2.0**-53 if dtype == 'f64' else 2.0**-24)
    tags |= {'empty row'} if want['any_empty'] else set()
    shapes = library.shapes(op, a)
    if isinstance(shapes, str):
        return [f'shapes refused: {shapes}']
    made = {name: Guarded(draw, *shape) for name, shape in shapes.items()}
    if op == 'fusion_attention':
        made['softmax_sum'] = Guarded(draw, *shapes['softmax_sum'], like=made['softmax_max'])
        if a['input_layout'] == 'TND' and a.get('softmax_layout', '') == '':
            for name in ('softmax_max',
                         'softmax_sum'):  # one run of memory, whatever the shape says
                made[name].tensor.array = np.ascontiguousarray(made[name].tensor.array)
    numbers = {
        name: C.c_int64(-99)
        for name in ('numels', 'seed_out', 'offset_out') if name in library.fields[op]
    }
    given = {name: g.tensor for name, g in made.items()}
    for name in list(given)[1:]:
        if draw.chance(0.1):
            del given[name]  # not wanted
    error = library.call(op, {**a, **given, **numbers})
    if error:
        return [error]
    wrong = [
        f'{name}: {number.value}, oracle {want[name]}' for name, number in numbers.items()
        if number.value != want[name]
    ]
    for name, t in given.items():
        if made[name].spilled():
            wrong.append(f'{name}: written outside')
        got = t.value()
        if name in ('softmax_max', 'softmax_sum'):
            stats = want['stats']
            # Statistics of rows that belong to no sequence: 0 without a sink, unspecified with one.
            skip = np.zeros(stats['max'].shape, bool)
            if want.get('pad_rows') and a.get('sink') is not None:
                skip[-want['pad_rows']:] = True
            wrong.append(stats_off(name, got, stats, skip))
        else:
            wrong.append(off(name, got, want[name][0], want[name][1], t.dtype))
    return [w for w in wrong if w]


def run_merge(library, draw, op, a):
    want = MERGES[op](a)
    shapes = library.shapes(op, a)
    if isinstance(shapes, str):
        return [f'shapes refused: {shapes}']
    if a.get('update_type') == 0:
        shapes.pop('lse_out', None)
    made = {name: Guarded(draw, *shape) for name, shape in shapes.items()}
    if op == 'ring_attention_update':
        for g in made.values():
            g.tensor.array = np.ascontiguousarray(g.tensor.array)
    error = library.call(op, {**a, **{name: g.tensor for name, g in made.items()}})
    if error:
        return [error]
    wrong = []
    for name, g in made.items():
        if g.spilled():
            wrong.append(f'{name}: written outside')
        got = g.tensor.value()
        if name in ('softmax_max', 'softmax_sum'):
            if not (got == got[..., :1]).all():
                wrong.append(f'{name}: the eight copies differ')
            got = np.where(np.abs(got[..., 0]) > 3e38, np.sign(got[..., 0]) * FLT_MAX, got[..., 0])
        wrong.append(off(name, got, want[name][0], want[name][1], g.tensor.dtype))
    return [w for w in wrong if w]


def run_advance(library, draw, op, a):
    want = bookkeeping.advance_step_flashattn(a)
    error = library.call(op, a)
    if error:
        return [error]
    return [
        f'{name}: {a[name].array.tolist()}, oracle {x.tolist()}' for name, x in want.items()
        if not np.array_equal(a[name].array, x)
    ]


def run(library, draw, op, a, tags):
    """What is wrong with the library's answer: sentences, empty = nothing. May add tags."""
    if op in ATTENTION:
        return run_attention(library, draw, op, a, tags)
    return (run_merge if op in MERGES else run_advance)(library, draw, op, a)
