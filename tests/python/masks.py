# SPDX-License-Identifier: Apache-2.0
"""masks.py — which keys a row may see, cell by cell, from the raw parameters of the operators.

Written from the operators' documents: i query row, j key, delta = Lk - Lq, pre and next as the caller
gives them. Nothing here is shared with the library."""
import numpy as np

INT_MAX = 2147483647


def grid(lq, lk):
    return np.arange(lq)[:, None], np.arange(lk)[None, :]


def causal_left(lq, lk):
    i, j = grid(lq, lk)
    return j <= i


def causal_right(lq, lk):
    i, j = grid(lq, lk)
    return j <= i + (lk - lq)


def band_left(lq, lk, pre, nxt):
    i, j = grid(lq, lk)
    return (j - i >= -pre) & (j - i <= nxt)


def band_right(lq, lk, pre, nxt):
    i, j = grid(lq, lk)
    return (j - i - (lk - lq) >= -pre) & (j - i - (lk - lq) <= nxt)


def predicate(mode, lq, lk, pre, nxt, prefix=0, masked=False, special=False):
    """What the mode alone lets through (the dense mask comes on top). `masked`: a full-size mask was
    given; `special`: the sequence to which modes 7 and 8 give the band."""
    everything = np.ones((lq, lk), bool)
    if mode == 0:
        return band_left(lq, lk, pre, nxt) if masked else everything
    if mode == 1 or (mode == 5 and masked):
        return everything
    if mode == 2:
        return causal_left(lq, lk)
    if mode == 3:
        return causal_right(lq, lk)
    if mode == 4:
        return band_right(lq, lk, pre, nxt)
    if mode in (5, 6):
        return causal_right(lq, lk) | (grid(lq, lk)[1] < prefix)
    if mode in (7, 8):
        if special:
            return band_right(lq, lk, pre, nxt)
        return causal_right(lq, lk) if mode == 7 else causal_left(lq, lk)
    raise AssertionError(mode)


def lengths_of(cumulative):
    return np.diff(np.concatenate([[0], cumulative])).astype(int)


def packed_lengths(q_list, kv_list, tq, tkv):
    """How packed lists are read: cumulative, else plain lengths, else cumulative with tail padding.
    Both lists the same way; trailing zeros are slots that take no part. None when nothing fits."""

    def trimmed(values):
        values = list(values)
        while values and values[-1] == 0:
            values.pop()
        return values

    lists = [(trimmed(q_list), tq)] + ([(trimmed(kv_list), tkv)] if kv_list is not None else [])
    if any(v < 0 for values, _ in lists for v in values):
        return None
    rising = all((np.diff(v) >= 0).all() for v, _ in lists)
    last = [(v[-1] if v else 0, total) for v, total in lists]
    if rising and all(end == total for end, total in last):
        result = [lengths_of(v) for v, _ in lists]
    elif all(sum(v) == total for v, total in lists):
        result = [np.array(v, int) for v, _ in lists]
    elif rising and all(end <= total for end, total in last):
        result = [lengths_of(v) for v, _ in lists]
    else:
        return None
    return result
