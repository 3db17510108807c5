# SPDX-License-Identifier: Apache-2.0
"""ours.py — libfattn: a planned call (fattn_plan_run), and the same call without a plan."""
import numpy as np

from case import aligned
from contender import Contender, OURS, OUR_CALL, Ready
from shared import Args, Library, Plan, STORAGE, Tensor

STATS = 8  # copies of each softmax_max and softmax_sum


def inputs(case):
    """What every operator is given."""
    row = case.row
    a = {
        name: Tensor(case.dtype, getattr(case, name)) for name in ('query', 'key', 'value')
    } | {'input_layout': 'BNSD'}
    if row.causal:
        a['sparse_mode'] = 3
        a['atten_mask'] = Tensor('bool', np.triu(np.ones((2048, 2048), np.bool_), 1))
    return a


def training(case):
    return inputs(case) | {'head_num': case.row.heads, 'scale': case.scale}


def inference(case):
    row = case.row
    return inputs(case) | {
        'num_heads': row.heads,
        'num_key_value_heads': row.kv_heads,
        'scale_value': case.scale
    }


def decoding(case):
    row, a = case.row, inference(case)
    a['actual_seq_lengths'] = [row.kv_len] * row.batch
    if row.block_size:
        a |= {'block_table': Tensor('i32', case.table), 'block_size': row.block_size}
    return a


def forward_of(row):
    """(operator, args of a case): as in the suites of `fattn bench`."""
    if row.decode:
        return 'incre_flash_attention', decoding
    if row.heads == row.kv_heads and row.batch > 1:
        return 'fusion_attention', training
    return 'prompt_flash_attention', inference


def gradients(library, case, out):
    """Args of the backward, after a forward that leaves what it needs."""
    row, a = case.row, training(case)
    stats = {
        name: Tensor('f32', aligned((row.batch, row.heads, row.q_len, STATS), np.float32))
        for name in ('softmax_max', 'softmax_sum')
    }
    error = library.call('fusion_attention', a | {'attention_out': out} | stats)
    if error:
        raise ValueError(error)
    a['scale_value'] = a.pop('scale')
    made = {
        name: Tensor(case.dtype, aligned(like.shape, like.dtype))
        for name, like in (('dq', case.query), ('dk', case.key), ('dv', case.value))
    }
    return a | stats | {'dy': Tensor(case.dtype, case.dy), 'attention_in': out} | made, made


def arguments(library, case):
    """(operator, args, {output: Tensor}, bytes of outputs)"""
    out = Tensor(case.dtype, aligned(case.query.shape, STORAGE[case.dtype]))
    if case.row.backward:
        args, made = gradients(library, case, out)
        size = out.array.nbytes + sum(t.array.nbytes for t in made.values())
        return 'fusion_attention_grad', args, made, size
    operator, fill = forward_of(case.row)
    return operator, fill(case) | {'attention_out': out}, {'out': out}, out.array.nbytes


def planned(library, case):
    operator, args, made, size = arguments(library, case)
    plan = Plan(library, operator, args)
    if plan.run() != 0:
        return library.message()
    return Ready(plan.run, lambda: made, size, note=f'{plan.workspace} bytes of workspace')


def unplanned(library, case):
    operator, values, made, size = arguments(library, case)
    op, args = library.ops[operator], Args(library, library.ops[operator], values)
    return Ready(lambda args=args: op.call(None, args.address), lambda: made, size)


def contenders(path):
    library = Library(path)
    isa = library.lib.fattn_context_isa(None).decode()
    version = f'{isa}, {library.lib.fattn_context_threads(None)} threads'
    return [
        Contender(OURS, version, lambda case, way: planned(library, case)),
        Contender(OUR_CALL, version, lambda case, way: unplanned(library, case))
    ]
