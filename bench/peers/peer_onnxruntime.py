# SPDX-License-Identifier: Apache-2.0
"""peer_onnxruntime.py — onnxruntime's attention operators on the CPU: com.microsoft's
MultiHeadAttention and GroupQueryAttention, and Attention of ONNX 23; the fastest that computes a row.

A model of one node, inputs and outputs bound to memory. GroupQueryAttention decodes as a language model
does: all keys but the last lie in the past buffer, which is the present one, too, and the node puts the
last one behind them."""
import numpy as np
import onnxruntime
from onnx import helper, numpy_helper, TensorProto

from case import aligned
from contender import allowed, Contender, fastest, Ready, room_to_copy, THREADS
from shared import Tensor

TYPES = {'f32': (TensorProto.FLOAT, np.float32), 'f16': (TensorProto.FLOAT16, np.float16)}
OPSETS = [helper.make_opsetid('', 23), helper.make_opsetid('com.microsoft', 1)]


def session(nodes, inputs, outputs, constants=()):
    """inputs, outputs: {name: array}"""
    info = lambda arrays: [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
    ]
    graph = helper.make_graph(nodes, 'attention', info(inputs), info(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=OPSETS, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(),
                                        options,
                                        providers=['CPUExecutionProvider'])


class Way:
    """A node with its arrays; `out` as [B,N,Sq,D] is view()."""

    def __init__(self, case, nodes, inputs, outputs, constants=()):
        self.case, self.arrays = case, list(inputs.values()) + list(outputs.values())
        self.out = outputs['out']
        self.session = session(nodes, inputs, outputs, constants)
        self.binding = self.session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy  # borrows the memory
        for name, array in inputs.items():
            self.binding.bind_ortvalue_input(name, value(array))
        for name, array in outputs.items():
            self.binding.bind_ortvalue_output(name, value(array))

    def run(self):
        self.session.run_with_iobinding(self.binding)

    def own_bytes(self):
        """Of inputs and outputs that are not the case's own arrays."""
        given = {getattr(self.case, name).ctypes.data for name in ('query', 'key', 'value')}
        own = {a.ctypes.data: a.nbytes for a in self.arrays if a.ctypes.data not in given}
        return sum(own.values())

    def outputs(self):
        row, out = self.case.row, self.out
        if out.ndim == 3:
            out = out.reshape(row.batch, row.q_len, row.heads, row.dim).transpose(0, 2, 1, 3)
        return {'out': Tensor(self.case.dtype, out)}


def token_major(array):
    """[B,N,S,D] as [B,S,N*D]."""
    b, n, s, d = array.shape
    made = aligned((b, s, n * d), array.dtype)
    made.reshape(b, s, n, d)[...] = array.transpose(0, 2, 1, 3)
    return made


def multi_head(case):
    row, query = case.row, token_major(case.query)
    node = helper.make_node('MultiHeadAttention', ['query', 'key', 'value'], ['out'],
                            domain='com.microsoft',
                            num_heads=row.heads,
                            scale=case.scale,
                            unidirectional=int(row.causal))
    return Way(case, [node], {'query': query, 'key': case.key, 'value': case.value},
               {'out': aligned(query.shape, query.dtype)})


def group_query(case):
    row, query = case.row, token_major(case.query)
    last = slice(row.kv_len - row.q_len, None)
    inputs = {
        'query': query,
        'key': token_major(case.key[:, :, last]),
        'value': token_major(case.value[:, :, last]),
        'seqlens_k': np.full(row.batch, row.kv_len - 1, np.int32),
        'total': np.array([row.kv_len], np.int32)
    }
    outputs = {'out': aligned(query.shape, query.dtype)}
    if row.decode:
        inputs |= {'past_key': case.key, 'past_value': case.value}
        outputs |= {'present_key': case.key, 'present_value': case.value}
    else:
        outputs |= {
            name: aligned(case.key.shape, query.dtype) for name in ('present_key', 'present_value')
        }
    past = ['past_key', 'past_value'] if row.decode else ['', '']
    node = helper.make_node('GroupQueryAttention',
                            ['query', 'key', 'value'] + past + ['seqlens_k', 'total'],
                            list(outputs),
                            domain='com.microsoft',
                            num_heads=row.heads,
                            kv_num_heads=row.kv_heads,
                            scale=case.scale)
    return Way(case, [node], inputs, outputs)


def gather(case, name):
    """Nodes that take `name` out of its pages, [B,Nkv,Skv,D]."""
    return [
        helper.make_node('Gather', [name, 'table'], [f'{name}_pages']),
        helper.make_node('Transpose', [f'{name}_pages'], [f'{name}_heads'], perm=[0, 2, 1, 3, 4]),
        helper.make_node('Reshape', [f'{name}_heads', 'shape'], [f'{name}_rows'])
    ]


def standard(case):
    row, nodes, constants = case.row, [], ()
    inputs = {name: getattr(case, name) for name in ('query', 'key', 'value')}
    operands = list(inputs)
    if case.table is not None:
        inputs['table'] = case.table
        shape = np.array([row.batch, row.kv_heads, row.kv_len, row.dim])
        constants = [numpy_helper.from_array(shape, 'shape')]
        nodes = gather(case, 'key') + gather(case, 'value')
        operands = ['query', 'key_rows', 'value_rows']
    nodes.append(
        helper.make_node('Attention', operands, ['out'], scale=case.scale,
                         is_causal=int(row.causal)))
    return Way(case, nodes, inputs, {'out': aligned(case.query.shape, case.query.dtype)}, constants)


def ways(case):
    row = case.row
    made = {'Attention': standard} if room_to_copy(case) else {}
    if case.table is None and (row.causal or row.decode):
        made['GroupQueryAttention'] = group_query
    if row.group == 1:
        made['MultiHeadAttention'] = multi_head
    return made


def prepare(case, way):
    if case.row.backward:
        return 'no backward'
    if case.dtype not in TYPES:
        return f'no {case.dtype} operator on the CPU'
    made = {label: build(case) for label, build in allowed(ways(case), way).items()}
    label = fastest({label: made[label].run for label in made})
    best, note = made[label], '' if case.table is None else 'pages gathered'
    return Ready(best.run, best.outputs, best.own_bytes(), label, note)


def contenders(_):
    return [Contender('onnxruntime', f'onnxruntime {onnxruntime.__version__}', prepare)]
