# SPDX-License-Identifier: Apache-2.0
"""Where the seed of a dropout mask comes from: torch's own generator of the tensors' device.

The library draws a mask from two numbers, seed and offset. Taking them from torch's generator is what makes
torch.manual_seed(), fork_rng(), set_rng_state() and torch.utils.checkpoint's replay hold for the operators.

- A device whose generator counts a Philox offset (an "npu" of torch_npu): seed = its seed, offset = its offset,
  which then moves on by 12, as on the device: manual_seed(s) is followed by (s, 0), (s, 12), ...
- The CPU's generator (a Mersenne twister) has no offset: the seed is one 63-bit number drawn from it, never 0,
  the offset is 0.
"""
import threading

import torch

STEP = 12  # ten numbers, rounded up to whole Philox blocks of four
_sources = {}
_lock = threading.Lock()


def set_seed_source(device_type, source):
    """Lets `source(device) -> (seed, offset)` say where dropout on a device type gets its numbers from."""
    _sources[device_type] = source


def draw_seed(device):
    """(seed, offset) of the next mask on `device`; the generator moves on."""
    source = _sources.get(device.type)
    if source:
        return source(device)
    if device.type == 'cpu':
        return int(torch.empty((), dtype=torch.int64).random_(1, 2**63 - 1)), 0
    return draw_philox(device)


def draw_philox(device):
    module = torch.get_device_module(device)
    index = module.current_device() if device.index is None else device.index
    generator = module.default_generators[index]
    with _lock:
        offset = generator.get_offset()
        generator.set_offset(offset + STEP)
        return generator.initial_seed(), offset
