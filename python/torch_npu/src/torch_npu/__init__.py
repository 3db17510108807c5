# SPDX-License-Identifier: Apache-2.0
"""torch_npu without an NPU.

The names of the Ascend adapter of PyTorch, on a machine that has no such device: `device="npu"` is a real PyTorch device
whose memory is the host's, the attention operators are fattn's, every other operator runs its CPU kernel. Scripts and
tests written for the device run unmodified, with exact numbers. It is not the vendor's package and refuses to load
beside it.

Environment: NPU_EMU_SOC (the device's name), NPU_EMU_DEVICES (how many), NPU_EMU_MEMORY (bytes of each, "64G"),
NPU_EMU_MODE=alias (no device: npu means CPU), NPU_EMU_BANNER=0 (no line on stderr).
"""
import os as _os
import sys as _sys


def _import_torch():
    """torch, without its search for device packages: it would find this one while it is being imported."""
    before = _os.environ.get('TORCH_DEVICE_BACKEND_AUTOLOAD')
    _os.environ['TORCH_DEVICE_BACKEND_AUTOLOAD'] = '0'
    try:
        import torch
    finally:
        if before is None:
            del _os.environ['TORCH_DEVICE_BACKEND_AUTOLOAD']
        else:
            _os.environ['TORCH_DEVICE_BACKEND_AUTOLOAD'] = before
    return torch


_import_torch()

from . import _environment  # noqa: E402


def _autoload():
    """What torch calls at the end of its own import (entry point `torch.backends`): importing this is all it takes."""


_refusal = _environment.refusal()
if _refusal and not _environment.autoloading():
    raise ImportError(_refusal)

if not _refusal:
    MODE = _environment.mode()
    __version__ = _environment.version()
    if MODE == 'device':
        from . import _device
        _device.install()
    else:
        from . import _alias
        _alias.install()

    from . import npu
    from ._operators import *  # noqa: F401,F403
    from ._operators import get_npu_format, npu_format_cast, npu_format_cast_  # noqa: F401
    from . import _compile, _distributed, amp, contrib, profiler, testing  # noqa: F401

    _compile.install()
    _distributed.install()

    # Type codes of the device that torch has no dtype for (aclDataType).
    hifloat8, float8_e5m2, float8_e4m3fn, float8_e8m0fnu = 290, 291, 292, 293
    float4_e2m1fn_x2, float4_e1m2fn_x2 = 296, 297
    _sys.modules.setdefault('torch.npu', npu)


def __getattr__(name):
    """Found by `import torch` beside another device this package stays away, and says so when it is asked for anything."""
    if _refusal and not name.startswith('__'):
        raise ImportError(_refusal)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
