# SPDX-License-Identifier: Apache-2.0
"""One function per operator, made from the library's table of fields: names, order, defaults and help are spelt
there and nowhere else. `fattn run OPERATOR --help` prints the same table."""
from __future__ import annotations

from . import _core
from .arrays import kind_of

TYPE_CHECKING = False  # importing typing takes longer than all of this package
if TYPE_CHECKING:
    from typing import Any

_ARRAYS = ('tensor_in', 'tensor_inout')


class Operator:
    """What the table says of one operator, and how its calls are made."""

    def __init__(self, row: dict):
        self.name: str = row['name']
        self.help: str = row['help']
        self.fields: tuple = row['fields']
        self.inputs = [f for f in self.fields if not f['kind'].endswith('_out')]
        self.outputs = [f['name'] for f in self.fields if f['kind'] == 'tensor_out']
        self.numbers = [f['name'] for f in self.fields if f['kind'] == 'int_out']
        self.spellings = {alias: f for f in self.inputs for alias in f['aliases']}
        self._result = None

    def positional(self) -> int:
        """How many of the inputs may be given by position: query, key, value and what must or usually does follow
        them; all of an operator that is no attention."""
        names = [f['name'] for f in self.inputs]
        if 'value' not in names:
            return len(names)
        n = names.index('value') + 1
        while n < len(names) and set(self.inputs[n]['flags']) & {'required', 'heads'}:
            n += 1
        return n

    def default(self, field: dict) -> Any:
        """What the signature says; None is absent."""
        return None if field['kind'] in ('ints', 'tensors_in') else field['default']

    def parameters(self) -> list[str]:
        """The signature's words: `query`, `scale=1.0`, `*`."""
        words, optional = [], False
        for i, field in enumerate(self.inputs):
            if i == self.positional():
                words.append('*')
                optional = False
            required = 'required' in field['flags'] and not optional
            optional = optional or not required
            words.append(field['name'] if required else f"{field['name']}={self.default(field)!r}")
        if '*' not in words:
            words.append('*')
        return words + [f'{name}=None' for name in self.outputs] + ['context=None']

    def first_array(self, fields: dict) -> Any:
        """The array that decides what the results are."""
        for field in self.inputs:
            value = fields.get(field['name'])
            if value is None:
                continue
            if field['kind'] in _ARRAYS:
                return value
            if field['kind'] == 'tensors_in' and isinstance(value, (list, tuple)) and value:
                return value[0]
        return None

    def allocator(self, fields: dict):
        """The kind of the results of a call."""
        array = self.first_array(fields)
        return kind_of(array) if array is not None else _plain_kind()

    def results(self, values: tuple, kind: Any, given: dict) -> Any:
        """The tuple of _core in the form that a caller sees: nothing, the only output, or a named tuple."""
        values = tuple(
            kind.finish(value) if i < len(self.outputs) and value is not None and
            given.get(self.outputs[i]) is None else value for i, value in enumerate(values))
        if not values:
            return None
        if len(values) == 1:
            return values[0]
        return self.result_type()(*values)

    def result_name(self) -> str:
        return ''.join(word.capitalize() for word in self.name.split('_')) + 'Result'

    def result_type(self) -> type:
        """The named tuple of this operator's results."""
        if self._result is None:
            from collections import namedtuple
            self._result = namedtuple(self.result_name(), self.outputs + self.numbers, module=__name__)
        return self._result

    def call(self, fields: dict, others: dict, context: Any) -> Any:
        """Runs with missing outputs made in the caller's kind. `others` are other spellings, instead of defaults."""
        for name, value in others.items():
            field = self.spellings.get(name)
            if field and fields[field['name']] == self.default(field):
                del fields[field['name']]
            fields[name] = value
        kind = self.allocator(fields)
        values = _core.run(self.name, fields, kind.empty, context)
        return self.results(values, kind, fields)

    def doc(self) -> str:
        """The docstring."""
        lines = [f'{self.help} (npu_{self.name}).', '', 'Arguments:']
        lines += [f'    {_line(f)}' for f in self.inputs]
        if self.outputs:
            lines += ['', 'Outputs, given by the caller or made in the kind of the first array:']
            lines += [f'    {_line(f)}' for f in self.fields if f['kind'] == 'tensor_out']
        if self.numbers:
            lines += ['', 'Numbers that come back:']
            lines += [f'    {_line(f)}' for f in self.fields if f['kind'] == 'int_out']
        lines += ['', f'Returns: {self.returns()}.',
                  'Raises: subclasses of fattn.Error whose text names argument, value and rule; no output is touched '
                  'then.', 'Shapes and formulas: include/fattn/attention.h, docs/calls.md.']
        return '\n'.join(lines)

    def returns(self) -> str:
        names = self.outputs + self.numbers
        if not names:
            return 'nothing; arguments are changed in place'
        return names[0] if len(names) == 1 else f"a named tuple ({', '.join(names)})"


def _plain_kind():
    from .arrays import _Buffer, _NumPy
    import sys
    return _NumPy(False) if 'numpy' in sys.modules else _Buffer()


_KINDS = {'tensor_in': 'array', 'tensor_out': 'array', 'tensor_inout': 'array, changed in place',
          'tensors_in': 'list of arrays', 'int': 'int', 'float': 'float', 'bool': 'bool', 'string': 'str',
          'ints': 'list of ints', 'int_out': 'int'}


def _line(field: dict) -> str:
    also = f"; also {', '.join(field['aliases'])}" if field['aliases'] else ''
    ignored = '; accepted, without effect' if 'ignored' in field['flags'] else ''
    return f"{field['name']} ({_KINDS[field['kind']]}): {field['help']}{also}{ignored}"


def _make(operator: Operator):
    """A function with the operator's own signature, so that Python itself checks and sorts arguments."""
    names = [f['name'] for f in operator.inputs] + operator.outputs
    source = (f"def {operator.name}({', '.join(operator.parameters())}, **other_spellings):\n"
              f"    return call({{{', '.join(f'{n!r}: {n}' for n in names)}}}, other_spellings, context)\n")
    space = {'call': operator.call}
    exec(source, space)  # pylint: disable=exec-used
    function = space[operator.name]
    function.__doc__ = operator.doc()
    function.__module__ = 'fattn'
    function.operator = operator
    return function


OPERATORS = {row['name']: Operator(row) for row in _core.operators()}


def find(operator: Any) -> Operator:
    """By name, with or without `npu_`, or by function."""
    name = getattr(operator, '__name__', operator)
    short = name[4:] if isinstance(name, str) and name.startswith('npu_') else name
    found = OPERATORS.get(short) if isinstance(short, str) else None
    if found is None:
        from .errors import unknown_operator
        unknown_operator(name, OPERATORS)
    return found


__all__ = list(OPERATORS)


def __getattr__(name: str) -> Any:
    """Functions are made when they are first asked for: ten of them take longer than the rest of the import."""
    if name in OPERATORS:
        function = globals()[name] = _make(OPERATORS[name])
        return function
    if name.endswith('Result'):  # named tuples, when they are unpickled
        for operator in OPERATORS.values():
            if operator.result_name() == name:
                return operator.result_type()
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
