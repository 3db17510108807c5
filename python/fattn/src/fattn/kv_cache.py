# SPDX-License-Identifier: Apache-2.0
"""A paged cache of keys and values: blocks, reference counts, copy on write; floats or quantised."""
from __future__ import annotations

from . import _core
from .arrays import hand_out, named_kind

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any, Sequence


class KVCache(_core.KVCache):
    """Keys and values of many sequences in a pool of blocks.

        cache = fattn.KVCache(n_blocks=1024, n_kv_heads=8, head_dim=128, dtype='bf16')
        a = cache.add()
        cache.append(a, k, v)             # rows [tokens, heads, head_dim]
        b = cache.fork(a)                 # shares the blocks, copies when it writes
        out, _ = fattn.fused_infer_attention_score(q, **cache.arguments([a, b]), num_heads=32, input_layout='BSND')

    dtype: f32, f16, bf16, f64; quantised: i8, i4, e4m3, e5m2 (rows come in f32, f16 or bf16).
    layout: 'BnBsH' [blocks, block_size, heads * dim] or 'BnNBsD' [blocks, heads, block_size, dim].
    granularity, key_scale, value_scale: of a quantised cache, as fattn.quantize_kv() has them; per token (the
    default) the cache makes the scales itself.
    kind: 'numpy', 'torch' or 'array': what tensors() and tables come out as.

    One thread writes at a time; any number read. A full pool raises OutOfMemory and keeps its state.
    """

    def __new__(cls, n_blocks: int, n_kv_heads: int, head_dim: int, dtype: Any, *, kind: str = 'numpy',
                **options: Any):
        self = super().__new__(cls, n_blocks, n_kv_heads, head_dim, dtype, **options)
        self._kind = named_kind(kind)
        self.block_size = options.get('block_size') or 64
        return self

    def tensors(self, layer: int = 0) -> tuple:
        """Keys and values of a layer over the cache's own memory, which they keep alive."""
        return tuple(hand_out(self._kind, array) for array in super().tensors(layer))

    def scales(self, layer: int = 0) -> tuple:
        """Of a quantised cache: scales of keys and of values, and the antiquant mode that goes with them."""
        key, value, mode = super().scales(layer)
        return hand_out(self._kind, key), hand_out(self._kind, value), mode

    def block_table(self, sequences: Sequence[int], columns: int | None = None, dtype: str = 'i32') -> Any:
        """Block ids [len(sequences), columns]; -1 behind a sequence's last block. columns: None = as many as the
        longest needs."""
        if columns is None:
            longest = max((self.length(s) for s in sequences), default=0)
            columns = max(1, -(-longest // self.block_size))
        table = self._kind.empty(dtype, (len(sequences), columns))
        super().block_table(sequences, table)
        return self._kind.finish(table)

    def slot_mapping(self, sequence: int, first: int = 0, n_tokens: int | None = None, dtype: str = 'i64') -> Any:
        """block * block_size + row of each token from `first` on."""
        if n_tokens is None:
            n_tokens = self.length(sequence) - first
        slots = self._kind.empty(dtype, (n_tokens,))
        super().slot_mapping(sequence, first, n_tokens, slots)
        return self._kind.finish(slots)

    def arguments(self, sequences: Sequence[int], layer: int = 0) -> dict:
        """What fused_infer_attention_score() wants to know of these sequences, by name."""
        key, value = self.tensors(layer)
        given = {'key': key, 'value': value, 'block_table': self.block_table(sequences),
                 'block_size': self.block_size, 'actual_seq_lengths_kv': [self.length(s) for s in sequences]}
        if self.quantised:
            key_scale, value_scale, mode = self.scales(layer)
            given.update(key_antiquant_scale=key_scale, key_antiquant_mode=mode, value_antiquant_scale=value_scale,
                         value_antiquant_mode=mode)
        return given
