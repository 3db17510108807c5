# SPDX-License-Identifier: Apache-2.0
"""Which device is meant."""
import threading

import torch

from .. import _environment

ALIAS = _environment.mode() == 'alias'
_thread = threading.local()

if ALIAS:
    def device_count():
        return _environment.whole('NPU_EMU_DEVICES', 1)

    def current_device():
        return getattr(_thread, 'device', 0)

    def _set(index):
        _thread.device = index
else:
    from .._C import current_device, device_count, set_device as _set  # noqa: F401


def index_of(device, none=None):
    """A device as an index: None is the current one (or `none`), an index, "npu:1", torch.device."""
    if device is None:
        return current_device() if none is None else none
    if isinstance(device, int):
        index = device
    else:
        device = torch.device(device)
        if device.type != 'npu' and not (ALIAS and device.type == 'cpu'):
            raise ValueError(f'Expected a npu device, but got: {device}')
        index = current_device() if device.index is None else device.index
    if none is not None and index < 0:
        return none
    if not 0 <= index < device_count():
        raise RuntimeError(f'npu:{index} does not exist, the emulation has {device_count()} '
                           f'device{"s" if device_count() != 1 else ""} (NPU_EMU_DEVICES sets the number)')
    return index


def set_device(device):
    """Of the calling thread; a negative index changes nothing."""
    index = index_of(device, none=-1)
    if index >= 0:
        _set(index)
