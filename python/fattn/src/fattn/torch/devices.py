# SPDX-License-Identifier: Apache-2.0
"""All tensors of a call are on one device. Kernels for CPU tensors need no check: torch calls them only then."""
import torch

from ..errors import ArgumentError

# Numbers that the host reads, wherever they lie.
HOST = frozenset(('actual_seq_qlen', 'actual_seq_kvlen', 'seed', 'offset', 'query_padding_size', 'kv_padding_size',
                  'qlen', 'kvlen', 'seed_drawn', 'offset_drawn', 'workspace', 'out'))


def tensors_of(name, value):
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            if isinstance(item, torch.Tensor):
                yield f'{name}[{i}]', item


def checker(operator, positional):
    """A function of the arguments of a call that raises where their devices differ."""

    def check(args, named):
        first = None
        for name, value in (*zip(positional, args), *named.items()):
            if name in HOST:
                continue
            for full_name, tensor in tensors_of(name, value):
                if first is None:
                    first = full_name, tensor.device
                elif tensor.device != first[1]:
                    raise ArgumentError(f'{operator}: {full_name} is on {tensor.device}, {first[0]} is on {first[1]}; '
                                        f'give it as {full_name}.to("{first[1]}")')

    return check


def checked(operator, positional, kernel):
    check = checker(operator, positional)

    def kernel_on_one_device(*args, **named):
        check(args, named)
        return kernel(*args, **named)

    return kernel_on_one_device
