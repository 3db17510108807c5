# SPDX-License-Identifier: Apache-2.0
"""case.py — the tensors of a row, the same memory for every contender.

query [B,N,Sq,D], key and value [B,Nkv,Skv,D], contiguous, 64-byte aligned. Paged: key and value are
pools [blocks,Nkv,block_size,D] and table int32 [B,blocks of a sequence] is a permutation of all blocks,
as a pool looks after some use. backward: dy is laid out like the query."""
import numpy as np

from shared import STORAGE, Tensor

PATTERN = 4194301  # elements; a prime, so that no head is a copy of another


def aligned(shape, dtype):
    """An empty array that begins at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start:start + size].view(dtype).reshape(shape)


def filled(shape, dtype, seed):
    """Standard normal numbers of `dtype`, rounded once."""
    pattern = np.random.default_rng(seed).standard_normal(min(PATTERN, int(np.prod(shape))))
    array = aligned(shape, STORAGE[dtype])
    array.reshape(-1)[:] = np.resize(Tensor.rounded(dtype, pattern).array, array.size)
    return array


class Case:

    def __init__(self, row, dtype, seed=1):
        self.row, self.dtype, self.scale = row, dtype, row.dim**-0.5
        kv = (row.batch, row.kv_heads, row.kv_len, row.dim)
        self.table = None
        if row.block_size:
            blocks = row.kv_len // row.block_size
            order = np.random.default_rng(seed).permutation(row.batch * blocks)
            self.table = order.astype(np.int32).reshape(row.batch, blocks)
            kv = (row.batch * blocks, row.kv_heads, row.block_size, row.dim)
        q = (row.batch, row.heads, row.q_len, row.dim)
        self.query, self.key, self.value = (filled(shape, dtype, seed + i)
                                            for i, shape in enumerate((q, kv, kv), 1))
        self.dy = filled(q, dtype, seed + 4) if row.backward else None

    def exact(self, name, b, h):
        """float64 [S,D] of one head of `query`, `key`, `value` or `dy`, taken out of its pages."""
        array = getattr(self, name)
        paged = self.table is not None and name in ('key', 'value')
        part = array[self.table[b], h] if paged else array[b, h]
        return Tensor(self.dtype, part).value().reshape(-1, self.row.dim)
