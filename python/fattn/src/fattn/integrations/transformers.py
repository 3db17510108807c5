# SPDX-License-Identifier: Apache-2.0
"""attn_implementation="fattn" for the models of transformers.

    import fattn.integrations.transformers          # registers
    model = AutoModelForCausalLM.from_pretrained(path, attn_implementation='fattn')
"""
import torch

from ..errors import Unsupported
from .sdpa import scaled_dot_product_attention

NAME = 'fattn'


def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, position_bias=None,
              s_aux=None, **named):
    """An attention function of transformers: query (B, N, L, D), key and value (B, Nkv, S, D), attention_mask as sdpa's.

    s_aux (N,): the sink of each head. Returns (output (B, L, N, D), None): there are no attention weights to give back.
    """
    if named.get('softcap') is not None:
        raise Unsupported('softcap: the operators have none; use attn_implementation="eager" for this model')
    causal = getattr(module, 'is_causal', True) if is_causal is None else is_causal
    causal = bool(causal and attention_mask is None and query.shape[2] > 1)
    if causal and key.shape[2] > query.shape[2]:  # a cache with room: the rest is not written yet
        key, value = key[:, :, :query.shape[2]], value[:, :, :query.shape[2]]
    if position_bias is not None:
        attention_mask = biased_mask(position_bias, attention_mask, causal, query, key)
        causal = False
    out = scaled_dot_product_attention(query, key, value, attention_mask, dropout, causal, scale=scaling, enable_gqa=True,
                                       sink=s_aux)
    return out.transpose(1, 2).contiguous(), None


def biased_mask(bias, mask, causal, query, key):
    """One float mask of a learned bias and of what is seen."""
    if causal:
        rows, columns = query.shape[2], key.shape[2]
        mask = torch.ones(rows, columns, dtype=torch.bool, device=query.device).tril_()
    bias = bias[..., :key.shape[2]]
    if mask is None:
        return bias
    return torch.where(mask, bias, -torch.inf) if mask.dtype == torch.bool else bias + mask


def register(name=NAME):
    """Makes `attn_implementation=name` known; masks are those of "sdpa". Importing this module calls it."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)


register()
