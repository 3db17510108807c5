# SPDX-License-Identifier: Apache-2.0
"""fattn: the attention operators of the Ascend NPU on any CPU, for NumPy, torch and whatever speaks DLPack.

    import fattn
    out, *_ = fattn.fusion_attention(q, k, v, input_layout='BNSD', scale=0.125, sparse_mode=3)

Results have the kind of what came in. Importing this neither imports torch nor NumPy.
"""
from . import _core
from ._core import Array
from .arrays import bf16, spec, view
from .context import Context, current_context, seed, set_default_context, strict
from .errors import (ArgumentError, BackendError, Busy, DtypeError, Error, KindError, OutOfMemory, ShapeError,
                     Unsupported, Warning)
from .info import capabilities, estimate_memory, explain, shapes, verify
from .kv_cache import KVCache
from .operators import OPERATORS
from .plan import Plan, plan
from .quantize import Calibration, quantize_kv, quantize_kv_by, quantize_mode

__version__ = _core.version


# Helpers of services and scripts, imported when they are first asked for.
_HELPERS = {'available': 'choice', 'choose': 'choice', 'config': 'choice', 'template': 'choice', 'Monitor': 'monitor',
            'Robust': 'robust', 'adaptive': 'parts', 'chunked': 'parts', 'hierarchical': 'parts', 'prepare': 'preparation',
            'Prepared': 'preparation', 'attention_weights': 'drawing', 'visible': 'drawing', 'draw_mask': 'drawing',
            'heat_map': 'drawing'}
__all__ = sorted({name for name, value in globals().items() if name[0] != '_' and type(value).__name__ != 'module'}
                 | {*OPERATORS, *_HELPERS})


def __getattr__(name):
    """The operators, made from the library's table when they are first asked for, and the helpers."""
    if name in _HELPERS:
        from importlib import import_module
        found = getattr(import_module('.' + _HELPERS[name], __name__), name)
    elif name in OPERATORS:
        from . import operators
        found = getattr(operators, name)
    else:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *OPERATORS, *_HELPERS})
