# SPDX-License-Identifier: Apache-2.0
"""Attention and its gradients in float64 NumPy, dense, BNSD; `hidden` is true where a row does not see a key."""
import numpy as np


def scores(q, k, scale, hidden):
    k = np.repeat(k.astype(np.float64), q.shape[1] // k.shape[1], axis=1)
    s = np.einsum('bnid,bnjd->bnij', q.astype(np.float64), k) * scale
    return np.where(hidden, -np.inf, s) if hidden is not None else s


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, scale, hidden=None):
    v = np.repeat(v.astype(np.float64), q.shape[1] // v.shape[1], axis=1)
    return softmax(scores(q, k, scale, hidden)) @ v


def gradients(q, k, v, dy, scale, hidden=None, keep=None):
    """dq, dk, dv. keep: what each probability is multiplied with behind the softmax (dropout)."""
    group, n_kv = q.shape[1] // k.shape[1], k.shape[1]
    p = softmax(scores(q, k, scale, hidden))
    r = np.ones_like(p) if keep is None else keep
    kk, vv = (np.repeat(x.astype(np.float64), group, axis=1) for x in (k, v))
    dy = dy.astype(np.float64)
    dp = r * (dy @ vv.swapaxes(-1, -2))
    ds = p * (dp - (p * dp).sum(-1, keepdims=True)) * scale
    dq, dk, dv = ds @ kk, ds.swapaxes(-1, -2) @ q.astype(np.float64), (r * p).swapaxes(-1, -2) @ dy

    def fold(x):  # heads that share keys add up
        return x.reshape(x.shape[0], n_kv, group, *x.shape[2:]).sum(2)

    return dq, fold(dk), fold(dv)


def causal(sq, sk):
    """Mode 3: the last query sees the last key."""
    return np.arange(sk)[None] > np.arange(sq)[:, None] + sk - sq
