# SPDX-License-Identifier: Apache-2.0
"""Alias mode: without a compiled device "npu" means the CPU.

Functions that take a device are wrapped, .npu() and .to("npu") copy as if they moved memory. What is lost: the type of
device that tensors report, errors where devices differ, memory counts, TorchScript with device="npu", and code that
reaches torch past the wrapped names.
"""
import functools
import sys

import torch

from . import _environment

FACTORIES = ('arange', 'as_tensor', 'asarray', 'bartlett_window', 'blackman_window', 'empty', 'empty_like', 'empty_permuted',
             'empty_strided', 'eye', 'full', 'full_like', 'hamming_window', 'hann_window', 'kaiser_window', 'linspace',
             'logspace', 'ones', 'ones_like', 'rand', 'rand_like', 'randint', 'randint_like', 'randn', 'randn_like',
             'randperm', 'range', 'scalar_tensor', 'sparse_coo_tensor', 'tensor', 'tril_indices', 'triu_indices', 'zeros',
             'zeros_like', 'load', 'set_default_device')
TENSOR_METHODS = ('new_empty', 'new_empty_strided', 'new_full', 'new_ones', 'new_tensor', 'new_zeros')


def names_npu(value):
    if isinstance(value, torch.device):
        return value.type == 'npu'
    return isinstance(value, str) and (value == 'npu' or value.startswith('npu:'))


def replaced(value):
    return 'cpu' if names_npu(value) else value


def on_cpu(function):

    @functools.wraps(function)
    def wrapped(*args, **named):
        return function(*map(replaced, args), **{name: replaced(value) for name, value in named.items()})

    return wrapped


def moving(function):
    """Tensor.to and its like: a tensor that moves to a device is a copy there."""

    @functools.wraps(function)
    def wrapped(self, *args, **named):
        moves = any(map(names_npu, (*args, *named.values())))
        result = function(self, *map(replaced, args), **{name: replaced(value) for name, value in named.items()})
        return result.clone() if moves and result is self else result

    return wrapped


def to_npu(self, device=None, non_blocking=False, **_):  # pylint: disable=unused-argument
    return self.clone()


def install():
    torch.utils.rename_privateuse1_backend('npu')  # so that torch.device("npu") is a device
    for name in FACTORIES:
        if hasattr(torch, name):
            setattr(torch, name, on_cpu(getattr(torch, name)))
    for name in TENSOR_METHODS:
        setattr(torch.Tensor, name, on_cpu(getattr(torch.Tensor, name)))
    torch.Tensor.to = moving(torch.Tensor.to)
    torch.Tensor.cpu = copying(torch.Tensor.cpu)
    torch.Tensor.npu = to_npu
    torch.Tensor.is_npu = True
    torch.nn.Module.to = on_cpu(torch.nn.Module.to)
    torch.nn.Module.npu = lambda self, device=None: self  # pylint: disable=unused-argument
    torch.autocast.__init__ = on_cpu(torch.autocast.__init__)
    from . import npu
    torch.npu = npu
    import fattn.torch  # noqa: F401
    line = _environment.banner()
    if line:
        print(line + ' (alias mode: npu means CPU)', file=sys.stderr)


def copying(function):

    @functools.wraps(function)
    def wrapped(self, *args, **named):
        result = function(self, *args, **named)
        return result.clone() if result is self else result

    return wrapped
