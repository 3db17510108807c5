# SPDX-License-Identifier: Apache-2.0
"""The exceptions of the library, one per status, and its warnings."""


class Error(RuntimeError):
    """Base class. The text is the library's sentence: argument, value, rule, nearest valid call.

    `status` is the name of the status in C. No output has been touched where one is raised.
    """
    status = 'FATTN_E_BACKEND'


class ArgumentError(Error, ValueError):
    """A value is illegal, or required and missing."""
    status = 'FATTN_E_ARG'


class KindError(ArgumentError, TypeError):
    """An argument is of a Python type that cannot be what it should be."""


class ShapeError(Error, ValueError):
    """A rank, extent or stride does not fit."""
    status = 'FATTN_E_SHAPE'


class DtypeError(Error, TypeError):
    """An element type does not fit."""
    status = 'FATTN_E_DTYPE'


class Unsupported(Error, NotImplementedError):
    """A legal question that this build cannot answer."""
    status = 'FATTN_E_UNSUPPORTED'


class OutOfMemory(Error, MemoryError):
    """The text contains "out of memory", what was asked and what would fit."""
    status = 'FATTN_E_NOMEM'


class Busy(Error):
    """A plan's own workspace is in use by another run."""
    status = 'FATTN_E_BUSY'


class BackendError(Error):
    """A device or driver failed."""
    status = 'FATTN_E_BACKEND'


class Warning(UserWarning):  # pylint: disable=redefined-builtin
    """The library computes something else than the device would, or than was perhaps meant.

    `place` is a stable short name such as "sparse_mode_without_mask". Each place warns once per
    process.
    """

    def __init__(self, sentence, place=''):
        super().__init__(sentence)
        self.place = place


_INNER = ('fattn', 'torch', 'torch_npu')


def warn(place, sentence):
    """Says one warning of the library, at the line of the caller outside this package and torch's dispatcher."""
    import sys
    import warnings
    level, frame = 2, sys._getframe(1)
    while frame.f_back and frame.f_globals.get('__name__', '').partition('.')[0] in _INNER:
        level, frame = level + 1, frame.f_back
    warnings.warn(Warning(sentence, place), stacklevel=level)


def _nearest(name, names):
    import difflib
    near = difflib.get_close_matches(name, list(names), 3)
    return f"; did you mean {' or '.join(near)}?" if near else ''


def unknown_operator(name, names):
    """Raises for an operator that is not among `names`."""
    if not isinstance(name, str):
        raise KindError(f'operator: a name is a string, not {name!r}')
    raise ArgumentError(f'operator: there is no {name!r}{_nearest(name, names)}')


def unknown_field(operator, name, names):
    """Raises for an argument that `operator` does not have; `names` are those it has."""
    if not isinstance(name, str):
        raise KindError(f'{operator}: the name of an argument is a string, not {name!r}')
    raise ArgumentError(f'{operator}: {name}: there is no such argument{_nearest(name, names)}')
