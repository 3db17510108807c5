# SPDX-License-Identifier: Apache-2.0
"""The overloads `.lists`: int lists that came as tensors, or as one number.

torch's parser takes lists, tuples and NumPy arrays where a schema says int[], and tensors as well where it says
SymInt[]. These overloads make the two alike, and read None for softmax_layout.
"""
import torch

from ..errors import KindError
from . import schemas


def int_list(operator, name, value):
    """None, a number, a tensor with one axis at most, or anything to iterate, as a list of ints or None."""
    if value is None:
        return None
    if isinstance(value, torch.Tensor):
        if value.dim() > 1 or value.is_floating_point() or value.is_complex() or value.dtype is torch.bool:
            raise KindError(f'{operator}: {name}: a list of integers, not a tensor {value.dtype} with '
                            f'{value.dim()} axes')
        value = value.tolist()
    if isinstance(value, int):
        value = [value]
    try:
        return [item.__index__() for item in value]
    except (TypeError, AttributeError):
        raise KindError(f'{operator}: {name}: a list of integers, not {value!r}') from None


def kernel(operator, overload, schema):
    positional = schemas.parameter_names(schema)
    named_lists = frozenset(p.split('=')[0].split()[-1] for p in schema[1:schema.index(') ->')].split(', ')
                            if p.startswith('Any'))

    def read(name, value):
        if name in named_lists:
            return int_list(operator, name, value)
        return '' if name == 'softmax_layout' and value is None else value

    def with_lists(*args, **named):
        op = getattr(getattr(torch.ops.npu, operator), overload or 'default')
        return op(*(read(name, value) for name, value in zip(positional, args)),
                  **{name: read(name, value) for name, value in named.items()})

    return with_lists
