# SPDX-License-Identifier: Apache-2.0
"""Gradients of the training operators: one autograd.Function behind the Autograd kernels of v1, v2 and v3.

It is written by hand, and not through torch.library.register_autograd, for three reasons: that refuses v2, whose
tensors come by keyword; it costs 10 us in every call that needs no gradient; and a mask that is drawn inside a
compiled graph must reach the backward as data, while the seed that v1 and v2 return is a number, which a graph
keeps as a constant.

A call on plain tensors goes straight to the eager kernel. Where a mode, a tensor subclass or a transform listens,
the operator is dispatched on, and dropout that draws its mask becomes two operators: fattn::draw_seed and
fattn::fusion_attention_seeded.
"""
import itertools

import torch
from torch import _C
from torch.autograd.function import once_differentiable

from .. import _core
from . import schemas, shapes
from .direct import unobserved
from .eager_backward import fusion_attention_backward
from .eager_training import V1, V3, draws, forward, forward_v3, fusion_attention, fusion_attention_v3, gather

DIFFERENTIABLE = ('query', 'key', 'value', 'pse', 'sink', 'query_rope', 'key_rope')
OPTIONS = frozenset(schemas.parameter_names('(' + schemas.ANY_FORWARD + ') ->')) - {'qlen', 'kvlen'}
OPTION_TENSORS = ('pse', 'sink', 'query_rope', 'key_rope', 'atten_mask', 'dropout_mask', 'qlen', 'kvlen')
TOCKENS = (('pre_tockens', 'pre_tokens'), ('next_tockens', 'next_tokens'))
LENGTHS = (('actual_seq_qlen', 'qlen'), ('actual_seq_kvlen', 'kvlen'))

BELOW = _C._after_autograd_keyset.raw_repr()
CPU = _C.DispatchKeySet(_C.DispatchKey.CPU).raw_repr()
PRIVATE = _C.DispatchKeySet(_C.DispatchKey.PrivateUse1).raw_repr()
any_requires_grad, is_grad_enabled = _C._any_requires_grad, _C.is_grad_enabled
calls = itertools.count()


class Version:
    """v1, v2 or v3: its names and kernels. `op` is the operator once it is defined."""

    def __init__(self, name, positional, forward, kernel):
        self.name, self.positional, self.forward, self.kernel = name, positional, forward, kernel
        self.lengths_are_tensors = positional is V3
        self.op = self.check = None

    def options(self, f):
        """What fattn's operators take of the arguments, by their names."""
        options = {name: f[name] for name in OPTIONS & f.keys()}
        for given, name in TOCKENS:
            if given in f:
                options[name] = f[given]
        for given, name in LENGTHS if self.lengths_are_tensors else ():
            if given in options:
                options[name] = options.pop(given)
        return options

    def drawn(self, f):
        """Dropout as two operators: the results, and seed and offset as tensors."""
        query = f['query']
        seed, offset = torch.ops.fattn.draw_seed(query, next(calls))
        results = torch.ops.fattn.fusion_attention_seeded(*(f[name] for name in V1[:5]), seed, offset,
                                                          scale=f.get('scale', 1.0), **self.options(f))
        results += query.new_empty(0),
        if self.lengths_are_tensors:
            return (*results, seed, offset), seed, offset
        letters = shapes.lenient_reading(f['input_layout'], query.shape, f['head_num'])
        numels = shapes.numels(letters, query.shape, f['key'].shape, f['head_num'], f.get('actual_seq_qlen'),
                               f.get('actual_seq_kvlen'))
        numbers = (int(seed), int(offset)) if has_data(seed) else (0, 0)
        return (*results, *numbers, numels), seed, offset


def has_data(tensor):
    """False for a tensor in the making of a graph."""
    if type(tensor) is not torch.Tensor:
        return False
    from torch.fx.experimental.proxy_tensor import get_proxy_mode  # slow to import, and needed for modes alone
    return get_proxy_mode() is None


def run(version, keyset, args, named, f):
    """The forward without gradients: the results, and seed and offset as tensors where they are drawn as such."""
    backend = keyset.raw_repr() & BELOW
    if backend == CPU:
        return version.forward(f), None, None
    if backend == PRIVATE:
        version.check(args, named)
        return version.forward(f), None, None
    with _C._AutoDispatchBelowAutograd():
        if draws(f):
            return version.drawn(f)
        return version.op.redispatch(keyset & _C._after_autograd_keyset, *args, **named), None, None


def autograd_kernel(version):
    """The kernel of an operator for the Autograd keys."""
    on_cpu, positional = version.kernel, version.positional

    def kernel(keyset, *args, **named):
        if is_grad_enabled() and any_requires_grad(*args, **named):
            f = gather(positional, args, dict(named))
            if keyset.raw_repr() & BELOW == CPU:
                return plain_apply(version, None, f, *map(f.get, DIFFERENTIABLE))
            return FusionAttention.apply(version, (keyset, args, named), f, *map(f.get, DIFFERENTIABLE))
        if keyset.raw_repr() & BELOW == CPU:
            return on_cpu(*args, **named)
        return run(version, keyset, args, named, gather(positional, args, dict(named)))[0]

    return kernel


def plain_kernel(version):
    """The forward with gradients for calls that come past the dispatcher."""
    positional = version.positional

    def kernel(*args, **named):
        f = gather(positional, args, named)
        return plain_apply(version, None, f, *map(f.get, DIFFERENTIABLE))

    return kernel


class FusionAttention(torch.autograd.Function):
    """attention_out of npu_fusion_attention, differentiable in query, key, value, pse, sink and the rotary parts. The
    statistics are constants, as the device's backward takes them. What it saves includes a dropout mask of the
    caller's (the device draws one again)."""

    @staticmethod
    def forward(ctx, version, call, f, *tensors):  # pylint: disable=unused-argument
        options = version.options(f)
        options.update(scale_value=f.get('scale', 1.0), dropout_mask=f.get('dropout_mask'))
        ctx.call = f['head_num'], f['input_layout']
        query, key, value = tensors[:3]
        results, seed, offset = run(version, *call, f) if call else (version.forward(f), None, None)
        out, maximum, total = results[:3]
        if seed is None and type(results[4]) is not int:  # v3
            seed, offset = results[4:6]
        if seed is None:
            options['seed'], options['offset'] = results[4:6]
        ctx.mark_non_differentiable(*(x for x in results[1:6] if isinstance(x, torch.Tensor)))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(query, key, value, out, maximum, total, seed, offset,
                              *(options.pop(name, None) for name in OPTION_TENSORS))
        ctx.options, ctx.context, ctx.plain = options, _core.current_context.get(), call is None
        return results

    @staticmethod
    @once_differentiable
    def backward(ctx, dy, *others):  # pylint: disable=unused-argument
        needs = ctx.needs_input_grad[3:]
        if dy is None:
            return (None, ) * (3 + len(needs))
        query, key, value, out, maximum, total, seed, offset, *tensors = ctx.saved_tensors
        options = {name: tensor for name, tensor in zip(OPTION_TENSORS, tensors) if tensor is not None}
        if seed is not None:
            options['seed_drawn'], options['offset_drawn'] = seed, offset
        if needs[3]:
            options['need_dpse'] = True
        plain = ctx.plain and type(dy) is torch.Tensor and not dy.is_neg() and unobserved()
        backward = fusion_attention_backward if plain else torch.ops.fattn.fusion_attention_backward
        token = _core.current_context.set(ctx.context)  # backward may run in another thread
        try:
            dq, dk, dv, dpse, dq_rope, dk_rope, dsink = backward(
                query, key, value, dy, *ctx.call, maximum, total, out, **ctx.options, **options)
        finally:
            _core.current_context.reset(token)
        gradients = dq, dk, dv, dpse, dsink, dq_rope, dk_rope
        return None, None, None, *(g if need else None for g, need in zip(gradients, needs))


# The same without the look for functorch's transforms, which plain tensors are past.
plain_apply = super(torch.autograd.Function, FusionAttention).apply


VERSIONS = {
    'npu_fusion_attention': Version('npu_fusion_attention', V1, forward, fusion_attention),
    'npu_fusion_attention_v2': Version('npu_fusion_attention_v2', V1[:5], forward, fusion_attention),
    'npu_fusion_attention_v3': Version('npu_fusion_attention_v3', V3, forward_v3, fusion_attention_v3),
}
