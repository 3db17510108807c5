# SPDX-License-Identifier: Apache-2.0
"""peer_torch.py — PyTorch's scaled_dot_product_attention on the CPU: its flash kernel, and the math
path (scores in memory), each chosen with sdpa_kernel.

Shared key heads: enable_gqa, keys and values repeated for every query head inside the timed call, or,
with one query row, the heads of a group as rows of one head; the fastest is taken."""
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from contender import allowed, Contender, fastest, Ready, room_to_copy, THREADS
from shared import Tensor


def to_torch(array, dtype):
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if dtype == 'bf16' else tensor


def to_tensor(result, dtype):
    result = result.detach()
    return Tensor(dtype, (result.view(torch.uint16) if dtype == 'bf16' else result).numpy())


def gather(case, pool, table):
    """[B,Nkv,Skv,D] out of pages."""
    row = case.row
    pages = pool[table]  # [B,blocks,Nkv,block_size,D]
    return pages.transpose(1, 2).reshape(row.batch, row.kv_heads, row.kv_len, row.dim)


def ways(case):
    """{label: function of query, key, value}"""
    row = case.row
    plain = lambda q, k, v, **more: scaled_dot_product_attention(
        q, k, v, is_causal=row.causal, scale=case.scale, **more)
    if row.group == 1:
        return {'': plain}
    repeat = lambda x: x.repeat_interleave(row.group, dim=1)
    made = {}
    if room_to_copy(case):  # the math path repeats them for enable_gqa, too
        made['enable_gqa'] = lambda q, k, v: plain(q, k, v, enable_gqa=True)
        made['keys repeated'] = lambda q, k, v: plain(q, repeat(k), repeat(v))
    if row.decode:
        rows = (row.batch, row.kv_heads, row.group, row.dim)
        made['a group as rows'] = lambda q, k, v: plain(q.view(rows), k, v).view(q.shape)
    return made


class Step:
    """One way of one case; the result of the last run stays."""

    def __init__(self, case, backend, way):
        self.case, self.backend, self.way, self.result = case, backend, way, None
        self.tensors = [to_torch(x, case.dtype) for x in (case.query, case.key, case.value)]
        self.table = None if case.table is None else torch.from_numpy(case.table.astype(np.int64))

    def forward(self):
        with torch.inference_mode(), sdpa_kernel(self.backend):
            q, k, v = self.tensors
            if self.table is not None:
                k, v = (gather(self.case, x, self.table) for x in (k, v))
            self.result = self.way(q, k, v)

    def keep_graph(self):
        """The forward whose gradients backward() takes again and again."""
        self.tensors = [x.detach().requires_grad_() for x in self.tensors]
        self.dy = to_torch(self.case.dy, self.case.dtype)
        with sdpa_kernel(self.backend):
            self.out = self.way(*self.tensors)

    def backward(self):
        self.result = torch.autograd.grad(self.out, self.tensors, self.dy, retain_graph=True)

    def outputs(self):
        backward = self.case.row.backward
        names, made = (('dq', 'dk', 'dv'), self.result) if backward else (('out', ), [self.result])
        return {name: to_tensor(x, self.case.dtype) for name, x in zip(names, made)}


def prepare(case, backend, way):
    steps = {label: Step(case, backend, f) for label, f in allowed(ways(case), way).items()}
    if case.row.backward:
        for step in steps.values():
            step.keep_graph()
    run = lambda step: step.backward if case.row.backward else step.forward
    try:
        label = fastest({label: run(step) for label, step in steps.items()})
    except RuntimeError as error:
        return str(error).splitlines()[0]
    step = steps[label]
    own = case.query.nbytes  # out
    if case.row.backward:
        own += case.query.nbytes + case.key.nbytes + case.value.nbytes
    note = '' if case.table is None else 'pages gathered'
    return Ready(run(step), step.outputs, own, label, note)


def contenders(_):
    torch.set_num_threads(THREADS)
    backends = {'torch-flash': SDPBackend.FLASH_ATTENTION, 'torch-math': SDPBackend.MATH}
    return [
        Contender(name, f'torch {torch.__version__}', lambda case, way, b=backend: prepare(case, b, way))
        for name, backend in backends.items()
    ]
