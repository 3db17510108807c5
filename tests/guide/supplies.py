# SPDX-License-Identifier: Apache-2.0
"""What each block of the guide is given to run: the names that it uses and does not define, attributes of classes that
their own methods miss, a call of what it defines, and the warnings that docs/calls.md promises for it."""
import builtins
import math
import time
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
import torch_npu

HEADS, DIM = 8, 64
SCALE = 1.0 / math.sqrt(DIM)

# Warnings, as their sentences begin: once per process and place, so a second mode without its mask says nothing more.
NO_MASK = r'sparse_mode: 3 without atten_mask'
NO_MASK_4 = r'sparse_mode: 4 without atten_mask'
LENGTHS = r'actual_seq_qlen: .*lengths'
AS_BSND = r'input_layout: BNSD does not fit query'
BSH_4D = r'input_layout: query .* has rank 4 under BSH'
BSNH = r'input_layout: BSNH is read as BSND'
CLAMPED = r'actual_seq_lengths: 100 is more than the 64 query rows'
INT8_KV = r'antiquant_scale'


@dataclass
class Supply:
    names: object = dict  # () -> {name: value}
    attributes: dict = field(default_factory=dict)  # {class: {name: value}}
    drive: object = None  # (names after the block) -> result; runs what the block only defines
    warnings: tuple = ()
    calls: int = 0  # of operators, at least


def half(*shape):
    return torch.randn(*shape, dtype=torch.float16).npu()


def qkv(b=2, n=HEADS, s=32, d=DIM):
    """BNSD."""
    return {name: half(b, n, s, d) for name in ('query', 'key', 'value')}


def three(**sizes):
    return tuple(qkv(**sizes).values())


def inner(outer, name, **free):
    """A function defined inside a function (or class, or method) of the guide, which nobody outside can reach."""

    def walk(code):
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield constant
                yield from walk(constant)

    code = next(c for c in walk(outer.__code__) if c.co_name == name)
    defaults = (1024, ) if name == 'chunked_attention' else None
    return types.FunctionType(code, outer.__globals__, name, defaults, tuple(types.CellType(free[v]) for v in code.co_freevars))


def globals_of_decode(length=100, s=1):
    return dict(query=half(1, HEADS, s, DIM), key_cache=half(1, HEADS, length, DIM), value_cache=half(1, HEADS, length, DIM))


def step_tensors(sequences=4):
    ints = lambda *x: torch.tensor(x, dtype=torch.int64).npu()  # noqa: E731
    return dict(input_tokens=ints(1, 2, 3, 4), sampled_token_ids=ints(11, 12, 13, 14).view(-1, 1), positions=ints(4, 8, 15, 16),
                seq_lengths=ints(5, 9, 16, 17), slot_mapping=ints(0, 0, 0, 0),
                block_tables=torch.arange(sequences * 4).view(sequences, 4).npu(), num_seqs=sequences, num_queries=sequences,
                block_size=16)


class Attention:
    """The guide's NPUAttention, as far as the blocks that name it go."""

    def __init__(self, num_heads, head_dim, block_size=16):
        self.num_heads, self.head_dim, self.block_size = num_heads, head_dim, block_size


def project(heads, layout='BNSD'):
    def projection(self, x):  # pylint: disable=unused-argument
        shape = (2, heads, 24, DIM) if layout == 'BNSD' else (2, 24, heads, DIM)
        return tuple(half(*shape) for _ in range(3))
    return projection


def extract_chunk(self, query, key, value, start, end):  # pylint: disable=unused-argument
    return tuple(x[:, :, start:end] for x in (query, key, value))


def decomposed(ns):
    q, k, v = three()
    model = ns['DecomposedAttention'](HEADS, DIM)
    whole, parts = model.forward(q, k, v)[0], model.forward(q, k, v, head_groups=2)
    assert torch.equal(whole, parts)


def dynamic_batch(ns):
    lengths = torch.tensor([40, 100, 7, 64, 99, 1])
    queries, keys, values = half(6, HEADS, 1, DIM), half(6, HEADS, 100, DIM), half(6, HEADS, 100, DIM)
    got = ns['DynamicBatchAttention'](max_batch_size=2).dynamic_forward(queries, keys, values, lengths)
    want = torch_npu.npu_incre_flash_attention(queries, keys, values, num_heads=HEADS, scale_value=SCALE,
                                               actual_seq_lengths=lengths.tolist(), input_layout='BNSD')
    assert torch.equal(got, want)


def long_text(ns):
    model = ns['LongTextAttention'](seq_len_threshold=64)
    for length in (32, 150):
        q, k, v = (half(1, length, HEADS, DIM) for _ in range(3))
        out = model.attention_strategy(q, k, v, length)
        assert (out if length > 64 else out[0]).shape == q.shape


def tuning(ns):
    outer = ns['memory_optimization_tuning']
    q, k, v = three()
    inner(outer, 'gradient_checkpoint_attention')(q.requires_grad_(), k, v)[0].sum().backward()
    codes = [torch.randint(-128, 127, (2, HEADS, 100, DIM), dtype=torch.int8).npu() for _ in range(2)]
    assert inner(outer, 'quantized_inference')(half(2, HEADS, 1, DIM), *codes).dtype == torch.int8
    assert inner(outer, 'chunked_attention')(q, k, v, chunk_size=16).shape == q.shape
    outer()


def throughput(ns):
    outer = ns['throughput_optimization']
    owner = types.SimpleNamespace(stream=torch.npu.Stream())
    assert inner(outer, 'async_attention')(owner, *three())[0].is_npu
    assert inner(outer, 'precompute_scales')(DIM) == SCALE
    outer()


def migration(ns):
    owner = types.SimpleNamespace(num_heads=HEADS, scale=SCALE)
    method = ns['UpgradePath_21_to_23'].migrate_inference_code
    cache = half(1, 100, HEADS * DIM), half(1, 100, HEADS * DIM)
    one = half(1, 1, HEADS * DIM)
    a = inner(method, 'old_inference', self=owner)(one, *cache, 100)
    b = inner(method, 'new_inference', self=owner)(one, *cache, 100)[0]
    assert torch.equal(a, b)
    method(owner)


def upgrade(ns):
    owner = ns['UpgradePath_23_to_25']()
    table = torch.tensor([[2, 0, 1]], dtype=torch.int32).npu()
    owner.add_page_attention()(half(1, HEADS, 1, DIM), half(3, 16, HEADS * DIM), half(3, 16, HEADS * DIM), table, [40])
    f = step_tensors()
    owner.add_vllm_integration()(*(f[n] for n in ('input_tokens', 'sampled_token_ids', 'positions', 'seq_lengths', 'slot_mapping',
                                                  'block_tables', 'num_seqs', 'num_queries')))
    assert f['seq_lengths'].tolist() == [6, 10, 17, 18]


def monitored(ns):
    monitor = ns['AttentionMonitor']()
    monitor.monitored_attention(*three(), head_num=HEADS, input_layout='BNSD')
    assert '1' in monitor.get_performance_report()


def production(ns):
    ns['safe_production_attention'](*three(), num_heads=HEADS, input_layout='BNSD', scale=SCALE)
    assert ns['monitor'].get_health_report()['metrics']['total_calls'] == 1


def robust_engine(ns):
    ns['RobustAttentionEngine']().safe_attention(*three(), torch_npu.npu_fusion_attention, head_num=HEADS, input_layout='BNSD')


def concurrent(ns):
    lists = [[half(1, HEADS, 16, DIM) for _ in range(5)] for _ in range(3)]
    outs = ns['ConcurrentAttention']().parallel_attention(*lists)
    assert len(outs) == 5 and all(x.is_npu for x in outs)


def optimal_input(ns):
    q, k, v = (torch.randn(2, HEADS, 8, 20).npu() for _ in range(3))
    q, k, v = ns['optimize_input_data'](q, k, v)
    assert q.shape == (2, HEADS, 8, 32) and q.dtype == torch.float16


def old_and_new(ns):
    one, cache = half(2, 1, 32), (half(2, 50, 32), half(2, 50, 32))
    assert ns['old_inference'](one, *cache, 50).shape == one.shape
    assert ns['new_inference'](half(1, 4, 32), half(1, 4, 32), half(1, 4, 32), 4)[0].shape == (1, 4, 32)


def all_same(ns, name, *args, **named):
    return ns[name](*args, **named)


SCALED = dict(num_heads=HEADS, scale=SCALE)

SUPPLIES = {
    5: Supply(warnings=(NO_MASK, ), calls=1),
    6: Supply(lambda: dict(torch=torch, torch_npu=torch_npu, num_heads=HEADS, head_dim=DIM, scale=SCALE), warnings=(LENGTHS, ),
              calls=1),
    8: Supply(warnings=(AS_BSND, NO_MASK), calls=2),
    9: Supply(lambda: qkv() | dict(scale=SCALE), warnings=(NO_MASK, ), calls=1),
    10: Supply(lambda: globals_of_decode() | dict(scale=SCALE, current_length=65), calls=1),
    11: Supply(step_tensors, calls=1),
    12: Supply(drive=old_and_new, warnings=(NO_MASK, ), calls=2),
    13: Supply(lambda: dict(segment_mask=torch.zeros(4, 4, dtype=torch.bool))),
    14: Supply(lambda: dict(torch=torch, torch_npu=torch_npu, math=math), drive=lambda ns: ns['quantized_inference'](),
               warnings=(BSH_4D, INT8_KV), calls=1),
    15: Supply(lambda: dict(query=half(4, HEADS, 1, DIM), key_cache=half(256, 16, HEADS * DIM),
                            value_cache=half(256, 16, HEADS * DIM)),
               {'PageAttentionManager': SCALED}, calls=1),
    16: Supply(drive=lambda ns: ns['optimize_layout'](*three())),
    17: Supply(lambda: dict(chunked_attention=None, quantized_inference=None),
               drive=lambda ns: ns['memory_efficient_attention'](*three(), head_num=HEADS, input_layout='BNSD', scale=SCALE),
               calls=1),
    18: Supply(),
    19: Supply(lambda: dict(NPUAttentionEngine=Attention, math=math),
               {'MultimodalAttentionTrainer': dict(text_projection=project(12), vision_projection=project(16),
                                                   fusion_layer=lambda self, a, b: torch.cat([a, b], 1))},
               drive=lambda ns: ns['MultimodalAttentionTrainer']().forward(None, None), warnings=(NO_MASK, ), calls=2),
    20: Supply(attributes={'LongTextProcessor': SCALED | dict(extract_chunk=extract_chunk,
                                                             global_summary_attention=lambda self, outs: outs[0])},
               drive=lambda ns: ns['LongTextProcessor'](64).adaptive_attention(*three(b=1, s=150)),
               warnings=(NO_MASK_4, ), calls=5),
    23: Supply(lambda: dict(process_in_chunks=None),
               drive=lambda ns: ns['handle_oom'](*three(), head_num=HEADS, input_layout='BNSD'), calls=1),
    24: Supply(drive=lambda ns: ns['verify_optimization'](*three(), {})),
    25: Supply(),
    26: Supply(drive=lambda ns: ns['choose_optimal_api']('inference', '2.5')),
    27: Supply(drive=production, calls=1),
    28: Supply(drive=robust_engine, calls=1),
    30: Supply(lambda: dict(math=math, head_dim=DIM)),
    32: Supply(lambda: qkv() | dict(head_num=HEADS, input_layout='BNSD'), calls=1),
    33: Supply(warnings=(BSNH, ), calls=1),
    34: Supply(calls=1),
    37: Supply(lambda: dict(query=half(2, 1, HEADS * DIM), key=half(2, 100, HEADS * DIM), value=half(2, 100, HEADS * DIM),
                            math=math, head_dim=DIM), calls=1),
    41: Supply(lambda: dict(NPUAttention=Attention)),
    42: Supply(lambda: dict(NPUAttention=Attention, math=math),
               {'MultimodalTraining': dict(text_proj=project(12, 'BSND'), vision_proj=lambda self, x: project(16, 'BSND')(self, x))},
               drive=lambda ns: run_multimodal(ns), warnings=(BSNH, NO_MASK_4), calls=2),
    43: Supply(attributes={'LongTextAttention': SCALED}, drive=long_text, warnings=(BSNH, NO_MASK), calls=6),
    44: Supply(lambda: dict(torch=torch, torch_npu=torch_npu, math=math, time=time, range=lambda n: builtins.range(1)),
               drive=lambda ns: ns['benchmark_attention'](), warnings=(BSNH, ), calls=3),
    45: Supply(lambda: dict(torch=torch, torch_npu=torch_npu, math=math), drive=lambda ns: ns['optimal_layout_example'](), calls=1),
    46: Supply(lambda: dict(math=math, head_dim=DIM), drive=lambda ns: ns['precision_control']()),
    47: Supply(lambda: dict(math=math), drive=decomposed, calls=3),
    48: Supply(attributes={'DynamicBatchAttention': SCALED}, drive=dynamic_batch, calls=4),
    49: Supply(lambda: SCALED, drive=tuning, warnings=(INT8_KV, ), calls=4),
    50: Supply(lambda: SCALED | dict(math=math), drive=throughput, calls=1),
    52: Supply(warnings=(AS_BSND, NO_MASK), calls=1),
    53: Supply(warnings=(AS_BSND, NO_MASK, CLAMPED), calls=2),
    54: Supply(calls=1),
    55: Supply(lambda: dict(__name__='__main__'), warnings=(AS_BSND, NO_MASK), calls=2),
    56: Supply(drive=lambda ns: ns['quantized_inference_example'](), warnings=(AS_BSND, INT8_KV), calls=1),
    57: Supply(lambda: qkv(n=32) | dict(scale=SCALE, batch_size=2), calls=1),
    61: Supply(lambda: dict(F=torch.nn.functional), drive=optimal_input),
    62: Supply(lambda: dict(math=math),
               drive=lambda ns: ns['MemoryOptimizedAttention'](HEADS, DIM, 4e-4).memory_efficient_forward(*three(b=5)), calls=2),
    63: Supply(lambda: dict(ThreadPoolExecutor=ThreadPoolExecutor), {'ConcurrentAttention': SCALED}, drive=concurrent, calls=5),
    64: Supply(drive=migration, warnings=(), calls=2),
    65: Supply(attributes={'UpgradePath_23_to_25': SCALED | dict(block_size=16)}, drive=upgrade, calls=2),
    66: Supply(drive=lambda ns: ns['choose_attention_api']('vllm', '2.5')),
    68: Supply(drive=lambda ns: ns['robust_attention_call'](*three(), head_num=HEADS, input_layout='BNSD'), calls=1),
    69: Supply(drive=monitored, calls=1),
    70: Supply(drive=lambda ns: ns['FaultTolerantAttention']().safe_attention(*three(), head_num=HEADS, input_layout='BNSD'), calls=1),
}


def run_multimodal(ns):
    """The guide joins text of 12 heads and pictures of 16 along the tokens: its own shapes must agree for that."""
    model = ns['MultimodalTraining']()
    model.vision_attention.num_heads = 12
    model.vision_proj = lambda x: project(12, 'BSND')(model, x)
    return model.forward(None, None)
