# SPDX-License-Identifier: Apache-2.0
"""reference.py — the answer in float64, for a sample of heads and rows where the whole would take long.

Forward: out rows of some (batch, query head). Backward: dq, dk, dv of some (batch, key head) with all
the query heads that share it; every row of those, because each key collects from all rows."""
import numpy as np

ROWS = 192  # query rows of a head in a forward sample
CHUNK = 512  # query rows at a time: scores of 512 x 4096 are 17 MB


def visible(row, at):
    """bool [rows, keys]; causal: the last query sees every key."""
    keys = np.arange(row.kv_len)[None, :]
    return keys <= at[:, None] + (row.kv_len - row.q_len) if row.causal else keys >= 0


def shares(case, q, k, at):
    """The softmax of the rows `at`, whose queries are q [rows,D]."""
    x = np.where(visible(case.row, at), q @ k.T * case.scale, -np.inf)
    p = np.exp(x - x.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def corners(batch, heads, count):
    """At most `count` different (batch, head): the first, the last and some between."""
    at = np.unique(np.linspace(0, batch * heads - 1, count).round().astype(int))
    return [divmod(int(i), heads) for i in at]


def forward(case):
    """{'out': [((b, h, rows), float64 [rows,D])]}"""
    row, parts = case.row, []
    at = np.unique(np.linspace(0, row.q_len - 1, ROWS).round().astype(int))
    for b, h in corners(row.batch, row.heads, 4 if row.q_len > 1 else 8):
        k, v = (case.exact(name, b, h // row.group) for name in ('key', 'value'))
        p = shares(case, case.exact('query', b, h)[at], k, at)
        parts.append(((b, h, at), p @ v))
    return {'out': parts}


def backward(case):
    """{'dq', 'dk', 'dv': [((b, h, rows), float64 [rows,D])]}"""
    row, parts = case.row, {'dq': [], 'dk': [], 'dv': []}
    everything = slice(None)
    for b, kv in corners(row.batch, row.kv_heads, 2 if row.group == 1 else 1):
        k, v = case.exact('key', b, kv), case.exact('value', b, kv)
        dk, dv = np.zeros_like(k), np.zeros_like(v)
        for h in range(kv * row.group, (kv + 1) * row.group):
            q, dy = case.exact('query', b, h), case.exact('dy', b, h)
            dq = np.empty_like(q)
            for start in range(0, row.q_len, CHUNK):
                at = np.arange(start, min(start + CHUNK, row.q_len))
                p = shares(case, q[at], k, at)
                dp = dy[at] @ v.T
                ds = p * (dp - (p * dp).sum(axis=1, keepdims=True)) * case.scale
                dq[at] = ds @ k
                dk += ds.T @ q[at]
                dv += p.T @ dy[at]
            parts['dq'].append(((b, h, everything), dq))
        parts['dk'].append(((b, kv, everything), dk))
        parts['dv'].append(((b, kv, everything), dv))
    return parts


def answer(case):
    return backward(case) if case.row.backward else forward(case)


def errors(case, want, outputs):
    """{name: rms of the difference / rms of the answer}; outputs {name: Tensor [B,N,S,D]}."""
    result = {}
    for name, parts in want.items():
        wrong = size = 0.0
        for (b, h, at), exact in parts:
            part = type(outputs[name])(outputs[name].dtype, outputs[name].array[b, h][at])
            wrong += ((part.value() - exact)**2).sum()
            size += (exact**2).sum()
        result[name] = float(np.sqrt(wrong / size))
    return result
