# SPDX-License-Identifier: Apache-2.0
"""Calls that need nothing of torch's dispatcher go past it.

For a Python kernel the dispatcher costs 15 to 25 us per call, most of it conversions to C++ and back. So the
objects torch.ops.npu.<name> look at a call first: plain CPU tensors, nobody who listens (no dispatch or function
mode, no functorch transform, no profiler, no tracing), arguments that the schema has. Such a call runs the kernel
that the dispatcher would run; any other goes the usual way, errors about arguments included. Overloads such as
`.default` always do, and so do compiled graphs and TorchScript.
"""
import torch
from torch import _C

from . import schemas

Tensor, Parameter = torch.Tensor, torch.nn.Parameter
SIMPLE = {int, float, str, bool, type(None), torch.dtype, torch.Size}
dispatch_modes = _C._len_torch_dispatch_stack
function_modes = _C._is_torch_function_mode_enabled
transforms = _C._are_functorch_transforms_active
profiler = torch.autograd._profiler_enabled
tracing = _C._get_tracing_state
is_grad_enabled, any_requires_grad = _C.is_grad_enabled, _C._any_requires_grad


def unobserved():
    """True where nobody wants to see the operators that run."""
    return not (dispatch_modes() or function_modes() or transforms() or profiler() or tracing())


def plain(values):
    """True where all tensors are on the CPU and no subclass; anything unknown says no."""
    for value in values:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            if not value.is_cpu or value.is_neg():  # a lazy sign: the dispatcher resolves it, the memory lacks it
                return False
        elif kind is list or kind is tuple:
            if not plain(value):
                return False
        elif kind not in SIMPLE and kind.__module__ != 'numpy':
            return False
    return True


class DirectPacket(torch._ops.OpOverloadPacket):
    """An operator that looks whether it can do without the dispatcher."""

    def __call__(self, /, *args, **named):
        allowed = self._keywords
        if (len(args) < len(allowed) and named.keys() <= allowed[len(args)]
                and self._required[len(args)] <= named.keys() and plain(args) and plain(named.values())
                and unobserved()):
            if not is_grad_enabled() or not any_requires_grad(*args, **named):
                return self._kernel(*args, **named)
            if self._differentiable:
                return self._differentiable(*args, **named)
        return self._op(*args, **named)


def install(name, kernel, differentiable=None):
    """Makes torch.ops.npu.<name> such an operator."""
    packet = getattr(torch.ops.npu, name)
    packet.__class__ = DirectPacket
    schema = schemas.SCHEMAS[name]
    positional, names = positional_names(schema), schemas.parameter_names(schema)
    required = required_names(schema)
    packet._kernel, packet._differentiable = kernel, differentiable
    packet._keywords = [frozenset(names[n:]) for n in range(len(positional) + 1)]
    packet._required = [frozenset(names[n:]) & required for n in range(len(positional) + 1)]


def positional_names(schema):
    front = schema.partition('*')[0]
    return schemas.parameter_names(front if front == schema else front.rstrip(', ') + ') ->')


def required_names(schema):
    inside = schema[1:schema.index(') ->')]
    return frozenset(p.split()[-1] for p in inside.split(', ') if p != '*' and '=' not in p)
