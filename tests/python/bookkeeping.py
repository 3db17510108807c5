# SPDX-License-Identifier: Apache-2.0
"""bookkeeping.py — advance_step, attention_update and ring_attention_update from raw arguments.

The two merges are attention over a handful of partial results (scores known, D = 0), so the error
bound of attention applies with sigma = 0."""
import numpy as np

from attention import FLT_MAX, TINY


def advance_step_flashattn(a):
    """{name: integers} of the tensors that change."""
    get = {
        name: a[name].array.astype(np.int64).copy()
        for name in ('input_tokens', 'sampled_token_ids', 'input_positions', 'seq_lens',
                     'slot_mapping', 'block_tables')
    }
    tables, bs = get['block_tables'], a['block_size']
    if a.get('spec_token') is None:
        for i in range(a['num_seqs']):
            if i < a['num_queries']:
                position = get['seq_lens'][i]
                get['input_tokens'][i] = get['sampled_token_ids'][i, 0]
                get['seq_lens'][i] = position + 1
                get['input_positions'][i] = position
                get['slot_mapping'][i] = tables[i, position // bs] * bs + position % bs
            else:
                get['input_tokens'][i], get['input_positions'][i], get['slot_mapping'][i] = 0, 0, -1
    else:
        spec, accepted = a['spec_token'].array, a['accepted_num'].array
        k = spec.shape[1] + 1
        for r in range(a['num_seqs']):
            row = list(get['sampled_token_ids'][r]) + [-1]
            last = row[:-1][row.index(min(row)) - 1]  # -1 wraps to the last element
            for t in range(k):
                e = r * k + t
                position = get['input_positions'][e] + accepted[r] + 1
                get['input_positions'][e] = position
                get['seq_lens'][e] = position + 1
                get['input_tokens'][e] = last if t == 0 else spec[r, t - 1]
                get['slot_mapping'][e] = tables[r, position // bs] * bs + position % bs
    return {
        name: get[name]
        for name in ('input_tokens', 'input_positions', 'seq_lens', 'slot_mapping')
    }


def merge(scores, values, u=2.0**-24):
    """scores (parts, rows), -inf = no part; values (parts, rows, D). Values with bound, lse."""
    top = scores.max(axis=0)
    none = np.isneginf(top)
    ref = np.where(none, 0.0, top)
    w = np.exp(scores - ref)
    total = w.sum(axis=0)
    p = (w / np.where(none, 1.0, total))[..., None]
    values = np.where(p > 0, values, 0.0)
    out = (p * values).sum(axis=0)
    distance = np.where(w > 0, np.abs(np.where(np.isneginf(scores), ref, scores) - ref), 0.0)[...,
                                                                                              None]
    spread = (p * np.abs(values - out) * (distance + 2)).sum(axis=0)
    size = (p * np.abs(values)).sum(axis=0) + np.abs(out)
    bound = u * (spread + (w > 0).sum(axis=0)[..., None] * size)
    bound += TINY[u] * ((w > 0)[..., None] * (np.abs(values) + 1.0)).sum(axis=0)
    lse = np.where(none, -np.inf, ref + np.log(np.where(none, 1.0, total)))
    return out, bound, lse, none


def attention_update(a):
    lse = np.stack([t.value() for t in a['lse']])
    lse = np.where(np.isposinf(lse), -np.inf, lse)  # +inf and -inf both say "no keys here"
    out, bound, merged, none = merge(lse, np.stack([t.value() for t in a['local_out']]))
    merged = np.where(none, np.inf, merged)
    bound_lse = 2.0**-20 * np.maximum(1.0, np.abs(np.where(none, 0.0, merged)))
    return {'out': (out, bound), 'lse_out': (merged, np.where(none, 0.0, bound_lse))}


def ring_attention_update(a):
    """Per row (max, sum, out) of two halves. softmax statistics may lie sequence by sequence."""
    layout = a['input_layout']
    po, co = a['prev_attn_out'].value(), a['cur_attn_out'].value()
    pm, ps, cm, cs = (a[name].value()[..., 0] for name in ('prev_softmax_max', 'prev_softmax_sum',
                                                           'cur_softmax_max', 'cur_softmax_sum'))
    if layout == 'SBH':  # stats [B, N, S], attention [S, B, N * D]
        b, n, s = pm.shape
        rows = lambda x: x.reshape(s, b, n, -1).transpose(1, 2, 0, 3).reshape(b * n * s, -1)
        back = lambda x: x.reshape(b, n, s, -1).transpose(2, 0, 1, 3).reshape(po.shape)
    else:
        t, n = pm.shape
        order = np.arange(t * n).reshape(t, n)  # where (token, head) lies in the statistics
        if a['input_softmax_layout'] != 'TND':
            edges = list(a['actual_seq_qlen'].array)
            edges = edges if edges[0] == 0 else [0] + edges
            for lo, hi in zip(edges[:-1], edges[1:]):
                order[lo:hi] = (lo * n + np.arange((hi - lo) * n).reshape(n, hi - lo)).T
        rows = lambda x: x.reshape(t * n, -1)[np.argsort(order.reshape(-1))]
        back = lambda x: x[order.reshape(-1)].reshape(po.shape)
    shape = pm.shape
    pm, ps, cm, cs = (x.reshape(-1) for x in (pm, ps, cm, cs))
    invalid = lambda m, s: (m <= -FLT_MAX) & (s >= FLT_MAX)
    with np.errstate(divide='ignore'):
        score = [
            np.where(invalid(m, s) | (s == 0), -np.inf, m + np.log(s))
            for m, s in ((pm, ps), (cm, cs))
        ]
    out, bound, _, none = merge(np.stack(score), np.stack([rows(po), rows(co)]))
    out = np.where((none & (ps == 0) & (cs != 0))[:, None], rows(co),
                   out)  # an empty side: the other one
    out = np.where((none & (cs == 0) & (ps != 0))[:, None], rows(po), out)

    m = np.where(ps == 0, cm, np.where(cs == 0, pm, np.maximum(pm, cm)))
    some = np.where(none, 0.0, m)
    weight = lambda mm, ss, ok: np.where(ok, ss * np.exp(np.where(ok, mm, 0.0) - some), 0.0)
    total = weight(pm, ps, score[0] > -np.inf) + weight(cm, cs, score[1] > -np.inf)
    both_empty = (ps == 0) & (cs == 0)
    m = np.where(both_empty, np.maximum(pm, cm), np.where(none, -FLT_MAX, m))
    total = np.where(both_empty, 0.0, np.where(none, FLT_MAX, total))
    return {
        'attn_out': (back(out), back(bound)), 'softmax_max': (m.reshape(shape), np.zeros(shape)),
        'softmax_sum': (total.reshape(shape), np.where(none, 0.0, total * 2.0**-20).reshape(shape))
    }
