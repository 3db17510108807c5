# SPDX-License-Identifier: Apache-2.0
"""Calls cut into parts: along the keys (chunked, hierarchical), along the batch (adaptive). For NumPy arrays and torch
tensors."""
from __future__ import annotations

import math

from .errors import ArgumentError, ShapeError, Unsupported

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any

ALL = 2147483647  # tokens: no limit


def _widened(x: Any) -> Any:
    """In fp32, so that what is merged was not rounded to 16 bits before."""
    if hasattr(x, 'float') and hasattr(x, 'dim'):
        return x.float() if x.element_size() < 4 else x
    return x.astype('float32') if x.dtype.itemsize < 4 else x


def _back(x: Any, like: Any) -> Any:
    return x.to(like.dtype) if hasattr(x, 'dim') else x.astype(like.dtype)


def _joined(arrays: list, axis: int) -> Any:
    if hasattr(arrays[0], 'dim'):
        import torch
        return torch.cat(arrays, axis)
    import numpy
    return numpy.concatenate(arrays, axis)


def _contiguous(x: Any) -> Any:
    if hasattr(x, 'dim'):
        return x.contiguous()
    import numpy
    return numpy.ascontiguousarray(x)


def _part(query: Any, key: Any, value: Any, fields: dict) -> tuple:
    """(attention_out, log-sum-exp) of one part, as rows."""
    from . import operators
    out, lse = operators.fused_infer_attention_score(query, _contiguous(key), _contiguous(value), num_heads=query.shape[1],
                                                     num_key_value_heads=key.shape[1], input_layout='BNSD',
                                                     softmax_lse_flag=True, **fields)
    return out.reshape(-1, out.shape[-1]), lse.reshape(-1)


def _merged(a: tuple, b: tuple) -> tuple:
    from . import operators
    out, lse = operators.attention_update([a[1], b[1]], [a[0], b[0]], 1)
    return out, lse


def _check(name: str, query: Any, key: Any, value: Any) -> None:
    if not len(query.shape) == len(key.shape) == len(value.shape) == 4:
        raise ShapeError(f'{name}: query, key, value: ranks {len(query.shape)}, {len(key.shape)}, {len(value.shape)}; give '
                         'BNSD tensors of rank 4')


def chunked(query: Any, key: Any, value: Any, *, chunk_size: int = 2048, scale: float | None = None, causal: bool = False,
            atten_mask: Any = None) -> Any:
    """Attention over keys that are visited in chunks: exact, because the chunks are merged by their log-sum-exp.

    query [B,N,Sq,D], key [B,Nkv,Sk,D], value [B,Nkv,Sk,Dv] (BNSD); scale 1/sqrt(D) by default; causal counts from the
    last query and the last key; atten_mask bool [Sq,Sk], True is hidden. Returns attention_out [B,N,Sq,Dv]. A plain call
    needs no more memory than this; chunks are for keys that are not all there at once.
    """
    _check('chunked', query, key, value)
    if chunk_size < 1:
        raise ArgumentError(f'chunk_size: {chunk_size}; at least 1')
    if causal and atten_mask is not None:
        raise ArgumentError('atten_mask: not together with causal; put the causal part into the mask')
    length, rows = key.shape[2], query.shape[2]
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    wide, total = _widened(query), None
    for lo in range(0, length, chunk_size):
        hi = min(lo + chunk_size, length)
        fields = {'scale': scale}
        if causal and rows > 1:
            fields.update(sparse_mode=4, pre_tokens=ALL, next_tokens=length - hi, atten_mask=_triangle(query))
        elif atten_mask is not None:
            fields.update(sparse_mode=1, atten_mask=_contiguous(atten_mask[:, lo:hi]))
        part = _part(wide, _widened(key[:, :, lo:hi]), _widened(value[:, :, lo:hi]), fields)
        total = part if total is None else _merged(total, part)
    return _back(total[0].reshape(*query.shape[:-1], value.shape[-1]), query)


_triangles: dict = {}


def _triangle(like: Any) -> Any:
    """The compressed mask, whose content is not read."""
    kind = str(getattr(like, 'device', 'numpy')), hasattr(like, 'dim')
    if kind not in _triangles:
        if kind[1]:
            import torch
            _triangles[kind] = torch.ones(2048, 2048, dtype=torch.bool).triu_(1).to(like.device)
        else:
            import numpy
            _triangles[kind] = numpy.triu(numpy.ones((2048, 2048), bool), 1)
    return _triangles[kind]


def hierarchical(query: Any, key: Any, value: Any, *, window: int = 2048, summary: int = 64, scale: float | None = None) -> Any:
    """Causal attention, APPROXIMATE beyond a window: the last `window` keys (up to summary - 1 more) exactly, older ones as
    means of `summary` neighbouring keys and values, each of which counts as many times as it stands for.

    BNSD, as many queries as keys. Every key counts for every later query, exactly or in a mean. Where the window reaches
    back to the first key the result is that of causal attention. O(S * (window + S / summary)) scores instead of O(S * S).
    """
    _check('hierarchical', query, key, value)
    length = key.shape[2]
    if query.shape[2] != length:
        raise ShapeError(f'hierarchical: query has {query.shape[2]} tokens, key {length}; give as many')
    if window < 1 or summary < 1:
        raise ArgumentError(f'window, summary: {window}, {summary}; at least 1')
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    q, k, v = map(_widened, (query, key, value))
    whole = length // summary * summary
    means = [x[:, :, :whole].reshape(*x.shape[:2], whole // summary, summary, x.shape[-1]).mean(3) for x in (k, v)]
    outs = []
    for lo in range(0, length, summary):
        hi = min(lo + summary, length)
        first = max(0, (lo - window) // summary * summary)
        rows = _contiguous(q[:, :, lo:hi])
        near = {'scale': scale}
        if hi - lo > 1:
            near.update(sparse_mode=3, atten_mask=_triangle(query))
        total = _part(rows, k[:, :, first:hi], v[:, :, first:hi], near)
        if first:
            far, lse = _part(rows, means[0][:, :, :first // summary], means[1][:, :, :first // summary], {'scale': scale})
            total = _merged(total, (far, lse + math.log(summary)))
        outs.append(total[0].reshape(*rows.shape[:-1], value.shape[-1]))
    return _back(_joined(outs, 2), query)


def adaptive(operator: Any, *, limit: int, context: Any = None, **fields: Any) -> Any:
    """A call in as few parts of the batch as keep it within `limit` bytes: the same bits, in the same order.

    The estimate is fattn.estimate_memory's (inputs, outputs, workspace of a part). Where memory runs out all the same,
    the part is halved and nothing is lost. Tensors with the batch in front are cut, lists with a number for each
    sequence, too, pools under a block_table are not; packed layouts (TND), scales of quantised caches and dropout are
    refused. Raises OutOfMemory where one sequence alone is too large.
    """
    from .errors import OutOfMemory
    from .info import estimate_memory
    from .operators import find
    op = find(operator)
    axis = _batch_axis(op.name, fields)
    batches = fields['query'].shape[axis]

    def part(lo, hi):
        if hi - lo == batches:
            return fields
        return {name: _cut(name, value, lo, hi, fields, axis) for name, value in fields.items()}

    def bytes_of(size):
        found = estimate_memory(op.name, context=context, **part(0, size))
        return found['input_bytes'] + found['output_bytes'] + found['workspace_bytes']

    size = batches
    while size > 1 and bytes_of(size) > limit:
        size -= 1
    if bytes_of(size) > limit:
        raise OutOfMemory(f'adaptive: out of memory: one sequence needs {bytes_of(size)} bytes, limit: {limit}')
    done, lo = [], 0
    from . import operators
    while lo < batches:
        hi = min(lo + size, batches)
        try:
            done.append(getattr(operators, op.name)(**part(lo, hi), context=context))
        except OutOfMemory:
            if size == 1:
                raise
            size = (size + 1) // 2
            continue
        lo = hi
    return _together(op, done, axis)


def _batch_axis(name: str, fields: dict) -> int:
    layout = fields.get('input_layout', 'BSH').upper()
    if 'T' in layout:
        raise Unsupported(f'adaptive: input_layout {layout} packs its sequences; cut it at their borders')
    if fields.get('keep_prob', 1.0) != 1.0:
        raise Unsupported(f'adaptive: keep_prob {fields["keep_prob"]}: the mask of a part is not a part of the mask')
    if 'query' not in fields:
        raise ArgumentError(f'adaptive: {name}: query is missing')
    return 1 if layout == 'SBH' else 0


_OF_THE_BATCH = ('query', 'key', 'value', 'query_rope', 'key_rope')
_POOLS = ('key', 'value', 'key_rope')  # under a block_table the batch is not an axis of theirs
_NUMBERS = ('actual_seq_qlen', 'actual_seq_kvlen', 'actual_seq_lengths', 'actual_seq_lengths_kv', 'prefix')
_BIASES = ('atten_mask', 'pse', 'pse_shift')


def _cut(name: str, value: Any, lo: int, hi: int, fields: dict, axis: int) -> Any:
    """The part of an argument; what all sequences share is given whole."""
    batches = fields['query'].shape[axis]
    if value is None or (name in _POOLS and fields.get('block_table') is not None):
        return value
    if name in _OF_THE_BATCH:
        return _contiguous(value[:, lo:hi] if axis else value[lo:hi])
    if name in ('key_list', 'value_list'):
        return value[lo:hi]
    if name in _NUMBERS:
        return value[lo:hi] if len(value) == batches else value
    if name == 'block_table':
        return _contiguous(value[lo:hi])
    if 'antiquant' in name and max(getattr(value, 'shape', ()), default=1) > 1:
        raise Unsupported(f'adaptive: {name}: scales are not cut; make the calls part by part')
    if name in _BIASES and _has_batch(name, value, batches, fields):
        return _contiguous(value[lo:hi])
    return value


def _has_batch(name: str, value: Any, batches: int, fields: dict) -> bool:
    """Whether the first axis counts sequences. Of rank 2 are [Sq,Sk] masks, [B,Sk] masks of one query row each, [B,N]
    slopes."""
    shape = value.shape
    if len(shape) < 2 or shape[0] != batches:
        return False
    return len(shape) > 2 or name == 'pse' or (name == 'atten_mask' and 'num_heads' in fields and _one_row(fields))


def _one_row(fields: dict) -> bool:
    layout, shape = fields.get('input_layout', 'BSH').upper(), fields['query'].shape
    return shape[2 if layout.startswith('BNSD') else 1] == 1


def _together(op: Any, results: list, axis: int) -> Any:
    if len(results) == 1:
        return results[0]
    if not isinstance(results[0], tuple):
        return _joined(results, axis)
    joined = []
    for name, values in zip(results[0]._fields, zip(*results)):
        if name in op.numbers:
            joined.append(sum(values) if name == 'numels' else values[0])
        elif name == 'attention_out':
            joined.append(_joined(list(values), axis))
        else:  # statistics have the batch in front; one number where they were not asked for
            joined.append(values[0] if tuple(values[0].shape) == (1,) else _joined(list(values), 0))
    return type(results[0])(*joined)
