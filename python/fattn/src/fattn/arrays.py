# SPDX-License-Identifier: Apache-2.0
"""What may come in as an array, and how results go out: in the kind of the first array of a call.

In: torch tensors (on the CPU, or on a device whose memory is the host's), NumPy arrays, also of ml_dtypes,
whatever has the buffer protocol or `__dlpack__`, and the tags of this module. Out:

| first array                            | results                                                            |
|----------------------------------------|--------------------------------------------------------------------|
| torch.Tensor                           | torch tensors on its device                                        |
| numpy.ndarray                          | NumPy arrays; bf16 and fp8 in ml_dtypes                            |
| view of a NumPy array                  | NumPy arrays; bf16 and fp8 as views of integers                    |
| another library with `from_dlpack`     | arrays of that library                                             |
| memoryview, bytearray, array.array ... | memoryviews; bf16 and fp8 as `fattn.Array`                         |
| `fattn.Array`                          | `fattn.Array`                                                      |
"""
from __future__ import annotations

import sys

from ._core import Array, Spec, View
from .errors import KindError

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any, Sequence

# Names of NumPy and torch for the library's element types. Packed 4-bit types lie in int32 and bytes.
_NUMPY = {'f64': 'float64', 'f32': 'float32', 'f16': 'float16', 'i64': 'int64', 'i32': 'int32', 'i8': 'int8',
          'u8': 'uint8', 'bool': 'bool', 'i4': 'int32', 'e2m1': 'uint8', 'e1m2': 'uint8', 'hif8': 'uint8'}
_ML_DTYPES = {'bf16': 'bfloat16', 'e4m3': 'float8_e4m3fn', 'e5m2': 'float8_e5m2', 'e8m0': 'float8_e8m0fnu'}
_CONTAINER = {'bf16': 'uint16', 'e4m3': 'uint8', 'e5m2': 'uint8', 'e8m0': 'uint8'}
_TORCH = {**_NUMPY, **_ML_DTYPES}


def view(array: Any, dtype: Any) -> View:
    """The same memory under another element type: uint16 as 'bf16', int32 as 'i4', uint8 as 'e4m3'.

    No copy. `dtype` is a name of the library (f16, bf16, i4, e4m3, ...), of NumPy or of torch. Raises DtypeError
    where the containers have another size. Shapes of packed types count containers.
    """
    return View(array, dtype)


def bf16(array: Any) -> View:
    """An array of 16-bit integers as bfloat16: view(array, 'bf16')."""
    return View(array, 'bf16')


def spec(dtype: Any, shape: Sequence[int], strides: Sequence[int] | None = None) -> Spec:
    """A tensor without memory, for plans, shapes(), explain() and estimate_memory()."""
    return Spec(dtype, shape, strides)


class _Kind:
    """How arrays of one kind are made, and handed out once they are filled."""

    def empty(self, dtype: str, shape: Sequence[int]) -> Any:
        """New memory that a call can fill."""
        return Array(dtype, shape)

    def finish(self, array: Any) -> Any:
        """What the caller gets for something that empty() made."""
        return array


class _Torch(_Kind):

    def __init__(self, torch, device):
        self.torch, self.device = torch, device

    def empty(self, dtype, shape):
        return self.torch.empty(shape, dtype=getattr(self.torch, _TORCH[dtype]), device=self.device)


class _NumPy(_Kind):

    def __init__(self, tagged):
        self.tagged = tagged

    def empty(self, dtype, shape):
        import numpy
        if dtype in _NUMPY:
            return numpy.empty(shape, _NUMPY[dtype])
        if not self.tagged:
            try:
                import ml_dtypes
                return numpy.empty(shape, getattr(ml_dtypes, _ML_DTYPES[dtype]))
            except ImportError:
                pass
        return View(numpy.empty(shape, _CONTAINER[dtype]), dtype)


class _Buffer(_Kind):

    def finish(self, array):
        return memoryview(array) if array.dtype in _NUMPY else array


class _DLPack(_Kind):

    def __init__(self, from_dlpack):
        self.from_dlpack = from_dlpack

    def finish(self, array):
        return self.from_dlpack(array)


def _importer(array):
    """from_dlpack() of the array's own library; None when it has none."""
    if hasattr(array, '__array_namespace__'):
        return getattr(array.__array_namespace__(), 'from_dlpack', None)
    module = sys.modules.get(type(array).__module__.partition('.')[0])
    return getattr(module, 'from_dlpack', None)


def kind_of(array: Any) -> _Kind:
    """The kind of an array. Of what is none, too: the call itself refuses that, and can say for what argument."""
    tagged = isinstance(array, View)
    if tagged:
        array = array.array
    torch = sys.modules.get('torch')
    if torch is not None and isinstance(array, torch.Tensor):
        return _Torch(torch, array.device)
    numpy = sys.modules.get('numpy')
    if numpy is not None and isinstance(array, (numpy.ndarray, numpy.generic)):
        return _NumPy(tagged)
    if isinstance(array, (Array, Spec)):
        return _Kind()
    if hasattr(type(array), '__dlpack__'):
        importer = _importer(array)
        return _DLPack(importer) if importer else _Kind()
    try:
        memoryview(array)
    except TypeError:
        return _Kind()
    return _Buffer()


def named_kind(name: str) -> _Kind:
    """'numpy', 'torch' or 'array' (fattn.Array)."""
    if name == 'numpy':
        return _NumPy(False)
    if name == 'torch':
        import torch
        return _Torch(torch, torch.device('cpu'))
    if name == 'array':
        return _Kind()
    raise KindError(f"kind: {name!r} is none of 'numpy', 'torch', 'array'")


def hand_out(kind: _Kind, array: Array) -> Any:
    """An Array over memory of the library in another kind, without a copy."""
    if isinstance(kind, _Torch):
        return kind.torch.from_dlpack(array)
    if isinstance(kind, _NumPy):
        import numpy
        plain = numpy.asarray(array)
        if array.dtype in _NUMPY:
            return plain
        if not kind.tagged:
            try:
                import ml_dtypes
                return plain.view(getattr(ml_dtypes, _ML_DTYPES[array.dtype]))
            except ImportError:
                pass
        return View(plain, array.dtype)
    return kind.finish(array)
