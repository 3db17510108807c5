# SPDX-License-Identifier: Apache-2.0
"""library.py — libfattn through ctypes. No struct of an operator is spelt here: the library exports
the fields of every args struct with kind and offset, so a call is a loop over them."""
import ctypes as C

import numpy as np

STORAGE = {
    'f64': np.float64, 'f32': np.float32, 'f16': np.float16, 'bf16': np.uint16, 'i64': np.int64,
    'i32': np.int32, 'i8': np.int8, 'u8': np.uint8, 'bool': np.bool_
}
TENSOR_IN, TENSOR_OUT, TENSOR_INOUT, TENSORS_IN, INT, FLOAT, BOOL, STRING, INTS, INT_OUT = range(10)


class Tensor:
    """An element type and a NumPy array that holds it (bf16 as uint16); any strides."""

    def __init__(self, dtype, array):
        assert array.dtype == STORAGE[dtype], (dtype, array.dtype)
        self.dtype, self.array = dtype, array

    @staticmethod
    def rounded(dtype, values):
        """Values rounded to `dtype`."""
        values = np.asarray(values)
        if dtype != 'bf16':
            return Tensor(dtype, values.astype(STORAGE[dtype]))
        bits = values.astype(np.float32).view(np.uint32)
        nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16
        return Tensor(dtype, np.where(np.isnan(values), 0x7fc0, nearest).astype(np.uint16))

    def value(self):
        """The exact values, as float64 (integers stay)."""
        if self.dtype == 'bf16':
            return (self.array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return self.array.astype(np.float64) if self.dtype[0] == 'f' else self.array

    def __repr__(self):
        return f"{self.dtype}[{','.join(map(str, self.array.shape))}]"


class CTensor(C.Structure):
    _fields_ = [('data', C.c_void_p), ('dtype', C.c_int), ('rank', C.c_int32),
                ('shape', C.c_int64 * 8), ('strides', C.c_int64 * 8)]


class CList(C.Structure):  # fattn_int_array and fattn_tensor_array
    _fields_ = [('data', C.c_void_p), ('count', C.c_int64)]


class CField(C.Structure):
    _fields_ = [('name', C.c_char_p), ('kind', C.c_int), ('flags', C.c_uint),
                ('offset', C.c_size_t), ('default_int', C.c_int64), ('default_float', C.c_double),
                ('default_text', C.c_char_p), ('aliases', C.c_char_p), ('help', C.c_char_p)]


ARGS_INIT = C.CFUNCTYPE(None, C.c_void_p)
CALL = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p)
SHAPES = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.POINTER(CTensor))
PLAN = C.CFUNCTYPE(C.c_int, C.c_void_p, C.c_void_p, C.POINTER(C.c_void_p))


class COperator(C.Structure):
    _fields_ = [('name', C.c_char_p), ('help', C.c_char_p), ('fields', C.POINTER(CField)),
                ('n_fields', C.c_int), ('n_outputs', C.c_int), ('args_size', C.c_size_t),
                ('args_init', ARGS_INIT), ('call', CALL), ('shapes', SHAPES),
                ('workspace', C.c_void_p), ('plan', PLAN)]


class Args:
    """One filled args struct; keeps alive whatever it points to."""

    def __init__(self, library, op, values):
        self.library, self.keep = library, []
        self.buffer = C.create_string_buffer(op.args_size)
        self.address = C.addressof(self.buffer)
        op.args_init(self.address)
        fields = library.fields[op.name.decode()]
        for name, value in values.items():
            if value is not None:
                self.set(fields[name], value)

    def set(self, field, value):
        at, kind = self.address + field.offset, field.kind
        if kind in (TENSOR_IN, TENSOR_OUT, TENSOR_INOUT):
            C.c_void_p.from_address(at).value = C.addressof(self.tensor(value))
        elif kind == TENSORS_IN:
            pointers = (C.c_void_p * len(value))(*[C.addressof(self.tensor(t)) for t in value])
            self.keep.append(pointers)
            CList.from_address(at).data = C.addressof(pointers)
            CList.from_address(at).count = len(value)
        elif kind == INTS:
            numbers = (C.c_int64 * max(1, len(value)))(*value)
            self.keep.append(numbers)
            CList.from_address(at).data = C.addressof(numbers)
            CList.from_address(at).count = len(value)
        elif kind == STRING:
            self.keep.append(value.encode())
            C.c_char_p.from_address(at).value = self.keep[-1]
        elif kind == INT_OUT:
            C.c_void_p.from_address(at).value = C.addressof(value)
        else:
            {INT: C.c_int64, FLOAT: C.c_double, BOOL: C.c_bool}[kind].from_address(at).value = value

    def tensor(self, t):
        c = CTensor(dtype=self.library.dtypes[t.dtype], rank=t.array.ndim)
        c.data = t.array.ctypes.data if t.array.size else None
        for i in range(t.array.ndim):
            c.shape[i] = t.array.shape[i]
            c.strides[i] = t.array.strides[i] // t.array.itemsize
        self.keep += [t, c]
        return c


class Plan:
    """A plan and the args that it runs with; the workspace is its own."""

    def __init__(self, library, name, values):
        op = library.ops[name]
        self.lib, self.args, self.handle = library.lib, Args(library, op, values), C.c_void_p()
        if op.plan(None, self.args.address, C.byref(self.handle)) != 0:
            raise ValueError(f'{name}: {library.message()}')
        self.workspace = self.lib.fattn_plan_workspace(self.handle)  # bytes

    def run(self):
        """The status of one run, 0 = fine."""
        return self.lib.fattn_plan_run(self.handle, self.args.address, None, 0)

    def close(self):
        self.lib.fattn_plan_destroy(self.handle)
        self.handle = C.c_void_p()


class Library:

    def __init__(self, path):
        self.lib = lib = C.CDLL(path)
        lib.fattn_operators.restype = C.POINTER(COperator)
        lib.fattn_error_message.restype = C.c_char_p
        lib.fattn_status_name.restype = C.c_char_p
        lib.fattn_dtype_from_name.argtypes = [C.c_char_p]
        lib.fattn_context_isa.argtypes, lib.fattn_context_isa.restype = [C.c_void_p], C.c_char_p
        lib.fattn_context_threads.argtypes = [C.c_void_p]
        lib.fattn_plan_workspace.argtypes = [C.c_void_p]
        lib.fattn_plan_workspace.restype = C.c_size_t
        lib.fattn_plan_run.argtypes = [C.c_void_p, C.c_void_p, C.c_void_p, C.c_size_t]
        lib.fattn_plan_destroy.argtypes, lib.fattn_plan_destroy.restype = [C.c_void_p], None
        self.dtypes = {name: lib.fattn_dtype_from_name(name.encode()) for name in STORAGE}
        self.names = {number: name for name, number in self.dtypes.items()}
        count = C.c_int()
        table = lib.fattn_operators(C.byref(count))
        self.ops = {table[i].name.decode(): table[i] for i in range(count.value)}
        self.fields = {
            name: {op.fields[i].name.decode(): op.fields[i]
                   for i in range(op.n_fields)}
            for name, op in self.ops.items()
        }

    def outputs(self, name):
        return [f for f, field in self.fields[name].items() if field.kind == TENSOR_OUT]

    def shapes(self, name, values):
        """{output: (dtype, shape)} as the library tells it, or an error sentence."""
        op = self.ops[name]
        args, out = Args(self, op, values), (CTensor * max(1, op.n_outputs))()
        if op.shapes(None, args.address, out) != 0:
            return self.message()
        return {
            f: (self.names.get(out[i].dtype), tuple(out[i].shape[:out[i].rank]))
            for i, f in enumerate(self.outputs(name))
        }

    def call(self, name, values):
        """Runs; returns None, or "STATUS: sentence"."""
        op = self.ops[name]
        args = Args(self, op, values)
        status = op.call(None, args.address)
        if status == 0:
            return None
        return f'{self.lib.fattn_status_name(status).decode()}: {self.message()}'

    def message(self):
        return self.lib.fattn_error_message().decode()
