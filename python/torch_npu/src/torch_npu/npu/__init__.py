# SPDX-License-Identifier: Apache-2.0
"""torch.npu: the device module. Work runs at once in the calling thread, so synchronisation has nothing to wait for."""
import contextlib
import os
from types import SimpleNamespace

import torch

from .. import _environment, amp  # noqa: F401
from . import utils  # noqa: F401
from ._state import ALIAS, current_device, device_count, index_of, set_device  # noqa: F401
from .graphs import NPUGraph, graph, graph_pool_handle, is_current_stream_capturing, make_graphed_callables  # noqa: F401
from .memory import (empty_cache, max_memory_allocated, max_memory_cached, max_memory_reserved, mem_get_info,  # noqa: F401
                     memory_allocated, memory_cached, memory_reserved, memory_snapshot, memory_stats,
                     memory_stats_as_nested_dict, memory_summary, reset_accumulated_memory_stats, reset_max_memory_allocated,
                     reset_max_memory_cached, reset_peak_memory_stats, set_per_process_memory_fraction)
from .random import (default_generators, get_rng_state, get_rng_state_all, initial_seed, manual_seed,  # noqa: F401
                     manual_seed_all, seed, seed_all, set_rng_state, set_rng_state_all)
from .streams import (Event, ExternalEvent, ExternalStream, Stream, StreamContext, current_stream, default_stream,  # noqa: F401
                      set_stream, stream, synchronize)

_options = {}
_initialized = True  # torch.utils.checkpoint saves the generators of a device that says so


def is_available():
    return True


def is_initialized():
    return True


def init():
    """Nothing is left to do after the import."""


_lazy_init = init


def _lazy_call(callback, **_):
    callback()


def _is_in_bad_fork():
    """Host memory survives a fork."""
    return False


class device(contextlib.ContextDecorator):  # pylint: disable=invalid-name
    """Makes a device the current one; None or -1 changes nothing."""

    def __init__(self, device):
        self.index = index_of(device, none=-1)
        self.before = -1

    def __enter__(self):
        if self.index >= 0:
            self.before = current_device()
            set_device(self.index)

    def __exit__(self, *exception):
        if self.index >= 0:
            set_device(self.before)
        return False


class device_of(device):  # pylint: disable=invalid-name
    """The device of a tensor, where it is an npu."""

    def __init__(self, obj):
        super().__init__(obj.device if getattr(obj, 'is_npu', False) else -1)


def get_device_name(device=None):
    """NPU_EMU_SOC, or what most machines have."""
    index_of(device)
    return _environment.soc()


def get_soc_version():
    """The number of the device's family: 220 and on are Ascend910B."""
    return 223 if '910B' in _environment.soc() else 100


def get_device_properties(device=None):
    """name, total_memory (bytes) and the like."""
    total = mem_get_info(device)[1]
    return SimpleNamespace(name=get_device_name(device), total_memory=total, multi_processor_count=os.cpu_count(),
                           L2_cache_size=0, cube_core_num=0, vector_core_num=0)


def get_device_capability(device=None):
    """None, as for every NPU."""
    index_of(device)


def can_device_access_peer(device, peer):
    return index_of(device) != index_of(peer)


def is_bf16_supported(including_emulation=True):  # pylint: disable=unused-argument
    return True


def get_amp_supported_dtype():
    return [torch.float16, torch.bfloat16, torch.float32]


def is_autocast_enabled():
    return torch.is_autocast_enabled('npu')


def set_autocast_enabled(enabled):
    torch.set_autocast_enabled('npu', enabled)


def get_autocast_dtype():
    return torch.get_autocast_dtype('npu')


def set_autocast_dtype(dtype):
    torch.set_autocast_dtype('npu', dtype)


def set_compile_mode(jit_compile=False):
    """Remembered; kernels here are compiled ahead of time."""
    _options['jitCompile'] = 'enable' if jit_compile else 'disable'


def is_jit_compile_false():
    return _options.get('jitCompile', 'disable') == 'disable'


def set_option(option):
    """Remembered; none of the device's switches exists here. Raises TypeError for what is no dict."""
    if not isinstance(option, dict):
        raise TypeError(f'set_option: a dict, not {type(option).__name__}')
    _options.update(option)


def get_option(name):
    return _options.get(name)


def use_compatible_impl(is_compatible):  # pylint: disable=unused-argument
    """There is one implementation."""


def init_dump():
    """The device's dumps are not emulated; `fattn run` and FATTN_RECORD write calls."""


set_dump = finalize_dump = init_dump
