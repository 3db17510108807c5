# SPDX-License-Identifier: Apache-2.0
"""infer_cases.py — random legal calls of the inference operators and of the merges."""
import numpy as np

from cases import FILLS, TRIANGLE, TRIANGLE_4D, laid_out, poison, tokens
from library import Tensor
from masks import packed_lengths


def base(draw, layout, b, sq, sk, op):
    n, n_kv = draw.heads()
    d, dv = draw.dims()
    dtype, fill = draw.dtype(), draw.pick(*FILLS)
    heads = {
        'num_heads': 0 if layout in ('BSND', 'BNSD', 'TND') and draw.chance(0.2) else n,
        'num_key_value_heads': 0 if n == n_kv and draw.chance(0.5) else n_kv
    }
    if heads['num_heads'] == 0:
        heads['num_key_value_heads'] = n_kv
    a = dict(input_layout=layout, **heads)
    a['scale' if op == 'fused_infer_attention_score' else 'scale_value'] = draw.scale(d)
    tags = {layout, dtype, 'gqa' if n > n_kv else 'mha', 'Dv<D' if dv < d else 'Dv=D'}
    return a, tags, n, n_kv, d, dv, dtype, fill


def paged(draw, a, n_kv, d, dv, dtype, fill, lengths, layout):
    """A cache with shuffled blocks and a table whose unused entries are garbage."""
    b, size = len(lengths), draw.pick(1, 2, 3, 5, 8, 16, 16, 31, 64, 128)
    if max(lengths) > 150:
        size = max(size, 16)
    used = [-(-length // size) for length in lengths]
    columns, blocks = max(1, max(used)) + draw.integer(0, 2), sum(used) + draw.integer(1, 3)
    order = list(draw.rng.permutation(blocks))
    table = draw.rng.integers(-5, 10**6, (b, columns))
    for i in range(b):
        for c in range(used[i]):
            table[i, c] = order.pop()
    if b > 1 and used[0] and lengths[0] == lengths[1]:
        table[1, 0] = table[0, 0]  # two sequences share a block
    by_head = layout in ('BNSD', 'TND') and draw.chance(0.5)
    shape = lambda w: (blocks, n_kv, size, w) if by_head else (blocks, size, n_kv * w)
    for name, width, how in (('key', d, fill), ('value', dv, 'normal')):
        x = draw.values(shape(width), how)
        for block in set(
                range(blocks)) - {int(table[i, c])
                                  for i in range(b)
                                  for c in range(used[i])}:
            x[block] = np.nan  # nobody's
        for i in range(b):  # what lies after the last token of a block of one's own
            if lengths[i] % size and (used[i] > 1 or b == 1):
                x[table[i, used[i] - 1]][..., lengths[i] % size:, :] = np.nan
        a[name] = draw.strided(Tensor.rounded(dtype, x))
    a.update(block_table=Tensor('i32', table.astype(np.int32)) if draw.chance(0.6) else Tensor(
        'i64', table.astype(np.int64)),
             block_size=size)
    return {'paged', 'BnNBsD' if by_head else 'BnBsH'}, columns * size


def prompt_like(draw, op):
    fused = op == 'fused_infer_attention_score'
    layout = draw.pick('BSH', 'BSND', 'BNSD', 'TND')
    packed = layout == 'TND'
    b = draw.integer(1, 3)
    sq, sk = max(2, draw.length()), draw.length() + draw.pick(0, 20)
    mode = draw.pick(0, 2, 3, 3, 4) if packed else draw.pick(0, 0, 1, 2, 3, 3, 4)
    a, tags, n, n_kv, d, dv, dtype, fill = base(draw, layout, b, sq, sk, op)
    q_name, kv_name = 'actual_seq_lengths', 'actual_seq_lengths_kv'
    use_pages = fused and draw.chance(0.4)
    if packed:
        lqs = [draw.pick(0, 1, 1, 2, 5, 17, 64, 70) for _ in range(b)]
        lqs[-1] = max(1, lqs[-1])
        lks = [draw.pick(0, 3, 16, 40, 65, 90, 130) for _ in range(b)]
        lks[-1] = max(1, lks[-1])
        tail = draw.pick(2, 3) if draw.chance(0.15) else 0
        a[q_name], a[kv_name] = [int(x) for x in np.cumsum(lqs)], [int(x) for x in np.cumsum(lks)]
        read = packed_lengths(a[q_name], None if use_pages else a[kv_name],
                              sum(lqs) + tail, sum(lks))
        if list(read[0]) != lqs:  # these numbers would be read as plain lengths
            tail = 0
        if use_pages:
            a[kv_name] = lks
        q_shape = (sum(lqs) + tail, n, d)
        k_shape, v_shape = (sum(lks), n_kv, d), (sum(lks), n_kv, dv)
        tags |= {'tail'} if tail else set()
    else:
        lqs, lks = [sq] * b, [sk] * b
        if draw.chance(0.4):
            lqs = draw.lengths(b, sq)
            a[q_name] = lqs if draw.chance(0.8) else lqs + [1]
            if draw.chance(0.2):
                lqs, a[q_name] = [lqs[0]] * b, [lqs[0]]
            tags.add('q lengths')
        if use_pages or draw.chance(0.4):
            lks = draw.lengths(b, sk)
            a[kv_name] = lks
            tags.add('kv lengths')
        q_shape = laid_out(layout, b, sq, n, d)
        k_shape, v_shape = laid_out(layout, b, sk, n_kv, d), laid_out(layout, b, sk, n_kv, dv)
    a.update(query=draw.tensor(dtype, q_shape, fill), sparse_mode=mode)
    width = sk
    if use_pages:
        more, width = paged(draw, a, n_kv, d, dv, dtype, fill, lks, layout)
        tags |= more
    else:
        a.update(key=draw.tensor(dtype, k_shape, fill), value=draw.tensor(dtype, v_shape, 'normal'))
        if not packed and max(lks) < sk:
            for name in ('key', 'value'):
                poison(a[name], layout, max(lks))
    tags.add(f'mode{mode}')
    if mode == 4 or (mode == 0 and not packed):
        tokens(draw, a, max(lqs), max(lks))
    prompt_mask(draw, a, tags, mode, b, sq, width, packed, lqs)
    if not packed and draw.chance(0.25):
        a['pse_shift'] = draw.tensor(
            dtype,
            (draw.pick(1, b), draw.pick(1, n), sq + draw.pick(0, 3), width + draw.pick(0, 3)))
        tags.add('pse')
    if fused:
        a['inner_precise'] = draw.pick(0, 1, 2, 3)
        a['softmax_lse_flag'] = draw.chance(0.6)
        tags |= {'lse'} if a['softmax_lse_flag'] else set()
    return a, tags


def prompt_mask(draw, a, tags, mode, b, sq, width, packed, lqs):
    if mode in (2, 3, 4):
        form = draw.pick('none', 'compressed', 'compressed 4-D')
        if form != 'none':
            a['atten_mask'] = TRIANGLE if form == 'compressed' else TRIANGLE_4D
    elif packed:
        form = 'none'
    else:
        form = draw.pick('none', '2-D', '3-D', '4-D', '4-D one')
        if mode == 1 and form == 'none':
            form = '2-D'
        tall, wide = sq + draw.pick(0, 2), width + draw.pick(0, 2)
        shape = {
            '2-D': (tall, wide), '3-D': (draw.pick(1, b), tall, wide), '4-D': (b, 1, tall, wide),
            '4-D one': (1, 1, tall, wide)
        }.get(form)
        if shape:
            a['atten_mask'] = draw.mask(shape)
    tags.add(f'mask {form}')


def decode_like(draw, op):
    fused = op == 'fused_infer_attention_score'
    layout = draw.pick('BSH', 'BSND', 'BNSD')
    b, sk = draw.integer(1, 4), draw.length()
    if draw.chance(0.12):
        sk = draw.integer(500, 1500)
    a, tags, n, n_kv, d, dv, dtype, fill = base(draw, layout, b, 1, sk, op)
    if sk > 400:
        tags.add('long')
    kv_name = 'actual_seq_lengths_kv' if fused else 'actual_seq_lengths'
    lks, width = [sk] * b, sk
    use_pages = draw.chance(0.5)
    if use_pages or draw.chance(0.5):
        lks = draw.lengths(b, sk)
        a[kv_name] = lks
        tags.add('kv lengths')
    a['query'] = draw.tensor(dtype, laid_out(layout, b, 1, n, d), fill)
    if use_pages:
        more, width = paged(draw, a, n_kv, d, dv, dtype, fill, lks, layout)
        tags |= more
    else:
        a['key'] = draw.tensor(dtype, laid_out(layout, b, sk, n_kv, d), fill)
        a['value'] = draw.tensor(dtype, laid_out(layout, b, sk, n_kv, dv), 'normal')
        for name in ('key', 'value'):
            poison(a[name], layout, max(lks))
    masked = draw.chance(0.4)
    if fused:
        mode = draw.pick(0, 0, 3, 3, 2, 4)
        a['sparse_mode'], a['inner_precise'] = mode, draw.pick(0, 1)
        a['softmax_lse_flag'] = draw.chance(0.6)
        tags |= {f'mode{mode}'} | ({'lse'} if a['softmax_lse_flag'] else set())
        if mode == 4:
            a['pre_tokens'], a['next_tokens'] = draw.pick(0, 3, 10, 2147483647), draw.pick(0, 0, 2)
        if mode in (2, 3, 4):
            masked = False
            if draw.chance(0.5):
                a['atten_mask'] = TRIANGLE
            tags.add('mask compressed' if 'atten_mask' in a else 'mask none')
        if draw.chance(0.2):
            a['actual_seq_lengths'] = [1] * b
    else:
        a['inner_precise'] = draw.pick(0, 1)
    if masked:
        rank = draw.pick(2, 3, 4)
        first = draw.pick(1, b)
        wide = width + draw.pick(0, 3)
        a['atten_mask'] = draw.mask((first, ) + (1, ) * (rank - 2) + (wide, ))
        tags.add('mask row')
    if draw.chance(0.2):
        a['pse_shift'] = draw.tensor(dtype,
                                     (draw.pick(1, b), draw.pick(1, n), 1, width + draw.pick(0, 2)))
        tags.add('pse')
    return a, tags


def prompt_flash_attention(draw):
    return prompt_like(draw, 'prompt_flash_attention')


def incre_flash_attention(draw):
    return decode_like(draw, 'incre_flash_attention')


def fused_infer_attention_score(draw):
    make = prompt_like if draw.chance(0.6) else decode_like
    return make(draw, 'fused_infer_attention_score')


def advance_step_flashattn(draw):
    seqs, bs, i64 = draw.integer(1, 9), draw.integer(1, 9), 'i64'
    small = draw.pick('i64', 'i32')
    whole = lambda dtype, shape, low=0, high=40: Tensor(
        dtype,
        draw.rng.integers(low, high, shape).astype(np.int32 if dtype == 'i32' else np.int64))
    a = dict(num_seqs=seqs, block_size=bs, block_tables=whole(small, (seqs, 100 // bs + 2), 0, 500))
    if draw.chance(0.5):
        queries = draw.integer(1, seqs)
        a.update(num_queries=queries,
                 input_tokens=whole(i64, seqs),
                 input_positions=whole(i64, seqs),
                 seq_lens=whole(small, seqs),
                 slot_mapping=whole(small, seqs),
                 sampled_token_ids=whole(i64, (queries, 1)))
        return a, {'plain', small}
    k = draw.integer(2, 5)
    sampled = whole(i64, (seqs, k))
    for row in sampled.array:
        row[draw.integer(1, k):] = -1
    a.update(num_queries=seqs,
             input_tokens=whole(i64, seqs * k),
             input_positions=whole(i64, seqs * k),
             seq_lens=whole(small, seqs * k),
             slot_mapping=whole(small, seqs * k),
             sampled_token_ids=sampled,
             spec_token=whole(i64, (seqs, k - 1)),
             accepted_num=whole(i64, seqs, 0, k))
    return a, {'speculative', small}


def attention_update(draw):
    parts, m, d = draw.integer(1, 6), draw.pick(1, 3, 17, 40), draw.pick(1, 8, 24, 64)
    dtype = draw.pick('f32', 'f16', 'bf16')
    lse = (draw.values((parts, m)) * draw.pick(1, 20)).astype(np.float32)
    holes = draw.rng.random((parts, m))
    lse[holes < 0.15], lse[holes > 0.9] = np.inf, -np.inf
    a = dict(lse=[Tensor('f32', np.ascontiguousarray(x)) for x in lse],
             update_type=draw.pick(0, 1),
             local_out=[draw.tensor(dtype, (m, d)) for _ in range(parts)])
    return a, {dtype, f"type{a['update_type']}"}


def ring_attention_update(draw):
    layout, dtype = draw.pick('SBH', 'TND'), draw.pick('f32', 'f16', 'bf16')
    n, d = draw.pick(1, 2, 3), draw.pick(1, 8, 20, 64)
    a, tags = dict(input_layout=layout), {layout, dtype}
    if layout == 'SBH':
        s, b = draw.integer(1, 9), draw.integer(1, 3)
        shape, stats = (s, b, n * d), (b, n, s, 8)
    else:
        lengths = [draw.pick(0, 1, 2, 5) for _ in range(draw.integer(1, 3))] + [draw.integer(1, 4)]
        t = sum(lengths)
        shape, stats = (t, n, d), (t, n, 8)
        edges = [0] * draw.pick(0, 1) + [int(x) for x in np.cumsum(lengths)]
        a['actual_seq_qlen'] = Tensor('i64', np.array(edges, np.int64))
        a['input_softmax_layout'] = draw.pick('', 'SBH', 'TND')
    for side in ('prev', 'cur'):
        m = np.broadcast_to((draw.values(stats[:-1]) * 5)[..., None], stats).astype(np.float32)
        s = np.broadcast_to((0.5 + draw.rng.random(stats[:-1]) * 9)[..., None],
                            stats).astype(np.float32)
        r = np.broadcast_to(draw.rng.random(stats[:-1])[..., None], stats)
        big = np.float32(3.4028235e38)
        m, s = np.where(r < 0.1, -big, m), np.where(r < 0.1, big,
                                                    np.where(r > 0.93, np.float32(0), s))
        a.update({
            f'{side}_attn_out': draw.tensor(dtype, shape), f'{side}_softmax_max': Tensor('f32', m),
            f'{side}_softmax_sum': Tensor('f32', s)
        })
    return a, tags
