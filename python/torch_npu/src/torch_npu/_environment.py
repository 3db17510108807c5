# SPDX-License-Identifier: Apache-2.0
"""What the environment says, and whether this package may load at all."""
import importlib.util
import os
import pathlib
import sys

MODES = ('device', 'alias')
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
SOC = 'Ascend910B1'


def has_glue():
    """Is the compiled device there?"""
    return importlib.util.find_spec('torch_npu._C') is not None


def mode():
    """'device', or 'alias' where the environment says so or nothing compiled is there."""
    wanted = os.environ.get('NPU_EMU_MODE', '')
    if wanted and wanted not in MODES:
        raise RuntimeError(f'NPU_EMU_MODE: "{wanted}" is none of {", ".join(MODES)}')
    if wanted == 'device' and not has_glue():
        raise RuntimeError('NPU_EMU_MODE: device, but torch_npu._C was not built for this torch; NPU_EMU_MODE=alias needs '
                           'nothing compiled')
    return wanted or ('device' if has_glue() else 'alias')


def soc():
    return os.environ.get('NPU_EMU_SOC', SOC)


def whole(name, default, least=1):
    text = os.environ.get(name, '')
    if not text:
        return default
    if not text.isdecimal() or int(text) < least:
        raise RuntimeError(f'{name}: "{text}" is no whole number from {least} on')
    return int(text)


def memory():
    """Bytes of a device: NPU_EMU_MEMORY, "34359738368" or "32G"; else what the host has."""
    text = os.environ.get('NPU_EMU_MEMORY', '').strip().upper().removesuffix('B').removesuffix('I')
    if not text:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    digits, unit = (text[:-1], text[-1]) if text[-1] in UNITS else (text, '')
    try:
        size = int(float(digits) * UNITS[unit])
    except ValueError:
        size = 0
    if size <= 0:
        raise RuntimeError(f'NPU_EMU_MEMORY: "{text}" is no size; a number of bytes, or one with K, M, G, T behind it')
    return size


def banner():
    """The line that says once that this is no device."""
    if os.environ.get('NPU_EMU_BANNER') == '0':
        return ''
    return f'torch_npu: this is an emulation of {soc()} on the CPU (fattn); NPU_EMU_BANNER=0 silences this line'


def version():
    """torch's version with a post release, as the device's package counts: 2.13.0.post0."""
    import torch
    return torch.__version__.partition('+')[0] + '.post0'


def autoloading():
    """Is it torch that imports this package, at the end of its own import?"""
    frame = sys._getframe()
    while frame:
        if frame.f_code.co_name == '_import_device_backends':
            return True
        frame = frame.f_back
    return False


def refusal():
    """Why this package may not load: the vendor's package, or another device, is or would be in this process; or ''."""
    import torch
    taken = torch._C._get_privateuse1_backend_name()
    if taken != 'privateuseone':
        return (f'torch_npu (emulation): another device package has taken PyTorch\'s PrivateUse1 as "{taken}"; '
                'the two cannot live in one process')
    own = pathlib.Path(__file__).resolve().parent
    for folder in sys.path:
        other = pathlib.Path(folder or '.') / 'torch_npu'
        if ((other / 'op_plugin').exists() or (other / 'lib' / 'libtorch_npu.so').exists()) and other.resolve() != own:
            return (f'torch_npu (emulation): the vendor\'s torch_npu is installed in {other}; '
                    'use that one on a machine with the device, or an environment without it')
    return ''
