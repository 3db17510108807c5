# SPDX-License-Identifier: Apache-2.0
"""fattn: the attention operators of the Ascend NPU on any CPU."""
from . import _core
from .errors import (ArgumentError, BackendError, Busy, DtypeError, Error, KindError, OutOfMemory, ShapeError,
                     Unsupported, Warning)

__version__ = _core.version
