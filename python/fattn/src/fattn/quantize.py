# SPDX-License-Identifier: Apache-2.0
"""Keys or values in fewer bits before a call, and the scales that the operators want with them
(docs/quantisation.md)."""
from __future__ import annotations

from . import _core
from .arrays import kind_of

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any


def _options(dtype, granularity, scale_dtype, percentile, input_layout, num_heads) -> dict:
    return {'dtype': dtype, 'granularity': granularity, 'scale_dtype': scale_dtype, 'percentile': float(percentile),
            'input_layout': input_layout, 'num_heads': num_heads}


def quantize_kv(array: Any, dtype: Any = 'i8', granularity: str = 'token', *, scale_dtype: Any = 'f32',
                percentile: float = 100.0, input_layout: str = 'BNSD', num_heads: int = 0,
                context: Any = None) -> tuple[Any, Any]:
    """Codes and scales of keys or values, in the kind of `array`.

    dtype: i8, i4 (eight columns in an int32, lowest nibble first), e4m3, e5m2.
    granularity: what shares a scale: 'tensor' [1], 'channel' [Nkv, D], 'token' [B, S], 'head' [Nkv],
    'token_head' [B, Nkv, S].
    percentile: 100 = the largest magnitude of a group; below that, what lies above saturates.
    input_layout: BNSD, BSND, or BSH, which needs num_heads.
    Raises ArgumentError where the array holds NaN or an infinity.
    """
    options = _options(dtype, granularity, scale_dtype, percentile, input_layout, num_heads)
    kind = kind_of(array)
    codes, scale = (kind.empty(*one) for one in _core.quantize_shapes(options, array))
    _core.quantize(options, array, codes, scale, False, context)
    return kind.finish(codes), kind.finish(scale)


def quantize_kv_by(array: Any, scale: Any, dtype: Any = 'i8', granularity: str = 'token', *,
                   input_layout: str = 'BNSD', num_heads: int = 0, context: Any = None) -> Any:
    """Codes by scales that are there already, as a Calibration gives them; beyond them it saturates."""
    options = _options(dtype, granularity, _core.describe(scale)[0], 100.0, input_layout, num_heads)
    kind = kind_of(array)
    codes = kind.empty(*_core.quantize_shapes(options, array)[0])
    _core.quantize(options, array, codes, scale, True, context)
    return kind.finish(codes)


def quantize_mode(granularity: str, paged: bool = False) -> int:
    """The antiquant mode of the operators that scales of this granularity go with."""
    return _core.quantize_mode(granularity, paged)


class Calibration:
    """Scales over several batches, for granularities that do not know tokens: 'tensor', 'channel', 'head'.

        calibration = fattn.Calibration('i8', 'channel', percentile=99.9)
        for keys in batches:
            calibration.observe(keys)
        codes = fattn.quantize_kv_by(keys, calibration.scales(), 'i8', 'channel')
    """

    def __init__(self, dtype: Any = 'i8', granularity: str = 'channel', *, scale_dtype: Any = 'f32',
                 percentile: float = 100.0, input_layout: str = 'BNSD', num_heads: int = 0, context: Any = None):
        self._options = _options(dtype, granularity, scale_dtype, percentile, input_layout, num_heads)
        self._calibration = _core.Calibration(self._options, context)
        self._shape = self._kind = None

    def observe(self, array: Any) -> None:
        """One more batch; its heads and head dim are those of the first. One that is refused changes nothing."""
        self._calibration.observe(array)
        if self._shape is None:
            self._shape, self._kind = _core.quantize_shapes(self._options, array)[1], kind_of(array)

    def scales(self) -> Any:
        """The scales of what was seen so far, in the kind of the first batch. ArgumentError before one."""
        from .errors import ArgumentError
        if self._shape is None:
            raise ArgumentError('calibration: nothing was observed yet')
        scale = self._kind.empty(*self._shape)
        self._calibration.scales(scale)
        return self._kind.finish(scale)
