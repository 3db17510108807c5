# SPDX-License-Identifier: Apache-2.0
"""The functions of the package flash_attn (version 2) on fattn's operators, with its signatures and conventions: tensors
(batch, tokens, heads, dim), causal and windows counted from the last query and the last key, lengths as cumulative sums
that begin with 0. float16 and bfloat16 there; any float dtype here.

    from fattn.integrations.flash_attn import flash_attn_func
"""
import math

import torch

from .. import torch as _register  # noqa: F401
from ..errors import ArgumentError, Unsupported
from .sdpa import causal_mask

ALL = 2147483647  # tokens: no limit


def refuse_softcap(softcap):
    if softcap:
        raise Unsupported(f'softcap: {softcap}: the operators have none; 0.0 is the value without one')


def window_arguments(causal, window_size, device):
    """What is seen, as a sparse mode: window_size = (left, right), -1 without a limit."""
    left, right = window_size
    if causal:
        right = 0
    if left < 0 and right < 0:
        return {}
    if left < 0 and right == 0:
        return dict(atten_mask=causal_mask(device), sparse_mode=3)
    return dict(atten_mask=causal_mask(device), sparse_mode=4, pre_tokens=ALL if left < 0 else left,
                next_tokens=ALL if right < 0 else right)


def default_scale(q, softmax_scale):
    return 1.0 / math.sqrt(q.shape[-1]) if softmax_scale is None else softmax_scale


def log_sum_exp(maximum, total):
    """From the operators' statistics; rows without a key: +inf."""
    seen = total[..., 0] < torch.finfo(torch.float32).max
    lse = maximum[..., 0].double() + total[..., 0].double().log()
    return torch.where(seen, lse, torch.inf).float()


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0,
                    alibi_slopes=None, deterministic=False, return_attn_probs=False):  # pylint: disable=unused-argument
    """Attention of q (B, Sq, N, D) to k, v (B, Sk, Nkv, D), differentiable.

    alibi_slopes fp32 (N,) or (B, N): -slope * |i + Sk - Sq - j| is added to a score, rounded to q's dtype where Sq != Sk. return_attn_probs: also
    softmax_lse fp32 (B, N, Sq), and None for the probabilities. Results are always deterministic.
    """
    refuse_softcap(softcap)
    options = window_arguments(causal, window_size, q.device)
    if alibi_slopes is not None:
        options.update(slope_arguments(alibi_slopes.float(), q, k.shape[1]))
    out, maximum, total, *_ = torch.ops.npu.npu_fusion_attention_v2(
        q, k, v, q.shape[2], 'BSND', scale=default_scale(q, softmax_scale), keep_prob=1.0 - dropout_p, **options)
    return (out, log_sum_exp(maximum, total), None) if return_attn_probs else out


def slope_arguments(slopes, q, k_length):
    """The operators make the distances themselves where queries and keys are as many; elsewhere the addends are made here,
    in the dtype of q."""
    q_length = q.shape[1]
    if q_length == k_length:
        return dict(pse=slopes, pse_type=2)
    last = torch.arange(q_length, device=q.device)[:, None] + k_length - q_length
    distance = (last - torch.arange(k_length, device=q.device)).abs()
    return dict(pse=(-slopes.reshape(-1, slopes.shape[-1], 1, 1) * distance).to(q.dtype), pse_type=0)


def flash_attn_kvpacked_func(q, kv, *args, **named):
    """kv (B, Sk, 2, Nkv, D)."""
    return flash_attn_func(q, *kv.unbind(2), *args, **named)


def flash_attn_qkvpacked_func(qkv, *args, **named):
    """qkv (B, S, 3, N, D)."""
    return flash_attn_func(*qkv.unbind(2), *args, **named)


def ends(name, cumulative):
    """[0, a, a + b] as [a, a + b]."""
    numbers = cumulative.tolist() if isinstance(cumulative, torch.Tensor) else list(cumulative)
    if not numbers or numbers[0] != 0:
        raise ArgumentError(f'{name}: cumulative lengths begin with 0, these with {numbers[:1]}')
    return numbers[1:]


def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q=None, max_seqlen_k=None, dropout_p=0.0,
                           softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None,
                           deterministic=False, return_attn_probs=False, block_table=None):  # pylint: disable=unused-argument
    """Packed sequences: q (Tq, N, D), k and v (Tk, Nkv, D), cu_seqlens (sequences + 1,); differentiable.

    alibi_slopes fp32 (N,) or (sequences, N), as in flash_attn_func. block_table (sequences, blocks): k and v are pages
    (blocks, rows, Nkv, D), without gradients. return_attn_probs: also
    softmax_lse fp32 (N, Tq).
    """
    refuse_softcap(softcap)
    q_ends, k_ends = ends('cu_seqlens_q', cu_seqlens_q), ends('cu_seqlens_k', cu_seqlens_k)
    options = window_arguments(causal, window_size, q.device)
    scale = default_scale(q, softmax_scale)
    if block_table is not None:
        if dropout_p or alibi_slopes is not None:
            raise Unsupported('block_table: pages are read without dropout_p and alibi_slopes')
        lengths = [b - a for a, b in zip([0] + k_ends, k_ends)]
        out, lse = torch.ops.npu.npu_fused_infer_attention_score(
            q, flat_pages(k), flat_pages(v), num_heads=q.shape[1], num_key_value_heads=k.shape[2], input_layout='TND',
            scale=scale, block_table=block_table.int(), block_size=k.shape[1], actual_seq_lengths=q_ends,
            actual_seq_lengths_kv=lengths, softmax_lse_flag=return_attn_probs, **options)
        return (out, lse[..., 0].T.contiguous(), None) if return_attn_probs else out
    if alibi_slopes is not None and q_ends != k_ends:
        return by_sequence(q, k, v, q_ends, k_ends, alibi_slopes, return_attn_probs, dropout_p=dropout_p,
                           softmax_scale=softmax_scale, causal=causal, window_size=window_size)
    if alibi_slopes is not None:
        options.update(pse=alibi_slopes.float(), pse_type=2)
    out, maximum, total, *_ = torch.ops.npu.npu_fusion_attention_v2(
        q, k, v, q.shape[1], 'TND', scale=scale, keep_prob=1.0 - dropout_p, actual_seq_qlen=q_ends, actual_seq_kvlen=k_ends,
        softmax_layout='TND', **options)
    return (out, log_sum_exp(maximum, total).T.contiguous(), None) if return_attn_probs else out


def by_sequence(q, k, v, q_ends, k_ends, slopes, return_attn_probs, **named):
    """One call for each packed sequence: the operators make distances only where queries and keys are as many."""
    outs, lses, q_lo, k_lo = [], [], 0, 0
    for b, (q_hi, k_hi) in enumerate(zip(q_ends, k_ends)):
        out, lse, _ = flash_attn_func(q[None, q_lo:q_hi], k[None, k_lo:k_hi], v[None, k_lo:k_hi],
                                      alibi_slopes=slopes[b] if slopes.dim() == 2 else slopes, return_attn_probs=True, **named)
        outs.append(out[0])
        lses.append(lse[0])
        q_lo, k_lo = q_hi, k_hi
    return (torch.cat(outs), torch.cat(lses, 1), None) if return_attn_probs else torch.cat(outs)


def flat_pages(cache):
    """(blocks, rows, Nkv, D) as (blocks, rows, Nkv * D)."""
    return cache.reshape(*cache.shape[:2], -1)


def append(cache, new, lengths, block_table):
    """Writes the rows of `new` (B, Sn, Nkv, D) behind the first `lengths` of each sequence, in place."""
    for b, length in enumerate(lengths):
        for i in range(new.shape[1]):
            at = length + i
            if block_table is None:
                cache[b, at] = new[b, i]
            else:
                cache[int(block_table[b, at // cache.shape[1]]), at % cache.shape[1]] = new[b, i]


def check_new_rows(k, v, k_cache, v_cache, lengths, block_table):
    """All that could stop `append` half way."""
    for name, new, cache in (('k', k, k_cache), ('v', v, v_cache)):
        wanted = len(lengths), k.shape[1], *cache.shape[2:]
        if tuple(new.shape) != wanted:
            raise ArgumentError(f'{name}: shape {tuple(new.shape)}; it must be {wanted}, as the cache has it')
    if block_table is None:
        return
    rows = k_cache.shape[1]
    for b, length in enumerate(lengths):
        for at in range(length // rows, -(-(length + k.shape[1]) // rows)):
            block = int(block_table[b, at])
            if not 0 <= block < k_cache.shape[0]:
                raise ArgumentError(f'block_table[{b},{at}]: {block}; the cache has blocks 0..{k_cache.shape[0] - 1}')


def flash_attn_with_kvcache(q, k_cache, v_cache, k=None, v=None, rotary_cos=None, rotary_sin=None, cache_seqlens=None,
                            cache_batch_idx=None, cache_leftpad=None, block_table=None, softmax_scale=None, causal=False,
                            window_size=(-1, -1), softcap=0.0, rotary_interleaved=True, alibi_slopes=None, num_splits=0,
                            return_softmax_lse=False):  # pylint: disable=unused-argument
    """Attention of q (B, Sq, N, D) to a cache (B, rows, Nkv, D), or to pages (blocks, rows, Nkv, D) under block_table.

    k, v (B, Sn, Nkv, D) are written into the cache behind cache_seqlens (an int or int32 (B,)) first, and count.
    Returns out, with return_softmax_lse also fp32 (B, N, Sq). No gradients. Rotary embeddings, left padding and alibi are
    refused: rotate q and k before the call.
    """
    refuse_softcap(softcap)
    for name, value in (('rotary_cos', rotary_cos), ('rotary_sin', rotary_sin), ('cache_leftpad', cache_leftpad),
                        ('alibi_slopes', alibi_slopes)):
        if value is not None:
            raise Unsupported(f'{name}: flash_attn_with_kvcache does not take it here; apply it before the call')
    batches = q.shape[0]
    if cache_batch_idx is not None:
        if block_table is not None:
            raise Unsupported('cache_batch_idx: not together with block_table, which says where a sequence lies')
        rows = cache_batch_idx.tolist()
        whole = k_cache, v_cache
        k_cache, v_cache = k_cache[rows], v_cache[rows]
    capacity = k_cache.shape[1] if block_table is None else block_table.shape[1] * k_cache.shape[1]
    lengths = cache_lengths(cache_seqlens, batches, capacity)
    if (k is None) != (v is None):
        raise ArgumentError('k, v: both or none')
    if k is not None:
        if max(lengths) + k.shape[1] > capacity:
            raise ArgumentError(f'cache_seqlens: {max(lengths)} and {k.shape[1]} new rows are more than the cache\'s {capacity}')
        check_new_rows(k, v, k_cache, v_cache, lengths, block_table)
        append(k_cache, k, lengths, block_table)
        append(v_cache, v, lengths, block_table)
        if cache_batch_idx is not None:
            whole[0][rows], whole[1][rows] = k_cache, v_cache
        lengths = [n + k.shape[1] for n in lengths]
    paged = {} if block_table is None else dict(block_table=block_table.int(), block_size=k_cache.shape[1])
    keys, values = (k_cache, v_cache) if block_table is None else (flat_pages(k_cache), flat_pages(v_cache))
    out, lse = torch.ops.npu.npu_fused_infer_attention_score(
        q, keys, values, num_heads=q.shape[2], num_key_value_heads=k_cache.shape[2], input_layout='BSND',
        scale=default_scale(q, softmax_scale), actual_seq_lengths_kv=lengths, softmax_lse_flag=return_softmax_lse, **paged,
        **one_row_arguments(q, causal, window_size))
    return (out, lse[..., 0]) if return_softmax_lse else out


def one_row_arguments(q, causal, window_size):
    """A single query sees all of its keys under causal."""
    if q.shape[1] == 1 and causal and window_size[0] < 0:
        return {}
    return window_arguments(causal, window_size, q.device)


def cache_lengths(cache_seqlens, batches, capacity):
    """One length for each sequence, all of them checked: the cache is written afterwards."""
    if cache_seqlens is None:
        return [capacity] * batches
    if isinstance(cache_seqlens, int):
        lengths = [cache_seqlens] * batches
    else:
        lengths = [int(n) for n in cache_seqlens]
    if len(lengths) != batches:
        raise ArgumentError(f'cache_seqlens: {len(lengths)} lengths for {batches} sequences; give one for each')
    for b, n in enumerate(lengths):
        if not 0 <= n <= capacity:
            raise ArgumentError(f'cache_seqlens[{b}]: {n}; it must be in 0..{capacity}, the rows of a sequence\'s cache')
    return lengths
