# SPDX-License-Identifier: Apache-2.0
"""The real device: PrivateUse1 under the name npu, from torch_npu._C."""
import torch

from . import _environment


def install():
    """Once per process, before anything asks for the device."""
    from . import _C
    torch.utils.rename_privateuse1_backend('npu')
    _C.install(_environment.whole('NPU_EMU_DEVICES', 1), _environment.memory(), _environment.banner())
    from . import npu
    torch._register_device_module('npu', npu)
    torch.utils.generate_methods_for_privateuse1_backend(for_tensor=True, for_module=True, for_packed_sequence=True,
                                                         for_storage=True)
    import fattn.torch  # the operators
    fattn.torch.set_seed_source('npu', draw)


def draw(device):
    """(seed, offset) of a dropout mask: ten numbers of the device generator's Philox sequence."""
    from . import _C
    index = _C.current_device() if device.index is None else device.index
    return _C.take_philox(_C.default_generator(index), 10)
