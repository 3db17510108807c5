# SPDX-License-Identifier: Apache-2.0
"""Many threads, forked workers, pickled modules, and no memory that grows."""
import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch


class Attention(torch.nn.Module):

    def __init__(self, width=64, heads=4, keep_prob=1.0):
        super().__init__()
        self.heads, self.keep_prob = heads, keep_prob
        self.into, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.into(x).chunk(3, -1)
        mixed = torch.ops.npu.npu_fusion_attention(q, k, v, self.heads, 'BSH', scale=0.25, keep_prob=self.keep_prob)[0]
        return self.out(mixed)


def test_a_pool_of_threads(ops):
    """Eight threads, forward and backward at once; every answer has the bits of a call alone."""
    model = Attention()
    xs = [torch.randn(2, 20, 64) for _ in range(8)]

    def work(x):
        y = model(x)
        return y, torch.autograd.grad(y.sum(), model.into.weight)[0]

    want = [work(x) for x in xs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            for (y, g), (y_want, g_want) in zip(pool.map(work, xs), want):
                torch.testing.assert_close(y, y_want)
                torch.testing.assert_close(g, g_want)


def test_pickled_and_copied_modules(ops):
    model = Attention()
    x = torch.randn(1, 5, 64)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(twin(x), model(x))


class Items(torch.utils.data.Dataset):

    def __len__(self):
        return 6

    def __getitem__(self, i):
        q = torch.full((1, 2, 4, 16), float(i + 1))
        return torch.ops.npu.npu_fused_infer_attention_score(q, q, q, num_heads=2, input_layout='BNSD')[0]


@pytest.mark.filterwarnings('ignore:.*fork:DeprecationWarning')
def test_forked_workers(ops):
    data = Items()
    want = [data[i] for i in range(6)]
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context='fork')
    for got, exact in zip(loader, want):
        assert torch.equal(got, exact)


def resident():
    with open('/proc/self/statm', encoding='ascii') as file:
        return int(file.read().split()[1]) * 4096


def test_no_memory_grows(ops):
    """10,000 calls; every stretch of 2,000 is looked at, one that adds nothing suffices."""
    q, k, v = (torch.randn(1, 2, 4, 16) for _ in range(3))
    x = q.clone().requires_grad_()

    def round_of(n):
        for _ in range(n):
            ops.npu_fused_infer_attention_score(q, k, v, num_heads=2, input_layout='BNSD')
            ops.npu_fusion_attention(x, k, v, 2, 'BNSD', keep_prob=0.9)[0].sum().backward()
        gc.collect()
        return resident()

    round_of(500)
    sizes = [round_of(1000) for _ in range(5)]
    assert min(b - a for a, b in zip(sizes, sizes[1:])) < 64 * 1024, sizes


def test_gradients_are_not_kept_alive(ops):
    """Autograd's nodes hold no cycle: tensors are freed with the last name."""
    import weakref
    q, k, v = (torch.randn(1, 2, 4, 16).requires_grad_() for _ in range(3))
    out = ops.npu_fusion_attention(q, k, v, 2, 'BNSD')[0]
    seen = weakref.ref(q)
    del q, out
    gc.disable()
    try:
        assert seen() is None
    finally:
        gc.enable()
