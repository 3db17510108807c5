# SPDX-License-Identifier: Apache-2.0
"""What the library says about itself and about a call: capabilities, shapes, memory, explain, verify."""
from __future__ import annotations

from . import _core
from .operators import find

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any


class Facts(dict):
    """A dict whose entries are attributes, too; prints as a table."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        width = max((len(name) for name in self), default=0)
        return '\n'.join(f'{name:{width}}  {_text(value)}' for name, value in self.items())


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:.6g}'
    if isinstance(value, (tuple, list)):
        return ', '.join(_text(v) for v in value)
    if isinstance(value, dict):
        return '; '.join(f'{k}: {_text(v)}' for k, v in value.items())
    return str(value)


def _facts(value: Any) -> Any:
    """Dicts become Facts, at any depth."""
    if isinstance(value, dict):
        return Facts((k, _facts(v)) for k, v in value.items())
    if isinstance(value, tuple):
        return tuple(_facts(v) for v in value)
    return value


def capabilities(context: Any = None) -> Facts:
    """What this build and machine can do: version, isa, isas, backends, threads, dtypes, cache_layouts,
    quantisation, and per attention operator its layouts and sparse modes."""
    return _facts(_core.capabilities(context))


def shapes(operator: Any, *, context: Any = None, **fields: Any) -> Facts:
    """(dtype, shape) of every output of a call, by name; None for one that the call does not have.

    Computes nothing. Raises what the call would raise for its shapes and arguments.
    """
    op = find(operator)
    return Facts(zip(op.outputs, _core.shapes(op.name, fields, context)))


def estimate_memory(operator: Any, *, context: Any = None, **fields: Any) -> Facts:
    """Bytes of a call, without computing it: input_bytes, output_bytes, workspace_bytes of fattn, and
    standard_bytes of attention with materialised fp32 scores."""
    return _facts(_core.estimate_memory(find(operator).name, fields, context))


def explain(operator: Any, *, context: Any = None, **fields: Any) -> Facts:
    """What a call would do, in figures: backend, kernels, tiles, splits, bytes, and why not the others
    (docs/explain.md, include/fattn/explain.h). Nothing is computed; fattn.spec() stands for an array."""
    return _facts(_core.explain(find(operator).name, fields, context))


def verify(operator: Any, *, context: Any = None, **fields: Any) -> Facts:
    """How far given outputs are from the exact answer, computed in float64 from the same arguments.

        out, *_ = fattn.fusion_attention(q, k, v, input_layout='BNSD')
        fattn.verify('fusion_attention', query=q, key=k, value=v, input_layout='BNSD', attention_out=out)

    `passed` says whether every element lies inside its bound (docs/verify.md); `outputs` has the figures of each.
    The outputs may come from any device.
    """
    return _facts(_core.verify(find(operator).name, fields, context))
