# SPDX-License-Identifier: Apache-2.0
"""golden.py — values worked out by hand, pictures and refusals of the operators' documents. They check
the library itself: no oracle stands between."""
import ctypes as C

import numpy as np

from library import Tensor

FLT_MAX = 3.4028234663852886e38
Q, K, V = [[1, 0], [.5, .5]], [[1, 0], [0, 1], [1, 1]], [[1, 2], [3, 4], [5, 6]]


def f32(x, *shape):
    x = np.array(x, np.float32)
    return Tensor('f32', x.reshape(shape) if shape else x)


def i64(x):
    return Tensor('i64', np.array(x, np.int64))


def fusion(q=Q, k=K, v=V, **more):
    """One head, one batch; rows are lists."""
    return {
        'query': f32([[q]]), 'key': f32([[k]]), 'value': f32([[v]]), 'input_layout': 'BNSD',
        'head_num': 1, 'scale': 0.5, **more
    }


def fused(q=Q, k=K, v=V, **more):
    return {
        'query': f32([[q]]), 'key': f32([[k]]), 'value': f32([[v]]), 'input_layout': 'BNSD',
        'num_heads': 1, 'scale': 0.5, 'softmax_lse_flag': True, **more
    }


FREE, RIGHT, LEFT = ([[3, 4], [3.172974, 4.172974]], [[1.755081, 2.755081], [3.172974,
                                                                             4.172974]], [[1, 2],
                                                                                          [2, 3]])
V2 = [[1, 0], [0, 1]]
# One row of scores [2, 4] before the scale of 0.5: the order of bias and scale shows.
ORDER = dict(q=[[2, 4]], k=[[1, 0], [0, 1]], v=V2)
ORDER_PSE = {'pse': f32([1, -1], 1, 1, 1, 2)}
SHUT = {'atten_mask': Tensor('bool', np.ones((2, 3), bool)), 'sparse_mode': 1}
GQA = dict(query=f32(np.zeros((1, 4, 1, 2))),
           key=f32(np.zeros((1, 2, 1, 2))),
           head_num=4,
           scale=1.0,
           value=f32([[1, 2], [3, 4]], 1, 2, 1, 2),
           input_layout='BNSD')

# operator, arguments, {output: values}
VALUES = [
    ('fusion_attention', fusion(), {'attention_out': FREE}),
    ('fusion_attention', fusion(sparse_mode=3), {'attention_out': RIGHT}),
    ('fusion_attention', fusion(sparse_mode=2), {'attention_out': LEFT}),
    ('fusion_attention', fusion(sparse_mode=3, sink=f32([.25])),
     {'attention_out': [[1.182055, 1.855559], [2.432321, 3.198896]]}),
    ('fusion_attention', fusion(**ORDER, **ORDER_PSE),
     {'attention_out': [.5, .5], 'softmax_max': [1.5] * 8, 'softmax_sum': [2] * 8}),
    ('fusion_attention', fusion(**ORDER, **ORDER_PSE, pse_type=0),
     {'attention_out': [.731059, .268941], 'softmax_max': [2] * 8, 'softmax_sum': [1.367879] * 8}),
    ('fusion_attention', fusion(**ORDER, **ORDER_PSE, sink=f32([1.5])),
     {'attention_out': [1 / 3, 1 / 3], 'softmax_max': [1.5] * 8, 'softmax_sum': [3] * 8}),
    ('fusion_attention', fusion(**ORDER, **ORDER_PSE, sink=f32([2.5])),
     {'attention_out': [.211942, .211942], 'softmax_max': [2.5] * 8,
      'softmax_sum': [1.735759] * 8}),
    ('fusion_attention',
     fusion(q=[[2, 18]],
            k=[[1, 0], [0, 1]],
            v=V2,
            sparse_mode=1,
            atten_mask=Tensor('u8', np.array([[0, 1]], np.uint8))),
     {'attention_out': [1, 0], 'softmax_max': [1] * 8, 'softmax_sum': [1] * 8}),
    ('fusion_attention', fusion(**SHUT),
     {'attention_out': [0] * 4, 'softmax_max': [-FLT_MAX] * 16, 'softmax_sum': [FLT_MAX] * 16}),
    ('fusion_attention', fusion(**SHUT, sink=f32([.75])),
     {'attention_out': [0] * 4, 'softmax_max': [.75] * 16, 'softmax_sum': [1] * 16}),
    ('fusion_attention',
     fusion(q=[[0], [0]], k=[[0], [0]], v=V2, scale=1.0, pse=f32([.5]),
            pse_type=2), {'attention_out': [.622459, .377541, .377541, .622459]}),
    ('fusion_attention',
     fusion(q=[[0], [0]], k=[[0], [0]], v=V2, scale=1.0, pse=f32([.5]), pse_type=2,
            q_start_idx=[3]),
     {'attention_out': [.377541, .622459] * 2, 'softmax_max': [-1.0] * 8 + [-1.5] * 8}),
    # Packed, the second sequence has queries and no key.
    ('fusion_attention',
     dict(query=f32([1] * 3, 3, 1, 1),
          key=f32([2], 1, 1, 1),
          value=f32([5], 1, 1, 1),
          head_num=1,
          input_layout='TND',
          actual_seq_qlen=[2, 3],
          actual_seq_kvlen=[1, 1]), {
              'attention_out': [5, 5, 0], 'softmax_max': [2] * 16 + [-FLT_MAX] * 8,
              'softmax_sum': [1] * 16 + [FLT_MAX] * 8
          }),
    ('fusion_attention', GQA, {'attention_out': [1, 2, 1, 2, 3, 4, 3, 4]}),
    ('fused_infer_attention_score', fused(),
     {'attention_out': FREE, 'softmax_lse': [1.458020, 1.439070]}),
    ('fused_infer_attention_score', fused(sparse_mode=3),
     {'attention_out': RIGHT, 'softmax_lse': [.974077, 1.439070]}),
    ('fused_infer_attention_score', fused(sparse_mode=2),
     {'attention_out': LEFT, 'softmax_lse': [.5, .943147]}),
    ('fused_infer_attention_score',
     fused(sparse_mode=3, pse_shift=f32([.1, -.2, 0, 0, .3, -.1], 1, 1, 2, 3)), {
         'attention_out': [[1.620051, 2.620051], [3.092169, 4.092169]],
         'softmax_lse': [.971101, 1.506098]
     }),
    ('fused_infer_attention_score', fused(**SHUT),
     {'attention_out': [0] * 4, 'softmax_lse': [np.inf] * 2}),
    ('fused_infer_attention_score', {**fused(), 'softmax_lse_flag': False}, {'softmax_lse': [0]}),
    ('attention_update',
     dict(lse=[f32([.5]), f32([1.5])], local_out=[f32([[1] * 8]), f32([[3] * 8])],
          update_type=1), {'out': [2.462117] * 8, 'lse_out': [1.813262]}),
    ('attention_update',
     dict(lse=[f32([np.inf]), f32([1.5])],
          local_out=[f32([[1] * 8]), f32([[3] * 8])],
          update_type=1), {'out': [3] * 8, 'lse_out': [1.5]}),
    ('attention_update',
     dict(lse=[f32([np.inf]), f32([-np.inf])],
          update_type=1,
          local_out=[f32([[1] * 8]), f32([[3] * 8])]), {'out': [0] * 8, 'lse_out': [np.inf]}),
    ('ring_attention_update',
     dict(input_layout='SBH',
          prev_attn_out=f32([[[3]]]),
          cur_attn_out=f32([[[6]]]),
          prev_softmax_max=f32([1] * 8, 1, 1, 1, 8),
          prev_softmax_sum=f32([2] * 8, 1, 1, 1, 8),
          cur_softmax_max=f32([0] * 8, 1, 1, 1, 8),
          cur_softmax_sum=f32([1] * 8, 1, 1, 1, 8)),
     {'attn_out': [3.4660872], 'softmax_max': [1] * 8, 'softmax_sum': [2.3678794] * 8}),
]

# In place: operator arguments, {tensor: integers afterwards}.
STEPS = [
    (dict(input_tokens=i64([7, 7]),
          sampled_token_ids=i64([[5], [6]]),
          input_positions=i64([9, 9]),
          seq_lens=i64([5, 8]),
          slot_mapping=i64([0, 0]),
          block_tables=i64([[10, 11, 12], [20, 21, 22]]),
          num_seqs=2,
          num_queries=2,
          block_size=4),
     dict(input_tokens=[5, 6], input_positions=[5, 8], seq_lens=[6, 9], slot_mapping=[45, 88])),
    (dict(input_tokens=i64([7, 7]),
          sampled_token_ids=i64([[5]]),
          input_positions=i64([9, 9]),
          seq_lens=i64([5, 8]),
          slot_mapping=i64([0, 0]),
          block_tables=i64([[10, 11, 12], [20, 21, 22]]),
          num_seqs=2,
          num_queries=1,
          block_size=4),
     dict(input_tokens=[5, 0], input_positions=[5, 0], seq_lens=[6, 8], slot_mapping=[45, -1])),
    (dict(input_tokens=i64([0] * 3),
          sampled_token_ids=i64([[7, 9, -1]]),
          input_positions=i64([10, 11, 12]),
          seq_lens=i64([0] * 3),
          slot_mapping=i64([0] * 3),
          block_tables=i64([[20, 21, 22, 23]]),
          num_seqs=1,
          num_queries=1,
          block_size=4,
          spec_token=i64([[31, 32]]),
          accepted_num=i64([1])),
     dict(input_tokens=[9, 31, 32],
          input_positions=[12, 13, 14],
          seq_lens=[13, 14, 15],
          slot_mapping=[92, 93, 94])),
]

# What a mode lets through: mode, pre, next, prefix, picture (# attends).
PICTURES = [
    (0, 1, 1, None, '##.... ###... .###.. ..###.'),
    (2, 0, 0, None, '#..... ##.... ###... ####..'),
    (3, 0, 0, None, '###... ####.. #####. ######'),
    (4, 2, 0, None, '###... .###.. ..###. ...###'),
    (4, 1, 1, None, '.###.. ..###. ...### ....##'),
    (6, 0, 0, 3, '###... ####.. #####. ######'),
    (0, 1, 1, None, '##.. ###. .### ..## ...# ....'),
    (2, 0, 0, None, '#... ##.. ###. #### #### ####'),
    (3, 0, 0, None, '.... .... #... ##.. ###. ####'),
    (4, 2, 0, None, '.... .... #... ##.. ###. .###'),
    (4, 1, 1, None, '.... #... ##.. ###. .### ..##'),
    (6, 0, 0, 3, '###. ###. ###. ###. ###. ####'),
    (5, 0, 0, 3, '###. ###. ###. ###. ###. ####'),
    (0, 9, -3, None, '..... ..... ..... #.... ##...'),
    (0, -3, 7, None, '...#####. ....##### .....####'),
    (4, -1, 2, None, '...## ....# .....'),
    (4, 2, 1, None, '... #.. ##. ### ###'),
    (4, -1, 2, None, '#.. ##. .## ..# ...'),
]
# Packed: mode, q list, kv list, pre, next, one picture per sequence.
PACKED_PICTURES = [
    (7, [3, 5], [3, 9], 6, -2, ['#.. ##. ###', '###... ####..']),
    (8, [3, 8, 12], [4, 9, 13], 4, 1,
     ['###. #### ####', '#.... ##... ###.. ####. #####', '#... ##.. ###. ####']),
    (2, [2, 2, 5], [3, 3, 5], 0, 0, ['#.. ##.', '', '#. ## ##']),
]

REFUSED = [
    ('layout', fusion(input_layout='BDSN')),
    ('heads', fusion(head_num=3)),
    ('both tokens negative', fusion(sparse_mode=4, pre_tokens=-1, next_tokens=-1)),
    ('an empty band', fusion(sparse_mode=4, pre_tokens=1, next_tokens=-2)),
    ('mode 9', fusion(sparse_mode=9)),
    ('mode 7 in a dense layout', fusion(sparse_mode=7)),
    ('prefix missing', fusion(sparse_mode=6)),
    ('prefix above Lk', fusion(sparse_mode=6, prefix=[4])),
    ('keep_prob', fusion(keep_prob=1.5)),
    ('pse_type without pse', fusion(pse_type=2)),
    ('mask too small', fusion(sparse_mode=1, atten_mask=Tensor('bool', np.zeros((1, 3), bool)))),
    ('compressed mask size',
     fusion(sparse_mode=2, atten_mask=Tensor('bool', np.zeros((64, 64), bool)))),
    ('mask dtype', fusion(sparse_mode=1, atten_mask=f32(np.zeros((2, 3))))),
    ('key dtype', fusion() | {'key': Tensor('f16', np.zeros((1, 1, 3, 2), np.float16))}),
    ('lists missing', {
        'query': f32([[[1.0]]]), 'key': f32([[[1.0]]]), 'value': f32([[[1.0]]]),
        'input_layout': 'TND', 'head_num': 1
    }),
]


def outputs(library, op, a):
    made = {
        name: Tensor(dtype, np.full(shape, 123, np.float32))
        for name, (dtype, shape) in library.shapes(op, a).items()
    }
    return made, library.call(op, {**a, **made})


def seen(out, lq, lk):
    """Values are unit vectors and scores equal: what is not zero was attended."""
    return ' '.join(''.join('#' if x > 0 else '.' for x in row) for row in out.reshape(lq, lk))


def check_pictures(library):
    wrong = []
    for mode, pre, nxt, prefix, picture in PICTURES:
        rows = picture.split()
        lq, lk = len(rows), len(rows[0])
        zero = lambda n: f32(np.zeros((1, 1, n, 4)))
        a = dict(query=zero(lq),
                 key=zero(lk),
                 value=f32(np.eye(lk), 1, 1, lk, lk),
                 input_layout='BNSD',
                 sparse_mode=mode,
                 pre_tokens=pre,
                 next_tokens=nxt)
        if mode == 0:
            a['atten_mask'] = Tensor('bool', np.zeros((lq, lk), bool))
        if prefix is not None:
            a['prefix'] = [prefix]
        runs = {'fusion_attention': {**a, 'head_num': 1}}
        if mode <= 4:
            runs.update(prompt_flash_attention={**a, 'num_heads': 1},
                        fused_infer_attention_score={**a, 'num_heads': 1})
        if lk > 4:  # Dv <= D belongs to the training operator
            runs['fusion_attention'] |= {
                n: f32(np.zeros((1, 1, s, lk)))
                for n, s in (('query', lq), ('key', lk))
            }
        for op, args in runs.items():
            made, error = outputs(library, op, args)
            got = error or seen(made['attention_out'].array, lq, lk)
            if got != picture:
                wrong.append(f'{op} mode {mode} pre {pre} next {nxt}: {got}, not {picture}')
    for mode, q_list, kv_list, pre, nxt, pictures in PACKED_PICTURES:
        tq, tkv = q_list[-1], kv_list[-1]
        a = dict(query=f32(np.zeros((tq, 1, tkv))),
                 key=f32(np.zeros((tkv, 1, tkv))),
                 head_num=1,
                 value=f32(np.eye(tkv), tkv, 1, tkv),
                 input_layout='TND',
                 actual_seq_qlen=q_list,
                 actual_seq_kvlen=kv_list,
                 sparse_mode=mode,
                 pre_tokens=pre,
                 next_tokens=nxt)
        made, error = outputs(library, 'fusion_attention', a)
        want, q0, k0 = [], 0, 0
        for q1, k1, picture in zip(q_list, kv_list, pictures):
            want += ['.' * k0 + row + '.' * (tkv - k1) for row in picture.split()]
            q0, k0 = q1, k1
        got = error or seen(made['attention_out'].array, tq, tkv)
        if got != ' '.join(want):
            wrong.append(f'TND mode {mode}: {got}, not {" ".join(want)}')
    return wrong


def check_packed_order(library):
    """Statistics of packed calls: lengths 1 and 2, two heads; the score is 100 b + 10 h + i."""
    wrong = []
    scores = {(0, 0): 0, (0, 1): 10, (1, 0): 100, (1, 1): 110, (2, 0): 101, (2, 1): 111}
    q = np.array([[[scores[t, h]] for h in range(2)] for t in range(3)], np.float32)
    for layout, want in (('', [0, 10, 100, 101, 110, 111]), ('TND', [0, 10, 100, 110, 101, 111])):
        a = dict(query=f32(q),
                 key=f32(np.ones((3, 2, 1))),
                 value=f32(np.ones((3, 2, 1))),
                 head_num=2,
                 input_layout='TND',
                 actual_seq_qlen=[1, 3],
                 actual_seq_kvlen=[1, 3],
                 softmax_layout=layout)
        made, error = outputs(library, 'fusion_attention', a)
        got = made['softmax_max'].array.reshape(6, 8)[:, 0].round().tolist()
        if error or got != want:
            wrong.append(f'softmax_layout "{layout}": {error or got}, not {want}')
    numels = C.c_int64()
    a = dict(query=f32(np.ones((5, 3, 1))),
             key=f32(np.ones((4, 3, 1))),
             value=f32(np.ones((4, 3, 1))),
             head_num=3,
             input_layout='TND',
             actual_seq_qlen=[2, 5],
             actual_seq_kvlen=[3, 4],
             numels=numels)
    _, error = outputs(library, 'fusion_attention', a)
    if error or numels.value != 27:
        wrong.append(f'numels: {error or numels.value}, not 27')
    return wrong


def check(library):
    wrong = []
    for op, a, want in VALUES:
        made, error = outputs(library, op, a)
        if error:
            wrong.append(f'{op}: {error}')
            continue
        for name, values in want.items():
            got, values = made[name].array.reshape(-1), np.array(values, float).reshape(-1)
            if got.shape != values.shape or not np.allclose(got, values, rtol=1e-6, atol=1e-6):
                wrong.append(f'{op} {name}: {got.tolist()}, not {values.tolist()}')
    for a, want in STEPS:
        error = library.call('advance_step_flashattn', a)
        for name, values in want.items():
            if error or a[name].array.tolist() != values:
                wrong.append(
                    f'advance_step {name}: {error or a[name].array.tolist()}, not {values}')
    lse = library.shapes(
        'fused_infer_attention_score',
        dict(query=f32(np.zeros((2, 3, 4, 8))),
             key=f32(np.zeros((2, 5, 4, 8))),
             input_layout='BSND',
             num_heads=4,
             value=f32(np.zeros((2, 5, 4, 8))),
             softmax_lse_flag=True))
    if lse['softmax_lse'] != ('f32', (2, 4, 3, 1)):
        wrong.append(f'shape of softmax_lse: {lse}')
    for what, a in REFUSED:
        out = f32(np.full((1, 1, 2, 2), 123))
        if library.call('fusion_attention', {**a, 'attention_out': out}) is None:
            wrong.append(f'not refused: {what}')
        elif not library.message() or (out.array != 123).any():
            wrong.append(f'refused without a sentence, or after writing: {what}')
    return wrong + check_pictures(library) + check_packed_order(library)


def count():
    return sum(map(len, (VALUES, STEPS, PICTURES, PACKED_PICTURES, REFUSED))) + 4
