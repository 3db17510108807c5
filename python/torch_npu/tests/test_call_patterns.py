# SPDX-License-Identifier: Apache-2.0
"""Calls as serving frameworks make them (spec inference 15), by name, through torch_npu on npu tensors, each against the
formula in float64, sequence by sequence."""
import math

import numpy as np
import pytest
import torch
import torch_npu

N, NKV, D, ROWS = 8, 2, 64, 128
SCALE = 1 / math.sqrt(D)
ALL = 2147483647
HALF, BF16 = torch.float16, torch.bfloat16
TOLERANCE = {HALF: 2e-3, BF16: 1.6e-2, torch.float32: 1e-5}
MASK = torch.triu(torch.ones(2048, 2048), 1).to(torch.int8).npu()
fia = torch_npu.npu_fused_infer_attention_score
fia2 = torch_npu.npu_fused_infer_attention_score_v2


def causal(sq, sk):
    return torch.arange(sk) <= torch.arange(sq)[:, None] + sk - sq


def window(sq, sk, before):
    distance = torch.arange(sq)[:, None] + sk - sq - torch.arange(sk)
    return (distance >= 0) & (distance <= before)


def attend(q, k, v, scale=SCALE, seen=None, sink=None):
    """One sequence: q (Sq,N,D), k (Sk,Nkv,D), v (Sk,Nkv,Dv); (out (Sq,N,Dv), log-sum-exp (Sq,N)) in float64."""
    q, k, v = (x.cpu().double().transpose(0, 1) for x in (q, k, v))
    k, v = (x.repeat_interleave(q.shape[0] // k.shape[0], 0) for x in (k, v))
    x = q @ k.transpose(1, 2) * scale
    if seen is not None:
        x = x.masked_fill(~seen, -torch.inf)
    if sink is not None:
        x = torch.cat([x, sink.cpu().double().view(-1, 1, 1).expand(-1, x.shape[1], 1)], -1)
    p = torch.softmax(x, -1)
    return (p[..., :k.shape[1]] @ v).transpose(0, 1), torch.logsumexp(x, -1).transpose(0, 1)


def near(got, want, dtype=None):
    got = got.cpu()
    assert got.shape == want.shape, (got.shape, want.shape)
    limit = TOLERANCE[dtype or got.dtype] * max(1.0, float(want.abs().max()))
    assert float((got.double() - want).abs().max()) <= limit


def randn(*shape, dtype=HALF):
    return torch.randn(*shape, dtype=torch.float32).to(dtype).npu()


def split(x, ends):
    return [x[a:b] for a, b in zip([0] + list(ends), ends)]


def paged(sequences, unused=-1):
    """Rows (S, Nkv, D) of each sequence in a cache (blocks, ROWS, Nkv * D) of a random order, and the table."""
    counts = [max(1, -(-len(s) // ROWS)) for s in sequences]
    order = torch.randperm(sum(counts) + 1)  # one block is nobody's
    cache = torch.zeros(sum(counts) + 1, ROWS, *sequences[0].shape[1:], dtype=sequences[0].dtype)
    table = torch.full((len(sequences), max(counts) + 1), unused, dtype=torch.int32)
    at = 0
    for b, rows in enumerate(sequences):
        for i in range(counts[b]):
            block = int(order[at])
            at += 1
            table[b, i] = block
            part = rows[i * ROWS:(i + 1) * ROWS].cpu()
            cache[block, :len(part)] = part
    return cache.flatten(2).npu(), table.npu()


def packed(lengths, heads=N, dim=D, dtype=HALF):
    return randn(sum(lengths), heads, dim, dtype=dtype), np.cumsum(lengths).tolist()


def dense(lengths, dtype=HALF):
    """q, k, v of packed sequences with as many keys as queries."""
    q, ends = packed(lengths, dtype=dtype)
    return q, packed(lengths, NKV, dtype=dtype)[0], packed(lengths, NKV, dtype=dtype)[0], ends


def whole(q, k, v, q_ends, k_ends, seen=None, **named):
    results = [attend(a, b, c, seen=seen and seen(len(a), len(b)), **named)
               for a, b, c in zip(split(q, q_ends), split(k, k_ends), split(v, k_ends))]
    return torch.cat([r[0] for r in results]), torch.cat([r[1] for r in results])


HEADS = dict(num_heads=N, num_key_value_heads=NKV, scale=SCALE)


def test_a1_prefill_without_cache():
    q, k, v, ends = dense([5, 1, 40])
    out, _ = fia(query=q, key=k, value=v, atten_mask=MASK, block_table=None, input_layout='TND', block_size=128,
                 actual_seq_lengths=ends, actual_seq_lengths_kv=ends, sparse_mode=3, **HEADS)
    near(out, whole(q, k, v, ends, ends, causal)[0])


@pytest.mark.parametrize('q_lengths', [[4, 9], [1, 1], [3, 3]])
@pytest.mark.parametrize('unused', (-1, 0))
@pytest.mark.parametrize('before', (None, 100))
def test_a2_a4_paged_with_cache_hit_and_window(q_lengths, unused, before):
    """A2, and A4 with a window of 100 keys before."""
    q, ends = packed(q_lengths)
    keys, values = ([randn(n, NKV, D) for n in (300, 77)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values, unused=unused)
    mode = dict(sparse_mode=3) if before is None else dict(sparse_mode=4, pre_tokens=before, next_tokens=0)
    out, _ = fia(query=q, key=k_cache, value=v_cache, atten_mask=MASK, block_table=table, input_layout='TND', block_size=ROWS,
                 actual_seq_lengths=ends, actual_seq_lengths_kv=[300, 77], **mode, **HEADS)
    for got, a, k, v in zip(split(out, ends), split(q, ends), keys, values):
        seen = causal(len(a), len(k)) if before is None else window(len(a), len(k), before)
        near(got, attend(a, k, v, seen=seen)[0])


def paged_like(sequences, table):
    """Rows in the pages that a table names."""
    blocks = int(table.max()) + 2
    cache = torch.zeros(blocks, ROWS, *sequences[0].shape[1:], dtype=sequences[0].dtype)
    for b, rows in enumerate(sequences):
        for i in range(-(-len(rows) // ROWS)):
            part = rows[i * ROWS:(i + 1) * ROWS].cpu()
            cache[int(table[b, i]), :len(part)] = part
    return cache.flatten(2).npu()


def both(sequences_k, sequences_v, unused=-1):
    """Key and value caches of as many blocks, under one table."""
    k_cache, table = paged(sequences_k, unused)
    v_cache = paged_like(sequences_v, table)
    blocks = max(len(k_cache), len(v_cache))
    grow = lambda x: torch.cat([x, x.new_zeros(blocks - len(x), *x.shape[1:])]) if len(x) < blocks else x  # noqa: E731
    return grow(k_cache), grow(v_cache), table


def test_a3_encoder():
    q, k, v, ends = dense([7, 30])
    out, _ = fia(query=q, key=k, value=v, atten_mask=None, input_layout='TND', actual_seq_lengths=ends,
                 actual_seq_lengths_kv=ends, sparse_mode=0, **HEADS)
    near(out, whole(q, k, v, ends, ends)[0])


@pytest.mark.parametrize('before', (None, 100))
def test_a5_sinks(before):
    q = randn(2, N, D, dtype=BF16)
    keys, values = ([randn(n, NKV, D, dtype=BF16) for n in (200, 50)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values)
    sink = randn(N, dtype=BF16)
    out, _ = fia2(q, k_cache, v_cache, num_query_heads=N, num_key_value_heads=NKV, input_layout='TND', atten_mask=MASK,
                  sparse_mode=3 if before is None else 4, pre_tokens=ALL if before is None else before, next_tokens=0,
                  softmax_scale=SCALE, block_table=table, block_size=ROWS, learnable_sink=sink,
                  actual_seq_qlen=torch.ones(2, dtype=torch.int32).cumsum(0).int(), actual_seq_kvlen=[200, 50])
    for b, (k, v) in enumerate(zip(keys, values)):
        seen = None if before is None else window(1, len(k), before)
        near(out[b:b + 1], attend(q[b:b + 1], k, v, seen=seen, sink=sink)[0])


def test_a6_captured_once_replayed_with_new_lengths():
    q = randn(3, N, D)
    keys, values = ([randn(n, NKV, D) for n in (300, 200, 1)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values)
    call = dict(query=q, key=k_cache, value=v_cache, atten_mask=MASK, block_table=table, input_layout='TND', block_size=ROWS,
                sparse_mode=3, pre_tokens=ALL, next_tokens=ALL, **HEADS)
    lengths = [300, 100, 1]
    workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(
        **call, actual_seq_lengths=[1, 2, 3], actual_seq_lengths_kv=lengths)
    out, lse = torch.empty_like(q), torch.empty(1, dtype=q.dtype, device='npu')
    for lengths in ([300, 100, 1], [299, 200, 1]):
        fia.out(**call, actual_seq_lengths=[1, 2, 3], actual_seq_lengths_kv=lengths, workspace=workspace, out=[out, lse])
        for b, n in enumerate(lengths):
            near(out[b:b + 1], attend(q[b:b + 1], keys[b][:n], values[b][:n])[0])
    graph = torch.npu.NPUGraph()
    with torch.npu.graph(graph):
        result, _ = fia(**call, actual_seq_lengths=[1, 2, 3], actual_seq_lengths_kv=[300, 100, 1])
    graph.update(cpu_update_input=[{'actual_seq_lengths_kv': [150, 20, 1]}])
    graph.replay()
    for b, n in enumerate([150, 20, 1]):
        near(result[b:b + 1], attend(q[b:b + 1], keys[b][:n], values[b][:n])[0])


def nz(cache, heads, strip):
    """(blocks, ROWS, heads * d) as (blocks, heads, d / strip, ROWS, strip)."""
    blocks, rows, columns = cache.shape
    return cache.view(blocks, rows, heads, columns // heads // strip, strip).permute(0, 2, 3, 1, 4).contiguous()


def test_a7_int8_cache():
    q = randn(2, N, 1, D, dtype=BF16)
    codes = [[torch.randint(-127, 128, (n, NKV, D), dtype=torch.int8) for n in (200, 60)] for _ in range(2)]
    scales = [(torch.rand(NKV, 1, D) / 100 + 0.005).to(BF16).npu() for _ in range(2)]
    k_cache, v_cache, table = both(*codes)
    out, _ = fia(query=q, key=nz(k_cache, NKV, 32), value=nz(v_cache, NKV, 32), block_table=table, block_size=ROWS,
                 input_layout='BNSD', actual_seq_lengths_kv=[200, 60], key_antiquant_scale=scales[0],
                 value_antiquant_scale=scales[1], key_antiquant_mode=0, value_antiquant_mode=0, inner_precise=1, sparse_mode=0,
                 **HEADS)
    for b in range(2):
        k, v = (c[b].double() * s.cpu().double().squeeze(1) for c, s in zip(codes, scales))
        near(out[b].transpose(0, 1), attend(q[b].transpose(0, 1), k, v)[0])


@pytest.mark.parametrize('joined', (False, True))
def test_a8_latent_prefill(joined):
    lengths, scale = [6, 33], 1 / math.sqrt(192)
    q, ends = packed(lengths, N, 192, BF16)
    k, v = packed(lengths, N, 192, BF16)[0], packed(lengths, N, 128, BF16)[0]
    ropes = {} if joined else dict(query_rope=q[..., 128:].contiguous(), key_rope=k[..., 128:].contiguous())
    nope = (q, k) if joined else (q[..., :128].contiguous(), k[..., :128].contiguous())
    out, lse = fia(query=nope[0], key=nope[1], value=v, **ropes, atten_mask=MASK, input_layout='TND', num_heads=N,
                   num_key_value_heads=N, scale=scale, sparse_mode=3, actual_seq_lengths=ends, actual_seq_lengths_kv=ends,
                   softmax_lse_flag=True)
    want, want_lse = whole(q, k, v, ends, ends, causal, scale=scale)
    near(out, want)
    near(lse[..., 0], want_lse, torch.float32)


def test_a9_context_chunks_merged():
    q, k, v, ends = dense([3, 8], torch.float32)
    parts = []
    for lo, hi in ((0, 20), (20, 50)):
        keys, values = randn(2 * (hi - lo), NKV, D, dtype=torch.float32), randn(2 * (hi - lo), NKV, D, dtype=torch.float32)
        out, lse = fia(query=q, key=keys, value=values, input_layout='TND', sparse_mode=0, actual_seq_lengths=ends,
                       actual_seq_lengths_kv=[hi - lo, 2 * (hi - lo)], softmax_lse_flag=True, **HEADS)
        parts.append((keys, values, out, lse))
    own, own_lse = fia(query=q, key=k, value=v, input_layout='TND', sparse_mode=3, atten_mask=MASK, actual_seq_lengths=ends,
                       actual_seq_lengths_kv=ends, softmax_lse_flag=True, **HEADS)
    merged, _ = torch_npu.npu_attention_update(tuple(x.float().reshape(-1) for x in (parts[0][3], parts[1][3], own_lse)),
                                               tuple(x.float().reshape(-1, D) for x in (parts[0][2], parts[1][2], own)), 0)
    for b, (got, a) in enumerate(zip(split(merged.view(-1, N, D), ends), split(q, ends))):
        keys, values = (torch.cat([split(parts[0][i], [20, 40])[b], split(parts[1][i], [30, 60])[b], split(x, ends)[b]])
                        for i, x in ((0, k), (1, v)))
        seen = torch.cat([torch.ones(len(a), 50, dtype=torch.bool), causal(len(a), len(a))], 1)
        near(got, attend(a, keys, values, seen=seen)[0])


LATENT, ROPE, MLA_SCALE = 512, 64, 1 / math.sqrt(192)


def latent(lengths):
    """Latent caches of sequences with one key head: rows (n, 1, 512) and rotary columns (n, 1, 64)."""
    return [[randn(n, 1, d, dtype=BF16) / 4 for n in lengths] for d in (LATENT, ROPE)]


@pytest.mark.parametrize('form', ('BNSD_NBSD', 'BSND_NBSD in NZ', 'TND_NTD'))
def test_a10_latent_decode(form):
    keys, ropes = latent([150, 40])
    k_cache, r_cache, table = both(keys, ropes)
    common = dict(num_query_heads=N, num_key_value_heads=1, softmax_scale=MLA_SCALE, block_table=table, block_size=ROWS,
                  actual_seq_kvlen=[150, 40])
    if form == 'TND_NTD':
        q, r, ends = randn(5, N, LATENT, dtype=BF16), randn(5, N, ROPE, dtype=BF16), [2, 5]
        caches = k_cache, r_cache
        more = dict(sparse_mode=3, atten_mask=MASK, actual_seq_qlen=ends, input_layout='TND_NTD')
    else:
        q, r, ends = randn(2, N, LATENT, dtype=BF16), randn(2, N, ROPE, dtype=BF16), [1, 2]
        strips = 'NZ' in form
        caches = (nz(k_cache, 1, 16), nz(r_cache, 1, 16)) if strips else (k_cache.unsqueeze(1), r_cache.unsqueeze(1))
        more = dict(sparse_mode=0, input_layout='BSND_NBSD' if strips else 'BNSD_NBSD')
    shape = {'BNSD_NBSD': lambda x: x.unsqueeze(2), 'BSND_NBSD': lambda x: x.unsqueeze(1), 'TND_NTD': lambda x: x}[
        more['input_layout']]
    out, _ = fia2(shape(q), caches[0], caches[0], query_rope=shape(r), key_rope=caches[1], **common, **more)
    rows = out.transpose(0, 1) if form == 'TND_NTD' else out.squeeze(2).transpose(0, 1)  # (N, ...) comes first
    for b, (a, c) in enumerate(zip(split(q, ends), split(r, ends))):
        k = torch.cat([keys[b], ropes[b]], -1)
        want = attend(torch.cat([a, c], -1), k, keys[b], MLA_SCALE, causal(len(a), len(k)))[0]
        near(split(rows, ends)[b], want)


@pytest.mark.parametrize('form', ('BSND_NBSD', 'TND_NTD', 'BNSD'))
def test_a11_latent_decode_of_int8(form):
    lengths, key_scale = [150, 40], 0.01
    codes = [torch.randint(-100, 101, (n, 1, LATENT), dtype=torch.int8) for n in lengths]
    ropes = [randn(n, 1, ROPE, dtype=BF16) for n in lengths]
    q = torch.randint(-100, 101, (2, N, LATENT), dtype=torch.int8)
    q_scale = torch.rand(2, N) / 100 + 0.002
    rope = randn(2, N, ROPE, dtype=BF16)  # as the producer hands it over: divided by the two scales
    k_cache, r_cache, table = both(codes, ropes)
    strips = form != 'BNSD'
    caches = (nz(k_cache, 1, 32), nz(r_cache, 1, 16)) if strips else (k_cache.unsqueeze(1), r_cache.unsqueeze(1))
    lay = {'BSND_NBSD': lambda x: x.unsqueeze(1), 'TND_NTD': lambda x: x, 'BNSD': lambda x: x.unsqueeze(2)}[form]
    one = torch.tensor([key_scale]).npu()
    more = dict(actual_seq_qlen=[1, 2], sparse_mode=3, atten_mask=MASK) if form == 'TND_NTD' else dict(sparse_mode=0)
    out, _ = fia2(lay(q.npu()), caches[0], caches[0], query_rope=lay(rope), key_rope=caches[1], num_query_heads=N,
                  num_key_value_heads=1, softmax_scale=MLA_SCALE, input_layout=form, block_table=table, block_size=ROWS,
                  actual_seq_kvlen=lengths, query_quant_mode=3, key_quant_mode=0, value_quant_mode=0,
                  dequant_scale_query=lay(q_scale.npu()), dequant_scale_key=one, dequant_scale_value=one, **more)
    rows = {'BSND_NBSD': lambda x: x.squeeze(2).transpose(0, 1), 'TND_NTD': lambda x: x.transpose(0, 1),
            'BNSD': lambda x: x.squeeze(2)}[form](out)
    assert out.dtype == BF16
    for b in range(2):
        x = (q[b].double() @ codes[b][:, 0].double().T + rope[b].cpu().double() @ ropes[b][:, 0].cpu().double().T)
        p = torch.softmax(x * q_scale[b].double()[:, None] * key_scale * MLA_SCALE, -1)
        near(rows[b], p @ codes[b][:, 0].double() * float(one.cpu()))


@pytest.mark.parametrize('form', ('list', 'numpy', 'tensor'))
def test_a12_context_parallel_decode(form):
    q, ends = packed([1, 1, 1])
    keys, values = ([randn(n, NKV, D) for n in (200, 1, 60)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values)
    lengths = [200, 0, 60]  # this rank holds nothing of the second sequence
    given = dict(list=lengths, numpy=np.array(lengths)[:], tensor=torch.tensor(lengths))[form]
    out, lse = fia(query=q, key=k_cache, value=v_cache, block_table=table, block_size=ROWS, input_layout='TND', sparse_mode=0,
                   actual_seq_lengths=ends, actual_seq_lengths_kv=given, softmax_lse_flag=True, **HEADS)
    assert not out[1].any() and torch.isposinf(lse[1]).all()
    for b in (0, 2):
        want, want_lse = attend(q[b:b + 1], keys[b], values[b])
        near(out[b:b + 1], want)
        near(lse[b:b + 1, :, 0], want_lse, HALF)
    merged, _ = torch_npu.npu_attention_update((lse.reshape(-1), lse.reshape(-1)), (out.float().reshape(-1, D), ) * 2, 0)
    near(merged.view_as(out)[0:1], out[0:1].cpu().double(), HALF)


def test_a13_vision_tower():
    lengths = [16, 9, 25, 64, 1, 7, 30]
    q, k, v = (packed(lengths, 4, dtype=BF16)[0] for _ in range(3))
    ends = np.cumsum(lengths).tolist()
    call = dict(query=q, key=k, value=v, actual_seq_lengths=ends, actual_seq_lengths_kv=ends, num_heads=4,
                num_key_value_heads=4, scale=SCALE, pre_tokens=ALL, next_tokens=ALL, input_layout='TND', sparse_mode=0,
                block_table=None, block_size=128)
    want = whole(q, k, v, ends, ends)[0]
    near(fia(**call)[0], want)
    out, lse = torch.empty_like(q), torch.empty(1, dtype=q.dtype, device='npu')
    workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(**call)
    fia.out(**call, workspace=workspace, out=[out, lse])
    near(out, want)


@pytest.mark.parametrize('biased', (False, True))
def test_a14_relative_position_bias(biased):
    q, k, v = (randn(2, N, 20, D) for _ in range(3))
    bias = randn(2, N, 20, 20) if biased else None
    out = torch_npu.npu_prompt_flash_attention(q, k, v, pse_shift=bias, scale_value=SCALE, num_heads=N, input_layout='BNSD')
    x = q.cpu().double() @ k.cpu().double().transpose(-1, -2) * SCALE + (bias.cpu().double() if biased else 0)
    near(out, torch.softmax(x, -1) @ v.cpu().double())


def test_a15_dequantised_prefill():
    """The cache is widened outside; key lengths are an int32 tensor, query lengths a list."""
    q, ends = packed([4, 9])
    codes = [torch.randint(-127, 128, (50, NKV, D), dtype=torch.int8).npu() for _ in range(2)]
    k, v = ((c.half() - 3) * 0.01 for c in codes)
    k_ends = torch.tensor([20, 30], dtype=torch.int32).cumsum(0).to(torch.int32)
    out, _ = fia(query=q, key=k, value=v, atten_mask=MASK, input_layout='TND', sparse_mode=3, actual_seq_lengths=ends,
                 actual_seq_lengths_kv=k_ends, **HEADS)
    near(out, whole(q, k, v, ends, k_ends.tolist(), causal)[0])


def test_a16_chunked_prefill_over_ranks():
    """One rank has no keys of the second sequence; the parts to be merged are views with the log-sum-exp beside the rows."""
    q, ends = packed([3, 4], dtype=torch.float32)
    k_ends = [[10, 10], [25, 60]]
    sides = []
    for key_ends in k_ends:
        k, v = randn(key_ends[-1], NKV, D, dtype=torch.float32), randn(key_ends[-1], NKV, D, dtype=torch.float32)
        out, lse = fia(query=q, key=k, value=v, input_layout='TND', sparse_mode=0, actual_seq_lengths=ends,
                       actual_seq_lengths_kv=key_ends, softmax_lse_flag=True, antiquant_mode=0, antiquant_scale=None, **HEADS)
        sides.append((k, v, torch.cat([out, lse], -1).reshape(-1, D + 1)))
    none = torch.cat([torch.zeros(7 * N, D), torch.full((7 * N, 1), -torch.inf)], 1).npu()  # a rank without any key
    rows = [s[2] for s in sides] + [none]
    merged, _ = torch_npu.npu_attention_update([x[:, D] for x in rows], [x[:, :D] for x in rows], 0)
    for b, (got, a) in enumerate(zip(split(merged.view(7, N, D), ends), split(q, ends))):
        k, v = (torch.cat([split(s[i], e)[b] for s, e in zip(sides, k_ends)]) for i in (0, 1))
        near(got, attend(a, k, v)[0])


@pytest.mark.parametrize('length', (12, 1))
def test_s1_prefill_by_request(length):
    q, k, v = randn(length, N, D), randn(length, NKV, D), randn(length, NKV, D)
    out, _ = fia(q[None], k[None], v[None], num_heads=N, num_key_value_heads=NKV, input_layout='BSND', atten_mask=MASK[None],
                 sparse_mode=3 if length != 1 else 0, scale=SCALE, next_tokens=0)
    near(out[0], attend(q, k, v, seen=causal(length, length))[0])


@pytest.mark.parametrize('form', ('S2 eager', 'S3 graph'))
def test_s2_s3_decode(form):
    q = randn(2, 1, N, D)
    keys, values = ([randn(n, NKV, D) for n in (200, 60)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values)
    call = dict(key=k_cache, value=v_cache, block_table=table, block_size=ROWS, actual_seq_lengths_kv=[200, 60], atten_mask=None,
                **HEADS)
    if form == 'S2 eager':
        out = fia(q, input_layout='BSND', **call)[0]
    else:
        flat = q.flatten(2)
        workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(flat, input_layout='BSH', **call)
        out = torch.empty_like(flat)
        fia.out(flat, input_layout='BSH', **call, workspace=workspace, out=[out, torch.empty(1, dtype=q.dtype, device='npu')])
        out = out.view_as(q)
    for b in range(2):
        near(out[b], attend(q[b], keys[b], values[b])[0])


def test_s4_target_verify():
    drafts = 4
    q, _ = packed([drafts, drafts])
    keys, values = ([randn(n, NKV, D) for n in (200, 60)] for _ in range(2))
    k_cache, v_cache, table = both(keys, values)
    out, _ = fia(q, k_cache, v_cache, block_table=table, block_size=ROWS, input_layout='TND', atten_mask=MASK, sparse_mode=3,
                 actual_seq_lengths=np.arange(drafts, drafts + 2 * drafts, drafts), actual_seq_lengths_kv=[200, 60], **HEADS)
    for b, (got, a) in enumerate(zip(split(out, [4, 8]), split(q, [4, 8]))):
        near(got, attend(a, keys[b], values[b], seen=causal(4, len(keys[b])))[0])


def test_s5_latent_prefill():
    lengths = [6, 20]
    q, ends = packed(lengths, N, 192, BF16)
    k, v = packed(lengths, N, 192, BF16)[0], packed(lengths, N, 128, BF16)[0]
    cumsum = torch.tensor(lengths).cumsum(0)
    out, _ = fia(q[..., :128].contiguous(), k[..., :128].contiguous(), v, query_rope=q[..., 128:].contiguous(),
                 key_rope=k[..., 128:].contiguous(), num_heads=N, input_layout='TND', atten_mask=MASK, sparse_mode=3,
                 scale=MLA_SCALE, next_tokens=0, actual_seq_lengths=cumsum, actual_seq_lengths_kv=cumsum)
    near(out, whole(q, k, v, ends, ends, causal, scale=MLA_SCALE)[0])


@pytest.mark.parametrize('strips', (False, True))
def test_s6_latent_decode(strips):
    keys, ropes = latent([150, 40])
    k_cache, r_cache, table = both(keys, ropes)
    q, r = randn(2, 1, N, LATENT, dtype=BF16), randn(2, 1, N, ROPE, dtype=BF16)
    caches = (nz(k_cache, 1, 16), nz(r_cache, 1, 16)) if strips else (k_cache, r_cache)
    out, _ = fia(q, caches[0], caches[0], query_rope=r, key_rope=caches[1], num_heads=N, num_key_value_heads=1,
                 input_layout='BSND', block_table=table, block_size=ROWS, scale=MLA_SCALE, antiquant_mode=0, antiquant_scale=None,
                 sparse_mode=0, actual_seq_lengths_kv=torch.tensor([150, 40]))
    for b in range(2):
        near(out[b], attend(torch.cat([q[b], r[b]], -1), torch.cat([keys[b], ropes[b]], -1), keys[b], MLA_SCALE)[0])


def test_s7_latent_verify():
    keys, ropes = latent([150, 40])
    k_cache, r_cache, table = both(keys, ropes)
    q, r, ends = randn(4, N, LATENT, dtype=BF16), randn(4, N, ROPE, dtype=BF16), [2, 4]
    call = dict(query_rope=r, key_rope=r_cache.unsqueeze(1), num_heads=N, num_key_value_heads=1, input_layout='TND',
                block_table=table, block_size=ROWS, atten_mask=MASK, sparse_mode=3, scale=MLA_SCALE, actual_seq_lengths=ends,
                actual_seq_lengths_kv=[150, 40])
    latent_cache = k_cache.unsqueeze(1)
    workspace = torch_npu._npu_fused_infer_attention_score_get_max_workspace(q, latent_cache, latent_cache, **call)
    out = torch.empty_like(q)
    fia.out(q, latent_cache, latent_cache, **call, workspace=workspace, out=[out, torch.empty(1, dtype=BF16, device='npu')])
    for b, (got, a, c) in enumerate(zip(split(out, ends), split(q, ends), split(r, ends))):
        k = torch.cat([keys[b], ropes[b]], -1)
        near(got, attend(torch.cat([a, c], -1), k, keys[b], MLA_SCALE, causal(2, len(k)))[0])


@pytest.mark.parametrize('dim', (256, 512))
@pytest.mark.parametrize('version', (1, 2))
def test_s8_window_with_wide_heads(version, dim):
    q, k, v = randn(1, 40, 4, dim), randn(1, 40, 2, dim), randn(1, 40, 2, dim)
    scale, before = 1 / math.sqrt(dim), 9
    common = dict(input_layout='BSND', num_key_value_heads=2, atten_mask=MASK, sparse_mode=4, pre_tokens=before, next_tokens=0)
    out = (fia(q, k, v, num_heads=4, scale=scale, **common) if version == 1 else
           fia2(q, k, v, num_query_heads=4, softmax_scale=scale, **common))[0]
    near(out[0], attend(q[0], k[0], v[0], scale, window(40, 40, before))[0])
