# SPDX-License-Identifier: Apache-2.0
"""torch's scaled_dot_product_attention on fattn's operators: gradients, dropout, any mask, shared key heads.

    with fattn.integrations.sdpa.replacement():
        model(x)                                    # whatever calls torch.nn.functional.scaled_dot_product_attention
"""
import contextlib
import math
import threading
import warnings

import torch

from .. import torch as _register  # noqa: F401

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PREFIXED = 2048  # rows and columns of a compressed mask
_torchs_own = torch.nn.functional.scaled_dot_product_attention
_masks, _lock = {}, threading.Lock()
_depth = 0


def causal_mask(device):
    """The compressed causal mask, one for each device; its content is not read."""
    device = torch.device(device)
    with _lock:
        if device not in _masks:
            _masks[device] = torch.ones(PREFIXED, PREFIXED, dtype=torch.bool).triu_(1).to(device)
        return _masks[device]


def why_not(query, key, value, attn_mask, is_causal, enable_gqa):
    """What keeps a call from fattn's operators; None where nothing does."""
    if any(x.dtype not in FLOATS or x.dtype != query.dtype or x.device.type not in ('cpu', 'npu') or x.is_nested
           for x in (query, key, value)):
        return 'dtypes or devices'
    if not 3 <= query.dim() == key.dim() == value.dim():
        return 'ranks'
    if is_causal and attn_mask is not None:
        return 'attn_mask together with is_causal'
    heads, kv_heads = (query.shape[-3], key.shape[-3]) if query.dim() > 3 else (1, 1)
    if query.shape[:-3] != key.shape[:-3] or key.shape[:-2] != value.shape[:-2] or key.shape[-2] != value.shape[-2]:
        return 'shapes'
    if query.dim() == 3 and query.shape[0] != key.shape[0]:
        return 'shapes'
    if heads != kv_heads and not (enable_gqa and kv_heads and heads % kv_heads == 0):
        return 'head counts'
    if query.shape[-1] != key.shape[-1] or 0 in (*query.shape, *key.shape, *value.shape):
        return 'shapes'
    if attn_mask is not None and (attn_mask.dim() < 2 or attn_mask.dtype not in (torch.bool, query.dtype, torch.float32)):
        return 'the dtype of attn_mask'
    return None


def as_bnsd(x):
    """(B, N, S, D) of a tensor of rank 3 or more."""
    if x.dim() == 3:
        return x.unsqueeze(1)
    return x.reshape(-1, *x.shape[-3:]) if x.dim() > 4 else x


def mask_arguments(mask, query, key_length):
    """A mask as arguments of the operator: bool says what is seen, floats are added to the scaled scores."""
    b, n, s, _ = query.shape
    if mask.dim() == 3 and b != 1 and mask.shape[0] == b and n == 1:
        mask = mask.unsqueeze(1)
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    if mask.dim() > 4:
        mask = mask.reshape(-1, *mask.shape[-3:])
    if mask.dtype == torch.bool:
        hidden = ~mask
        shape = (hidden.shape[0], hidden.shape[1], s, key_length)
        if hidden.shape[:2] == (1, 1):
            return dict(atten_mask=hidden.expand(shape)[0, 0].contiguous(), sparse_mode=1)
        if hidden.shape[1] == 1:
            return dict(atten_mask=hidden.expand(b, 1, s, key_length).contiguous(), sparse_mode=1)
        return dict(atten_mask=hidden.expand(b, n, s, key_length).contiguous(), sparse_mode=1)
    batches = 1 if mask.shape[0] == 1 else b
    return dict(pse=mask.to(query.dtype).expand(batches, n, s, key_length).contiguous(), pse_type=0)


def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
                                 enable_gqa=False, *, sink=None):
    """As torch.nn.functional's, on fattn.

    query (..., N, L, E), key (..., Nkv, S, E), value (..., Nkv, S, Ev); attn_mask bool (True is seen) or floats that are
    added, broadcast to (..., N, L, S); is_causal counts from the first query and the first key. Rows that see nothing
    give 0. sink (N,), fp32: one more score for each head, whose value is 0.

    What the operators do not take (other devices, nested tensors, head counts that do not divide) is computed by torch,
    with one warning.
    """
    reason = why_not(query, key, value, attn_mask, is_causal, enable_gqa)
    if reason:
        warnings.warn(f'scaled_dot_product_attention: {reason}: not for fattn, torch computes this call', stacklevel=2)
        return _torchs_own(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    q, k, v = map(as_bnsd, (query, key, value))
    options = dict(scale=1.0 / math.sqrt(query.shape[-1]) if scale is None else scale, keep_prob=1.0 - dropout_p)
    if is_causal:
        options.update(atten_mask=causal_mask(q.device), sparse_mode=2)
    elif attn_mask is not None:
        options.update(mask_arguments(attn_mask, q, k.shape[2]))
    if sink is not None:
        options['sink'] = sink.float()
    out = torch.ops.npu.npu_fusion_attention_v2(q, k, v, q.shape[1], 'BNSD', **options)[0]
    return out.reshape(*query.shape[:-1], value.shape[-1])


@contextlib.contextmanager
def replacement():
    """torch.nn.functional.scaled_dot_product_attention is fattn's inside, for all threads. Names that were imported from
    there before keep torch's."""
    global _depth
    functional = torch.nn.functional
    with _lock:
        _depth += 1
        functional.scaled_dot_product_attention = scaled_dot_product_attention
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                functional.scaled_dot_product_attention = _torchs_own
