# SPDX-License-Identifier: Apache-2.0
"""The operators beside attention on tensors with memory: merges, one decode step, dropout masks."""
import torch

from .. import _core
from . import schemas
from .generator import draw_seed
from .memory import same

ADVANCE = schemas.parameter_names(schemas.SCHEMAS['npu_advance_step_flashattn'])[:9]
RING = schemas.parameter_names(schemas.SCHEMAS['npu_ring_attention_update'])[:6]
DTYPES = {torch.float16: 'f16', torch.bfloat16: 'bf16'}


def advance_step_flashattn(*args, **f):
    f.update(zip(ADVANCE, args))
    _core.call('advance_step_flashattn', f)


def ring_attention_update(*args, **f):
    results = tuple(same(tensor) for tensor in args[:3])
    f.update(zip(RING, args))
    f.update(zip(('attn_out', 'softmax_max', 'softmax_sum'), results))
    _core.call('ring_attention_update', f)
    return results


def attention_update(lse, local_out, update_type):
    """lse_out is None for update_type 0."""
    if not lse or not local_out:
        _core.call('attention_update', dict(lse=lse, local_out=local_out, update_type=update_type))
    out = same(local_out[0])
    lse_out = same(lse[0]) if update_type == 1 else None
    _core.call('attention_update',
               dict(lse=lse, local_out=local_out, update_type=update_type, out=out, lse_out=lse_out))
    return out, lse_out


def mask_bytes(size):
    cells = 1
    for extent in size:
        cells *= extent
    return (cells + 127) // 128 * 16


def gen_mask(size, p, numbers, dtype, device):
    mask = torch.empty(max(0, mask_bytes(size)), dtype=torch.uint8, device=device)
    seed, offset = numbers
    _core.call('dropout_gen_mask', dict(sizes=size, p=p, seed=seed, offset=offset, dtype=DTYPES.get(dtype, 'f32'),
                                        mask=mask))
    return mask


def dropout_gen_mask_tensor(like, size, p, seed, offset, *, parallel=True, sync=None):  # pylint: disable=unused-argument
    """The dtype of the tensor selects how many random bits count; its shape does not matter."""
    return gen_mask(size, p, (seed, offset), like.dtype, like.device)


def dropout_gen_mask(size, p, *, dtype=None, layout=None, device=None, pin_memory=None):  # pylint: disable=unused-argument
    """Seed and offset from the device's generator. Without a device: "npu" where there is one, else the CPU."""
    device = torch.device(device or default_device())
    return gen_mask(size, p, draw_seed(device), dtype, device)


def default_device():
    backend = torch._C._get_privateuse1_backend_name()
    return backend if hasattr(torch, backend) else 'cpu'
