# SPDX-License-Identifier: Apache-2.0
"""attention.py — the formula in float64, dense and naive, with the error bound of each element.

x = (q.k + bias) * scale  or  q.k * scale + bias;  out = softmax over the kept keys (and the sink)
times V. The bound is that of docs/accuracy.md with u of the computing type:
  E = u * ( sum_j p_j |v_j - o| * ((D + 2) sigma_j + |x_j - m| + 2)  +  n (A + |o|) )
and a result passes when |got - exact| <= half an ulp of the stored type + 2 E. Below the smallest
normal number relative errors end, hence a last term of that size per key."""
import numpy as np

FLT_MAX = float(np.finfo(np.float32).max)
TINY = {2.0**-24: 2.0**-126, 2.0**-53: 2.0**-1022}  # the smallest normal number
DIGITS = {'f64': (53, -1022), 'f32': (24, -126), 'f16': (11, -14), 'bf16': (8, -126)}


def half_ulp(dtype, x):
    digits, low = DIGITS[dtype]
    exponent = np.maximum(np.frexp(np.abs(x))[1] - 1, low)
    return np.ldexp(0.5, exponent - digits + 1)


def expand(x, n):
    """Query head h uses kv head h // (n / n_kv): (n_kv, ...) -> (n, ...)."""
    return np.repeat(x, n // x.shape[0], axis=0)


def attend(q, k, v, keep, scale, bias=None, bias_first=False, sink=None, u=2.0**-24):
    """q (N,Lq,D), k (Nkv,Lk,D), v (Nkv,Lk,Dv), keep broadcast to (N,Lq,Lk); a dict of arrays
    (N,Lq[,Dv]). Rows without a key: out 0, empty True, max -inf (or the sink)."""
    n, lq, d = q.shape
    k, v = expand(k, n), expand(v, n)
    keep = np.broadcast_to(keep, (n, lq, k.shape[1]))
    seen = keep.any(axis=1)[..., None]  # what nobody sees must not matter: it may hold NaN
    k, v = np.where(seen, k, 0.0), np.where(seen, v, 0.0)
    b = np.zeros(1) if bias is None else np.where(keep, bias, 0.0)

    dot, size = q @ k.transpose(0, 2, 1), np.abs(q) @ np.abs(k).transpose(0, 2, 1)
    if bias_first:
        x, sigma = (dot + b) * scale, abs(scale) * (size + np.abs(b))
    else:
        x, sigma = dot * scale + b, abs(scale) * size + np.abs(b)
    x = np.where(keep, x, -np.inf)
    m = x.max(axis=2, initial=-np.inf)
    s = np.full((n, 1), -np.inf) if sink is None else sink.reshape(n, 1)
    top = np.maximum(m, s)
    ref = np.where(np.isfinite(top), top, 0.0)  # any finite reference will do
    p = np.exp(x - ref[..., None])
    l = p.sum(axis=2) + np.exp(s - ref)
    empty = ~keep.any(axis=2)
    p = p / np.where(l > 0, l, 1.0)[..., None]
    out = p @ v

    distance = np.where(keep, np.abs(np.where(keep, x, 0.0) - ref[..., None]), 0.0)
    weight = p * ((d + 2) * np.where(keep, sigma, 0.0) + distance + 2)
    spread = np.stack([[(weight[h, i][:, None] * np.abs(v[h] - out[h, i])).sum(axis=0)
                        for i in range(lq)] for h in range(n)]) if lq else np.zeros(out.shape)
    if sink is not None:
        away = np.abs(s - ref)
        spread += (np.exp(s - ref) / l *
                   (np.where(np.isfinite(away), away, 0.0) + 2))[..., None] * np.abs(out)
    chain = keep.sum(axis=2)[..., None]
    bound = u * (spread + chain * (p @ np.abs(v) + np.abs(out)))
    bound += TINY[u] * (keep @ (np.abs(v) + 1.0))  # what a product close to zero may lose

    own = np.where(empty, 0.0, m)  # the log-sum-exp of inference never includes the sink
    own_sum = np.exp(np.where(keep, x, -np.inf) - own[..., None]).sum(axis=2)
    lse = np.where(empty, -np.inf, own + np.log(np.where(empty, 1.0, own_sum)))
    slack = u * d * (p * np.where(keep, sigma, 0.0)).sum(axis=2)
    lse_bound = 2.0**-20 * np.maximum(1.0, np.abs(np.where(empty, 0.0, lse))) + slack
    max_bound = lse_bound + u * (d + 2) * np.where(keep, sigma, 0.0).max(axis=2, initial=0.0)
    return {
        'out': out, 'bound': bound, 'max': top, 'sum': l, 'lse': lse, 'lse_bound': lse_bound,
        'max_bound': max_bound, 'empty': empty
    }
