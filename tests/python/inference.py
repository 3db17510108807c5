# SPDX-License-Identifier: Apache-2.0
"""inference.py — prompt, incremental and unified inference from raw arguments (not strict)."""
import numpy as np

from attention import attend
from fusion import to_bnsd, from_bnsd
from masks import INT_MAX, band_right, packed_lengths, predicate

PROMPT = dict(pse_shift=None,
              atten_mask=None,
              actual_seq_lengths=None,
              actual_seq_lengths_kv=None,
              num_heads=1,
              scale_value=1.0,
              pre_tokens=INT_MAX,
              next_tokens=0,
              input_layout='BSH',
              num_key_value_heads=0,
              sparse_mode=0)
INCRE = dict(pse_shift=None,
             atten_mask=None,
             actual_seq_lengths=None,
             block_table=None,
             num_heads=1,
             scale_value=1.0,
             input_layout='BSH',
             num_key_value_heads=0,
             block_size=0,
             inner_precise=1)
FUSED = dict(pse_shift=None,
             atten_mask=None,
             actual_seq_lengths=None,
             actual_seq_lengths_kv=None,
             block_table=None,
             num_heads=1,
             scale=1.0,
             pre_tokens=INT_MAX,
             next_tokens=INT_MAX,
             input_layout='BSH',
             num_key_value_heads=0,
             sparse_mode=0,
             inner_precise=0,
             block_size=0,
             softmax_lse_flag=False)


def per_batch(lengths, batches, default):
    """One value for all, or the first `batches`."""
    if not lengths:
        return [default] * batches
    return list(lengths) * batches if len(lengths) == 1 else list(lengths[:batches])


def unpage(cache, table, length, n_kv, block_size):
    """(Nkv, length, D) of one sequence, token by token."""
    rows = []
    for t in range(length):
        block = cache[int(table[t // block_size])]
        if cache.ndim == 3:  # [blocks, block_size, Nkv * D]
            rows.append(block[t % block_size].reshape(n_kv, -1))
        else:  # [blocks, Nkv, block_size, D]
            rows.append(block[:, t % block_size])
    d = cache.shape[2] // n_kv if cache.ndim == 3 else cache.shape[3]
    return np.stack(rows, axis=1) if rows else np.zeros((n_kv, 0, d))


def mask_block(mask, b, lq, lk, decode):
    """(Lq, Lk) of hidden cells of batch b."""
    if decode:  # only the batch and the last axis mean something; of a taller mask, row 0
        m = mask[b if mask.shape[0] > 1 else 0]
        return m.reshape(-1, m.shape[-1])[:1, :lk]
    if mask.ndim == 2:
        return mask[:lq, :lk]
    m = mask[b if mask.shape[0] > 1 else 0]
    return (m if m.ndim == 2 else m[0])[:lq, :lk]


def run(a, scale, q_lists, kv_lists, mode, pre, nxt, decode_rules, u):
    layout, n = a['input_layout'], a['num_heads']
    q, k, v = (a[name].value() for name in ('query', 'key', 'value'))
    table = None if a.get('block_table') is None else a['block_table'].array
    packed = layout == 'TND'
    if n == 0:
        n = q.shape[{'BNSD': 1, 'TND': 1}.get(layout, 2)]
    n_kv = a['num_key_value_heads'] or n

    if packed:
        lens = packed_lengths(q_lists, None if table is not None else kv_lists, q.shape[0],
                              None if table is not None else k.shape[0])
        if lens is None:
            raise ValueError('lists')
        lqs = [int(x) for x in lens[0]]
        lks = list(kv_lists) if table is not None else [int(x) for x in lens[1]]
        at_q, at_kv = np.concatenate([[0], np.cumsum(lqs)]), np.concatenate([[0], np.cumsum(lks)])
        batches, rows = len(lqs), None
        q_of = lambda b: q[at_q[b]:at_q[b + 1]].transpose(1, 0, 2)
        dense = lambda x, b: x[at_kv[b]:at_kv[b + 1]].transpose(1, 0, 2)
    else:
        q = to_bnsd(q, layout, n)
        batches, rows = q.shape[0], q.shape[2]
        if table is None:
            k, v = to_bnsd(k, layout, n_kv), to_bnsd(v, layout, n_kv)
        keys = table.shape[1] * a['block_size'] if table is not None else k.shape[2]
        lqs = [rows] * batches if decode_rules else per_batch(q_lists, batches, rows)
        lks = per_batch(kv_lists, batches, keys)
        q_of = lambda b: q[b][:, :lqs[b]]
        dense = lambda x, b: x[b][:, :lks[b]]

    mask = None if a['atten_mask'] is None else a['atten_mask'].array.astype(bool)
    full_mask = mask is not None and mode in (0, 1)
    parts = []
    for b in range(batches):
        if table is not None:
            kb = unpage(k, table[b], lks[b], n_kv, a['block_size'])
            vb = unpage(v, table[b], lks[b], n_kv, a['block_size'])
        else:
            kb, vb = dense(k, b), dense(v, b)
        qb = q_of(b)
        lq, lk = qb.shape[1], lks[b]
        if decode_rules:  # one row per batch: everything, but a band stays a band
            keep = band_right(1, lk, pre, nxt) if mode == 4 else np.ones((1, lk), bool)
        else:
            keep = predicate(mode, lq, lk, pre, nxt, masked=full_mask)
        if full_mask:
            keep = keep & ~mask_block(mask, b, lq, lk, decode_rules)
        bias = None
        if a['pse_shift'] is not None:
            pse = a['pse_shift'].value()
            bias = np.broadcast_to(pse[b if pse.shape[0] > 1 else 0][:, :lq, :lk], (n, lq, lk))
        r = attend(qb, kb, vb, keep[None], scale, bias, False, None, u)
        r['lse'] = np.where(r['empty'], np.inf, r['lse'])
        parts.append(r)
    return place(parts, packed, layout, n, q, rows)


def place(parts, packed, layout, n, q, rows):
    """Output and log-sum-exp; rows of no sequence hold 0 and +inf."""
    fill = {'out': 0.0, 'bound': 0.0, 'lse': np.inf, 'lse_bound': 0.0}
    placed = {}
    for key, value in fill.items():
        if packed:
            rest = q.shape[0] - sum(r['out'].shape[1] for r in parts)
            pieces = [np.moveaxis(r[key], 0, 1) for r in parts]
            pieces.append(np.full((rest, n) + parts[0][key].shape[2:], value))
            placed[key] = np.concatenate(pieces)
        else:
            full = [np.full((n, rows) + r[key].shape[2:], value) for r in parts]
            for f, r in zip(full, parts):
                f[:, :r[key].shape[1]] = r[key]
            placed[key] = np.stack(full)
    if not packed:
        placed['out'], placed['bound'] = from_bnsd(placed['out'],
                                                   layout), from_bnsd(placed['bound'], layout)
    return {
        'any_empty': any(r['empty'].any() for r in parts),
        'attention_out': (placed['out'], placed['bound']),
        'softmax_lse': (placed['lse'][..., None], placed['lse_bound'][..., None])
    }


def prompt_flash_attention(a, u):
    a = {**PROMPT, **a}
    result = run(a, a['scale_value'], a['actual_seq_lengths'], a['actual_seq_lengths_kv'],
                 a['sparse_mode'], a['pre_tokens'], a['next_tokens'], False, u)
    del result['softmax_lse']
    return result


def incre_flash_attention(a, u):
    a = {**INCRE, **a}
    result = run(a, a['scale_value'], None, a['actual_seq_lengths'], 0, INT_MAX, INT_MAX, True, u)
    del result['softmax_lse']
    return result


def fused_infer_attention_score(a, u):
    a = {**FUSED, **a}
    axis = {'BNSD': 2}.get(a['input_layout'], 1)
    one_row = a['input_layout'] != 'TND' and a['query'].array.shape[axis] == 1
    result = run(a, a['scale'], a['actual_seq_lengths'], a['actual_seq_lengths_kv'],
                 a['sparse_mode'], a['pre_tokens'], a['next_tokens'], one_row, u)
    if not a['softmax_lse_flag']:
        result['softmax_lse'] = (np.zeros(1), np.zeros(1))
    return result
