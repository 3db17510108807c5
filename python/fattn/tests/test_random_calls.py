# SPDX-License-Identifier: Apache-2.0
"""Random calls of every attention operator, every keyword among them, against the NumPy oracle of tests/python,
this time through the package: arrays come as NumPy, as ml_dtypes, as tagged integers and as torch tensors."""
import numpy as np
import pytest

import cases
import compare
import fattn
import infer_cases
from cases import Draw
from library import Tensor

try:
    import torch
except ImportError:
    torch = None
try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

CASES = {'fusion_attention': 120, 'fused_infer_attention_score': 100, 'prompt_flash_attention': 50,
         'incre_flash_attention': 50, 'advance_step_flashattn': 20, 'attention_update': 20,
         'ring_attention_update': 20}
SEED = 20262


def forms_of(t):
    """Every way to pass the oracle's tensor `t`, which all share its memory."""
    forms = [t.array] if t.dtype != 'bf16' else [fattn.bf16(t.array)]
    if t.dtype == 'bf16' and ml_dtypes:
        forms.append(t.array.view(ml_dtypes.bfloat16))
    if torch and min(t.array.strides, default=0) >= 0:
        plain = torch.from_numpy(t.array.view(np.int16) if t.dtype == 'bf16' else t.array)
        forms.append(plain.view(torch.bfloat16) if t.dtype == 'bf16' else plain)
    return forms


class Package:
    """The oracle's idea of a library (tests/python/library.py) over the package's functions."""

    def __init__(self, draw):
        self.draw = draw
        self.fields = {op: {f['name']: f for f in o.fields} for op, o in fattn.OPERATORS.items()}

    def value(self, v):
        if isinstance(v, Tensor):
            return self.draw.pick(*forms_of(v))
        if isinstance(v, list) and v and isinstance(v[0], Tensor):
            return [self.value(t) for t in v]
        if isinstance(v, list) and self.draw.chance(0.5):
            return self.draw.pick(tuple(v), np.array(v, np.int64), np.array(v, np.int32))
        return v

    def values(self, a):
        return {name: self.value(v) for name, v in a.items()}

    def shapes(self, op, a):
        try:
            return dict(fattn.shapes(op, **self.values(a)))
        except fattn.Error as error:
            return str(error)

    def call(self, op, a):
        numbers = {n: a[n] for n in fattn.OPERATORS[op].numbers if n in a}
        given = self.values({n: v for n, v in a.items() if n not in numbers})
        wanted = fattn.OPERATORS[op].outputs
        try:
            # A function makes the outputs that it is not given; what nobody wants is left out below it only.
            if sum(name in given for name in wanted) < len(wanted) and self.draw.chance(0.5) or \
                    ('softmax_max' in given) != ('softmax_sum' in given):
                result = dict(zip(fattn.OPERATORS[op].numbers, fattn._core.call(op, given)))
            else:
                result = self.function(op, given)
        except fattn.Error as error:
            return str(error)
        for name, number in numbers.items():
            number.value = result[name]
        return None

    def function(self, op, given):
        result = getattr(fattn, op)(**given)
        if not hasattr(result, '_asdict'):
            return {}
        for name, value in result._asdict().items():
            assert value is given.get(name, value)
        return result._asdict()




@pytest.mark.filterwarnings('ignore::fattn.Warning')
@pytest.mark.parametrize('op', CASES)
def test_random(op):
    with np.errstate(over='ignore', under='ignore'):
        for index in range(CASES[op]):
            draw = Draw(SEED, index)
            a, tags = (getattr(cases, op, None) or getattr(infer_cases, op))(draw)
            wrong = compare.run(Package(draw), draw, op, a, tags)
            assert not wrong, f'{op}:{index} {compare.describe(op, a)}: {wrong}'


class SecondVersion(Package):
    """The same under the second version's names."""
    RENAMED = {'num_heads': 'num_query_heads', 'scale': 'softmax_scale', 'actual_seq_lengths': 'actual_seq_qlen',
               'actual_seq_lengths_kv': 'actual_seq_kvlen', 'softmax_lse_flag': 'return_softmax_lse'}

    def values(self, a):
        own = self.draw.chance(0.5)  # the other half through aliases
        return {self.RENAMED.get(n, n) if own else n: v for n, v in super().values(a).items()}

    def shapes(self, op, a):
        return super().shapes(op + '_v2', a)

    def call(self, op, a):
        return super().call(op + '_v2', a)


@pytest.mark.filterwarnings('ignore::fattn.Warning')
def test_random_second_version():
    op = 'fused_infer_attention_score'
    with np.errstate(over='ignore', under='ignore'):
        for index in range(60):
            draw = Draw(SEED + 1, index)
            a, tags = infer_cases.fused_infer_attention_score(draw)
            wrong = compare.run(SecondVersion(draw), draw, op, a, tags)
            assert not wrong, f'{op}_v2:{index} {compare.describe(op, a)}: {wrong}'
