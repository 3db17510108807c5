# SPDX-License-Identifier: Apache-2.0
"""Memory of the emulated devices: real counts of what their tensors hold. Nothing is kept back, so reserved memory is
allocated memory. In alias mode tensors are the CPU's and the counts are 0."""
import os

from .. import _environment
from ._state import ALIAS, index_of

ZERO = dict.fromkeys(('current', 'peak', 'allocated', 'freed', 'blocks', 'blocks_peak', 'blocks_allocated', 'blocks_freed',
                      'out_of_memory'), 0)


def counts(device):
    if ALIAS:
        return ZERO
    from .. import _C
    return _C.memory_counts(index_of(device))


def memory_allocated(device=None):
    """Bytes that tensors of the device hold now."""
    return counts(device)['current']


def max_memory_allocated(device=None):
    """The most since the start or the last reset_peak_memory_stats()."""
    return counts(device)['peak']


memory_reserved = memory_cached = memory_allocated
max_memory_reserved = max_memory_cached = max_memory_allocated


def reset_peak_memory_stats(device=None):
    if not ALIAS:
        from .. import _C
        _C.memory_reset_peak(index_of(device))


reset_max_memory_allocated = reset_max_memory_cached = reset_peak_memory_stats


def reset_accumulated_memory_stats(device=None):
    if not ALIAS:
        from .. import _C
        _C.memory_reset_accumulated(index_of(device))


def mem_get_info(device=None):
    """(free, total) bytes; total is NPU_EMU_MEMORY or the host's memory."""
    total = _environment.memory()
    if ALIAS:
        return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_AVPHYS_PAGES'), total
    return total - memory_allocated(device), total


def empty_cache():
    """Nothing is kept back."""


def set_per_process_memory_fraction(fraction, device=None):
    """Accepted, without effect: NPU_EMU_MEMORY is the limit. Raises ValueError outside 0..1."""
    index_of(device)
    if not 0 <= fraction <= 1:
        raise ValueError(f'fraction: {fraction} is outside 0..1')


def memory_stats_as_nested_dict(device=None):
    c = counts(device)
    size = {name: c[name] for name in ('current', 'peak', 'allocated', 'freed')}
    number = {name: c['blocks' + ('' if name == 'current' else '_' + name)] for name in size}
    stats = {name: {'all': dict(size)} for name in ('allocated_bytes', 'reserved_bytes', 'active_bytes', 'requested_bytes')}
    stats |= {name: {'all': dict(number)} for name in ('allocation', 'segment', 'active')}
    return stats | {'num_ooms': c['out_of_memory'], 'num_alloc_retries': 0}


def memory_stats(device=None):
    """allocated_bytes.all.current and so on, as torch.cuda.memory_stats() spells them."""
    flat = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(prefix + (name, ), inner)
        else:
            flat['.'.join(prefix)] = value

    walk((), memory_stats_as_nested_dict(device))
    return flat


def memory_snapshot():
    """Blocks are not kept track of one by one."""
    return []


def memory_summary(device=None, abbreviated=False):  # pylint: disable=unused-argument
    """The counts as a text."""
    index, c = index_of(device), counts(device)
    rows = [('Allocated memory', c['current'], c['peak'], c['allocated'], c['freed']),
            ('Allocations', c['blocks'], c['blocks_peak'], c['blocks_allocated'], c['blocks_freed'])]
    lines = [f'npu:{index}, emulated on host memory; out of memory: {c["out_of_memory"]} times',
             f'{"":18}{"current":>16}{"peak":>16}{"total alloc":>16}{"total freed":>16}']
    lines += [f'{name:18}' + ''.join(f'{x:16}' for x in values) for name, *values in rows]
    return '\n'.join(lines)
