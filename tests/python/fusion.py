# SPDX-License-Identifier: Apache-2.0
"""fusion.py — npu_fusion_attention, forward, from its raw arguments (not strict)."""
import numpy as np

from attention import FLT_MAX, attend
from masks import INT_MAX, grid, packed_lengths, predicate

DEFAULTS = dict(head_num=0,
                pse=None,
                atten_mask=None,
                query_rope=None,
                key_rope=None,
                scale=1.0,
                pre_tokens=INT_MAX,
                next_tokens=INT_MAX,
                inner_precise=0,
                prefix=None,
                actual_seq_qlen=None,
                actual_seq_kvlen=None,
                sparse_mode=0,
                pse_type=1,
                q_start_idx=None,
                kv_start_idx=None,
                softmax_layout='',
                sink=None,
                seed=0,
                offset=0)


def to_bnsd(x, layout, n):
    """(B, N, S, D) of a dense layout."""
    if layout in ('BSND', 'BSNH'):
        return x.transpose(0, 2, 1, 3)
    if layout == 'BNSD':
        return x
    if layout == 'SBH':
        x = x.transpose(1, 0, 2)
    b, s, h = x.shape
    return x.reshape(b, s, n, h // n).transpose(0, 2, 1, 3)


def from_bnsd(x, layout):
    if layout in ('BSND', 'BSNH'):
        return x.transpose(0, 2, 1, 3)
    if layout == 'BNSD':
        return x
    b, n, s, d = x.shape
    x = x.transpose(0, 2, 1, 3).reshape(b, s, n * d)
    return x.transpose(1, 0, 2) if layout == 'SBH' else x


def dense_mask(mask, mode, b, h, lq, lk, lens):
    """The full-size mask of one sequence: (N or 1, Lq, Lk) of bool, True = hidden."""
    if mask.ndim == 2:
        row0 = col0 = 0
        if lens is not None:  # packed: [max Lq, max Lk] for all, or one block per sequence
            lqs, lks = lens
            if mask.shape != (max(lqs), max(lks)):
                row0, col0 = sum(lqs[:b]), sum(lks[:b])
        return mask[None, row0:row0 + lq, col0:col0 + lk]
    m = mask[b if mask.shape[0] > 1 else 0]
    return np.broadcast_to(m[:, :lq if m.shape[1] > 1 else 1, :lk], (m.shape[0], lq, lk))


def stored_distance(stored, lq, lk, total):
    """A bias that depends on i - j only, the last 1024 rows of a `total` long one stored:
    (N, 1024, total) -> (N, Lq, Lk). Keys after the row are never visible."""
    i, j = grid(lq, lk)
    direct = i - (total - 1024)
    r = np.where(direct >= 0, direct, i % 1024)
    c = r + (total - 1024) - (i - j)
    inside = (c >= 0) & (c < stored.shape[2])
    return np.where(inside, stored[:, r, np.where(inside, c, 0)], 0.0)


def bias_of(a, b, n, lq, lk, sq, lens):
    """(bias (N,Lq,Lk) or None, added before the scale)."""
    pse, kind = a['pse'], a['pse_type']
    if pse is None:
        return None, False
    x = pse.value()
    if kind in (2, 3):
        first = lens is None or b == 0
        q0 = (a['q_start_idx'] or [0])[0] if first else 0
        kv0 = (a['kv_start_idx'] or [0])[0] if first else 0
        i, j = grid(lq, lk)
        distance = np.abs((j + kv0) - (i + q0)).astype(float)
        slopes = (x[b] if x.ndim == 2 else x)[:, None, None]
        return -slopes * (distance if kind == 2 else np.sqrt(distance)), False
    if x.ndim == 1:
        lqs, lks = lens
        full = x.size == n * int(np.dot(lqs, lks))
        rows = [int(l) if full else 1 for l in lqs]
        at = n * sum(r * int(k) for r, k in zip(rows[:b], lks[:b]))
        block = x[at:at + n * rows[b] * lk].reshape(n, rows[b], lk)
        return np.broadcast_to(block, (n, lq, lk)), kind == 1
    x = x[b if x.shape[0] > 1 else 0]
    total = sq if lens is None else int(max(lens[1]))
    if x.shape[1] == 1024 and total > 1024:
        return stored_distance(x, lq, lk, total), kind == 1
    return np.broadcast_to(x[:, :, :lk], (n, lq, lk)), kind == 1


def fusion_attention(a, u):
    """{output: (values, bounds)}; bounds None = exact. ValueError: must be refused."""
    a = {**DEFAULTS, **a}
    layout, n, mode = a['input_layout'], a['head_num'], a['sparse_mode']
    q, k, v = (a[name].value() for name in ('query', 'key', 'value'))
    packed = layout == 'TND'
    if packed:
        lens = packed_lengths(a['actual_seq_qlen'], a['actual_seq_kvlen'], q.shape[0], k.shape[0])
        if lens is None:
            raise ValueError('lists')
        n = n or q.shape[1]
        at_q, at_kv = (np.concatenate([[0], np.cumsum(l)]).astype(int) for l in lens)
        heads = lambda x, at, b: x[at[b]:at[b + 1]].transpose(1, 0, 2)
        batches = len(lens[0])
        q_of, k_of, v_of = (lambda b, x=x, at=at: heads(x, at, b)
                            for x, at in ((q, at_q), (k, at_kv), (v, at_kv)))
        rope = None if a['query_rope'] is None else (a['query_rope'].value(), a['key_rope'].value())
        rope_q, rope_k = (lambda b: heads(rope[0], at_q, b)), (lambda b: heads(rope[1], at_kv, b))
    else:
        lens = None
        n = n or q.shape[{'BNSD': 1}.get(layout, 2)]
        d = q.shape[-1] if q.ndim == 4 else q.shape[-1] // n
        n_kv = k.shape[{'BNSD': 1}.get(layout, 2)] if k.ndim == 4 else k.shape[-1] // d
        q, k, v = to_bnsd(q, layout, n), to_bnsd(k, layout, n_kv), to_bnsd(v, layout, n_kv)
        batches = q.shape[0]
        q_of, k_of, v_of = (lambda b, x=x: x[b] for x in (q, k, v))
        rope = None
        if a['query_rope'] is not None:
            rope = (to_bnsd(a['query_rope'].value(), layout,
                            n), to_bnsd(a['key_rope'].value(), layout, n_kv))
        rope_q, rope_k = (lambda b: rope[0][b]), (lambda b: rope[1][b])

    nonempty = [b for b in range(batches) if q_of(b).shape[1] > 0]
    chosen = {7: nonempty[-1:], 8: nonempty[:1]}.get(mode, [])
    mask = None if a['atten_mask'] is None else a['atten_mask'].array.astype(bool)
    full_mask = mask is not None and mode in (0, 1, 5)
    nothing_at_all = q.size == 0 or k.size == 0
    sink = None if a['sink'] is None else a['sink'].value()
    parts, numels = [], 0
    for b in range(batches):
        qb, kb, vb = q_of(b), k_of(b), v_of(b)
        if rope is not None:
            qb, kb = np.concatenate([qb, rope_q(b)], -1), np.concatenate([kb, rope_k(b)], -1)
        lq, lk = qb.shape[1], kb.shape[1]
        numels += n * lq * lk
        keep = predicate(mode, lq, lk, a['pre_tokens'], a['next_tokens'],
                         a['prefix'][b] if mode in (5, 6) and a['prefix'] else 0, full_mask, b
                         in chosen)[None]
        if full_mask:
            keep = keep & ~dense_mask(mask, mode, b, None, lq, lk, lens)
        bias, first = bias_of(a, b, n, lq, lk, None if packed else q.shape[2], lens)
        r = attend(qb, kb, vb, keep, a['scale'], bias, first, sink, u)
        if sink is None:
            zero = nothing_at_all
            r['max'] = np.where(r['empty'], 0.0 if zero else -FLT_MAX, r['max'])
            r['sum'] = np.where(r['empty'], 0.0 if zero else FLT_MAX, r['sum'])
        parts.append(r)
    return assemble(a, parts, numels, packed, layout, n, q, v)


def assemble(a, parts, numels, packed, layout, n, q, v):
    """Puts the sequences' results where the layout wants them."""
    dv = parts[0]['out'].shape[-1] if parts else v.shape[-1]
    result = {'numels': numels, 'seed_out': a['seed'], 'offset_out': a['offset']}
    if packed:
        rest = q.shape[0] - sum(r['out'].shape[1] for r in parts)  # rows of no sequence: zeros
        tnd = {
            key: np.concatenate([np.moveaxis(r[key], 0, 1)
                                 for r in parts] + [np.zeros((rest, n) + parts[0][key].shape[2:])])
            for key in ('out', 'bound', 'max', 'sum', 'max_bound', 'lse_bound', 'empty')
        }
        tnd['empty'][q.shape[0] - rest:] = 1
        flat = {
            key: np.concatenate([r[key].reshape(-1) for r in parts] + [np.zeros(rest * n)])
            for key in ('max', 'sum', 'max_bound', 'lse_bound', 'empty')
        }
        flat['empty'][n * (q.shape[0] - rest):] = 1
        stats = {
            key: (tnd[key] if a['softmax_layout'] == 'TND' else flat[key].reshape(q.shape[0], n))
            for key in flat
        }
        out, bound = tnd['out'], tnd['bound']
        result['pad_rows'] = rest
    else:
        stack = {
            key: np.stack([r[key] for r in parts]) if parts else np.zeros((0, n, q.shape[2], dv))
            for key in ('out', 'bound')
        }
        out, bound = from_bnsd(stack['out'], layout), from_bnsd(stack['bound'], layout)
        stats = {
            key: np.stack([r[key] for r in parts])
            for key in ('max', 'sum', 'max_bound', 'lse_bound', 'empty')
        }
    result['any_empty'] = any(r['empty'].any() for r in parts)
    result['attention_out'] = (out, bound)
    result['stats'] = stats
    return result
