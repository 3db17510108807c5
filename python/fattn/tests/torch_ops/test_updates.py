# SPDX-License-Identifier: Apache-2.0
"""Merges, the bookkeeping of one decode step, dropout masks: the operators beside attention."""
import bookkeeping
import pytest
import torch
from oracle import close, to_numpy, wanted


@pytest.mark.parametrize('update_type', (0, 1))
@pytest.mark.parametrize('parts', (1, 2, 5))
def test_attention_update(ops, parts, update_type):
    lse = [torch.randn(12) for _ in range(parts)]
    lse[0][3] = torch.inf  # that part has no key for row 3
    local = [torch.randn(12, 16) for _ in range(parts)]
    out, lse_out = ops.npu_attention_update(lse, local, update_type)
    want = wanted('attention_update', dict(lse=lse, local_out=local, update_type=update_type))
    close('out', out, want['out'])
    if update_type == 1:
        close('lse_out', lse_out, want['lse_out'])
    else:
        assert lse_out is None


def test_merged_halves_are_the_whole(ops):
    """Attention over all keys is the update of attention over the two halves."""
    q, k, v = torch.randn(1, 4, 3, 16), torch.randn(1, 4, 20, 16), torch.randn(1, 4, 20, 16)

    def part(lo, hi):
        return ops.npu_fused_infer_attention_score(q, k[:, :, lo:hi].contiguous(), v[:, :, lo:hi].contiguous(),
                                                   num_heads=4, input_layout='BNSD', scale=0.25, softmax_lse_flag=True)

    (a, lse_a), (b, lse_b), (whole, lse) = part(0, 12), part(12, 20), part(0, 20)
    out, merged = ops.npu_attention_update([lse_a.flatten(), lse_b.flatten()], [a.view(12, 16), b.view(12, 16)], 1)
    torch.testing.assert_close(out.view_as(whole), whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(merged, lse.flatten(), rtol=1e-6, atol=1e-6)


def test_ring_attention_update(ops):
    names = ('attn_out', 'softmax_max', 'softmax_sum')
    sides = []
    for _ in range(2):
        maximum = torch.randn(2, 4, 6, 1).expand(-1, -1, -1, 8).contiguous()
        total = (torch.rand(2, 4, 6, 1) + 0.5).expand(-1, -1, -1, 8).contiguous()
        sides += [torch.randn(6, 2, 64), maximum, total]
    got = ops.npu_ring_attention_update(*sides, input_layout='SBH')
    f = dict(zip([f'prev_{n}' for n in names] + [f'cur_{n}' for n in names], sides), input_layout='SBH',
             input_softmax_layout='')
    want = bookkeeping.ring_attention_update({n: to_numpy(x) for n, x in f.items()})
    close('attn_out', got[0], want['attn_out'])
    for name, result in zip(names[1:], got[1:]):
        value, bound = want[name]
        close(name, result[..., 0].contiguous(), (value, bound))


def step():
    """Three sequences, the last of them padding."""
    return dict(input_tokens=torch.tensor([1, 2, 3]), sampled_token_ids=torch.tensor([[11], [12]]),
                input_positions=torch.tensor([4, 8, 0]), seq_lens=torch.tensor([5, 9, 1]),
                slot_mapping=torch.tensor([0, 0, 0]), block_tables=torch.tensor([[3, 1], [2, 5], [0, 0]]), num_seqs=3,
                num_queries=2, block_size=8)


@pytest.mark.parametrize('by_name', (False, True))
def test_advance_step(ops, by_name):
    f = step()
    want = bookkeeping.advance_step_flashattn({n: to_numpy(x) for n, x in f.items()})
    assert ops.npu_advance_step_flashattn(**f) is None if by_name else True
    if not by_name:
        ops.npu_advance_step_flashattn(*f.values())
    for name, numbers in want.items():
        assert f[name].tolist() == numbers.tolist(), name


def test_a_refused_step_changes_nothing(ops):
    f = step()
    f['block_tables'][0, 0] = -1
    before = {n: x.clone() for n, x in f.items() if isinstance(x, torch.Tensor)}
    with pytest.raises(RuntimeError, match='block_table'):
        ops.npu_advance_step_flashattn(**f)
    assert all(torch.equal(f[n], x) for n, x in before.items())


def test_dropout_mask(ops):
    """Bytes of whole 128-bit words; the share of ones is 1 - p; equal numbers, equal masks."""
    like = torch.empty(1)
    mask = ops._npu_dropout_gen_mask(like, [64, 1000], 0.3, 7, 24)
    assert mask.dtype == torch.uint8 and mask.numel() == (64000 + 127) // 128 * 16
    bits = (mask.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1
    assert abs(float(bits.float().mean()) - 0.7) < 0.01
    assert torch.equal(mask, ops._npu_dropout_gen_mask(like, [64000], 0.3, 7, 24))
    assert not torch.equal(mask, ops._npu_dropout_gen_mask(like, [64000], 0.3, 8, 24))


def test_dropout_mask_of_the_generator(ops):
    torch.manual_seed(3)
    first = ops.npu_dropout_gen_mask([500], 0.5, device='cpu')
    second = ops.npu_dropout_gen_mask([500], 0.5, device='cpu')
    torch.manual_seed(3)
    assert torch.equal(ops.npu_dropout_gen_mask([500], 0.5, device='cpu'), first) and not torch.equal(first, second)
