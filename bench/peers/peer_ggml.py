# SPDX-License-Identifier: Apache-2.0
"""peer_ggml.py — ggml's flash_attn_ext on its CPU backend, through ctypes on the shared objects of the
package libggml-python.

As in llama.cpp: one graph, a thread pool that lives on, an f32 query beside a cache of any dtype, an
f32 result, the causal mask as an f16 tensor. Types and prototypes: ggml.h, ggml-backend.h, ggml-cpu.h."""
import ctypes as C
import importlib.util
import pathlib
import weakref

import numpy as np

from case import aligned
from contender import Contender, Ready, THREADS
from shared import Tensor

TYPES = {'f32': 0, 'f16': 1, 'bf16': 30}  # enum ggml_type
PREC_F32 = 10  # enum ggml_prec
POINTER = C.c_void_p


class InitParams(C.Structure):  # struct ggml_init_params
    _fields_ = [('mem_size', C.c_size_t), ('mem_buffer', POINTER), ('no_alloc', C.c_bool)]


PROTOTYPES = {
    'base': {
        'ggml_version': (C.c_char_p, ),
        'ggml_init': (POINTER, InitParams),
        'ggml_free': (None, POINTER),
        'ggml_new_tensor_4d': (POINTER, POINTER, C.c_int) + (C.c_int64, ) * 4,
        'ggml_flash_attn_ext': (POINTER, ) + (POINTER, ) * 5 + (C.c_float, ) * 3,
        'ggml_flash_attn_ext_set_prec': (None, POINTER, C.c_int),
        'ggml_new_graph': (POINTER, POINTER),
        'ggml_build_forward_expand': (None, POINTER, POINTER),
        'ggml_threadpool_params_init': (None, POINTER, C.c_int),
        'ggml_backend_cpu_buffer_from_ptr': (POINTER, POINTER, C.c_size_t),
        'ggml_backend_tensor_alloc': (C.c_int, POINTER, POINTER, POINTER),
        'ggml_backend_graph_compute': (C.c_int, POINTER, POINTER)
    },
    'cpu': {
        'ggml_backend_cpu_init': (POINTER, ),
        'ggml_backend_cpu_set_n_threads': (None, POINTER, C.c_int),
        'ggml_backend_cpu_set_threadpool': (None, POINTER, POINTER),
        'ggml_threadpool_new': (POINTER, POINTER)
    }
}


class Ggml:
    """The functions above as attributes, and a backend of THREADS threads."""

    def __init__(self):
        package = importlib.util.find_spec('libggml')
        if package is None:
            raise ImportError('libggml-python is not installed')
        folder = pathlib.Path(package.origin).parent / 'lib64'
        for part, functions in PROTOTYPES.items():
            lib = C.CDLL(str(folder / f'libggml-{part}.so'), C.RTLD_GLOBAL)
            for name, (result, *arguments) in functions.items():
                function = getattr(lib, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name.removeprefix('ggml_'), function)
        params = C.create_string_buffer(4096)  # struct ggml_threadpool_params and some more
        self.threadpool_params_init(params, THREADS)
        self.backend = self.backend_cpu_init()
        self.backend_cpu_set_n_threads(self.backend, THREADS)
        self.backend_cpu_set_threadpool(self.backend, self.threadpool_new(params))


class Graph:
    """flash_attn_ext of one case; the tensors' data are NumPy arrays."""

    def __init__(self, ggml, case):
        row, self.dtype, self.ggml, self.keep = case.row, case.dtype, ggml, []
        self.context = ggml.init(InitParams(1 << 20, None, True))
        weakref.finalize(self, ggml.free, self.context)
        query = aligned(case.query.shape, np.float32)
        query[...] = Tensor(case.dtype, case.query).value()
        self.out = aligned((row.batch, row.q_len, row.heads, row.dim), np.float32)
        q = self.tensor('f32', query)
        k, v = self.tensor(case.dtype, case.key), self.tensor(case.dtype, case.value)
        mask = None
        if row.causal:
            hidden = np.where(np.tri(row.q_len, dtype=bool), 0, -np.inf)[None, None]
            cells = aligned(hidden.shape, np.float16)
            cells[...] = hidden
            mask = self.tensor('f16', cells)
        node = ggml.flash_attn_ext(self.context, q, k, v, mask, case.scale, 0, 0)
        ggml.flash_attn_ext_set_prec(node, PREC_F32)
        self.place(node, self.out)
        self.graph = ggml.new_graph(self.context)
        ggml.build_forward_expand(self.graph, node)
        self.own_bytes = query.nbytes + self.out.nbytes

    def tensor(self, dtype, array):
        made = self.ggml.new_tensor_4d(self.context, TYPES[dtype], *reversed(array.shape))
        self.place(made, array)
        return made

    def place(self, tensor, array):
        buffer = self.ggml.backend_cpu_buffer_from_ptr(array.ctypes.data, array.nbytes)
        self.keep.append(array)
        if self.ggml.backend_tensor_alloc(buffer, tensor, array.ctypes.data) != 0:
            raise MemoryError('ggml_backend_tensor_alloc')

    def run(self):
        return self.ggml.backend_graph_compute(self.ggml.backend, self.graph)

    def outputs(self):
        """Rounded to the case's dtype: its f32 result is held to what the others return."""
        return {'out': Tensor.rounded(self.dtype, self.out.transpose(0, 2, 1, 3))}


def prepare(ggml, case):
    if case.row.backward:
        return 'flash_attn_ext has no backward'
    if case.table is not None:
        return 'no paged cache'
    graph = Graph(ggml, case)
    if graph.run() != 0:
        return 'ggml_backend_graph_compute failed'
    note = '' if case.dtype == 'f32' else 'query and result f32'
    return Ready(graph.run, graph.outputs, graph.own_bytes, note=note)


def contenders(_):
    ggml = Ggml()
    version = f"ggml {ggml.version().decode()} (libggml-python)"
    return [Contender('ggml', version, lambda case, way: prepare(ggml, case))]
