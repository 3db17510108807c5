# SPDX-License-Identifier: Apache-2.0
"""Element types: the library's names, torch's dtypes, and the type codes of fused inference v2."""
import torch

from .. import _core
from ..errors import ArgumentError

BY_NAME = {
    'f64': torch.float64, 'f32': torch.float32, 'f16': torch.float16, 'bf16': torch.bfloat16,
    'i64': torch.int64, 'i32': torch.int32, 'i8': torch.int8, 'u8': torch.uint8, 'bool': torch.bool,
    'e4m3': torch.float8_e4m3fn, 'e5m2': torch.float8_e5m2,
}
# Codes below 256 are torch's own dtypes; from 256 on they are the device's types, which come as bytes.
TORCH_CODES = {1: torch.int8, 5: torch.float16, 15: torch.bfloat16, 23: torch.float8_e5m2, 24: torch.float8_e4m3fn}
BYTE_CODES = {291: 'e5m2', 292: 'e4m3', 293: 'e8m0', 296: 'e2m1', 297: 'e1m2'}
HIFLOAT8 = 290
BYTES = (torch.uint8, torch.int8)
QUANTISED = (torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2)
NUMBERS_PER_ELEMENT = {torch.int32: 8}  # of keys and values: int4


def to_torch(name):
    return BY_NAME[name]


def tagged(name, tensor, code):
    """`tensor` as the element type that `code` names; the code of a tensor's own dtype changes nothing."""
    if tensor is None or code is None or code < 256 or tensor.dtype not in BYTES:
        return tensor
    if code not in BYTE_CODES:
        known = ', '.join(f'{c} ({n})' for c, n in BYTE_CODES.items())
        what = 'hifloat8, which this library does not have' if code == HIFLOAT8 else 'no type code'
        raise ArgumentError(f'{name}_dtype: {code} is {what}; the codes of byte tensors are {known}')
    return _core.View(tensor, BYTE_CODES[code])


def of_result(query, output_scale, query_rope=None, out_code=None):
    """The dtype of attention_out of an inference operator (spec inference 8, 9)."""
    wanted = TORCH_CODES.get(out_code)
    if output_scale is not None:
        return wanted or torch.int8
    if query.dtype not in QUANTISED:
        return query.dtype
    return wanted or (torch.float16 if query_rope is None else query_rope.dtype)
