# SPDX-License-Identifier: Apache-2.0
"""peer_openvino.py — OpenVINO's ScaledDotProductAttention on its CPU plugin.

A model of that one node behind parameters of the row's dtype, on tensors that share the case's memory.
Shared key heads are broadcast in the graph, as in models exported for OpenVINO, or, with one query row,
the heads of a group are rows of one head; pages are gathered there, too. What the plugin makes of whole
models, a cache as the model's state or PagedAttention, has no operator of its own to call."""
import numpy as np
import openvino
from openvino import opset13 as ops

from case import aligned
from contender import allowed, Contender, fastest, Ready, room_to_copy, THREADS
from shared import Tensor

BROADCAST, AS_ROWS = 'keys broadcast', 'a group as rows'
TYPES = {'f32': openvino.Type.f32, 'f16': openvino.Type.f16, 'bf16': openvino.Type.bf16}


def constant(values):
    return ops.constant(np.array(values, np.int64))


def gather(pool, table, row):
    """[B,Nkv,Skv,D] out of pages."""
    pages = ops.gather(pool, table, constant(0))
    return ops.reshape(ops.transpose(pages, constant([0, 2, 1, 3, 4])),
                       constant([row.batch, row.kv_heads, row.kv_len, row.dim]), False)


def every_head(x, row):
    """Each key head `group` times."""
    b, n, s, d = row.batch, row.kv_heads, row.kv_len, row.dim
    wide = ops.broadcast(ops.unsqueeze(x, constant([2])), constant([b, n, row.group, s, d]))
    return ops.reshape(wide, constant([b, row.heads, s, d]), False)


def model(case, way):
    row = case.row
    inputs = [
        ops.parameter(list(x.shape), TYPES[case.dtype]) for x in (case.query, case.key, case.value)
    ]
    q, k, v = inputs
    if case.table is not None:
        table = ops.parameter(list(case.table.shape), openvino.Type.i32)
        inputs.append(table)
        k, v = gather(k, table, row), gather(v, table, row)
    if way == AS_ROWS:
        q = ops.reshape(q, constant([row.batch, row.kv_heads, row.group, row.dim]), False)
    if way == BROADCAST:
        k, v = every_head(k, row), every_head(v, row)
    # The default scale, 1 / sqrt(D), is the case's.
    out = ops.scaled_dot_product_attention(q, k, v, causal=row.causal)
    return openvino.Model([ops.reshape(out, constant(case.query.shape), False)], inputs)


def ways(case):
    """Labels."""
    if case.row.group == 1:
        return ['']
    return [BROADCAST] * room_to_copy(case) + [AS_ROWS] * case.row.decode


def request_of(core, case, way, out):
    settings = {'INFERENCE_NUM_THREADS': THREADS, 'PERFORMANCE_HINT': 'LATENCY'}
    if case.dtype == 'f32':
        settings['INFERENCE_PRECISION_HINT'] = 'f32'
    request = core.compile_model(model(case, way), 'CPU', settings).create_infer_request()
    arrays = [case.query, case.key, case.value] + ([] if case.table is None else [case.table])
    kind = lambda a: openvino.Type.i32 if a is case.table else TYPES[case.dtype]
    for i, array in enumerate(arrays):
        request.set_input_tensor(i, openvino.Tensor(array, array.shape, kind(array)))
    request.set_output_tensor(0, openvino.Tensor(out, out.shape, TYPES[case.dtype]))
    return request


def prepare(core, case, way):
    if case.row.backward:
        return 'no backward'
    out = aligned(case.query.shape, case.query.dtype)
    made = {
        label: request_of(core, case, label, out)
        for label in allowed(dict.fromkeys(ways(case)), way)
    }
    label = fastest({label: request.infer for label, request in made.items()})
    note = '' if case.table is None else 'pages gathered'
    result = {'out': Tensor(case.dtype, out)}
    return Ready(made[label].infer, lambda: result, out.nbytes, label, note, (case, out))


def contenders(_):
    core = openvino.Core()
    return [
        Contender('openvino', f"openvino {openvino.__version__.split('-')[0]}",
                  lambda case, way: prepare(core, case, way))
    ]
