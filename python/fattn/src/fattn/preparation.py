# SPDX-License-Identifier: Apache-2.0
"""Inputs in the layout and alignment that the device likes best, and the result back in the caller's."""
from __future__ import annotations

import math

from .errors import ArgumentError, ShapeError

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any

LAYOUTS = ('BNSD', 'BSND', 'BSH', 'SBH')


class Prepared:
    """query, key, value as prepare() made them; `fields` are the arguments that go with them; restore(out) undoes it.

        p = fattn.prepare(q, k, v, head_num=8, input_layout='BSH')
        out = p.restore(fattn.fusion_attention(p.query, p.key, p.value, **p.fields).attention_out)
    """

    def __init__(self, query: Any, key: Any, value: Any, fields: dict, layout: str, value_dim: int):
        self.query, self.key, self.value, self.fields = query, key, value, fields
        self._layout, self._value_dim = layout, value_dim

    def restore(self, out: Any) -> Any:
        """attention_out in the layout and width of the inputs; a view where that is possible."""
        return _from_bnsd(out[..., :self._value_dim], self._layout)


def prepare(query: Any, key: Any, value: Any, *, head_num: int, input_layout: str, scale: float | None = None,
            align: int = 16) -> Prepared:
    """BNSD tensors whose head dims are multiples of `align`: views of the inputs where the numbers already lie so.

    Padding columns are 0 and change no score; the scale stays that of the unpadded width, 1/sqrt(D) unless given.
    head_num counts query heads; those of the keys follow from the shapes. NumPy arrays and torch tensors.
    """
    layout = input_layout.upper()
    if layout not in LAYOUTS:
        raise ArgumentError(f'input_layout: "{input_layout}" is not one of {", ".join(LAYOUTS)}')
    if align < 1:
        raise ArgumentError(f'align: {align}; at least 1')
    width = _head_dim(query, layout, head_num)
    kv_heads = head_num if 'N' in layout else key.shape[-1] // width
    q = _to_bnsd(query, layout, head_num)
    k, v = _to_bnsd(key, layout, kv_heads), _to_bnsd(value, layout, kv_heads)
    if q.shape[1] != head_num:
        raise ShapeError(f'head_num: {head_num}, but query has {q.shape[1]} heads under {layout}')
    fields = {'head_num': head_num, 'input_layout': 'BNSD', 'scale': 1 / math.sqrt(width) if scale is None else scale}
    return Prepared(_padded(q, align), _padded(k, align), _padded(v, align), fields, layout, v.shape[-1])


def _head_dim(query: Any, layout: str, heads: int) -> int:
    if len(query.shape) != len(layout):
        raise ShapeError(f'query: rank {len(query.shape)} under {layout}, which has {len(layout)} axes')
    if 'N' in layout:
        return query.shape[-1]
    if query.shape[-1] % heads:
        raise ShapeError(f'head_num: {heads} does not divide the {query.shape[-1]} columns of query')
    return query.shape[-1] // heads


def _axes(x: Any, *order: int) -> Any:
    return x.permute(*order) if hasattr(x, 'permute') else x.transpose(order)


def _to_bnsd(x: Any, layout: str, heads: int) -> Any:
    if layout == 'BNSD':
        return x
    if layout == 'BSND':
        return _axes(x, 0, 2, 1, 3)
    a, b, h = x.shape
    x = x.reshape(a, b, heads, h // heads)
    return _axes(x, 0, 2, 1, 3) if layout == 'BSH' else _axes(x, 1, 2, 0, 3)


def _from_bnsd(x: Any, layout: str) -> Any:
    if layout == 'BNSD':
        return x
    if layout == 'BSND':
        return _axes(x, 0, 2, 1, 3)
    b, n, s, d = x.shape
    return _axes(x, 0, 2, 1, 3).reshape(b, s, n * d) if layout == 'BSH' else _axes(x, 2, 0, 1, 3).reshape(s, b, n * d)


def _padded(x: Any, align: int) -> Any:
    missing = -x.shape[-1] % align
    if not missing:
        return x
    if hasattr(x, 'dim'):
        import torch
        return torch.nn.functional.pad(x, (0, missing))
    import numpy
    return numpy.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])
