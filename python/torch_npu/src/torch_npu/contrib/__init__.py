# SPDX-License-Identifier: Apache-2.0
"""torch_npu.contrib: transfer_to_npu. Other contributed modules of the device's package are not emulated."""


def __getattr__(name):
    raise AttributeError(f'torch_npu.contrib.{name} is not part of the emulation; it has transfer_to_npu')
