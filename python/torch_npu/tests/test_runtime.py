# SPDX-License-Identifier: Apache-2.0
"""torch.npu: memory, random numbers, streams, events, graphs, mixed precision."""
import gc

import pytest
import torch
import torch_npu


def test_memory_counts_bytes():
    gc.collect()
    torch.npu.reset_peak_memory_stats()
    before = torch.npu.memory_allocated()
    x = torch.empty(1000, dtype=torch.float64, device='npu')
    assert torch.npu.memory_allocated() == before + 8000
    view = x[:10]
    assert torch.npu.memory_allocated() == before + 8000
    y = x + 1
    del x, view, y
    assert torch.npu.memory_allocated() == before
    assert torch.npu.max_memory_allocated() == before + 16000
    torch.npu.reset_peak_memory_stats()
    assert torch.npu.max_memory_allocated() == before
    stats = torch.npu.memory_stats()
    assert stats['allocated_bytes.all.current'] == before and stats['allocation.all.allocated'] > 0
    assert 'Allocated memory' in torch.npu.memory_summary()
    free, total = torch.npu.mem_get_info()
    assert free == total - before == torch.npu.get_device_properties().total_memory - before
    assert torch.accelerator.memory_allocated() == before


def test_out_of_memory(script):
    done = script('''
        import torch, torch_npu
        x = torch.empty(3 << 20, dtype=torch.uint8, device='npu')
        for error in (RuntimeError, torch.OutOfMemoryError):
            try:
                torch.empty(2 << 20, dtype=torch.uint8, device='npu')
                assert False
            except error as e:
                assert 'out of memory' in str(e) and 'Tried to allocate 2.00 MiB' in str(e), e
        try:
            x.float()  # memory that a CPU kernel made counts, too
            assert False
        except torch.OutOfMemoryError:
            pass
        del x
        torch.empty(2 << 20, dtype=torch.uint8, device='npu')
        print(torch.npu.memory_stats()['num_ooms'])
    ''', NPU_EMU_MEMORY='4M')
    assert done.stdout.strip() == '3'


def test_random_numbers_and_their_state():
    torch.npu.manual_seed(5)
    a = torch.randn(10, device='npu')
    state = torch.npu.get_rng_state()
    b = torch.randn(10, device='npu')
    torch.npu.set_rng_state(state)
    assert torch.equal(torch.randn(10, device='npu'), b) and not torch.equal(a, b)
    torch.manual_seed(5)  # all devices
    assert torch.equal(torch.randn(10, device='npu'), a)
    assert state.dtype == torch.uint8 and state.numel() == 16
    with torch.random.fork_rng(device_type='npu'):
        torch.randn(4, device='npu')
    torch.npu.manual_seed(5)
    assert torch.npu.initial_seed() == 5
    g = torch.Generator('npu').manual_seed(9)
    first = torch.rand(3, device='npu', generator=g)
    assert torch.equal(torch.rand(3, device='npu', generator=torch.Generator('npu').manual_seed(9)), first)
    states = torch.npu.get_rng_state_all()
    torch.npu.seed_all()
    torch.npu.set_rng_state_all(states)
    assert torch.npu.initial_seed() == 5


def test_the_cpus_generator_is_its_own():
    torch.manual_seed(3)
    want = torch.randn(4)
    torch.manual_seed(3)
    torch.randn(100, device='npu')
    torch.nn.functional.dropout(torch.ones(50, device='npu'), 0.5)
    assert torch.equal(torch.randn(4), want)


def test_dropout_of_torch():
    x = torch.ones(10000, device='npu')
    torch.npu.manual_seed(1)
    y = torch.nn.functional.dropout(x, 0.25)
    torch.npu.manual_seed(1)
    assert torch.equal(torch.nn.functional.dropout(x, 0.25), y)
    assert abs(float((y == 0).float().mean()) - 0.25) < 0.02


def test_streams_and_events():
    stream = torch.npu.Stream()
    assert torch.npu.current_stream() == torch.npu.default_stream() and stream != torch.npu.current_stream()
    start, end = torch.npu.Event(enable_timing=True), torch.npu.Event(enable_timing=True)
    with torch.npu.stream(stream):
        assert torch.npu.current_stream() == stream
        start.record()
        x = torch.randn(200, 200, device='npu')
        for _ in range(20):
            x = x @ x
        end.record()
        done = stream.record_event()
    assert torch.npu.current_stream() == torch.npu.default_stream()
    torch.npu.current_stream().wait_stream(stream)
    stream.wait_event(done)
    torch.npu.synchronize()
    end.synchronize()
    assert stream.query() and end.query() and start.elapsed_time(end) > 0
    x.record_stream(stream)


def test_graphs():
    x = torch.ones(4, device='npu')
    w = torch.full((4, ), 3.0, device='npu')
    g = torch.npu.NPUGraph()
    with torch.npu.graph(g):
        assert torch.npu.is_current_stream_capturing()
        y = (x * w + 1).view(2, 2)
        y.add_(1)
        out, _ = torch_npu.npu_fused_infer_attention_score(x.view(1, 1, 1, 4), x.view(1, 1, 1, 4), y.view(1, 1, 1, 4),
                                                           num_heads=1, input_layout='BNSD')
    assert not torch.npu.is_current_stream_capturing()
    x.fill_(2)
    w.fill_(5)
    g.replay()
    assert y.flatten().tolist() == [12] * 4 and out.flatten().tolist() == [12] * 4
    with pytest.raises(RuntimeError, match='operation not permitted when stream is capturing'):
        with torch.npu.graph(torch.npu.NPUGraph()):
            float(x.sum())
    assert not torch.npu.is_current_stream_capturing()
    g.reset()
    with pytest.raises(RuntimeError, match='nothing has been captured'):
        g.replay()


@pytest.mark.parametrize('dtype', (torch.float16, torch.bfloat16))
def test_autocast(dtype):
    a, b = torch.randn(4, 4, device='npu'), torch.randn(4, 4, device='npu')
    with torch.autocast('npu', dtype=dtype):
        assert (a @ b).dtype == dtype and (a + b).dtype == torch.float32 and a.softmax(-1).dtype == torch.float32
        assert torch.npu.is_autocast_enabled() and torch.npu.get_autocast_dtype() == dtype
    with torch_npu.npu.amp.autocast(dtype=dtype):
        assert torch.nn.Linear(4, 4).npu()(a).dtype == dtype
    assert not torch.npu.is_autocast_enabled()


@pytest.mark.parametrize('dynamic', (True, False))
def test_scaled_gradients(dynamic):
    p = torch.nn.Parameter(torch.ones(3, device='npu'))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scaler = torch.npu.amp.GradScaler(init_scale=4.0, dynamic=dynamic)
    scaler.scale((p * 2).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [-1, -1, -1] and scaler.get_scale() == 4.0
    p.grad = torch.full((3, ), torch.inf, device='npu')
    scaler.scale(p.sum())
    scaler.step(optimizer)
    scaler.update()
    assert p.tolist() == [-1, -1, -1] and scaler.get_scale() == (2.0 if dynamic else 4.0)


NAMES = '''is_available is_initialized _is_in_bad_fork init _lazy_init _lazy_call device_count current_device set_device device
device_of get_device_name get_device_properties get_soc_version synchronize manual_seed manual_seed_all seed seed_all
initial_seed get_rng_state set_rng_state default_generators Stream Event current_stream default_stream set_stream stream
max_memory_allocated memory_allocated memory_reserved max_memory_reserved memory_stats memory_summary mem_get_info
reset_peak_memory_stats reset_max_memory_allocated empty_cache set_compile_mode set_option use_compatible_impl
is_jit_compile_false NPUGraph graph graph_pool_handle is_current_stream_capturing make_graphed_callables amp utils'''


def test_names_of_the_module():
    import torch.npu as module
    assert module is torch_npu.npu is torch.npu
    assert not [name for name in NAMES.split() if not hasattr(torch.npu, name)]
    assert torch.npu.device_count() == 2 and torch.npu.is_available() and torch.npu.get_device_name().startswith('Ascend')
    with torch.npu.device(1):
        assert torch.npu.current_device() == 1 and torch.empty(1, device='npu').device.index == 1
    with torch.npu.device_of(torch.empty(1, device='npu:1')):
        assert torch.npu.current_device() == 1
    assert torch.npu.current_device() == 0
    torch.npu.set_compile_mode(jit_compile=False)
    torch.npu.set_option({'ACL_OP_COMPILER_CACHE_MODE': 'enable'})
    assert torch.npu.is_jit_compile_false()
    assert torch.npu.utils.npu_check_overflow(torch.tensor([1.0, float('nan')], device='npu'))
