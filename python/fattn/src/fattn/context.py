# SPDX-License-Identifier: Apache-2.0
"""Who computes and with what: threads, instruction set, strictness, warnings, the generator of dropout."""
from __future__ import annotations

from contextvars import ContextVar

from . import _core

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any

_entered: ContextVar[tuple] = ContextVar('fattn.entered', default=())


class Context(_core.Context):
    """The settled choices of a caller. What is not given comes from the environment (FATTN_THREADS and so on).

    threads: how many a call may use; None = what the machine gives this process.
    isa: 'scalar', 'avx2', 'avx512', 'neon'; None = the best one.
    strict: compute and refuse as the device does (docs/strict.md).
    pin_threads: bind the library's own threads.
    backend: 'cpu' or 'ref'; None = the first that accepts.
    compute: 'f32' or 'f16', fp16 arithmetic where a call can have it (docs/accuracy.md); None = 'f32'.
    warn: called with (place, sentence), once per process and place; None = Python's warnings.

    Give it to a call as `context=`, or make it the current one of this thread or task:

        with fattn.Context(threads=1):
            fattn.fusion_attention(...)
    """

    def __enter__(self) -> Context:
        _entered.set(_entered.get() + (_core.current_context.set(self),))
        return self

    def __exit__(self, *exception: object) -> None:
        *before, token = _entered.get()
        _entered.set(tuple(before))
        _core.current_context.reset(token)


def strict(**options: Any) -> Context:
    """A strict context, for `with fattn.strict():`. Other options as Context has them."""
    return Context(strict=True, **options)


def current_context() -> _core.Context:
    """What a call without a context uses here and now."""
    return _core.default_context()


def set_default_context(context: Context | None) -> None:
    """The context of the whole process, where no `with` statement sets another; None = anew from the environment."""
    _core.set_default_context(context)


def seed(number: int) -> None:
    """Starts the current context's generator of dropout at (number, offset 0)."""
    _core.default_context().seed(number)
