# SPDX-License-Identifier: Apache-2.0
"""The chain goes on only for what another way can cure; the guide's third step got the operator's keywords, which
its function did not know, so it never worked."""
import logging

import pytest

from fattn import ArgumentError, BackendError, OutOfMemory, Robust, ShapeError, Unsupported
from fattn.robust import is_curable


def failing(error):

    def fail(*args, **kwargs):
        raise error

    return fail


def test_the_first_that_can_answers(caplog):
    robust = Robust([('device', failing(BackendError('no device'))), ('cpu', lambda x, scale: x * scale)])
    with caplog.at_level(logging.WARNING, 'fattn.robust'):
        assert robust(3, scale=2) == 6
    assert robust.last == 'cpu'
    assert [r.getMessage() for r in caplog.records] == ['device failed: no device', 'cpu answered instead']


def test_nothing_is_logged_when_nothing_fails(caplog):
    robust = Robust([('device', abs), ('cpu', failing(AssertionError()))])
    assert robust(-3) == 3 and robust.last == 'device' and not caplog.records


@pytest.mark.parametrize('error', [ArgumentError('head_num'), ShapeError('rank'), TypeError('x'), ValueError('y'),
                                   KeyboardInterrupt()])
def test_what_is_illegal_is_illegal_everywhere(error):
    robust = Robust([('device', failing(error)), ('cpu', lambda: 'answer')])
    with pytest.raises(type(error)):
        robust()


@pytest.mark.parametrize('error', [OutOfMemory('out of memory'), Unsupported('fp8'), MemoryError(),
                                   RuntimeError('NPU error 561002')])
def test_what_can_be_cured(error):
    assert is_curable(error)
    assert Robust([('device', failing(error)), ('cpu', lambda: 'answer')])() == 'answer'


def test_when_all_fail_the_first_reason_is_told_with_the_others():
    robust = Robust([('device', failing(OutOfMemory('out of memory'))), ('cpu', failing(Unsupported('f8')))])
    with pytest.raises(OutOfMemory) as raised:
        robust()
    assert raised.value.__notes__ == ['cpu: Unsupported: f8']


def test_bad_chains():
    with pytest.raises(ValueError, match='empty'):
        Robust([])
    with pytest.raises(TypeError, match='pair'):
        Robust([abs])
