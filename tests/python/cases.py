# SPDX-License-Identifier: Apache-2.0
"""cases.py — random legal calls of the attention operators, as raw arguments, with tags.

Every case comes from its own generator, so (seed, index) reproduces it."""
import numpy as np

from library import Tensor
from masks import packed_lengths

FILLS = ('normal', 'normal', 'normal', 'wide', 'integers', 'far', 'onehot')
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 31, 33)
HEAD_DIMS = (1, 2, 3, 5, 8, 13, 16, 17, 24, 32, 40, 64, 72, 80, 96, 128)


class Draw:
    """A random generator with the few choices the cases need."""

    def __init__(self, seed, index):
        self.rng = np.random.default_rng([seed, index])

    def pick(self, *options):
        return options[self.rng.integers(len(options))]

    def chance(self, share):
        return bool(self.rng.random() < share)

    def integer(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def length(self):
        r = self.rng.random()
        if r < 0.72:
            return self.pick(*SIZES)
        return self.integer(60, 70) if r < 0.85 else self.integer(100, 200)

    def values(self, shape, fill='normal'):
        x = self.rng.standard_normal(shape)
        if fill == 'wide':
            return x * 8
        if fill == 'integers':
            return np.round(x * 3)
        if fill == 'far':
            return x + self.pick(-10, 10)
        if fill == 'onehot':
            return x * (self.rng.random(shape) < 0.1) * 20
        return x

    def tensor(self, dtype, shape, fill='normal'):
        return self.strided(Tensor.rounded(dtype, self.values(shape, fill)))

    def strided(self, t):
        """Half of the time the same values with other strides: axes swapped, gaps between rows."""
        if t.array.ndim < 2 or self.chance(0.5):
            return t
        axes = list(range(t.array.ndim))
        if self.chance(0.5):
            self.rng.shuffle(axes)
        gaps = [0 if self.chance(0.6) else self.integer(1, 3) for _ in axes]
        big = np.full([t.array.shape[a] + g for a, g in zip(axes, gaps)], 77, t.array.dtype)
        view = big[tuple(slice(g, None) for g in gaps)].transpose(np.argsort(axes))
        view[...] = t.array
        return Tensor(t.dtype, view)

    def mask(self, shape, column=None):
        """Hidden cells; never everything, sometimes whole rows; `column` is hidden from all."""
        hidden = self.rng.random(shape) < self.pick(0.1, 0.4, 0.8)
        if self.chance(0.3) and shape[-2] > 1:
            hidden[..., self.integer(0, shape[-2] - 1), :] = True
        if column is not None:
            hidden[..., column] = True
        if self.chance(0.5):
            return self.strided(Tensor('bool', hidden))
        return self.strided(Tensor('u8', (hidden * self.integer(1, 255)).astype(np.uint8)))

    def heads(self):
        n_kv = self.pick(1, 1, 2, 3, 4)
        return n_kv * self.pick(1, 1, 2, 3, 4, 8), n_kv

    def dims(self):
        d = self.pick(*HEAD_DIMS)
        return d, d if self.chance(0.7) else self.integer(1, d)

    def dtype(self):
        return self.pick('f32', 'f32', 'f32', 'f16', 'f16', 'bf16', 'bf16', 'f64')

    def scale(self, d):
        return float(self.pick(d**-0.5, d**-0.5, 1.0, 0.3 * d**-0.5, -0.2))

    def lengths(self, b, total):
        return [
            0 if self.chance(0.1) else self.pick(total, self.integer(0, total)) for _ in range(b)
        ]


def poison(t, layout, first, last=None):
    """NaN in the rows [first, last) of every sequence: nobody sees them, so nothing may change."""
    axis = {'SBH': 0, 'BNSD': 2}.get(layout, 1)
    rows = t.array[(slice(None), ) * axis + (slice(first, last), )]
    rows[...] = 0x7fc0 if t.dtype == 'bf16' else np.nan


TRIANGLE = Tensor('u8', np.triu(np.ones((2048, 2048), np.uint8), 1))
TRIANGLE_4D = Tensor('bool', TRIANGLE.array.astype(bool)[None, None])
PREFIX_MASK = Tensor(
    'u8',
    np.concatenate(
        [TRIANGLE.array,
         np.repeat((np.arange(2048) >= 1024).astype(np.uint8)[None], 1024, 0)]))


def laid_out(layout, b, s, n, d):
    return {
        'BSH': (b, s, n * d), 'SBH': (s, b, n * d), 'BSND': (b, s, n, d), 'BSNH': (b, s, n, d),
        'BNSD': (b, n, s, d)
    }[layout]


def tokens(draw, a, lq, lk, allowed_sum=0):
    """pre and next with pre + next >= 0, negative ones included."""
    span = max(lq, lk)
    if draw.chance(0.25):
        return
    pre = draw.integer(-min(3, span), span + 2)
    nxt = draw.pick(0, draw.integer(-min(pre, 5) if pre > 0 else -pre, span + 2))
    if pre + nxt < allowed_sum:
        nxt = -pre
    a['pre_tokens'], a['next_tokens'] = pre, nxt


def fusion_attention(draw):
    a, tags = {}, set()
    layout = draw.pick('BSH', 'SBH', 'BSND', 'BSNH', 'BNSD', 'TND', 'TND')
    packed = layout == 'TND'
    n, n_kv = draw.heads()
    d, dv = draw.dims()
    dtype, fill = draw.dtype(), draw.pick(*FILLS)
    b = draw.integer(1, 4 if packed else 3)
    mode = draw.pick(0, 0, 1, 2, 3, 4, 6, 7, 8) if packed else draw.pick(0, 0, 1, 2, 3, 4, 5, 6)
    square = draw.chance(0.35)
    if packed:
        small = lambda: draw.pick(0, 1, 2, 3, 5, 8, 17, 33, 64, 65, 90)
        lqs = [small() for _ in range(b)]
        lks = list(lqs) if square else [small() for _ in range(b)]
        lqs[0], lks[-1] = max(1, lqs[0]), max(1, lks[-1])  # never nothing at all
        if square:
            lks[0] = lqs[0]
            lqs[-1] = lks[-1]
        tail = 2 if draw.chance(0.1) else 0  # rows of no sequence; read as cumulative
        a['actual_seq_qlen'] = [int(x) for x in np.cumsum(lqs)]
        a['actual_seq_kvlen'] = [int(x) for x in np.cumsum(lks)]
        tq, tkv = sum(lqs) + tail, sum(lks) + (draw.pick(0, 3) if tail else 0)
        read = packed_lengths(a['actual_seq_qlen'], a['actual_seq_kvlen'], tq, tkv)
        if [list(r) for r in read] != [lqs, lks]:  # these numbers would be read as plain lengths
            tail, tq, tkv = 0, sum(lqs), sum(lks)
        q_shape, k_shape, v_shape = (tq, n, d), (tkv, n_kv, d), (tkv, n_kv, dv)
        tags |= {'tail'} if tail else set()
    else:
        sq = draw.length()
        sk = sq if square else draw.length()
        lqs, lks = [sq] * b, [sk] * b
        q_shape = laid_out(layout, b, sq, n, d)
        k_shape, v_shape = laid_out(layout, b, sk, n_kv, d), laid_out(layout, b, sk, n_kv, dv)
    a.update(query=draw.tensor(dtype, q_shape, fill),
             key=draw.tensor(dtype, k_shape, fill),
             value=draw.tensor(dtype, v_shape, draw.pick('normal', 'integers', 'far')),
             head_num=0 if layout in ('BSND', 'BNSD', 'TND') and draw.chance(0.3) else n,
             input_layout=layout,
             scale=draw.scale(d),
             sparse_mode=mode,
             inner_precise=draw.pick(0, 1, 2))
    tags |= {
        layout, f'mode{mode}', dtype, 'gqa' if n > n_kv else 'mha', 'Dv<D' if dv < d else 'Dv=D'
    }

    if mode in (0, 4, 7, 8):
        tokens(draw, a, max(lqs), max(lks))
    if mode in (5, 6):
        a['prefix'] = [draw.integer(0, k) for k in lks]
    if mode == 2 and not packed and lks[0] > lqs[0]:
        for name in ('key', 'value'):
            poison(a[name], layout, lqs[0])
    if mode in (0, 1, 5):
        with_mask(draw, a, tags, b, n, lqs, lks, packed, mode)
    elif draw.chance(0.5):
        a['atten_mask'] = PREFIX_MASK if mode == 6 else TRIANGLE
        tags.add('mask compressed')
    else:
        tags.add('mask none')
    if mode not in (7, 8) and draw.chance(0.35):
        with_pse(draw, a, tags, b, n, lqs, lks, packed, dtype, mode)
    if draw.chance(0.2):
        a['sink'] = Tensor('f32', draw.values(n, 'wide').astype(np.float32))
        tags.add('sink')
    if draw.chance(0.12) and 'pse' not in a:
        dr = draw.pick(1, 4, 16)
        a['query_rope'] = draw.tensor(dtype, rope_shape(q_shape, layout, n, dr))
        a['key_rope'] = draw.tensor(dtype, rope_shape(k_shape, layout, n_kv, dr))
        tags.add('rope')
    if packed and draw.chance(0.5):
        a['softmax_layout'] = 'TND'
        tags.add('stats TND')
    return a, tags


def rope_shape(shape, layout, n, dr):
    return shape[:-1] + ((n * dr, ) if layout in ('BSH', 'SBH') else (dr, ))


def with_mask(draw, a, tags, b, n, lqs, lks, packed, mode):
    form = draw.pick('none', '2-D', '11SS', 'B1SS', 'BNSS', 'TxT' if packed else 'B11S', '1NSS')
    if mode == 5 and form in ('2-D', '11SS', '1NSS', 'B11S'):
        form = 'B1SS'
    if packed and form == '1NSS':
        form = 'BNSS'
    sq, sk = max(lqs), max(lks)
    shape = {
        '2-D': (sq, sk), '11SS': (1, 1, sq, sk), 'B1SS': (b, 1, sq, sk), 'BNSS': (b, n, sq, sk),
        'TxT': (sum(lqs), sum(lks)), 'B11S': (b, 1, 1, sk), '1NSS': (1, n, sq, sk)
    }.get(form)
    if shape:
        column = draw.integer(0, sk - 1) if not packed and draw.chance(0.4) else None
        a['atten_mask'] = draw.mask(shape, column)
        if column is not None:
            for name in ('key', 'value'):
                poison(a[name], a['input_layout'], column, column + 1)
            tags.add('NaN unseen')
    tags.add(f'mask {form}')


def with_pse(draw, a, tags, b, n, lqs, lks, packed, dtype, mode):
    square = lqs == lks
    kind = draw.pick(2, 3) if square and draw.chance(0.6) else draw.pick(0, 1, 2, 3)
    if kind >= 2 and not square:
        kind -= 2
    a['pse_type'] = kind
    sq, sk = max(lqs), max(lks)
    if kind >= 2:
        form = draw.pick('N', 'BN')
        a['pse'] = Tensor(
            'f32',
            np.abs(draw.values((n, ) if form == 'N' else (b, n))).astype(np.float32) / 4)
        if draw.chance(0.5):
            start = draw.integer(-9, 9)
            a['q_start_idx'], a['kv_start_idx'] = [start
                                                   ], [start if packed else draw.integer(-9, 9)]
    elif packed:
        form = draw.pick('1-D full', '1-D row')
        rows = lqs if form == '1-D full' else [1] * b
        a['pse'] = Tensor.rounded(dtype, draw.values(n * int(np.dot(rows, lks))))
        if sum(rows[i] * lks[i] for i in range(b)) == 0 or int(np.dot(lqs, lks)) == sum(lks):
            del a['pse'], a['pse_type']
            return
    else:
        form = draw.pick('BNSS', '1NSS', 'BN1S', '1N1S')
        a['pse'] = draw.tensor(dtype,
                               (b if form[0] == 'B' else 1, n, 1 if form[2] == '1' else sq, sk))
    tags |= {f'pse{kind}', f'pse {form}'}
