# SPDX-License-Identifier: Apache-2.0
"""Robust: one call, several ways to compute it, each tried only when the one before failed for a reason that
another way can cure."""
import logging

from .errors import BackendError, Busy, Unsupported
from .monitor import is_out_of_memory

_log = logging.getLogger('fattn.robust')


def is_curable(error):
    """May another way of computing the same call succeed? Memory, a device or driver, and what this way cannot do:
    yes. An illegal argument is illegal everywhere."""
    if is_out_of_memory(error) or isinstance(error, (BackendError, Busy, Unsupported)):
        return True
    return type(error) is RuntimeError  # what frameworks raise for devices; its subclasses say something else


class Robust:
    """A chain of ways.

        robust = fattn.Robust([('device', torch_npu.npu_fusion_attention), ('cpu', on_cpu)])
        out = robust(q, k, v, head_num=8, input_layout='BNSD')

    steps: (name, function) pairs; all take the same arguments and give the same result. Each failed step is logged
    (logger "fattn.robust", level WARNING); `last` names the step that answered. When all fail, the first step's
    exception is raised, with the others as notes.
    """

    def __init__(self, steps):
        self.steps = list(steps)
        if not self.steps:
            raise ValueError('steps is empty; give at least one (name, function) pair')
        for step in self.steps:
            if not (isinstance(step, tuple) and len(step) == 2 and callable(step[1])):
                raise TypeError(f'step {step!r} is not a pair of a name and a function')
        self.last = None

    def __call__(self, *args, **kwargs):
        failed = []
        for name, function in self.steps:
            try:
                result = function(*args, **kwargs)
            except Exception as error:  # pylint: disable=broad-except
                if not is_curable(error):
                    raise
                failed.append((name, error))
                _log.warning('%s failed: %s', name, error)
                continue
            self.last = name
            if failed:
                _log.warning('%s answered instead', name)
            return result
        first = failed[0][1]
        for name, error in failed[1:]:
            first.add_note(f'{name}: {type(error).__name__}: {error}')
        raise first
