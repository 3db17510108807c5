# SPDX-License-Identifier: Apache-2.0
"""The device "npu": tensors, copies, views, autograd, modules, files, threads, workers."""
import copy
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch


def test_device_strings():
    x = torch.ones(3, device='npu')
    assert (x.device.type, x.device.index) == ('npu', 0) and x.is_npu and not x.is_cpu
    assert torch.ones(3, device='npu:1').device == torch.device('npu', 1)
    assert torch.ones(3).npu().device == torch.ones(3).to('npu').device == torch.device('npu:0')
    with torch.device('npu:1'):
        assert torch.zeros(2).device.index == 1
    with pytest.raises(RuntimeError, match='npu:7 does not exist, the emulation has 2 devices'):
        torch.zeros(1, device='npu:7')


def test_moving_copies():
    """CPU and NPU twins are independent, as on a device."""
    x = torch.arange(4.0)
    y = x.npu()
    y += 1
    z = y.cpu()
    z += 1
    assert x.tolist() == [0, 1, 2, 3] and y.tolist() == [1, 2, 3, 4] and z.tolist() == [2, 3, 4, 5]
    assert y.npu() is y


def test_views_and_in_place():
    x = torch.zeros(4, 6, device='npu')
    x[1:3, ::2] = 1
    x.view(2, 12)[0, 0] = 5
    x.t()[5, 3] = 7
    x[0].add_(1)
    plain = torch.zeros(4, 6)
    plain[1:3, ::2] = 1
    plain.view(2, 12)[0, 0] = 5
    plain.t()[5, 3] = 7
    plain[0].add_(1)
    assert torch.equal(x.cpu(), plain)
    assert x.view(-1).data_ptr() == x.data_ptr() and x[1].storage_offset() == 6


def test_resized_and_out():
    x = torch.empty(0, device='npu')
    torch.add(torch.ones(3, device='npu'), 2, out=x)
    assert x.tolist() == [3, 3, 3]
    x.resize_(5)[3:] = 1
    assert x.tolist() == [3, 3, 3, 1, 1]
    x.set_(torch.zeros(2, device='npu'))
    assert x.tolist() == [0, 0]


def test_devices_do_not_mix():
    x = torch.ones(3, device='npu')
    for other in (torch.ones(3), torch.ones(3, device='npu:1')):
        with pytest.raises(RuntimeError, match='Expected all tensors to be on the same device'):
            x + other  # pylint: disable=pointless-statement
    assert (x + torch.tensor(2.0)).tolist() == [3, 3, 3]  # a number may be anywhere


OPERATORS = [lambda x: x.softmax(-1), lambda x: x @ x.t(), lambda x: x.sort(-1).values, lambda x: x.sum(0, keepdim=True),
             lambda x: torch.cat([x, x]), lambda x: torch.stack([x, -x], 1), lambda x: x.half().float(),
             lambda x: torch.nn.functional.layer_norm(x, (6, )), lambda x: x.masked_fill(x > 0, 0), lambda x: x.unique(),
             lambda x: x.nonzero(), lambda x: x[torch.tensor([0, 2], device=x.device)], lambda x: torch.linalg.svd(x)[1],
             lambda x: torch.fft.fft(x).abs(), lambda x: x.roll(1, 0).cumsum(1), lambda x: torch.einsum('ij,kj->ik', x, x),
             lambda x: torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
             lambda x: torch.nn.functional.conv2d(x[None, None], torch.ones(1, 1, 2, 2, device=x.device)),
             lambda x: x.to(torch.bfloat16), lambda x: x.topk(2).indices, lambda x: torch.where(x > 0, x, 1.0)]


@pytest.mark.parametrize('i', range(len(OPERATORS)))
def test_operators_give_the_cpus_bits(i):
    x = torch.randn(4, 6)
    got, want = OPERATORS[i](x.npu()), OPERATORS[i](x)
    assert got.device.type == 'npu' and got.dtype == want.dtype
    assert torch.equal(got.cpu(), want)


def test_no_copies_in_the_fallback():
    x = torch.zeros(1000, device='npu')
    before = x.data_ptr()
    x.mul_(2).add_(1)
    assert x.data_ptr() == before and torch.npu.memory_allocated() >= 4000


def model():
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.GELU(), torch.nn.LayerNorm(16), torch.nn.Linear(16, 3))


@pytest.mark.parametrize('optimizer', [lambda p: torch.optim.AdamW(p, lr=0.1), lambda p: torch.optim.SGD(p, 0.1, 0.9),
                                       lambda p: torch.optim.Adam(p, lr=0.1, foreach=True),
                                       lambda p: torch.optim.Adagrad(p, lr=0.1)])
def test_training_steps_are_the_cpus(optimizer):
    on_cpu = model()
    on_npu = copy.deepcopy(on_cpu).npu()
    x, y = torch.randn(8, 6), torch.randint(3, (8, ))
    steps = []
    for m, a, b in ((on_cpu, x, y), (on_npu, x.npu(), y.npu())):
        o = optimizer(m.parameters())
        for _ in range(3):
            o.zero_grad()
            loss = torch.nn.functional.cross_entropy(m(a), b)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
            o.step()
        steps.append([p.detach().cpu() for p in m.parameters()] + [loss.detach().cpu()])
    assert all(p.grad.is_npu for p in on_npu.parameters())
    for a, b in zip(*steps):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_files_and_copies(tmp_path):
    x = torch.randn(3, 4, device='npu:1')
    torch.save({'x': x, 'model': model().npu().state_dict()}, tmp_path / 'f.pt')
    back = torch.load(tmp_path / 'f.pt')
    assert back['x'].device == x.device and torch.equal(back['x'], x)
    on_cpu = torch.load(tmp_path / 'f.pt', map_location='cpu')
    assert on_cpu['x'].is_cpu and torch.equal(on_cpu['x'], x.cpu())
    buffer = io.BytesIO()
    torch.save(torch.ones(2), buffer)
    buffer.seek(0)
    assert torch.load(buffer, map_location='npu').is_npu
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin.device == x.device and torch.equal(twin, x) and twin.data_ptr() != x.data_ptr()


def test_printing():
    assert "device='npu:0'" in repr(torch.ones(2, device='npu'))


def test_other_threads():
    """The device is there in threads that did not import anything; the current device is a thread's own."""
    torch.npu.set_device(1)
    try:
        def work(i):
            return torch.npu.current_device(), float((torch.full((4, ), float(i), device='npu') * 2).sum())

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(8))) == [(0, 8.0 * i) for i in range(8)]
        assert torch.npu.current_device() == 1
    finally:
        torch.npu.set_device(0)


class Numbers(torch.utils.data.Dataset):

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return torch.full((2, ), float(i))


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
def test_loader_with_workers_and_pinned_memory():
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=4, num_workers=2, pin_memory=True)
    batches = list(loader)
    assert all(b.is_pinned() for b in batches)
    assert [b.npu(non_blocking=True).sum().item() for b in batches] == [12.0, 44.0]


def test_gradients_between_devices():
    x = torch.randn(3, requires_grad=True)
    (x.npu() * 2).sin().cpu().sum().backward()
    torch.testing.assert_close(x.grad, 2 * torch.cos(2 * x.detach()))


def test_sparse_layouts_are_refused():
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.eye(3, device='npu').to_sparse()


def test_dlpack_and_numpy():
    x = torch.ones(3, device='npu')
    with pytest.raises(TypeError):
        x.numpy()
    assert x.cpu().numpy().tolist() == [1, 1, 1] and x.tolist() == [1, 1, 1]
