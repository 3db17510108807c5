# SPDX-License-Identifier: Apache-2.0
"""What a mask lets through, and where attention goes, as arrays and as pictures (matplotlib, imported when one is drawn).

The library itself is asked: values are unit vectors, so that a row of the result is that row's weights."""
from __future__ import annotations

from .errors import ShapeError

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any


def attention_weights(query: Any, key: Any, **fields: Any) -> Any:
    """Softmax weights, NumPy float32 [B,N,Sq,Sk], of one call of fusion_attention in BNSD. query [B,N,Sq,D] and key
    [B,Nkv,Sk,D] are NumPy arrays or torch tensors; fields are fusion_attention's (scale, sparse_mode, pse, sink ...)."""
    import numpy
    from . import operators
    q, k = (numpy.asarray(x.detach().float().cpu() if hasattr(x, 'detach') else x, dtype='float32') for x in (query, key))
    if q.ndim != 4 or k.ndim != 4:
        raise ShapeError(f'query, key: ranks {q.ndim}, {k.ndim}; give BNSD tensors of rank 4')
    units = numpy.broadcast_to(numpy.eye(k.shape[2], dtype='float32'), (*k.shape[:2], k.shape[2], k.shape[2]))
    return operators.fusion_attention(q, k, numpy.ascontiguousarray(units), q.shape[1], 'BNSD', **fields).attention_out


def visible(q_len: int, kv_len: int, **fields: Any) -> Any:
    """Which key a query row may see: NumPy bool [q_len, kv_len] of sparse_mode, atten_mask, pre_tokens and so on."""
    import numpy
    zeros = numpy.zeros((1, 1, max(q_len, kv_len), 1), 'float32')
    return attention_weights(zeros[:, :, :q_len], zeros[:, :, :kv_len], **fields)[0, 0] > 0


def draw_mask(q_len: int, kv_len: int, *, ax: Any = None, **fields: Any) -> Any:
    """Draws visible(): queries downwards, keys to the right, what is seen dark. Returns matplotlib's axes."""
    cells = visible(q_len, kv_len, **fields)
    ax = _axes(ax)
    ax.imshow(cells, cmap='Greys', vmin=0, vmax=1, interpolation='nearest', aspect='equal')
    words = ', '.join(f'{name} {value}' for name, value in fields.items() if isinstance(value, (int, list)))
    ax.set(xlabel='key', ylabel='query', title=words or 'no mask')
    return ax


def heat_map(query: Any, key: Any, *, head: int = 0, batch: int = 0, ax: Any = None, **fields: Any) -> Any:
    """Draws the weights of one head as colours. Returns matplotlib's axes."""
    weights = attention_weights(query, key, **fields)[batch, head]
    ax = _axes(ax)
    picture = ax.imshow(weights, cmap='viridis', vmin=0, interpolation='nearest', aspect='auto')
    ax.figure.colorbar(picture, ax=ax, label='weight')
    ax.set(xlabel='key', ylabel='query', title=f'head {head}')
    return ax


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError('drawing needs matplotlib; visible() and attention_weights() give the numbers without it') from error
    return pyplot.figure().add_subplot()
