# SPDX-License-Identifier: Apache-2.0
"""Every argument of every operator by its name, by each of its other spellings and by position."""
import copy
import inspect

import numpy as np
import pytest

import fattn
from calls import legal, same

NONSENSE = {'tensor_in': object(), 'tensor_inout': object(), 'tensor_out': object(), 'tensors_in': 3, 'int': 'x',
            'float': 'x', 'bool': 'x', 'string': 3, 'ints': 'x'}
SPELLINGS = [(op.name, field, name) for op in fattn.OPERATORS.values() for field in op.fields
             if field['kind'] != 'int_out' for name in (field['name'], *field['aliases'])]


def call(op, **given):
    return getattr(fattn, op)(**copy.deepcopy(given))


def test_there_is_a_legal_call_of_every_operator():
    assert set(legal()) == set(fattn.OPERATORS) and len(fattn.OPERATORS) == 10
    for op, given in legal().items():
        call(op, **given)


@pytest.mark.parametrize('op, field, name', SPELLINGS, ids=lambda x: x if isinstance(x, str) else '')
def test_the_default_by_name(op, field, name):
    given = legal()[op]
    want = call(op, **given)
    value = given.pop(field['name'], field['default'])
    assert same(call(op, **given, **{name: value}), want)


@pytest.mark.parametrize('op, field, name', SPELLINGS, ids=lambda x: x if isinstance(x, str) else '')
def test_nonsense_is_refused_by_name(op, field, name):
    given = legal()[op]
    given.pop(field['name'], None)
    with pytest.raises(fattn.KindError, match=f"^{op}: {field['name']}(\\[0\\])?: "):
        call(op, **given, **{name: NONSENSE[field['kind']]})


@pytest.mark.parametrize('op', sorted(fattn.OPERATORS))
def test_by_position(op):
    given = legal()[op]
    function = getattr(fattn, op)
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    fields = {f['name']: f for f in fattn.OPERATORS[op].fields}
    before = [given.get(name, fields[name]['default']) for name in positional]
    rest = {name: value for name, value in given.items() if name not in positional}
    copies = copy.deepcopy((before, rest))
    assert same(function(*copies[0], **copies[1]), call(op, **given))
    if op == 'advance_step_flashattn':
        assert np.array_equal(copies[0][2], [4, 5, 0, 0])  # two sequences run, two are padding


def test_positional_arguments_are_those_of_the_vendor():
    def positional(op):
        return [p.name for p in inspect.signature(getattr(fattn, op)).parameters.values()
                if p.kind is p.POSITIONAL_OR_KEYWORD]

    assert positional('fusion_attention') == ['query', 'key', 'value', 'head_num', 'input_layout']
    assert positional('fusion_attention_grad') == ['query', 'key', 'value', 'dy', 'head_num', 'input_layout']
    assert positional('prompt_flash_attention') == ['query', 'key', 'value']
    assert positional('fused_infer_attention_score') == ['query', 'key', 'value']
    assert positional('attention_update') == ['lse', 'local_out', 'update_type']
    assert positional('ring_attention_update')[:6] == ['prev_attn_out', 'prev_softmax_max', 'prev_softmax_sum',
                                                      'cur_attn_out', 'cur_softmax_max', 'cur_softmax_sum']


def test_signatures_say_the_table():
    for op in fattn.OPERATORS.values():
        parameters = inspect.signature(getattr(fattn, op.name)).parameters
        assert list(parameters) == [f['name'] for f in op.fields if f['kind'] != 'int_out'] + \
            ['context', 'other_spellings']
        for f in op.inputs:
            default = parameters[f['name']].default
            assert default in (inspect.Parameter.empty, f['default'], None)
            assert f['help'] in getattr(fattn, op.name).__doc__


def test_spellings_that_do_not_go_together():
    given = legal()['fusion_attention']
    with pytest.raises(fattn.ArgumentError, match='scale: given twice'):
        fattn.fusion_attention(**given, scale=0.5, scale_value=0.25)
    with pytest.raises(fattn.ArgumentError, match='did you mean sparse_mode'):
        fattn.fusion_attention(**given, sparsemode=3)
    with pytest.raises(TypeError, match='query'):
        fattn.fusion_attention(key=given['key'])
    with pytest.raises(fattn.ArgumentError, match='input_layout is required'):
        fattn.fusion_attention(given['query'], given['key'], given['value'], 2)
    with pytest.raises(fattn.ArgumentError, match="there is no 'fusion_atention'; did you mean fusion_attention"):
        fattn._core.call('fusion_atention', {})
    with pytest.raises(fattn.KindError):
        fattn._core.call(3, {})
    with pytest.raises(fattn.KindError):
        fattn._core.call('fusion_attention', {3: 4})
    with pytest.raises(fattn.ArgumentError, match='numels: a result'):
        fattn._core.call('fusion_attention', {**given, 'numels': 3})
    with pytest.raises(AttributeError):
        fattn.no_such_operator


def test_core_arguments():
    given = dict(legal()['dropout_gen_mask'], mask=np.zeros(16, np.uint8))
    core = fattn._core
    assert core.call('npu_dropout_gen_mask', given) == (5, 1)
    assert core.call(operator='dropout_gen_mask', fields=given, context=None) == (5, 1)
    assert core.call('dropout_gen_mask', given, fattn.Context(threads=1)) == (5, 1)
    for wrong in ((), ('dropout_gen_mask', ), ('dropout_gen_mask', given, None, 1), ('dropout_gen_mask', given, 3),
                  ('dropout_gen_mask', [1])):
        with pytest.raises(TypeError):
            core.call(*wrong)
    with pytest.raises(TypeError, match='twice'):
        core.call('dropout_gen_mask', given, fields=given)
    with pytest.raises(TypeError, match='none that it takes'):
        core.call('dropout_gen_mask', given, field=given)
    assert core.shapes('dropout_gen_mask', given) == (('u8', (16, )), )
