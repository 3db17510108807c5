#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""stubs.py — writes the type stubs of what is made from the library's tables: the operators, the extension, and the
package, which makes its operators late.

Run it with the built package in PYTHONPATH after a change of the tables or of the extension; a test says when that
was forgotten. Modules in plain Python carry their annotations themselves.
"""
import inspect
import os

import fattn
from fattn import _core

KINDS = {'tensor_in': 'Any', 'tensor_inout': 'Any', 'tensor_out': 'Any', 'tensors_in': 'Sequence[Any]', 'int': 'int',
         'float': 'float', 'bool': 'bool', 'string': 'str', 'ints': 'Any'}
HEAD = '# SPDX-License-Identifier: Apache-2.0\n# Written by python/fattn/stubs.py; a change goes there.'


def parameter(op, word):
    """`scale=1.0` with the type of its field."""
    name, _, default = word.partition('=')
    if name == '*':
        return word
    kind = {f['name']: KINDS[f['kind']] for f in op.fields if f['kind'] in KINDS}.get(name, 'Any')
    optional = ' | None' if default == 'None' and kind != 'Any' else ''
    return f'{name}: {kind}{optional}' + (f' = {default}' if default else '')


def operator(op):
    """The function, and the named tuple it returns."""
    names, result, lines = op.outputs + op.numbers, 'None', []
    if len(names) > 1:
        result = op.result_name()
        lines += ['', '', f'class {result}(NamedTuple):']
        lines += [f"    {n}: {'int' if n in op.numbers else 'Any'}" for n in names]
    elif names:
        result = 'Any'
    words = [parameter(op, word) for word in op.parameters()] + ['**other_spellings: Any']
    return lines + ['', '', f'def {op.name}('] + [f'    {word},' for word in words[:-1]] + [
        f'    {words[-1]}', f') -> {result}: ...']


def operators():
    lines = [HEAD, 'from typing import Any, NamedTuple, Sequence', '', '', 'class Operator:', '    name: str',
             '    help: str', '    fields: tuple[dict[str, Any], ...]', '    inputs: list[dict[str, Any]]',
             '    outputs: list[str]', '    numbers: list[str]', '', '', 'OPERATORS: dict[str, Operator]', '', '',
             'def find(operator: Any) -> Operator: ...']
    for op in fattn.OPERATORS.values():
        lines += operator(op)
    return '\n'.join(lines) + '\n'


def signature(thing):
    """The words of `name(a, b=None)` as the extension's docstring has them, with types; anything where it has none."""
    if not thing.__text_signature__:
        return '*args: Any, **kwargs: Any'
    words = [w.strip() for w in thing.__text_signature__.strip('()').split(',')]
    words = [w for w in words if w not in ('', '$self', '/')]
    return ', '.join(f'{n}: Any = {d}' if d else f'{n}: Any' for n, _, d in (w.partition('=') for w in words))


def core_class(name, cls):
    lines = ['', '', f'class {name}:', f'    def __init__(self, {signature(cls)}) -> None: ...']
    for key, value in sorted(vars(cls).items()):
        if inspect.isgetsetdescriptor(value):
            lines += ['    @property', f'    def {key}(self) -> Any: ...']
        elif inspect.ismethoddescriptor(value) and (not key.startswith('__') or key.startswith('__dlpack')):
            words = signature(value)
            lines.append(f"    def {key}(self{', ' if words else ''}{words}) -> Any: ...")
    return lines


def core():
    lines = [HEAD, 'from typing import Any']
    for name, value in sorted(vars(_core).items()):
        if name.startswith('__'):
            continue
        if inspect.isclass(value):
            lines += core_class(name, value)
        elif callable(value):
            lines += ['', '', f'def {name}({signature(value)}) -> Any: ...']
        else:
            lines += ['', '', f"{name}: {'str' if isinstance(value, str) else 'Any'}"]
    return '\n'.join(lines) + '\n'


def home(name):
    """The module of the package that a public name comes from."""
    if name in fattn.OPERATORS or name == 'OPERATORS':
        return 'operators'
    if name in fattn._HELPERS:
        return fattn._HELPERS[name]
    module = getattr(fattn, name).__module__.rpartition('.')[2]
    return '_core' if module == 'fattn' else module


def package():
    lines = [HEAD, 'from . import _core as _core']
    lines += sorted(f'from .{home(name)} import {name} as {name}' for name in set(fattn.__all__))
    return '\n'.join(lines + ['', '__version__: str', '__all__: list[str]']) + '\n'


def stubs():
    """Text by file name."""
    return {'__init__.pyi': package(), '_core.pyi': core(), 'operators.pyi': operators()}


if __name__ == '__main__':
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src', 'fattn')
    for file_name, text in stubs().items():
        with open(os.path.join(folder, file_name), 'w') as out:
            out.write(text)
