# SPDX-License-Identifier: Apache-2.0
"""rows.py — what is measured: shapes under the names of `fattn bench`.

heads[/kv heads] x head dim [x sequence | -kv keys] -b batch, then causal, pN = paged in blocks of N
rows. backward-: the gradients of query, key and value."""
import dataclasses

DTYPES = ('f32', 'f16', 'bf16')


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    batch: int
    heads: int
    kv_heads: int
    dim: int
    q_len: int
    kv_len: int
    causal: bool = False
    backward: bool = False
    block_size: int = 0  # rows of a page; 0 = contiguous

    @property
    def decode(self):
        return self.q_len == 1

    @property
    def group(self):
        """Query heads that share a key head."""
        return self.heads // self.kv_heads

    def elements(self):
        """Of query, key and value together."""
        return self.batch * self.dim * (self.heads * self.q_len + 2 * self.kv_heads * self.kv_len)


def heads_text(heads, kv_heads):
    return str(heads) if heads == kv_heads else f'{heads}/{kv_heads}'


def square(heads, dim, length, batch, kv_heads=None, causal=False, backward=False):
    """As many queries as keys."""
    kv_heads = kv_heads or heads
    name = (f"{'backward-' if backward else ''}{heads_text(heads, kv_heads)}x{dim}x{length}"
            f"-b{batch}{'-causal' if causal else ''}")
    return Row(name, batch, heads, kv_heads, dim, length, length, causal, backward)


def decode(kv_len, batch, block_size=0):
    """One query row for each sequence: 32 query heads on 8 key heads of 128 columns."""
    name = f"decode-32/8x128-kv{kv_len}-b{batch}{f'-p{block_size}' if block_size else ''}"
    return Row(name, batch, 32, 8, 128, 1, kv_len, block_size=block_size)


GUIDE = (square(8, 64, 512, 4), square(16, 64, 1024, 4), square(32, 128, 2048, 4))
ROWS = GUIDE + (
    square(16, 128, 1024, 1),
    square(16, 128, 1024, 1, causal=True),
    square(32, 128, 2048, 1, kv_heads=8, causal=True),
    square(32, 128, 4096, 1, kv_heads=8, causal=True),
    decode(4096, 1),
    decode(32768, 1),
    decode(32768, 8),
    decode(4096, 8, block_size=64),
    decode(32768, 1, block_size=64),
    square(8, 64, 512, 4, backward=True),
    square(16, 64, 1024, 4, backward=True),
    square(32, 128, 2048, 1, kv_heads=8, causal=True, backward=True),
)


def find(name):
    return next(row for row in ROWS if row.name == name)
