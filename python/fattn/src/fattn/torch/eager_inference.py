# SPDX-License-Identifier: Apache-2.0
"""The inference operators on tensors with memory: prompt, incre, fused v1 and v2, and `.out`."""
import torch

from .. import _core
from . import shapes
from .dtypes import NUMBERS_PER_ELEMENT, tagged, to_torch
from .eager_training import check_out
from .memory import new, one

call = _core.call
float32 = torch.float32
FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
CODES = tuple(name + '_dtype' for name in ('query', 'key', 'value', 'query_rope', 'key_rope', 'key_shared_prefix',
                                           'value_shared_prefix', 'dequant_scale_query', 'dequant_scale_key',
                                           'dequant_scale_value', 'dequant_scale_key_rope'))
# The names that differ: operator, head count, whether the log-sum-exp is wanted, scale of a quantised result.
V1 = ('fused_infer_attention_score', 'num_heads', 'softmax_lse_flag', 'quant_scale2')
V2 = ('fused_infer_attention_score_v2', 'num_query_heads', 'return_softmax_lse', 'quant_scale_out')


def plain_shapes(f, heads, output_scale):
    """(shape of attention_out, shape of softmax_lse) where the call is what it says at first sight; else None."""
    query, value, table = f['query'], f['value'], f.get('block_table')
    heads = f.get(heads, 1)
    letters = shapes.plain_reading(f.get('input_layout', 'BSH'), query.shape, heads)
    if letters is None or output_scale in f or query.dtype not in FLOATS or (table is not None and not table.numel()):
        return None
    try:
        columns = shapes.value_dim(value.shape, letters[0], f.get('num_key_value_heads') or heads,
                                   table is not None, NUMBERS_PER_ELEMENT.get(value.dtype, 1))
        return shapes.inference(letters, query.shape, columns, heads)
    except (IndexError, ZeroDivisionError):
        return None


def one_result(operator, f):
    """An operator that returns attention_out alone."""
    query = f['query']
    found = plain_shapes(f, 'num_heads', 'quant_scale2')
    dtype, shape = (query.dtype, found[0]) if found else _core.shapes(operator, f)[0]
    f['attention_out'] = out = new(shape, dtype if found else to_torch(dtype), query)
    call(operator, f)
    return out


def prompt_flash_attention(query, key, value, **f):
    f.update(query=query, key=key, value=value)
    return one_result('prompt_flash_attention', f)


def incre_flash_attention(query, key, value, **f):
    f.update(query=query, key=key, value=value)
    return one_result('incre_flash_attention', f)


def fused(names, f, query, plain=True):
    """Fused inference of either version with results of its own."""
    operator, heads, flag, output_scale = names
    found = plain_shapes(f, heads, output_scale) if plain else None
    if found:
        dtype, (shape, lse_shape) = query.dtype, found
    else:
        (dtype, shape), (_, lse_shape) = _core.shapes(operator, f)
        dtype = to_torch(dtype)
    f['attention_out'] = out = new(shape, dtype, query)
    f['softmax_lse'] = lse = new(lse_shape, float32, query) if f.get(flag) else one(float32, query)
    call(operator, f)
    return out, lse


def fused_out(names, f, out):
    """Fused inference into tensors of the caller, who may hold neighbouring axes joined."""
    operator, _, flag, _ = names
    check_out(f'npu_{operator}.out', out, 'attention_out, softmax_lse')
    result = out[0]
    shape = _core.shapes(operator, f)[0][1]
    if result.shape != shape and result.is_contiguous() and shapes.same_order(result.shape, shape):
        result = result.view(shape)
    f['attention_out'] = result
    if f.get(flag):
        f['softmax_lse'] = out[1]  # without the flag callers pass any tensor, which is left alone
    call(operator, f)
    return out[0], out[1]


def typed(f):
    """The type codes of v2 become element types of the tensors: the library has no fields for them."""
    for code_name in CODES:
        code, name = f.pop(code_name, None), code_name.removesuffix('_dtype')
        if f.get(name) is not None:
            f[name] = tagged(name, f[name], code)
    return f


def fused_infer_attention_score(query, key, value, **f):
    f.update(query=query, key=key, value=value)
    return fused(V1, f, query)


def fused_infer_attention_score_out(query, key, value, *, workspace=None, out, **f):
    f.update(query=query, key=key, value=value)
    return fused_out(V1, f, out)


def fused_infer_attention_score_v2(query, key, value, **f):
    f.update(query=query, key=key, value=value)
    plain = f.keys().isdisjoint(CODES)
    return fused(V2, f if plain else typed(f), query, plain)


def fused_infer_attention_score_v2_out(query, key, value, *, workspace=None, out, **f):
    f.update(query=query, key=key, value=value)
    return fused_out(V2, typed(f), out)
